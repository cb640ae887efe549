//! Folders of blocks: their names, and making and removing them so that a crash at any step leaves a whole block or none.

use std::{
    io,
    path::{Path, PathBuf},
};

use runtime::{Disk, File, OpenMode, Runtime};
use shard::frames::FileError;

use crate::ulid::Ulid;

/// Ends of the names of folders that are no block, or no block any more. Prometheus' own, so that it cleans up after us too.
const IN_CREATION: &str = ".tmp-for-creation";
const IN_DELETION: &str = ".tmp-for-deletion";

pub(crate) fn block(data: &Path, ulid: Ulid) -> PathBuf {
    data.join(ulid.to_string())
}

pub(crate) fn in_creation(data: &Path, ulid: Ulid) -> PathBuf {
    data.join(format!("{ulid}{IN_CREATION}"))
}

fn in_deletion(data: &Path, ulid: Ulid) -> PathBuf {
    data.join(format!("{ulid}{IN_DELETION}"))
}

/// What the name of a folder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Block(Ulid),
    Leftover,
    Other,
}

pub(crate) fn named(name: &str) -> Named {
    if let Ok(ulid) = name.parse() {
        return Named::Block(ulid);
    }
    // Prometheus also knows `.tmp`, of old.
    let stem = [IN_CREATION, IN_DELETION, ".tmp"].iter().find_map(|end| name.strip_suffix(end));
    if stem.is_some_and(|stem| stem.parse::<Ulid>().is_ok()) { Named::Leftover } else { Named::Other }
}

/// Whether a link was refused for what it is, so that a copy may do: another file system, one that knows no links (which says that it is
/// not permitted, as a kernel does where the file is somebody else's), or a file with as many links as it can have.
pub(crate) fn knows_no_link(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

/// Takes a block's name away, durably, then removes it. May be called again after it failed.
pub(crate) async fn remove_block<R: Runtime>(runtime: &R, data: &Path, ulid: Ulid) -> Result<(), FileError> {
    let (from, to) = (block(data, ulid), in_deletion(data, ulid));
    let disk = runtime.disk();
    match disk.rename(&from, &to).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed.map_err(FileError::new("rename", &from))?,
    }
    disk.sync_directory(data).await.map_err(FileError::new("sync", data))?;
    remove_folder(runtime, &to).await
}

/// Bytes of the files that shards have in a data directory. What can't be looked at is not counted.
pub(crate) async fn shard_bytes<R: Runtime>(runtime: &R, data: &Path) -> u64 {
    let disk = runtime.disk();
    let mut folders: Vec<PathBuf> = disk.list(data).await.unwrap_or_default().into_iter().map(PathBuf::from).collect();
    folders.retain(|name| shard::names::is_of_a_shard(name.as_os_str()));
    folders.iter_mut().for_each(|name| *name = data.join(&*name));
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for name in disk.list(&folder).await.unwrap_or_default() {
            let path = folder.join(name);
            if disk.list(&path).await.is_ok_and(|names| !names.is_empty()) {
                folders.push(path);
            } else if let Ok(file) = disk.open(&path, OpenMode::Read).await {
                bytes += file.length().await.unwrap_or(0);
            }
        }
    }
    bytes
}

/// Removes a folder of a block that does not count, with the folders in it.
pub(crate) async fn remove_folder<R: Runtime>(runtime: &R, folder: &Path) -> Result<(), FileError> {
    let disk = runtime.disk();
    for inner in [folder.join("chunks"), folder.to_owned()] {
        let names = match disk.list(&inner).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            names => names.map_err(FileError::new("list", &inner))?,
        };
        for name in names {
            let path = inner.join(name);
            disk.remove(&path).await.map_err(FileError::new("remove", &path))?;
        }
        disk.remove_directory(&inner).await.map_err(FileError::new("remove", &inner))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_blocks_from_leftovers() {
        let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(named(ulid), Named::Block(ulid.parse().expect("a ULID")));
        for end in [".tmp-for-creation", ".tmp-for-deletion", ".tmp"] {
            assert_eq!(named(&format!("{ulid}{end}")), Named::Leftover);
        }
        for other in ["wal", "shard-000", "snapshots", "x.tmp", "FORMAT", "01ARZ3NDEKTSV4RRFFQ69G5FAV.bak"] {
            assert_eq!(named(other), Named::Other, "{other}");
        }
    }
}
