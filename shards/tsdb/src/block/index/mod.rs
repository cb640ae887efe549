//! The index of a block: which series there are, where their chunks stand, and how to find them by label.
//!
//! Writing is one pass in label order ([`IndexWriter`], then [`FinishedIndex`]); reading needs the bytes of the whole file and
//! keeps a few bytes of every 8th symbol and every 32nd label value ([`IndexReader`]). A series is named by a 32-bit reference,
//! its offset in units of 16 bytes; references rise in label order.

mod offset_table;
mod pair_lists;
mod postings;
mod reader;
mod select;
mod series;
mod symbols;
mod tables;
#[cfg(test)]
mod tests;
mod toc;
mod writer;

pub use offset_table::LabelValues;
pub use postings::Postings;
pub use reader::IndexReader;
pub use series::SeriesEntry;
pub use symbols::SymbolTable;
pub use tables::FinishedIndex;
pub use writer::{IndexLimit, IndexWriter};

const MAGIC: u32 = 0xbaaa_d700;
const VERSION: u8 = 2;
/// Magic and version.
const HEADER_BYTES: usize = 5;
/// Unit of series references.
const SERIES_ALIGN: u64 = 16;

/// A label as numbers of two symbols: name and value.
pub type SymbolPair = (u32, u32);
