//! Shards and blocks as one selection: the same series of several places under one number, its samples in order, none twice. Of equal times a block's sample
//! counts before the head's, and that before one that came out of order.
//!
//! Series meet by their identity, which is a sum over their labels: in each place it is computed once for each label pair.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use blocks::{Block, Columns, Damage};
use model::{IdentityKey, Labels, SeriesId};
use promql::{
    budget::{QueryBudget, Reservation},
    source::{SelectRequest, SeriesStream, SourceError, Tile},
};
use tsdb::{
    block::index::SeriesEntry,
    index::LabelsView,
    out_of_order::{SelectedOutOfOrder, Value},
    select::TimeRange,
};

use super::source::Head;

/// Series that are put together between two looks at the budget.
const SERIES_PER_LOOK: usize = 4096;
/// Memory of a series of the selection, about.
const SERIES_BYTES: usize = 64;
/// Where no part of a series is.
const NONE: u32 = u32::MAX;

pub(super) struct Stream<'s> {
    head: Head<'s>,
    /// In order of time.
    blocks: Vec<Arc<Block>>,
    range: TimeRange,
    last_only: bool,
    series: Vec<Series>,
    /// Where series are in blocks, chained.
    places: Vec<Place>,
    out_of_order: Vec<SelectedOutOfOrder>,
    next: usize,
    scratch: Scratch,
    _held: Reservation,
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
    entry: SeriesEntry,
    decoded: Columns,
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

impl<'s> Stream<'s> {
    pub(super) fn select(
        head: Head<'s>,
        out_of_order: Vec<SelectedOutOfOrder>,
        blocks: Vec<Arc<Block>>,
        request: &SelectRequest<'_>,
        key: IdentityKey,
        budget: &QueryBudget,
        held: Reservation,
    ) -> Result<Self, SourceError> {
        let mut stream = Self {
            range: TimeRange { min_time: request.min_time, max_time: request.max_time },
            last_only: request.hints.last_only,
            head,
            blocks,
            series: Vec::new(),
            places: Vec::new(),
            out_of_order,
            next: 0,
            scratch: Scratch::default(),
            _held: held,
        };
        let mut by_id = ById::default();
        stream.add_head(&key, &mut by_id);
        stream.add_out_of_order(&mut by_id);
        for number in 0..stream.blocks.len() {
            stream.add_block(number, request, &key, &mut by_id, budget)?;
        }
        Ok(stream)
    }

    fn add_head(&mut self, key: &IdentityKey, by_id: &mut ById) {
        for (shard, part) in self.head.parts.iter().enumerate() {
            let mut ids = PairIds::default();
            for (position, &series) in part.series.iter().enumerate() {
                let id = part.labels.pairs(series).fold(SeriesId::default(), |sum, pair| {
                    sum + ids.get(pair.0, || id_of_pair(key, &part.labels, pair))
                });
                by_id.insert(id, self.series.len() as u32);
                let (shard, position) = (shard as u32, position as u32);
                self.series.push(Series { shard, position, ..Series::default() });
            }
        }
    }

    fn add_out_of_order(&mut self, by_id: &mut ById) {
        for at in 0..self.out_of_order.len() {
            let number = self.number_of(self.out_of_order[at].id, by_id);
            self.series[number as usize].out_of_order = at as u32;
        }
    }

    fn number_of(&mut self, id: SeriesId, by_id: &mut ById) -> u32 {
        *by_id.entry(id).or_insert_with(|| {
            self.series.push(Series::default());
            self.series.len() as u32 - 1
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
        let block = self.blocks[number].clone();
        let references = block.select(request.matchers).map_err(|damage| damaged(&damage))?;
        let mut ids = HashMap::new();
        let mut entry = SeriesEntry::default();
        for batch in references.chunks(SERIES_PER_LOOK) {
            budget.check()?;
            self._held.grow(0, batch.len() * SERIES_BYTES)?;
            for &reference in batch {
                block.series(reference, &mut entry).map_err(|damage| damaged(&damage))?;
                if !block.has_any(reference, &entry, self.range) {
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
                self.add_place(id, number as u32, reference, by_id);
            }
        }
        Ok(())
    }

    fn add_place(&mut self, id: SeriesId, block: u32, reference: u32, by_id: &mut ById) {
        let place = self.places.len() as u32;
        self.places.push(Place { block, reference, next: NONE });
        let number = self.number_of(id, by_id);
        let series = &mut self.series[number as usize];
        match series.last {
            NONE => series.first = place,
            last => self.places[last as usize].next = place,
        }
        series.last = place;
    }

    fn append(&mut self, number: usize, tile: &mut Tile) -> Result<(), SourceError> {
        let series = self.series[number];
        let start = tile.samples_len();
        let mut next = series.first;
        while let Some(&place) = self.places.get(next as usize) {
            self.append_place(place, tile)?;
            next = place.next;
        }
        if series.shard != NONE {
            self.head.append(series.shard as usize, series.position as usize, tile)?;
        }
        if let Some(late) = self.out_of_order.get(series.out_of_order as usize) {
            let (times, values) = tile.columns();
            for (time, value) in &late.samples {
                if let Value::Float(bits) = value {
                    times.push(*time);
                    values.push(f64::from_bits(*bits));
                }
            }
        }
        self.put_in_order(start, tile);
        tile.finish_series(u32::try_from(number).expect("a selection is bounded far below 2^32 series"));
        Ok(())
    }

    fn append_place(&mut self, place: Place, tile: &mut Tile) -> Result<(), SourceError> {
        let Self { blocks, range, last_only, scratch, .. } = self;
        let block = &blocks[place.block as usize];
        let read = |scratch: &mut Scratch| {
            block.series(place.reference, &mut scratch.entry)?;
            let deleted = block.deleted(place.reference);
            let Scratch { entry, decoded, samples, .. } = scratch;
            samples.times.clear();
            samples.values.clear();
            let chunks = entry.chunks.iter();
            let wanted = chunks.filter(|chunk| chunk.max_time >= range.min_time && chunk.min_time <= range.max_time);
            if !*last_only {
                for chunk in wanted {
                    block.append_samples(chunk, *range, deleted, decoded, samples)?;
                }
                return Ok(());
            }
            // From the end, until there is one.
            for chunk in wanted.rev() {
                block.append_samples(chunk, *range, deleted, decoded, samples)?;
                if !samples.times.is_empty() {
                    break;
                }
            }
            Ok(())
        };
        read(scratch).map_err(|damage| damaged(&damage))?;
        let skipped = if *last_only { scratch.samples.times.len().saturating_sub(1) } else { 0 };
        let (times, values) = tile.columns();
        times.extend_from_slice(&scratch.samples.times[skipped..]);
        values.extend(scratch.samples.values[skipped..].iter().map(|bits| f64::from_bits(*bits)));
        Ok(())
    }

    /// Places mostly follow each other in time. Where they don't, samples are sorted, and of equal times the first place's stays.
    fn put_in_order(&mut self, start: usize, tile: &mut Tile) {
        let (times, values) = tile.columns();
        if !times[start..].is_sorted_by(|a, b| a < b) {
            let sorted = &mut self.scratch.sorted;
            sorted.clear();
            sorted.extend(times[start..].iter().copied().zip(values[start..].iter().copied()));
            sorted.sort_by_key(|sample| sample.0);
            sorted.dedup_by_key(|sample| sample.0);
            times.truncate(start);
            values.truncate(start);
            times.extend(sorted.iter().map(|sample| sample.0));
            values.extend(sorted.iter().map(|sample| sample.1));
        }
        if self.last_only && times.len() > start + 1 {
            times.drain(start..times.len() - 1);
            values.drain(start..values.len() - 1);
        }
    }
}

impl SeriesStream for Stream<'_> {
    fn series_count(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, series: usize) -> Labels {
        let Series { shard, position, first, out_of_order, .. } = self.series[series];
        if let Some(late) = self.out_of_order.get(out_of_order as usize) {
            return late.labels.clone();
        }
        if shard != NONE {
            let part = &self.head.parts[shard as usize];
            return part.labels.labels(part.series[position as usize]);
        }
        let place = self.places[first as usize];
        let block = &self.blocks[place.block as usize];
        let mut entry = SeriesEntry::default();
        let labels = block.series(place.reference, &mut entry).and_then(|()| block.labels(&entry.labels));
        labels.expect("read when the series was selected")
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        let first = self.next;
        while self.next < self.series.len() && !tile.is_full() {
            self.append(self.next, tile)?;
            self.next += 1;
        }
        Ok(self.next > first)
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
