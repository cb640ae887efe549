//! Directories beside the data directory that hold parts of its log.
//!
//! The data directory has a list of all that may, and each of them says whose it is: a disk that is not mounted, or that belongs to another server, must
//! not be taken for one without a log. One that is not written to any more leaves the list when its last segment is gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model::IdentityKey;

use super::{DirectoryError, write_durably};
use crate::{
    frames::FileError,
    names::{LogDirectories, is_of_a_shard},
};

/// In the data directory: a path in each line.
const LIST: &str = "LOG-DIRECTORIES";
/// In each of the others.
const OWNER: &str = "millrace-log-of";

/// The directories that a data directory knows.
pub(super) fn recorded(data: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let path = data.join(LIST);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(PathBuf::from).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(FileError::new("read", &path)(error).into()),
    }
}

/// Makes the directories that are to be written to, and finds those that were.
pub(super) fn open(data: &Path, key: &IdentityKey, wanted: &LogDirectories) -> Result<LogDirectories, DirectoryError> {
    let owner = owner_of(key);
    let mut former = recorded(data)?;
    let known = former.clone();
    for path in &known {
        check_known(data, path, &owner)?;
    }
    let mut written = Vec::new();
    for path in wanted.first.iter().chain(&wanted.second) {
        fs::create_dir_all(path).map_err(FileError::new("create", path))?;
        let path = fs::canonicalize(path).map_err(FileError::new("find", path))?;
        let own = fs::canonicalize(data).map_err(FileError::new("find", data))?;
        if path.starts_with(&own) || own.starts_with(&path) || written.contains(&path) {
            let what =
                "it is, or lies in, the data directory or the other log directory; name one beside them".to_owned();
            return Err(DirectoryError::LogDirectory { path, what });
        }
        if !known.contains(&path) {
            claim(&path, &owner)?;
        }
        written.push(path);
    }
    former.retain(|path| !written.contains(path) && !is_left(path));
    let all: Vec<PathBuf> = written.iter().chain(&former).cloned().collect();
    if all != known {
        let lines: String = all.iter().map(|path| format!("{}\n", path.display())).collect();
        write_durably(data, LIST, lines.as_bytes())?;
        known.iter().filter(|path| !all.contains(path)).for_each(|path| clear(path));
    }
    let mut written = written.into_iter();
    let first = wanted.first.as_ref().and_then(|_| written.next());
    Ok(LogDirectories { first, second: written.next(), former })
}

/// What tells whose a directory is, without telling the key.
fn owner_of(key: &IdentityKey) -> String {
    let id = key.label(b"millrace", b"log directory");
    format!("{:016x}{:016x}\n", id.high, id.low)
}

fn owner(path: &Path) -> Result<Option<String>, DirectoryError> {
    let file = path.join(OWNER);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(FileError::new("read", &file)(error).into()),
    }
}

fn check_known(data: &Path, path: &Path, expected: &str) -> Result<(), DirectoryError> {
    let what = match owner(path)? {
        Some(found) if found == expected => return Ok(()),
        Some(_) => "it has the log of another data directory",
        None => "it is not there, or is empty: is its disk mounted?",
    };
    let what = format!(
        "{what} It may have a part of the log of {data}. If that is lost for good, take its line out of {list}; what no other file has is lost then",
        data = data.display(),
        list = data.join(LIST).display()
    );
    Err(DirectoryError::LogDirectory { path: path.to_owned(), what })
}

/// Marks a directory as this data directory's before the first segment goes there.
fn claim(path: &Path, expected: &str) -> Result<(), DirectoryError> {
    match owner(path)? {
        Some(found) if found == expected => Ok(()),
        Some(_) => {
            let what = "it has the log of another data directory; name another one".to_owned();
            Err(DirectoryError::LogDirectory { path: path.to_owned(), what })
        }
        None => {
            write_durably(path, OWNER, expected.as_bytes())?;
            sync_ancestors(path)
        }
    }
}

/// Its own name, and those above it that may be as new, must not be lost with what is in it.
fn sync_ancestors(path: &Path) -> Result<(), DirectoryError> {
    for folder in path.ancestors().skip(1) {
        match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            // Then it is none that was made here.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(FileError::new("sync", folder))?,
        }
    }
    Ok(())
}

/// Takes what is ours out of a directory that has no segment any more. What stays is in nobody's way but that of another data directory.
fn clear(path: &Path) {
    let shards = fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| is_of_a_shard(&entry.file_name()));
    let cleared = shards.map(|shard| fs::remove_dir_all(shard.path())).chain([fs::remove_file(path.join(OWNER))]);
    if let Some(error) = cleared.filter_map(Result::err).last() {
        tracing::warn!(path = %path.display(), %error, "a former log directory is not cleared");
    }
}

/// Whether a directory has no segment any more; in doubt it has.
fn is_left(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let mut shards = entries.flatten().filter(|entry| is_of_a_shard(&entry.file_name()));
    shards.all(|shard| {
        let Ok(files) = fs::read_dir(shard.path()) else { return false };
        files.flatten().all(|file| file.file_name().to_string_lossy().starts_with("spare-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_bytes(&[byte; IdentityKey::BYTES])
    }

    fn with(first: &Path, second: Option<&Path>) -> LogDirectories {
        LogDirectories { first: Some(first.to_owned()), second: second.map(Path::to_owned), former: Vec::new() }
    }

    /// Goal: a directory is known as long as it may have something, and not being there is not taken for having nothing.
    #[test]
    fn directories_are_remembered_until_they_are_empty() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let of = |name: &str| fs::canonicalize(folder.path()).expect("there").join(name);
        let data = of("data");
        fs::create_dir_all(&data).expect("a folder");
        let none = LogDirectories::default();
        assert_eq!(open(&data, &key(1), &none).expect("none"), none);
        let opened = open(&data, &key(1), &with(&of("a"), Some(&of("b")))).expect("two");
        assert_eq!(opened, with(&of("a"), Some(&of("b"))));
        let segment = of("a").join("shard-000");
        fs::create_dir_all(&segment).expect("a folder");
        fs::write(segment.join("00000007"), "").expect("a segment");

        let opened = open(&data, &key(1), &with(&of("c"), None)).expect("another one");
        assert_eq!((opened.first.clone(), opened.second, opened.former), (Some(of("c")), None, vec![of("a")]));
        fs::rename(of("a"), of("elsewhere")).expect("renamed");
        let error = open(&data, &key(1), &with(&of("c"), None)).expect_err("not there").to_string();
        assert!(error.contains("is its disk mounted?") && error.contains("/a: "), "{error}");
        fs::create_dir(of("a")).expect("an empty mount point");
        assert!(open(&data, &key(1), &with(&of("c"), None)).is_err());
        fs::remove_dir(of("a")).expect("removed");
        fs::rename(of("elsewhere"), of("a")).expect("renamed");
        fs::remove_file(of("a").join("shard-000/00000007")).expect("no segment any more");
        assert_eq!(open(&data, &key(1), &with(&of("c"), None)).expect("alone"), with(&of("c"), None));
        assert_eq!(recorded(&data).expect("a list"), [of("c")]);
    }

    #[test]
    fn what_is_not_ours_or_not_beside_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [one, other, logs] = ["one", "other", "logs"].map(|name| folder.path().join(name));
        fs::create_dir_all(&one).expect("a folder");
        fs::create_dir_all(&other).expect("a folder");
        open(&one, &key(1), &with(&logs, None)).expect("its own");
        let error = open(&other, &key(2), &with(&logs, None)).expect_err("another's").to_string();
        assert!(error.contains("another data directory"), "{error}");
        for wrong in [one.clone(), one.join("wal"), folder.path().to_owned()] {
            assert!(open(&one, &key(1), &with(&wrong, None)).is_err(), "{}", wrong.display());
        }
        assert!(open(&one, &key(1), &with(&logs, Some(&logs))).is_err());
    }
}
