//! The end of an index: label indices, postings, the tables of their offsets, the table of contents.
//!
//! Every length follows from the numbers of pairs and series, so where everything goes is settled first and nothing has to be
//! written twice. The label indices and their table are read by nobody any more, but Prometheus 3.5 still writes them.

use codec::{
    crc::{crc32c, extend},
    varint::put_unsigned,
};

use super::{IndexLimit, IndexWriter, pair_lists::ListCursor, toc::Toc, writer::PIECE_BYTES};
use crate::block::bytes::{SUM_BYTES, put_counted, unsigned_bytes};

/// Sections here begin at a multiple of this.
const ALIGN: u64 = 4;
/// Keys of an entry: the name, or name and value.
const NAME_KEYS: u8 = 1;
const PAIR_KEYS: u8 = 2;

/// An index whose series are complete.
#[derive(Debug)]
pub struct FinishedIndex {
    writer: IndexWriter,
    names: Vec<Name>,
    /// Lists of the pairs, by name and value.
    order: Vec<u32>,
    toc: Toc,
    label_table_bytes: u32,
    postings_table_bytes: u32,
    stage: Stage,
    /// Where the next byte goes.
    offset: u64,
    /// Of the section in progress.
    checksum: u32,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    symbol: u32,
    /// Its pairs in `order`.
    start: usize,
    end: usize,
    label_index: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    LabelIndices { name: usize, pair: usize },
    AllPostings { series: usize },
    Postings { pair: usize, cursor: Option<ListCursor> },
    LabelTable { name: usize },
    PostingsTable { pair: usize, postings: u64 },
    Toc,
    Complete,
}

impl FinishedIndex {
    pub(super) fn new(writer: IndexWriter) -> Result<Self, IndexLimit> {
        let (counts, order) = writer.lists.sorted();
        let mut offset = writer.offset.next_multiple_of(ALIGN);
        let mut names = Vec::with_capacity(counts.len());
        let mut start = 0;
        for (symbol, pairs) in counts {
            let end = start + pairs as usize;
            names.push(Name { symbol, start, end, label_index: offset });
            offset += label_index_bytes(end - start);
            start = end;
        }
        let mut finished = Self {
            offset: writer.offset,
            toc: Toc { symbols: super::HEADER_BYTES as u64, label_indices: writer.offset, ..Toc::default() },
            writer,
            names,
            order,
            label_table_bytes: 0,
            postings_table_bytes: 0,
            stage: Stage::LabelIndices { name: 0, pair: 0 },
            checksum: 0,
        };
        finished.toc.series = finished.symbols_end();
        finished.place_tables(if finished.names.is_empty() { finished.offset } else { offset })?;
        Ok(finished)
    }

    /// Moves some of what is ready behind what `out` holds. `false` when the index is complete.
    pub fn take_ready(&mut self, out: &mut Vec<u8>) -> bool {
        if self.writer.take_ready(out) {
            return true;
        }
        let end = out.len() + PIECE_BYTES;
        let some = !matches!(self.stage, Stage::Complete);
        while out.len() < end && !matches!(self.stage, Stage::Complete) {
            let start = out.len();
            self.stage = self.step(out);
            self.offset += (out.len() - start) as u64;
        }
        some
    }

    pub fn heap_bytes(&self) -> usize {
        self.writer.heap_bytes() + self.names.capacity() * size_of::<Name>() + self.order.capacity() * 4
    }

    fn symbols_end(&self) -> u64 {
        (super::HEADER_BYTES + 8 + self.writer.symbols.bytes().len() + SUM_BYTES) as u64
    }

    /// Settles where postings and tables go.
    fn place_tables(&mut self, label_indices_end: u64) -> Result<(), IndexLimit> {
        self.toc.postings = label_indices_end;
        let lists = &self.writer.lists;
        let counts = self.order.iter().map(|&list| lists.count(list) as usize);
        let postings_bytes: u64 =
            counts.map(postings_bytes).sum::<u64>() + postings_bytes(self.writer.references.len());
        self.toc.label_offset_table = self.postings_start() + postings_bytes;
        let label_table_bytes: u64 = 4 + self.names.iter().map(|name| self.label_entry_bytes(name)).sum::<u64>();
        self.label_table_bytes = u32::try_from(label_table_bytes).map_err(|_| IndexLimit::LabelPairs)?;
        self.toc.postings_offset_table = self.toc.label_offset_table + 4 + label_table_bytes + SUM_BYTES as u64;
        self.postings_table_bytes = u32::try_from(self.postings_table_bytes()).map_err(|_| IndexLimit::LabelPairs)?;
        Ok(())
    }

    fn postings_start(&self) -> u64 {
        self.toc.postings.next_multiple_of(ALIGN)
    }

    fn label_entry_bytes(&self, name: &Name) -> u64 {
        1 + counted_bytes(self.writer.symbols.get(name.symbol)) + unsigned_bytes(name.label_index) as u64
    }

    fn postings_table_bytes(&self) -> u64 {
        let mut postings = self.postings_start();
        let mut bytes = 4 + 3 + unsigned_bytes(postings) as u64;
        postings += postings_bytes(self.writer.references.len());
        for name in &self.names {
            let name_bytes = 1 + counted_bytes(self.writer.symbols.get(name.symbol));
            for &list in &self.order[name.start..name.end] {
                let value = self.writer.symbols.get(self.writer.lists.pair(list).1);
                bytes += name_bytes + counted_bytes(value) + unsigned_bytes(postings) as u64;
                postings += postings_bytes(self.writer.lists.count(list) as usize);
            }
        }
        bytes
    }

    /// Puts at most some thousand numbers or entries.
    fn step(&mut self, out: &mut Vec<u8>) -> Stage {
        match self.stage {
            Stage::LabelIndices { name, pair } => match self.names.get(name).copied() {
                Some(of_name) => self.put_label_index(name, of_name, pair, out),
                None => {
                    assert_eq!(self.offset, self.toc.postings, "the label indices take as much as was settled");
                    self.align(out);
                    Stage::AllPostings { series: 0 }
                }
            },
            Stage::AllPostings { series } => self.put_all_postings(series, out),
            Stage::Postings { pair, cursor } => match self.order.get(pair) {
                Some(&list) => self.put_postings(pair, list, cursor, out),
                None => {
                    assert_eq!(self.offset, self.toc.label_offset_table, "the postings take as much as was settled");
                    self.begin_section(self.label_table_bytes, &[self.names.len() as u32], out);
                    Stage::LabelTable { name: 0 }
                }
            },
            Stage::LabelTable { name } => self.put_label_table(name, out),
            Stage::PostingsTable { pair, postings } => self.put_postings_table(pair, postings, out),
            Stage::Toc => {
                self.toc.encode(out);
                Stage::Complete
            }
            Stage::Complete => Stage::Complete,
        }
    }

    fn put_label_index(&mut self, name: usize, of_name: Name, pair: usize, out: &mut Vec<u8>) -> Stage {
        let pair = if pair == of_name.start {
            self.align(out);
            let values = (of_name.end - of_name.start) as u32;
            self.begin_section(8 + 4 * values, &[1, values], out);
            of_name.start
        } else {
            pair
        };
        let end = of_name.end.min(pair + NUMBERS_PER_STEP);
        let lists = &self.writer.lists;
        let start = out.len();
        self.order[pair..end].iter().for_each(|&list| out.extend_from_slice(&lists.pair(list).1.to_be_bytes()));
        self.summed(start, out);
        if end < of_name.end {
            return Stage::LabelIndices { name, pair: end };
        }
        self.end_section(out);
        Stage::LabelIndices { name: name + 1, pair: end }
    }

    fn put_all_postings(&mut self, series: usize, out: &mut Vec<u8>) -> Stage {
        let count = self.writer.references.len();
        if series == 0 {
            self.begin_section(4 + 4 * count as u32, &[count as u32], out);
        }
        let end = count.min(series + NUMBERS_PER_STEP);
        let start = out.len();
        put_references(&self.writer, series, end, out);
        self.summed(start, out);
        if end < count {
            return Stage::AllPostings { series: end };
        }
        self.end_section(out);
        Stage::Postings { pair: 0, cursor: None }
    }

    fn put_postings(&mut self, pair: usize, list: u32, cursor: Option<ListCursor>, out: &mut Vec<u8>) -> Stage {
        let mut cursor = cursor.unwrap_or_else(|| {
            let count = self.writer.lists.count(list);
            self.begin_section(4 + 4 * count, &[count], out);
            ListCursor::new(list, &self.writer.lists)
        });
        let start = out.len();
        while out.len() - start < 4 * NUMBERS_PER_STEP {
            let Some((first, length)) = cursor.next_run(NUMBERS_PER_STEP as u32, &self.writer.lists) else {
                self.summed(start, out);
                self.end_section(out);
                return Stage::Postings { pair: pair + 1, cursor: None };
            };
            put_references(&self.writer, first as usize, (first + length) as usize, out);
        }
        self.summed(start, out);
        Stage::Postings { pair, cursor: Some(cursor) }
    }

    fn put_label_table(&mut self, name: usize, out: &mut Vec<u8>) -> Stage {
        let start = out.len();
        let end = self.names.len().min(name + ENTRIES_PER_STEP);
        for name in &self.names[name..end] {
            out.push(NAME_KEYS);
            put_counted(out, self.writer.symbols.get(name.symbol).as_bytes());
            put_unsigned(out, name.label_index);
        }
        self.summed(start, out);
        if end < self.names.len() {
            return Stage::LabelTable { name: end };
        }
        self.end_section(out);
        self.begin_section(self.postings_table_bytes, &[1 + self.order.len() as u32], out);
        let (start, postings) = (out.len(), self.postings_start());
        out.extend_from_slice(&[PAIR_KEYS, 0, 0]);
        put_unsigned(out, postings);
        self.summed(start, out);
        Stage::PostingsTable { pair: 0, postings: postings + postings_bytes(self.writer.references.len()) }
    }

    fn put_postings_table(&mut self, pair: usize, mut postings: u64, out: &mut Vec<u8>) -> Stage {
        let start = out.len();
        let end = self.order.len().min(pair + ENTRIES_PER_STEP);
        let mut last_name = None;
        for &list in &self.order[pair..end] {
            let (name, value) = self.writer.lists.pair(list);
            let name_text = match last_name {
                Some((last, text)) if last == name => text,
                _ => self.writer.symbols.get(name),
            };
            last_name = Some((name, name_text));
            out.push(PAIR_KEYS);
            put_counted(out, name_text.as_bytes());
            put_counted(out, self.writer.symbols.get(value).as_bytes());
            put_unsigned(out, postings);
            postings += postings_bytes(self.writer.lists.count(list) as usize);
        }
        self.summed(start, out);
        if end < self.order.len() {
            return Stage::PostingsTable { pair: end, postings };
        }
        self.end_section(out);
        assert_eq!(postings, self.toc.label_offset_table, "the table leads through all postings");
        Stage::Toc
    }

    fn align(&self, out: &mut Vec<u8>) {
        let padding = self.offset.next_multiple_of(ALIGN) - self.offset;
        out.resize(out.len() + padding as usize, 0);
    }

    /// Puts the length of a section and the numbers that it begins with.
    fn begin_section(&mut self, length: u32, numbers: &[u32], out: &mut Vec<u8>) {
        out.extend_from_slice(&length.to_be_bytes());
        let start = out.len();
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        self.checksum = crc32c(&out[start..]);
    }

    /// Adds what was put since `start` to the section's checksum.
    fn summed(&mut self, start: usize, out: &[u8]) {
        self.checksum = extend(self.checksum, &out[start..]);
    }

    fn end_section(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.checksum.to_be_bytes());
    }
}

/// Bounds what a step does.
const NUMBERS_PER_STEP: usize = 8192;
const ENTRIES_PER_STEP: usize = 1024;

fn put_references(writer: &IndexWriter, start: usize, end: usize, out: &mut Vec<u8>) {
    (start..end).for_each(|series| out.extend_from_slice(&writer.references.get(series).to_be_bytes()));
}

fn label_index_bytes(values: usize) -> u64 {
    4 + 8 + 4 * values as u64 + SUM_BYTES as u64
}

fn postings_bytes(series: usize) -> u64 {
    4 + 4 + 4 * series as u64 + SUM_BYTES as u64
}

fn counted_bytes(text: &str) -> u64 {
    (unsigned_bytes(text.len() as u64) + text.len()) as u64
}
