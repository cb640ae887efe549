//! The storage as a source of the PromQL engine.
//!
//! A selection is one message to each shard; what comes back are references to sealed chunks, copies of open ones and a view of
//! the labels. Reading files and decoding happen here, on the query's threads, tile by tile. Where blocks reach into the time
//! range, or something came out of order, [`super::merged`] joins them with what the shards gave.
//!
//! The shards are asked first, then the set of blocks is looked at: a window that is cut in between is in both, and what the set
//! says is cut is left out of the shards' part.

use std::{ops::Range, sync::Arc, time::Duration};

use blocks::Blocks;
use codec::{decode_floats_into, histogram};
use model::{Histogram, Labels, MatchOp, Matcher};
use promql::{
    budget::{QueryBudget, Reservation},
    source::{GroupIds, Grouping, NewestRun, SelectRequest, SeriesReader, SeriesStream, Source, SourceError, Tile},
};
use shard::{
    Handle, Refusal,
    read::{ChunkFiles, MappedChunks},
};
use tsdb::{
    out_of_order::{Part, SelectedOutOfOrder, Value},
    select::{NO_LAST, SelectedChunk, Selection, TimeRange, Wanted},
};

use super::{grouper::Grouper, label_columns::LabelColumns, merged};

/// Between two looks at the budget while shards are at work.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct StorageSource {
    handle: Handle,
    blocks: Blocks,
    files: Arc<ChunkFiles>,
    columns: Arc<LabelColumns>,
    runtime: tokio::runtime::Handle,
    /// What one shard may select for one selector.
    bytes_max: usize,
}

impl StorageSource {
    /// `runtime` drives the waiting for shards; queries themselves run outside it.
    pub(crate) fn new(
        handle: Handle,
        blocks: Blocks,
        files: Arc<ChunkFiles>,
        columns: Arc<LabelColumns>,
        runtime: tokio::runtime::Handle,
        bytes_max: usize,
    ) -> Self {
        Self { handle, blocks, files, columns, runtime, bytes_max }
    }

    fn selections(&self, request: &SelectRequest<'_>, budget: &QueryBudget) -> Result<Vec<Selection>, SourceError> {
        let matchers: Arc<[Matcher]> = request.matchers.into();
        let range = TimeRange { min_time: request.min_time, max_time: request.max_time };
        let wanted = if request.hints.last_only { Wanted::Last } else { Wanted::Samples };
        self.wait(self.handle.select(matchers, range, wanted, self.bytes_max), budget)
    }

    fn out_of_order(
        &self,
        request: &SelectRequest<'_>,
        budget: &QueryBudget,
    ) -> Result<Vec<SelectedOutOfOrder>, SourceError> {
        let match_sets: Arc<[Vec<Matcher>]> = [request.matchers.to_vec()].into();
        let range = TimeRange { min_time: request.min_time, max_time: request.max_time };
        self.wait(self.handle.select_out_of_order(match_sets, range, Part::All, self.bytes_max), budget)
    }

    fn wait<T>(
        &self,
        selecting: impl Future<Output = Result<T, Refusal>>,
        budget: &QueryBudget,
    ) -> Result<T, SourceError> {
        self.runtime.block_on(async {
            let mut selecting = std::pin::pin!(selecting);
            loop {
                match tokio::time::timeout(LOOK, selecting.as_mut()).await {
                    Ok(selected) => return selected.map_err(|refusal| refused(&refusal)),
                    Err(_) => budget.check()?,
                }
            }
        })
    }
}

fn refused(refusal: &Refusal) -> SourceError {
    SourceError::Storage(refusal.to_string())
}

impl Source for StorageSource {
    fn select<'s>(
        &'s self,
        request: &SelectRequest<'_>,
        budget: &QueryBudget,
    ) -> Result<Box<dyn SeriesStream + 's>, SourceError> {
        budget.check()?;
        let parts = self.selections(request, budget)?;
        let mut held = budget.reservation();
        held.grow(0, parts.iter().map(Selection::heap_bytes).sum())?;
        let out_of_order = self.out_of_order(request, budget)?;
        held.grow(0, out_of_order.iter().map(|series| series.samples.len() * size_of::<(i64, Value)>()).sum())?;
        let set = self.blocks.current();
        let range = TimeRange { min_time: request.min_time, max_time: request.max_time };
        let head_range = TimeRange { min_time: range.min_time.max(set.cut_before.unwrap_or(i64::MIN)), ..range };
        let files = Files::of(&self.files, &parts)?;
        let head = Head { parts, range: head_range, last_only: request.hints.last_only, files };
        let overlapping: Vec<_> = set.blocks.iter().filter(|block| block.overlaps(range)).cloned().collect();
        if !overlapping.is_empty() || !out_of_order.is_empty() {
            let key = *self.handle.identity_key();
            let joined = merged::Stream::select(head, out_of_order, overlapping, request, key, budget, held)?;
            return Ok(Box::new(joined));
        }
        let mut firsts = Vec::with_capacity(head.parts.len() + 1);
        firsts.push(0);
        for part in &head.parts {
            firsts.push(firsts[firsts.len() - 1] + part.series.len());
        }
        Ok(Box::new(Stream {
            selected: Arc::new(Selected { firsts, head, _held: held }),
            next: 0,
            has_newest_runs: request.hints.last_only && head_range == range,
            fixed: fixed_labels(request.matchers),
            columns: &self.columns,
            decoder: Decoder::default(),
        }))
    }
}

/// What the shards gave.
pub(super) struct Head {
    /// By shard.
    pub(super) parts: Vec<Selection>,
    pub(super) range: TimeRange,
    pub(super) last_only: bool,
    files: Files,
}

impl Head {
    /// Has the processor fetch the sealed chunks of a series that will be read next.
    fn prefetch(&self, shard: usize, position: usize) {
        for chunk in self.parts[shard].chunks_of(position) {
            if let SelectedChunk::Sealed(sealed) = chunk {
                self.files.mapped.prefetch(shard, sealed.address);
            }
        }
    }

    /// Appends what a series of a part has in the range.
    pub(super) fn append(
        &self,
        decoder: &mut Decoder,
        shard: usize,
        position: usize,
        tile: &mut Tile,
    ) -> Result<(), SourceError> {
        let part = &self.parts[shard];
        if self.last_only && part.last_times[position] != NO_LAST {
            let time = part.last_times[position];
            if time >= self.range.min_time {
                tile.push(time, part.last_values[position]);
            }
        } else if self.last_only {
            self.append_newest(decoder, shard, position, tile)?;
        } else {
            self.append_all(decoder, shard, position, tile)?;
        }
        Ok(())
    }

    /// Decodes a chunk into the decoder's columns, in place of what was there.
    fn decode(
        &self,
        decoder: &mut Decoder,
        shard: usize,
        position: usize,
        chunk: SelectedChunk,
    ) -> Result<(), SourceError> {
        let part = &self.parts[shard];
        let Decoder { buffer, times, values, histograms } = decoder;
        times.clear();
        values.clear();
        histograms.clear();
        let chunk = match chunk {
            SelectedChunk::Copied { encoding, start, length } => part.copied(encoding, start, length),
            SelectedChunk::Sealed(sealed) => {
                let Files { files, mapped } = &self.files;
                let read = files.read_mapped(shard, part.tags[position], sealed.address, mapped, buffer);
                read.map_err(|error| SourceError::Storage(error.to_string()))?
            }
        };
        let decoded = if histogram::is_histogram(chunk.encoding) {
            histogram::HistogramSamples::new(chunk.encoding, chunk.data)
                .and_then(|mut samples| samples.try_for_each(|sample| sample.map(|sample| histograms.push(sample))))
        } else {
            decode_floats_into(chunk.encoding, chunk.data, times, values).map(drop)
        };
        decoded.map_err(|error| {
            let labels = part.labels.labels(part.series[position]);
            SourceError::Storage(format!("series {labels} in shard {shard}: {error}"))
        })
    }

    fn append_all(
        &self,
        decoder: &mut Decoder,
        shard: usize,
        position: usize,
        tile: &mut Tile,
    ) -> Result<(), SourceError> {
        let (part, range) = (&self.parts[shard], self.range);
        let deleted = part.deleted_of(position);
        let is_kept = |time: i64| deleted.is_none_or(|deleted| !deleted.contains(time));
        for chunk in part.chunks_of(position) {
            self.decode(decoder, shard, position, *chunk)?;
            let in_range = range.min_time..=range.max_time;
            let mut behind_deleted = false;
            for (time, histogram) in &mut decoder.histograms {
                if !is_kept(*time) {
                    behind_deleted = true;
                } else if in_range.contains(time) {
                    if std::mem::take(&mut behind_deleted) {
                        histogram.forget_reset();
                    }
                    tile.push_histogram(*time, Arc::new((&*histogram).into()));
                }
            }
            let Decoder { times: read_times, values: read_values, .. } = decoder;
            let start = read_times.partition_point(|time| *time < range.min_time);
            let end = read_times.partition_point(|time| *time <= range.max_time);
            if start < end {
                let (times, values) = tile.columns();
                if deleted.is_none() {
                    times.extend_from_slice(&read_times[start..end]);
                    values.extend(read_values[start..end].iter().map(|bits| f64::from_bits(*bits)));
                } else {
                    let kept = (start..end).filter(|&at| is_kept(read_times[at]));
                    kept.clone().for_each(|at| times.push(read_times[at]));
                    kept.for_each(|at| values.push(f64::from_bits(read_values[at])));
                }
            }
        }
        Ok(())
    }

    /// Appends the newest sample of the range alone, if there is one.
    fn append_newest(
        &self,
        decoder: &mut Decoder,
        shard: usize,
        position: usize,
        tile: &mut Tile,
    ) -> Result<(), SourceError> {
        let (part, range) = (&self.parts[shard], self.range);
        let deleted = part.deleted_of(position);
        let is_kept = |time: i64| time <= range.max_time && deleted.is_none_or(|deleted| !deleted.contains(time));
        for chunk in part.chunks_of(position).iter().rev() {
            self.decode(decoder, shard, position, *chunk)?;
            let Decoder { times, values, histograms, .. } = &*decoder;
            if let Some(last) = times.iter().rposition(|time| is_kept(*time)) {
                if times[last] >= range.min_time {
                    tile.push(times[last], f64::from_bits(values[last]));
                }
                return Ok(());
            }
            if let Some((time, histogram)) = histograms.iter().rfind(|(time, _)| is_kept(*time)) {
                if *time >= range.min_time {
                    tile.push_histogram(*time, Arc::new(histogram.into()));
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The number of a series as the engine knows it.
pub(super) fn series_number(series: usize) -> u32 {
    u32::try_from(series).expect("a selection is bounded far below 2^32 series")
}

/// Labels of which the matchers leave one value.
fn fixed_labels(matchers: &[Matcher]) -> Vec<(String, String)> {
    let is_fixed = |matcher: &&Matcher| matcher.op() == MatchOp::Equal && !matcher.value().is_empty();
    matchers.iter().filter(is_fixed).map(|one| (one.name().to_owned(), one.value().to_owned())).collect()
}

/// A selection, as all its readers see it.
struct Selected {
    /// The number of each part's first series, and one past the last of all.
    firsts: Vec<usize>,
    head: Head,
    /// Gives the selection's memory back when the last reader goes.
    _held: Reservation,
}

impl Selected {
    /// The part that a series is in, and its position there.
    fn place(&self, series: usize) -> (usize, usize) {
        let part = self.firsts.partition_point(|first| *first <= series) - 1;
        (part, series - self.firsts[part])
    }

    fn series_count(&self) -> usize {
        self.firsts[self.head.parts.len()]
    }

    fn read(&self, decoder: &mut Decoder, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        let first = series.start;
        while series.start < series.end && !tile.is_full() {
            let (shard, position) = self.place(series.start);
            self.head.prefetch(shard, position + 1);
            self.head.append(decoder, shard, position, tile)?;
            tile.finish_series(series_number(series.start));
            series.start += 1;
        }
        Ok(series.start > first)
    }
}

struct Stream<'s> {
    selected: Arc<Selected>,
    next: usize,
    /// Whether newest samples are columns that need not be looked at.
    has_newest_runs: bool,
    fixed: Vec<(String, String)>,
    columns: &'s LabelColumns,
    decoder: Decoder,
}

impl SeriesStream for Stream<'_> {
    fn series_count(&self) -> usize {
        self.selected.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        let (part, position) = self.selected.place(series);
        let part = &self.selected.head.parts[part];
        part.labels.labels(part.series[position])
    }

    fn group_ids(&mut self, grouping: Grouping<'_>) -> Option<GroupIds> {
        let mut grouper = Grouper::new(&self.fixed, grouping);
        for (shard, part) in self.selected.head.parts.iter().enumerate() {
            grouper.add_by_columns(part, grouping, |name| self.columns.get(shard, part, name));
        }
        Some(grouper.found)
    }

    fn newest_run(&mut self, max: usize) -> Option<NewestRun<'_>> {
        if !self.has_newest_runs || self.next >= self.series_count() {
            return None;
        }
        let (part, position) = self.selected.place(self.next);
        let part = &self.selected.head.parts[part];
        let times = &part.last_times[position..];
        let times = &times[..times.len().min(max)];
        let count = times.iter().position(|time| *time == NO_LAST).unwrap_or(times.len());
        if count == 0 {
            return None;
        }
        let first = series_number(self.next);
        self.next += count;
        Some(NewestRun { first, times: &times[..count], values: &part.last_values[position..position + count] })
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        let mut rest = self.next..self.series_count();
        let more = self.selected.read(&mut self.decoder, &mut rest, tile)?;
        self.next = rest.start;
        Ok(more)
    }

    fn reader(&self) -> Option<Box<dyn SeriesReader>> {
        // Columns are faster than any number of readers.
        (!self.has_newest_runs).then(|| Reader::of(&self.selected))
    }
}

struct Reader {
    selected: Arc<Selected>,
    decoder: Decoder,
}

impl Reader {
    fn of(selected: &Arc<Selected>) -> Box<dyn SeriesReader> {
        Box::new(Self { selected: selected.clone(), decoder: Decoder::default() })
    }
}

impl SeriesReader for Reader {
    fn read_next(&mut self, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        self.selected.read(&mut self.decoder, series, tile)
    }

    fn twin(&self) -> Box<dyn SeriesReader> {
        Self::of(&self.selected)
    }
}

/// Chunks from which mapping their files costs less than reading each of them.
const MAPPED_CHUNKS_MIN: usize = 256;

/// Chunk files, with those mapped that a selection reads much of.
struct Files {
    files: Arc<ChunkFiles>,
    mapped: MappedChunks,
}

impl Files {
    /// For the chunks of a selection.
    fn of(files: &Arc<ChunkFiles>, parts: &[Selection]) -> Result<Self, SourceError> {
        let is_many = parts.iter().map(|part| part.chunks.len()).sum::<usize>() >= MAPPED_CHUNKS_MIN;
        let mut sealed = Vec::new();
        for (shard, part) in parts.iter().enumerate().filter(|_| is_many) {
            sealed.extend(part.chunks.iter().filter_map(|chunk| match chunk {
                SelectedChunk::Sealed(sealed) => Some((shard, sealed.address)),
                SelectedChunk::Copied { .. } => None,
            }));
        }
        let mapped = files.map(sealed);
        let mapped = mapped.map_err(|error| SourceError::Storage(error.to_string()))?;
        Ok(Self { files: files.clone(), mapped })
    }
}

/// Columns that chunks are decoded into, used again and again by one thread.
#[derive(Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    times: Vec<i64>,
    values: Vec<u64>,
    histograms: Vec<(i64, Histogram)>,
}
