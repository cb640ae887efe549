//! Taking dead series out of a head: the living are numbered anew, and labels, postings and the identity table are made anew with
//! them, so that churn leaves nothing behind.
//!
//! All other structures only ever append; this is the one operation that gives positions another meaning, and it begins a new
//! generation. The new index is made beside the old one in slices, between the writes. The switch itself is one step: series that
//! were created meanwhile join, series that came back from the dead follow as the last ones, the hot lines move together.
//! The log gets a record of who went, from which a replay makes the same switch; pairs keep their order too, so that a replay
//! that lost some definitions still numbers the others alike. Format of the record: `docs/format/wal.md`.

use codec::varint::put_unsigned;
use roaring::RoaringBitmap;

use super::{Forwarding, Head, Index};
use crate::{
    SeriesRef,
    index::{IdentityTable, PairRef, Pairs, PostingsTable, SeriesLabels},
    wal::{LogBatch, take_u32},
};

/// Steps of a slice, each a series or some pairs.
const STEPS_PER_SLICE: u32 = 2048;
const NONE: u32 = u32::MAX;

/// A renumbering that is under way; see [`Self::advance`].
pub struct Renumbering {
    phase: Phase,
    dead: RoaringBitmap,
    /// Pairs of the living.
    used_pairs: RoaringBitmap,
    /// Series and pairs that there were when this began.
    series_at_start: u32,
    pairs_at_start: u32,
    next: Successor,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Looking who is dead, and which pairs the others have.
    Look(u32),
    Pairs(u32),
    Series(u32),
    Done,
}

/// The index that takes over.
struct Successor {
    index: Index,
    table: IdentityTable,
    /// New number of each old pair.
    pair_numbers: Vec<u32>,
    /// Old position of each new one.
    old: Vec<u32>,
    /// Pairs that are in no order, as they were found in use later.
    late_pairs: Vec<u32>,
    lost_places: usize,
}

/// Who goes, and who comes last. The rest keep their order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Departures {
    pub(crate) generation: u32,
    pub(crate) series_count: u32,
    pub(crate) dead: RoaringBitmap,
    pub(crate) last_series: Vec<u32>,
    pub(crate) pair_count: u32,
    pub(crate) dead_pairs: RoaringBitmap,
    pub(crate) last_pairs: Vec<u32>,
}

impl Renumbering {
    /// Begins. Until [`Self::finish`] or [`Self::cancel`] the head notes which dead series come back.
    pub fn begin(head: &mut Head) -> Self {
        head.revived = Some(Vec::new());
        Self {
            phase: Phase::Look(0),
            dead: RoaringBitmap::new(),
            used_pairs: RoaringBitmap::new(),
            series_at_start: head.series_count() as u32,
            pairs_at_start: head.index.pairs.len() as u32,
            next: Successor::new(head),
        }
    }

    /// Does the next slice; `false` when only the switch is left.
    pub fn advance(&mut self, head: &Head) -> bool {
        match self.phase {
            Phase::Look(from) => self.look(head, from),
            Phase::Pairs(from) => self.add_pairs(head, from),
            Phase::Series(from) => self.add_series(head, from),
            Phase::Done => return false,
        }
        true
    }

    /// How many series go that stand before a position.
    pub fn gone_before(&self, series: u32) -> u32 {
        self.dead.range_cardinality(..series) as u32
    }

    pub fn cancel(self, head: &mut Head) {
        head.revived = None;
    }

    fn look(&mut self, head: &Head, from: u32) {
        let end = from.saturating_add(STEPS_PER_SLICE).min(self.series_at_start);
        for series in (from..end).map(SeriesRef) {
            if head.lines.get(series.index()).is_alive(head.floor) {
                self.used_pairs.extend(head.index.labels.pairs(series).map(|pair| pair.0));
            } else {
                self.dead.insert(series.0);
            }
        }
        self.phase = if end == self.series_at_start { Phase::Pairs(0) } else { Phase::Look(end) };
    }

    fn add_pairs(&mut self, head: &Head, from: u32) {
        let end = from.saturating_add(STEPS_PER_SLICE).min(self.pairs_at_start);
        for pair in (from..end).filter(|&pair| self.used_pairs.contains(pair)) {
            self.next.add_pair(&head.index, PairRef(pair));
        }
        self.phase = if end == self.pairs_at_start { Phase::Series(0) } else { Phase::Pairs(end) };
    }

    fn add_series(&mut self, head: &Head, from: u32) {
        let end = from.saturating_add(STEPS_PER_SLICE).min(self.series_at_start);
        for series in (from..end).filter(|&series| !self.dead.contains(series)) {
            self.next.add_series(head, SeriesRef(series));
        }
        self.phase = if end == self.series_at_start { Phase::Done } else { Phase::Series(end) };
    }

    /// Makes the switch. Returns how many series went.
    ///
    /// # Panics
    /// If [`Self::advance`] has more to do.
    pub fn finish(mut self, head: &mut Head, log: &mut LogBatch) -> usize {
        assert!(matches!(self.phase, Phase::Done), "slices are left");
        let before = head.series_count() as u32;
        (self.series_at_start..before).for_each(|series| self.next.add_series(head, SeriesRef(series)));
        let in_order = self.next.old.len();
        let mut seen = RoaringBitmap::new();
        for series in head.revived.take().expect("noted since the beginning") {
            // It may have come back before it was looked at, and then is in its place.
            if self.dead.contains(series.0) && seen.insert(series.0) {
                self.next.add_series(head, series);
            }
        }
        let pair_count = head.index.pairs.len() as u32;
        let mut dead_pairs: RoaringBitmap = (0..pair_count).collect();
        dead_pairs -= &self.used_pairs;
        let departures = Departures {
            generation: head.generation + 1,
            series_count: before,
            dead: self.dead,
            last_series: self.next.old[in_order..].to_vec(),
            pair_count,
            dead_pairs,
            last_pairs: std::mem::take(&mut self.next.late_pairs),
        };
        head.succeed(self.next, in_order);
        log.push_renumbering(&departures);
        before as usize - head.series_count()
    }
}

impl Successor {
    fn new(head: &Head) -> Self {
        Self {
            index: Index {
                pairs: Pairs::new(head.key),
                postings: PostingsTable::default(),
                labels: SeriesLabels::default(),
                scratch: Vec::new(),
                last_created: Vec::new(),
            },
            table: IdentityTable::default(),
            pair_numbers: Vec::new(),
            old: Vec::new(),
            late_pairs: Vec::new(),
            lost_places: 0,
        }
    }

    fn number_of(&self, pair: PairRef) -> Option<PairRef> {
        self.pair_numbers.get(pair.0 as usize).copied().filter(|&number| number != NONE).map(PairRef)
    }

    fn add_pair(&mut self, old: &Index, pair: PairRef) -> PairRef {
        let number = if old.pairs.is_lost(pair) {
            self.lost_places += 1;
            let number = PairRef(self.index.pairs.len() as u32);
            self.index.pairs.add_lost();
            number
        } else {
            let interned = self.index.pairs.intern(old.pairs.name_of(pair), old.pairs.value_of(pair));
            interned.expect("the new index has no more in it than the old one").0
        };
        self.index.postings.add_pair();
        if self.pair_numbers.len() < old.pairs.len() {
            self.pair_numbers.resize(old.pairs.len(), NONE);
        }
        self.pair_numbers[pair.0 as usize] = number.0;
        number
    }

    fn add_series(&mut self, head: &Head, series: SeriesRef) {
        let new = SeriesRef(self.old.len() as u32);
        self.old.push(series.0);
        if head.index.labels.is_lost(series) {
            self.lost_places += 1;
            self.index.labels.push_lost();
            return;
        }
        let mut pairs = std::mem::take(&mut self.index.last_created);
        pairs.clear();
        for pair in head.index.labels.pairs(series) {
            let number = self.number_of(pair).unwrap_or_else(|| {
                self.late_pairs.push(pair.0);
                self.add_pair(&head.index, pair)
            });
            pairs.push(number);
        }
        let mut scratch = std::mem::take(&mut self.index.scratch);
        self.index.labels.push(&pairs, &mut scratch);
        self.index.scratch = scratch;
        pairs.iter().for_each(|&pair| self.index.postings.add(pair, new));
        self.index.last_created = pairs;
        let id_of = |series: SeriesRef| head.lines.get(self.old[series.index()] as usize).id;
        self.table.insert(id_of(new), new, id_of);
    }
}

impl Head {
    /// Takes over an index; the first `in_order` of its series stand as they stood here, without those that went.
    fn succeed(&mut self, successor: Successor, in_order: usize) {
        self.lines.rearrange(&successor.old, in_order);
        self.sealed.rearrange(&successor.old, in_order);
        self.histograms.rearrange(&successor.old);
        self.deleted.rearrange(&successor.old);
        self.index = successor.index;
        self.table = successor.table;
        self.lost_places = successor.lost_places;
        self.forwarding = Forwarding::new(&successor.old, in_order);
        self.generation += 1;
    }

    /// Makes the switch that a record tells of. `None`: it does not fit this head.
    pub(crate) fn replay_departures(&mut self, departures: &Departures) -> Option<usize> {
        let (series_count, pair_count) = (self.series_count() as u32, self.index.pairs.len() as u32);
        // What damage took at the end of either has no place here yet.
        (departures.generation == self.generation + 1).then_some(())?;
        (departures.series_count >= series_count && departures.pair_count >= pair_count).then_some(())?;
        let missing = (departures.series_count - series_count) as usize + (departures.pair_count - pair_count) as usize;
        (self.lost_places + missing <= self.limits.lost_places_max).then_some(())?;
        (series_count..departures.series_count).for_each(|_| self.add_lost_series());
        (pair_count..departures.pair_count).for_each(|_| self.add_lost_pair());
        let mut next = Successor::new(self);
        for pair in (0..departures.pair_count).filter(|&pair| !departures.dead_pairs.contains(pair)) {
            next.add_pair(&self.index, PairRef(pair));
        }
        for &pair in &departures.last_pairs {
            next.number_of(PairRef(pair)).is_none().then_some(())?;
            next.add_pair(&self.index, PairRef(pair));
        }
        for series in (0..departures.series_count).filter(|&series| !departures.dead.contains(series)) {
            next.add_series(self, SeriesRef(series));
        }
        let in_order = next.old.len();
        departures.last_series.iter().for_each(|&series| next.add_series(self, SeriesRef(series)));
        if !next.late_pairs.is_empty() {
            return None;
        }
        self.succeed(next, in_order);
        Some(self.series_count())
    }
}

impl Departures {
    pub(crate) fn encode(&self, body: &mut Vec<u8>) {
        put_unsigned(body, u64::from(self.generation));
        for (count, gone, last) in
            [(self.series_count, &self.dead, &self.last_series), (self.pair_count, &self.dead_pairs, &self.last_pairs)]
        {
            put_unsigned(body, u64::from(count));
            put_unsigned(body, gone.serialized_size() as u64);
            gone.serialize_into(&mut *body).expect("memory takes everything");
            put_unsigned(body, last.len() as u64);
            last.iter().for_each(|&number| put_unsigned(body, u64::from(number)));
        }
    }

    pub(crate) fn decode(mut body: &[u8]) -> Option<Self> {
        let body = &mut body;
        let generation = take_u32(body)?;
        let (series_count, dead, last_series) = take_order(body)?;
        let (pair_count, dead_pairs, last_pairs) = take_order(body)?;
        Some(Self { generation, series_count, dead, last_series, pair_count, dead_pairs, last_pairs })
    }
}

/// A count, the numbers below it that go, and those of them that come last instead.
fn take_order(body: &mut &[u8]) -> Option<(u32, RoaringBitmap, Vec<u32>)> {
    let count = take_u32(body)?;
    let bytes = take_u32(body)? as usize;
    let (gone, rest) = body.split_at_checked(bytes)?;
    *body = rest;
    let gone = RoaringBitmap::deserialize_from(gone).ok()?;
    let last_count = take_u32(body)? as usize;
    (last_count <= body.len()).then_some(())?;
    let last = (0..last_count).map(|_| take_u32(body)).collect::<Option<Vec<_>>>()?;
    let fits = gone.max().is_none_or(|number| number < count) && last.iter().all(|&number| gone.contains(number));
    let distinct = last.iter().collect::<std::collections::BTreeSet<_>>().len() == last.len();
    (fits && distinct).then_some((count, gone, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departures_read_back_and_hostile_ones_do_not() {
        let departures = Departures {
            generation: 3,
            series_count: 100_000,
            dead: (10..20_000).chain([90_000]).collect(),
            last_series: vec![90_000, 11],
            pair_count: 7,
            dead_pairs: [2].into_iter().collect(),
            last_pairs: vec![2],
        };
        let mut body = Vec::new();
        departures.encode(&mut body);
        assert_eq!(Departures::decode(&body), Some(departures));
        for length in 0..body.len() {
            assert_eq!(Departures::decode(&body[..length]), None, "cut at {length}");
        }
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut other = body.clone();
                other[at] ^= 1 << bit;
                // It may decode to something else; it must not panic.
                drop(Departures::decode(&other));
            }
        }
    }
}
