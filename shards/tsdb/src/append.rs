//! The write path inside a shard: from a decoded request to the head and the log batch.
//!
//! Known series are found with the cache lines of the next ones prefetched; only a miss parses, checks, sorts and interns
//! labels. A bad sample is counted and its neighbours go on. Rules of time are Prometheus 3's without an out-of-order window.

mod lookahead;
mod outcome;
mod places;

use std::collections::HashSet;

use model::{ExemplarSample, Histogram, HistogramSample, METRIC_NAME, SeriesEntry, WriteBatch, sample::STALE_NAN_BITS};

use self::lookahead::{Lookahead, Sought};
pub use self::outcome::{AppendOutcome, Offender, Rejection};
use crate::{
    SeriesRef,
    head::{HISTOGRAM_MARK, Head, SealedChunk},
    index::{PairError, PairRef},
    limits::{FIRST_CHUNK_SAMPLES_MIN, LABELS_PER_SERIES_MAX, SAMPLES_PER_CHUNK, ShareLimit, WINDOW_MS},
    out_of_order::Value,
    wal::LogBatch,
};

/// Times that are accepted, both inclusive; the same for all shards of the process, read once per batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub min_time: i64,
    pub max_time: i64,
    /// From here on samples are taken that are not in order, or are before `min_time`; `None`: none are.
    pub out_of_order_from: Option<i64>,
}

/// Which entries of a batch are meant.
#[derive(Clone, Copy, Debug)]
pub enum Members<'a> {
    All,
    Some(&'a [u32]),
}

impl Members<'_> {
    /// Whether an entry is meant. The list is in order.
    fn contain(self, entry: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some(list) => list.binary_search(&entry).is_ok(),
        }
    }
}

/// What of a batch is a shard's.
#[derive(Clone, Copy, Debug)]
pub struct ShardPart<'a> {
    pub shard: u16,
    pub members: Members<'a>,
}

impl ShardPart<'static> {
    /// All of it, where there is one shard.
    pub const WHOLE: Self = Self { shard: 0, members: Members::All };
}

/// Permission to create series; the bound is the whole process', so a shard asks before it creates.
pub trait SeriesQuota {
    /// # Errors
    /// With the bound that is reached.
    fn reserve_one(&mut self) -> Result<(), Rejection>;
}

impl Head {
    /// Appends a part of a batch. What is stored is also in `log`, in the order in which a replay must see it.
    pub fn append(
        &mut self,
        batch: &dyn WriteBatch,
        part: ShardPart<'_>,
        window: Window,
        quota: &mut dyn SeriesQuota,
        log: &mut LogBatch,
    ) -> AppendOutcome {
        let (times, values, start_times) = (batch.times(), batch.values(), batch.start_times());
        let columns = Columns { series: batch.series(), times, values, start_times };
        let (histograms, exemplars, members) = (batch.histograms(), batch.exemplars(), part.members);
        let mut appender = Appender {
            head: self,
            batch,
            columns,
            shard: part.shard,
            window,
            quota,
            log,
            outcome: AppendOutcome::default(),
            marked: HashSet::new(),
        };
        appender.append_floats(members);
        if !histograms.is_empty() {
            appender.append_histograms(histograms, members);
        }
        if !exemplars.is_empty() {
            appender.append_exemplars(exemplars, members);
        }
        appender.tell_places(members);
        appender.outcome
    }
}

/// The head window that the last new chunk began in; nearly every sample falls into it, which spares two divisions each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChunkWindow {
    start: i64,
    /// One past the last time.
    end: i64,
}

impl ChunkWindow {
    fn around(time: i64) -> Self {
        let start = time.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
        Self { start, end: start.saturating_add(WINDOW_MS) }
    }

    #[inline]
    fn holds_both(self, earlier: i64, later: i64) -> bool {
        earlier >= self.start && later < self.end
    }
}

#[derive(Clone, Copy)]
struct Columns<'a> {
    series: &'a [SeriesEntry],
    times: &'a [i64],
    values: &'a [u64],
    start_times: &'a [i64],
}

struct Appender<'a> {
    head: &'a mut Head,
    batch: &'a dyn WriteBatch,
    columns: Columns<'a>,
    shard: u16,
    window: Window,
    quota: &'a mut dyn SeriesQuota,
    log: &'a mut LogBatch,
    outcome: AppendOutcome,
    /// Series whose histograms got a marker among the floats: in the log histograms stand behind floats.
    marked: HashSet<SeriesRef>,
}

impl Appender<'_> {
    fn append_floats(&mut self, members: Members<'_>) {
        self.log.reserve(self.columns.times.len());
        let series = self.columns.series;
        let id_of = |_: &Head, number: u32| series[number as usize].id;
        match (members, self.batch.places().is_empty()) {
            (Members::All, true) => self.append_each(|at| at as u32, series.len(), id_of),
            (Members::Some(list), true) => self.append_each(|at| list[at], list.len(), id_of),
            (_, false) => self.append_with_places(members),
        }
    }

    fn append_each<S: Sought>(
        &mut self,
        entry_at: impl Fn(usize) -> u32,
        count: usize,
        sought: impl Fn(&Head, u32) -> S,
    ) {
        let sought_in = |head: &Head, at: usize| (at < count).then(|| sought(head, entry_at(at)));
        let mut lookahead = Lookahead::start(self.head, |at| sought_in(self.head, at));
        for at in 0..count {
            let (head, number) = (&*self.head, entry_at(at));
            let known = lookahead.find(head, at, sought(head, number), |at| sought_in(head, at));
            self.append_series(number, known);
        }
    }

    fn append_histograms(&mut self, histograms: &[HistogramSample], members: Members<'_>) {
        for (at, sample) in histograms.iter().enumerate() {
            if members.contain(sample.entry) {
                self.append_histogram(at as u32, sample);
            }
        }
    }

    fn append_histogram(&mut self, at: u32, sample: &HistogramSample) {
        let HistogramSample { entry, time, histogram, .. } = sample;
        let appended = self.series_of_histogram(*entry, *time).and_then(|series| {
            self.append_zero_histogram(series, sample);
            let is_new = self.head.append_histogram(series, *time, histogram, self.window)?;
            Ok(is_new.then_some(series))
        });
        match appended {
            Ok(Some(series)) => {
                self.log.push_histogram(series, *time, histogram);
                self.outcome.histograms_stored += 1;
            }
            Ok(None) => self.outcome.histograms_repeated += 1,
            Err(reason) => self.append_histogram_out_of_order(at, sample, reason),
        }
    }

    #[cold]
    fn append_histogram_out_of_order(&mut self, at: u32, sample: &HistogramSample, reason: Rejection) {
        let HistogramSample { entry, time, histogram, .. } = sample;
        let series = self.entry(*entry);
        let kept = histogram.check().map_err(|_| Rejection::Histogram).and_then(|()| {
            self.keep_out_of_order(&series, *time, || Value::Histogram(Box::new(histogram.clone())), reason)
        });
        match kept {
            Ok(true) => {
                self.outcome.histograms_stored += 1;
                self.outcome.histograms_out_of_order += 1;
            }
            Ok(false) => self.outcome.histograms_repeated += 1,
            Err(reason) => {
                self.outcome.reject(Offender { entry: *entry, sample: at, is_histogram: true, reason }, 1);
            }
        }
    }

    fn append_exemplars(&mut self, exemplars: &[ExemplarSample], members: Members<'_>) {
        let histograms = self.batch.histograms();
        for sample in exemplars.iter().filter(|sample| members.contain(sample.entry)) {
            let entry = self.entry(sample.entry);
            let has_histograms = || histograms.binary_search_by_key(&sample.entry, |histogram| histogram.entry).is_ok();
            let is_alone = entry.samples().is_empty() && !has_histograms();
            match self.head.append_exemplar(self.batch, &entry, sample, is_alone, self.window) {
                Ok(Some((series, exemplar))) => {
                    self.log.push_exemplar(&series, &exemplar);
                    self.outcome.exemplars_stored += 1;
                }
                Ok(None) => self.outcome.exemplars_repeated += 1,
                Err(reason) => self.outcome.exemplars_rejected[reason as usize] += 1,
            }
        }
    }

    fn series_of_histogram(&mut self, number: u32, time: i64) -> Result<SeriesRef, Rejection> {
        let entry = self.entry(number);
        if let Some(series) = self.head.find(entry.id) {
            return Ok(series);
        }
        self.window.check(time)?;
        let series = self.head.create_series(self.batch, &entry, self.quota, self.log)?;
        self.outcome.series_created += 1;
        Ok(series)
    }

    #[inline]
    fn append_series(&mut self, number: u32, known: Option<SeriesRef>) {
        let entry = self.columns.series[number as usize];
        if entry.samples_start == entry.samples_end {
            // It has histograms or exemplars alone.
            return;
        }
        let series = match known {
            Some(series) => series,
            None => match self.find_or_create(number) {
                Some(series) => series,
                None => return,
            },
        };
        if !self.marked.is_empty() && self.marked.contains(&series) {
            // What comes now is behind the marker in the log too.
            self.log.settle_samples();
            self.marked.clear();
        }
        for sample in entry.samples() {
            let (time, value) = (self.columns.times[sample], self.columns.values[sample]);
            if let Some(&start_time) = self.columns.start_times.get(sample) {
                self.append_zero(series, start_time, time);
            }
            // With more samples behind it the series has not ended.
            let is_last = || sample + 1 == entry.samples_end as usize;
            if value == STALE_NAN_BITS && is_last() && self.head.ends_with_histogram(series) {
                self.end_histograms(series, number, sample);
                continue;
            }
            match self.head.append_sample(series, time, value, self.window) {
                Ok(true) => {
                    self.log.push_sample(series, time, value);
                    self.outcome.stored += 1;
                }
                Ok(false) => self.outcome.repeated += 1,
                Err(reason) => self.append_out_of_order(number, sample, reason),
            }
        }
    }

    /// A marker comes as a float, as who says that a series has ended need not know what it was one of.
    #[cold]
    fn end_histograms(&mut self, series: SeriesRef, number: u32, sample: usize) {
        match self.mark_histograms(series, self.columns.times[sample]) {
            Ok(true) => self.outcome.stored += 1,
            Ok(false) => self.outcome.repeated += 1,
            Err(reason) => self.append_out_of_order(number, sample, reason),
        }
    }

    /// `Ok(false)`: there is a marker already.
    fn mark_histograms(&mut self, series: SeriesRef, time: i64) -> Result<bool, Rejection> {
        let marker = Histogram::stale(false);
        let is_new = self.head.append_histogram(series, time, &marker, self.window)?;
        if is_new {
            self.log.push_histogram(series, time, &marker);
            self.marked.insert(series);
        }
        Ok(is_new)
    }

    /// Says that a counter was 0 when it began to count, if that is news: what it counted up to its first sample is else in no
    /// rate. It counts as no sample of the request, and is no fault of it when there is no place for it.
    fn append_zero(&mut self, series: SeriesRef, start_time: i64, time: i64) {
        let line = self.head.lines.get(series.index());
        if start_time == 0 || start_time >= time || line.has_samples && start_time <= line.time {
            return;
        }
        if self.head.append_sample(series, start_time, 0, self.window) == Ok(true) {
            self.log.push_sample(series, start_time, 0);
        }
    }

    /// The same of a histogram, which began without any observation.
    fn append_zero_histogram(&mut self, series: SeriesRef, sample: &HistogramSample) {
        let line = self.head.lines.get(series.index());
        let start_time = sample.start_time;
        if start_time == 0 || start_time >= sample.time || line.has_samples && start_time <= line.time {
            return;
        }
        let zero = sample.histogram.before_it_began();
        if self.head.append_histogram(series, start_time, &zero, self.window) == Ok(true) {
            self.log.push_histogram(series, start_time, &zero);
        }
    }

    /// A sample that the head refuses may be one that an operator wants all the same.
    #[cold]
    fn append_out_of_order(&mut self, number: u32, sample: usize, reason: Rejection) {
        let (time, value) = (self.columns.times[sample], self.columns.values[sample]);
        let entry = self.entry(number);
        match self.keep_out_of_order(&entry, time, || Value::Float(value), reason) {
            Ok(true) => {
                self.outcome.stored += 1;
                self.outcome.out_of_order += 1;
            }
            Ok(false) => self.outcome.repeated += 1,
            Err(reason) => {
                let offender = Offender { entry: number, sample: sample as u32, is_histogram: false, reason };
                self.outcome.reject(offender, 1);
            }
        }
    }

    /// `Ok(false)`: it was there already.
    fn keep_out_of_order(
        &mut self,
        entry: &SeriesEntry,
        time: i64,
        value: impl FnOnce() -> Value,
        reason: Rejection,
    ) -> Result<bool, Rejection> {
        let line_of = |series: SeriesRef| self.head.lines.get(series.index());
        let is_newest = || self.head.find(entry.id).is_some_and(|series| line_of(series).time == time);
        match (self.window.out_of_order_from, reason) {
            (None, _) => Err(reason),
            _ if self.batch.discards_out_of_order() => Err(reason),
            // Both are there to be seen, and neither is late.
            (_, Rejection::Duplicate) if is_newest() => Err(reason),
            (Some(from), Rejection::OutOfBounds | Rejection::OutOfOrder | Rejection::Duplicate) => {
                if time < from {
                    return Err(Rejection::TooOld);
                }
                self.head.append_out_of_order(self.batch, entry, (time, value()), self.quota, self.log)
            }
            _ => Err(reason),
        }
    }

    #[cold]
    fn find_or_create(&mut self, number: u32) -> Option<SeriesRef> {
        let entry = self.entry(number);
        if let Some(series) = self.head.find(entry.id) {
            return Some(series);
        }
        if let Err(reason) = self.check_samples(&entry) {
            entry.samples().for_each(|sample| {
                let of_sample = self.window.check(self.columns.times[sample]).err().unwrap_or(reason);
                self.append_out_of_order(number, sample, of_sample);
            });
            return None;
        }
        match self.head.create_series(self.batch, &entry, self.quota, self.log) {
            Ok(series) => {
                self.outcome.series_created += 1;
                Some(series)
            }
            Err(reason) => {
                let count = entry.samples_end - entry.samples_start;
                let offender = Offender { entry: number, sample: entry.samples_start, is_histogram: false, reason };
                self.outcome.reject(offender, u64::from(count));
                None
            }
        }
    }

    /// A series none of whose samples will be stored is not created.
    fn check_samples(&self, entry: &SeriesEntry) -> Result<(), Rejection> {
        let mut reason = None;
        for &time in &self.columns.times[entry.samples()] {
            match self.window.check(time) {
                Ok(()) => return Ok(()),
                Err(found) => reason = reason.or(Some(found)),
            }
        }
        reason.map_or(Ok(()), Err)
    }
}

impl Window {
    #[inline]
    pub(crate) fn check(self, time: i64) -> Result<(), Rejection> {
        if time < self.min_time {
            return Err(Rejection::OutOfBounds);
        }
        if time > self.max_time {
            return Err(Rejection::TooFarInFuture);
        }
        Ok(())
    }
}

/// Samples in the first chunk of a series in a window: another number for each neighbour, so that they are not full together.
fn first_chunk_capacity(series: SeriesRef) -> u16 {
    SAMPLES_PER_CHUNK - (series.0 % u32::from(SAMPLES_PER_CHUNK - FIRST_CHUNK_SAMPLES_MIN + 1)) as u16
}

impl Head {
    /// Appends one sample; `Ok(false)` if it was there already.
    #[inline]
    pub(crate) fn append_sample(
        &mut self,
        series: SeriesRef,
        time: i64,
        value: u64,
        window: Window,
    ) -> Result<bool, Rejection> {
        let line = self.lines.get_mut(series.index());
        if line.has_samples && time <= line.time {
            return if time < line.time || line.value == HISTOGRAM_MARK {
                self.check_known(series, time, value)
            } else if value == line.value {
                Ok(false)
            } else {
                Err(Rejection::Duplicate)
            };
        }
        window.check(time)?;
        if line.is_full() || !self.chunk_window.holds_both(line.time, time) {
            self.begin_chunk(series, time)?;
        }
        self.lines.get_mut(series.index()).encode(&mut self.bits, time, value);
        if self.max_time.is_none_or(|newest| time > newest) {
            self.widen_times(time, time);
        }
        Ok(true)
    }

    /// A sample behind the newest one is a success if it is there already, as when a request is sent again. Only the open chunk is
    /// searched: what is older was acknowledged long ago.
    #[cold]
    fn check_known(&self, series: SeriesRef, time: i64, value: u64) -> Result<bool, Rejection> {
        if self.deleted.of(series).is_some_and(|deleted| deleted.contains(time)) {
            return Err(Rejection::OutOfOrder);
        }
        let mut chunk = Vec::new();
        self.open_chunk(series, &mut chunk);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        if chunk.is_empty() || codec::gorilla::decode_into(&chunk, &mut times, &mut values).is_err() {
            return Err(Rejection::OutOfOrder);
        }
        match times.binary_search(&time) {
            Ok(at) if values[at] == value => Ok(false),
            Ok(_) => Err(Rejection::Duplicate),
            Err(_) => Err(Rejection::OutOfOrder),
        }
    }

    /// Seals what is open, so that the next sample starts a chunk; not if the chunk has room and it was only the remembered
    /// window that is another one.
    #[cold]
    fn begin_chunk(&mut self, series: SeriesRef, time: i64) -> Result<(), Rejection> {
        let line = self.lines.get(series.index());
        if let Some(revived) = &mut self.revived
            && !line.is_alive(self.floor)
        {
            revived.push(series);
        }
        self.chunk_window = ChunkWindow::around(time);
        let goes_on = line.has_samples && self.chunk_window.holds_both(line.time, time);
        if goes_on && !line.is_full() {
            return Ok(());
        }
        if !self.sealed.reach(time) {
            return Err(Rejection::OutOfBounds);
        }
        if !self.extent.has_room() {
            return Err(Rejection::ShardFull);
        }
        self.seal_open_chunk(series);
        self.seal_open_histograms(series);
        let capacity = if goes_on { SAMPLES_PER_CHUNK } else { first_chunk_capacity(series) };
        self.lines.get_mut(series.index()).capacity = capacity as u8;
        self.chunks_created += 1;
        self.widen_times(time, time);
        Ok(())
    }

    /// Moves the open chunk of a series to the extent that is being collected.
    pub(crate) fn seal_open_chunk(&mut self, series: SeriesRef) {
        let line = *self.lines.get(series.index());
        if line.count == 0 {
            return;
        }
        if !line.is_alive(self.floor) {
            // A block has it.
            self.drop_open_chunk(series);
            return;
        }
        let mut data = std::mem::take(&mut self.seal_buffer);
        data.clear();
        self.open_chunk(series, &mut data);
        let min_time = codec::varint::take_signed(&mut &data[2..]).expect("a chunk begins with its first time");
        let address = match self.transcoder.shorter(&data) {
            Some(decimal) => self.extent.push(line.id.into(), codec::decimal::ENCODING, decimal),
            None => self.extent.push(line.id.into(), crate::chunk_file::ENCODING_XOR, &data),
        };
        self.seal_buffer = data;
        self.sealed.add(series, SealedChunk { min_time, max_time: line.time, address });
        self.drop_open_chunk(series);
    }

    /// Empties the open chunk of a series, whose bits are somewhere else or not wanted.
    pub(crate) fn drop_open_chunk(&mut self, series: SeriesRef) {
        let line = self.lines.get_mut(series.index());
        self.bits.release(line.tail);
        line.reset_chunk();
    }

    /// Appends the open chunk of a series, if it has samples, as a chunk of encoding 1.
    pub(crate) fn open_chunk(&self, series: SeriesRef, bytes: &mut Vec<u8>) {
        let line = self.lines.get(series.index());
        if line.count > 0 {
            bytes.extend_from_slice(&u16::from(line.count).to_be_bytes());
            self.bits.copy_bits(line, bytes);
        }
    }

    /// Makes a series from the labels of a batch entry.
    fn create_series(
        &mut self,
        batch: &dyn WriteBatch,
        entry: &SeriesEntry,
        quota: &mut dyn SeriesQuota,
        log: &mut LogBatch,
    ) -> Result<SeriesRef, Rejection> {
        let labels_max = self.limits.labels_per_series_max.min(LABELS_PER_SERIES_MAX);
        let labels = checked_labels(batch, entry, labels_max)?;
        let id = entry.id;
        debug_assert_eq!(
            id,
            self.key.series(labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))),
            "order and empty values make no other sum"
        );
        if !self.index.labels.has_room() || self.lines.len() >= (u32::MAX - 1) as usize {
            return Err(Rejection::ShardFull);
        }
        self.check_shares(&labels)?;
        quota.reserve_one()?;
        // Neighbours share most of their labels: what stood at the same place in the last series is looked at first.
        let mut pairs = std::mem::take(&mut self.index.last_created);
        pairs.truncate(labels.len());
        for (place, (name, value)) in labels.into_iter().enumerate() {
            let same = pairs.get(place).filter(|&&pair| self.index.pairs.is(pair, name, value));
            if same.is_none() {
                let pair = self.intern(name, value, log)?;
                match pairs.get_mut(place) {
                    Some(at) => *at = pair,
                    None => pairs.push(pair),
                }
            }
        }
        let series = self.add_series(id, &pairs);
        log.push_series(series, id, &pairs);
        self.index.last_created = pairs;
        Ok(series)
    }

    pub(crate) fn check_shares(&self, labels: &[(&str, &str)]) -> Result<(), Rejection> {
        for ShareLimit { label, series_max } in &self.limits.shares {
            let Some((name, value)) = labels.iter().find(|(name, _)| name == label) else { continue };
            let pair = self.index.pairs.find(name, value);
            if pair.map_or(0, |pair| self.index.postings.count(pair)) >= *series_max {
                return Err(if *name == METRIC_NAME { Rejection::MetricLimit } else { Rejection::LabelLimit });
            }
        }
        Ok(())
    }

    fn intern(&mut self, name: &str, value: &str, log: &mut LogBatch) -> Result<PairRef, Rejection> {
        let (pair, is_new) = self.index.pairs.intern(name, value)?;
        if is_new {
            self.index.postings.add_pair();
            log.push_pair(&self.index.pairs, pair);
        }
        Ok(pair)
    }
}

impl From<PairError> for Rejection {
    fn from(error: PairError) -> Self {
        match error {
            PairError::TextTooLong => Self::LabelTooLong,
            PairError::TooManyNames => Self::TooManyLabelNames,
            PairError::ArenaFull => Self::ShardFull,
        }
    }
}

/// The labels of an entry as text, sorted, without empty values; refused where Prometheus refuses them.
pub(crate) fn checked_labels<'a>(
    batch: &'a dyn WriteBatch,
    entry: &SeriesEntry,
    labels_max: usize,
) -> Result<Vec<(&'a str, &'a str)>, Rejection> {
    let mut labels = Vec::with_capacity(16);
    let mut fault = None;
    batch.visit_labels(entry.labels, &mut |name, value| match check_label(name, value) {
        _ if labels.len() > labels_max => {}
        Ok(label) => labels.push(label),
        Err(reason) => fault = fault.or(Some(reason)),
    });
    if let Some(reason) = fault {
        return Err(reason);
    }
    if labels.len() > labels_max {
        return Err(Rejection::TooManyLabels);
    }
    labels.sort_unstable();
    if labels.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(Rejection::DuplicateLabel);
    }
    labels.retain(|(_, value)| !value.is_empty());
    if labels.iter().all(|(name, _)| *name != METRIC_NAME) {
        return Err(Rejection::NoMetricName);
    }
    Ok(labels)
}

fn check_label<'a>(name: &'a [u8], value: &'a [u8]) -> Result<(&'a str, &'a str), Rejection> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or(Rejection::LabelName)?;
    let value = std::str::from_utf8(value).map_err(|_| Rejection::LabelValue)?;
    Ok((name, value))
}
