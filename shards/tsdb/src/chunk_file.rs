//! Chunk files: where sealed chunks of the head go. Format: `docs/format/chunk-file.md`.
//!
//! Chunks are collected into extents of a quarter of a mebibyte that are written once, in order, and never rewritten. Until an
//! extent is on disk its bytes stay here, so a reader finds every chunk from the moment it is sealed. A crash loses what was not
//! written; the log still has those samples.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use codec::{crc::crc32c, histogram};
use model::SeriesId;

use crate::head::ChunkAddress;

/// Bytes at the head of a chunk file: one sector.
pub const HEADER_BYTES: usize = 4096;
/// Bytes after which an extent is written.
pub const EXTENT_BYTES: usize = 256 << 10;
/// Bytes before a chunk's data.
pub const ENTRY_HEADER_BYTES: usize = 16;
pub const MAGIC: [u8; 8] = *b"MILLCHNK";
pub const VERSION: u8 = 3;
/// What the release before wrote: the same without decimal chunks.
const VERSION_BEFORE: u8 = 2;
pub const ENCODING_XOR: u8 = codec::gorilla::ENCODING;

const SECTOR: usize = 4096;

/// Whose a chunk is: 32 bits of the series' identity. Not its position, which changes while the chunk stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct SeriesTag(pub u32);

impl From<SeriesId> for SeriesTag {
    fn from(id: SeriesId) -> Self {
        Self((id.high >> 32) as u32)
    }
}

/// A whole chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub encoding: u8,
    pub data: &'a [u8],
}

fn is_known(version: u8) -> bool {
    matches!(version, VERSION | VERSION_BEFORE)
}

/// The first sector of a chunk file.
pub fn file_header(shard: u16, file: u32) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = VERSION;
    header[10..12].copy_from_slice(&shard.to_le_bytes());
    header[12..16].copy_from_slice(&file.to_le_bytes());
    let sum = crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Checks the first sector of a chunk file.
pub fn check_file_header(header: &[u8], file: u32) -> Result<(), &'static str> {
    if header.len() < HEADER_BYTES || header[..8] != MAGIC {
        return Err("not a chunk file");
    }
    let sum = u32::from_le_bytes(header[HEADER_BYTES - 4..HEADER_BYTES].try_into().expect("four bytes"));
    if sum != crc32c(&header[..HEADER_BYTES - 4]) {
        return Err("the header's checksum does not match");
    }
    if !is_known(header[8]) {
        return Err("written by another version");
    }
    if header[12..16] != file.to_le_bytes() {
        return Err("the file's number is not the one in its name");
    }
    Ok(())
}

/// A run of chunks with its place in a chunk file.
#[derive(Debug)]
pub struct Extent {
    pub file: u32,
    pub offset: u64,
    /// Whole sectors.
    pub bytes: Vec<u8>,
}

impl Extent {
    fn contains(&self, file: u32, offset: u64) -> bool {
        self.file == file && (self.offset..self.offset + self.bytes.len() as u64).contains(&offset)
    }
}

/// Collects sealed chunks and hands out extents.
#[derive(Debug)]
pub struct ExtentBuilder {
    file: u32,
    /// Numbers of files that exist, the one being filled included. Numbers are used again, as an address has room for 1,024.
    in_use: BTreeSet<u32>,
    offset: u64,
    bytes: Vec<u8>,
    /// Full extents that nobody has begun to write.
    ready: VecDeque<Arc<Extent>>,
    /// Extents that are being written.
    writing: Vec<Arc<Extent>>,
}

impl ExtentBuilder {
    pub fn new(first_file: u32) -> Self {
        Self {
            file: first_file,
            in_use: BTreeSet::from([first_file]),
            offset: HEADER_BYTES as u64,
            bytes: Vec::new(),
            ready: VecDeque::new(),
            writing: Vec::new(),
        }
    }

    /// Whether there is an address left for another chunk.
    pub fn has_room(&self) -> bool {
        self.in_use.len() < ChunkAddress::FILES_MAX as usize
    }

    /// Keeps the numbers of files that exist already from being used.
    pub fn occupy(&mut self, files: impl IntoIterator<Item = u32>) {
        self.in_use.extend(files);
    }

    /// Files that exist and are not being filled.
    pub fn finished_files(&self) -> impl Iterator<Item = u32> {
        let unwritten = self.ready.iter().chain(&self.writing).map(|extent| extent.file);
        let busy: BTreeSet<u32> = unwritten.chain([self.file]).collect();
        self.in_use.iter().copied().filter(move |file| !busy.contains(file))
    }

    /// A file is gone; its number may be used again.
    pub fn release(&mut self, file: u32) {
        debug_assert_ne!(file, self.file, "the file that is being filled stays");
        self.in_use.remove(&file);
    }

    fn next_file(&mut self) -> u32 {
        let next = (1..=ChunkAddress::FILES_MAX).map(|step| (self.file + step) % ChunkAddress::FILES_MAX);
        let free = next.into_iter().find(|file| !self.in_use.contains(file));
        let free = free.expect("asked for room when the chunk began");
        self.in_use.insert(free);
        free
    }

    /// Adds a chunk; it can be read back at once.
    pub fn push(&mut self, tag: SeriesTag, encoding: u8, data: &[u8]) -> ChunkAddress {
        let length = (ENTRY_HEADER_BYTES + data.len()).next_multiple_of(ChunkAddress::UNIT as usize);
        if self.offset + (self.bytes.len() + length).next_multiple_of(SECTOR) as u64 > ChunkAddress::FILE_BYTES {
            self.finish_extent();
            self.file = self.next_file();
            self.offset = HEADER_BYTES as u64;
        }
        let address = ChunkAddress::new(self.file, self.offset + self.bytes.len() as u64);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&tag.0.to_le_bytes());
        self.bytes.extend_from_slice(&(data.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&[encoding, VERSION, 0, 0, 0, 0]);
        self.bytes.extend_from_slice(data);
        let sum = crc32c(&self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&sum.to_le_bytes());
        self.bytes.resize(start + length, 0);
        if self.bytes.len() >= EXTENT_BYTES {
            self.finish_extent();
        }
        address
    }

    /// Makes what was collected ready to be written, whatever its size.
    pub fn finish_extent(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        let length = bytes.len() as u64;
        self.ready.push_back(Arc::new(Extent { file: self.file, offset: self.offset, bytes }));
        self.offset += length;
    }

    /// The next extent to write. It stays readable here until [`Self::written`].
    pub fn next_to_write(&mut self) -> Option<Arc<Extent>> {
        let extent = self.ready.pop_front()?;
        self.writing.push(extent.clone());
        Some(extent)
    }

    /// An extent is on disk.
    pub fn written(&mut self, extent: &Arc<Extent>) {
        self.writing.retain(|other| !Arc::ptr_eq(other, extent));
    }

    /// An extent could not be written: it will be offered again, before the others.
    pub fn failed(&mut self, extent: &Arc<Extent>) {
        self.written(extent);
        self.ready.push_front(extent.clone());
    }

    /// Bytes that wait for the disk, those being written included.
    pub fn waiting_bytes(&self) -> usize {
        self.ready.iter().chain(&self.writing).map(|extent| extent.bytes.len()).sum()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The data of a series' chunk that is not on disk yet. Addresses may come from a damaged checkpoint: what is not a chunk of
    /// this series is not there.
    pub fn read(&self, address: ChunkAddress, tag: SeriesTag) -> Option<Chunk<'_>> {
        let (file, offset) = (address.file(), address.offset());
        let (bytes, start) = if file == self.file && offset >= self.offset {
            (&self.bytes, self.offset)
        } else {
            let extent = self.writing.iter().chain(&self.ready).find(|extent| extent.contains(file, offset))?;
            (&extent.bytes, extent.offset)
        };
        let entry = bytes.get((offset - start) as usize..)?;
        let header = entry.get(..ENTRY_HEADER_BYTES)?;
        let length = u16::from_le_bytes([header[8], header[9]]) as usize;
        let data = entry.get(ENTRY_HEADER_BYTES..ENTRY_HEADER_BYTES + length)?;
        (header[4..8] == tag.0.to_le_bytes() && is_known(header[11])).then_some(Chunk { encoding: header[10], data })
    }
}

/// What is wrong with a chunk read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("the chunk is cut off")]
    Short,
    #[error("the chunk's checksum does not match")]
    Checksum,
    #[error("the chunk belongs to another series")]
    Series,
    #[error("the chunk's version {0} is not one that this program knows")]
    Version(u8),
    #[error("the chunk's encoding {0} is not known")]
    Encoding(u8),
}

/// Longest entry of a float chunk, so that one read gets it whole.
pub const ENTRY_BYTES_MAX: usize = 1024;
const _: () = assert!(
    ENTRY_HEADER_BYTES + 2 + (crate::limits::CHUNK_BITS_MAX as usize + 145).div_ceil(8) + 16 <= ENTRY_BYTES_MAX
);

/// Bytes of the entry that begins like this, if its header is there. It is not checked.
pub fn entry_bytes(beginning: &[u8]) -> Option<usize> {
    let length = beginning.get(8..10)?;
    Some(ENTRY_HEADER_BYTES + usize::from(u16::from_le_bytes([length[0], length[1]])))
}

/// Checks an entry as read from a chunk file and returns the chunk.
pub fn check_entry(entry: &[u8], tag: SeriesTag) -> Result<Chunk<'_>, EntryError> {
    match check_any_entry(entry)? {
        (found, chunk) if found == tag => Ok(chunk),
        _ => Err(EntryError::Series),
    }
}

/// The same for whoever walks a file and takes each entry's word for whose it is.
pub fn check_any_entry(entry: &[u8]) -> Result<(SeriesTag, Chunk<'_>), EntryError> {
    let header = entry.get(..ENTRY_HEADER_BYTES).ok_or(EntryError::Short)?;
    let length = u16::from_le_bytes([header[8], header[9]]) as usize;
    let whole = entry.get(..ENTRY_HEADER_BYTES + length).ok_or(EntryError::Short)?;
    if crc32c(&whole[4..]).to_le_bytes() != header[..4] {
        return Err(EntryError::Checksum);
    }
    if !is_known(header[11]) {
        return Err(EntryError::Version(header[11]));
    }
    let encoding = header[10];
    if !codec::is_float(encoding) && !histogram::is_histogram(encoding) {
        return Err(EntryError::Encoding(encoding));
    }
    let tag = u32::from_le_bytes(header[4..8].try_into().expect("four bytes"));
    Ok((SeriesTag(tag), Chunk { encoding, data: &whole[ENTRY_HEADER_BYTES..] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_readable_before_and_after_they_are_written() {
        let mut builder = ExtentBuilder::new(3);
        let data: Vec<Vec<u8>> = (0..2000u32).map(|number| vec![number as u8; 1 + number as usize % 500]).collect();
        let addresses: Vec<_> =
            data.iter().enumerate().map(|(at, data)| builder.push(SeriesTag(at as u32), ENCODING_XOR, data)).collect();
        for (at, (address, data)) in addresses.iter().zip(&data).enumerate() {
            assert_eq!(builder.read(*address, SeriesTag(at as u32)), Some(Chunk { encoding: ENCODING_XOR, data }));
            assert_eq!(builder.read(*address, SeriesTag(at as u32 + 1)), None, "another series");
        }
        assert_eq!(
            builder.read(ChunkAddress::new(3, ChunkAddress::FILE_BYTES - 16), SeriesTag(0)),
            None,
            "not reached yet"
        );
        builder.finish_extent();
        let mut file = vec![0; HEADER_BYTES];
        while let Some(extent) = builder.next_to_write() {
            assert_eq!((extent.file, extent.offset), (3, file.len() as u64), "in order, without a gap");
            file.extend_from_slice(&extent.bytes);
            builder.written(&extent);
        }
        assert_eq!(builder.waiting_bytes(), 0);
        for (at, (address, data)) in addresses.iter().zip(&data).enumerate() {
            assert_eq!(builder.read(*address, SeriesTag(at as u32)), None);
            let entry = &file[address.offset() as usize..];
            assert_eq!(check_entry(entry, SeriesTag(at as u32)), Ok(Chunk { encoding: ENCODING_XOR, data }));
            assert_eq!(check_entry(entry, SeriesTag(at as u32 + 1)), Err(EntryError::Series));
        }
        file[addresses[7].offset() as usize + ENTRY_HEADER_BYTES] ^= 1;
        assert_eq!(check_entry(&file[addresses[7].offset() as usize..], SeriesTag(7)), Err(EntryError::Checksum));
    }

    #[test]
    fn a_full_file_is_followed_by_the_next() {
        let mut builder = ExtentBuilder::new(0);
        let data = vec![7; 900];
        let mut last = ChunkAddress::new(0, HEADER_BYTES as u64);
        while last.file() < 2 {
            let address = builder.push(SeriesTag(1), ENCODING_XOR, &data);
            assert!(address.offset() + 1024 <= ChunkAddress::FILE_BYTES);
            last = address;
            while let Some(extent) = builder.next_to_write() {
                assert!(extent.offset + extent.bytes.len() as u64 <= ChunkAddress::FILE_BYTES);
                builder.written(&extent);
            }
        }
        assert_eq!(last.offset(), HEADER_BYTES as u64);
    }

    #[test]
    fn numbers_of_files_that_are_gone_are_used_again() {
        let mut builder = ExtentBuilder::new(ChunkAddress::FILES_MAX - 1);
        builder.occupy([0, 2]);
        let data = vec![7; 900];
        let mut files = vec![ChunkAddress::FILES_MAX - 1];
        while files.len() < 4 {
            let file = builder.push(SeriesTag(1), ENCODING_XOR, &data).file();
            while let Some(extent) = builder.next_to_write() {
                builder.written(&extent);
            }
            if files.last() != Some(&file) {
                files.push(file);
                if file == 3 {
                    builder.release(0);
                }
            }
        }
        assert_eq!(files, [ChunkAddress::FILES_MAX - 1, 1, 3, 4]);
        assert!(builder.finished_files().eq([1, 2, 3, ChunkAddress::FILES_MAX - 1]));
    }
}
