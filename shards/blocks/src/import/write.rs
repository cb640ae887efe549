//! Blocks of what was gathered, one for each window of two hours. They get names by their content, so that nothing is there twice when the same is
//! imported again.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use model::IdentityKey;
use runtime::{Disk, Runtime};
use shard::frames::FileError;
use tsdb::{
    block::index::{SymbolPair, SymbolTable},
    limits::WINDOW_MS,
    select::TimeRange,
};

use super::gather::{Gathered, Series};
use crate::{
    block::Block,
    error::BlocksError,
    meta::{Compaction, Meta},
    ulid::Ulid,
    writer::PendingBlock,
};

/// What came of it.
#[derive(Debug, Default)]
pub struct MadeBlocks {
    pub new: Vec<Block>,
    /// There already, made of the same samples before.
    pub known: Vec<Ulid>,
}

/// Writes blocks of all that was gathered, durably.
pub(super) async fn write<R: Runtime>(
    runtime: &R,
    data: &Path,
    gathered: &Gathered,
) -> Result<MadeBlocks, BlocksError> {
    runtime.disk().create_directory(data).await.map_err(FileError::new("create", data))?;
    let mut made = MadeBlocks::default();
    for &start in &gathered.windows {
        let window = TimeRange { min_time: start, max_time: start.saturating_add(WINDOW_MS - 1) };
        write_window(runtime, data, window, &gathered.series, &mut made).await?;
    }
    Ok(made)
}

/// Writes the block of a window, if it has samples and is not there.
async fn write_window<R: Runtime>(
    runtime: &R,
    data: &Path,
    window: TimeRange,
    series: &[Series],
    made: &mut MadeBlocks,
) -> Result<(), BlocksError> {
    let in_window = |series: &&Series| {
        series
            .pieces
            .iter()
            .any(|piece| piece.times.max_time >= window.min_time && piece.times.min_time <= window.max_time)
    };
    let series: Vec<&Series> = series.iter().filter(in_window).collect();
    let ulid = name_of(window, &series);
    if let Some(block) = Block::adopt(runtime, data, ulid).await? {
        made.known.push(block.ulid);
        return Ok(());
    }
    let (symbols, mut sorted) = named(data, &series)?;
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut pending = PendingBlock::create(runtime, data, ulid, symbols).await?;
    for (labels, series) in sorted {
        pending.push_samples(&series.samples(window));
        pending.finish_series(&labels).await?;
    }
    if !pending.has_series() {
        // All of it was deleted.
        return pending.discard().await;
    }
    let name = ulid.to_string();
    let compaction = Compaction { level: 1, sources: vec![name.clone()], ..Compaction::default() };
    let meta = Meta::new(name, window.min_time, window.max_time.saturating_add(1), compaction, None);
    pending.publish(meta, &[]).await?;
    made.new.push(Block::open(runtime, data, ulid).await?);
    Ok(())
}

/// A name that no other samples give.
fn name_of(window: TimeRange, series: &[&Series]) -> Ulid {
    let key = IdentityKey::from_bytes(&[0x5c; IdentityKey::BYTES]);
    let mut content = Vec::new();
    let mut sum = 0u128;
    for series in series {
        content.clear();
        series.labels.iter().for_each(|label| {
            for text in [label.name, label.value] {
                content.extend_from_slice(&(text.len() as u64).to_le_bytes());
                content.extend_from_slice(text.as_bytes());
            }
        });
        series.pieces.iter().for_each(|piece| content.extend_from_slice(&piece.data));
        for range in &series.deleted {
            content.extend_from_slice(&range.min_time.to_le_bytes());
            content.extend_from_slice(&range.max_time.to_le_bytes());
        }
        let id = key.label(b"series", &content);
        // In any order of series.
        sum = sum.wrapping_add(u128::from(id.high) << 64 | u128::from(id.low));
    }
    let id = key.label(&window.min_time.to_le_bytes(), &sum.to_le_bytes());
    Ulid::of_content(window.max_time, u128::from(id.high) << 64 | u128::from(id.low))
}

/// A series, with its labels in the numbers of the block's symbols.
type Named<'a> = (Vec<SymbolPair>, &'a Series);

/// Symbols of the series, and each with its labels in their numbers.
fn named<'a>(data: &Path, series: &[&'a Series]) -> Result<(SymbolTable, Vec<Named<'a>>), BlocksError> {
    let texts: BTreeSet<&str> =
        series.iter().flat_map(|series| series.labels.iter().flat_map(|label| [label.name, label.value])).collect();
    let mut symbols = SymbolTable::default();
    let mut numbers = HashMap::with_capacity(texts.len());
    for text in texts {
        let number = symbols.push(text).map_err(|limit| BlocksError::Limit { path: data.to_owned(), limit })?;
        numbers.insert(text, number);
    }
    let labels_of =
        |series: &Series| series.labels.iter().map(|label| (numbers[label.name], numbers[label.value])).collect();
    let all = series.iter().map(|series| (labels_of(series), *series)).collect();
    Ok((symbols, all))
}
