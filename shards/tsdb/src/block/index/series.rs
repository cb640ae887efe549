//! Entries of series.

use super::SymbolPair;
use crate::block::{BlockError, ChunkMeta, ChunkReference, Damage, bytes::Cursor};

/// What the index has of a series. Reading the next one into it uses its memory again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesEntry {
    /// By name.
    pub labels: Vec<SymbolPair>,
    /// As written: by time, unless something other than Prometheus wrote them.
    pub chunks: Vec<ChunkMeta>,
}

impl SeriesEntry {
    /// Reads the entry that starts at the cursor. Every label is one of `symbols`.
    pub(super) fn read(&mut self, mut cursor: Cursor<'_>, symbols: u32) -> Result<(), BlockError> {
        let start = cursor.offset();
        let length = cursor.unsigned()?;
        let mut body = cursor.checked(length, start)?;
        self.read_labels(&mut body, symbols)?;
        self.read_chunks(&mut body)?;
        if body.is_empty() { Ok(()) } else { Err(body.damage(Damage::Count)) }
    }

    fn read_labels(&mut self, body: &mut Cursor<'_>, symbols: u32) -> Result<(), BlockError> {
        self.labels.clear();
        let mut next_name = 0;
        for _ in 0..body.unsigned()? {
            let start = *body;
            let (name, value) = (body.unsigned_u32()?, body.unsigned_u32()?);
            if name >= symbols || value >= symbols {
                return Err(start.damage(Damage::Reference));
            }
            if name < next_name {
                return Err(start.damage(Damage::Order));
            }
            next_name = name + 1;
            self.labels.push((name, value));
        }
        Ok(())
    }

    /// Times and references are relative to those before, wrapping as Go does.
    fn read_chunks(&mut self, body: &mut Cursor<'_>) -> Result<(), BlockError> {
        self.chunks.clear();
        for _ in 0..body.unsigned()? {
            let start = *body;
            let last = self.chunks.last();
            let min_time = match last {
                None => body.signed()?,
                Some(last) => last.max_time.wrapping_add(body.unsigned()? as i64),
            };
            let max_time = min_time.wrapping_add(body.unsigned()? as i64);
            let reference = ChunkReference(match last {
                None => body.unsigned()?,
                Some(last) => last.reference.0.wrapping_add(body.signed()? as u64),
            });
            if max_time < min_time {
                return Err(start.damage(Damage::Order));
            }
            self.chunks.push(ChunkMeta { min_time, max_time, reference });
        }
        Ok(())
    }
}
