//! Names in a shard's folder. Numbers are padded, so that names sort as they count.

use std::path::{Path, PathBuf};

/// The folders of one shard.
#[derive(Clone, Debug)]
pub struct ShardFolders {
    pub root: PathBuf,
    pub log: PathBuf,
    pub chunks: PathBuf,
}

impl ShardFolders {
    pub fn new(data: &Path, shard: usize) -> Self {
        let root = data.join(format!("shard-{shard:03}"));
        Self { log: root.join("wal"), chunks: root.join("chunks"), root }
    }

    pub fn log_segment(&self, number: u64) -> PathBuf {
        self.log.join(format!("{number:08}"))
    }

    /// A segment that waits to be used, or to be used again.
    pub fn spare_segment(&self, number: u64) -> PathBuf {
        self.log.join(format!("spare-{number:08}"))
    }

    pub fn chunk_file(&self, number: u32) -> PathBuf {
        self.chunks.join(format!("{number:06}"))
    }

    pub fn checkpoint(&self, number: u64) -> PathBuf {
        self.root.join(format!("checkpoint-{number:08}"))
    }

    /// A checkpoint that is not whole yet.
    pub fn checkpoint_draft(&self, number: u64) -> PathBuf {
        self.root.join(format!("checkpoint-{number:08}.tmp"))
    }

    pub fn series_log(&self, number: u64) -> PathBuf {
        self.root.join(format!("series-{number:08}"))
    }
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
