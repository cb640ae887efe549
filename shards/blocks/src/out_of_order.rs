//! Blocks of what came out of order: one for each window that has some, beside the other blocks of its time until compaction merges them.
//!
//! The shards set aside what they hold, and forget it when the blocks count. What a crash or a failure leaves in both is there once for every reader.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use model::{Labels, MatchOp, Matcher};
use runtime::Runtime;
use tsdb::{
    block::index::{SymbolPair, SymbolTable},
    limits::WINDOW_MS,
    out_of_order::{self, Part, SelectedOutOfOrder},
    select::TimeRange,
};

use crate::{
    block::Block,
    deletion::Deletion,
    desk::Desk,
    error::BlocksError,
    meta::{Compaction, Meta},
    samples::{Sample, Value},
    ulid::Ulid,
    writer::PendingBlock,
};

/// Series with what they have, in the order of a block.
pub(crate) struct Found {
    series: BTreeMap<Labels, Vec<Sample>>,
}

impl Found {
    /// What the shards hold of a time.
    pub(crate) async fn in_shards<R: Runtime>(
        desk: &Desk<R>,
        part: Part,
        range: TimeRange,
    ) -> Result<Self, BlocksError> {
        let everything = Matcher::new(MatchOp::NotEqual, model::METRIC_NAME, "").expect("no pattern to compile");
        let match_sets: Arc<[Vec<Matcher>]> = [vec![everything]].into();
        let found = desk.handle.select_out_of_order(match_sets, range, part, usize::MAX).await?;
        let sample = |(time, value)| match value {
            out_of_order::Value::Float(bits) => (time, Value::Float(bits)),
            out_of_order::Value::Histogram(histogram) => (time, Value::Histogram(histogram)),
        };
        let pair = |SelectedOutOfOrder { labels, samples, .. }| (labels, samples.into_iter().map(sample).collect());
        Ok(Self { series: found.into_iter().map(pair).collect() })
    }

    /// The windows of which the shards hold some.
    pub(crate) async fn windows<R: Runtime>(
        desk: &Desk<R>,
        part: Part,
    ) -> Result<impl Iterator<Item = TimeRange> + use<R>, BlocksError> {
        let all_time = TimeRange { min_time: i64::MIN, max_time: i64::MAX };
        let found = Self::in_shards(desk, part, all_time).await?;
        let start = |(time, _): &Sample| time.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
        let starts: BTreeSet<i64> = found.series.values().flatten().map(start).collect();
        let window = |start: i64| TimeRange { min_time: start, max_time: start.saturating_add(WINDOW_MS - 1) };
        Ok(starts.into_iter().map(window))
    }

    /// Writes the block of a window, with the deletions that do not show in it; `None`: everything was deleted.
    pub(crate) async fn write<R: Runtime>(
        &self,
        desk: &Desk<R>,
        into: &Path,
        window: TimeRange,
        ulid: Ulid,
        deletions: impl Fn() -> Vec<Deletion>,
    ) -> Result<Option<Block>, BlocksError> {
        let runtime = &desk.runtime;
        if let Some(block) = Block::adopt(runtime, into, ulid).await? {
            return Ok(Some(block));
        }
        if self.series.is_empty() {
            return Ok(None);
        }
        let series: Vec<_> = self.series.iter().collect();
        let (symbols, numbers) = symbols_of(into, self.series.keys())?;
        let mut pending = PendingBlock::create(runtime, into, ulid, symbols).await?;
        for (done, piece) in series.chunks(desk.series_per_piece).enumerate() {
            for &(labels, samples) in piece {
                let pairs: Vec<SymbolPair> =
                    labels.iter().map(|label| (numbers[label.name], numbers[label.value])).collect();
                pending.push_samples(samples);
                pending.finish_series(&pairs).await?;
            }
            desk.pause(done * desk.series_per_piece, series.len()).await?;
        }
        let name = ulid.to_string();
        let compaction = Compaction { level: 1, sources: vec![name.clone()], ..Compaction::default() };
        let meta = Meta::new(name, window.min_time, window.max_time.saturating_add(1), compaction, None);
        desk.service.wrote(pending.publish(meta, &deletions()).await?);
        Ok(Some(Block::open(runtime, into, ulid).await?))
    }
}

/// The texts of some labels with their numbers, which are in the order of the texts.
fn symbols_of<'a>(
    into: &Path,
    all: impl Iterator<Item = &'a Labels>,
) -> Result<(SymbolTable, HashMap<&'a str, u32>), BlocksError> {
    let texts: BTreeSet<&str> =
        all.flat_map(|labels| labels.iter().flat_map(|label| [label.name, label.value])).collect();
    let mut symbols = SymbolTable::default();
    let mut numbers = HashMap::with_capacity(texts.len());
    for text in texts {
        let number = symbols.push(text).map_err(|limit| BlocksError::Limit { path: into.to_owned(), limit })?;
        numbers.insert(text, number);
    }
    Ok((symbols, numbers))
}
