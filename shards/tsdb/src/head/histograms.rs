//! Open chunks of native histograms, and how histograms get into the head.
//!
//! They are kept apart from the series' lines: few series have histograms, and each is worth hundreds of float samples. A series has one
//! open chunk at a time, of floats or of histograms; the line knows the newest sample's time either way.

use std::collections::BTreeMap;

use codec::{
    histogram::{HistogramChunk, HistogramSamples, is_histogram},
    varint::{put_unsigned, take_unsigned},
};
use model::{Histogram, histogram::ResetHint};

use super::{Head, HotLine, SealedChunk};
use crate::{
    SeriesRef,
    append::{Rejection, Window},
    checkpoint::window_of,
    chunk_file::Chunk,
    wal::take_u32,
};

/// What stands for the newest value in the line of a series whose newest sample is a histogram. A float may have these bits too, so it only
/// says where to look further.
pub(crate) const HISTOGRAM_MARK: u64 = 0x7ff4_6869_7374_6f67;

/// Bytes of a chunk of one histogram that are accepted: what a chunk file can hold, with some room.
const HISTOGRAM_BYTES_MAX: usize = 60_000;

/// Open chunks by series.
#[derive(Debug, Default)]
pub(crate) struct Histograms {
    open: BTreeMap<u32, HistogramChunk>,
}

impl Histograms {
    #[inline]
    pub(crate) fn open(&self, series: SeriesRef) -> Option<&HistogramChunk> {
        if self.open.is_empty() { None } else { self.open.get(&series.0) }
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Forgets an open chunk.
    pub(crate) fn close(&mut self, series: SeriesRef) -> Option<HistogramChunk> {
        if self.open.is_empty() { None } else { self.open.remove(&series.0) }
    }

    /// Gives series other numbers: `old` has the old number by the new one.
    pub(crate) fn rearrange(&mut self, old: &[u32]) {
        if self.open.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.open);
        let kept = old.iter().enumerate().filter_map(|(new, old)| Some((new as u32, before.remove(old)?)));
        self.open = kept.collect();
    }

    pub(crate) fn has_any(&self, series: std::ops::Range<u32>) -> bool {
        self.open.range(series).next().is_some()
    }

    /// Appends the open chunks of some series to a record.
    pub(crate) fn put(&self, series: std::ops::Range<u32>, body: &mut Vec<u8>) {
        for (&series, chunk) in self.open.range(series) {
            put_chunk(body, SeriesRef(series), Chunk { encoding: chunk.encoding(), data: &chunk.to_bytes() });
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.open.values().map(|chunk| size_of::<HistogramChunk>() + chunk.heap_bytes()).sum()
    }
}

fn put_chunk(body: &mut Vec<u8>, series: SeriesRef, chunk: Chunk<'_>) {
    put_unsigned(body, u64::from(series.0));
    body.push(chunk.encoding);
    put_unsigned(body, chunk.data.len() as u64);
    body.extend_from_slice(chunk.data);
}

/// Appends a histogram to a record, as a chunk of one.
pub(crate) fn put_histogram(body: &mut Vec<u8>, series: SeriesRef, time: i64, histogram: &Histogram) {
    let chunk = HistogramChunk::begin(time, histogram, None);
    put_chunk(body, series, Chunk { encoding: chunk.encoding(), data: &chunk.to_bytes() });
}

fn take_chunk<'a>(body: &mut &'a [u8]) -> Option<(SeriesRef, Chunk<'a>)> {
    let series = SeriesRef(take_u32(body)?);
    let (&encoding, rest) = body.split_first()?;
    *body = rest;
    let length = usize::try_from(take_unsigned(body).ok()?).ok()?;
    let (data, rest) = body.split_at_checked(length)?;
    *body = rest;
    is_histogram(encoding).then_some((series, Chunk { encoding, data }))
}

/// Takes the chunk that stands next in a record, with its histograms decoded.
pub(crate) fn take_histogram(body: &mut &[u8]) -> Option<(SeriesRef, Vec<(i64, Histogram)>)> {
    let (series, chunk) = take_chunk(body)?;
    let samples = HistogramSamples::new(chunk.encoding, chunk.data).ok()?;
    let header = samples.header();
    let mut histograms: Vec<(i64, Histogram)> = samples.collect::<Result<_, _>>().ok()?;
    // A chunk does not say so of its first histogram.
    if let Some((_, first)) = histograms.first_mut().filter(|_| header == ResetHint::Reset) {
        first.reset_hint = ResetHint::Reset;
    }
    Some((series, histograms))
}

/// Counts the histograms of a record. `None`: it does not decode.
pub(crate) fn check_histograms(mut body: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        count += take_histogram(&mut body)?.1.len() as u64;
    }
    Some(count)
}

impl Head {
    /// Whether the newest sample of a series is a histogram, in a chunk that grows.
    pub(crate) fn ends_with_histogram(&self, series: SeriesRef) -> bool {
        self.lines.get(series.index()).value == HISTOGRAM_MARK && self.histograms.open(series).is_some()
    }

    /// Appends one histogram; `Ok(false)` if it was there already.
    pub(crate) fn append_histogram(
        &mut self,
        series: SeriesRef,
        time: i64,
        histogram: &Histogram,
        window: Window,
    ) -> Result<bool, Rejection> {
        histogram.check().map_err(|_| Rejection::Histogram)?;
        let line = self.lines.get(series.index());
        if line.has_samples && time <= line.time {
            return self.check_known_histogram(series, time, histogram);
        }
        window.check(time)?;
        let goes_on = line.has_samples && window_of(line.time) == window_of(time);
        let open = self.histograms.open.get_mut(&series.0);
        let is_appended = goes_on && open.is_some_and(|open| !open.is_full() && open.append(time, histogram));
        if !is_appended {
            self.begin_histograms(series, time, histogram)?;
        }
        let line = self.lines.get_mut(series.index());
        line.has_samples = true;
        line.time = time;
        line.value = HISTOGRAM_MARK;
        self.widen_times(time, time);
        Ok(true)
    }

    /// A histogram behind the newest sample is a success if it is there already, as when a request is sent again.
    fn check_known_histogram(&self, series: SeriesRef, time: i64, histogram: &Histogram) -> Result<bool, Rejection> {
        let Some(open) = self.histograms.open(series) else { return Err(Rejection::OutOfOrder) };
        let bytes = open.to_bytes();
        let samples = HistogramSamples::new(open.encoding(), &bytes).expect("encoded here");
        let known = samples.map_while(Result::ok).find(|(known, _)| *known == time);
        match known {
            // Told apart by what they say: a chunk may have given either of them empty buckets.
            Some((_, known)) if known.says_the_same(histogram) => Ok(false),
            Some(_) => Err(Rejection::Duplicate),
            None => Err(Rejection::OutOfOrder),
        }
    }

    /// Seals what is open and begins a chunk of histograms.
    fn begin_histograms(&mut self, series: SeriesRef, time: i64, histogram: &Histogram) -> Result<(), Rejection> {
        let chunk = HistogramChunk::begin(time, histogram, self.histograms.open(series));
        if chunk.byte_len() > HISTOGRAM_BYTES_MAX {
            return Err(Rejection::Histogram);
        }
        if !self.sealed.reach(time) {
            return Err(Rejection::OutOfBounds);
        }
        if !self.extent.has_room() {
            return Err(Rejection::ShardFull);
        }
        let line = self.lines.get(series.index());
        if let Some(revived) = &mut self.revived
            && !line.is_alive(self.floor)
        {
            revived.push(series);
        }
        self.seal_open_chunk(series);
        self.seal_open_histograms(series);
        self.lines.get_mut(series.index()).capacity = 0;
        self.histograms.open.insert(series.0, chunk);
        self.chunks_created += 1;
        Ok(())
    }

    /// Moves the open chunk of histograms of a series, if it has one, to the extent that is being collected.
    pub(crate) fn seal_open_histograms(&mut self, series: SeriesRef) {
        let Some(chunk) = self.histograms.close(series) else { return };
        let (min_time, max_time) = (chunk.min_time(), chunk.max_time());
        // What ends below the floor is in a block.
        if max_time >= self.floor {
            let tag = self.lines.get(series.index()).id.into();
            let address = self.extent.push(tag, chunk.encoding(), &chunk.to_bytes());
            self.sealed.add(series, SealedChunk { min_time, max_time, address });
        }
    }

    /// Puts back an open chunk of a checkpoint, behind the image of its series.
    pub(crate) fn restore_histograms(&mut self, mut body: &[u8]) -> Option<u64> {
        let mut restored = 0;
        while !body.is_empty() {
            let (series, chunk) = take_chunk(&mut body)?;
            let Some(chunk) = HistogramChunk::resume(chunk.encoding, chunk.data).ok()? else { continue };
            let is_known = series.index() < self.series_count() && !self.index.labels.is_lost(series);
            let is_window = window_of(chunk.min_time()) == window_of(chunk.max_time());
            let is_newest = |line: &HotLine| line.has_samples && line.count == 0 && line.time == chunk.max_time();
            // A log that was replayed before has what is newer.
            if is_known && is_window && is_newest(self.lines.get(series.index())) {
                restored += u64::from(chunk.samples());
                self.sealed.reach(chunk.min_time()).then_some(())?;
                self.widen_times(chunk.min_time(), chunk.max_time());
                self.histograms.open.insert(series.0, chunk);
            }
        }
        Some(restored)
    }
}
