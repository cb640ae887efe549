//! Blocking file calls, as the helper threads make them; errors name the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, OFlags},
    io::Errno,
};

use crate::{AlignedBuffer, DurableWay, FileMap, OpenMode, SECTOR_BYTES};

/// Piece in which a new log file is filled with zeros.
const FILL_BYTES: usize = 1 << 20;

/// A file opened for blocking calls.
#[derive(Debug)]
pub(crate) struct BlockingFile {
    file: File,
    /// As it was opened; for errors.
    path: PathBuf,
    /// Opened past the page cache: address, offset and length of each call must be aligned.
    direct: bool,
    /// Each write is followed by a flush, as the file was not opened for synchronous writes.
    flush_writes: bool,
    /// Writes are to change no metadata, so space is filled, not only reserved.
    fill: bool,
}

impl BlockingFile {
    pub(crate) fn open(path: &Path, mode: OpenMode, way: DurableWay) -> io::Result<Self> {
        let plain = |file: io::Result<File>| Ok((file?, false));
        let opened = match mode {
            OpenMode::Read => plain(OpenOptions::new().read(true).open(path)),
            OpenMode::Create => plain(OpenOptions::new().read(true).write(true).create_new(true).open(path)),
            OpenMode::CreateDurable => open_durable(path, way, true),
            OpenMode::ReuseDurable => open_durable(path, way, false),
        };
        let (file, direct) = opened.map_err(|error| named(error, "opening", path))?;
        let durable = mode.is_durable();
        Ok(Self {
            file,
            path: path.to_owned(),
            direct,
            flush_writes: durable && way == DurableWay::WriteThenFlush,
            fill: durable,
        })
    }

    /// Adds the file's name.
    fn named(&self, error: io::Error, action: &str) -> io::Error {
        named(error, action, &self.path)
    }

    pub(crate) fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let written = check_aligned(buffer.len(), offset).and_then(|()| self.write_through(buffer, offset));
        written.map_err(|error| self.named(error, &writing(buffer.len(), offset)))
    }

    fn write_through(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buffer, offset)?;
        if self.flush_writes { self.file.sync_data() } else { Ok(()) }
    }

    pub(crate) fn read_at(&self, buffer: &mut AlignedBuffer, offset: u64) -> io::Result<usize> {
        let bytes = buffer.len();
        let read = if !self.direct || check_aligned(bytes, offset).is_ok() {
            read_full(&self.file, buffer, offset)
        } else {
            self.read_around(buffer, offset)
        };
        read.map_err(|error| self.named(error, &format!("reading {bytes} bytes at offset {offset} of")))
    }

    /// Reads the sectors that hold what is asked for.
    fn read_around(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = offset - offset % SECTOR_BYTES as u64;
        let skipped = usize::try_from(offset - start).map_err(io::Error::other)?;
        let mut sectors = AlignedBuffer::zeroed((skipped + buffer.len()).next_multiple_of(SECTOR_BYTES));
        let read = read_full(&self.file, &mut sectors, start)?;
        let useful = read.saturating_sub(skipped).min(buffer.len());
        buffer[..useful].copy_from_slice(&sectors[skipped..skipped + useful]);
        Ok(useful)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| self.named(error, "syncing"))
    }

    pub(crate) fn allocate(&self, bytes: u64) -> io::Result<()> {
        let filled =
            reserve(&self.file, bytes).and_then(|()| if self.fill { self.fill_with_zeros(bytes) } else { Ok(()) });
        filled.map_err(|error| self.named(error, &format!("allocating {bytes} bytes for")))
    }

    pub(crate) fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes).map_err(|error| self.named(error, &format!("setting the length to {bytes} of")))
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(|error| self.named(error, "asking for the length of"))?.len())
    }

    /// Writes the space once: the first write to space that is only reserved changes the extent tree, which costs a commit of the
    /// file system's journal for each of our writes.
    fn fill_with_zeros(&self, bytes: u64) -> io::Result<()> {
        let zeros = AlignedBuffer::zeroed(FILL_BYTES);
        let mut offset = 0;
        while offset < bytes {
            let piece = usize::try_from(bytes - offset).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
            self.file.write_all_at(&zeros[..piece], offset)?;
            offset += piece as u64;
        }
        self.file.sync_all()
    }
}

/// How errors of writes begin.
fn writing(bytes: usize, offset: u64) -> String {
    format!("writing {bytes} bytes at offset {offset} of")
}

/// Past the page cache where the file system can, which the flag tells, and synchronous or to be flushed, as measured.
fn open_durable(path: &Path, way: DurableWay, is_new: bool) -> io::Result<(File, bool)> {
    let synced = match way {
        DurableWay::SyncedWrite => OFlags::DSYNC,
        DurableWay::WriteThenFlush => OFlags::empty(),
    };
    let open = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        OpenOptions::new().read(true).write(true).create_new(is_new).custom_flags(flags).open(path)
    };
    match open(synced | OFlags::DIRECT) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            if is_new {
                // Refused only after the name was made, by some file systems.
                drop(fs::remove_file(path));
            }
            Ok((open(synced)?, false))
        }
        created => Ok((created?, true)),
    }
}

/// Space and length, or the length alone where the file system knows no reservation.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) => file.set_len(bytes.max(file.metadata()?.len())),
        done => Ok(done?),
    }
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// What [`crate::File::write_at`] asks of its callers.
fn check_aligned(bytes: usize, offset: u64) -> io::Result<()> {
    if bytes.is_multiple_of(SECTOR_BYTES) && offset.is_multiple_of(SECTOR_BYTES as u64) {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::InvalidInput, format!("not aligned to {SECTOR_BYTES} bytes")))
}

pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        done => done.map_err(|error| named(error, "creating the folder", path)),
    }
}

pub(crate) fn list(path: &Path) -> io::Result<Vec<String>> {
    list_unnamed(path).map_err(|error| named(error, "listing the folder", path))
}

fn list_unnamed(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().into_string();
        names.push(name.map_err(|name| {
            io::Error::new(ErrorKind::InvalidData, format!("the name {} is not UTF-8", name.display()))
        })?);
    }
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|error| named(error, &format!("renaming to {}", to.display()), from))
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).map_err(|error| named(error, "removing", path))
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| named(error, "syncing the folder", path))
}

pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).map_err(|error| named(error, &format!("linking to {}", to.display()), from))
}

pub(crate) fn remove_directory(path: &Path) -> io::Result<()> {
    fs::remove_dir(path).map_err(|error| named(error, "removing the folder", path))
}

pub(crate) fn map(path: &Path) -> io::Result<FileMap> {
    File::open(path).and_then(|file| FileMap::of(&file)).map_err(|error| named(error, "mapping", path))
}

/// The same kind of error, with what was done to which file.
pub(crate) fn named(error: io::Error, action: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}
