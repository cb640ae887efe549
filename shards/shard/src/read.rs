//! Reading sealed chunks, on the reader's own threads.
//!
//! Chunk files are never rewritten, so readers need nothing from the shard but the addresses in a selection.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use codec::prefetch::prefetch_read;
use runtime::FileMap;
use tsdb::{
    chunk_file::{Chunk, ENTRY_BYTES_MAX, EntryError, SeriesTag, check_entry, check_file_header, entry_bytes},
    head::ChunkAddress,
};

use crate::{names::ShardFolders, shared::Shared};

/// What a chunk of floats mostly has, at most.
const PREFETCH_BYTES: usize = 5 * CACHE_LINE;
const CACHE_LINE: usize = 64;
/// Files kept open at most; a read of another one closes all and begins anew.
const OPEN_FILES_MAX: usize = 512;

/// The chunk files of all shards.
pub struct ChunkFiles {
    folders: Vec<ShardFolders>,
    shared: Arc<Shared>,
    open: Mutex<OpenFiles>,
    maps: Mutex<Maps>,
}

/// Beginnings of chunk files, by shard and number.
#[derive(Default)]
pub struct MappedChunks(Vec<MappedFiles>);

/// Those of one shard: from a number on, since the numbers in use follow each other.
#[derive(Default)]
struct MappedFiles {
    first: u32,
    maps: Vec<Option<FileMap>>,
}

impl MappedChunks {
    #[inline]
    fn get(&self, shard: usize, number: u32) -> Option<&FileMap> {
        let MappedFiles { first, maps } = self.0.get(shard)?;
        maps.get(number.checked_sub(*first)? as usize)?.as_ref()
    }

    /// Files of a shard come in order of their numbers.
    fn insert(&mut self, shard: usize, number: u32, map: FileMap) {
        if self.0.len() <= shard {
            self.0.resize_with(shard + 1, MappedFiles::default);
        }
        let MappedFiles { first, maps } = &mut self.0[shard];
        if maps.is_empty() {
            *first = number;
        }
        maps.resize((number - *first) as usize, None);
        maps.push(Some(map));
    }

    /// Has the processor fetch the beginning of a chunk that will be read soon.
    #[inline]
    pub fn prefetch(&self, shard: usize, address: ChunkAddress) {
        if let Some(map) = self.get(shard, address.file()) {
            let start = address.offset() as usize;
            (start..start + PREFETCH_BYTES).step_by(CACHE_LINE).for_each(|at| prefetch_read(map, at));
        }
    }
}

/// Mappings that were made for a selection and serve the next: their pages are known to the process already.
#[derive(Default)]
struct Maps {
    /// As of the open files.
    removed: u64,
    files: HashMap<(usize, u32), (FileMap, Instant)>,
}

#[derive(Default)]
struct OpenFiles {
    /// Files removed so far when these were opened: a number may since mean another file.
    removed: u64,
    files: HashMap<(usize, u32), Arc<File>>,
}

/// A chunk that can't be read: what is wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read {} at byte {offset}: {source}", path.display())]
    Io { path: PathBuf, offset: u64, source: io::Error },
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Entry { path: PathBuf, offset: u64, what: EntryError },
}

impl ChunkFiles {
    pub fn new(data: &Path, shared: Arc<Shared>) -> Self {
        let folders = (0..shared.shard_count()).map(|shard| ShardFolders::new(data, shard)).collect();
        Self { folders, shared, open: Mutex::default(), maps: Mutex::default() }
    }

    /// Maps the chunks at these addresses, by shard, for whoever is going to read them all. A file that can't be mapped, as when too many are
    /// already, is left to be read.
    pub fn map(&self, chunks: impl IntoIterator<Item = (usize, ChunkAddress)>) -> Result<MappedChunks, ReadError> {
        let mut ends: BTreeMap<(usize, u32), u64> = BTreeMap::new();
        for (shard, address) in chunks {
            let end = ends.entry((shard, address.file())).or_default();
            *end = (*end).max(address.offset() + ENTRY_BYTES_MAX as u64);
        }
        let mut mapped = MappedChunks::default();
        for ((shard, number), end) in ends {
            // The last chunk may end before this; what follows it in the file is not written or another one.
            if let Some(map) = self.map_beginning(shard, number, end as usize - ENTRY_BYTES_MAX)? {
                mapped.insert(shard, number, map);
            }
        }
        Ok(mapped)
    }

    fn map_beginning(&self, shard: usize, number: u32, length: usize) -> Result<Option<FileMap>, ReadError> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = self.shared.chunk_files_removed();
        if std::mem::replace(&mut maps.removed, removed) != removed {
            maps.files.clear();
        }
        if let Some((map, used)) = maps.files.get_mut(&(shard, number)).filter(|(map, _)| map.len() >= length) {
            *used = Instant::now();
            return Ok(Some(map.clone()));
        }
        let file = self.file(shard, number)?;
        let Ok(map) = FileMap::of_beginning(&file, length) else { return Ok(None) };
        maps.files.insert((shard, number), (map.clone(), Instant::now()));
        Ok(Some(map))
    }

    /// Lets go of mappings that no selection has asked for so long: their pages are of the process' resident memory.
    pub fn unmap_unused(&self, unused_for: Duration) {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.files.retain(|_, (_, used)| used.elapsed() < unused_for);
    }

    /// Returns a chunk, checked: from memory if it is mapped, or else read into `buffer`.
    pub fn read_mapped<'a>(
        &self,
        shard: usize,
        tag: SeriesTag,
        address: ChunkAddress,
        mapped: &'a MappedChunks,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Chunk<'a>, ReadError> {
        let found = mapped.get(shard, address.file()).and_then(|map| map.get(address.offset() as usize..));
        match found.filter(|entry| entry_bytes(entry).is_some_and(|length| length <= entry.len())) {
            Some(entry) => check_entry(entry, tag).map_err(|what| ReadError::Entry {
                path: self.folders[shard].chunk_file(address.file()),
                offset: address.offset(),
                what,
            }),
            None => self.read(shard, tag, address, buffer),
        }
    }

    /// Reads a chunk into `buffer` and returns it, checked.
    pub fn read<'a>(
        &self,
        shard: usize,
        tag: SeriesTag,
        address: ChunkAddress,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Chunk<'a>, ReadError> {
        let path = || self.folders[shard].chunk_file(address.file());
        let offset = address.offset();
        let io_error = |source| ReadError::Io { path: path(), offset, source };
        let file = self.file(shard, address.file())?;
        buffer.clear();
        read_up_to(&file, offset, ENTRY_BYTES_MAX, buffer).map_err(io_error)?;
        // A chunk of histograms can be longer.
        if let Some(length) = entry_bytes(buffer).filter(|&length| length > buffer.len()) {
            read_up_to(&file, offset, length, buffer).map_err(io_error)?;
        }
        check_entry(buffer, tag).map_err(|what| ReadError::Entry { path: path(), offset, what })
    }

    fn file(&self, shard: usize, number: u32) -> Result<Arc<File>, ReadError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = self.shared.chunk_files_removed();
        if std::mem::replace(&mut open.removed, removed) != removed {
            open.files.clear();
        }
        if let Some(file) = open.files.get(&(shard, number)) {
            return Ok(file.clone());
        }
        let path = self.folders[shard].chunk_file(number);
        let file = open_checked(&path, number)?;
        if open.files.len() >= OPEN_FILES_MAX {
            open.files.clear();
        }
        Ok(open.files.entry((shard, number)).or_insert(Arc::new(file)).clone())
    }
}

/// Appends what follows in a file until there are `length` bytes, or the file ends.
fn read_up_to(file: &File, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut filled = buffer.len();
    buffer.resize(length, 0);
    while filled < length {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

fn open_checked(path: &Path, number: u32) -> Result<File, ReadError> {
    let io_error = |source| ReadError::Io { path: path.to_owned(), offset: 0, source };
    let file = File::open(path).map_err(io_error)?;
    let mut header = vec![0; tsdb::chunk_file::HEADER_BYTES];
    file.read_exact_at(&mut header, 0).map_err(io_error)?;
    if let Err(what) = check_file_header(&header, number) {
        // Each chunk says itself whether it is sound, and whose it is.
        tracing::error!(file = %path.display(), "damage found in the first sector: {what}");
    }
    Ok(file)
}
