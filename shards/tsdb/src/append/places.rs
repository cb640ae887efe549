//! Batches of senders that know where their series are: appending by place, series that end, and telling places.

use std::collections::HashSet;

use model::{Places, SeriesEntry, SeriesId, SeriesPlace, sample::STALE_NAN_BITS};

use super::{Appender, Members, lookahead::IdOrPlace};
use crate::{SeriesRef, head::Head};

impl Appender<'_> {
    pub(super) fn append_with_places(&mut self, members: Members<'_>) {
        let (series, places) = (self.columns.series, self.batch.places());
        let generation = self.batch.generation(self.shard);
        let sought = |head: &Head, number: u32| match places[number as usize] {
            None => IdOrPlace::Id(series[number as usize].id),
            Some(place) => head.at_place(generation, place.number).map_or(IdOrPlace::Gone, IdOrPlace::Place),
        };
        match members {
            Members::All => self.append_each(|at| at as u32, series.len(), sought),
            Members::Some(list) => self.append_each(|at| list[at], list.len(), sought),
        }
    }

    /// An entry with the identity of its series, also where the sender knows its place instead.
    pub(super) fn entry(&self, number: u32) -> SeriesEntry {
        let entry = self.columns.series[number as usize];
        let id = match self.batch.places().get(number as usize) {
            None | Some(None) => return entry,
            Some(Some(place)) => match self.at_place(*place) {
                Some(series) => self.head.lines.get(series.index()).id,
                None => self.identity_of_labels(&entry),
            },
        };
        SeriesEntry { id, ..entry }
    }

    fn at_place(&self, place: SeriesPlace) -> Option<SeriesRef> {
        self.head.at_place(self.batch.generation(self.shard), place.number)
    }

    fn identity_of_labels(&self, entry: &SeriesEntry) -> SeriesId {
        let (mut id, key) = (SeriesId::default(), &self.head.key);
        self.batch.visit_labels(entry.labels, &mut |name, value| id += key.label(name, value));
        id
    }

    /// Tells the sender of places that it does not know. Then those that it leaves get their markers: it can't know yet which of them
    /// it has under another name.
    pub(super) fn tell_places(&mut self, members: Members<'_>) {
        let asked = self.batch.asks_places().min(self.columns.series.len()) as u32;
        let numbers = match members {
            Members::All => self.unknown_places(0..asked),
            Members::Some(list) => self.unknown_places(list.iter().copied().take_while(|number| *number < asked)),
        };
        self.end_series(&numbers);
        if !numbers.is_empty() || asked > 0 && !self.is_current() {
            self.outcome.places.push(Places { shard: self.shard, generation: self.head.generation(), numbers });
        }
    }

    fn is_current(&self) -> bool {
        self.batch.generation(self.shard) == self.head.generation()
    }

    fn unknown_places(&self, asked: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
        let (places, is_current) = (self.batch.places(), self.is_current());
        let is_known = |number: u32| is_current && matches!(places.get(number as usize), Some(Some(_)));
        let find = |number: u32| self.head.find(self.entry(number).id).map(|series| (number, series.0));
        asked.filter(|number| !is_known(*number)).filter_map(find).collect()
    }

    fn end_series(&mut self, numbers: &[(u32, u32)]) {
        let (time, ended) = self.batch.ended();
        if ended.is_empty() {
            return;
        }
        let there: HashSet<u32> = numbers.iter().map(|(_, series)| *series).collect();
        let shard = self.shard;
        for place in ended.iter().filter(|place| place.shard == shard) {
            if let Some(series) = self.at_place(*place).filter(|series| !there.contains(&series.0)) {
                self.end_one(series, time);
            }
        }
    }

    /// A marker that comes too late is none.
    fn end_one(&mut self, series: SeriesRef, time: i64) {
        let marked = if self.head.ends_with_histogram(series) {
            self.mark_histograms(series, time)
        } else {
            self.head.append_sample(series, time, STALE_NAN_BITS, self.window).inspect(|is_new| {
                if *is_new {
                    self.log.push_sample(series, time, STALE_NAN_BITS);
                }
            })
        };
        self.outcome.stored += u64::from(marked == Ok(true));
    }
}
