//! Which blocks to compact next, and which to let go: pure decisions over what the blocks say of themselves.
//!
//! As Prometheus decides: blocks that overlap first, then aligned ranges that are complete, then single blocks with many
//! deletions. Ranges grow fivefold, 2 h, 10 h, 50 h, ..., so that a sample is rewritten a few times in its life.

use std::{collections::HashSet, sync::Arc};

use tsdb::limits::WINDOW_MS;

use crate::{block::Block, ulid::Ulid};

/// Each range holds as many of the one before.
const FACTOR: i64 = 5;
/// Longest range, whatever the retention.
const RANGE_MS_MAX: i64 = 31 * 24 * 3_600_000;
/// Part of the retention that a block may span: what is over when a block goes is then a tenth at most.
const RETENTION_PART: i64 = 10;
/// Deletions, as a part of the series, from which on a block is rewritten for their sake alone.
const TOMBSTONES_PART: u64 = 20;

/// Ranges of blocks in milliseconds, ascending; the first is the window of the head.
pub(crate) fn ranges(retention_ms: Option<i64>) -> Vec<i64> {
    let longest = retention_ms.map_or(RANGE_MS_MAX, |retention| RANGE_MS_MAX.min(retention / RETENTION_PART));
    std::iter::successors(Some(WINDOW_MS), |range| range.checked_mul(FACTOR))
        .take_while(|&range| range == WINDOW_MS || range <= longest)
        .collect()
}

/// Blocks to make one of, in order of time. `failed` are left alone.
pub(crate) fn next(blocks: &[Arc<Block>], ranges: &[i64], failed: &HashSet<Ulid>) -> Vec<Arc<Block>> {
    let usable: Vec<Arc<Block>> = blocks.iter().filter(|block| !failed.contains(&block.ulid)).cloned().collect();
    let overlapping = overlapping(&usable);
    if !overlapping.is_empty() {
        return overlapping;
    }
    // The newest block waits for its neighbours, and so does a range that the one before it lies in.
    let Some((_, older)) = usable.split_last() else { return Vec::new() };
    let newest = older.last().map_or(i64::MIN, |block| block.meta.min_time);
    let complete = ranges.iter().skip(1).find_map(|&range| complete(older, range, newest));
    complete.or_else(|| much_deleted(older, ranges)).unwrap_or_default()
}

/// The first run of blocks each of which overlaps one before it.
fn overlapping(blocks: &[Arc<Block>]) -> Vec<Arc<Block>> {
    let mut run: Vec<Arc<Block>> = Vec::new();
    let mut end = i64::MIN;
    for block in blocks {
        if block.meta.min_time >= end {
            if run.len() > 1 {
                break;
            }
            run.clear();
        }
        run.push(block.clone());
        end = end.max(block.meta.max_time);
    }
    if run.len() > 1 { run } else { Vec::new() }
}

/// Blocks of one aligned range to which nothing can come any more.
fn complete(blocks: &[Arc<Block>], range: i64, newest: i64) -> Option<Vec<Arc<Block>>> {
    let start_of = |block: &Block| block.meta.min_time.div_euclid(range) * range;
    let fits = |block: &Arc<Block>| block.meta.max_time <= start_of(block) + range;
    let fitting: Vec<Arc<Block>> = blocks.iter().filter(|block| fits(block)).cloned().collect();
    let mut parts = fitting.chunk_by(|a, b| start_of(a) == start_of(b));
    let is_due = |part: &&[Arc<Block>]| {
        let (start, end) = (part[0].meta.min_time, part[part.len() - 1].meta.max_time);
        part.len() > 1 && (end - start == range || end <= newest)
    };
    parts.find(is_due).map(<[_]>::to_vec)
}

/// A long block that has lost a good part.
fn much_deleted(blocks: &[Arc<Block>], ranges: &[i64]) -> Option<Vec<Arc<Block>>> {
    let longest = ranges.last().copied().unwrap_or(WINDOW_MS);
    let is_due = |block: &&Arc<Block>| {
        let stats = &block.meta.stats;
        block.meta.max_time - block.meta.min_time >= longest / 2
            && stats.num_tombstones * TOMBSTONES_PART > stats.num_series + 1
    };
    blocks.iter().rev().find(is_due).map(|block| vec![block.clone()])
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Blocks that end this much before the newest block's end go. Not the wall clock: one that runs ahead would take everything.
    pub time_ms: Option<i64>,
    /// Bytes of all blocks; the oldest go first.
    pub bytes: Option<u64>,
}

impl Retention {
    /// The blocks to let go.
    pub(crate) fn expired(&self, blocks: &[Arc<Block>]) -> Vec<Arc<Block>> {
        let mut newest_first: Vec<Arc<Block>> = blocks.to_vec();
        newest_first.sort_by_key(|block| std::cmp::Reverse(block.meta.max_time));
        let Some(newest) = newest_first.first().map(|block| block.meta.max_time) else { return Vec::new() };
        let mut bytes = 0;
        let is_expired = |block: &Arc<Block>| {
            bytes += block.bytes;
            self.time_ms.is_some_and(|time| newest - block.meta.max_time >= time)
                || self.bytes.is_some_and(|most| bytes > most)
        };
        newest_first.into_iter().filter(is_expired).collect()
    }
}
