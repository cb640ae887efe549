//! From a series' identity to its position: open addressing over 8-byte slots.
//!
//! A slot holds 32 bits of the identity as a tag and the series' position; the full 128 bits stand in the series' own hot line,
//! which an append needs anyway, so the table stays small and a wrong tag costs one look there. The table is split 256 ways, so
//! that growing it moves a small piece at a time and no request waits for a rehash of millions.

use codec::prefetch::prefetch_read;
use model::SeriesId;

use crate::SeriesRef;

const WAYS: usize = 256;
const SLOTS_MIN: usize = 16;
const EMPTY: u64 = 0;

#[derive(Debug)]
pub struct IdentityTable {
    ways: Vec<Way>,
}

#[derive(Debug, Default)]
struct Way {
    /// Power of two long, or empty. A slot is `tag << 32 | position + 1`; zero is free.
    slots: Box<[u64]>,
    used: usize,
}

impl Default for IdentityTable {
    fn default() -> Self {
        Self { ways: std::iter::repeat_with(Way::default).take(WAYS).collect() }
    }
}

/// Which way, from bits that neither the partition nor the slot's place nor the tag uses.
#[inline]
fn way_of(id: SeriesId) -> usize {
    (id.high & 0xff) as usize
}

#[inline]
fn tag_of(id: SeriesId) -> u64 {
    id.low & 0xffff_ffff_0000_0000
}

impl IdentityTable {
    pub fn len(&self) -> usize {
        self.ways.iter().map(|way| way.used).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the CPU for the cache line where the search will start.
    #[inline]
    pub fn prefetch(&self, id: SeriesId) {
        let way = &self.ways[way_of(id)];
        if !way.slots.is_empty() {
            prefetch_read(&way.slots, way.place(id));
        }
    }

    /// Finds the position for which `is_it` confirms the identity.
    #[inline]
    pub fn find(&self, id: SeriesId, mut is_it: impl FnMut(SeriesRef) -> bool) -> Option<SeriesRef> {
        let way = &self.ways[way_of(id)];
        if way.slots.is_empty() {
            return None;
        }
        let (mask, tag) = (way.slots.len() - 1, tag_of(id));
        let mut at = way.place(id);
        loop {
            let slot = way.slots[at];
            if slot == EMPTY {
                return None;
            }
            if (slot ^ tag) >> 32 == 0 {
                let series = SeriesRef(slot as u32 - 1);
                if is_it(series) {
                    return Some(series);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// The first position whose tag fits, unconfirmed: what to prefetch next.
    #[inline]
    pub fn guess(&self, id: SeriesId) -> Option<SeriesRef> {
        self.find(id, |_| true)
    }

    /// Adds a series that is not in the table. `id_of` gives the identity of those that are, for when a way has to grow.
    pub fn insert(&mut self, id: SeriesId, series: SeriesRef, id_of: impl Fn(SeriesRef) -> SeriesId) {
        let way = &mut self.ways[way_of(id)];
        // At most three quarters full: a search then ends after a slot or two.
        if (way.used + 1) * 4 > way.slots.len() * 3 {
            way.grow(id_of);
        }
        way.place_new(id, series);
        way.used += 1;
    }

    pub fn heap_bytes(&self) -> usize {
        self.ways.iter().map(|way| way.slots.len() * size_of::<u64>() + size_of::<Way>()).sum()
    }
}

impl Way {
    #[inline]
    fn place(&self, id: SeriesId) -> usize {
        id.low as usize & (self.slots.len() - 1)
    }

    fn grow(&mut self, id_of: impl Fn(SeriesRef) -> SeriesId) {
        let larger = vec![EMPTY; (self.slots.len() * 2).max(SLOTS_MIN)].into_boxed_slice();
        let old = std::mem::replace(&mut self.slots, larger);
        for slot in old.into_iter().filter(|&slot| slot != EMPTY) {
            let series = SeriesRef(slot as u32 - 1);
            self.place_new(id_of(series), series);
        }
    }

    fn place_new(&mut self, id: SeriesId, series: SeriesRef) {
        let mask = self.slots.len() - 1;
        let mut at = self.place(id);
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = tag_of(id) | u64::from(series.0 + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A cheap stand-in for the keyed hash, with a few deliberate clashes of place and tag.
    fn id(number: u64) -> SeriesId {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        SeriesId { low: if number.is_multiple_of(7) { 42 } else { spread }, high: spread.rotate_left(32) }
    }

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mut table = IdentityTable::default();
        let mut model = HashMap::new();
        let mut ids = Vec::new();
        for number in 0..20_000u64 {
            let series = SeriesRef(number as u32);
            ids.push(id(number));
            table.insert(id(number), series, |series| ids[series.index()]);
            model.insert(id(number), series);
        }
        assert_eq!(table.len(), model.len());
        for number in 0..40_000 {
            let found = table.find(id(number), |series| ids[series.index()] == id(number));
            assert_eq!(found, model.get(&id(number)).copied(), "{number}");
        }
    }
}
