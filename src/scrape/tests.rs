//! A target's pages on their way into a head, which numbers its series anew now and then, beside a naive model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{IdentityKey, OwnedBatch, WriteBatch, sample::STALE_NAN_BITS};
use proptest::prelude::*;
use tsdb::{
    AppendOutcome, Head, Limits, Rejection, SeriesQuota, ShardPart, Window,
    head::{Reclaim, Renumbering},
    limits::WINDOW_MS,
    select::{Progress, Selecting, TimeRange, Wanted as WantedSamples},
    wal::LogBatch,
};
use wire::exposition::{Dialect, LineCache, Wanted};

use super::{
    batch::ScrapeBatch,
    format::Format,
    metadata::MetadataSum,
    page::PageReader,
    sample_labels::{SampleLabels, tests::sample_labels},
};

const START: i64 = 1_700_000_000_000;
/// Between two steps: four of them to a window.
const STEP_MS: i64 = WINDOW_MS / 4;
const OPEN: Window = Window { min_time: i64::MIN, max_time: i64::MAX, out_of_order_from: None };

struct Unlimited;

impl SeriesQuota for Unlimited {
    fn reserve_one(&mut self) -> Result<(), Rejection> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Lines by their numbers.
    Page(Vec<u8>),
    /// No answer.
    Failure,
    /// A reload that may have changed what texts mean.
    Reload,
    /// Another sender has samples of a series.
    OtherSender(u8),
    /// Blocks have what is before the window, and series that had nothing since go.
    Truncation,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec(0u8..30, 0..40).prop_map(Step::Page),
        3 => (0u8..30).prop_map(|first| Step::Page((first..30).collect())),
        1 => Just(Step::Failure),
        1 => Just(Step::Reload),
        1 => (0u8..30).prop_map(Step::OtherSender),
        2 => Just(Step::Truncation),
    ];
    prop::collection::vec(step, 1..40)
}

fn key() -> IdentityKey {
    IdentityKey::from_bytes(&[7; IdentityKey::BYTES])
}

/// The newest sample of each series, by its number.
type Newest = BTreeMap<u8, (i64, u64)>;

/// What should be, told by names alone.
#[derive(Default)]
struct Expected {
    newest: Newest,
    /// Series that the head has, were they without samples even.
    there: BTreeSet<u8>,
    /// The last page.
    lines: BTreeSet<u8>,
    /// Those of its series whose places lead somewhere.
    placed: BTreeSet<u8>,
    are_marked: bool,
    /// Since the last page.
    renumberings: usize,
}

impl Expected {
    fn store(&mut self, number: u8, sample: (i64, u64)) {
        self.newest.insert(number, sample);
        self.there.insert(number);
    }

    fn page(&mut self, now: i64, numbers: &[u8]) {
        let lines: BTreeSet<u8> = numbers.iter().copied().collect();
        let gone: Vec<u8> = self.lines.difference(&lines).copied().collect();
        if !self.are_marked {
            self.mark(gone, now);
        }
        lines.iter().for_each(|&number| self.store(number, (now, value_of(number, now))));
        (self.placed, self.lines, self.renumberings, self.are_marked) = (lines.clone(), lines, 0, false);
    }

    fn failure(&mut self, now: i64) {
        if !std::mem::replace(&mut self.are_marked, true) {
            self.mark(self.lines.iter().copied().collect(), now);
        }
    }

    fn mark(&mut self, numbers: Vec<u8>, now: i64) {
        for number in numbers {
            if self.renumberings < 2 && self.placed.contains(&number) {
                self.store(number, (now, STALE_NAN_BITS));
            }
        }
    }

    fn truncation(&mut self, floor: i64) {
        self.newest.retain(|_, (time, _)| *time >= floor);
        self.there.retain(|number| self.newest.contains_key(number));
        self.placed.retain(|number| self.there.contains(number));
        self.renumberings += 1;
    }
}

fn value_of(number: u8, now: i64) -> u64 {
    (now as f64 + f64::from(number) / 64.0).to_bits()
}

fn name_of(number: u8) -> String {
    format!("metric_{number}")
}

/// A target, and a head that has its series.
struct Bench {
    head: Head,
    log: LogBatch,
    labels: Arc<SampleLabels>,
    lines: LineCache,
    are_marked: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            head: Head::new(key(), Limits::default(), 0),
            log: LogBatch::default(),
            labels: Arc::new(sample_labels("", &[("job", "x")])),
            lines: LineCache::default(),
            are_marked: false,
        }
    }

    fn store(&mut self, batch: &dyn WriteBatch) -> AppendOutcome {
        let outcome = self.head.append(batch, ShardPart::WHOLE, OPEN, &mut Unlimited, &mut self.log);
        assert_eq!(outcome.rejected_total(), 0);
        outcome
    }

    fn page(&mut self, now: i64, numbers: &[u8]) {
        if std::mem::take(&mut self.are_marked) {
            self.lines.untrack();
        }
        let line = |number: &u8| format!("{} {}\n", name_of(*number), f64::from_bits(value_of(*number, now)));
        let page: String = numbers.iter().map(line).collect();
        let (key, wanted, metadata) = (key(), Wanted::default(), MetadataSum::default());
        let reader = PageReader { labels: &self.labels, key: &key, now, series_left: u64::MAX, wanted, metadata };
        let mut batch = ScrapeBatch::default();
        let (_, read) = reader.read(&mut self.lines, (Format::Text(Dialect::Text), page.into_bytes()), &mut batch);
        read.expect("a good page");
        let outcome = self.store(&batch);
        outcome.places.iter().for_each(|places| self.lines.take_places(places, |entry| batch.line_of(entry)));
    }

    fn failure(&mut self, now: i64) {
        if std::mem::replace(&mut self.are_marked, true) {
            return;
        }
        let mut batch = ScrapeBatch::default();
        self.lines.tracked().for_each(|series| batch.end_series(series, now));
        batch.places_are_of(&self.lines);
        assert_eq!(self.store(&batch).places, []);
    }

    fn other_sender(&mut self, now: i64, number: u8) {
        let (mut batch, name) = (OwnedBatch::default(), name_of(number));
        let labels = [("__name__", &*name), ("job", "x")].map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        batch.push(&key(), labels, [(now, value_of(number, now))]);
        self.store(&batch);
    }

    fn truncation(&mut self, floor: i64) {
        self.head.truncate(floor, &mut self.log);
        let mut reclaim = Reclaim::default();
        while reclaim.advance(&mut self.head) {}
        let mut renumbering = Renumbering::begin(&mut self.head);
        while renumbering.advance(&self.head) {}
        renumbering.finish(&mut self.head, &mut self.log);
    }

    fn newest(&self) -> Newest {
        let everything = TimeRange { min_time: i64::MIN, max_time: i64::MAX };
        let mut selecting = Selecting::new(&[], everything, WantedSamples::Last);
        let selection = loop {
            match selecting.advance(&self.head) {
                Progress::Done(selection) => break selection,
                Progress::More => {}
                Progress::Renumbered => unreachable!("nothing else happens"),
            }
        };
        let newest = selection.series.iter().enumerate().map(|(at, &series)| {
            let labels = selection.labels.labels(series);
            let name = labels.metric_name().expect("a name").trim_start_matches("metric_");
            (name.parse().expect("a number"), (selection.last_times[at], selection.last_values[at].to_bits()))
        });
        newest.collect()
    }
}

proptest! {
    /// Goal: a sample that goes by its place reaches the series of its line, and markers the series that are gone, whatever is numbered anew.
    #[test]
    fn every_sample_reaches_its_series(steps in steps()) {
        let (mut bench, mut expected) = (Bench::new(), Expected::default());
        for (at, step) in steps.into_iter().enumerate() {
            let now = START + at as i64 * STEP_MS;
            match &step {
                Step::Page(numbers) => {
                    bench.page(now, numbers);
                    expected.page(now, numbers);
                }
                Step::Failure => {
                    bench.failure(now);
                    expected.failure(now);
                }
                Step::Reload => bench.lines.forget_texts(),
                Step::OtherSender(number) => {
                    bench.other_sender(now, *number);
                    expected.store(*number, (now, value_of(*number, now)));
                }
                Step::Truncation => {
                    let floor = now.div_euclid(WINDOW_MS) * WINDOW_MS;
                    bench.truncation(floor);
                    expected.truncation(floor);
                }
            }
            prop_assert_eq!(bench.newest(), expected.newest.clone(), "after step {}, {:?}", at, step);
        }
    }
}
