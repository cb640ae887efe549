//! Samples out of order against a naive model: what the head refuses and the window allows is there, once, whatever is frozen, put away or deleted; a head
//! that was rebuilt from the log, or from a checkpoint and the log behind it, has the same.

use std::collections::BTreeMap;

use model::{Labels, MatchOp, Matcher, OwnedBatch};
use proptest::prelude::*;
use tsdb::{
    Head, Limits, Rejection, ShardPart, Window,
    out_of_order::{Part, SelectingOutOfOrder, Value},
    select::TimeRange,
    wal::{LogBatch, Records},
};

use crate::{ALL_TIME, Quota, START, bench::key};

#[derive(Clone, Debug)]
enum Step {
    /// Series, and times with values.
    Append(Vec<(u8, i64, u8)>),
    Freeze,
    /// What is frozen is in blocks.
    Drop,
    Delete(u8, i64, i64),
}

/// Times that are behind the newest by more are too old.
const WINDOW: i64 = 60;
/// Times that are behind by more are out of bounds for the head.
const BEHIND: i64 = 20;

/// By series and time; the epoch tells whether it is frozen.
#[derive(Default)]
struct Naive {
    newest_of_all: i64,
    newest: BTreeMap<u8, (i64, u8)>,
    known: BTreeMap<u8, BTreeMap<i64, u8>>,
    open: BTreeMap<u8, BTreeMap<i64, u8>>,
    frozen: BTreeMap<u8, BTreeMap<i64, u8>>,
    /// Also when all of it was deleted since.
    is_frozen: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    in_order: u64,
    out_of_order: u64,
    too_old: u64,
}

impl Naive {
    fn append(&mut self, window: Window, given: &[(u8, i64, u8)], counts: &mut Counts) {
        for &(series, time, value) in given {
            let newest = self.newest.get(&series);
            if time >= window.min_time && newest.is_none_or(|newest| time > newest.0) {
                self.newest.insert(series, (time, value));
                self.known.entry(series).or_default().insert(time, value);
                self.newest_of_all = self.newest_of_all.max(time);
                counts.in_order += 1;
            } else if newest.is_some_and(|newest| newest.0 == time)
                || self.known.get(&series).is_some_and(|known| known.get(&time) == Some(&value))
            {
                // A repetition, or a conflict with the newest.
            } else if window.out_of_order_from.is_some_and(|from| time < from) {
                counts.too_old += 1;
            } else if let std::collections::btree_map::Entry::Vacant(new) =
                self.open.entry(series).or_default().entry(time)
            {
                new.insert(value);
                counts.out_of_order += 1;
            }
        }
    }

    fn all(&self) -> BTreeMap<Labels, Vec<(i64, u64)>> {
        let mut joined = self.frozen.clone();
        for (series, samples) in &self.open {
            let of_series = joined.entry(*series).or_default();
            samples.iter().for_each(|(&time, &value)| _ = of_series.entry(time).or_insert(value));
        }
        of(&joined)
    }
}

fn of(samples: &BTreeMap<u8, BTreeMap<i64, u8>>) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let bits = |(&time, &value): (&i64, &u8)| (START + time, f64::from(value).to_bits());
    let all = samples.iter().filter(|(_, samples)| !samples.is_empty());
    all.map(|(&series, samples)| (labels(series), samples.iter().map(bits).collect())).collect()
}

fn labels(series: u8) -> Labels {
    Labels::from_pairs([("__name__", "late".to_owned()), ("n", series.to_string())])
}

fn batch_of(given: &[(u8, i64, u8)]) -> OwnedBatch {
    let mut batch = OwnedBatch::default();
    for &(series, time, value) in given {
        let labels = labels(series);
        let pairs = labels.iter().map(|label| (label.name.as_bytes(), label.value.as_bytes()));
        batch.push(&key(), pairs, [(START + time, f64::from(value).to_bits())]);
    }
    batch
}

fn found(head: &Head, part: Part) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let everything = Matcher::new(MatchOp::Equal, "__name__", "late").expect("a matcher");
    let mut selecting = SelectingOutOfOrder::new([vec![everything]].into(), ALL_TIME, part);
    while selecting.advance(head) {}
    let bits = |(time, value)| match value {
        Value::Float(bits) => (time, bits),
        Value::Histogram(histogram) => (time, histogram.sum.to_bits()),
    };
    let found = selecting.finish().into_iter();
    found.map(|series| (series.labels, series.samples.into_iter().map(bits).collect())).collect()
}

fn replay(head: &mut Head, payload: &[u8]) {
    for record in Records::of(payload) {
        head.replay(record.expect("whole")).expect("sound");
    }
}

fn new_head() -> Head {
    Head::new(key(), Limits::default(), 0)
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0..4u8, -60..30i64, 0..3u8);
    prop_oneof![
        6 => prop::collection::vec(sample, 1..12).prop_map(Step::Append),
        1 => Just(Step::Freeze),
        1 => Just(Step::Drop),
        1 => (0..4u8, -60..200i64, 0..60i64).prop_map(|(series, from, length)| Step::Delete(series, from, from + length)),
    ]
}

proptest! {
    /// Goal: each is there once, in order, until it is put away or deleted, after a restart at any point too.
    #[test]
    fn what_comes_late_is_kept(steps in prop::collection::vec(step(), 1..30), checkpoint_at in 0..30usize) {
        let (mut head, mut naive, mut counts) = (new_head(), Naive::default(), Counts::default());
        let (mut log, mut checkpoint, mut definitions, mut replay_from) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut stored = Counts::default();
        for (at, step) in steps.iter().enumerate() {
            if at == checkpoint_at {
                head.put_definitions(Default::default(), head.definitions_mark(), &mut definitions);
                let mut next = head.first_out_of_order();
                while let Some(mark) = next {
                    next = head.put_out_of_order_slice(mark, &mut checkpoint);
                }
                // One frame is in both, as may be when a checkpoint is made while writes go on.
                replay_from = log.len().saturating_sub(1);
            }
            let mut frame = LogBatch::default();
            match step {
                Step::Append(given) => {
                    let base = naive.newest_of_all;
                    let given: Vec<_> = given.iter().map(|&(series, time, value)| (series, base + time, value)).collect();
                    let window = Window {
                        min_time: START + base - BEHIND,
                        max_time: i64::MAX,
                        out_of_order_from: Some(START + base - WINDOW + BEHIND),
                    };
                    let outcome = head.append(&batch_of(&given), ShardPart::WHOLE, window, &mut Quota(u64::MAX), &mut frame);
                    let relative = Window {
                        min_time: base - BEHIND, out_of_order_from: Some(base - WINDOW + BEHIND), ..window
                    };
                    naive.append(relative, &given, &mut counts);
                    stored.in_order += outcome.stored - outcome.out_of_order;
                    stored.out_of_order += outcome.out_of_order;
                    stored.too_old += outcome.rejected(Rejection::TooOld);
                    prop_assert_eq!(outcome.rejected(Rejection::OutOfOrder) + outcome.rejected(Rejection::OutOfBounds), 0);
                }
                Step::Freeze => {
                    let has_some = head.freeze_out_of_order();
                    if !naive.is_frozen && naive.open.values().any(|samples| !samples.is_empty()) {
                        naive.frozen = std::mem::take(&mut naive.open);
                        naive.is_frozen = true;
                    }
                    prop_assert_eq!(has_some, naive.is_frozen);
                }
                Step::Drop => {
                    head.drop_frozen_out_of_order(&mut frame);
                    naive.frozen.clear();
                    naive.is_frozen = false;
                }
                Step::Delete(series, from, to) => {
                    let range = TimeRange { min_time: START + from, max_time: START + to };
                    head.delete_out_of_order(|of| *of == labels(*series), range, &mut frame);
                    for epoch in [&mut naive.frozen, &mut naive.open] {
                        epoch.entry(*series).or_default().retain(|time, _| !(*from..=*to).contains(time));
                    }
                }
            }
            prop_assert_eq!(&found(&head, Part::All), &naive.all(), "after step {}", at);
            prop_assert_eq!(&found(&head, Part::Frozen), &of(&naive.frozen), "frozen after step {}", at);
            let mut payload = Vec::new();
            frame.encode(&mut payload);
            log.push(payload);
        }
        // Where a series has come out of order within itself, a repetition is not seen before it is read.
        prop_assert!(stored.out_of_order >= counts.out_of_order);
        stored.out_of_order = counts.out_of_order;
        prop_assert_eq!(&stored, &counts);
        let expected = found(&head, Part::All);
        let mut rebuilt = new_head();
        log.iter().for_each(|payload| replay(&mut rebuilt, payload));
        prop_assert_eq!(&found(&rebuilt, Part::All), &expected, "from the log");
        if checkpoint_at < steps.len() {
            let mut rebuilt = new_head();
            replay(&mut rebuilt, &definitions);
            replay(&mut rebuilt, &checkpoint);
            log[replay_from..].iter().for_each(|payload| replay(&mut rebuilt, payload));
            prop_assert_eq!(&found(&rebuilt, Part::All), &expected, "from a checkpoint and the log behind it");
        }
    }
}

/// Goal: without a window nothing of it is kept, and a series that the head refuses takes a place in the bound until its samples are put away.
#[test]
fn without_a_window_nothing_is_kept_and_places_come_back() {
    let mut head = new_head();
    let mut append = |given: &[(u8, i64, u8)], from: Option<i64>, series_max: u64| {
        let window = Window { min_time: START - 10, max_time: i64::MAX, out_of_order_from: from };
        head.append(&batch_of(given), ShardPart::WHOLE, window, &mut Quota(series_max), &mut LogBatch::default())
    };
    let outcome = append(&[(0, 0, 1), (0, -5, 1), (1, -20, 1)], None, 10);
    assert_eq!(
        (outcome.stored, outcome.rejected(Rejection::OutOfOrder), outcome.rejected(Rejection::OutOfBounds)),
        (1, 1, 1)
    );
    let outcome = append(&[(0, -5, 1), (1, -20, 1), (2, -20, 1), (1, -21, 1)], Some(START - 30), 2);
    assert_eq!((outcome.out_of_order, outcome.rejected(Rejection::SeriesLimit)), (3, 1), "one of two has a place");
    assert_eq!(outcome.series_created, 0);
    assert!(head.freeze_out_of_order());
    assert_eq!(head.drop_frozen_out_of_order(&mut LogBatch::default()), 1);
    assert_eq!(head.out_of_order_samples(), 0);
}

/// Goal: a checkpoint of many slices is whole, also when something is deleted between two of them.
#[test]
fn many_slices_with_a_deletion_between_them() {
    let mut head = new_head();
    let window = Window { min_time: START, max_time: i64::MAX, out_of_order_from: Some(i64::MIN) };
    let mut batch = OwnedBatch::default();
    for series in 0..3u8 {
        let labels = labels(series);
        let pairs = labels.iter().map(|label| (label.name.as_bytes(), label.value.as_bytes()));
        let samples = (1..=150_000i64).map(|at| (START - at, (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        batch.push(&key(), pairs, samples);
    }
    head.append(&batch, ShardPart::WHOLE, window, &mut Quota(u64::MAX), &mut LogBatch::default());
    let (mut slices, mut next) = (Vec::new(), head.first_out_of_order());
    let mut behind = LogBatch::default();
    while let Some(mark) = next {
        if slices.len() == 3 {
            let range = TimeRange { min_time: START - 1000, max_time: START - 10 };
            assert_eq!(head.delete_out_of_order(|_| true, range, &mut behind), 3);
        }
        let mut payload = Vec::new();
        next = head.put_out_of_order_slice(mark, &mut payload);
        slices.push(payload);
    }
    assert!(slices.len() > 8 && slices.iter().all(|slice| slice.len() < 4 << 20), "{} slices", slices.len());
    let mut payload = Vec::new();
    behind.encode(&mut payload);
    let mut rebuilt = new_head();
    slices.iter().chain([&payload]).for_each(|payload| replay(&mut rebuilt, payload));
    assert!(found(&rebuilt, Part::All) == found(&head, Part::All));
    assert_eq!(found(&head, Part::All).values().map(Vec::len).sum::<usize>(), 3 * (150_000 - 991));
}
