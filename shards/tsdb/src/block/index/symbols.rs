//! Symbols: every label name and value of a block, once, sorted; a symbol's number is its position.

use std::cmp::Ordering;

use super::IndexLimit;
use crate::block::{
    BlockError, Damage,
    bytes::{Cursor, put_counted},
};

/// Prometheus remembers every 32nd symbol in eight bytes, we every 8th in four: as much memory, and a quarter of the walk, which is
/// most of what it takes to turn series into labels.
const STRIDE: u32 = 8;

/// Where every [`STRIDE`]th of some symbols starts, which stand one behind the other with their lengths.
#[derive(Clone, Debug, Default)]
pub(super) struct SymbolOffsets {
    count: u32,
    /// Relative to the first symbol.
    offsets: Vec<u32>,
}

impl SymbolOffsets {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<u32>()
    }

    /// Notes that the next symbol starts here.
    fn push(&mut self, offset: u32) {
        if self.count.is_multiple_of(STRIDE) {
            self.offsets.push(offset);
        }
        self.count += 1;
    }

    /// Walks symbols from the start of `symbols` and checks their order.
    pub(super) fn read(symbols: Cursor<'_>, count: u32) -> Result<Self, BlockError> {
        let (mut rest, mut read, mut last) = (symbols, Self::default(), None);
        for _ in 0..count {
            let start = rest;
            let symbol = rest.text()?;
            if last.is_some_and(|last| last >= symbol) {
                return Err(start.damage(Damage::Order));
            }
            last = Some(symbol);
            // A section is shorter than 4 GiB.
            read.push((start.offset() - symbols.offset()) as u32);
        }
        if !rest.is_empty() {
            return Err(rest.damage(Damage::Count));
        }
        read.offsets.shrink_to_fit();
        Ok(read)
    }

    /// Finds a symbol by its number. `None` if there are fewer.
    pub(super) fn find<'a>(&self, symbols: Cursor<'a>, number: u32) -> Result<Option<&'a str>, BlockError> {
        if number >= self.count {
            return Ok(None);
        }
        let mut cursor = self.nearest(symbols, number / STRIDE)?;
        for _ in 0..number % STRIDE {
            cursor.counted()?;
        }
        cursor.text().map(Some)
    }

    /// Finds the number of a text.
    pub(super) fn number_of(&self, symbols: Cursor<'_>, text: &str) -> Result<Option<u32>, BlockError> {
        let (mut low, mut high) = (0, self.offsets.len() as u32);
        while low < high {
            let middle = low.midpoint(high);
            let is_after = self.nearest(symbols, middle)?.counted()? > text.as_bytes();
            (low, high) = if is_after { (low, middle) } else { (middle + 1, high) };
        }
        let Some(nearest) = low.checked_sub(1) else { return Ok(None) };
        let mut cursor = self.nearest(symbols, nearest)?;
        for number in nearest * STRIDE..self.count.min((nearest + 1) * STRIDE) {
            match cursor.counted()?.cmp(text.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(number)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    fn nearest<'a>(&self, mut symbols: Cursor<'a>, index: u32) -> Result<Cursor<'a>, BlockError> {
        symbols.take(u64::from(self.offsets[index as usize]))?;
        Ok(symbols)
    }
}

/// The symbols of a block that is to be written, in the form that they have in the file.
///
/// Prometheus has the empty text among them when it writes its head, and not necessarily otherwise; no series refers to it.
#[derive(Clone, Debug, Default)]
pub struct SymbolTable {
    bytes: Vec<u8>,
    offsets: SymbolOffsets,
    /// Where the last symbol's text starts.
    last: usize,
}

impl SymbolTable {
    /// Adds the next symbol; returns its number.
    ///
    /// # Panics
    /// If it does not come behind the last one.
    pub fn push(&mut self, symbol: &str) -> Result<u32, IndexLimit> {
        let number = self.len();
        let is_next = number == 0 || &self.bytes[self.last..] < symbol.as_bytes();
        assert!(is_next, "symbol {symbol:?} is not greater than the one before it");
        let start = self.bytes.len();
        // Count and length of the section have four bytes each; the count belongs to what the length counts.
        if start + symbol.len() + 16 > u32::MAX as usize {
            return Err(IndexLimit::Symbols);
        }
        put_counted(&mut self.bytes, symbol.as_bytes());
        self.last = self.bytes.len() - symbol.len();
        self.offsets.push(start as u32);
        Ok(number)
    }

    pub fn len(&self) -> u32 {
        self.offsets.count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a text, if it is a symbol.
    pub fn number_of(&self, text: &str) -> Option<u32> {
        self.offsets.number_of(self.cursor(), text).expect("these are our own bytes")
    }

    /// # Panics
    /// If there are fewer symbols.
    pub fn get(&self, number: u32) -> &str {
        let found = self.offsets.find(self.cursor(), number).expect("these are our own bytes");
        found.unwrap_or_else(|| panic!("symbol {number} of {}", self.len()))
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.offsets.heap_bytes()
    }

    /// All symbols, each behind its length.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn cursor(&self) -> Cursor<'_> {
        Cursor::at(&self.bytes, 0).expect("every file has a byte 0 or ends there")
    }
}
