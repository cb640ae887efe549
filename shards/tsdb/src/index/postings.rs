//! Which series carry a label pair.
//!
//! Most pairs of a real fleet belong to one or two series (an id, a mount point) or to very many (a job); both have to be small.
//! One or two positions stand in the pair's own eight bytes, some more in a sorted array, many in a Roaring bitmap.

use roaring::RoaringBitmap;

use super::PairRef;
use crate::{SeriesRef, segmented::Pages};

/// Longest sorted array; above it the bitmap's fixed cost is smaller than what it saves.
const SMALL_MAX: usize = 32;
const IN_LIST: u64 = 1 << 63;

/// Postings of every pair, by pair number.
#[derive(Default)]
pub struct PostingsTable {
    /// Zero: none. Without [`IN_LIST`]: one or two positions plus one, the first in the low half. With it: number of a list.
    entries: Pages<u64, 4096>,
    lists: Vec<List>,
}

enum List {
    Small(Vec<u32>),
    Bitmap(RoaringBitmap),
}

impl PostingsTable {
    /// Makes room for one more pair.
    pub fn add_pair(&mut self) {
        self.entries.push(0);
    }

    /// Adds a series to a pair. Series come in rising order, as they are created.
    pub fn add(&mut self, pair: PairRef, series: SeriesRef) {
        let entry = self.entries.get_mut(pair.0 as usize);
        let position = u64::from(series.0) + 1;
        if *entry & IN_LIST != 0 {
            self.lists[(*entry & !IN_LIST) as usize].push(series.0);
        } else if *entry == 0 {
            *entry = position;
        } else if *entry >> 32 == 0 && position < 1 << 31 {
            *entry |= position << 32;
        } else {
            let first = inline(*entry).chain([series.0]).collect();
            *entry = IN_LIST | self.lists.len() as u64;
            self.lists.push(List::Small(first));
        }
    }

    /// How many series carry a pair.
    pub fn count(&self, pair: PairRef) -> u64 {
        let entry = *self.entries.get(pair.0 as usize);
        match self.list(entry) {
            None => inline(entry).count() as u64,
            Some(List::Small(series)) => series.len() as u64,
            Some(List::Bitmap(series)) => series.len(),
        }
    }

    /// How many series from a position on carry a pair.
    pub fn count_from(&self, pair: PairRef, first: SeriesRef) -> u64 {
        let entry = *self.entries.get(pair.0 as usize);
        match self.list(entry) {
            None => inline(entry).filter(|&series| series >= first.0).count() as u64,
            Some(List::Small(series)) => (series.len() - series.partition_point(|&series| series < first.0)) as u64,
            Some(List::Bitmap(series)) => series.range_cardinality(first.0..),
        }
    }

    /// Joins the series of a pair into a set.
    pub fn union_into(&self, pair: PairRef, set: &mut RoaringBitmap) {
        let entry = *self.entries.get(pair.0 as usize);
        match self.list(entry) {
            None => set.extend(inline(entry)),
            Some(List::Small(series)) => set.extend(series.iter().copied()),
            Some(List::Bitmap(series)) => *set |= series,
        }
    }

    /// Keeps of a set only the series of a pair.
    pub fn intersect_into(&self, pair: PairRef, set: &mut RoaringBitmap) {
        let entry = *self.entries.get(pair.0 as usize);
        match self.list(entry) {
            Some(List::Bitmap(series)) => *set &= series,
            _ => {
                let mut kept = RoaringBitmap::new();
                self.union_into(pair, &mut kept);
                *set &= kept;
            }
        }
    }

    /// Takes the series of a pair out of a set.
    pub fn subtract_from(&self, pair: PairRef, set: &mut RoaringBitmap) {
        let entry = *self.entries.get(pair.0 as usize);
        match self.list(entry) {
            None => *set -= inline(entry).collect::<RoaringBitmap>(),
            Some(List::Small(all)) => *set -= all.iter().copied().collect::<RoaringBitmap>(),
            Some(List::Bitmap(series)) => *set -= series,
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let lists: usize = self
            .lists
            .iter()
            .map(|list| match list {
                List::Small(series) => series.capacity() * 4,
                List::Bitmap(series) => series.serialized_size(),
            })
            .sum();
        self.entries.heap_bytes() + self.lists.capacity() * size_of::<List>() + lists
    }

    fn list(&self, entry: u64) -> Option<&List> {
        (entry & IN_LIST != 0).then(|| &self.lists[(entry & !IN_LIST) as usize])
    }
}

impl List {
    fn push(&mut self, series: u32) {
        match self {
            Self::Small(all) if all.len() < SMALL_MAX => all.push(series),
            Self::Small(all) => {
                let mut bitmap: RoaringBitmap = all.iter().copied().collect();
                bitmap.insert(series);
                *self = Self::Bitmap(bitmap);
            }
            Self::Bitmap(all) => {
                all.insert(series);
            }
        }
    }
}

fn inline(entry: u64) -> impl Iterator<Item = u32> {
    [entry as u32, (entry >> 32) as u32].into_iter().filter(|&position| position != 0).map(|position| position - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_size_of_list_answers_as_a_plain_set() {
        for size in [0u32, 1, 2, 3, 31, 32, 33, 34, 1000] {
            let mut table = PostingsTable::default();
            table.add_pair();
            table.add_pair();
            let pair = PairRef(1);
            let model: BTreeSet<u32> = (0..size).map(|number| number * 3).collect();
            model.iter().for_each(|&series| table.add(pair, SeriesRef(series)));
            assert_eq!(table.count(pair), model.len() as u64);
            assert_eq!(table.count(PairRef(0)), 0);
            for first in [0, 1, 3, 90, 4000] {
                let from = model.range(first..).count() as u64;
                assert_eq!(table.count_from(pair, SeriesRef(first)), from, "{size} from {first}");
            }
            let mut union = RoaringBitmap::from_iter([1, 2]);
            table.union_into(pair, &mut union);
            assert_eq!(union.len(), model.len() as u64 + 2);
            let mut all: RoaringBitmap = (0..4000).collect();
            table.intersect_into(pair, &mut all);
            assert!(all.iter().eq(model.iter().copied()), "size {size}");
            table.subtract_from(pair, &mut all);
            assert!(all.is_empty());
        }
    }
}
