//! Making one block of several: series merged in label order, chunks copied, overlaps and deletions resolved.
//!
//! The first compaction of a window does not copy its chunks: the new block has the old ones' segments as hard links, and only its
//! index is written. So a series' chunks lie in a place for each window, five in a block of 10 h, and a sample is written to the disk
//! once less. Later compactions copy, and put a series' chunks side by side. What was deleted is never linked, as it should be gone.

use std::{cmp::Ordering, sync::Arc};

use runtime::Runtime;
use tsdb::{
    block::{
        ChunkMeta,
        index::{IndexLimit, Postings, SeriesEntry, SymbolPair, SymbolTable},
    },
    select::TimeRange,
};

use crate::{
    block::Block,
    desk::Desk,
    error::{BlocksError, Damage},
    folder,
    meta::{Compaction, Meta, Parent},
    samples::Sample,
    ulid::Ulid,
    writer::{NewChunk, PendingBlock},
};

/// What a compaction is made of.
pub(crate) struct Compactor<'a, R: Runtime> {
    pub(crate) desk: &'a Desk<R>,
    /// In order of time.
    pub(crate) blocks: &'a [Arc<Block>],
    pub(crate) ulid: Ulid,
}

impl<R: Runtime> Compactor<'_, R> {
    /// Writes the block. `None`: everything in the old ones was deleted.
    pub(crate) async fn run(&self) -> Result<Option<Block>, BlocksError> {
        let Desk { runtime, data, .. } = self.desk;
        if let Some(block) = Block::adopt(runtime, data, self.ulid).await? {
            return Ok(Some(block));
        }
        let written = self.write().await;
        self.blocks.iter().for_each(|block| block.release_pages());
        if !matches!(written, Ok(true)) {
            let path = folder::in_creation(data, self.ulid);
            if let Err(error) = folder::remove_folder(runtime, &path).await {
                tracing::warn!(path = %path.display(), %error, "an unfinished block stays until the next start");
            }
        }
        if !written? {
            return Ok(None);
        }
        Ok(Some(Block::open(runtime, data, self.ulid).await?))
    }

    async fn write(&self) -> Result<bool, BlocksError> {
        let Desk { runtime, data, .. } = self.desk;
        let limit = |limit| BlocksError::Limit { path: data.clone(), limit };
        let (symbols, numbers) = merge_symbols(self.blocks)?;
        let symbols = symbols.map_err(limit)?;
        let mut pending = PendingBlock::create(runtime, data, self.ulid, symbols).await?;
        let mut linked = Vec::with_capacity(self.blocks.len());
        for block in self.blocks {
            linked.push(if self.links(block) { pending.link_segments(block).await? } else { None });
        }
        let mut merge = Merge::new(self.blocks, &numbers, &linked)?;
        let series: u64 = self.blocks.iter().map(|block| block.meta.stats.num_series).sum();
        let mut done = 0;
        while merge.next()? {
            merge.put_chunks(&mut pending)?;
            pending.finish_series(&merge.labels).await?;
            done += merge.current.len();
            if done % self.desk.series_per_piece < merge.current.len() {
                self.desk.pause(done, series as usize).await?;
            }
        }
        if !pending.has_series() {
            return Ok(false);
        }
        self.desk.service.wrote(pending.publish(self.meta(), &self.desk.noted()).await?);
        Ok(true)
    }

    fn links(&self, block: &Block) -> bool {
        self.blocks.len() > 1 && block.meta.compaction.level == 1 && block.tombstones().is_empty()
    }

    fn meta(&self) -> Meta {
        let metas = || self.blocks.iter().map(|block| &block.meta);
        let mut sources: Vec<String> = metas().flat_map(|meta| meta.compaction.sources.iter().cloned()).collect();
        sources.sort_unstable();
        sources.dedup();
        let parent = |meta: &Meta| Parent { ulid: meta.ulid.clone(), min_time: meta.min_time, max_time: meta.max_time };
        let level = metas().map(|meta| meta.compaction.level).max().unwrap_or_default();
        let compaction = Compaction {
            level: if self.blocks.len() > 1 { level + 1 } else { level },
            sources,
            parents: metas().map(parent).collect(),
            ..Compaction::default()
        };
        let cut_before = metas().filter_map(Meta::cut_before).max();
        let min_time = metas().map(|meta| meta.min_time).min().expect("a compaction is of some blocks");
        let max_time = metas().map(|meta| meta.max_time).max().expect("a compaction is of some blocks");
        let mut meta = Meta::new(self.ulid.to_string(), min_time, max_time, compaction, cut_before);
        // What others have written there holds for all of them, or for none.
        let other = &self.blocks[0].meta.other;
        if metas().all(|meta| meta.other == *other) {
            meta.other = other.clone();
        }
        meta
    }
}

/// All symbols, and by block the new number of each of its own.
type Merged = (Result<SymbolTable, IndexLimit>, Vec<Vec<u32>>);

fn merge_symbols(blocks: &[Arc<Block>]) -> Result<Merged, Damage> {
    let damage =
        |block: &Block, what: tsdb::block::BlockError| Damage { path: block.folder().join("index"), what: what.into() };
    let mut sources = Vec::new();
    for block in blocks {
        let symbols = block.index().symbols().map_err(|what| damage(block, what))?;
        sources.push(symbols.map(|symbol| symbol.map_err(|what| damage(block, what))).peekable());
    }
    let mut table = SymbolTable::default();
    let mut numbers: Vec<Vec<u32>> = vec![Vec::new(); blocks.len()];
    loop {
        let mut least: Option<&str> = None;
        for source in &mut sources {
            match source.peek() {
                Some(Ok(symbol)) => least = Some(least.map_or(*symbol, |least| least.min(*symbol))),
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
        }
        let Some(least) = least else { return Ok((Ok(table), numbers)) };
        let number = match table.push(least) {
            Ok(number) => number,
            Err(limit) => return Ok((Err(limit), numbers)),
        };
        for (source, numbers) in sources.iter_mut().zip(&mut numbers) {
            if source.next_if(|symbol| matches!(symbol, Ok(symbol) if *symbol == least)).is_some() {
                numbers.push(number);
            }
        }
    }
}

/// Walks the series of all blocks in label order.
struct Merge<'a> {
    cursors: Vec<Cursor<'a>>,
    /// Labels of the series that is at hand, and the cursors that have it.
    labels: Vec<SymbolPair>,
    current: Vec<usize>,
}

struct Cursor<'a> {
    block: &'a Block,
    numbers: &'a [u32],
    /// Number in the new block of the first of its segments, if they are linked.
    linked: Option<u32>,
    postings: Postings<'a>,
    next: usize,
    reference: u32,
    entry: SeriesEntry,
    /// Labels of the entry in the numbers of the new block.
    labels: Vec<SymbolPair>,
    is_done: bool,
}

impl<'a> Merge<'a> {
    fn new(blocks: &'a [Arc<Block>], numbers: &'a [Vec<u32>], linked: &[Option<u32>]) -> Result<Self, Damage> {
        let mut cursors = Vec::new();
        for ((block, numbers), &linked) in blocks.iter().zip(numbers).zip(linked) {
            let postings = block.index().all_postings();
            let postings = postings.map_err(|what| Damage { path: block.folder().join("index"), what: what.into() })?;
            let mut cursor = Cursor {
                block,
                numbers,
                linked,
                postings,
                next: 0,
                reference: 0,
                entry: SeriesEntry::default(),
                labels: Vec::new(),
                is_done: false,
            };
            cursor.advance()?;
            cursors.push(cursor);
        }
        Ok(Self { cursors, labels: Vec::new(), current: Vec::new() })
    }

    /// Goes to the next series; `false` at the end.
    fn next(&mut self) -> Result<bool, Damage> {
        for at in std::mem::take(&mut self.current) {
            self.cursors[at].advance()?;
        }
        let alive = || self.cursors.iter().enumerate().filter(|(_, cursor)| !cursor.is_done);
        let Some((_, least)) = alive().min_by(|a, b| a.1.labels.cmp(&b.1.labels)) else { return Ok(false) };
        self.labels.clone_from(&least.labels);
        self.current = alive().filter(|(_, cursor)| cursor.labels == self.labels).map(|(at, _)| at).collect();
        Ok(true)
    }

    /// Writes the chunks of the series at hand: as they are where nothing else reaches into their time, decoded and made anew
    /// where something does.
    fn put_chunks<R: Runtime>(&mut self, pending: &mut PendingBlock<R>) -> Result<(), Damage> {
        let mut chunks: Vec<(ChunkMeta, usize)> = Vec::new();
        for &at in &self.current {
            chunks.extend(self.cursors[at].entry.chunks.iter().map(|&chunk| (chunk, at)));
        }
        // Of equal beginnings the one of the earlier block comes first.
        chunks.sort_by_key(|(chunk, _)| chunk.min_time);
        let mut rest = &chunks[..];
        while let Some((first, _)) = rest.first() {
            let mut end = first.max_time;
            let mut count = 1;
            while let Some((chunk, _)) = rest.get(count).filter(|(chunk, _)| chunk.min_time <= end) {
                end = end.max(chunk.max_time);
                count += 1;
            }
            let (run, behind) = rest.split_at(count);
            self.put_run(run, pending)?;
            rest = behind;
        }
        Ok(())
    }

    fn put_run<R: Runtime>(&mut self, run: &[(ChunkMeta, usize)], pending: &mut PendingBlock<R>) -> Result<(), Damage> {
        if let [(chunk, at)] = run {
            let cursor = &self.cursors[*at];
            let range = TimeRange { min_time: chunk.min_time, max_time: chunk.max_time };
            let deleted = cursor.block.deleted(cursor.reference);
            if deleted.is_some_and(|deleted| deleted.covers(range)) {
                return Ok(());
            }
            if deleted.is_none_or(|deleted| !deleted.overlaps(range)) {
                let (encoding, data) = cursor.block.chunk(chunk.reference)?;
                let (min_time, max_time) = (chunk.min_time, chunk.max_time);
                let new = NewChunk { min_time, max_time, encoding, data };
                match cursor.linked {
                    Some(first) => pending.push_linked(new, chunk.reference.in_segment_after(first)),
                    None => pending.push_chunk(new),
                }
                return Ok(());
            }
        }
        pending.push_samples(&self.merged(run)?);
        Ok(())
    }

    /// Samples of chunks that overlap, by time; of equal times that of the earlier block.
    fn merged(&self, run: &[(ChunkMeta, usize)]) -> Result<Vec<Sample>, Damage> {
        let mut samples: Vec<(usize, Sample)> = Vec::new();
        for (chunk, at) in run {
            let cursor = &self.cursors[*at];
            let deleted = cursor.block.deleted(cursor.reference);
            let kept = cursor.block.samples(chunk)?.into_iter();
            let kept = kept.filter(|(time, _)| deleted.is_none_or(|deleted| !deleted.contains(*time)));
            samples.extend(kept.map(|sample| (*at, sample)));
        }
        samples.sort_by_key(|(at, (time, _))| (*time, *at));
        samples.dedup_by_key(|(_, (time, _))| *time);
        Ok(samples.into_iter().map(|(_, sample)| sample).collect())
    }
}

impl Cursor<'_> {
    fn advance(&mut self) -> Result<(), Damage> {
        let Some(reference) = self.postings.get(self.next) else {
            self.is_done = true;
            return Ok(());
        };
        self.next += 1;
        self.reference = reference;
        let Self { block, entry, labels, numbers, .. } = self;
        block.series(reference, entry)?;
        let number = |symbol: u32| numbers[symbol as usize];
        let before = std::mem::take(labels);
        *labels = entry.labels.iter().map(|&(name, value)| (number(name), number(value))).collect();
        if self.next > 1 && before.cmp(labels) != Ordering::Less {
            let what = tsdb::block::BlockError::Damaged {
                offset: u64::from(reference) * 16,
                what: tsdb::block::Damage::Order,
            };
            return Err(Damage { path: block.folder().join("index"), what: what.into() });
        }
        Ok(())
    }
}
