//! What has been deleted of a head's series: times that readers leave out, and that a cut leaves behind.
//!
//! A deletion takes what a series has at that moment, never what it gets later: its end is no later than the newest sample. Intervals
//! are kept apart from the series' lines, as few series ever have any, and go when the floor passes them.

use std::{collections::BTreeMap, sync::Arc};

use codec::varint::{put_signed, put_unsigned, take_signed, take_unsigned};

use super::Head;
use crate::{
    SeriesRef,
    block::Intervals,
    select::TimeRange,
    wal::{LogBatch, Replayed, take_u32},
};

/// Deleted times by series. A series without any is not in it.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    by_series: BTreeMap<u32, Arc<Intervals>>,
}

impl Deleted {
    #[inline]
    pub(crate) fn of(&self, series: SeriesRef) -> Option<&Arc<Intervals>> {
        if self.by_series.is_empty() { None } else { self.by_series.get(&series.0) }
    }

    fn add(&mut self, series: SeriesRef, range: TimeRange) {
        Arc::make_mut(self.by_series.entry(series.0).or_default()).add(range);
    }

    /// Forgets what is before a time.
    pub(crate) fn truncate(&mut self, floor: i64) {
        let Some(max_time) = floor.checked_sub(1) else { return };
        self.by_series.retain(|_, intervals| {
            let below = TimeRange { min_time: i64::MIN, max_time };
            if intervals.overlaps(below) {
                Arc::make_mut(intervals).subtract(below);
            }
            !intervals.is_empty()
        });
    }

    /// Gives series other numbers: `old` has the old number by the new one.
    pub(crate) fn rearrange(&mut self, old: &[u32]) {
        if self.by_series.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.by_series);
        let kept = old.iter().enumerate().filter_map(|(new, old)| Some((new as u32, before.remove(old)?)));
        self.by_series = kept.collect();
    }

    /// Appends the intervals of some series to a record.
    pub(crate) fn put(&self, series: std::ops::Range<u32>, body: &mut Vec<u8>) {
        for (&series, intervals) in self.by_series.range(series) {
            intervals.iter().for_each(|range| put_deletion(body, SeriesRef(series), range));
        }
    }

    pub(crate) fn has_any(&self, series: std::ops::Range<u32>) -> bool {
        self.by_series.range(series).next().is_some()
    }
}

pub(crate) fn put_deletion(body: &mut Vec<u8>, series: SeriesRef, range: TimeRange) {
    put_unsigned(body, u64::from(series.0));
    put_signed(body, range.min_time);
    put_unsigned(body, range.max_time.abs_diff(range.min_time));
}

fn take_deletion(body: &mut &[u8]) -> Option<(SeriesRef, TimeRange)> {
    let series = SeriesRef(take_u32(body)?);
    let min_time = take_signed(body).ok()?;
    let max_time = min_time.checked_add_unsigned(take_unsigned(body).ok()?)?;
    Some((series, TimeRange { min_time, max_time }))
}

/// The deletions of a record. `None`: it does not decode.
pub(crate) fn take_deletions(mut body: &[u8]) -> Option<Vec<(SeriesRef, TimeRange)>> {
    let mut deletions = Vec::new();
    while !body.is_empty() {
        deletions.push(take_deletion(&mut body)?);
    }
    Some(deletions)
}

impl Head {
    /// Deletes what a series has in a range, durably once `log` is. `false`: it has nothing there.
    pub fn delete(&mut self, series: SeriesRef, range: TimeRange, log: &mut LogBatch) -> bool {
        let line = self.lines.get(series.index());
        let min_time = range.min_time.max(self.floor);
        if !line.is_alive(min_time) {
            return false;
        }
        let range = TimeRange { min_time, max_time: range.max_time.min(line.time) };
        if range.min_time > range.max_time || self.deleted.of(series).is_some_and(|deleted| deleted.covers(range)) {
            return false;
        }
        self.deleted.add(series, range);
        log.push_deletion(series, range);
        true
    }

    pub(crate) fn replay_deletions(&mut self, body: &[u8]) -> Option<Replayed> {
        for (series, range) in take_deletions(body)? {
            let is_known = series.index() < self.series_count() && !self.index.labels.is_lost(series);
            // Of a series whose definition is lost nothing is shown anyway.
            if is_known && range.max_time >= self.floor {
                self.deleted.add(series, TimeRange { min_time: range.min_time.max(self.floor), ..range });
            }
        }
        Some(Replayed::default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(min_time: i64, max_time: i64) -> TimeRange {
        TimeRange { min_time, max_time }
    }

    #[test]
    fn truncation_and_new_numbers_keep_what_is_left() {
        let mut deleted = Deleted::default();
        deleted.add(SeriesRef(3), range(10, 20));
        deleted.add(SeriesRef(3), range(30, 40));
        deleted.add(SeriesRef(5), range(12, 14));
        deleted.truncate(15);
        assert!(deleted.of(SeriesRef(5)).is_none());
        deleted.rearrange(&[0, 5, 4, 3]);
        assert!(deleted.has_any(3..4) && !deleted.has_any(0..3));
        let left: Vec<_> = deleted.of(SeriesRef(3)).expect("kept").iter().collect();
        assert_eq!(left, [range(15, 20), range(30, 40)]);
    }

    proptest! {
        #[test]
        fn deletions_read_back(all in prop::collection::vec((any::<u32>(), any::<i64>(), any::<i64>()), 0..20)) {
            let mut body = Vec::new();
            let all: Vec<_> = all.into_iter().map(|(n, a, b)| (SeriesRef(n), range(a.min(b), a.max(b)))).collect();
            all.iter().for_each(|&(series, range)| put_deletion(&mut body, series, range));
            prop_assert_eq!(take_deletions(&body), Some(all));
        }

        #[test]
        fn hostile_bytes_do_not_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(take_deletions(&body));
        }
    }
}
