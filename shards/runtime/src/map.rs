//! A file's bytes as memory, for files that are written once and never changed.

use std::{fmt, fs::File, io, ops::Deref, sync::Arc};

use memmap2::Mmap;

/// The bytes of a file as they were when it was mapped. Clones are the same bytes; the file may lose its name meanwhile.
#[derive(Clone)]
pub struct FileMap(Arc<Bytes>);

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl FileMap {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: `Disk::map` asks its callers that the file is not changed any more, and nothing of ours ever shortens a file that
        // has its final name. What another program does to it is beyond us, as with any file that is open.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(Arc::new(Bytes::Mapped(map))))
    }

    /// Says that the pages will not be needed soon: they stay in the page cache, but count for this process no more.
    pub fn release_pages(&self) {
        if let Bytes::Mapped(map) = &*self.0 {
            // SAFETY: the mapping is of a file and shared, so dropped pages come back from it unchanged.
            let released = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            // An advice that is not taken changes nothing.
            released.ok();
        }
    }
}

/// For disks that are not real.
impl From<Vec<u8>> for FileMap {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Bytes::Owned(bytes)))
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for FileMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileMap of {} bytes", self.len())
    }
}
