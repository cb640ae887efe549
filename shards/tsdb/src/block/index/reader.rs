//! Reading an index.

use std::ops::Range;

use model::{Label, Labels};

use super::{
    LabelValues, MAGIC, Postings, SERIES_ALIGN, SeriesEntry, SymbolPair, VERSION, offset_table::OffsetTable,
    symbols::SymbolOffsets, toc::Toc,
};
use crate::block::{BlockError, Damage, bytes::Cursor};

/// An index over the bytes of its file, mapped or in memory.
///
/// Opening reads symbols and the table of label pairs once and checks them; postings and series are checked when they are read.
#[derive(Debug)]
pub struct IndexReader<B> {
    bytes: B,
    /// Where the first symbol and the first label pair start.
    symbols_start: u64,
    pairs_start: u64,
    symbols: SymbolOffsets,
    pairs: OffsetTable,
    series: Range<u64>,
    all_postings: u64,
    pub(super) series_count: u32,
}

impl<B: AsRef<[u8]>> IndexReader<B> {
    /// Opens a file of version 2, which Prometheus writes since 2.0; version 1 of its betas is refused.
    pub fn open(bytes: B) -> Result<Self, BlockError> {
        let file = bytes.as_ref();
        check_header(file)?;
        let toc = Toc::decode(file)?;
        let mut symbols = Cursor::section(file, toc.symbols)?;
        let count = symbols.be_u32()?;
        let symbol_offsets = SymbolOffsets::read(symbols, count)?;
        let mut pairs = Cursor::section(file, toc.postings_offset_table)?;
        let count = pairs.be_u32()?;
        let pair_table = OffsetTable::read(pairs, count)?;
        let all_postings = pair_table.find(pairs, "", "")?.ok_or(pairs.damage(Damage::Reference))?;
        let series_count = Postings::count_at(file, all_postings)?;
        let series = toc.series..toc.series_end(file.len() as u64);
        // What is collected later is bounded by this count, whose checksum is not looked at yet: it would cost the whole list.
        if u64::from(series_count) > (series.end - series.start).div_ceil(SERIES_ALIGN) {
            return Err(BlockError::damaged(all_postings, Damage::Count));
        }
        Ok(Self {
            symbols_start: symbols.offset(),
            pairs_start: pairs.offset(),
            symbols: symbol_offsets,
            pairs: pair_table,
            series,
            all_postings,
            series_count,
            bytes,
        })
    }

    pub fn symbol_count(&self) -> u32 {
        self.symbols.count()
    }

    pub fn symbol(&self, number: u32) -> Result<&str, BlockError> {
        let symbols = self.symbols_cursor()?;
        self.symbols.find(symbols, number)?.ok_or(symbols.damage(Damage::Reference))
    }

    /// The number of a text, if it is a symbol.
    pub fn symbol_number(&self, text: &str) -> Result<Option<u32>, BlockError> {
        self.symbols.number_of(self.symbols_cursor()?, text)
    }

    /// All symbols in order.
    pub fn symbols(&self) -> Result<impl Iterator<Item = Result<&str, BlockError>>, BlockError> {
        let mut cursor = self.symbols_cursor()?;
        Ok((0..self.symbols.count()).map(move |_| cursor.text()))
    }

    /// The names that series have, in order.
    pub fn label_names(&self) -> Result<Vec<&str>, BlockError> {
        let names = self.pairs.names(self.pairs_cursor()?);
        names.filter(|name| *name != Ok("")).collect()
    }

    /// The values of a name in order; none for a name that no series has.
    pub fn label_values(&self, name: &str) -> Result<LabelValues<'_>, BlockError> {
        let pairs = self.pairs_cursor()?;
        // The empty name is that of the list of all series.
        let values = self.pairs.values(pairs, name)?;
        Ok(if name.is_empty() { values.none() } else { values })
    }

    /// The series with a label; none if no series has it.
    pub fn postings(&self, name: &str, value: &str) -> Result<Postings<'_>, BlockError> {
        match self.postings_offset(name, value)? {
            Some(offset) => Postings::read(self.file(), offset),
            None => Ok(Postings::default()),
        }
    }

    pub fn all_postings(&self) -> Result<Postings<'_>, BlockError> {
        Postings::read(self.file(), self.all_postings)
    }

    /// Reads a series into `entry`, whose memory is used again. On an error the entry holds anything.
    pub fn series(&self, reference: u32, entry: &mut SeriesEntry) -> Result<(), BlockError> {
        let offset = u64::from(reference) * SERIES_ALIGN;
        if !self.series.contains(&offset) {
            return Err(BlockError::damaged(offset, Damage::Reference));
        }
        entry.read(Cursor::at(self.file(), offset)?, self.symbols.count())
    }

    /// The text of a series' labels.
    pub fn labels(&self, pairs: &[SymbolPair]) -> Result<Labels, BlockError> {
        let mut labels = Vec::with_capacity(pairs.len());
        for &(name, value) in pairs {
            labels.push(Label { name: self.symbol(name)?, value: self.symbol(value)? });
        }
        // Nobody writes them, and they mean that there is no such label.
        labels.retain(|label| !label.value.is_empty());
        Ok(Labels::from_sorted(labels))
    }

    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// Memory that the reader takes besides the file's bytes.
    pub fn heap_bytes(&self) -> usize {
        self.symbols.heap_bytes() + self.pairs.heap_bytes()
    }

    pub(super) fn file(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    pub(super) fn postings_offset(&self, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        self.pairs.find(self.pairs_cursor()?, name, value)
    }

    fn symbols_cursor(&self) -> Result<Cursor<'_>, BlockError> {
        Cursor::at(self.file(), self.symbols_start)
    }

    fn pairs_cursor(&self) -> Result<Cursor<'_>, BlockError> {
        Cursor::at(self.file(), self.pairs_start)
    }
}

fn check_header(file: &[u8]) -> Result<(), BlockError> {
    let mut cursor = Cursor::at(file, 0)?;
    if cursor.be_u32()? != MAGIC {
        return Err(BlockError::Magic);
    }
    match cursor.take(1)?[0] {
        VERSION => Ok(()),
        version => Err(BlockError::Version(version)),
    }
}
