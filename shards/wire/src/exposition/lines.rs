//! The lines of a target's last page, so that the next one need not be parsed.
//!
//! Of each line 16 bytes are kept, never its text: a keyed hash of the text of its series, its length, and where the series is: its shard
//! and its number there. A page is walked with the last one beside it: a line that stands where it stood costs one hash. Behind a
//! difference the walk looks a few lines ahead, as lines mostly come or go in between, and only then for the line anywhere.
//!
//! A line that is new has the identity of its series, until the shards have said where that is. When a shard has numbered its series anew
//! it says so of all lines of the next page; what it does not name then has to be parsed again.

use std::collections::{HashMap, HashSet};

use model::{IdentityKey, Places, SeriesId, SeriesPlace};

use super::reader::{Bounds, KnownLines};

/// Lines that are looked at behind the expected one before all are.
const LOOK_AHEAD: usize = 64;

/// Texts of this length and above are found by their hash alone, never expected.
const LENGTH_MAX: u16 = (1 << 14) - 1;
const LENGTH_MASK: u16 = LENGTH_MAX;
/// The series gets no marker when the line disappears: it came with a time of its own.
const UNTRACKED: u16 = 1 << 14;

/// Instead of a shard: the samples of the series are dropped.
const DROPPED: u16 = u16::MAX;
/// Instead of a shard: the number is a position in [`LineCache::ids`].
const UNPLACED: u16 = u16::MAX - 1;
/// Instead of a shard, while numbers of a new generation are taken over.
const UNNAMED: u16 = u16::MAX - 2;

/// The lines of one page.
#[derive(Debug, Default)]
pub struct LineCache {
    hashes: Vec<u64>,
    /// Where the series are.
    numbers: Vec<u32>,
    shards: Vec<u16>,
    /// Length of the text, and flags.
    lengths: Vec<u16>,
    /// Of lines whose series have no place yet.
    ids: Vec<SeriesId>,
    /// By shard: which of its generations the numbers are of.
    generations: Vec<u32>,
    /// Lines whose samples are stored.
    stored: usize,
}

/// Who a line's series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SeriesKey {
    /// Of the generation that [`LineCache::generations`] says.
    Place(SeriesPlace),
    Id(SeriesId),
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
    Series(SeriesKey),
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
            + (self.numbers.capacity() + self.generations.capacity()) * size_of::<u32>()
            + (self.shards.capacity() + self.lengths.capacity()) * size_of::<u16>()
            + self.ids.capacity() * size_of::<SeriesId>()
    }

    /// By shard: the generation of its numbers that the places are of.
    pub fn generations(&self) -> &[u32] {
        &self.generations
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
    pub fn tracked(&self) -> impl Iterator<Item = SeriesKey> {
        (0..self.len()).filter_map(|at| self.tracked_at(at))
    }

    /// Takes over what a shard says of the series of the last page. `line_of` gives the line that an entry was of.
    pub fn take_places(&mut self, places: &Places, line_of: impl Fn(u32) -> Option<usize>) {
        let shard = usize::from(places.shard);
        if self.generations.len() <= shard {
            self.generations.resize(shard + 1, 0);
        }
        let is_renumbered = std::mem::replace(&mut self.generations[shard], places.generation) != places.generation;
        if is_renumbered {
            self.shards.iter_mut().filter(|of_line| **of_line == places.shard).for_each(|of_line| *of_line = UNNAMED);
        }
        for &(entry, number) in &places.numbers {
            if let Some(line) = line_of(entry) {
                (self.shards[line], self.numbers[line]) = (places.shard, number);
            }
        }
        for at in 0..if is_renumbered { self.len() } else { 0 } {
            if self.shards[at] == UNNAMED {
                self.forget(at);
            }
        }
        self.keep_ids_in_use();
    }

    /// A line that has to be parsed again, as nobody knows its series.
    fn forget(&mut self, at: usize) {
        self.hashes[at] = !self.hashes[at];
        self.lengths[at] |= LENGTH_MASK;
        self.shards[at] = DROPPED;
        self.stored -= 1;
    }

    fn keep_ids_in_use(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if ids.is_empty() {
            return;
        }
        for (number, _) in self.numbers.iter_mut().zip(&self.shards).filter(|(_, shard)| **shard == UNPLACED) {
            let id = ids[*number as usize];
            *number = self.ids.len() as u32;
            self.ids.push(id);
        }
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

    fn push(&mut self, hash: u64, series: Option<SeriesKey>, length: u16) {
        let (shard, number) = match series {
            None => (DROPPED, 0),
            Some(SeriesKey::Place(place)) => (place.shard, place.number),
            Some(SeriesKey::Id(id)) => {
                self.ids.push(id);
                (UNPLACED, self.ids.len() as u32 - 1)
            }
        };
        self.hashes.push(hash);
        self.shards.push(shard);
        self.numbers.push(number);
        self.lengths.push(length);
        self.stored += usize::from(series.is_some());
    }

    #[inline]
    fn series(&self, at: usize) -> Option<SeriesKey> {
        match (self.shards[at], self.numbers[at]) {
            (DROPPED, _) => None,
            (UNPLACED, number) => Some(SeriesKey::Id(self.ids[number as usize])),
            (shard, number) => Some(SeriesKey::Place(SeriesPlace { shard, number })),
        }
    }

    #[inline]
    fn known(&self, at: usize) -> Known {
        self.series(at).map_or(Known::Dropped, Known::Series)
    }

    fn tracked_at(&self, at: usize) -> Option<SeriesKey> {
        self.series(at).filter(|_| self.lengths[at] & UNTRACKED == 0)
    }

    fn first(&self, count: usize) -> Self {
        let mut first = Self {
            hashes: self.hashes[..count].to_vec(),
            numbers: self.numbers[..count].to_vec(),
            shards: self.shards[..count].to_vec(),
            lengths: self.lengths[..count].to_vec(),
            ids: self.ids.clone(),
            generations: self.generations.clone(),
            stored: 0,
        };
        first.count_stored();
        first
    }

    fn truncate(&mut self, count: usize) {
        self.hashes.truncate(count);
        self.numbers.truncate(count);
        self.shards.truncate(count);
        self.lengths.truncate(count);
        self.count_stored();
    }

    fn count_stored(&mut self) {
        self.stored = self.shards.iter().filter(|shard| **shard != DROPPED).count();
    }

    fn shrink(&mut self) {
        self.hashes.shrink_to_fit();
        self.numbers.shrink_to_fit();
        self.shards.shrink_to_fit();
        self.lengths.shrink_to_fit();
    }
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
        self.old.known(self.last)
    }

    /// The line that was accepted, found or added last, counted from the page's first.
    #[inline]
    pub fn line(&self) -> usize {
        self.next.as_ref().map_or(self.last, |next| next.len() - 1)
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
                Found::Known(self.old.known(at))
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
        Found::Known(self.old.known(at))
    }

    /// Adds a line that was not there. `None`: its samples are dropped.
    pub fn add(&mut self, line: NewLine, series: Option<SeriesId>) {
        self.added.insert(line.hash);
        let next = self.next.as_mut().expect("it was looked for");
        next.push(line.hash, series.map(SeriesKey::Id), line.length);
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
    pub fn finish(mut self) -> Vec<SeriesKey> {
        if self.next.is_none() && self.place == self.old.len() {
            return Vec::new();
        }
        let mut gone: Vec<SeriesKey> =
            (0..self.old.len()).filter(|&at| self.is_gone(at)).filter_map(|at| self.old.tracked_at(at)).collect();
        match self.next.take() {
            Some(mut next) => {
                next.shrink();
                *self.old = next;
            }
            None => self.old.truncate(self.place),
        }
        if !gone.is_empty() {
            // Another text may mean the same series. If that one is new, only its shard knows.
            let there: HashSet<SeriesKey> = (0..self.old.len()).filter_map(|at| self.old.series(at)).collect();
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
        let (hash, series, length) = (self.old.hashes[at], self.old.series(at), self.old.lengths[at]);
        self.next.as_mut().expect("this page is not the old one").push(hash, series, length);
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

    /// A shard that knows series by numbers: their own, and something on top in each generation.
    const SHARD: u16 = 5;

    fn number_in(generation: u32, series: SeriesId) -> u32 {
        generation * 1000 + series.low as u32
    }

    fn id_of(cache: &LineCache, key: SeriesKey) -> SeriesId {
        match key {
            SeriesKey::Id(id) => id,
            SeriesKey::Place(SeriesPlace { shard, number }) => {
                assert_eq!(shard, SHARD);
                let generation = cache.generations()[usize::from(SHARD)];
                SeriesId { low: u64::from(number - generation * 1000), high: 7 }
            }
        }
    }

    /// What the shard says after a page, the lines of which are its entries. It has lost some series, and says nothing of them.
    fn tell(cache: &mut LineCache, generation: u32, is_lost: impl Fn(SeriesId) -> bool) {
        let is_current = cache.generations().get(usize::from(SHARD)).is_some_and(|of_cache| *of_cache == generation);
        let mut places = Places { shard: SHARD, generation, numbers: Vec::new() };
        for at in 0..cache.len() {
            let Some(key) = cache.series(at) else { continue };
            let (is_known, id) = (is_current && matches!(key, SeriesKey::Place(_)), id_of(cache, key));
            if !is_known && !is_lost(id) {
                places.numbers.push((at as u32, number_in(generation, id)));
            }
        }
        cache.take_places(&places, |entry| Some(entry as usize));
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
        let before = LineCache { generations: cache.generations.clone(), ..LineCache::default() };
        let mut walk = cache.walk(&key);
        let (mut reader, mut lines) = (Reader::new(Dialect::Text, page.as_bytes()), 0);
        while let Some(Item::Sample(sample)) = reader.next(&mut walk).expect("a good page") {
            let found =
                if sample.is_known { Found::Known(walk.accepted()) } else { walk.find(sample.series, reader.bounds()) };
            let series = match found {
                Found::Known(Known::Series(series)) => Some(id_of(&before, series)),
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
            assert_eq!(walk.line(), lines, "lines that are not repeated count");
            lines += 1;
            outcome.stored.extend(series);
        }
        outcome.gone = walk.finish().into_iter().map(|key| id_of(&before, key)).collect();
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
        /// Goal: without any text at hand the walk says the same as a map of texts, whether the shard has named places, or named them anew.
        #[test]
        fn a_walk_says_what_a_map_of_texts_says(
            pages in pages(),
            told in prop::collection::vec(prop::option::of(0u32..3), 6),
        ) {
            let (mut cache, mut known) = (LineCache::default(), HashMap::new());
            for (numbers, generation) in pages.iter().zip(told) {
                prop_assert_eq!(walked(&mut cache, &page_of(numbers)), modelled(&mut known, numbers));
                prop_assert_eq!(cache.len(), known.len());
                let stored = known.keys().filter(|number| series_of(**number).is_some()).count();
                prop_assert_eq!(cache.series_count(), stored);
                if let Some(generation) = generation {
                    tell(&mut cache, generation, |_| false);
                    prop_assert!(cache.ids.is_empty(), "all have places");
                }
            }
        }
    }

    /// Goal: 16 bytes a line once the shard has said where the series are.
    #[test]
    fn a_known_line_takes_sixteen_bytes() {
        let mut cache = LineCache::default();
        let lines: Vec<u8> = (1..=200).filter(|number| series_of(*number).is_some()).collect();
        walked(&mut cache, &page_of(&lines));
        tell(&mut cache, 1, |_| false);
        assert_eq!(cache.heap_bytes(), 16 * lines.len() + size_of_val(cache.generations()));
    }

    /// Goal: what a shard that has numbered its series anew does not name is parsed again, and has no marker.
    #[test]
    fn a_line_that_a_shard_has_forgotten_is_new() {
        let mut cache = LineCache::default();
        walked(&mut cache, &page_of(&[1, 2, 3, 4]));
        tell(&mut cache, 0, |id| id.low == 4);
        assert_eq!(walked(&mut cache, &page_of(&[1, 2, 3, 4])).new, 0, "it is known under its identity");
        tell(&mut cache, 1, |id| id.low == 2 || id.low == 4);
        assert_eq!(cache.series_count(), 3);
        let outcome = walked(&mut cache, &page_of(&[1, 2, 3, 4]));
        assert_eq!((outcome.new, outcome.gone, outcome.stored.len()), (1, Vec::new(), 4));
        tell(&mut cache, 2, |id| id.low == 2);
        assert_eq!(walked(&mut cache, "").gone, [1, 2, 3, 4].map(|number| series_of(number).expect("kept")));
    }

    #[test]
    fn a_page_that_is_given_up_changes_nothing() {
        let (key, mut cache) = (key(), LineCache::default());
        walked(&mut cache, &page_of(&[1, 2, 3]));
        let mut walk = cache.walk(&key);
        let found = walk.find(b"metric_9", Bounds::None);
        assert!(matches!(found, Found::New(_)));
        drop(walk);
        assert_eq!(cache.tracked().map(|series| id_of(&cache, series).low).collect::<Vec<_>>(), [1, 2, 3]);
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
