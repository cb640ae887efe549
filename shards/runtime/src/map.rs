//! A file's bytes as memory, for files that are written once and never changed.
//!
//! A page that the disk can't give would end the process by SIGBUS: one bad sector in an old file, and the server dies again and
//! again. So mappings are known to a handler of that signal, which puts a page of zeros in the place of the lost one and counts it.
//! Whoever reads has checksums, and finds damage there as anywhere else.

use std::{fmt, fs::File, io, ops::Deref, sync::Arc};

use memmap2::Mmap;

mod guard;

pub use guard::lost_pages;

/// The bytes of a file as they were when it was mapped. Clones are the same bytes; the file may lose its name meanwhile.
#[derive(Clone)]
pub struct FileMap(Arc<Bytes>);

enum Bytes {
    Mapped(Guarded),
    Owned(Vec<u8>),
}

/// A mapping and its place in the handler's table, which is given back first.
struct Guarded {
    _place: guard::Place,
    map: Mmap,
}

impl FileMap {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: `Disk::map` asks its callers that the file is not changed any more, and nothing of ours ever shortens a file that
        // has its final name. What another program does to it is beyond us, as with any file that is open.
        let map = unsafe { Mmap::map(file)? };
        Self::guarded(map)
    }

    /// The beginning of a file that is still appended to. What lies before `length` must have been written already, and must not be
    /// changed any more.
    pub fn of_beginning(file: &File, length: usize) -> io::Result<Self> {
        // What a file is shorter by than it should be would be lost pages.
        let length = length.min(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: only bytes before `length` are mapped to be read, and the caller promises that they are not changed any more; those behind
        // them in the last page are not part of the slice. Nothing of ours shortens a file.
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(file)? };
        Self::guarded(map)
    }

    fn guarded(map: Mmap) -> io::Result<Self> {
        let place = guard::Place::take(map.as_ptr_range())?;
        Ok(Self(Arc::new(Bytes::Mapped(Guarded { _place: place, map }))))
    }

    /// Says that the pages will not be needed soon: they stay in the page cache, but count for this process no more.
    pub fn release_pages(&self) {
        if let Bytes::Mapped(Guarded { map, .. }) = &*self.0 {
            // SAFETY: the mapping is of a file and shared, so dropped pages come back from it unchanged; one that was lost stays zeros.
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
            Bytes::Mapped(Guarded { map, .. }) => map,
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A page behind the end of a file is as lost as one that the disk can't read, and easier to have.
    #[test]
    fn a_lost_page_reads_as_zeros_and_is_counted() {
        let page = rustix::param::page_size();
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![7; 3 * page]).expect("written");
        let map = FileMap::of(&file).expect("mapped");
        let other = map.clone();
        assert!(map.iter().all(|&byte| byte == 7));
        file.set_len(page as u64).expect("shortened");
        let before = lost_pages();
        assert_eq!((map[page - 1], map[page], map[2 * page + 5]), (7, 0, 0));
        assert_eq!(lost_pages() - before, 2);
        drop(map);
        assert_eq!(other[page + 1], 0);
        assert_eq!(lost_pages() - before, 2, "once for each page");
    }

    #[test]
    fn a_beginning_stays_while_the_file_grows() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&[7; 5000]).expect("written");
        let map = FileMap::of_beginning(&file, 4500).expect("mapped");
        file.write_all(&[8; 5000]).expect("written");
        assert!(map.len() == 4500 && map.iter().all(|&byte| byte == 7));
        assert_eq!(FileMap::of_beginning(&file, 20_000).expect("mapped").len(), 10_000, "no more than there is");
    }

    #[test]
    fn an_empty_file_is_mapped_too() {
        let file = tempfile::tempfile().expect("a temporary file");
        assert!(FileMap::of(&file).expect("mapped").is_empty());
    }
}
