//! Cutting a window of all shards into one block.
//!
//! The window is closed first: every shard has then what it will ever have there, durably. Its series are named by the shards,
//! sorted by their labels here, and fetched some thousand at a time; sealed chunks are copied from the chunk files as they are.
//! The shards forget the window only when the block has its name.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    io,
    ops::Range,
    path::Path,
    sync::Arc,
};

use codec::{
    decimal,
    gorilla::{self, ChunkError},
};
use runtime::{Disk, FileMap, Runtime};
use shard::{Refusal, frames::FileError, names::ShardFolders};
use tsdb::{
    SeriesRef,
    block::{
        Intervals,
        index::{IndexLimit, SymbolPair, SymbolTable},
    },
    chunk_file::{Chunk, ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES, SeriesTag, check_entry, entry_bytes},
    head::SealedChunk,
    index::{LabelsView, PairRef},
    limits::WINDOW_MS,
    select::{SelectedChunk, Selection, TimeRange, Wanted},
};

use crate::{
    block::{Block, map},
    desk::Desk,
    error::{BlocksError, Damage, DamageKind},
    folder,
    meta::{Compaction, Meta},
    samples::{self, DecodeError},
    ulid::Ulid,
    writer::{NewChunk, PendingBlock},
};

/// The window that is due to be cut, if one is: the oldest that has samples, once the head reaches half a window beyond it.
pub(crate) fn due(oldest: Option<i64>, newest: Option<i64>) -> Option<TimeRange> {
    let start = oldest?.div_euclid(WINDOW_MS).checked_mul(WINDOW_MS)?;
    let end = start.checked_add(WINDOW_MS)?;
    let is_due = newest? >= end.checked_add(WINDOW_MS / 2)?;
    is_due.then_some(TimeRange { min_time: start, max_time: end - 1 })
}

/// The windows of which shards hold something that is in no block, from their oldest sample and newest, and the time before which all is.
pub(crate) fn held(
    oldest: Option<i64>,
    newest: Option<i64>,
    cut_before: Option<i64>,
) -> impl Iterator<Item = TimeRange> {
    let (oldest, newest) = oldest.zip(newest).unwrap_or((0, -1));
    let start = oldest.max(cut_before.unwrap_or(oldest)).div_euclid(WINDOW_MS) * WINDOW_MS;
    let starts = std::iter::successors(Some(start), |start| start.checked_add(WINDOW_MS));
    starts
        .take_while(move |start| *start <= newest)
        .map(|start| TimeRange { min_time: start, max_time: start.saturating_add(WINDOW_MS - 1) })
}

/// What the block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To take the window from the shards, which get no more of it and forget it.
    Window,
    /// To have a copy of what they have of it so far.
    Copy,
    /// To have what they have of it so far, before they are taken away. Others may get more of the window.
    Move,
}

/// What a cut is made of.
pub(crate) struct Cutter<'a, R: Runtime> {
    pub(crate) desk: &'a Desk<R>,
    /// Where the block goes.
    pub(crate) into: &'a Path,
    pub(crate) window: TimeRange,
    pub(crate) ulid: Ulid,
    pub(crate) purpose: Purpose,
    /// Told of chunks that the block goes without.
    pub(crate) lost: &'a dyn Fn(&Damage),
}

/// Series of all shards in label order.
struct Sorted {
    views: Vec<Arc<LabelsView>>,
    generations: Vec<u32>,
    symbols: SymbolTable,
    /// By shard and pair; of pairs that none of the series has, anything.
    pairs: Vec<Vec<SymbolPair>>,
    series: Vec<(u16, SeriesRef)>,
}

impl<R: Runtime> Cutter<'_, R> {
    /// Writes the block. `None`: the window has no samples.
    pub(crate) async fn run(&self) -> Result<Option<Block>, BlocksError> {
        let runtime = &self.desk.runtime;
        if let Some(block) = Block::adopt(runtime, self.into, self.ulid).await? {
            return Ok(Some(block));
        }
        if self.purpose == Purpose::Window {
            self.desk.handle.close_window(self.end()).await?;
        }
        loop {
            let error = match self.write().await {
                Ok(Some(())) => return Ok(Some(Block::open(runtime, self.into, self.ulid).await?)),
                Ok(None) => {
                    self.discard().await;
                    return Ok(None);
                }
                Err(error) => error,
            };
            self.discard().await;
            // Numbers change when a truncation has been slow; what was written is of no use then.
            if !matches!(error, BlocksError::Shards(Refusal::Renumbered { .. })) {
                return Err(error);
            }
        }
    }

    fn end(&self) -> i64 {
        self.window.max_time + 1
    }

    async fn discard(&self) {
        let path = folder::in_creation(self.into, self.ulid);
        if let Err(error) = folder::remove_folder(&self.desk.runtime, &path).await {
            tracing::warn!(path = %path.display(), %error, "an unfinished block stays until the next start");
        }
    }

    async fn write(&self) -> Result<Option<()>, BlocksError> {
        let found = self.desk.handle.select(Arc::from([]), self.window, Wanted::Series, usize::MAX).await?;
        let limit = |limit| BlocksError::Limit { path: self.into.to_owned(), limit };
        let sorted = Sorted::new(&found).map_err(limit)?;
        drop(found);
        let mut pending =
            PendingBlock::create(&self.desk.runtime, self.into, self.ulid, sorted.symbols.clone()).await?;
        let mut chunk_files = ChunkMaps { runtime: &self.desk.runtime, data: &self.desk.data, maps: HashMap::new() };
        let mut done = 0;
        for fetch in sorted.series.chunks(self.desk.series_per_piece) {
            self.copy(&sorted, fetch, &mut chunk_files, &mut pending).await?;
            done += fetch.len();
            self.desk.pause(done, sorted.series.len()).await?;
            chunk_files.release_pages();
        }
        if !pending.has_series() {
            return Ok(None);
        }
        let name = self.ulid.to_string();
        let compaction = Compaction { level: 1, sources: vec![name.clone()], ..Compaction::default() };
        // Nothing comes to a closed window any more; to a copy, what came later than a deletion may belong.
        let (cut_before, deletions) = match self.purpose {
            Purpose::Window => (Some(self.end()), self.desk.noted()),
            Purpose::Move => (None, self.desk.noted()),
            Purpose::Copy => (None, Vec::new()),
        };
        let meta = Meta::new(name, self.window.min_time, self.end(), compaction, cut_before);
        self.desk.service.wrote(pending.publish(meta, &deletions).await?);
        Ok(Some(()))
    }

    /// Copies the chunks of some series, which stand side by side in label order.
    async fn copy(
        &self,
        sorted: &Sorted,
        series: &[(u16, SeriesRef)],
        chunk_files: &mut ChunkMaps<'_, R>,
        pending: &mut PendingBlock<R>,
    ) -> Result<(), BlocksError> {
        let mut fetched = Vec::with_capacity(sorted.views.len());
        for (shard, &generation) in sorted.generations.iter().enumerate() {
            let of_shard = series.iter().filter(|(other, _)| usize::from(*other) == shard);
            let of_shard: Vec<SeriesRef> = of_shard.map(|(_, series)| *series).collect();
            let selection = self.desk.handle.select_chosen(shard, generation, of_shard, self.window).await?;
            fetched.push((selection, 0));
        }
        for &(shard, series) in series {
            let (selection, next) = &mut fetched[usize::from(shard)];
            if selection.series.get(*next) != Some(&series) {
                continue;
            }
            self.copy_chunks(usize::from(shard), selection, *next, chunk_files, pending).await?;
            *next += 1;
            pending.finish_series(&sorted.labels(shard, series)).await?;
        }
        Ok(())
    }

    async fn copy_chunks(
        &self,
        shard: usize,
        selection: &Selection,
        position: usize,
        chunk_files: &mut ChunkMaps<'_, R>,
        pending: &mut PendingBlock<R>,
    ) -> Result<(), BlocksError> {
        let deleted = selection.deleted_of(position);
        for chunk in selection.chunks_of(position) {
            match *chunk {
                SelectedChunk::Copied { encoding, start, length } => {
                    let Chunk { data, .. } = selection.copied(encoding, start, length);
                    let (encoding, data) = as_prometheus(encoding, data).expect("the shard has just encoded it");
                    let decoded = samples::decode(encoding, &data).expect("the shard has just encoded it");
                    if let (Some((min_time, _)), Some((max_time, _))) = (decoded.first(), decoded.last()) {
                        let chunk = NewChunk { min_time: *min_time, max_time: *max_time, encoding, data: &data };
                        put_chunk(chunk, deleted, pending).expect("decoded just now");
                    }
                }
                SelectedChunk::Sealed(chunk) => {
                    match chunk_files.chunk(shard, chunk, selection.tags[position]).await? {
                        Ok((map, encoding, at)) => {
                            let SealedChunk { min_time, max_time, .. } = chunk;
                            let whole = NewChunk { min_time, max_time, encoding, data: &map[at] };
                            if let Err(error) = put_chunk(whole, deleted, pending) {
                                let damage = chunk_files.damage(shard, chunk, &error);
                                self.set_aside(chunk_files, shard, chunk, &damage).await?;
                                (self.lost)(&damage);
                            }
                        }
                        Err(damage) => {
                            self.set_aside(chunk_files, shard, chunk, &damage).await?;
                            (self.lost)(&damage);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl<R: Runtime> Cutter<'_, R> {
    /// Nobody else will keep the file once the shards have forgotten the window.
    async fn set_aside(
        &self,
        chunk_files: &ChunkMaps<'_, R>,
        shard: usize,
        chunk: SealedChunk,
        damage: &Damage,
    ) -> Result<(), BlocksError> {
        match self.purpose {
            Purpose::Window | Purpose::Move => chunk_files.set_aside(shard, chunk, damage).await,
            Purpose::Copy => Ok(()),
        }
    }
}

/// A chunk as Prometheus would have it: one of the head's own kind becomes the XOR chunk that it was made of.
fn as_prometheus(encoding: u8, data: &[u8]) -> Result<(u8, Cow<'_, [u8]>), ChunkError> {
    match encoding {
        decimal::ENCODING => Ok((gorilla::ENCODING, Cow::Owned(decimal::to_xor(data)?))),
        _ => Ok((encoding, Cow::Borrowed(data))),
    }
}

/// Adds a chunk as it is, or what is left of it where something of its time was deleted.
fn put_chunk<R: Runtime>(
    chunk: NewChunk<'_>,
    deleted: Option<&Intervals>,
    pending: &mut PendingBlock<R>,
) -> Result<(), DecodeError> {
    let (encoding, data) = as_prometheus(chunk.encoding, chunk.data)?;
    let chunk = NewChunk { encoding, data: &data, ..chunk };
    let times = TimeRange { min_time: chunk.min_time, max_time: chunk.max_time };
    match deleted.filter(|deleted| deleted.overlaps(times)) {
        None => pending.push_chunk(chunk),
        Some(deleted) if deleted.covers(times) => {}
        Some(deleted) => {
            let mut left = samples::decode(chunk.encoding, chunk.data)?;
            left.retain(|(time, _)| !deleted.contains(*time));
            pending.push_samples(&left);
        }
    }
    Ok(())
}

impl Sorted {
    fn new(found: &[Selection]) -> Result<Self, IndexLimit> {
        let views: Vec<_> = found.iter().map(|selection| selection.labels.clone()).collect();
        let used: Vec<Vec<PairRef>> = found.iter().map(pairs_of).collect();
        let mut values = Vec::new();
        let mut texts = BTreeSet::new();
        for (shard, (view, used)) in views.iter().zip(&used).enumerate() {
            texts.extend(used.iter().map(|&pair| view.name_of(pair)));
            values.extend(used.iter().map(|&pair| (view.value_of(pair), shard as u16, pair)));
        }
        values.sort_unstable_by_key(|(text, _, _)| *text);
        let names: Vec<&str> = texts.into_iter().collect();
        let mut texts: Vec<&str> = values.iter().map(|(text, _, _)| *text).chain(names.iter().copied()).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut symbols = SymbolTable::default();
        for text in &texts {
            symbols.push(text)?;
        }
        let number_of = |text: &str| texts.binary_search(&text).expect("every text is among them") as u32;
        let name_numbers: HashMap<&str, u32> = names.iter().map(|&name| (name, number_of(name))).collect();
        let mut pairs: Vec<Vec<SymbolPair>> =
            used.iter().map(|used| vec![(0, 0); used.iter().max().map_or(0, |pair| pair.0 as usize + 1)]).collect();
        let mut at = 0;
        for &(text, shard, pair) in &values {
            while texts[at] != text {
                at += 1;
            }
            let name = name_numbers[views[usize::from(shard)].name_of(pair)];
            pairs[usize::from(shard)][pair.0 as usize] = (name, at as u32);
        }
        let series = found
            .iter()
            .enumerate()
            .flat_map(|(shard, selection)| selection.series.iter().map(move |&series| (shard as u16, series)));
        let series = series.collect();
        let generations = found.iter().map(|selection| selection.generation).collect();
        drop((texts, values));
        let mut sorted = Self { views, generations, symbols, pairs, series };
        sorted.sort();
        Ok(sorted)
    }

    fn sort(&mut self) {
        let mut series = std::mem::take(&mut self.series);
        series.sort_unstable_by(|a, b| self.symbol_pairs(a.0, a.1).cmp(self.symbol_pairs(b.0, b.1)));
        self.series = series;
    }

    /// Numbers of symbols compare as their texts do, so these do as label sets.
    fn symbol_pairs(&self, shard: u16, series: SeriesRef) -> impl Iterator<Item = SymbolPair> {
        let pairs = &self.pairs[usize::from(shard)];
        self.views[usize::from(shard)].pairs(series).map(|pair| pairs[pair.0 as usize])
    }

    fn labels(&self, shard: u16, series: SeriesRef) -> Vec<SymbolPair> {
        self.symbol_pairs(shard, series).collect()
    }
}

/// The pairs that some of the series have, each once.
fn pairs_of(selection: &Selection) -> Vec<PairRef> {
    let mut seen: Vec<bool> = Vec::new();
    let mut pairs = Vec::new();
    for pair in selection.series.iter().flat_map(|&series| selection.labels.pairs(series)) {
        let at = pair.0 as usize;
        if at >= seen.len() {
            seen.resize((at + 1).next_power_of_two(), false);
        }
        if !std::mem::replace(&mut seen[at], true) {
            pairs.push(pair);
        }
    }
    pairs
}

/// Chunk files of the shards, mapped as far as they are written.
struct ChunkMaps<'a, R: Runtime> {
    runtime: &'a R,
    data: &'a Path,
    maps: HashMap<(usize, u32), FileMap>,
}

impl<R: Runtime> ChunkMaps<'_, R> {
    /// The bytes that a chunk is in, its encoding and its place; or what is wrong with it.
    async fn chunk(
        &mut self,
        shard: usize,
        chunk: SealedChunk,
        tag: SeriesTag,
    ) -> Result<Result<(FileMap, u8, Range<usize>), Damage>, BlocksError> {
        let (file, start) = (chunk.address.file(), chunk.address.offset() as usize);
        let path = ShardFolders::new(self.data, shard).chunk_file(file);
        let has_entry = |map: &&FileMap| {
            let entry = map.get(start..).unwrap_or_default();
            entry.len() >= entry_bytes(entry).unwrap_or(usize::MAX).max(ENTRY_BYTES_MAX)
        };
        let known = self.maps.get(&(shard, file)).filter(has_entry).cloned();
        let map = match known {
            Some(map) => map,
            // It may have grown since it was mapped, and its last chunks are close to its end.
            None => match map(self.runtime, &path).await {
                Ok(map) => {
                    self.maps.insert((shard, file), map.clone());
                    map
                }
                // Waiting will not bring it back, and the window must be cut all the same.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => FileMap::from(Vec::new()),
                Err(error) => return Err(error.into()),
            },
        };
        // The file's header is not asked: a chunk says itself whether it is sound, and whose it is.
        Ok(match check_entry(map.get(start..).unwrap_or_default(), tag) {
            Ok(Chunk { encoding, data }) => {
                let at = start + ENTRY_HEADER_BYTES;
                let range = at..at + data.len();
                Ok((map, encoding, range))
            }
            Err(what) => Err(self.damage(shard, chunk, &what)),
        })
    }

    fn damage(&self, shard: usize, chunk: SealedChunk, what: &dyn std::fmt::Display) -> Damage {
        let path = ShardFolders::new(self.data, shard).chunk_file(chunk.address.file());
        Damage { path, what: DamageKind::Chunk { offset: chunk.address.offset(), what: what.to_string() } }
    }

    /// A chunk that can't be read must not keep the others from a block. Its file stays, under another name, for whoever wants to look.
    async fn set_aside(&self, shard: usize, chunk: SealedChunk, damage: &Damage) -> Result<(), BlocksError> {
        let folder = self.data.join("damaged");
        let file = chunk.address.file();
        let kept = folder.join(format!("shard-{shard:03}-chunks-{file:06}-{}", chunk.min_time));
        let disk = self.runtime.disk();
        disk.create_directory(&folder).await.map_err(FileError::new("create", &folder))?;
        let path = ShardFolders::new(self.data, shard).chunk_file(file);
        match disk.link(&path, &kept).await {
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
            linked => linked.map_err(FileError::new("link", &path))?,
        }
        tracing::error!(
            %damage, kept = %kept.display(), from = chunk.min_time, to = chunk.max_time,
            "the samples of a chunk are lost: the block goes without them"
        );
        Ok(())
    }

    fn release_pages(&self) {
        self.maps.values().for_each(FileMap::release_pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_due_when_the_head_is_half_a_window_beyond_it() {
        let start = 1_700_000_000_000i64.div_euclid(WINDOW_MS) * WINDOW_MS;
        let window = TimeRange { min_time: start, max_time: start + WINDOW_MS - 1 };
        let half = WINDOW_MS / 2;
        assert_eq!(due(Some(start + 5), Some(start + WINDOW_MS + half)), Some(window));
        assert_eq!(due(Some(start + 5), Some(start + WINDOW_MS + half - 1)), None);
        assert_eq!(due(Some(start - 1), Some(start + half)).map(|due| due.max_time), Some(start - 1));
        assert_eq!(due(None, Some(start)), None);
        assert_eq!(due(Some(i64::MIN), Some(i64::MAX)).map(|due| due.min_time < 0), None, "no border fits");
        assert_eq!(due(Some(i64::MAX), Some(i64::MAX)), None);
    }
}
