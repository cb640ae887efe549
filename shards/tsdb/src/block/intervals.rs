//! Sets of times, as closed intervals: what of a series has been deleted.

use crate::select::TimeRange;

/// Sorted intervals that neither overlap nor touch: two of them have at least one millisecond between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<TimeRange>);

impl Intervals {
    /// Makes a set of intervals in any order. None may end before it begins.
    pub fn from_unsorted(mut all: Vec<TimeRange>) -> Self {
        assert!(all.iter().all(|range| range.min_time <= range.max_time), "an interval ends before it begins");
        all.sort_unstable_by_key(|range| range.min_time);
        all.dedup_by(|next, last| {
            let joins = reaches(last.max_time, next.min_time);
            if joins {
                last.max_time = last.max_time.max(next.max_time);
            }
            joins
        });
        Self(all)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = TimeRange> {
        self.0.iter().copied()
    }

    /// Adds an interval, joining it with those that it overlaps or touches.
    pub fn add(&mut self, added: TimeRange) {
        assert!(added.min_time <= added.max_time, "an interval ends before it begins");
        let start = self.0.partition_point(|range| !reaches(range.max_time, added.min_time));
        let end = start + self.0[start..].partition_point(|range| reaches(added.max_time, range.min_time));
        let joined = self.0[start..end].iter().fold(added, |joined, range| TimeRange {
            min_time: joined.min_time.min(range.min_time),
            max_time: joined.max_time.max(range.max_time),
        });
        self.0.splice(start..end, [joined]);
    }

    /// Takes an interval out of the set.
    pub fn subtract(&mut self, taken: TimeRange) {
        let (start, end) = self.touched_by(taken);
        let touched = &self.0[start..end];
        let before = touched.first().filter(|range| range.min_time < taken.min_time);
        let before = before.map(|range| TimeRange { min_time: range.min_time, max_time: taken.min_time - 1 });
        let after = touched.last().filter(|range| range.max_time > taken.max_time);
        let after = after.map(|range| TimeRange { min_time: taken.max_time + 1, max_time: range.max_time });
        self.0.splice(start..end, before.into_iter().chain(after));
    }

    pub fn contains(&self, time: i64) -> bool {
        self.covers(TimeRange { min_time: time, max_time: time })
    }

    /// Whether every time of a range is in the set: a chunk of that range need not be read.
    pub fn covers(&self, range: TimeRange) -> bool {
        let at = self.0.partition_point(|interval| interval.max_time < range.min_time);
        self.0
            .get(at)
            .is_some_and(|interval| interval.min_time <= range.min_time && range.max_time <= interval.max_time)
    }

    /// Whether some time of a range is in the set: a chunk of that range has to be filtered.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        let (start, end) = self.touched_by(range);
        start < end
    }

    /// What a range keeps when the set is taken out of it, in order.
    pub fn remaining(&self, range: TimeRange) -> Vec<TimeRange> {
        let (start, end) = self.touched_by(range);
        let mut remaining = Vec::with_capacity(end - start + 1);
        let mut next = Some(range.min_time);
        for interval in &self.0[start..end] {
            if let Some(min_time) = next.filter(|&time| time < interval.min_time) {
                remaining.push(TimeRange { min_time, max_time: interval.min_time - 1 });
            }
            next = interval.max_time.checked_add(1);
        }
        if let Some(min_time) = next.filter(|&time| time <= range.max_time) {
            remaining.push(TimeRange { min_time, max_time: range.max_time });
        }
        remaining
    }

    /// Positions of the intervals that share a time with a range.
    fn touched_by(&self, range: TimeRange) -> (usize, usize) {
        let start = self.0.partition_point(|interval| interval.max_time < range.min_time);
        let end = start + self.0[start..].partition_point(|interval| interval.min_time <= range.max_time);
        (start, end)
    }
}

/// Whether an interval that ends at `end` overlaps or touches one that begins at `start`, no earlier than its own begin.
fn reaches(end: i64, start: i64) -> bool {
    end.saturating_add(1) >= start
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(min_time: i64, max_time: i64) -> TimeRange {
        TimeRange { min_time, max_time }
    }

    fn times(intervals: &Intervals) -> BTreeSet<i64> {
        intervals.iter().flat_map(|range| range.min_time..=range.max_time).collect()
    }

    fn any_range() -> impl Strategy<Value = TimeRange> {
        (-40..40i64, 0..12i64).prop_map(|(min_time, length)| range(min_time, min_time + length))
    }

    proptest! {
        #[test]
        fn answers_are_those_of_a_set_of_times(
            steps in prop::collection::vec((any::<bool>(), any_range()), 0..20),
            asked in any_range(),
        ) {
            let (mut intervals, mut model) = (Intervals::default(), BTreeSet::new());
            for (add, range) in steps {
                if add {
                    intervals.add(range);
                    model.extend(range.min_time..=range.max_time);
                } else {
                    intervals.subtract(range);
                    model.retain(|time| !(range.min_time..=range.max_time).contains(time));
                }
                prop_assert_eq!(times(&intervals), model.clone());
                let all: Vec<_> = intervals.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].max_time + 1 < pair[1].min_time), "{:?}", all);
                prop_assert_eq!(Intervals::from_unsorted(all.into_iter().rev().collect()), intervals.clone());
            }
            let mut asked_times = asked.min_time..=asked.max_time;
            prop_assert_eq!(intervals.covers(asked), asked_times.clone().all(|time| model.contains(&time)));
            prop_assert_eq!(intervals.overlaps(asked), asked_times.any(|time| model.contains(&time)));
            prop_assert_eq!(intervals.contains(asked.min_time), model.contains(&asked.min_time));
            let left = intervals.remaining(asked).into_iter().flat_map(|range| range.min_time..=range.max_time);
            prop_assert!(left.eq((asked.min_time..=asked.max_time).filter(|time| !model.contains(time))));
        }

        #[test]
        fn many_at_once_are_as_one_after_the_other(ranges in prop::collection::vec(any_range(), 0..20)) {
            let mut intervals = Intervals::default();
            ranges.iter().for_each(|&range| intervals.add(range));
            prop_assert_eq!(Intervals::from_unsorted(ranges), intervals);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let everything = range(i64::MIN, i64::MAX);
        let mut intervals = Intervals::default();
        intervals.add(range(i64::MAX, i64::MAX));
        intervals.add(range(i64::MIN, i64::MIN));
        assert_eq!(intervals.len(), 2);
        assert_eq!(intervals.remaining(everything), [range(i64::MIN + 1, i64::MAX - 1)]);
        intervals.add(everything);
        assert_eq!(intervals.iter().collect::<Vec<_>>(), [everything]);
        assert_eq!(intervals.remaining(everything), []);
        intervals.subtract(range(i64::MIN, 0));
        intervals.subtract(range(5, i64::MAX));
        assert_eq!(intervals.iter().collect::<Vec<_>>(), [range(1, 4)]);
    }
}
