//! Shards and blocks as one selection: the same series of several places under one number, its samples in order, none twice. Of equal times a block's sample
//! counts before the head's, and that before one that came out of order.
//!
//! Series meet by their identity, which is a sum over their labels: in each place it is computed once for each label pair.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    ops::Range,
    sync::Arc,
};

use blocks::{Block, Columns, Damage};
use model::{IdentityKey, Labels, SeriesId, histogram::ResetHint};
use promql::{
    budget::{QueryBudget, Reservation},
    source::{GroupIds, Grouping, SelectRequest, SeriesReader, SeriesStream, SourceError, Tile},
};
use tsdb::{
    block::index::{SeriesEntry, SymbolPair},
    index::LabelsView,
    out_of_order::{SelectedOutOfOrder, Value},
    select::TimeRange,
};

use super::{
    grouper::{Grouper, is_kept},
    source::{Decoder, Head, series_number},
};

/// Series that are put together between two looks at the budget.
const SERIES_PER_LOOK: usize = 4096;
/// Memory of a series of the selection, about.
const SERIES_BYTES: usize = 64;
/// Where no part of a series is.
const NONE: u32 = u32::MAX;

pub(super) struct Stream {
    joined: Arc<Joined>,
    next: usize,
    scratch: Scratch,
    groups: Option<Groups>,
}

/// A selection, as all its readers see it.
struct Joined {
    head: Head,
    /// In order of time.
    blocks: Vec<Arc<Block>>,
    range: TimeRange,
    last_only: bool,
    series: Vec<Series>,
    /// Where series are in blocks, chained.
    places: Vec<Place>,
    out_of_order: Vec<SelectedOutOfOrder>,
    _held: Reservation,
}

/// A selection in the making.
struct Joining {
    joined: Joined,
    groups: Option<Groups>,
}

/// Group codes, made while series are found if the query is going to ask for them.
struct Groups {
    labels: Vec<String>,
    without: bool,
    /// Its numbers are by series of the selection.
    grouper: Grouper,
}

impl Groups {
    fn grouping(&self) -> Grouping<'_> {
        Grouping { labels: &self.labels, without: self.without }
    }

    fn add_labels(&mut self, labels: &Labels) {
        let kept = labels.iter().filter(|label| is_kept(label.name, self.grouping()));
        let number = self.grouper.number_of(Labels::from_sorted(kept));
        self.grouper.found.ids.push(number);
    }
}

/// The groups of a block's series by those of their label pairs that count.
#[derive(Default)]
struct BlockGroups {
    /// By name.
    kept: HashMap<u32, bool>,
    numbers: HashMap<Box<[SymbolPair]>, u32>,
    pairs: Vec<SymbolPair>,
}

impl BlockGroups {
    fn add(&mut self, block: &Block, entry: &SeriesEntry, groups: &mut Groups) -> Result<(), Damage> {
        self.pairs.clear();
        for &(name, value) in &entry.labels {
            let kept = match self.kept.entry(name) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(is_kept(block.symbol(name)?, groups.grouping())),
            };
            if kept {
                self.pairs.push((name, value));
            }
        }
        let number = match self.numbers.get(self.pairs.as_slice()) {
            Some(number) => *number,
            None => {
                let number = groups.grouper.number_of(block.labels(&self.pairs)?);
                self.numbers.insert(self.pairs.as_slice().into(), number);
                number
            }
        };
        groups.grouper.found.ids.push(number);
        Ok(())
    }
}

/// A series of the selection.
#[derive(Clone, Copy)]
struct Series {
    /// Shard and position there; [`NONE`] as the shard if the head has nothing of it.
    shard: u32,
    position: u32,
    /// Its first and last place in a block, or [`NONE`].
    first: u32,
    last: u32,
    /// Where it is among those that have samples out of order, or [`NONE`].
    out_of_order: u32,
}

impl Default for Series {
    fn default() -> Self {
        Self { shard: NONE, position: 0, first: NONE, last: NONE, out_of_order: NONE }
    }
}

#[derive(Clone, Copy)]
struct Place {
    block: u32,
    reference: u32,
    next: u32,
}

#[derive(Default)]
struct Scratch {
    decoder: Decoder,
    entry: SeriesEntry,
    samples: Columns,
    sorted: Vec<(i64, f64)>,
}

/// Identities are random bits already.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}

type ById = HashMap<SeriesId, u32, BuildHasherDefault<IdHasher>>;

fn damaged(damage: &Damage) -> SourceError {
    SourceError::Storage(damage.to_string())
}

impl Stream {
    pub(super) fn select(
        head: Head,
        out_of_order: Vec<SelectedOutOfOrder>,
        blocks: Vec<Arc<Block>>,
        request: &SelectRequest<'_>,
        key: IdentityKey,
        budget: &QueryBudget,
        held: Reservation,
    ) -> Result<Self, SourceError> {
        let joined = Joined {
            range: TimeRange { min_time: request.min_time, max_time: request.max_time },
            last_only: request.hints.last_only,
            head,
            blocks,
            series: Vec::new(),
            places: Vec::new(),
            out_of_order,
            _held: held,
        };
        let groups = request.hints.grouping.map(|Grouping { labels, without }| Groups {
            labels: labels.to_vec(),
            without,
            grouper: Grouper::default(),
        });
        let mut joining = Joining { joined, groups };
        let mut by_id = ById::default();
        joining.add_head(&key, &mut by_id);
        joining.add_out_of_order(&mut by_id);
        for number in 0..joining.joined.blocks.len() {
            joining.add_block(number, request, &key, &mut by_id, budget)?;
        }
        let Joining { joined, groups } = joining;
        Ok(Self { joined: Arc::new(joined), next: 0, scratch: Scratch::default(), groups })
    }
}

impl Joining {
    fn add_head(&mut self, key: &IdentityKey, by_id: &mut ById) {
        for (shard, part) in self.joined.head.parts.iter().enumerate() {
            let mut ids = PairIds::default();
            for (position, &series) in part.series.iter().enumerate() {
                let id = part.labels.pairs(series).fold(SeriesId::default(), |sum, pair| {
                    sum + ids.get(pair.0, || id_of_pair(key, &part.labels, pair))
                });
                by_id.insert(id, self.joined.series.len() as u32);
                let (shard, position) = (shard as u32, position as u32);
                self.joined.series.push(Series { shard, position, ..Series::default() });
            }
            if let Some(Groups { labels, without, grouper }) = &mut self.groups {
                grouper.add(part, Grouping { labels, without: *without });
            }
        }
    }

    fn add_out_of_order(&mut self, by_id: &mut ById) {
        for at in 0..self.joined.out_of_order.len() {
            let known = self.joined.series.len();
            let number = self.number_of(self.joined.out_of_order[at].id, by_id) as usize;
            self.joined.series[number].out_of_order = at as u32;
            if let Some(groups) = self.groups.as_mut().filter(|_| number == known) {
                groups.add_labels(&self.joined.out_of_order[at].labels);
            }
        }
    }

    fn number_of(&mut self, id: SeriesId, by_id: &mut ById) -> u32 {
        *by_id.entry(id).or_insert_with(|| {
            self.joined.series.push(Series::default());
            self.joined.series.len() as u32 - 1
        })
    }

    fn add_block(
        &mut self,
        number: usize,
        request: &SelectRequest<'_>,
        key: &IdentityKey,
        by_id: &mut ById,
        budget: &QueryBudget,
    ) -> Result<(), SourceError> {
        budget.check()?;
        let block = self.joined.blocks[number].clone();
        let references = block.select(request.matchers).map_err(|damage| damaged(&damage))?;
        let mut ids = HashMap::new();
        let mut block_groups = BlockGroups::default();
        let mut entry = SeriesEntry::default();
        for batch in references.chunks(SERIES_PER_LOOK) {
            budget.check()?;
            self.joined._held.grow(0, batch.len() * SERIES_BYTES)?;
            for &reference in batch {
                block.series(reference, &mut entry).map_err(|damage| damaged(&damage))?;
                if !block.has_any(reference, &entry, self.joined.range) {
                    continue;
                }
                let mut id = SeriesId::default();
                for &(name, value) in &entry.labels {
                    id += match ids.entry((name, value)) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(new) => {
                            let texts = block.symbol(name).and_then(|name| Ok((name, block.symbol(value)?)));
                            let (name, value) = texts.map_err(|damage| damaged(&damage))?;
                            *new.insert(key.label(name.as_bytes(), value.as_bytes()))
                        }
                    };
                }
                let known = self.joined.series.len();
                self.add_place(id, number as u32, reference, by_id);
                if let Some(groups) = self.groups.as_mut().filter(|_| self.joined.series.len() > known) {
                    block_groups.add(&block, &entry, groups).map_err(|damage| damaged(&damage))?;
                }
            }
        }
        Ok(())
    }

    fn add_place(&mut self, id: SeriesId, block: u32, reference: u32, by_id: &mut ById) {
        let place = self.joined.places.len() as u32;
        self.joined.places.push(Place { block, reference, next: NONE });
        let number = self.number_of(id, by_id);
        let series = &mut self.joined.series[number as usize];
        match series.last {
            NONE => series.first = place,
            last => self.joined.places[last as usize].next = place,
        }
        series.last = place;
    }
}

impl Joined {
    fn read(&self, scratch: &mut Scratch, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        let first = series.start;
        while series.start < series.end && !tile.is_full() {
            self.append(scratch, series.start, tile)?;
            series.start += 1;
        }
        Ok(series.start > first)
    }

    fn append(&self, scratch: &mut Scratch, number: usize, tile: &mut Tile) -> Result<(), SourceError> {
        let series = self.series[number];
        let start = tile.columns().0.len();
        let mut next = series.first;
        while let Some(&place) = self.places.get(next as usize) {
            self.append_place(scratch, place, tile)?;
            next = place.next;
        }
        if series.shard != NONE {
            self.head.append(&mut scratch.decoder, series.shard as usize, series.position as usize, tile)?;
        }
        if let Some(late) = self.out_of_order.get(series.out_of_order as usize) {
            for (time, value) in &late.samples {
                match value {
                    Value::Float(bits) => tile.push(*time, f64::from_bits(*bits)),
                    Value::Histogram(histogram) => tile.push_histogram(*time, Arc::new((&**histogram).into())),
                }
            }
        }
        put_floats_in_order(start, tile, &mut scratch.sorted);
        put_histograms_in_order(start, tile);
        if self.last_only {
            keep_last(start, tile);
        }
        tile.finish_series(series_number(number));
        Ok(())
    }

    fn append_place(&self, scratch: &mut Scratch, place: Place, tile: &mut Tile) -> Result<(), SourceError> {
        let Self { blocks, range, last_only, .. } = self;
        let block = &blocks[place.block as usize];
        let read = |scratch: &mut Scratch| {
            block.series(place.reference, &mut scratch.entry)?;
            let deleted = block.deleted(place.reference);
            let Scratch { entry, samples, .. } = scratch;
            samples.clear();
            let chunks = entry.chunks.iter();
            let wanted = chunks.filter(|chunk| chunk.max_time >= range.min_time && chunk.min_time <= range.max_time);
            if !*last_only {
                for chunk in wanted {
                    block.append_samples(chunk, *range, deleted, samples)?;
                }
                return Ok(());
            }
            // From the end, until there is one.
            for chunk in wanted.rev() {
                block.append_samples(chunk, *range, deleted, samples)?;
                if !samples.is_empty() {
                    break;
                }
            }
            Ok(())
        };
        read(scratch).map_err(|damage| damaged(&damage))?;
        let skipped = |count: usize| if *last_only { count.saturating_sub(1) } else { 0 };
        let (times, values) = tile.columns();
        let floats = skipped(scratch.samples.times.len());
        times.extend_from_slice(&scratch.samples.times[floats..]);
        values.extend(scratch.samples.values[floats..].iter().map(|bits| f64::from_bits(*bits)));
        for (time, histogram) in &scratch.samples.histograms[skipped(scratch.samples.histograms.len())..] {
            tile.push_histogram(*time, Arc::new(histogram.into()));
        }
        Ok(())
    }
}

/// Places mostly follow each other in time. Where they don't, samples are sorted, and of equal times the first place's stays.
fn put_floats_in_order(start: usize, tile: &mut Tile, sorted: &mut Vec<(i64, f64)>) {
    let (times, values) = tile.columns();
    if times[start..].is_sorted_by(|a, b| a < b) {
        return;
    }
    sorted.clear();
    sorted.extend(times[start..].iter().copied().zip(values[start..].iter().copied()));
    sorted.sort_by_key(|sample| sample.0);
    sorted.dedup_by_key(|sample| sample.0);
    times.truncate(start);
    values.truncate(start);
    times.extend(sorted.iter().map(|sample| sample.0));
    values.extend(sorted.iter().map(|sample| sample.1));
}

/// The same of histograms. What was known of resets does not hold for new neighbours.
fn put_histograms_in_order(floats_start: usize, tile: &mut Tile) {
    let (start, histograms) = tile.open_histograms();
    if histograms.len() == start {
        return;
    }
    let mut sorted = histograms.split_off(start);
    // Of a float and a histogram at the same time the float stays.
    let floats = &tile.columns().0[floats_start..];
    sorted.retain(|point| floats.binary_search(&point.time).is_err());
    let histograms = tile.open_histograms().1;
    if sorted.is_sorted_by(|a, b| a.time < b.time) {
        histograms.append(&mut sorted);
        return;
    }
    sorted.sort_by_key(|point| point.time);
    sorted.dedup_by_key(|point| point.time);
    for point in &mut sorted {
        if point.histogram.reset_hint != ResetHint::Gauge {
            Arc::make_mut(&mut point.histogram).reset_hint = ResetHint::Unknown;
        }
    }
    histograms.append(&mut sorted);
}

/// Leaves the newest sample alone.
fn keep_last(start: usize, tile: &mut Tile) {
    let (first, histograms) = tile.open_histograms();
    if histograms.len() > first + 1 {
        histograms.drain(first..histograms.len() - 1);
    }
    let newest_histogram = histograms.get(first).map(|point| point.time);
    let (times, values) = tile.columns();
    if times.len() > start + 1 {
        times.drain(start..times.len() - 1);
        values.drain(start..values.len() - 1);
    }
    match (newest_histogram, times.get(start)) {
        (Some(histogram), Some(float)) if histogram > *float => {
            times.truncate(start);
            values.truncate(start);
        }
        (Some(_), Some(_)) => tile.open_histograms().1.truncate(first),
        _ => {}
    }
}

impl SeriesStream for Stream {
    fn series_count(&self) -> usize {
        self.joined.series.len()
    }

    fn labels(&self, series: usize) -> Labels {
        let Series { shard, position, first, out_of_order, .. } = self.joined.series[series];
        if let Some(late) = self.joined.out_of_order.get(out_of_order as usize) {
            return late.labels.clone();
        }
        if shard != NONE {
            let part = &self.joined.head.parts[shard as usize];
            return part.labels.labels(part.series[position as usize]);
        }
        let place = self.joined.places[first as usize];
        let block = &self.joined.blocks[place.block as usize];
        let mut entry = SeriesEntry::default();
        let labels = block.series(place.reference, &mut entry).and_then(|()| block.labels(&entry.labels));
        labels.expect("read when the series was selected")
    }

    fn group_ids(&mut self, grouping: Grouping<'_>) -> Option<GroupIds> {
        let groups = self.groups.as_ref().filter(|groups| groups.grouping() == grouping)?;
        Some(groups.grouper.found.clone())
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        let mut rest = self.next..self.series_count();
        let more = self.joined.read(&mut self.scratch, &mut rest, tile)?;
        self.next = rest.start;
        Ok(more)
    }

    fn reader(&self) -> Option<Box<dyn SeriesReader>> {
        Some(Reader::of(&self.joined))
    }
}

struct Reader {
    joined: Arc<Joined>,
    scratch: Scratch,
}

impl Reader {
    fn of(joined: &Arc<Joined>) -> Box<dyn SeriesReader> {
        Box::new(Self { joined: joined.clone(), scratch: Scratch::default() })
    }
}

impl SeriesReader for Reader {
    fn read_next(&mut self, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        self.joined.read(&mut self.scratch, series, tile)
    }

    fn twin(&self) -> Box<dyn SeriesReader> {
        Self::of(&self.joined)
    }
}

/// Identities of the label pairs of a shard, by number.
#[derive(Default)]
struct PairIds(Vec<SeriesId>);

impl PairIds {
    fn get(&mut self, pair: u32, compute: impl FnOnce() -> SeriesId) -> SeriesId {
        let at = pair as usize;
        if at >= self.0.len() {
            self.0.resize((at + 1).next_power_of_two(), SeriesId::default());
        }
        // No pair has the identity of none.
        if self.0[at] == SeriesId::default() {
            self.0[at] = compute();
        }
        self.0[at]
    }
}

fn id_of_pair(key: &IdentityKey, labels: &LabelsView, pair: tsdb::index::PairRef) -> SeriesId {
    key.label(labels.name_of(pair).as_bytes(), labels.value_of(pair).as_bytes())
}
