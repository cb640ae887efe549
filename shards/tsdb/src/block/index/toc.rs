//! The table of contents: the last 52 bytes of an index.

use codec::crc::crc32c;

use super::HEADER_BYTES;
use crate::block::{
    BlockError, Damage,
    bytes::{Cursor, SUM_BYTES},
};

/// Where the sections start. In the order of the table, which is not quite that of the sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Toc {
    pub(super) symbols: u64,
    pub(super) series: u64,
    pub(super) label_indices: u64,
    pub(super) label_offset_table: u64,
    pub(super) postings: u64,
    pub(super) postings_offset_table: u64,
}

impl Toc {
    pub(super) const BYTES: usize = 6 * 8 + SUM_BYTES;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.offsets().iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
        let sum = crc32c(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
    }

    /// Reads the table of a whole file. Each section lies between the header and the table.
    pub(super) fn decode(file: &[u8]) -> Result<Self, BlockError> {
        let start = file.len().saturating_sub(Self::BYTES) as u64;
        let mut table = Cursor::at(file, start)?.checked((Self::BYTES - SUM_BYTES) as u64, start)?;
        let mut next = || {
            let entry = table.offset();
            match table.be_u64()? {
                offset if (HEADER_BYTES as u64..=start).contains(&offset) => Ok(offset),
                _ => Err(BlockError::damaged(entry, Damage::Reference)),
            }
        };
        Ok(Self {
            symbols: next()?,
            series: next()?,
            label_indices: next()?,
            label_offset_table: next()?,
            postings: next()?,
            postings_offset_table: next()?,
        })
    }

    /// Where the series end: at the next section, whichever that is.
    pub(super) fn series_end(&self, file_bytes: u64) -> u64 {
        let behind = self.offsets().into_iter().filter(|&offset| offset > self.series);
        behind.min().unwrap_or(file_bytes.saturating_sub(Self::BYTES as u64))
    }

    fn offsets(&self) -> [u64; 6] {
        [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_offset_table,
            self.postings,
            self.postings_offset_table,
        ]
    }
}
