//! Finding series by matchers, and handing out what a reader on another thread needs: references to sealed chunks, copies of open
//! ones, and a view of the labels. Nothing is decoded here; that is the reader's work, on the reader's cores.

use std::sync::Arc;

use codec::histogram::HistogramChunk;
use model::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use crate::{
    Head, SeriesRef,
    block::Intervals,
    chunk_file::{Chunk, ENCODING_XOR, SeriesTag},
    head::{HISTOGRAM_MARK, SealedChunk, TOGETHER},
    index::{LabelsView, PairRef},
};

/// What a reader wants of the matching series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Who they are, and nothing else.
    Series,
    /// All samples of the time range.
    Samples,
    /// The newest sample of the time range; chunks only of series whose newest sample is later than the range.
    Last,
}

/// Time range of a selection in milliseconds, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub min_time: i64,
    pub max_time: i64,
}

/// A chunk of a selected series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectedChunk {
    /// In a chunk file.
    Sealed(SealedChunk),
    /// In [`Selection::bytes`].
    Copied { encoding: u8, start: u32, length: u32 },
}

/// What one shard found.
#[derive(Clone, Debug)]
pub struct Selection {
    pub labels: Arc<LabelsView>,
    /// What [`Self::series`] and the labels are numbered in.
    pub generation: u32,
    pub series: Vec<SeriesRef>,
    /// What chunks of each series in chunk files are marked with, by position in `series`, as far as the last series with chunks.
    pub tags: Vec<SeriesTag>,
    /// Newest samples, by position in `series`; only filled when [`Wanted::Last`] was asked for. [`NO_LAST`] as the time says
    /// that the series' chunks have to be read.
    pub last_times: Vec<i64>,
    pub last_values: Vec<f64>,
    /// One past the last chunk of each series, by position in `series`, as far as the last series with chunks.
    pub chunk_ends: Vec<u32>,
    /// In order of time within a series.
    pub chunks: Vec<SelectedChunk>,
    pub bytes: Vec<u8>,
    /// What was deleted of the series, by position in `series`, of those that something was deleted of. Chunks are as they were.
    pub deleted: Vec<(u32, Arc<Intervals>)>,
    /// Keeps the chunk files that are referred to from being removed.
    pub pin: Option<Arc<()>>,
}

/// Time that stands where a series has no usable newest sample.
pub const NO_LAST: i64 = i64::MIN;

impl Selection {
    pub fn chunks_of(&self, position: usize) -> &[SelectedChunk] {
        let Some(&end) = self.chunk_ends.get(position) else { return &[] };
        let start = if position == 0 { 0 } else { self.chunk_ends[position - 1] };
        &self.chunks[start as usize..end as usize]
    }

    /// The chunk that was copied to a place of [`Self::bytes`].
    pub fn copied(&self, encoding: u8, start: u32, length: u32) -> Chunk<'_> {
        Chunk { encoding, data: &self.bytes[start as usize..][..length as usize] }
    }

    /// Times of a series that its chunks may still have, and that do not count.
    pub fn deleted_of(&self, position: usize) -> Option<&Intervals> {
        let at = self.deleted.binary_search_by_key(&position, |(position, _)| *position as usize).ok()?;
        Some(&self.deleted[at].1)
    }

    pub fn heap_bytes(&self) -> usize {
        (self.series.capacity() + self.tags.capacity()) * 4
            + self.deleted.capacity() * size_of::<(u32, Arc<Intervals>)>()
            + (self.last_times.capacity() + self.last_values.capacity()) * 8
            + self.chunk_ends.capacity() * 4
            + self.chunks.capacity() * size_of::<SelectedChunk>()
            + self.bytes.capacity()
    }
}

/// A selection in progress. Matching and collecting go in slices, so that a shard can write between them. When the head has numbered
/// its series anew meanwhile, it begins again.
pub struct Selecting {
    generation: Option<u32>,
    /// Series that the caller has chosen already, under the generation above.
    chosen: Option<Vec<u32>>,
    matchers: Vec<MatcherRun>,
    range: TimeRange,
    wanted: Wanted,
    found: Option<Collecting>,
}

struct Collecting {
    series: Vec<u32>,
    next: usize,
    selection: Selection,
}

/// From this share of the numbers between the first and the last on, a set is taken run by run.
const DENSE_SHARE: u64 = 4;

/// All numbers of a set.
fn numbers(set: &RoaringBitmap) -> Vec<u32> {
    let span = set.max().zip(set.min()).map_or(0, |(max, min)| u64::from(max - min) + 1);
    if set.len() * DENSE_SHARE < span {
        return set.iter().collect();
    }
    let mut all = Vec::with_capacity(set.len() as usize);
    let mut rest = set.iter();
    while let Some(run) = rest.next_range() {
        all.extend(run);
    }
    all
}

/// Running one matcher over the values of its label.
struct MatcherRun {
    matcher: Matcher,
    next: usize,
    pairs: Vec<PairRef>,
    done: bool,
}

/// How far a slice came.
#[derive(Debug)]
pub enum Progress {
    More,
    Done(Box<Selection>),
    /// The series were chosen in another generation: their numbers mean others now.
    Renumbered,
}

/// Label values that a slice matches.
const VALUES_PER_SLICE: usize = 4096;
/// Series that are collected at once if there are no more: such a selection sees all of a write or nothing.
const SERIES_AT_ONCE: usize = 4096;
/// Series that a slice of a larger selection collects. With many selections under way a write waits for a slice of each.
const SERIES_PER_SLICE: usize = 512;

impl Selecting {
    pub fn new(matchers: &[Matcher], range: TimeRange, wanted: Wanted) -> Self {
        let matchers = matchers
            .iter()
            .map(|matcher| MatcherRun { matcher: matcher.clone(), next: 0, pairs: Vec::new(), done: false })
            .collect();
        Self { generation: None, chosen: None, matchers, range, wanted, found: None }
    }

    /// The samples of series that a selection of a generation has named.
    pub fn chosen(generation: u32, series: &[SeriesRef], range: TimeRange) -> Self {
        let series = series.iter().map(|series| series.0).collect();
        Self {
            generation: Some(generation),
            chosen: Some(series),
            matchers: Vec::new(),
            range,
            wanted: Wanted::Samples,
            found: None,
        }
    }

    fn begin_again(&mut self) {
        self.matchers.iter_mut().for_each(MatcherRun::reset);
        self.found = None;
    }

    /// Bytes that the selection takes so far.
    pub fn heap_bytes(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.series.len() * 4 + found.selection.heap_bytes())
    }

    /// Does the next slice of the work. What is found are the series that exist when matching ends.
    pub fn advance(&mut self, head: &Head) -> Progress {
        if self.generation.replace(head.generation).is_some_and(|generation| generation != head.generation) {
            if self.chosen.is_some() {
                return Progress::Renumbered;
            }
            self.begin_again();
        }
        if let Some(run) = self.matchers.iter_mut().find(|run| !run.done) {
            run.advance(head);
            return Progress::More;
        }
        let (range, wanted) = (self.range, self.wanted);
        let mut chosen = || self.chosen.take().unwrap_or_else(|| numbers(&head.matching(&self.matchers)));
        let found = self.found.get_or_insert_with(|| Collecting::new(head, chosen(), wanted));
        if found.next < found.series.len() {
            found.advance(head, range, wanted);
            return Progress::More;
        }
        let found = self.found.take().expect("made above");
        Progress::Done(Box::new(found.selection))
    }
}

impl MatcherRun {
    fn reset(&mut self) {
        self.next = 0;
        self.pairs.clear();
        self.done = false;
    }

    fn advance(&mut self, head: &Head) {
        let pairs = &head.index.pairs;
        if self.matcher.op() == MatchOp::Equal && !self.matcher.value().is_empty() {
            self.pairs.extend(pairs.find(self.matcher.name(), self.matcher.value()));
            self.done = true;
            return;
        }
        // For a matcher that accepts "", the values that it refuses are fewer and decide.
        let keep = !self.matcher.matches_empty();
        let all = pairs.of_name(self.matcher.name());
        let end = (self.next + VALUES_PER_SLICE).min(all.len());
        let matching = all[self.next..end].iter().filter(|pair| self.matcher.matches(pairs.value_of(**pair)) == keep);
        self.pairs.extend(matching);
        self.next = end;
        self.done = end == all.len();
    }
}

impl Collecting {
    fn new(head: &Head, series: Vec<u32>, wanted: Wanted) -> Self {
        let lasts = if wanted == Wanted::Last { series.len() } else { 0 };
        let selection = Selection {
            labels: Arc::new(head.labels_view()),
            generation: head.generation,
            series: Vec::with_capacity(series.len()),
            tags: Vec::new(),
            last_times: Vec::with_capacity(lasts),
            last_values: Vec::with_capacity(lasts),
            chunk_ends: Vec::new(),
            chunks: Vec::new(),
            bytes: Vec::new(),
            deleted: Vec::new(),
            pin: None,
        };
        Self { series, next: 0, selection }
    }

    fn advance(&mut self, head: &Head, range: TimeRange, wanted: Wanted) {
        let slice = if self.series.len() <= SERIES_AT_ONCE { SERIES_AT_ONCE } else { SERIES_PER_SLICE };
        let end = (self.next + slice).min(self.series.len());
        for group in self.series[self.next..end].chunks(TOGETHER) {
            if wanted == Wanted::Samples {
                head.touch(group, range.min_time);
            }
            for &series in group {
                match wanted {
                    Wanted::Last => head.collect_last(SeriesRef(series), range, &mut self.selection),
                    Wanted::Samples => head.collect_samples(SeriesRef(series), range, &mut self.selection),
                    Wanted::Series => head.collect_series(SeriesRef(series), range, &mut self.selection),
                }
            }
        }
        self.next = end;
    }
}

impl Head {
    fn matching(&self, matchers: &[MatcherRun]) -> RoaringBitmap {
        let postings = &self.index.postings;
        let (mut narrowing, refusing): (Vec<_>, Vec<_>) = matchers.iter().partition(|run| !run.matcher.matches_empty());
        narrowing.sort_by_key(|run| run.pairs.iter().map(|pair| postings.count(*pair)).sum::<u64>());
        let mut narrowing = narrowing.into_iter();
        let mut series = match narrowing.next() {
            Some(first) => self.union(&first.pairs),
            None => (0..self.series_count() as u32)
                .filter(|series| !self.index.labels.is_lost(SeriesRef(*series)))
                .collect(),
        };
        for run in narrowing {
            match run.pairs[..] {
                [pair] => postings.intersect_into(pair, &mut series),
                _ => series &= self.union(&run.pairs),
            }
        }
        for pair in refusing.iter().flat_map(|run| &run.pairs) {
            postings.subtract_from(*pair, &mut series);
        }
        series
    }

    fn union(&self, pairs: &[PairRef]) -> RoaringBitmap {
        let mut series = RoaringBitmap::new();
        pairs.iter().for_each(|pair| self.index.postings.union_into(*pair, &mut series));
        series
    }

    fn collect_series(&self, series: SeriesRef, range: TimeRange, selection: &mut Selection) {
        let line = self.lines.get(series.index());
        if !line.is_alive(self.floor.max(range.min_time)) {
            return;
        }
        let deleted = self.deleted.of(series).map(|deleted| &**deleted);
        let reaches = |chunk: SealedChunk| {
            has_any(TimeRange { min_time: chunk.min_time, max_time: chunk.max_time }, range, deleted)
        };
        let is_there = (line.time <= range.max_time && deleted.is_none_or(|deleted| !deleted.contains(line.time)))
            || self.open_chunk_has_any(series, range, deleted)
            || self.sealed.newest_first(series).any(reaches);
        if is_there {
            selection.series.push(series);
        }
    }

    fn open_chunk_has_any(&self, series: SeriesRef, range: TimeRange, deleted: Option<&Intervals>) -> bool {
        if let Some(chunk) = self.histograms.open(series) {
            return has_any(times_of(chunk), range, deleted);
        }
        let mut chunk = Vec::new();
        self.open_chunk(series, &mut chunk);
        !chunk.is_empty() && has_any(self.times_of_open_chunk(series, &chunk), range, deleted)
    }

    fn times_of_open_chunk(&self, series: SeriesRef, chunk: &[u8]) -> TimeRange {
        let first = codec::varint::take_signed(&mut &chunk[2..]).expect("the head encoded it");
        TimeRange { min_time: first, max_time: self.lines.get(series.index()).time }
    }

    fn collect_last(&self, series: SeriesRef, range: TimeRange, selection: &mut Selection) {
        let line = self.lines.get(series.index());
        if !line.is_alive(self.floor.max(range.min_time)) {
            return;
        }
        let is_deleted = || self.deleted.of(series).is_some_and(|deleted| deleted.contains(line.time));
        // Of a histogram the line does not have the value.
        if line.time <= range.max_time && line.value != HISTOGRAM_MARK && !is_deleted() {
            selection.series.push(series);
            selection.last_times.push(line.time);
            selection.last_values.push(f64::from_bits(line.value));
        } else if self.collect_chunks(series, range, selection) {
            selection.last_times.push(NO_LAST);
            selection.last_values.push(0.0);
        }
    }

    /// Brings what collecting some series reads into the cache.
    fn touch(&self, series: &[u32], from: i64) {
        let mut tails = [0; TOGETHER];
        for (tail, series) in tails.iter_mut().zip(series) {
            *tail = self.lines.get(*series as usize).tail;
        }
        self.bits.touch(&mut tails);
        self.sealed.touch(series, from);
    }

    fn collect_samples(&self, series: SeriesRef, range: TimeRange, selection: &mut Selection) {
        let line = self.lines.get(series.index());
        if line.is_alive(self.floor.max(range.min_time)) {
            self.collect_chunks(series, range, selection);
        }
    }

    /// Adds the chunks that reach into the range; a series without any is left out.
    fn collect_chunks(&self, series: SeriesRef, range: TimeRange, selection: &mut Selection) -> bool {
        let first = selection.chunks.len();
        let line = self.lines.get(series.index());
        let shared = self.deleted.of(series);
        let deleted = shared.map(|deleted| &**deleted);
        if line.count > 0 {
            let start = selection.bytes.len();
            self.open_chunk(series, &mut selection.bytes);
            if has_any(self.times_of_open_chunk(series, &selection.bytes[start..]), range, deleted) {
                let length = selection.bytes.len() - start;
                selection.chunks.push(SelectedChunk::Copied {
                    encoding: ENCODING_XOR,
                    start: start as u32,
                    length: length as u32,
                });
            } else {
                selection.bytes.truncate(start);
            }
        } else if let Some(chunk) =
            self.histograms.open(series).filter(|chunk| has_any(times_of(chunk), range, deleted))
        {
            let chunk = copy(Chunk { encoding: chunk.encoding(), data: &chunk.to_bytes() }, &mut selection.bytes);
            selection.chunks.push(chunk);
        }
        for chunk in self.sealed.newest_first(series) {
            if chunk.max_time < range.min_time {
                break;
            }
            if has_any(TimeRange { min_time: chunk.min_time, max_time: chunk.max_time }, range, deleted) {
                selection.chunks.push(self.selected(line.id.into(), chunk, &mut selection.bytes));
            }
        }
        selection.chunks[first..].reverse();
        let found = selection.chunks.len() > first;
        if found {
            // Series whose newest sample was enough have no chunks here.
            selection.tags.resize(selection.series.len(), SeriesTag(0));
            selection.chunk_ends.resize(selection.series.len(), first as u32);
            selection.deleted.extend(shared.map(|deleted| (selection.series.len() as u32, deleted.clone())));
            selection.series.push(series);
            selection.tags.push(line.id.into());
            selection.chunk_ends.push(selection.chunks.len() as u32);
        }
        found
    }

    /// A chunk that is not on disk yet is copied.
    fn selected(&self, tag: SeriesTag, chunk: SealedChunk, bytes: &mut Vec<u8>) -> SelectedChunk {
        match self.extent.read(chunk.address, tag) {
            None => SelectedChunk::Sealed(chunk),
            Some(chunk) => copy(chunk, bytes),
        }
    }

    /// The label names and pairs with how many series have them, and how many of these stand at `new_from` or behind it.
    pub fn cardinality(&self, new_from: SeriesRef) -> Cardinality {
        let pairs = &self.index.pairs;
        let mut names = Vec::new();
        for name in pairs.names() {
            let of_name = pairs.of_name(name);
            let value_bytes = of_name.iter().map(|pair| pairs.value_of(*pair).len() as u64).sum();
            names.push(NameCardinality { name: name.to_owned(), values: of_name.len() as u64, value_bytes });
        }
        let mut by_pair = Vec::with_capacity(pairs.len());
        for number in 0..pairs.len() as u32 {
            let pair = PairRef(number);
            if !pairs.is_lost(pair) {
                let series = self.index.postings.count(pair);
                by_pair.push(PairCardinality { pair, series, new: self.index.postings.count_from(pair, new_from) });
            }
        }
        Cardinality { labels: Arc::new(self.labels_view()), names, by_pair }
    }

    /// Sealed chunks plus open ones.
    pub fn chunk_count(&self) -> usize {
        self.sealed.count() + self.lines.iter().filter(|line| line.count > 0).count() + self.histograms.open_count()
    }
}

fn copy(chunk: Chunk<'_>, bytes: &mut Vec<u8>) -> SelectedChunk {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(chunk.data);
    SelectedChunk::Copied { encoding: chunk.encoding, start, length: chunk.data.len() as u32 }
}

fn times_of(chunk: &HistogramChunk) -> TimeRange {
    TimeRange { min_time: chunk.min_time(), max_time: chunk.max_time() }
}

/// Whether a chunk may have something in a range that is not deleted.
pub fn has_any(chunk: TimeRange, range: TimeRange, deleted: Option<&Intervals>) -> bool {
    let (min_time, max_time) = (chunk.min_time.max(range.min_time), chunk.max_time.min(range.max_time));
    min_time <= max_time && deleted.is_none_or(|deleted| !deleted.covers(TimeRange { min_time, max_time }))
}

/// Counts of one shard; several shards' are joined by name and value.
#[derive(Clone, Debug)]
pub struct Cardinality {
    pub labels: Arc<LabelsView>,
    pub names: Vec<NameCardinality>,
    pub by_pair: Vec<PairCardinality>,
}

#[derive(Clone, Copy, Debug)]
pub struct PairCardinality {
    pub pair: PairRef,
    pub series: u64,
    /// Those of them that were created of late.
    pub new: u64,
}

#[derive(Clone, Debug)]
pub struct NameCardinality {
    pub name: String,
    pub values: u64,
    pub value_bytes: u64,
}
