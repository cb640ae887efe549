//! Names in a shard's folder. Numbers are padded, so that names sort as they count.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

/// Where logs lie, if not in the data directory alone. Each has a folder for each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogDirectories {
    /// Where they are written, in place of the data directory.
    pub first: Option<PathBuf>,
    /// Where a write goes that the first has refused.
    pub second: Option<PathBuf>,
    /// Where there may be segments of before.
    pub former: Vec<PathBuf>,
}

impl LogDirectories {
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.first.iter().chain(&self.second).chain(&self.former)
    }
}

/// The folders of one shard.
#[derive(Clone, Debug)]
pub struct ShardFolders {
    pub root: PathBuf,
    pub chunks: PathBuf,
    /// Where log segments may be: those that are written to first.
    logs: Vec<PathBuf>,
    /// How many are written to, 1 or 2.
    written: usize,
}

const SHARD: &str = "shard-";

/// Whether a folder of this name is a shard's.
pub fn is_of_a_shard(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(SHARD));
    number.is_some_and(|number| number.parse::<u16>().is_ok())
}

impl ShardFolders {
    pub fn new(data: &Path, shard: usize) -> Self {
        Self::with_logs(data, shard, &LogDirectories::default())
    }

    pub fn with_logs(data: &Path, shard: usize, directories: &LogDirectories) -> Self {
        let name = format!("{SHARD}{shard:03}");
        let root = data.join(&name);
        let own = root.join("wal");
        let in_directory = |directory: &PathBuf| directory.join(&name);
        let mut logs = vec![directories.first.as_ref().map_or(own.clone(), in_directory)];
        logs.extend(directories.second.as_ref().map(in_directory));
        let written = logs.len();
        logs.extend(directories.former.iter().map(in_directory));
        if !logs.contains(&own) {
            logs.push(own);
        }
        Self { chunks: root.join("chunks"), root, logs, written }
    }

    /// The folders that log segments are written to, in the order in which they are tried.
    pub fn written_logs(&self) -> &[PathBuf] {
        &self.logs[..self.written]
    }

    /// All folders that may have log segments.
    pub fn logs(&self) -> &[PathBuf] {
        &self.logs
    }

    pub fn chunk_file(&self, number: u32) -> PathBuf {
        self.chunks.join(format!("{number:06}"))
    }

    pub fn checkpoint(&self, file: Numbered) -> PathBuf {
        self.root.join(format!("checkpoint-{file}"))
    }

    /// A checkpoint that is not whole yet.
    pub fn checkpoint_draft(&self, file: Numbered) -> PathBuf {
        self.root.join(format!("checkpoint-{file}.tmp"))
    }

    pub fn series_log(&self, file: Numbered) -> PathBuf {
        self.root.join(format!("series-{file}"))
    }
}

pub fn log_segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}"))
}

/// A segment that waits to be used, or to be used again.
pub fn spare_segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("spare-{number:08}"))
}

/// A file whose content means something within one generation of the head's numbers. The first generation is not written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub generation: u32,
    /// Counts on from generation to generation.
    pub number: u64,
}

impl fmt::Display for Numbered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.generation > 0 {
            write!(formatter, "{:08}-", self.generation)?;
        }
        write!(formatter, "{:08}", self.number)
    }
}

/// The files whose names consist of a prefix, perhaps a generation, and a number; by number, ascending.
pub(crate) fn numbered(names: &[String], prefix: &str) -> Vec<Numbered> {
    let parse = |name: &String| {
        let rest = name.strip_prefix(prefix)?;
        let (generation, digits) = rest.split_once('-').unwrap_or(("0", rest));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (all_digits(generation) && all_digits(digits)).then_some(())?;
        Some(Numbered { generation: generation.parse().ok()?, number: digits.parse().ok()? })
    };
    let mut files: Vec<_> = names.iter().filter_map(parse).collect();
    files.sort_unstable_by_key(|file| file.number);
    files
}

/// The numbers of the names that consist of a prefix and a number, ascending.
pub(crate) fn numbers(names: &[String], prefix: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_prefix(prefix))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|digits| digits.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_generation_read_back() {
        let files = [(0, 3), (2, 4), (1, 123_456_789)].map(|(generation, number)| Numbered { generation, number });
        let mut names: Vec<String> = files.iter().map(|file| format!("series-{file}")).collect();
        names.extend(["series-x", "series-1-2-3", "series-00000001-", "checkpoint-00000009"].map(str::to_owned));
        assert_eq!(numbered(&names, "series-"), files);
        assert_eq!(names[0], "series-00000003", "as it was before there were generations");
    }
}
