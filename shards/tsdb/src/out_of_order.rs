//! Samples out of order: those that come behind their series' newest sample, or too late for the head, within the window that the operator allows.
//!
//! They are kept apart from the head's series, with labels and numbers of their own: neither the head's floor nor a renumbering concerns them, and who
//! sends none pays nothing. They lie as they came until somebody reads; of equal times the first one counts. What has gathered is frozen, put into
//! blocks that overlap with others, and dropped, while an epoch with numbers of its own takes what comes meanwhile. A crash between the two leaves samples
//! in both, which readers and compaction take once.

mod record;
mod select;

use std::collections::{HashMap, hash_map::Entry};

use model::{Histogram, Label, Labels, SeriesEntry, SeriesId, WriteBatch};

pub(crate) use self::record::{OutOfOrderLog, check_out_of_order};
pub use self::select::{SelectedOutOfOrder, SelectingOutOfOrder};
use crate::{
    append::{Rejection, SeriesQuota, checked_labels},
    head::Head,
    limits::LABELS_PER_SERIES_MAX,
    select::TimeRange,
    wal::{LogBatch, Replayed, put_generation},
};

/// Which samples of those that are out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    All,
    /// What is being put into blocks.
    Frozen,
}

/// Where to go on with [`Head::put_out_of_order_slice`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutOfOrderMark {
    epoch: u32,
    series: u32,
    sample: usize,
    /// How often something had been deleted: samples stand elsewhere after it.
    deletions: u64,
}

/// What a sample says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The bits of a float.
    Float(u64),
    Histogram(Box<Histogram>),
}

#[derive(Debug, Default)]
pub(crate) struct OutOfOrder {
    frozen: Option<Epoch>,
    open: Epoch,
    deletions: u64,
}

/// Samples that become blocks together.
#[derive(Debug, Default)]
struct Epoch {
    number: u32,
    series: Vec<Series>,
    by_id: HashMap<SeriesId, u32>,
    samples: usize,
    label_bytes: usize,
    /// Series that the process' bound on series has a place for, as the head did not know them.
    places: u64,
}

#[derive(Debug)]
struct Series {
    id: SeriesId,
    /// Empty where damage took the definition.
    labels: Labels,
    /// As they came.
    samples: Vec<(i64, Value)>,
    /// Whether they came in order of time, which most do.
    is_sorted: bool,
}

impl Series {
    fn new(id: SeriesId, labels: Labels) -> Self {
        Self { id, labels, samples: Vec::new(), is_sorted: true }
    }

    /// Whether it has a sample of this time already, as far as that is to be seen at once.
    fn has(&self, time: i64) -> bool {
        match self.samples.last() {
            Some((newest, _)) if self.is_sorted && time < *newest => {
                self.samples.binary_search_by_key(&time, |(time, _)| *time).is_ok()
            }
            newest => newest.is_some_and(|(newest, _)| *newest == time),
        }
    }

    fn push(&mut self, time: i64, value: Value) {
        self.is_sorted &= self.samples.last().is_none_or(|(newest, _)| time > *newest);
        self.samples.push((time, value));
    }
}

impl Epoch {
    fn add_series(&mut self, id: SeriesId, labels: Labels) -> u32 {
        let number = self.series.len() as u32;
        self.label_bytes += labels.iter().map(|label| label.name.len() + label.value.len() + 8).sum::<usize>();
        self.series.push(Series::new(id, labels));
        self.by_id.insert(id, number);
        number
    }

    fn add(&mut self, number: u32, time: i64, value: Value) {
        self.series[number as usize].push(time, value);
        self.samples += 1;
    }

    /// Takes a series' samples in a range away; `false` if it has none there.
    fn delete(&mut self, number: u32, range: TimeRange) -> bool {
        let Some(series) = self.series.get_mut(number as usize) else { return false };
        let before = series.samples.len();
        series.samples.retain(|(time, _)| !(range.min_time..=range.max_time).contains(time));
        let gone = before - series.samples.len();
        self.samples -= gone;
        gone > 0
    }

    /// About.
    fn heap_bytes(&self) -> usize {
        self.series.len() * (size_of::<Series>() + size_of::<(SeriesId, u32)>())
            + self.label_bytes
            + self.samples * size_of::<(i64, Value)>()
    }
}

impl OutOfOrder {
    /// The frozen one first.
    fn epochs(&self) -> impl Iterator<Item = &Epoch> {
        self.frozen.iter().chain([&self.open])
    }

    fn epoch_mut(&mut self, number: u32) -> Option<&mut Epoch> {
        self.frozen.iter_mut().chain([&mut self.open]).find(|epoch| epoch.number == number)
    }

    /// Goes on to an epoch that a log knows. What was open is frozen by then, or in blocks.
    fn enter(&mut self, number: u32) {
        if number <= self.open.number {
            return;
        }
        let before = std::mem::replace(&mut self.open, Epoch { number, ..Epoch::default() });
        match &mut self.frozen {
            _ if before.series.is_empty() => {}
            None => self.frozen = Some(before),
            // The record that dropped it was lost to damage. What both have counts once.
            Some(frozen) => {
                for series in before.series {
                    let to = match frozen.by_id.get(&series.id) {
                        Some(&known) => known,
                        None => frozen.add_series(series.id, series.labels),
                    };
                    series.samples.into_iter().for_each(|(time, value)| frozen.add(to, time, value));
                }
            }
        }
    }

    /// Forgets an epoch and those before it; returns how many series give back their place.
    fn drop_through(&mut self, number: u32) -> u64 {
        let frozen = self.frozen.take_if(|epoch| epoch.number <= number).map_or(0, |epoch| epoch.places);
        if self.open.number > number {
            return frozen;
        }
        let next = Epoch { number: number.saturating_add(1), ..Epoch::default() };
        frozen + std::mem::replace(&mut self.open, next).places
    }

    /// Keeps samples that a log has, if they are not there or in blocks.
    fn replay_samples(&mut self, epoch: u32, samples: impl Iterator<Item = (u32, i64, Value)>) -> Replayed {
        let mut replayed = Replayed::default();
        let mut epoch = self.epoch_mut(epoch);
        for (number, time, value) in samples {
            let Some(epoch) = &mut epoch else {
                replayed.samples_known += 1;
                continue;
            };
            match epoch.series.get(number as usize).filter(|series| !series.labels.is_empty()) {
                None => replayed.samples_lost += 1,
                Some(series) if series.has(time) => replayed.samples_known += 1,
                Some(_) => {
                    epoch.add(number, time, value);
                    replayed.samples += 1;
                }
            }
        }
        replayed
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.epochs().map(Epoch::heap_bytes).sum()
    }
}

impl Head {
    /// Samples that are kept out of order, repetitions included.
    pub fn out_of_order_samples(&self) -> u64 {
        self.out_of_order.epochs().map(|epoch| epoch.samples as u64).sum()
    }

    /// Has what is there become what goes into blocks next; `false` if there is nothing.
    pub fn freeze_out_of_order(&mut self) -> bool {
        let store = &mut self.out_of_order;
        if store.frozen.is_none() && store.open.samples > 0 {
            store.enter(store.open.number + 1);
        }
        store.frozen.is_some()
    }

    /// Forgets what is frozen, which blocks have, durably once `log` is; returns how many series give back their place in the process' bound.
    pub fn drop_frozen_out_of_order(&mut self, log: &mut LogBatch) -> u64 {
        let Some(frozen) = &self.out_of_order.frozen else { return 0 };
        let number = frozen.number;
        log.out_of_order().push_dropped(number);
        self.out_of_order.drop_through(number)
    }

    /// Deletes samples of the series that satisfy all of some matchers, durably once `log` is; returns how many series had some.
    pub fn delete_out_of_order(
        &mut self,
        is_meant: impl Fn(&Labels) -> bool,
        range: TimeRange,
        log: &mut LogBatch,
    ) -> u64 {
        let mut deleted = 0;
        for epoch in self.out_of_order.frozen.iter_mut().chain([&mut self.out_of_order.open]) {
            for number in 0..epoch.series.len() as u32 {
                if is_meant(&epoch.series[number as usize].labels) && epoch.delete(number, range) {
                    log.out_of_order().push_deletion(epoch.number, number, range);
                    self.out_of_order.deletions += 1;
                    deleted += 1;
                }
            }
        }
        deleted
    }

    /// Keeps a sample out of order; `Ok(false)` if it was there already.
    pub(crate) fn append_out_of_order(
        &mut self,
        batch: &dyn WriteBatch,
        entry: &SeriesEntry,
        (time, value): (i64, Value),
        quota: &mut dyn SeriesQuota,
        log: &mut LogBatch,
    ) -> Result<bool, Rejection> {
        let known = self.out_of_order.open.by_id.get(&entry.id).copied();
        let number = match known {
            Some(number) => number,
            None => self.add_out_of_order_series(batch, entry, quota, log)?,
        };
        let open = &mut self.out_of_order.open;
        if open.series[number as usize].has(time) {
            return Ok(false);
        }
        log.out_of_order().push_sample(open.number, number, time, &value);
        open.add(number, time, value);
        Ok(true)
    }

    fn add_out_of_order_series(
        &mut self,
        batch: &dyn WriteBatch,
        entry: &SeriesEntry,
        quota: &mut dyn SeriesQuota,
        log: &mut LogBatch,
    ) -> Result<u32, Rejection> {
        let (labels, places) = match self.find(entry.id) {
            Some(series) => (self.index.labels_of(series), 0),
            None => {
                let labels_max = self.limits.labels_per_series_max.min(LABELS_PER_SERIES_MAX);
                let labels = checked_labels(batch, entry, labels_max)?;
                self.check_shares(&labels)?;
                quota.reserve_one()?;
                (Labels::from_sorted(labels.into_iter().map(|(name, value)| Label { name, value })), 1)
            }
        };
        let open = &mut self.out_of_order.open;
        open.places += places;
        log.out_of_order().push_series(open.number, open.series.len() as u32, &labels);
        Ok(open.add_series(entry.id, labels))
    }

    /// Where a checkpoint's slices begin; `None` if there never was anything out of order.
    pub fn first_out_of_order(&self) -> Option<OutOfOrderMark> {
        let first = self.out_of_order.epochs().find(|epoch| epoch.number > 0 || !epoch.series.is_empty())?;
        Some(OutOfOrderMark {
            epoch: first.number,
            deletions: self.out_of_order.deletions,
            ..OutOfOrderMark::default()
        })
    }

    /// Appends series with their samples to a payload, as many as a slice takes; `None` when there are no more.
    pub fn put_out_of_order_slice(&self, from: OutOfOrderMark, payload: &mut Vec<u8>) -> Option<OutOfOrderMark> {
        let mut log = OutOfOrderLog::default();
        let deletions = self.out_of_order.deletions;
        let mut next = OutOfOrderMark { deletions, ..from };
        if from.deletions != deletions {
            // Once more from the series' beginning: what is in two slices counts once.
            next.sample = 0;
        }
        put_generation(payload, self.generation);
        for epoch in self.out_of_order.epochs().filter(|epoch| epoch.number >= from.epoch) {
            if epoch.number > next.epoch {
                next = OutOfOrderMark { epoch: epoch.number, deletions, ..OutOfOrderMark::default() };
            }
            if epoch.number > 0 {
                // Also of one without samples: what the log has of those before it is in blocks.
                log.enter(epoch.number);
            }
            while let Some(series) = epoch.series.get(next.series as usize) {
                log.push_series(epoch.number, next.series, &series.labels);
                for (time, value) in series.samples.get(next.sample..).unwrap_or_default() {
                    log.push_sample(epoch.number, next.series, *time, value);
                    next.sample += 1;
                    if log.len() >= crate::checkpoint::SLICE_BYTES {
                        log.put_record(payload);
                        return Some(next);
                    }
                }
                next = OutOfOrderMark { series: next.series + 1, sample: 0, ..next };
                if log.len() >= crate::checkpoint::SLICE_BYTES {
                    log.put_record(payload);
                    return Some(next);
                }
            }
        }
        log.put_record(payload);
        None
    }

    /// Does what a record says. `None`: it does not decode.
    pub(crate) fn replay_out_of_order(&mut self, body: &[u8]) -> Option<Replayed> {
        let mut replayed = Replayed::default();
        let (store, key, lost_max) = (&mut self.out_of_order, &self.key, self.limits.lost_places_max);
        record::each_operation(body, &mut |operation| {
            match operation {
                record::Operation::Enter(number) => store.enter(number),
                record::Operation::Series { epoch, number, labels } => {
                    let Some(epoch) = store.epoch_mut(epoch) else { return Some(()) };
                    // Damage took those that are missing.
                    ((number as usize).saturating_sub(epoch.series.len()) <= lost_max).then_some(())?;
                    while epoch.series.len() < number as usize {
                        epoch.series.push(Series::new(SeriesId::default(), Labels::empty()));
                    }
                    if number as usize == epoch.series.len() {
                        let id = key.labels(&labels);
                        epoch.add_series(id, labels);
                    }
                }
                record::Operation::Samples { epoch, series, times, values } => {
                    let floats = values.iter().map(|bits| Value::Float(*bits));
                    let samples = series.iter().zip(times).zip(floats);
                    let samples = samples.map(|((&number, &time), value)| (number, time, value));
                    replayed.add(store.replay_samples(epoch, samples));
                }
                record::Operation::Histogram { epoch, number, time, histogram } => {
                    let sample = (number, time, Value::Histogram(Box::new(histogram)));
                    replayed.add(store.replay_samples(epoch, [sample].into_iter()));
                }
                record::Operation::Deletion { epoch, number, range } => {
                    if let Some(epoch) = store.epoch_mut(epoch) {
                        epoch.delete(number, range);
                    }
                }
                record::Operation::Dropped(number) => drop(store.drop_through(number)),
            }
            Some(())
        })?;
        Some(replayed)
    }
}

/// Sorts samples as they came by time, and keeps of equal times the first.
fn in_order(samples: &mut Vec<(i64, Value)>) {
    if !samples.is_sorted_by(|a, b| a.0 < b.0) {
        samples.sort_by_key(|(time, _)| *time);
        samples.dedup_by_key(|(time, _)| *time);
    }
}

/// Joins what several epochs have of a series, the older first.
fn join(found: &mut Vec<SelectedOutOfOrder>, places: &mut HashMap<SeriesId, usize>, series: &Series, range: TimeRange) {
    let in_range = series.samples.iter().filter(|(time, _)| (range.min_time..=range.max_time).contains(time));
    let mut samples = in_range.cloned().peekable();
    if samples.peek().is_none() {
        return;
    }
    let place = match places.entry(series.id) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) => {
            found.push(SelectedOutOfOrder { id: series.id, labels: series.labels.clone(), samples: Vec::new() });
            *new.insert(found.len() - 1)
        }
    };
    found[place].samples.extend(samples);
}
