//! A segment: pages of 32 KiB with records, or fragments of them where a record does not fit into its page.
//!
//! | bytes of a fragment | what |
//! | --- | --- |
//! | 0 | low three bits: 0 nothing more in this page, 1 a whole record, 2 its first part, 3 a middle one, 4 the last; 8 Snappy, 16 Zstandard |
//! | 1-2 | length of the data, big endian |
//! | 3-6 | CRC-32C of the data, big endian |
//! | 7- | data; a compressed record was compressed as a whole |
//!
//! A record never reaches into another segment.

use std::io::Read;

use codec::crc::crc32c;

const PAGE_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const SNAPPY: u8 = 8;
const ZSTD: u8 = 16;
/// Compressed formats let a few bytes claim any length: more than this many for each is not believed. Snappy's best is 22.
const SNAPPY_RATIO_MAX: usize = 24;
/// Longest record: a scrape's samples, or a batch of a checkpoint, are some megabytes.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// Where a segment stops making sense, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct SegmentError {
    pub offset: u64,
    pub what: SegmentFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    /// As a crash leaves it: what was being written last.
    #[error("the record is not complete")]
    Torn,
    #[error("the checksum of a record's part does not match")]
    Checksum,
    #[error("a page's padding is not zero")]
    Padding,
    #[error("a record's part is longer than what is left of its page")]
    Length,
    #[error("the parts of a record do not follow each other")]
    Sequence,
    #[error("a record's data can't be decompressed")]
    Compression,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    PageEnd,
    Whole,
    First,
    Middle,
    Last,
}

impl Part {
    fn of(kind: u8) -> Option<Self> {
        [Self::PageEnd, Self::Whole, Self::First, Self::Middle, Self::Last].get(usize::from(kind & 7)).copied()
    }
}

/// Where a part begins, its kind and its data.
type Fragment<'a> = (u64, u8, &'a [u8]);

/// Walks through the records of a segment. After an error it ends.
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Parts of the record at hand, then what they hold.
    parts: Vec<u8>,
    record: Vec<u8>,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, parts: Vec::new(), record: Vec::new() }
    }

    /// The next record and the byte at which it begins.
    #[expect(clippy::should_implement_trait, reason = "it lends its buffer")]
    pub fn next(&mut self) -> Option<Result<(u64, &[u8]), SegmentError>> {
        match self.collect() {
            Ok(None) => None,
            Ok(Some(start)) => Some(Ok((start, &self.record))),
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }

    /// Puts the next record together; returns where it begins.
    fn collect(&mut self) -> Result<Option<u64>, SegmentError> {
        let mut start = None;
        self.parts.clear();
        while let Some((offset, kind, data)) = self.part()? {
            let part = Part::of(kind);
            let fits = match part {
                Some(Part::Whole | Part::First) => start.is_none(),
                Some(Part::Middle | Part::Last) => start.is_some(),
                Some(Part::PageEnd) | None => false,
            };
            if !fits {
                return Err(SegmentError { offset, what: SegmentFault::Sequence });
            }
            let begins_at = *start.get_or_insert(offset);
            self.parts.extend_from_slice(data);
            if self.parts.len() > RECORD_BYTES_MAX {
                return Err(SegmentError { offset, what: SegmentFault::Length });
            }
            if matches!(part, Some(Part::Whole | Part::Last)) {
                self.decompress(kind).ok_or(SegmentError { offset: begins_at, what: SegmentFault::Compression })?;
                return Ok(Some(begins_at));
            }
        }
        match start {
            Some(offset) => Err(SegmentError { offset, what: SegmentFault::Torn }),
            None => Ok(None),
        }
    }

    /// The next part that has data, with its place and kind; `None` at the end.
    fn part(&mut self) -> Result<Option<Fragment<'a>>, SegmentError> {
        while let Some(&kind) = self.bytes.get(self.at) {
            let fault = |what| SegmentError { offset: self.at as u64, what };
            let page_end = (self.at / PAGE_BYTES + 1) * PAGE_BYTES;
            let page = &self.bytes[self.at..page_end.min(self.bytes.len())];
            if Part::of(kind) == Some(Part::PageEnd) {
                if page.iter().any(|&byte| byte != 0) {
                    return Err(fault(SegmentFault::Padding));
                }
                self.at += page.len();
                continue;
            }
            let Some((header, behind)) = page.split_first_chunk::<HEADER_BYTES>() else {
                return Err(fault(if page_end > self.bytes.len() { SegmentFault::Torn } else { SegmentFault::Length }));
            };
            let length = usize::from(u16::from_be_bytes([header[1], header[2]]));
            if self.at + HEADER_BYTES + length > page_end {
                return Err(fault(SegmentFault::Length));
            }
            let data = behind.get(..length).ok_or(fault(SegmentFault::Torn))?;
            if crc32c(data).to_be_bytes() != header[3..] {
                return Err(fault(SegmentFault::Checksum));
            }
            let offset = self.at as u64;
            self.at += HEADER_BYTES + length;
            return Ok(Some((offset, kind, data)));
        }
        Ok(None)
    }

    fn decompress(&mut self, kind: u8) -> Option<()> {
        let Self { parts, record, .. } = self;
        record.clear();
        if parts.is_empty() || kind & (SNAPPY | ZSTD) == 0 {
            std::mem::swap(parts, record);
        } else if kind & SNAPPY != 0 {
            let length = snap::raw::decompress_len(parts).ok()?;
            if length > RECORD_BYTES_MAX.min(parts.len() * SNAPPY_RATIO_MAX) {
                return None;
            }
            record.resize(length, 0);
            snap::raw::Decoder::new().decompress(parts, record).ok()?;
        } else {
            // It grows with what there is, not with what is claimed.
            let decoder = ruzstd::decoding::StreamingDecoder::new(&parts[..]).ok()?;
            decoder.take(RECORD_BYTES_MAX as u64 + 1).read_to_end(record).ok()?;
        }
        (record.len() <= RECORD_BYTES_MAX).then_some(())
    }
}
