//! The lines of a target's last page, so that the next one need not be parsed.
//!
//! Of each line 26 bytes are kept, never its text: a keyed hash of the text of its series, its length, and the series' identity. A page is
//! walked with the last one beside it: a line that stands where it stood costs one hash. Behind a difference the walk looks a few
//! lines ahead, as lines mostly come or go in between, and only then for the line anywhere.

use std::collections::{HashMap, HashSet};

use model::{IdentityKey, SeriesId};

use super::reader::{Bounds, KnownLines};

/// Lines that are looked at behind the expected one before all are.
const LOOK_AHEAD: usize = 64;

/// Texts of this length and above are found by their hash alone, never expected.
const LENGTH_MAX: u16 = (1 << 14) - 1;
const LENGTH_MASK: u16 = LENGTH_MAX;
/// The series gets no marker when the line disappears: it came with a time of its own.
const UNTRACKED: u16 = 1 << 14;

/// What stands for a series whose samples are dropped.
const DROPPED: SeriesId = SeriesId { low: 0, high: 0 };

/// The lines of one page.
#[derive(Debug, Default)]
pub struct LineCache {
    hashes: Vec<u64>,
    series: Vec<SeriesId>,
    /// Length of the text, and flags.
    lengths: Vec<u16>,
    /// Lines whose samples are stored.
    stored: usize,
}

/// What is known of a line that is not where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was somewhere else.
    Known(Known),
    /// The page has it already.
    Repeated,
    New(NewLine),
}

/// The series that a known line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Series(SeriesId),
    /// Its samples are dropped.
    Dropped,
}

/// A line that was not there, for [`Walk::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLine {
    hash: u64,
    length: u16,
}

impl LineCache {
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Lines whose samples are stored.
    pub fn series_count(&self) -> usize {
        self.stored
    }

    pub fn heap_bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>()
            + self.series.capacity() * size_of::<SeriesId>()
            + self.lengths.capacity() * size_of::<u16>()
    }

    /// Begins to walk a page. The lines are what they were until [`Walk::finish`].
    pub fn walk<'c>(&'c mut self, key: &'c IdentityKey) -> Walk<'c> {
        Walk {
            key,
            place: 0,
            next: None,
            out_of_order: Vec::new(),
            index: None,
            added: HashSet::new(),
            last: 0,
            old: self,
        }
    }

    /// The series that get a marker when all lines disappear.
    pub fn tracked(&self) -> impl Iterator<Item = SeriesId> {
        self.series
            .iter()
            .zip(&self.lengths)
            .filter(|(series, length)| is_tracked(**series, **length))
            .map(|(id, _)| *id)
    }

    /// No line is known by its text any more, as the same texts may mean other series from now on. What they meant is gone from the next page
    /// unless something there means it again.
    pub fn forget_texts(&mut self) {
        self.lengths.iter_mut().for_each(|length| *length |= LENGTH_MASK);
        self.hashes.iter_mut().for_each(|hash| *hash = !*hash);
    }

    /// No series gets a marker when its line does not come again: they all have one.
    pub fn untrack(&mut self) {
        self.lengths.iter_mut().for_each(|length| *length |= UNTRACKED);
    }

    fn push(&mut self, hash: u64, series: SeriesId, length: u16) {
        self.hashes.push(hash);
        self.series.push(series);
        self.lengths.push(length);
        self.stored += usize::from(series != DROPPED);
    }

    fn first(&self, count: usize) -> Self {
        Self {
            hashes: self.hashes[..count].to_vec(),
            series: self.series[..count].to_vec(),
            lengths: self.lengths[..count].to_vec(),
            stored: stored(&self.series[..count]),
        }
    }

    fn truncate(&mut self, count: usize) {
        self.hashes.truncate(count);
        self.series.truncate(count);
        self.lengths.truncate(count);
        self.stored = stored(&self.series);
    }

    fn shrink(&mut self) {
        self.hashes.shrink_to_fit();
        self.series.shrink_to_fit();
        self.lengths.shrink_to_fit();
    }
}

fn stored(series: &[SeriesId]) -> usize {
    series.iter().filter(|series| **series != DROPPED).count()
}

fn is_tracked(series: SeriesId, length: u16) -> bool {
    series != DROPPED && length & UNTRACKED == 0
}

/// What became of an old line that the walk did not simply pass in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OutOfOrder {
    #[default]
    No,
    /// Others came where it was expected.
    Skipped,
    /// Found when another was expected.
    Taken,
}

/// A page beside the last one.
#[derive(Debug)]
pub struct Walk<'c> {
    key: &'c IdentityKey,
    old: &'c mut LineCache,
    /// The old line that is expected next.
    place: usize,
    /// The lines of this page so far, once they are not just those of the old one.
    next: Option<LineCache>,
    /// By old line; made when the first one is needed.
    out_of_order: Vec<OutOfOrder>,
    /// Old lines by their hash; made when one is not near.
    index: Option<HashMap<u64, u32>>,
    /// Hashes of lines that were not there before.
    added: HashSet<u64>,
    /// The old line that was taken last.
    last: usize,
}

impl KnownLines for Walk<'_> {
    #[inline]
    fn length(&self, rest: &[u8], bounds: Bounds) -> Option<usize> {
        let length = usize::from(self.old.lengths.get(self.place)? & LENGTH_MASK);
        if length > rest.len() || length == usize::from(LENGTH_MAX) {
            return None;
        }
        let hash = hash_within(self.key, rest, length, bounds);
        (hash == self.old.hashes[self.place]).then_some(length)
    }

    #[inline]
    fn accept(&mut self) {
        self.take(self.place);
    }
}

/// The bounds are part of it: the same text is another series under another type.
#[inline]
fn hash_within(key: &IdentityKey, rest: &[u8], length: usize, bounds: Bounds) -> u64 {
    key.text_hash(rest, length) ^ (bounds as u64)
}

impl Walk<'_> {
    /// What the line means that the reader just took for known.
    #[inline]
    pub fn accepted(&self) -> Known {
        known(self.old.series[self.last])
    }

    /// Looks for a line that is not the expected one.
    pub fn find(&mut self, series: &[u8], bounds: Bounds) -> Found {
        let hash = hash_within(self.key, series, series.len(), bounds);
        let length = u16::try_from(series.len()).map_or(LENGTH_MAX, |length| length.min(LENGTH_MAX));
        self.differ();
        self.pass_taken();
        let ahead = &self.old.hashes[self.place..(self.place + LOOK_AHEAD).min(self.old.len())];
        let near = ahead.iter().position(|other| *other == hash).map(|ahead| self.place + ahead);
        match near.filter(|at| self.state(*at) == OutOfOrder::No) {
            Some(at) => {
                self.skip_to(at);
                self.take(at);
                Found::Known(known(self.old.series[at]))
            }
            None => self.find_anywhere(hash, length),
        }
    }

    fn find_anywhere(&mut self, hash: u64, length: u16) -> Found {
        if self.added.contains(&hash) {
            return Found::Repeated;
        }
        let old = &self.old.hashes;
        let numbered = || old.iter().enumerate().map(|(at, hash)| (*hash, at as u32)).collect();
        let Some(at) = self.index.get_or_insert_with(numbered).get(&hash).map(|at| *at as usize) else {
            return Found::New(NewLine { hash, length });
        };
        let is_free = match self.state(at) {
            OutOfOrder::No => at >= self.place,
            OutOfOrder::Skipped => true,
            OutOfOrder::Taken => false,
        };
        if !is_free {
            return Found::Repeated;
        }
        self.states()[at] = OutOfOrder::Taken;
        self.push_old(at);
        Found::Known(known(self.old.series[at]))
    }

    /// Adds a line that was not there. `None`: its samples are dropped.
    pub fn add(&mut self, line: NewLine, series: Option<SeriesId>) {
        self.added.insert(line.hash);
        let next = self.next.get_or_insert_default();
        next.push(line.hash, series.unwrap_or(DROPPED), line.length);
    }

    /// Says of the line that was accepted, found or added last whether its series gets a marker when it disappears.
    #[inline]
    pub fn track(&mut self, is_tracked: bool) {
        let lengths = match &mut self.next {
            Some(next) => next.lengths.last_mut(),
            None => self.old.lengths.get_mut(self.last),
        };
        let length = lengths.expect("a line came before");
        let flags = if is_tracked { *length & !UNTRACKED } else { *length | UNTRACKED };
        if *length != flags {
            *length = flags;
        }
    }

    /// The page is done: its lines take the place of the old ones. Returns the series that get a marker, as no line means them any more.
    pub fn finish(mut self) -> Vec<SeriesId> {
        if self.next.is_none() && self.place == self.old.len() {
            return Vec::new();
        }
        let mut gone: Vec<SeriesId> = (0..self.old.len())
            .filter(|&at| self.is_gone(at) && is_tracked(self.old.series[at], self.old.lengths[at]))
            .map(|at| self.old.series[at])
            .collect();
        match self.next.take() {
            Some(mut next) => {
                next.shrink();
                *self.old = next;
            }
            None => self.old.truncate(self.place),
        }
        if !gone.is_empty() {
            // Another text may mean the same series.
            let there: HashSet<SeriesId> = self.old.series.iter().copied().collect();
            gone.retain(|series| !there.contains(series));
        }
        gone
    }

    fn is_gone(&self, at: usize) -> bool {
        match self.state(at) {
            OutOfOrder::No => at >= self.place,
            OutOfOrder::Skipped => true,
            OutOfOrder::Taken => false,
        }
    }

    #[inline]
    fn take(&mut self, at: usize) {
        if self.next.is_some() {
            self.push_old(at);
        }
        (self.last, self.place) = (at, at + 1);
        if !self.out_of_order.is_empty() {
            self.pass_taken();
        }
    }

    /// From here on the lines are not just those of the old page.
    fn differ(&mut self) {
        if self.next.is_none() {
            self.next = Some(self.old.first(self.place));
        }
    }

    fn push_old(&mut self, at: usize) {
        let (hash, series, length) = (self.old.hashes[at], self.old.series[at], self.old.lengths[at]);
        self.next.get_or_insert_default().push(hash, series, length);
    }

    fn pass_taken(&mut self) {
        while self.state(self.place) == OutOfOrder::Taken {
            self.place += 1;
        }
    }

    fn state(&self, at: usize) -> OutOfOrder {
        self.out_of_order.get(at).copied().unwrap_or_default()
    }

    fn states(&mut self) -> &mut [OutOfOrder] {
        if self.out_of_order.is_empty() {
            self.out_of_order = vec![OutOfOrder::No; self.old.len()];
        }
        &mut self.out_of_order
    }

    fn skip_to(&mut self, at: usize) {
        let place = self.place;
        if at > place {
            for state in self.states()[place..at].iter_mut().filter(|state| **state == OutOfOrder::No) {
                *state = OutOfOrder::Skipped;
            }
        }
    }
}

fn known(series: SeriesId) -> Known {
    if series == DROPPED { Known::Dropped } else { Known::Series(series) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::exposition::{Dialect, Item, Reader};

    fn key() -> IdentityKey {
        IdentityKey::from_bytes(&std::array::from_fn(|at| (at as u8).wrapping_mul(151).wrapping_add(7)))
    }

    /// A line of a made-up page: its number stands for its text. Every fifth is dropped, every seventh has a time.
    fn series_of(number: u8) -> Option<SeriesId> {
        (!number.is_multiple_of(5)).then(|| SeriesId { low: u64::from(number), high: 7 })
    }

    fn page_of(numbers: &[u8]) -> String {
        let line = |number: &u8| {
            let time = if number.is_multiple_of(7) { " 1000" } else { "" };
            format!("metric_{number} 1{time}\n")
        };
        numbers.iter().map(line).collect()
    }

    /// What a page makes of its lines, and which series get a marker.
    #[derive(Debug, Default, PartialEq)]
    struct Outcome {
        stored: Vec<SeriesId>,
        repeated: usize,
        new: usize,
        gone: Vec<SeriesId>,
    }

    fn walked(cache: &mut LineCache, page: &str) -> Outcome {
        let (key, mut outcome) = (key(), Outcome::default());
        let mut walk = cache.walk(&key);
        let mut reader = Reader::new(Dialect::Text, page.as_bytes());
        while let Some(Item::Sample(sample)) = reader.next(&mut walk).expect("a good page") {
            let found =
                if sample.is_known { Found::Known(walk.accepted()) } else { walk.find(sample.series, reader.bounds()) };
            let series = match found {
                Found::Known(Known::Series(series)) => Some(series),
                Found::Known(Known::Dropped) => None,
                Found::Repeated => {
                    outcome.repeated += 1;
                    continue;
                }
                Found::New(line) => {
                    outcome.new += 1;
                    let name = str::from_utf8(sample.series).expect("ASCII");
                    let series = series_of(name["metric_".len()..].parse().expect("a number"));
                    walk.add(line, series);
                    series
                }
            };
            walk.track(sample.time.is_none());
            outcome.stored.extend(series);
        }
        outcome.gone = walk.finish();
        outcome.gone.sort();
        outcome
    }

    /// The same with the texts themselves.
    fn modelled(known: &mut HashMap<u8, bool>, numbers: &[u8]) -> Outcome {
        let (mut outcome, mut page) = (Outcome::default(), HashMap::new());
        for &number in numbers {
            if page.contains_key(&number) {
                outcome.repeated += 1;
                continue;
            }
            outcome.new += usize::from(!known.contains_key(&number));
            page.insert(number, !number.is_multiple_of(7));
            outcome.stored.extend(series_of(number));
        }
        let gone = known.iter().filter(|(number, tracked)| **tracked && !page.contains_key(number));
        outcome.gone = gone.filter_map(|(number, _)| series_of(*number)).collect();
        outcome.gone.sort();
        *known = page;
        outcome
    }

    /// Pages as they follow on each other: much stays, some lines come, go, move or are there twice.
    fn pages() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let edits = prop::collection::vec((0u8..4, any::<prop::sample::Index>(), 0u8..250), 0..6);
        (prop::collection::vec(0u8..250, 0..200), prop::collection::vec(edits, 1..6)).prop_map(|(first, changes)| {
            let mut pages = vec![first];
            for edits in changes {
                let mut page = pages.last().expect("one at least").clone();
                for (kind, index, number) in edits {
                    match kind {
                        0 => page.insert(index.index(page.len() + 1), number),
                        1 if !page.is_empty() => drop(page.remove(index.index(page.len()))),
                        2 if !page.is_empty() => {
                            let middle = index.index(page.len());
                            page.rotate_left(middle);
                        }
                        3 => page.truncate(index.index(page.len() + 1)),
                        _ => {}
                    }
                }
                pages.push(page);
            }
            pages
        })
    }

    proptest! {
        /// Goal: without any text at hand the walk says the same as a map of texts.
        #[test]
        fn a_walk_says_what_a_map_of_texts_says(pages in pages()) {
            let (mut cache, mut known) = (LineCache::default(), HashMap::new());
            for numbers in &pages {
                prop_assert_eq!(walked(&mut cache, &page_of(numbers)), modelled(&mut known, numbers));
                prop_assert_eq!(cache.len(), known.len());
                let stored = known.keys().filter(|number| series_of(**number).is_some()).count();
                prop_assert_eq!(cache.series_count(), stored);
            }
        }
    }

    #[test]
    fn a_page_that_is_given_up_changes_nothing() {
        let (key, mut cache) = (key(), LineCache::default());
        walked(&mut cache, &page_of(&[1, 2, 3]));
        let mut walk = cache.walk(&key);
        let found = walk.find(b"metric_9", Bounds::None);
        assert!(matches!(found, Found::New(_)));
        drop(walk);
        assert_eq!(cache.tracked().map(|series| series.low).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(walked(&mut cache, &page_of(&[1, 2, 3])).new, 0);
    }

    /// Goal: after a change of labels nothing is taken for known, and what no line means any more gets its marker.
    #[test]
    fn forgotten_texts_are_new_and_their_series_end() {
        let mut cache = LineCache::default();
        walked(&mut cache, &page_of(&[1, 2, 3, 7]));
        cache.forget_texts();
        let outcome = walked(&mut cache, &page_of(&[2, 3]));
        assert_eq!((outcome.new, outcome.gone), (2, vec![series_of(1).expect("kept")]));
        cache.untrack();
        assert_eq!(walked(&mut cache, &page_of(&[3])).gone, []);
        assert_eq!(walked(&mut cache, &page_of(&[4])).gone, [series_of(3).expect("kept")]);
    }

    /// Goal: a name that goes on, and a name with labels behind a blank, are not the series that they begin with.
    #[test]
    fn a_known_beginning_is_not_the_series() {
        let (key, mut cache) = (key(), LineCache::default());
        walked(&mut cache, &page_of(&[1]));
        assert_eq!(walked(&mut cache, &page_of(&[11])).new, 1);
        walked(&mut cache, &page_of(&[1]));
        let mut walk = cache.walk(&key);
        let mut reader = Reader::new(Dialect::Text, b"metric_1 \t{a=\"b\"} 2\n");
        let Ok(Some(Item::Sample(sample))) = reader.next(&mut walk) else { panic!("a sample") };
        assert_eq!((sample.is_known, sample.series), (false, &b"metric_1 \t{a=\"b\"}"[..]));
    }

    /// Goal: the same text under another type has other labels.
    #[test]
    fn a_text_is_another_series_under_another_type() {
        let (key, mut cache) = (key(), LineCache::default());
        let mut walk = cache.walk(&key);
        let Found::New(line) = walk.find(b"a{le=\"1\"}", Bounds::Buckets) else { panic!("new") };
        walk.add(line, Some(SeriesId { low: 1, high: 1 }));
        walk.finish();
        let walk = cache.walk(&key);
        assert_eq!(walk.length(b"a{le=\"1\"} 1", Bounds::Buckets), Some(9));
        assert_eq!(walk.length(b"a{le=\"1\"} 1", Bounds::None), None);
    }
}
