//! Which series carry a label pair, collected while the series are written.
//!
//! Series come in label order, so a pair's series are runs (a metric name is a single one) or lie at regular distances (the same
//! instance in every metric). Roaring bitmaps would be good for the first and bad for the second, with some fifty bytes for each
//! place; so a list is a sequence of runs, as varints: gap and length, one to four bytes a run. Lists grow in blocks of 16 bytes
//! in one arena, as there may be millions of lists with a handful of series each; a list of a single run takes no block.

use std::collections::BTreeMap;

use codec::varint::{BYTES_MAX, encode_unsigned};
use hashbrown::HashTable;

use super::SymbolPair;
use crate::segmented::Pages;

/// Data in a block; four more bytes lead to the next one.
const BLOCK_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    bytes: [u8; BLOCK_BYTES],
    next: u32,
}

/// One pair's series. A series stands for its position among all.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    pair: SymbolPair,
    count: u32,
    first: u32,
    last: u32,
    /// Length of the run that ends with `last`; it is not in the blocks yet.
    run: u32,
    /// First and last block; only there if `used` is not 0.
    head: u32,
    tail: u32,
    /// Bytes used of the last block.
    used: u8,
}

/// The series of all pairs.
#[derive(Debug, Default)]
pub(super) struct PairLists {
    table: HashTable<u32>,
    lists: Pages<List, 2048>,
    blocks: Pages<Block, 4096>,
    /// Pairs of each name.
    names: BTreeMap<u32, u32>,
}

impl PairLists {
    /// Number of a pair's list, which is made if it is not there.
    pub(super) fn find_or_add(&mut self, pair: SymbolPair) -> u32 {
        let Self { table, lists, names, .. } = self;
        let is_pair = |&list: &u32| lists.get(list as usize).pair == pair;
        if let Some(&list) = table.find(hash(pair), is_pair) {
            return list;
        }
        let list = u32::try_from(lists.len()).expect("fewer pairs than symbols times names in a file of 64 GiB");
        lists.push(List { pair, ..List::default() });
        table.insert_unique(hash(pair), list, |&list| hash(lists.get(list as usize).pair));
        *names.entry(pair.0).or_default() += 1;
        list
    }

    /// Adds a series to a list. Series come in rising order.
    pub(super) fn add(&mut self, list: u32, series: u32) {
        let Self { lists, blocks, .. } = self;
        let list = lists.get_mut(list as usize);
        if list.count == 0 {
            (list.first, list.run) = (series, 1);
        } else if series == list.last + 1 {
            list.run += 1;
        } else {
            assert!(series > list.last, "series come in rising order");
            list.put_run(series - list.last, blocks);
            list.run = 1;
        }
        list.last = series;
        list.count += 1;
    }

    pub(super) fn pair(&self, list: u32) -> SymbolPair {
        self.lists.get(list as usize).pair
    }

    pub(super) fn count(&self, list: u32) -> u32 {
        self.lists.get(list as usize).count
    }

    /// Names with their numbers of pairs, and all lists, both in order.
    pub(super) fn sorted(&self) -> (Vec<(u32, u32)>, Vec<u32>) {
        let mut next: BTreeMap<u32, usize> = BTreeMap::new();
        let mut start = 0;
        for (&name, &pairs) in &self.names {
            next.insert(name, start);
            start += pairs as usize;
        }
        // Value above number, so that plain numbers can be sorted, a name's at a time.
        let mut keys = vec![0; self.lists.len()];
        for (list, &List { pair: (name, value), .. }) in self.lists.iter().enumerate() {
            let at = next.get_mut(&name).expect("every name is counted");
            keys[*at] = u64::from(value) << 32 | list as u64;
            *at += 1;
        }
        let mut rest = &mut keys[..];
        for &pairs in self.names.values() {
            let (of_name, behind) = rest.split_at_mut(pairs as usize);
            of_name.sort_unstable();
            rest = behind;
        }
        let names = self.names.iter().map(|(&name, &pairs)| (name, pairs)).collect();
        (names, keys.into_iter().map(|key| key as u32).collect())
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.table.allocation_size() + self.lists.heap_bytes() + self.blocks.heap_bytes() + self.names.len() * 16
    }
}

impl List {
    /// Puts the run that has ended, and the distance from its end to the next one.
    fn put_run(&mut self, gap: u32, blocks: &mut Pages<Block, 4096>) {
        self.put_varint(u64::from(gap) << 1 | u64::from(self.run > 1), blocks);
        if self.run > 1 {
            self.put_varint(u64::from(self.run), blocks);
        }
    }

    fn put_varint(&mut self, value: u64, blocks: &mut Pages<Block, 4096>) {
        let (bytes, length) = encode_unsigned(value);
        for &byte in &bytes[..length] {
            if self.used == 0 || usize::from(self.used) == BLOCK_BYTES {
                self.add_block(blocks);
            }
            blocks.get_mut(self.tail as usize).bytes[usize::from(self.used)] = byte;
            self.used += 1;
        }
    }

    fn add_block(&mut self, blocks: &mut Pages<Block, 4096>) {
        let block = u32::try_from(blocks.len()).expect("64 GiB of blocks are more than a block's index may have");
        blocks.push(Block::default());
        if self.used == 0 {
            self.head = block;
        } else {
            blocks.get_mut(self.tail as usize).next = block;
        }
        (self.tail, self.used) = (block, 0);
    }
}

/// Reading a list in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListCursor {
    list: u32,
    /// The next series, and how many follow each other from there.
    next: u32,
    run: u32,
    /// From the last series of this run to the first of the next.
    gap: u32,
    /// Series behind this run.
    left: u32,
    block: u32,
    used: usize,
}

impl ListCursor {
    pub(super) fn new(list: u32, lists: &PairLists) -> Self {
        let List { first, count, head, .. } = *lists.lists.get(list as usize);
        let mut cursor = Self { list, next: first, run: 0, gap: 0, left: count, block: head, used: 0 };
        cursor.begin_run(lists);
        cursor
    }

    /// The next series that follow each other: the first of them and how many, at most `length_max`. `None` at the end.
    pub(super) fn next_run(&mut self, length_max: u32, lists: &PairLists) -> Option<(u32, u32)> {
        if self.run == 0 && self.left > 0 {
            self.next += self.gap - 1;
            self.begin_run(lists);
        }
        let (first, length) = (self.next, self.run.min(length_max));
        self.next += length;
        self.run -= length;
        (length > 0).then_some((first, length))
    }

    fn begin_run(&mut self, lists: &PairLists) {
        let list = lists.lists.get(self.list as usize);
        // The last run is in no block.
        if self.left == list.run {
            (self.run, self.gap) = (list.run, 0);
        } else {
            let token = self.take_varint(lists);
            self.run = if token & 1 == 0 { 1 } else { self.take_varint(lists) as u32 };
            self.gap = (token >> 1) as u32;
        }
        self.left -= self.run;
    }

    fn take_varint(&mut self, lists: &PairLists) -> u64 {
        let mut value = 0;
        for shift in 0..BYTES_MAX {
            if self.used == BLOCK_BYTES {
                (self.block, self.used) = (lists.blocks.get(self.block as usize).next, 0);
            }
            let byte = lists.blocks.get(self.block as usize).bytes[self.used];
            self.used += 1;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                break;
            }
        }
        value
    }
}

/// Symbol numbers are not chosen by anyone outside, so mixing their bits is enough.
fn hash((name, value): SymbolPair) -> u64 {
    let mixed = (u64::from(name) << 32 | u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series_of(list: u32, lists: &PairLists, length_max: u32) -> Vec<u32> {
        let mut cursor = ListCursor::new(list, lists);
        let mut series = Vec::new();
        while let Some((first, length)) = cursor.next_run(length_max, lists) {
            series.extend(first..first + length);
        }
        series
    }

    proptest! {
        #[test]
        fn lists_hold_what_was_added(
            steps in prop::collection::vec((0..4u32, prop_oneof![Just(1u32), 1..5u32, 1..1_000_000u32]), 0..200),
            length_max in 1..9u32,
        ) {
            let (mut lists, mut model) = (PairLists::default(), BTreeMap::<SymbolPair, Vec<u32>>::new());
            let mut series = 0;
            for (value, gap) in steps {
                let pair = (value % 2, 7 - value);
                let list = lists.find_or_add(pair);
                lists.add(list, series);
                model.entry(pair).or_default().push(series);
                series += gap;
            }
            let (names, order) = lists.sorted();
            prop_assert!(order.iter().map(|&list| lists.pair(list)).eq(model.keys().copied()));
            prop_assert_eq!(names.iter().map(|name| name.1 as usize).sum::<usize>(), lists.lists.len());
            for list in order {
                let expected = &model[&lists.pair(list)];
                prop_assert_eq!(lists.count(list) as usize, expected.len());
                prop_assert_eq!(&series_of(list, &lists, length_max), expected);
            }
        }
    }
}
