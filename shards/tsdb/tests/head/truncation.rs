//! Forgetting what a block has, and numbering the living anew.

use std::collections::BTreeSet;

use model::Matcher;
use proptest::prelude::*;
use tsdb::{
    Head, Limits, SeriesRef,
    head::{Reclaim, Renumbering},
    limits::WINDOW_MS,
    select::{NO_LAST, Progress, Selecting, TimeRange, Wanted},
    wal::{LogBatch, Records},
};

use crate::{
    ALL_TIME, START,
    bench::{Bench, Model, Rows, key},
    text_of,
};

/// A border between the windows that the rows below lie in.
fn border(number: i64) -> i64 {
    (START.div_euclid(WINDOW_MS) + number) * WINDOW_MS
}

impl Bench {
    /// Truncates, gives memory back, and the model forgets too.
    pub(crate) fn truncate(&mut self, floor: i64) -> usize {
        self.head.truncate(floor, &mut self.batch);
        self.commit();
        let mut reclaim = Reclaim::default();
        while reclaim.advance(&mut self.head) {}
        self.model.values_mut().for_each(|samples| samples.retain(|sample| sample.0 >= floor));
        self.model.retain(|_, samples| !samples.is_empty());
        reclaim.dead()
    }

    /// Numbers anew; `between` comes after each slice.
    pub(crate) fn renumber(&mut self, mut between: impl FnMut(&mut Self)) -> usize {
        let mut renumbering = Renumbering::begin(&mut self.head);
        loop {
            let more = renumbering.advance(&self.head);
            between(self);
            if !more {
                break;
            }
        }
        let gone = renumbering.finish(&mut self.head, &mut self.batch);
        self.commit();
        gone
    }

    /// Appends one sample to each of some series, to the model too.
    fn append_at(&mut self, series: impl IntoIterator<Item = u8>, time: i64) {
        let rows: Rows = series.into_iter().map(|series| (series, vec![(time, u64::from(series))])).collect();
        for (series, samples) in &rows {
            self.model.entry(text_of(*series)).or_default().extend(samples);
        }
        assert_eq!(self.append(&rows, false).stored, rows.len() as u64);
    }

    fn check(&self) {
        assert_eq!(self.samples(&[], ALL_TIME), self.model);
        let named: BTreeSet<String> = self.model.keys().cloned().collect();
        let selection = self.select(&[], ALL_TIME, Wanted::Series);
        let found = selection.series.iter().map(|&series| selection.labels.labels(series).to_string());
        let found: BTreeSet<String> = found.collect();
        assert!(found.is_superset(&named), "{found:?} lacks some of {named:?}");
        if self.deletions == 0 {
            assert_eq!(found, named);
        }
        self.check_newest();
    }

    /// Where the newest sample is given at once, it is the one that the model has.
    fn check_newest(&self) {
        let selection = self.select(&[], ALL_TIME, Wanted::Last);
        for (position, &series) in selection.series.iter().enumerate() {
            let (time, value) = (selection.last_times[position], selection.last_values[position].to_bits());
            let samples = self.model.get(&selection.labels.labels(series).to_string());
            if time != NO_LAST {
                assert_eq!(samples.and_then(|samples| samples.last()), Some(&(time, value)));
            }
        }
        assert!(selection.series.len() >= self.model.len());
    }

    /// Deletes what some series have in a range, in the model too.
    fn delete(&mut self, matchers: &[Matcher], range: TimeRange) {
        self.deletions += 1;
        let found = self.select(matchers, range, Wanted::Series);
        for &series in &found.series {
            self.head.delete(series, range, &mut self.batch);
            let samples = self.model.get_mut(&found.labels.labels(series).to_string());
            let is_kept = |sample: &(i64, u64)| !(range.min_time..=range.max_time).contains(&sample.0);
            samples.into_iter().for_each(|samples| samples.retain(is_kept));
        }
        self.model.retain(|_, samples| !samples.is_empty());
        self.commit();
    }
}

/// Goal: what is below the floor is gone, what is above stays, and ended series leave nothing behind, here and after a replay.
#[test]
fn ended_series_leave_nothing_behind() {
    let mut bench = Bench::new();
    for step in 0..500 {
        bench.append_at(0..30, border(1) + step * 1000);
    }
    for step in 0..500 {
        bench.append_at(20..40, border(2) + step * 1000);
    }
    let pairs = bench.head.label_pair_count();
    let checkpoint = bench.checkpoint();
    let log_at = bench.log.len();
    assert_eq!(bench.truncate(border(2)), 20);
    bench.check();
    assert_eq!(bench.head.min_time(), Some(border(2)));
    assert_eq!(bench.renumber(|_| ()), 20);
    assert_eq!(bench.head.series_count(), 20);
    assert!(bench.head.label_pair_count() < pairs, "pairs of the dead are gone too");
    bench.check();
    bench.append_at(0..40, border(2) + 600_000);
    bench.check();
    for (checkpoint, from) in [(&[][..], 0), (&checkpoint[..], log_at)] {
        let again = bench.replayed(checkpoint, from);
        assert_eq!(again.samples(&[], ALL_TIME), bench.model);
        assert_eq!(again.head.definitions_mark(), bench.head.definitions_mark());
        assert_eq!((again.head.floor(), again.head.generation()), (border(2), 1));
    }
    // A checkpoint of the new generation stands alone.
    let checkpoint = bench.checkpoint();
    let log_at = bench.log.len();
    bench.append_at(5..25, border(2) + 700_000);
    let again = bench.replayed(&checkpoint, log_at);
    assert_eq!((again.samples(&[], ALL_TIME), again.head.generation()), (bench.model.clone(), 1));
}

/// Goal: a renumbering sees who comes, and who comes back, while it goes on.
#[test]
fn series_come_and_come_back_while_they_are_numbered() {
    let mut bench = Bench::new();
    bench.append_at(0..40, border(1));
    bench.append_at(30..40, border(2));
    assert_eq!(bench.truncate(border(2)), 30);
    let mut step = 0;
    let gone = bench.renumber(|bench| {
        step += 1;
        // Two that were dead, one of them twice, one alive, one that is new.
        bench.append_at([3, 35, 100 + step], border(2) + i64::from(step) * 1000);
        bench.append_at([10 + step], border(2) + i64::from(step) * 1000 + 1);
    });
    assert!(step >= 3, "{step} slices");
    assert_eq!(gone, 30 - 1 - usize::from(step));
    bench.check();
    bench.append_at((0..40).chain(100..120), border(2) + 1_000_000);
    bench.check();
    let again = bench.replayed(&[], 0);
    assert_eq!(again.samples(&[], ALL_TIME), bench.model);
    assert_eq!(again.head.definitions_mark(), bench.head.definitions_mark());
}

/// Goal: positions of another generation are never taken for this one's. Method: lose the frame that leads to the next.
#[test]
fn a_lost_renumbering_loses_samples_but_never_mixes_series() {
    let mut bench = Bench::new();
    bench.append_at(0..40, border(1));
    bench.append_at(20..40, border(2));
    bench.truncate(border(2));
    bench.renumber(|_| ());
    let lost = bench.log.len() - 1;
    bench.append_at(20..40, border(2) + 1000);
    bench.append_at(50..60, border(2) + 1000);
    bench.log.remove(lost);
    let mut head = Head::new(key(), Limits::default(), 100);
    let mut refused = 0;
    for payload in &bench.log {
        for record in Records::of(payload) {
            if head.replay(record.expect("a record")).is_err() {
                refused += 1;
                break;
            }
        }
    }
    assert_eq!(refused, 2);
    let damaged = Bench { head, ..Bench::new() };
    let kept: Model = (20..40).map(|series| (text_of(series), vec![(border(2), u64::from(series))])).collect();
    assert_eq!(damaged.samples(&[], ALL_TIME), kept);
}

/// Goal: a selection in slices begins again when numbers change under it; one of chosen series says so.
#[test]
fn selections_notice_a_renumbering() {
    let mut bench = Bench::new();
    bench.append_at(0..40, border(1));
    bench.append_at(20..40, border(2));
    bench.truncate(border(2));
    let range = TimeRange { min_time: border(2), max_time: i64::MAX };
    let (old, series) = {
        let selection = bench.select(&[], range, Wanted::Series);
        (selection.generation, selection.series)
    };
    let mut selecting = Selecting::new(&[], range, Wanted::Samples);
    assert!(matches!(selecting.advance(&bench.head), Progress::More));
    let mut chosen = Selecting::chosen(old, &series, range);
    bench.renumber(|_| ());
    let selection = loop {
        if let Progress::Done(selection) = selecting.advance(&bench.head) {
            break selection;
        }
    };
    assert_eq!(selection.series, (0..20).map(SeriesRef).collect::<Vec<_>>());
    assert!(matches!(chosen.advance(&bench.head), Progress::Renumbered));
    let mut chosen = Selecting::chosen(1, &[SeriesRef(3), SeriesRef(1)], range);
    let selection = loop {
        if let Progress::Done(selection) = chosen.advance(&bench.head) {
            break selection;
        }
    };
    assert_eq!(selection.series, [SeriesRef(3), SeriesRef(1)]);
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u8>),
    NextWindow,
    Truncate,
    Renumber,
    Checkpoint,
    /// Of series with such a number in their metric's name, from so long ago, so long.
    Delete(u8, i64, i64),
}

fn churn() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec(0u8..60, 0..20).prop_map(Step::Append),
        2 => Just(Step::NextWindow),
        2 => Just(Step::Truncate),
        2 => Just(Step::Renumber),
        1 => Just(Step::Checkpoint),
        2 => (0..3u8, -3000..40_000_000i64, 0..20_000_000i64).prop_map(|(name, ago, long)| Step::Delete(name, ago, long)),
        1 => (0..3u8, -3000..20_000i64, 0..20_000i64).prop_map(|(name, ago, long)| Step::Delete(name, ago, long)),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn churned_heads_answer_as_the_model_and_replay_alike(steps in churn()) {
        let mut bench = Bench::new();
        let (mut window, mut time) = (1, border(1));
        let (mut checkpoint, mut log_at) = (Vec::new(), 0);
        for step in steps {
            time += 1000;
            match step {
                Step::Append(series) => bench.append_at(series.into_iter().collect::<BTreeSet<_>>(), time),
                Step::NextWindow => {
                    window += 1;
                    time = border(window);
                }
                Step::Truncate => drop(bench.truncate(border(window))),
                Step::Renumber => {
                    let mut at = 0;
                    bench.renumber(|bench| {
                        at += 1;
                        time += 1000;
                        bench.append_at([at, 3 * at, 70 + at].into_iter().collect::<BTreeSet<_>>(), time);
                    });
                }
                Step::Delete(name, ago, long) => {
                    let min_time = time - ago;
                    let matcher = Matcher::equal("__name__", format!("metric_{name}"));
                    bench.delete(&[matcher], TimeRange { min_time, max_time: min_time + long });
                }
                Step::Checkpoint => {
                    checkpoint = bench.checkpoint();
                    log_at = bench.log.len();
                }
            }
            bench.check();
        }
        for (checkpoint, from) in [(&[][..], 0), (&checkpoint[..], log_at)] {
            let again = bench.replayed(checkpoint, from);
            prop_assert_eq!(&again.samples(&[], ALL_TIME), &bench.model);
            prop_assert_eq!(again.head.definitions_mark(), bench.head.definitions_mark());
            prop_assert_eq!(again.head.generation(), bench.head.generation());
            prop_assert_eq!(again.head.floor(), bench.head.floor());
        }
    }
}

/// Goal: a deletion takes what is there, here and after a replay, and nothing that comes later in the same time.
#[test]
fn a_deletion_takes_what_is_there_and_nothing_later() {
    let mut bench = Bench::new();
    for step in 0..300 {
        bench.append_at(0..6, border(1) + step * 1000);
    }
    let metric = |number: u8| [Matcher::equal("__name__", format!("metric_{number}"))];
    bench.delete(&metric(0), TimeRange { min_time: border(1) + 100_000, max_time: border(1) + 199_999 });
    bench.delete(&metric(1), TimeRange { min_time: border(1) + 200_000, max_time: i64::MAX });
    bench.delete(&metric(2), ALL_TIME);
    bench.check();
    assert_eq!(bench.model.values().map(Vec::len).sum::<usize>(), 2 * 200 + 2 * 200);
    let checkpoint = bench.checkpoint();
    let log_at = bench.log.len();
    bench.append_at(0..6, border(1) + 300_000);
    bench.check();
    for (checkpoint, from) in [(&[][..], 0), (&checkpoint[..], log_at)] {
        let again = bench.replayed(checkpoint, from);
        assert_eq!(again.samples(&[], ALL_TIME), bench.model);
    }
}

/// A batch that holds samples of two generations says so in its records.
#[test]
fn one_frame_may_span_a_renumbering() {
    let mut bench = Bench::new();
    bench.append_at(0..10, border(1));
    bench.append_at(5..10, border(2));
    bench.truncate(border(2));
    let mut batch = LogBatch::default();
    std::mem::swap(&mut batch, &mut bench.batch);
    let mut renumbering = Renumbering::begin(&mut bench.head);
    while renumbering.advance(&bench.head) {}
    bench.batch = batch;
    renumbering.finish(&mut bench.head, &mut bench.batch);
    bench.append_at(3..10, border(2) + 1);
    bench.check();
    assert_eq!(bench.replayed(&[], 0).samples(&[], ALL_TIME), bench.model);
}
