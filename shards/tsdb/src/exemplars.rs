//! Exemplars: the newest ones of a shard, in a ring that the oldest leave when it is full.
//!
//! They are kept apart from the head's series: one outlives its series, and one may come for a series that has no samples. Rules are
//! Prometheus': a series' exemplars come in order of time, then value, then labels; an equal one is a success. So a log may be replayed
//! over what a checkpoint holds already.

mod record;
mod select;

use std::collections::{HashMap, VecDeque};

use model::{ExemplarSample, Label, Labels, SeriesEntry, SeriesId, WriteBatch};

pub(crate) use self::record::{LoggedSeries, check_exemplars, put_exemplar};
pub use self::select::{SelectedExemplars, SelectingExemplars};
use crate::{
    SeriesRef,
    append::{Window, checked_labels},
    checkpoint::SLICE_BYTES,
    head::Head,
    limits::LABELS_PER_SERIES_MAX,
    wal::{put_exemplars, put_generation},
};

/// Characters in names and values of an exemplar's labels (OpenMetrics' bound).
pub const LABEL_CHARACTERS_MAX: usize = 128;

/// Bytes for each exemplar that may be kept. Together they bound the ring where labels of series are long.
const BYTES_PER_EXEMPLAR: usize = 1024;

/// One measurement, and labels that lead to where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// Milliseconds since the epoch.
    pub time: i64,
    /// The bits of the value.
    pub value: u64,
    pub labels: Labels,
}

impl Exemplar {
    /// The order in which a series' exemplars have to come.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let value = |of: &Self| f64::from_bits(of.value);
        self.time
            .cmp(&other.time)
            .then_with(|| value(self).total_cmp(&value(other)))
            .then_with(|| self.labels.cmp(&other.labels))
    }
}

/// Why an exemplar was not stored. No sender is told: as with Prometheus, exemplars never make a write fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExemplarRejection {
    /// Behind the series' newest exemplar.
    OutOfOrder,
    TooFarInFuture,
    /// Its labels are too long, not UTF-8, or have a name twice.
    Labels,
    /// Its series was refused.
    Series,
    /// `storage.exemplars.max_exemplars` is 0.
    Disabled,
}

impl ExemplarRejection {
    pub const ALL: [Self; 5] = [Self::OutOfOrder, Self::TooFarInFuture, Self::Labels, Self::Series, Self::Disabled];

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::TooFarInFuture => "too_far_in_future",
            Self::Labels => "invalid_labels",
            Self::Series => "series_refused",
            Self::Disabled => "disabled",
        }
    }
}

/// How many a head has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExemplarCounts {
    pub exemplars: u64,
    pub series: u64,
    /// The bound, for this shard.
    pub exemplars_max: u64,
    /// Of the oldest and the newest that came.
    pub oldest_time: Option<i64>,
    pub newest_time: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    /// The oldest first.
    ring: VecDeque<Stored>,
    /// How many have left; the ring's first has this number.
    gone: u64,
    series: HashMap<SeriesId, Series>,
    count_max: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Stored {
    id: SeriesId,
    exemplar: Exemplar,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    count: u32,
    /// Number of its newest exemplar.
    newest: u64,
}

fn bytes_of(labels: &Labels) -> usize {
    labels.iter().map(|Label { name, value }| name.len() + value.len() + 8).sum::<usize>() + 64
}

impl Stored {
    fn bytes(&self) -> usize {
        size_of::<Self>() + bytes_of(&self.exemplar.labels)
    }
}

impl Series {
    fn bytes(&self) -> usize {
        size_of::<(SeriesId, Self)>() + bytes_of(&self.labels)
    }
}

impl Exemplars {
    /// Stores an exemplar; `Ok(false)` if it is the series' newest already.
    fn append(
        &mut self,
        id: SeriesId,
        labels: impl FnOnce() -> Labels,
        exemplar: Exemplar,
    ) -> Result<bool, ExemplarRejection> {
        if self.count_max == 0 {
            return Err(ExemplarRejection::Disabled);
        }
        let next = self.gone + self.ring.len() as u64;
        match self.series.get_mut(&id) {
            Some(series) => {
                let newest = &self.ring[(series.newest - self.gone) as usize].exemplar;
                match exemplar.order(newest) {
                    std::cmp::Ordering::Less => return Err(ExemplarRejection::OutOfOrder),
                    std::cmp::Ordering::Equal => return Ok(false),
                    std::cmp::Ordering::Greater => {}
                }
                series.count += 1;
                series.newest = next;
            }
            None => {
                let series = Series { labels: labels(), count: 1, newest: next };
                self.bytes += series.bytes();
                self.series.insert(id, series);
            }
        }
        let stored = Stored { id, exemplar };
        self.bytes += stored.bytes();
        self.ring.push_back(stored);
        self.make_room();
        Ok(true)
    }

    pub(crate) fn set_max(&mut self, count_max: usize) {
        self.count_max = count_max;
        self.make_room();
    }

    fn make_room(&mut self) {
        let bytes_max = self.count_max.saturating_mul(BYTES_PER_EXEMPLAR);
        while self.ring.len() > self.count_max || self.bytes > bytes_max {
            let Some(oldest) = self.ring.pop_front() else { return };
            self.gone += 1;
            self.bytes -= oldest.bytes();
            let series = self.series.get_mut(&oldest.id).expect("an exemplar's series is kept");
            series.count -= 1;
            if series.count == 0 {
                self.bytes -= series.bytes();
                self.series.remove(&oldest.id);
            }
        }
    }

    fn counts(&self) -> ExemplarCounts {
        ExemplarCounts {
            exemplars: self.ring.len() as u64,
            series: self.series.len() as u64,
            exemplars_max: self.count_max as u64,
            oldest_time: self.ring.front().map(|stored| stored.exemplar.time),
            newest_time: self.ring.back().map(|stored| stored.exemplar.time),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Exemplars from a number on that are still there, with their numbers.
    fn from(&self, number: u64) -> impl Iterator<Item = (u64, &Stored)> {
        let first = number.max(self.gone);
        (first..).zip(self.ring.iter().skip((first - self.gone) as usize))
    }
}

impl Head {
    /// How many exemplars this shard keeps at most; the oldest beyond it go.
    pub fn set_exemplars_max(&mut self, count_max: usize) {
        self.exemplars.set_max(count_max);
    }

    pub fn exemplar_counts(&self) -> ExemplarCounts {
        self.exemplars.counts()
    }

    /// Number of the oldest exemplar that is kept.
    pub fn first_exemplar(&self) -> u64 {
        self.exemplars.gone
    }

    /// Number of the exemplar that comes next.
    pub fn next_exemplar(&self) -> u64 {
        self.exemplars.gone + self.exemplars.ring.len() as u64
    }

    /// Appends exemplars from one number towards another to a payload, as many as a slice takes; returns the next number.
    pub fn put_exemplar_slice(&self, from: u64, end: u64, payload: &mut Vec<u8>) -> u64 {
        let mut next = end;
        put_generation(payload, self.generation);
        let mut places = HashMap::new();
        put_exemplars(payload, |body| {
            for (number, stored) in self.exemplars.from(from).take_while(|(number, _)| *number < end) {
                if body.len() > SLICE_BYTES {
                    next = number;
                    return;
                }
                let place = places.len() as u32;
                let series = match places.entry(stored.id) {
                    std::collections::hash_map::Entry::Occupied(known) => LoggedSeries::Again(*known.get()),
                    std::collections::hash_map::Entry::Vacant(new) => {
                        new.insert(place);
                        LoggedSeries::Labels(self.exemplars.series[&stored.id].labels.clone())
                    }
                };
                put_exemplar(body, &series, &stored.exemplar);
            }
        });
        next
    }

    /// Stores an exemplar of a request; says how the log has to name its series, or `None` if it was there already.
    pub(crate) fn append_exemplar(
        &mut self,
        batch: &dyn WriteBatch,
        entry: &SeriesEntry,
        sample: &ExemplarSample,
        is_alone: bool,
        window: Window,
    ) -> Result<Option<(LoggedSeries, Exemplar)>, ExemplarRejection> {
        if sample.time > window.max_time {
            return Err(ExemplarRejection::TooFarInFuture);
        }
        let labels = exemplar_labels(batch, sample).ok_or(ExemplarRejection::Labels)?;
        let exemplar = Exemplar { time: sample.time, value: sample.value, labels };
        let series = match self.find(entry.id) {
            Some(series) => LoggedSeries::InHead(series),
            // It came with samples, and still is not there.
            None if !is_alone => return Err(ExemplarRejection::Series),
            None => {
                let labels_max = self.limits.labels_per_series_max.min(LABELS_PER_SERIES_MAX);
                let labels = checked_labels(batch, entry, labels_max).map_err(|_| ExemplarRejection::Series)?;
                let labels = labels.into_iter().map(|(name, value)| Label { name, value });
                LoggedSeries::Labels(Labels::from_sorted(labels))
            }
        };
        let is_new = self.store_exemplar(entry.id, &series, exemplar.clone())?;
        Ok(is_new.then_some((series, exemplar)))
    }

    fn store_exemplar(
        &mut self,
        id: SeriesId,
        series: &LoggedSeries,
        exemplar: Exemplar,
    ) -> Result<bool, ExemplarRejection> {
        let index = &self.index;
        let labels = || match series {
            LoggedSeries::InHead(series) => index.labels_of(*series),
            LoggedSeries::Labels(labels) => labels.clone(),
            LoggedSeries::Again(_) => unreachable!("a record's reader has resolved it"),
        };
        self.exemplars.append(id, labels, exemplar)
    }

    fn knows(&self, series: SeriesRef) -> bool {
        series.index() < self.series_count() && !self.index.labels.is_lost(series)
    }

    /// Stores what a record holds and is not there yet. `None`: it does not decode.
    pub(crate) fn replay_exemplars(&mut self, body: &[u8]) -> Option<()> {
        record::each_exemplar(body, &mut |series, exemplar| {
            let id = match &series {
                LoggedSeries::InHead(series) if !self.knows(*series) => return,
                LoggedSeries::InHead(series) => self.lines.get(series.index()).id,
                LoggedSeries::Labels(labels) => self.key.labels(labels),
                LoggedSeries::Again(_) => return,
            };
            // Refused as it stands already, or because the operator keeps fewer by now.
            let _known = self.store_exemplar(id, &series, exemplar);
        })
    }
}

/// The labels of an exemplar, if they may be stored.
fn exemplar_labels(batch: &dyn WriteBatch, sample: &ExemplarSample) -> Option<Labels> {
    let (mut characters, mut pairs, mut is_sound) = (0, Vec::new(), true);
    batch.visit_labels(sample.labels, &mut |name, value| {
        let (name, value) = (std::str::from_utf8(name), std::str::from_utf8(value));
        let (Ok(name), Ok(value)) = (name, value) else {
            is_sound = false;
            return;
        };
        characters += name.chars().count() + value.chars().count();
        is_sound &= characters <= LABEL_CHARACTERS_MAX && !name.is_empty();
        if is_sound {
            pairs.push(Label { name, value });
        }
    });
    pairs.sort_unstable();
    is_sound &= pairs.windows(2).all(|two| two[0].name < two[1].name);
    is_sound.then(|| Labels::from_sorted(pairs.into_iter().filter(|label| !label.value.is_empty())))
}
