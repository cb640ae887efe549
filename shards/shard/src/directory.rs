//! The data directory: its lock, its format, its key, and what is refused to be in it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use codec::crc::crc32c;
use model::IdentityKey;

use crate::{
    frames::FileError,
    names::{LogDirectories, ShardFolders, is_of_a_shard},
};

mod log_directories;

const FORMAT_FILE: &str = "FORMAT";
const KEY_FILE: &str = "identity.key";
const LOCK_FILE: &str = "lock";
const FORMAT_VERSION: u32 = 1;

/// An open data directory. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    pub path: PathBuf,
    pub key: IdentityKey,
    pub shards: usize,
    pub logs: LogDirectories,
    _lock: File,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is in use by another process: stop it, or give another --storage.tsdb.path", .0.display())]
    Locked(PathBuf),
    #[error("{} is in use by a running server: stop it, or say --force and expect its unfinished writes to show", .0.display())]
    InUse(PathBuf),
    #[error("{} is no data directory of Millrace: it has no FORMAT file", .0.display())]
    None(PathBuf),
    #[error("{}: format version {found} is newer than {FORMAT_VERSION}, which this program knows; use the version that wrote it, or a newer one", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("{}: {what}; restore the file from a backup, or give another --storage.tsdb.path", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{} was written with {found} shards and the placement asks for {wanted}; set `shards` to {found} in the tuning file", path.display())]
    OtherShardCount { path: PathBuf, found: usize, wanted: usize },
    #[error("{}: {what}", path.display())]
    LogDirectory { path: PathBuf, what: String },
    #[error("{} holds a Prometheus data directory ({what}), which this version does not import; give another --storage.tsdb.path", path.display())]
    Prometheus { path: PathBuf, what: &'static str },
}

impl DataDirectory {
    /// How many shards the directory was written with; `None` for one that is new.
    pub fn recorded_shards(path: &Path) -> Result<Option<usize>, DirectoryError> {
        Ok(read_format(path)?.map(|format| format.shards))
    }

    /// Opens a directory for this many shards, or makes a new one. Log directories are those that are to be written to; what the directory knows of others
    /// is added.
    pub fn open(path: &Path, shards: usize, logs: &LogDirectories) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(FileError::new("create", path))?;
        let lock = lock(path)?;
        refuse_prometheus(path)?;
        if let Some(format) = read_format(path)? {
            if format.shards != shards {
                let (path, found) = (path.to_owned(), format.shards);
                return Err(DirectoryError::OtherShardCount { path, found, wanted: shards });
            }
            let key = read_key(&path.join(KEY_FILE))?;
            let logs = log_directories::open(path, &key, logs)?;
            if format.is_emptying {
                remove_shards(path, shards, &logs)?;
            }
            return Ok(Self { path: path.to_owned(), key, shards, logs, _lock: lock });
        }
        // The format file comes last: with it, everything before it is there.
        let key = make_key(path)?;
        let logs = log_directories::open(path, &key, logs)?;
        write_format(path, Format { shards, is_emptying: false })?;
        Ok(Self { path: path.to_owned(), key, shards, logs, _lock: lock })
    }

    /// The folders of a shard.
    pub fn folders(&self, shard: usize) -> ShardFolders {
        ShardFolders::with_logs(&self.path, shard, &self.logs)
    }

    /// Gives the directory another number of shards, which begin empty: what those before them held must be in blocks. After a crash either
    /// nothing has changed, or the next [`Self::open`] does the rest.
    pub fn renumber(self, shards: usize) -> Result<(), DirectoryError> {
        write_format(&self.path, Format { shards, is_emptying: true })?;
        remove_shards(&self.path, shards, &self.logs)
    }
}

/// A data directory open for reading. As long as this is held no server can start on it; other readers can.
#[derive(Debug)]
pub struct ReadOnlyDirectory {
    pub path: PathBuf,
    pub shards: usize,
    logs: LogDirectories,
    _lock: Option<File>,
}

impl ReadOnlyDirectory {
    /// Opens a directory whose server does not run. With `even_if_locked` a running one is not asked for: what is read then may
    /// be half written.
    pub fn open(path: &Path, even_if_locked: bool) -> Result<Self, DirectoryError> {
        let shards = DataDirectory::recorded_shards(path)?.ok_or_else(|| DirectoryError::None(path.to_owned()))?;
        let lock = if even_if_locked { None } else { lock_for_reading(path)? };
        let logs = LogDirectories { former: log_directories::recorded(path)?, ..LogDirectories::default() };
        Ok(Self { path: path.to_owned(), shards, logs, _lock: lock })
    }

    /// The folders of a shard.
    pub fn folders(&self, shard: usize) -> ShardFolders {
        ShardFolders::with_logs(&self.path, shard, &self.logs)
    }

    /// Checks the file that the series' identities depend on.
    pub fn check_key(&self) -> Result<(), DirectoryError> {
        read_key(&self.path.join(KEY_FILE)).map(drop)
    }
}

/// Without a lock file no server has ever run.
fn lock_for_reading(path: &Path) -> Result<Option<File>, DirectoryError> {
    let file_path = path.join(LOCK_FILE);
    let file = match File::open(&file_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("open", &file_path)(error).into()),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(FileError::new("lock", &file_path)(error).into()),
    }
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let file_path = path.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file_path)
        .map_err(FileError::new("open", &file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DirectoryError::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(FileError::new("lock", &file_path)(error).into()),
    }
}

/// A Prometheus directory is never ignored: its owner expects its data to be there.
fn refuse_prometheus(path: &Path) -> Result<(), DirectoryError> {
    for what in ["wal", "chunks_head"] {
        if path.join(what).exists() {
            return Err(DirectoryError::Prometheus { path: path.to_owned(), what });
        }
    }
    Ok(())
}

/// What the format file says.
#[derive(Clone, Copy, Debug)]
struct Format {
    shards: usize,
    /// What there is of shards belongs to others, of another number, and is in blocks: it goes.
    is_emptying: bool,
}

const EMPTYING: &str = "emptying";

fn read_format(folder: &Path) -> Result<Option<Format>, DirectoryError> {
    let path = folder.join(FORMAT_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => parse_format(&path, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", &path)(error).into()),
    }
}

fn write_format(folder: &Path, Format { shards, is_emptying }: Format) -> Result<(), FileError> {
    let last = if is_emptying { format!("{EMPTYING}\n") } else { String::new() };
    write_durably(folder, FORMAT_FILE, format!("millrace {FORMAT_VERSION}\nshards {shards}\n{last}").as_bytes())
}

/// Removes the folders of all shards, then says so.
fn remove_shards(data: &Path, shards: usize, logs: &LogDirectories) -> Result<(), DirectoryError> {
    for folder in logs.all().map(PathBuf::as_path).chain([data]) {
        for entry in fs::read_dir(folder).map_err(FileError::new("list", folder))? {
            let path = entry.map_err(FileError::new("list", folder))?.path();
            if path.file_name().is_some_and(is_of_a_shard) {
                fs::remove_dir_all(&path).map_err(FileError::new("remove", &path))?;
            }
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::new("sync", folder))?;
    }
    Ok(write_format(data, Format { shards, is_emptying: false })?)
}

fn parse_format(path: &Path, text: &str) -> Result<Format, DirectoryError> {
    let damaged = |what| DirectoryError::Damaged { path: path.to_owned(), what };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("millrace ")).and_then(|text| text.parse().ok());
    match version {
        None => return Err(damaged("the first line is not `millrace <version>`")),
        Some(found) if found > FORMAT_VERSION => return Err(DirectoryError::Newer { path: path.to_owned(), found }),
        Some(_) => {}
    }
    let shards = lines.next().and_then(|line| line.strip_prefix("shards ")).and_then(|text| text.parse().ok());
    let shards =
        shards.filter(|&shards| shards > 0).ok_or_else(|| damaged("the second line is not `shards <count>`"))?;
    match lines.next() {
        None => Ok(Format { shards, is_emptying: false }),
        Some(EMPTYING) => Ok(Format { shards, is_emptying: true }),
        Some(_) => Err(damaged("the third line is neither missing nor `emptying`")),
    }
}

fn read_key(path: &Path) -> Result<IdentityKey, DirectoryError> {
    let bytes = fs::read(path).map_err(FileError::new("read", path))?;
    let (key, sum) = bytes.split_first_chunk::<{ IdentityKey::BYTES }>().unwrap_or((&[0; IdentityKey::BYTES], &[]));
    if sum != crc32c(key).to_le_bytes() {
        return Err(DirectoryError::Damaged {
            path: path.to_owned(),
            what: "the key's checksum does not match, and without the key no series can be found",
        });
    }
    Ok(IdentityKey::from_bytes(key))
}

fn make_key(path: &Path) -> Result<IdentityKey, DirectoryError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; IdentityKey::BYTES];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(FileError::new("read", source))?;
    write_durably(path, KEY_FILE, &[&bytes[..], &crc32c(&bytes).to_le_bytes()].concat())?;
    Ok(IdentityKey::from_bytes(&bytes))
}

fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    let (draft, path) = (folder.join(format!("{name}.tmp")), folder.join(name));
    let written = File::create(&draft).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(FileError::new("write", &draft))?;
    fs::rename(&draft, &path).map_err(FileError::new("rename", &draft))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::new("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, shards: usize) -> Result<DataDirectory, DirectoryError> {
        DataDirectory::open(path, shards, &LogDirectories::default())
    }

    #[test]
    fn a_directory_keeps_its_key_and_its_lock() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = open(folder.path(), 2).expect("a new directory");
        let id = first.key.label(b"a", b"b");
        assert!(matches!(open(folder.path(), 2), Err(DirectoryError::Locked(_))));
        drop(first);
        assert_eq!(DataDirectory::recorded_shards(folder.path()).expect("readable"), Some(2));
        assert_eq!(open(folder.path(), 2).expect("there already").key.label(b"a", b"b"), id);
        let other = open(folder.path(), 1).expect_err("two shards are recorded");
        assert!(other.to_string().contains("set `shards` to 2"), "{other}");
    }

    /// Goal: another number of shards begins without the folders of those before, also after a crash between the two steps.
    #[test]
    fn another_number_of_shards_begins_empty() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shards = || (0..4).filter(|shard| ShardFolders::new(folder.path(), *shard).root.exists()).count();
        let fill = |count: usize| {
            for shard in 0..count {
                fs::create_dir_all(&ShardFolders::new(folder.path(), shard).written_logs()[0]).expect("a folder");
            }
            fs::create_dir_all(folder.path().join("01HZZZZZZZZZZZZZZZZZZZZZZZ")).expect("a block");
        };
        let first = open(folder.path(), 3).expect("a new directory");
        let id = first.key.label(b"a", b"b");
        fill(3);
        first.renumber(2).expect("renumbered");
        assert_eq!(shards(), 0);
        let second = open(folder.path(), 2).expect("as it says");
        assert_eq!(second.key.label(b"a", b"b"), id, "the same key");
        fill(2);
        write_format(folder.path(), Format { shards: 1, is_emptying: true }).expect("the first step");
        drop(second);
        drop(open(folder.path(), 1).expect("the second step is made up for"));
        assert_eq!(shards(), 0);
        fill(1);
        drop(open(folder.path(), 1).expect("as it says"));
        assert_eq!(shards(), 1, "only once");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 5, "block, format, key, lock, shard");
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("chunks_head")).expect("a folder");
        let error = open(folder.path(), 1).expect_err("Prometheus' folder");
        assert!(error.to_string().contains("chunks_head"), "{error}");
    }

    #[test]
    fn a_damaged_key_and_a_newer_format_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        drop(open(folder.path(), 1).expect("a new directory"));
        let key = folder.path().join(KEY_FILE);
        let mut bytes = fs::read(&key).expect("the key");
        bytes[3] ^= 1;
        fs::write(&key, bytes).expect("written");
        assert!(matches!(open(folder.path(), 1), Err(DirectoryError::Damaged { .. })));
        fs::write(folder.path().join(FORMAT_FILE), "millrace 2\nshards 1\n").expect("written");
        assert!(matches!(open(folder.path(), 1), Err(DirectoryError::Newer { found: 2, .. })));
    }
}
