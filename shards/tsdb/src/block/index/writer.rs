//! Writing an index: symbols first, then series as they come, then the tables that lead to them.

use codec::{
    crc::{crc32c, extend},
    varint::{put_signed, put_unsigned},
};

use super::{
    FinishedIndex, HEADER_BYTES, MAGIC, SERIES_ALIGN, SymbolPair, SymbolTable, VERSION, pair_lists::PairLists,
};
use crate::{
    block::{ChunkMeta, bytes::SUM_BYTES},
    segmented::Pages,
};

/// Bytes that are handed out at once, more or less.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// The length of a list of postings has four bytes.
const SERIES_MAX: usize = (u32::MAX as usize - 4) / 4;

/// What the format has no room for. The block can't be written as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexLimit {
    #[error("the symbols take more than 4 GiB")]
    Symbols,
    #[error("the series take more than 64 GiB, or are more than 2^30")]
    Series,
    #[error("the table of label pairs takes more than 4 GiB")]
    LabelPairs,
}

/// An index in the making. The driver takes what is ready and writes it, between series as often as it likes.
///
/// Memory: the symbols, four bytes a series, some 50 bytes a label pair, and one to four bytes for each run of series that a pair
/// has.
#[derive(Debug)]
pub struct IndexWriter {
    pub(super) symbols: SymbolTable,
    /// Bytes of the symbols that have been taken.
    symbols_taken: usize,
    pub(super) lists: PairLists,
    /// References by position of the series.
    pub(super) references: Pages<u32, 16384>,
    /// Where the next byte of a series goes.
    pub(super) offset: u64,
    ready: Vec<u8>,
    body: Vec<u8>,
    /// Labels of the last series, each with the number of its list: neighbours differ in one or two.
    last_labels: Vec<(SymbolPair, u32)>,
    last_chunk: u64,
}

impl IndexWriter {
    pub fn new(symbols: SymbolTable) -> Self {
        let symbols_end = HEADER_BYTES + 8 + symbols.bytes().len() + SUM_BYTES;
        Self {
            symbols,
            symbols_taken: 0,
            lists: PairLists::default(),
            references: Pages::default(),
            offset: symbols_end as u64,
            ready: Vec::new(),
            body: Vec::new(),
            last_labels: Vec::new(),
            last_chunk: 0,
        }
    }

    /// Adds the next series; returns its reference.
    ///
    /// # Panics
    /// If the order is broken, which a reader could not put right: series rise in label order, labels by name, chunks by time
    /// without an overlap, references to chunks over all series.
    pub fn push(&mut self, labels: &[SymbolPair], chunks: &[ChunkMeta]) -> Result<u32, IndexLimit> {
        self.check_order(labels, chunks);
        let padding = self.offset.next_multiple_of(SERIES_ALIGN) - self.offset;
        let reference = u32::try_from((self.offset + padding) / SERIES_ALIGN).map_err(|_| IndexLimit::Series)?;
        let series = self.references.len();
        if series == SERIES_MAX {
            return Err(IndexLimit::Series);
        }
        self.references.push(reference);
        self.note_pairs(labels, series as u32);
        let start = self.ready.len();
        self.ready.resize(start + padding as usize, 0);
        self.put_series(labels, chunks);
        self.offset += (self.ready.len() - start) as u64;
        Ok(reference)
    }

    pub fn series_count(&self) -> usize {
        self.references.len()
    }

    pub fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    /// Moves some of what is ready behind what `out` holds. `false` if nothing is ready.
    pub fn take_ready(&mut self, out: &mut Vec<u8>) -> bool {
        if self.take_symbols(out) {
            return true;
        }
        let is_ready = !self.ready.is_empty();
        out.append(&mut self.ready);
        is_ready
    }

    /// Ends the series. The tables follow in what is taken from now on.
    pub fn finish(self) -> Result<FinishedIndex, IndexLimit> {
        FinishedIndex::new(self)
    }

    pub fn heap_bytes(&self) -> usize {
        let series = self.references.heap_bytes() + self.ready.capacity() + self.body.capacity();
        self.symbols.heap_bytes() + self.lists.heap_bytes() + series
    }

    fn check_order(&self, labels: &[SymbolPair], chunks: &[ChunkMeta]) {
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "labels are sorted by name, no name twice");
        let symbols = self.symbols.len();
        assert!(labels.iter().all(|&(name, value)| name < symbols && value < symbols), "every label is a symbol");
        let last = self.last_labels.iter().map(|(pair, _)| pair);
        assert!(self.references.is_empty() || last.lt(labels), "series rise in label order");
        assert!(chunks.iter().all(|chunk| chunk.min_time <= chunk.max_time), "no chunk ends before it begins");
        assert!(chunks.is_sorted_by(|a, b| a.max_time < b.min_time), "chunks of a series do not overlap");
    }

    fn note_pairs(&mut self, labels: &[SymbolPair], series: u32) {
        self.last_labels.truncate(labels.len());
        for (at, &pair) in labels.iter().enumerate() {
            let list = match self.last_labels.get(at) {
                Some(&(last, list)) if last == pair => list,
                _ => self.lists.find_or_add(pair),
            };
            self.lists.add(list, series);
            match self.last_labels.get_mut(at) {
                Some(last) => *last = (pair, list),
                None => self.last_labels.push((pair, list)),
            }
        }
    }

    fn put_series(&mut self, labels: &[SymbolPair], chunks: &[ChunkMeta]) {
        let body = &mut self.body;
        body.clear();
        put_unsigned(body, labels.len() as u64);
        for &(name, value) in labels {
            put_unsigned(body, u64::from(name));
            put_unsigned(body, u64::from(value));
        }
        put_unsigned(body, chunks.len() as u64);
        put_chunks(chunks, body);
        put_unsigned(&mut self.ready, body.len() as u64);
        self.ready.extend_from_slice(body);
        self.ready.extend_from_slice(&crc32c(body).to_be_bytes());
        self.last_chunk = chunks.last().map_or(self.last_chunk, |chunk| chunk.reference.0);
    }

    fn take_symbols(&mut self, out: &mut Vec<u8>) -> bool {
        let bytes = self.symbols.bytes();
        let (start, end) = (self.symbols_taken, bytes.len().min(self.symbols_taken + PIECE_BYTES));
        // One more than all means that the checksum is taken too.
        if start > bytes.len() {
            return false;
        }
        let count = self.symbols.len().to_be_bytes();
        if start == 0 {
            out.extend_from_slice(&MAGIC.to_be_bytes());
            out.push(VERSION);
            out.extend_from_slice(&(4 + bytes.len() as u32).to_be_bytes());
            out.extend_from_slice(&count);
        }
        out.extend_from_slice(&bytes[start..end]);
        self.symbols_taken = end;
        if end == bytes.len() {
            out.extend_from_slice(&extend(crc32c(&count), bytes).to_be_bytes());
            self.symbols_taken += 1;
        }
        true
    }
}

/// Times and references relative to those before, wrapping as Go does.
fn put_chunks(chunks: &[ChunkMeta], out: &mut Vec<u8>) {
    let mut last: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match last {
            None => put_signed(out, chunk.min_time),
            Some(last) => put_unsigned(out, chunk.min_time.wrapping_sub(last.max_time) as u64),
        }
        put_unsigned(out, chunk.max_time.wrapping_sub(chunk.min_time) as u64);
        match last {
            None => put_unsigned(out, chunk.reference.0),
            Some(last) => put_signed(out, chunk.reference.0.wrapping_sub(last.reference.0) as i64),
        }
        last = Some(chunk);
    }
}
