//! What logs say, by series, packed as it comes: a log names a series once and then its number, and has each scrape's samples side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use codec::{gorilla, histogram::HistogramChunk};
use model::{Histogram, Labels};
use tsdb::{limits::WINDOW_MS, prometheus_wal::Entry, select::TimeRange};

use crate::samples::{self, Sample, Value};

/// Floats of a series that wait to be packed. Few, as there may be millions of series.
const WAITING_MAX: usize = 32;

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    by_ref: HashMap<u64, usize>,
    by_labels: HashMap<Labels, usize>,
    pub(super) series: Vec<Series>,
    /// First times of the windows that have samples.
    pub(super) windows: BTreeSet<i64>,
    /// How many things were left out, by what they are.
    pub(super) left_out: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    newest: i64,
    waiting: Vec<(i64, u64)>,
    open: Option<HistogramChunk>,
    pub(super) pieces: Vec<Piece>,
    pub(super) deleted: Vec<TimeRange>,
}

/// Packed samples of one kind, in the order of the log.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) times: TimeRange,
    pub(super) encoding: u8,
    pub(super) data: Box<[u8]>,
}

/// What of a log counts, by the rules of Prometheus' own replay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Samples from this time on that are newer than what their series has.
    InOrder { min_time: i64 },
    /// All: they come out of order.
    Any,
}

impl Gathered {
    pub(super) fn add(&mut self, entry: Entry, rule: Rule) {
        match entry {
            Entry::Series { series, labels } => {
                let at = self.series_of(labels);
                self.by_ref.insert(series, at);
            }
            Entry::Float { series, time, bits } => {
                if let Some(series) = self.taker(series, time, rule) {
                    series.push_float(time, bits);
                }
            }
            Entry::Histogram { histogram, .. } if histogram.check().is_err() => self.leave_out("invalid histograms"),
            Entry::Histogram { series, time, histogram } => {
                if let Some(series) = self.taker(series, time, rule) {
                    series.push_histogram(time, &histogram);
                }
            }
            Entry::Deletion { series, range } => match self.by_ref.get(&series) {
                Some(&at) => self.series[at].deleted.push(range),
                None => self.leave_out("deletions of series that the log does not name"),
            },
            Entry::LeftOut(what) => self.leave_out(what),
        }
    }

    /// Adds a sample of a series that is named in full, whatever its order.
    pub(super) fn add_float(&mut self, labels: Labels, time: i64, bits: u64) -> Result<(), &'static str> {
        let window = window_of(time).ok_or("the time is too far away")?;
        let at = self.series_of(labels);
        self.series[at].push_float(time, bits);
        self.windows.insert(window);
        Ok(())
    }

    fn series_of(&mut self, labels: Labels) -> usize {
        let next = self.series.len();
        *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            self.series.push(Series::new(labels.clone()));
            next
        })
    }

    fn leave_out(&mut self, what: &'static str) {
        *self.left_out.entry(what).or_default() += 1;
    }

    /// The series that takes a sample of this time; `None` if none does.
    fn taker(&mut self, series: u64, time: i64, rule: Rule) -> Option<&mut Series> {
        let Some(&at) = self.by_ref.get(&series) else {
            self.leave_out("samples of series that the log does not name");
            return None;
        };
        let Some(window) = window_of(time) else {
            self.leave_out("samples at the end of time");
            return None;
        };
        let series = &mut self.series[at];
        if let Rule::InOrder { min_time } = rule {
            if time < min_time || time <= series.newest {
                return None;
            }
            series.newest = time;
        }
        self.windows.insert(window);
        Some(series)
    }

    /// Packs what still waits.
    pub(super) fn finish(&mut self) {
        self.by_ref = HashMap::new();
        self.by_labels = HashMap::new();
        for series in &mut self.series {
            series.pack_floats();
            series.pack_histograms();
        }
    }
}

/// The first time of a window.
fn window_of(time: i64) -> Option<i64> {
    time.div_euclid(WINDOW_MS).checked_mul(WINDOW_MS)
}

impl Series {
    fn new(labels: Labels) -> Self {
        Self { labels, newest: i64::MIN, waiting: Vec::new(), open: None, pieces: Vec::new(), deleted: Vec::new() }
    }

    fn push_float(&mut self, time: i64, bits: u64) {
        self.waiting.push((time, bits));
        if self.waiting.len() == WAITING_MAX {
            self.pack_floats();
        }
    }

    fn pack_floats(&mut self) {
        let times = || self.waiting.iter().map(|(time, _)| *time);
        if let (Some(min_time), Some(max_time)) = (times().min(), times().max()) {
            let data = gorilla::encode_chunk(&self.waiting).into();
            self.pieces.push(Piece { times: TimeRange { min_time, max_time }, encoding: gorilla::ENCODING, data });
            self.waiting.clear();
        }
    }

    fn push_histogram(&mut self, time: i64, histogram: &Histogram) {
        let goes_on =
            |open: &mut HistogramChunk| time > open.max_time() && !open.is_full() && open.append(time, histogram);
        if !self.open.as_mut().is_some_and(goes_on) {
            let next = HistogramChunk::begin(time, histogram, self.open.as_ref());
            self.pack_histograms();
            self.open = Some(next);
        }
    }

    fn pack_histograms(&mut self) {
        if let Some(open) = self.open.take() {
            let times = TimeRange { min_time: open.min_time(), max_time: open.max_time() };
            self.pieces.push(Piece { times, encoding: open.encoding(), data: open.to_bytes().into() });
        }
    }

    /// The samples in a range that were not deleted, in order of time; of equal times the one that came first.
    pub(super) fn samples(&self, range: TimeRange) -> Vec<Sample> {
        let overlaps =
            |piece: &&Piece| piece.times.max_time >= range.min_time && piece.times.min_time <= range.max_time;
        let is_deleted = |time: i64| self.deleted.iter().any(|range| (range.min_time..=range.max_time).contains(&time));
        let mut samples: Vec<Sample> = Vec::new();
        for piece in self.pieces.iter().filter(overlaps) {
            let all = samples::decode(piece.encoding, &piece.data).expect("packed above");
            let in_range =
                |(time, _): &(i64, Value)| (range.min_time..=range.max_time).contains(time) && !is_deleted(*time);
            samples.extend(all.into_iter().filter(in_range));
        }
        samples.sort_by_key(|(time, _)| *time);
        samples.dedup_by_key(|(time, _)| *time);
        samples
    }
}
