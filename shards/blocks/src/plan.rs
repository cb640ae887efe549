//! Which blocks to compact next, and which to let go: pure decisions over what the blocks say of themselves.
//!
//! As Prometheus decides: blocks that overlap first, then aligned ranges that are complete, then single blocks with many
//! deletions. Ranges grow fivefold, 2 h, 10 h, 50 h, ..., so that a sample is rewritten a few times in its life.

use std::{collections::HashSet, sync::Arc};

use tsdb::limits::WINDOW_MS;

use crate::{
    block::Block,
    meta::{Meta, Stats},
    ulid::Ulid,
};

/// What a plan looks at.
pub(crate) trait Planned: Clone {
    fn ulid(&self) -> Ulid;
    fn meta(&self) -> &Meta;
    fn bytes(&self) -> u64;
}

impl Planned for Arc<Block> {
    fn ulid(&self) -> Ulid {
        self.ulid
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

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
pub(crate) fn next<B: Planned>(blocks: &[B], ranges: &[i64], failed: &HashSet<Ulid>) -> Vec<B> {
    let usable: Vec<B> = blocks.iter().filter(|block| !failed.contains(&block.ulid())).cloned().collect();
    let overlapping = overlapping(&usable);
    if !overlapping.is_empty() {
        return overlapping;
    }
    // The newest block waits for its neighbours, and so does a range that the one before it lies in.
    let Some((_, older)) = usable.split_last() else { return Vec::new() };
    let newest = older.last().map_or(i64::MIN, |block| block.meta().min_time);
    let complete = ranges.iter().skip(1).find_map(|&range| complete(older, range, newest));
    complete.or_else(|| much_deleted(older, ranges)).unwrap_or_default()
}

/// The first run of blocks each of which overlaps one before it.
fn overlapping<B: Planned>(blocks: &[B]) -> Vec<B> {
    let mut run: Vec<B> = Vec::new();
    let mut end = i64::MIN;
    for block in blocks {
        if block.meta().min_time >= end {
            if run.len() > 1 {
                break;
            }
            run.clear();
        }
        run.push(block.clone());
        end = end.max(block.meta().max_time);
    }
    if run.len() > 1 { run } else { Vec::new() }
}

/// Blocks of one aligned range to which nothing can come any more.
fn complete<B: Planned>(blocks: &[B], range: i64, newest: i64) -> Option<Vec<B>> {
    let start_of = |block: &B| block.meta().min_time.div_euclid(range) * range;
    let fits = |block: &B| block.meta().max_time <= start_of(block) + range;
    let fitting: Vec<B> = blocks.iter().filter(|block| fits(block)).cloned().collect();
    let mut parts = fitting.chunk_by(|a, b| start_of(a) == start_of(b));
    let is_due = |part: &&[B]| {
        let (start, end) = (part[0].meta().min_time, part[part.len() - 1].meta().max_time);
        part.len() > 1 && (end - start == range || end <= newest)
    };
    parts.find(is_due).map(<[_]>::to_vec)
}

/// A long block that has lost a good part, or any that has lost something of each of its series.
fn much_deleted<B: Planned>(blocks: &[B], ranges: &[i64]) -> Option<Vec<B>> {
    let longest = ranges.last().copied().unwrap_or(WINDOW_MS);
    let is_due = |block: &&B| {
        let Meta { min_time, max_time, stats: Stats { num_tombstones, num_series, .. }, .. } = block.meta();
        let is_long = max_time - min_time >= longest / 2;
        is_long && num_tombstones * TOMBSTONES_PART > num_series + 1
            || *num_tombstones > 0 && num_tombstones >= num_series
    };
    blocks.iter().rev().find(is_due).map(|block| vec![block.clone()])
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Blocks that end this much before the newest block's end go, or before the wall clock if that is earlier: neither a clock that
    /// runs ahead nor one block from the future may take everything else.
    pub time_ms: Option<i64>,
    /// Bytes of all blocks and of what shards have on the disk; the oldest blocks go first.
    pub bytes: Option<u64>,
}

impl Retention {
    /// The blocks to let go, beside so many bytes of shards.
    pub(crate) fn expired<B: Planned>(&self, blocks: &[B], shard_bytes: u64, wall_clock_ms: i64) -> Vec<B> {
        let mut newest_first: Vec<B> = blocks.to_vec();
        newest_first.sort_by_key(|block| std::cmp::Reverse(block.meta().max_time));
        let Some(newest) = newest_first.first().map(|block| block.meta().max_time.min(wall_clock_ms)) else {
            return Vec::new();
        };
        let mut bytes = shard_bytes;
        let is_expired = |block: &B| {
            bytes += block.bytes();
            self.time_ms.is_some_and(|time| newest.saturating_sub(block.meta().max_time) >= time)
                || self.bytes.is_some_and(|most| bytes > most)
        };
        newest_first.into_iter().filter(is_expired).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Compaction;

    const HOUR: i64 = 3_600_000;

    #[derive(Clone)]
    struct Made {
        ulid: Ulid,
        meta: Meta,
    }

    impl Planned for Made {
        fn ulid(&self) -> Ulid {
            self.ulid
        }

        fn meta(&self) -> &Meta {
            &self.meta
        }

        fn bytes(&self) -> u64 {
            100
        }
    }

    /// Blocks by their first and last hour, named by their place.
    fn blocks(hours: &[(i64, i64)]) -> Vec<Made> {
        let made = |(place, &(from, to)): (usize, &(i64, i64))| {
            let text = format!("{place:026}");
            let meta = Meta::new(text.clone(), from * HOUR, to * HOUR, Compaction::default(), None);
            Made { ulid: text.parse().expect("digits"), meta }
        };
        hours.iter().enumerate().map(made).collect()
    }

    fn hours(blocks: &[Made]) -> Vec<(i64, i64)> {
        blocks.iter().map(|block| (block.meta.min_time / HOUR, block.meta.max_time / HOUR)).collect()
    }

    fn planned(all: &[(i64, i64)]) -> Vec<(i64, i64)> {
        hours(&next(&blocks(all), &ranges(None), &HashSet::new()))
    }

    #[test]
    fn ranges_grow_fivefold_up_to_a_tenth_of_the_retention() {
        let in_hours =
            |retention: Option<i64>| -> Vec<i64> { ranges(retention).iter().map(|range| range / HOUR).collect() };
        assert_eq!(in_hours(None), [2, 10, 50, 250]);
        assert_eq!(in_hours(Some(15 * 24 * HOUR)), [2, 10]);
        assert_eq!(in_hours(Some(HOUR)), [2], "windows are cut whatever the retention");
    }

    #[test]
    fn a_range_is_compacted_once_and_when_nothing_can_join_it() {
        assert_eq!(planned(&[]), []);
        assert_eq!(planned(&[(0, 2), (2, 4), (4, 6)]), [], "the range is not over");
        assert_eq!(planned(&[(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]), [], "the newest block waits");
        let whole = [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12)];
        assert_eq!(planned(&whole), whole[..5]);
        // A gap: over when the block before the newest lies behind the range.
        assert_eq!(planned(&[(0, 2), (4, 6), (10, 12)]), []);
        assert_eq!(planned(&[(0, 2), (4, 6), (10, 12), (12, 14)]), [(0, 2), (4, 6)]);
        assert_eq!(planned(&[(0, 10), (10, 12), (12, 14)]), [], "one block is no range");
        let tens = [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 52)];
        assert_eq!(planned(&tens), tens[..5]);
    }

    #[test]
    fn overlaps_come_first_and_failures_are_left_alone() {
        assert_eq!(planned(&[(0, 2), (1, 3), (2, 4), (6, 8)]), [(0, 2), (1, 3), (2, 4)]);
        let all = blocks(&[(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12)]);
        let failed = HashSet::from([all[1].ulid]);
        assert_eq!(hours(&next(&all, &ranges(None), &failed)), [(0, 2), (4, 6), (6, 8), (8, 10)]);
    }

    #[test]
    fn blocks_that_lost_much_are_written_anew() {
        let planned = |hours_of: &[(i64, i64)], deleted: u64| {
            let mut all = blocks(hours_of);
            all[1].meta.stats = Stats { num_series: 99, num_tombstones: deleted, ..Stats::default() };
            hours(&next(&all, &ranges(Some(15 * 24 * HOUR)), &HashSet::new()))
        };
        let long = [(0, 10), (10, 20), (20, 22)];
        assert_eq!(planned(&long, 5), []);
        assert_eq!(planned(&long, 6), [(10, 20)]);
        let short = [(0, 10), (10, 12), (12, 14)];
        assert_eq!(planned(&short, 98), []);
        assert_eq!(planned(&short, 99), [(10, 12)], "as many deletions as series");
    }

    #[test]
    fn what_is_over_its_time_or_size_goes() {
        let all = blocks(&[(0, 10), (10, 20), (20, 22), (22, 24)]);
        let expired = |retention: Retention, now: i64| hours(&retention.expired(&all, 0, now * HOUR));
        let by_time = Retention { time_ms: Some(12 * HOUR), bytes: None };
        assert_eq!(expired(by_time, 25), [(0, 10)]);
        assert_eq!(expired(by_time, 1_000_000), [(0, 10)], "a clock that runs ahead takes nothing");
        let by_size = Retention { time_ms: None, bytes: Some(250) };
        assert_eq!(expired(by_size, 25), [(10, 20), (0, 10)]);
        let beside = hours(&by_size.expired(&all, 60, 25 * HOUR));
        assert_eq!(beside, [(20, 22), (10, 20), (0, 10)], "what shards have takes room from blocks");
        assert_eq!(expired(Retention::default(), 25), []);
        let with_future = blocks(&[(0, 10), (10, 20), (1_000_000, 1_000_002)]);
        assert_eq!(hours(&by_time.expired(&with_future, 0, 21)), [], "nor does a block from the future");
    }
}
