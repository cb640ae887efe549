//! Chunk segments: the files that hold the chunks of a block.
//!
//! A segment is at most 512 MiB, so that a 32-bit offset is enough and a file can be mapped at once. The first is named `000001`
//! and is number 0 in references.

use std::collections::VecDeque;

use codec::{crc::crc32c, varint::put_unsigned};

use super::{
    BlockError, ChunkReference,
    bytes::{Cursor, SUM_BYTES, unsigned_bytes},
};

const MAGIC: u32 = 0x85bd_40dd;
const VERSION: u8 = 1;
/// Magic, version, three bytes of zeros.
const HEADER_BYTES: usize = 8;
/// Longest segment, header included.
pub const SEGMENT_BYTES_MAX: u32 = 512 << 20;

/// Name of a segment's file in the folder `chunks`.
pub fn file_name(segment: u32) -> String {
    format!("{:06}", u64::from(segment) + 1)
}

/// Bytes to append to a segment's file. Pieces come in order: one of a new segment means that the last is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPiece {
    pub segment: u32,
    pub bytes: Vec<u8>,
}

/// Puts chunks one behind the other and begins a new segment where one is full. Holds what the driver has not taken yet.
#[derive(Debug)]
pub struct SegmentWriter {
    segment_bytes_max: u32,
    segment: u32,
    /// Length of the segment so far, with what has been taken.
    length: u32,
    /// Of the current segment.
    bytes: Vec<u8>,
    /// Ends of earlier segments.
    complete: VecDeque<SegmentPiece>,
}

impl Default for SegmentWriter {
    fn default() -> Self {
        Self::new(SEGMENT_BYTES_MAX)
    }
}

impl SegmentWriter {
    /// A writer of segments of another length.
    pub fn new(segment_bytes_max: u32) -> Self {
        Self { segment_bytes_max, segment: 0, length: 0, bytes: Vec::new(), complete: VecDeque::new() }
    }

    /// A writer whose first segment has this number, as there are others before it.
    pub fn starting_at(segment: u32) -> Self {
        Self { segment, ..Self::default() }
    }

    /// Adds a chunk as it is: `data` without its encoding byte. One that is longer than a segment gets a segment of its own.
    pub fn push(&mut self, encoding: u8, data: &[u8]) -> ChunkReference {
        let length = unsigned_bytes(data.len() as u64) + 1 + data.len() + SUM_BYTES;
        let length = u32::try_from(length).expect("a chunk holds at most 65,535 samples, far below 4 GiB");
        let end = u64::from(self.length) + u64::from(length);
        if self.length > HEADER_BYTES as u32 && end > u64::from(self.segment_bytes_max) {
            self.begin_segment();
        }
        if self.length == 0 {
            self.put_header();
        }
        let reference = ChunkReference::new(self.segment, self.length);
        put_unsigned(&mut self.bytes, data.len() as u64);
        let start = self.bytes.len();
        self.bytes.push(encoding);
        self.bytes.extend_from_slice(data);
        let sum = crc32c(&self.bytes[start..]);
        self.bytes.extend_from_slice(&sum.to_be_bytes());
        self.length += length;
        reference
    }

    /// Bytes that wait for the driver.
    pub fn ready_bytes(&self) -> usize {
        self.bytes.len() + self.complete.iter().map(|piece| piece.bytes.len()).sum::<usize>()
    }

    /// The next piece to write, if there is one.
    pub fn take_ready(&mut self) -> Option<SegmentPiece> {
        let current = |writer: &mut Self| {
            let bytes = std::mem::take(&mut writer.bytes);
            (!bytes.is_empty()).then_some(SegmentPiece { segment: writer.segment, bytes })
        };
        self.complete.pop_front().or_else(|| current(self))
    }

    fn begin_segment(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.complete.push_back(SegmentPiece { segment: self.segment, bytes });
        }
        self.segment += 1;
        self.length = 0;
    }

    fn put_header(&mut self) {
        self.bytes.extend_from_slice(&MAGIC.to_be_bytes());
        self.bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        self.length = HEADER_BYTES as u32;
    }
}

/// Checks the first bytes of a segment.
pub fn check_header(segment: &[u8]) -> Result<(), BlockError> {
    let mut cursor = Cursor::at(segment, 0)?;
    if cursor.be_u32()? != MAGIC {
        return Err(BlockError::Magic);
    }
    match cursor.take(1)?[0] {
        VERSION => Ok(()),
        version => Err(BlockError::Version(version)),
    }
}

/// Reads the chunk at an offset: its encoding, and its data without the encoding byte. What the data means is for `codec` to say.
pub fn chunk(segment: &[u8], offset: u32) -> Result<(u8, &[u8]), BlockError> {
    let offset = u64::from(offset);
    let mut cursor = Cursor::at(segment, offset)?;
    let length = cursor.unsigned()?;
    // A length that overflows is more than there is.
    let mut entry = cursor.checked(length.saturating_add(1), offset)?;
    let encoding = entry.take(1)?[0];
    Ok((encoding, entry.rest()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All segments as files, taken after every chunk or at the end.
    fn segments(writer: &mut SegmentWriter, files: &mut Vec<Vec<u8>>) {
        while let Some(piece) = writer.take_ready() {
            assert!(piece.segment as usize + 1 >= files.len(), "pieces come in order");
            files.resize(piece.segment as usize + 1, Vec::new());
            files[piece.segment as usize].extend_from_slice(&piece.bytes);
        }
        assert_eq!(writer.ready_bytes(), 0);
    }

    proptest! {
        #[test]
        fn chunks_come_back_from_segments_that_keep_their_length(
            chunks in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..40),
        ) {
            let (mut writer, mut files) = (SegmentWriter::new(400), Vec::new());
            let mut references = Vec::new();
            for (encoding, data, drain) in &chunks {
                references.push(writer.push(*encoding, data));
                if *drain {
                    segments(&mut writer, &mut files);
                }
            }
            segments(&mut writer, &mut files);
            prop_assert!(references.is_sorted());
            for file in &files {
                prop_assert!(check_header(file).is_ok() && file.len() <= 400, "{} bytes", file.len());
            }
            for (reference, (encoding, data, _)) in references.iter().zip(&chunks) {
                let file = &files[reference.segment() as usize];
                prop_assert_eq!(chunk(file, reference.offset()), Ok((*encoding, &data[..])));
            }
        }

        #[test]
        fn any_bytes_are_a_chunk_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40), offset in 0..50u32) {
            if let Ok((_, data)) = chunk(&bytes, offset) {
                prop_assert!(data.len() < bytes.len());
            }
        }
    }

    #[test]
    fn every_changed_bit_of_a_chunk_is_noticed() {
        let mut writer = SegmentWriter::default();
        let references = [b"".as_slice(), &[7; 200], b"abc"].map(|data| writer.push(1, data));
        let file = writer.take_ready().expect("three chunks").bytes;
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                let changed = references
                    .iter()
                    .filter(|reference| chunk(&damaged, reference.offset()) != chunk(&file, reference.offset()));
                for reference in changed.clone() {
                    assert!(chunk(&damaged, reference.offset()).is_err(), "byte {at}, bit {bit}");
                }
                let padding = (5..HEADER_BYTES).contains(&at);
                assert!(changed.count() == 1 || check_header(&damaged).is_err() || padding, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn names_and_references_count_as_prometheus_does() {
        assert_eq!(file_name(0), "000001");
        assert_eq!(file_name(999_999), "1000000");
        let reference = ChunkReference::new(2, 8);
        assert_eq!((reference.0, reference.segment(), reference.offset()), (2 << 32 | 8, 2, 8));
    }
}
