//! What the API asks the data plane for besides samples: series, names, values, counts, and its own state.
//!
//! The shards answer with references and views of their index; turning those into text is done here, on a blocking thread, and
//! bounded by the memory that one query may hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use blocks::{Block, Damage};
use model::{Label, Labels, METRIC_NAME, MatchOp, Matcher};
use shard::{
    BackendInUse, DataPlane, Handle, Refusal,
    ingest::{IngestCounters, Receiver},
    read::ChunkFiles,
    stats::ShardStats,
};
use tsdb::{
    block::index::{SeriesEntry, SymbolPair},
    index::PairRef,
    select::{self, TimeRange, Wanted},
};

use super::source::StorageSource;

/// The data plane, seen from the control plane.
#[derive(Clone)]
pub(crate) struct Storage {
    handle: Handle,
    blocks: blocks::Service,
    files: Arc<ChunkFiles>,
    receiver: Arc<Receiver>,
    writes: Arc<IngestCounters>,
    /// The backend of the shards, in words.
    backend: String,
    /// Bytes that one answer may hold before it is written.
    bytes_max: usize,
}

/// Which series are meant.
pub(crate) struct Selection {
    /// A series is meant if it satisfies all matchers of any set; without a set, every series is.
    pub(crate) match_sets: Vec<Vec<Matcher>>,
    /// In milliseconds, inclusive.
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) limit: Option<usize>,
}

/// Results in order, without repetition.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) items: Vec<T>,
    /// Whether the limit cut something off.
    pub(crate) truncated: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedCount {
    pub(crate) name: String,
    pub(crate) count: u64,
}

/// What `status/tsdb` shows.
pub(crate) struct Cardinality {
    pub(crate) series: u64,
    pub(crate) label_pairs: u64,
    pub(crate) chunks: u64,
    pub(crate) min_time: Option<i64>,
    pub(crate) max_time: Option<i64>,
    pub(crate) series_by_metric: Vec<NamedCount>,
    pub(crate) values_by_label: Vec<NamedCount>,
    pub(crate) bytes_by_label: Vec<NamedCount>,
    pub(crate) series_by_pair: Vec<NamedCount>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "the answer would hold more than {bytes_max} bytes in memory (--query.max-memory): narrow the selection or set a limit"
    )]
    TooLarge { bytes_max: usize },
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("collecting the answer met a mistake of the program")]
    Panicked,
}

impl Storage {
    pub(crate) fn new(data_plane: &DataPlane, blocks: blocks::Service, bytes_max: usize) -> Self {
        let backend = match data_plane.backend() {
            backend @ (BackendInUse::Glommio | BackendInUse::Portable { instead: None }) => backend.name().to_owned(),
            backend @ BackendInUse::Portable { instead: Some(reason) } => format!("{}: {reason}", backend.name()),
        };
        let (files, receiver) = (Arc::new(data_plane.chunk_files()), Arc::new(data_plane.receiver()));
        let writes = data_plane.ingest_counters().clone();
        Self { handle: data_plane.handle(), blocks, files, receiver, writes, backend, bytes_max }
    }

    /// Counts of the write requests of all ports.
    pub(crate) fn writes(&self) -> &IngestCounters {
        &self.writes
    }

    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// Remote write's receiving end.
    pub(crate) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// What the PromQL engine reads from.
    pub(crate) fn source(&self, runtime: tokio::runtime::Handle) -> StorageSource {
        let (blocks, files) = (self.blocks.blocks.clone(), self.files.clone());
        StorageSource::new(self.handle.clone(), blocks, files, runtime, self.bytes_max)
    }

    /// Whether recovery is done.
    pub(crate) fn is_ready(&self) -> bool {
        self.handle.shared().all_ready()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) async fn stats(&self) -> Result<Vec<ShardStats>, StorageError> {
        Ok(self.handle.stats().await?)
    }

    pub(crate) async fn series(&self, selection: Selection) -> Result<Found<Labels>, StorageError> {
        let found = self.select(&selection).await?;
        let blocks = self.blocks_in(&selection);
        let mut account = Account::new(self.bytes_max);
        off_the_runtime(move || {
            let mut all = BTreeSet::new();
            let mut insert = |labels: Labels| {
                if !all.contains(&labels) {
                    account.take(labels_bytes(&labels))?;
                    all.insert(labels);
                }
                Ok(())
            };
            for part in &found {
                part.series.iter().try_for_each(|series| insert(part.labels.labels(*series)))?;
            }
            block_series(&blocks, &selection, &mut |block, entry| insert(block.labels(&entry.labels)?))?;
            Ok(limited(all, selection.limit))
        })
        .await
    }

    pub(crate) async fn label_names(&self, selection: Selection) -> Result<Found<String>, StorageError> {
        if selection.match_sets.is_empty() {
            return self.all_names(selection).await;
        }
        self.texts_of_pairs(
            selection,
            |labels, pair| Some(labels.name_of(pair)),
            |block, (name, _)| block.symbol(name).map(Some),
        )
        .await
    }

    pub(crate) async fn label_values(
        &self,
        name: String,
        mut selection: Selection,
    ) -> Result<Found<String>, StorageError> {
        if selection.match_sets.is_empty() {
            return self.all_values(name, selection).await;
        }
        // A series without the label has nothing to say here.
        for set in &mut selection.match_sets {
            set.push(Matcher::new(MatchOp::NotEqual, name.as_str(), "").expect("no pattern to compile"));
        }
        let wanted = name.clone();
        self.texts_of_pairs(
            selection,
            move |labels, pair| (labels.name_of(pair) == name).then(|| labels.value_of(pair)),
            move |block, (name, value)| {
                if block.symbol(name)? == wanted { block.symbol(value).map(Some) } else { Ok(None) }
            },
        )
        .await
    }

    async fn all_names(&self, selection: Selection) -> Result<Found<String>, StorageError> {
        let shards = if self.is_outside(&selection) { Vec::new() } else { self.handle.cardinality().await? };
        let blocks = self.blocks_in(&selection);
        off_the_runtime(move || {
            let names = shards.into_iter().flat_map(|shard| shard.names).map(|name| name.name);
            let mut names: BTreeSet<String> = names.collect();
            for block in &blocks {
                names.extend(block.label_names()?.into_iter().map(str::to_owned));
            }
            Ok(limited(names, selection.limit))
        })
        .await
    }

    async fn all_values(&self, name: String, selection: Selection) -> Result<Found<String>, StorageError> {
        let shards = if self.is_outside(&selection) { Vec::new() } else { self.handle.cardinality().await? };
        let blocks = self.blocks_in(&selection);
        let mut account = Account::new(self.bytes_max);
        off_the_runtime(move || {
            let mut values = BTreeSet::new();
            for shard in &shards {
                for (_, pair) in &shard.series_by_pair {
                    if shard.labels.name_of(*pair) == name {
                        insert(&mut values, shard.labels.value_of(*pair), &mut account)?;
                    }
                }
            }
            for block in &blocks {
                block.each_label_value(&name, &mut |value| insert(&mut values, value, &mut account))?;
            }
            Ok(limited(values, selection.limit))
        })
        .await
    }

    /// Texts of the label pairs that the selected series have; each pair is looked at once per shard.
    async fn texts_of_pairs(
        &self,
        selection: Selection,
        text: impl for<'a> Fn(&'a tsdb::index::LabelsView, PairRef) -> Option<&'a str> + Send + 'static,
        block_text: impl for<'a> Fn(&'a Block, SymbolPair) -> Result<Option<&'a str>, Damage> + Send + 'static,
    ) -> Result<Found<String>, StorageError> {
        let found = self.select(&selection).await?;
        let blocks = self.blocks_in(&selection);
        let mut account = Account::new(self.bytes_max);
        off_the_runtime(move || {
            let mut texts = BTreeSet::new();
            for part in &found {
                let mut seen = HashSet::new();
                for pair in part.series.iter().flat_map(|series| part.labels.pairs(*series)) {
                    if seen.insert(pair)
                        && let Some(text) = text(&part.labels, pair)
                    {
                        insert(&mut texts, text, &mut account)?;
                    }
                }
            }
            let mut seen = HashSet::new();
            block_series(&blocks, &selection, &mut |block, entry| {
                for &pair in &entry.labels {
                    if seen.insert((block.ulid, pair))
                        && let Some(text) = block_text(block, pair)?
                    {
                        insert(&mut texts, text, &mut account)?;
                    }
                }
                Ok(())
            })?;
            Ok(limited(texts, selection.limit))
        })
        .await
    }

    async fn select(&self, selection: &Selection) -> Result<Vec<select::Selection>, StorageError> {
        let range = TimeRange { min_time: selection.min_time, max_time: selection.max_time };
        let mut found = Vec::new();
        for set in &selection.match_sets {
            let matchers: Arc<[Matcher]> = set.as_slice().into();
            found.extend(self.handle.select(matchers, range, Wanted::Series, self.bytes_max).await?);
        }
        Ok(found)
    }

    pub(crate) fn blocks(&self) -> &blocks::Service {
        &self.blocks
    }

    /// Blocks that reach into the selection's time.
    fn blocks_in(&self, selection: &Selection) -> Vec<Arc<Block>> {
        let range = TimeRange { min_time: selection.min_time, max_time: selection.max_time };
        let set = self.blocks.blocks.current();
        set.blocks.iter().filter(|block| block.overlaps(range)).cloned().collect()
    }

    /// Whether nothing that the shards hold lies in the time range.
    fn is_outside(&self, selection: &Selection) -> bool {
        let shared = self.handle.shared();
        let (oldest, newest) = (shared.head_min_time(), shared.head_max_time());
        oldest.is_some_and(|oldest| oldest > selection.max_time)
            || newest.is_some_and(|newest| newest < selection.min_time)
    }

    pub(crate) async fn cardinality(&self, limit: usize) -> Result<Cardinality, StorageError> {
        let stats = self.handle.stats().await?;
        let shards = self.handle.cardinality().await?;
        let shared = self.handle.shared();
        let times = (shared.head_min_time(), shared.head_max_time());
        off_the_runtime(move || {
            let mut by_pair = BTreeMap::<(&str, &str), u64>::new();
            for shard in &shards {
                for (count, pair) in &shard.series_by_pair {
                    let key = (shard.labels.name_of(*pair), shard.labels.value_of(*pair));
                    *by_pair.entry(key).or_default() += count;
                }
            }
            Ok(Cardinality {
                series: stats.iter().map(|shard| shard.series).sum(),
                label_pairs: by_pair.len() as u64,
                chunks: stats.iter().map(|shard| shard.chunks).sum(),
                min_time: times.0,
                max_time: times.1,
                series_by_metric: series_by_metric(&by_pair, limit),
                values_by_label: top(per_name(&by_pair, |_, _| 1), limit),
                bytes_by_label: top(per_name(&by_pair, |value, series| value.len() as u64 * series), limit),
                series_by_pair: series_by_pair(&by_pair, limit),
            })
        })
        .await
    }
}

/// Visits the series of blocks that satisfy a set of matchers and have samples in the time; some of them more than once.
fn block_series(
    blocks: &[Arc<Block>],
    selection: &Selection,
    visit: &mut dyn FnMut(&Block, &SeriesEntry) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let range = TimeRange { min_time: selection.min_time, max_time: selection.max_time };
    let mut entry = SeriesEntry::default();
    for block in blocks {
        for matchers in &selection.match_sets {
            for reference in block.select(matchers)? {
                block.series(reference, &mut entry)?;
                if block.has_any(reference, &entry, range) {
                    visit(block, &entry)?;
                }
            }
        }
    }
    Ok(())
}

type Pairs<'a> = BTreeMap<(&'a str, &'a str), u64>;

fn series_by_metric(by_pair: &Pairs<'_>, limit: usize) -> Vec<NamedCount> {
    let metrics = by_pair.iter().filter(|((name, _), _)| *name == METRIC_NAME);
    top(metrics.map(|((_, value), count)| (*value, *count)), limit)
}

fn series_by_pair(by_pair: &Pairs<'_>, limit: usize) -> Vec<NamedCount> {
    let largest = largest(by_pair.iter().map(|(pair, count)| (pair, *count)), limit).into_iter();
    largest.map(|((name, value), count)| NamedCount { name: format!("{name}={value}"), count }).collect()
}

/// Sums of something over the values of each label name.
fn per_name<'a>(by_pair: &Pairs<'a>, measure: impl Fn(&str, u64) -> u64) -> BTreeMap<&'a str, u64> {
    let mut sums = BTreeMap::new();
    for ((name, value), series) in by_pair {
        *sums.entry(*name).or_default() += measure(value, *series);
    }
    sums
}

fn top<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>, limit: usize) -> Vec<NamedCount> {
    let largest = largest(counts, limit).into_iter();
    largest.map(|(name, count)| NamedCount { name: name.to_owned(), count }).collect()
}

/// The largest counts, largest first; equal ones in the order in which they came.
fn largest<T>(counts: impl IntoIterator<Item = (T, u64)>, limit: usize) -> Vec<(T, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(limit);
    counts
}

fn limited<T>(items: BTreeSet<T>, limit: Option<usize>) -> Found<T> {
    let keep = limit.unwrap_or(usize::MAX);
    let truncated = items.len() > keep;
    Found { items: items.into_iter().take(keep).collect(), truncated }
}

fn insert(texts: &mut BTreeSet<String>, text: &str, account: &mut Account) -> Result<(), StorageError> {
    if !texts.contains(text) {
        account.take(text.len() + size_of::<String>())?;
        texts.insert(text.to_owned());
    }
    Ok(())
}

fn labels_bytes(labels: &Labels) -> usize {
    let texts: usize = labels.iter().map(|Label { name, value }| name.len() + value.len() + 2 * size_of::<u32>()).sum();
    texts + size_of::<Labels>() + 4 * size_of::<usize>()
}

/// Memory of one answer.
struct Account {
    bytes: usize,
    bytes_max: usize,
}

impl Account {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max }
    }

    fn take(&mut self, bytes: usize) -> Result<(), StorageError> {
        self.bytes += bytes;
        if self.bytes > self.bytes_max { Err(StorageError::TooLarge { bytes_max: self.bytes_max }) } else { Ok(()) }
    }
}

/// Runs what may take long on a blocking thread.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StorageError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_joined_and_the_largest_come_first() {
        let by_pair =
            Pairs::from([((METRIC_NAME, "up"), 3), ((METRIC_NAME, "go"), 5), (("job", "node"), 8), (("job", "x"), 1)]);
        let named = |name: &str, count| NamedCount { name: name.to_owned(), count };
        assert_eq!(series_by_metric(&by_pair, 10), [named("go", 5), named("up", 3)]);
        assert_eq!(series_by_pair(&by_pair, 2), [named("job=node", 8), named("__name__=go", 5)]);
        let bytes = per_name(&by_pair, |value, series| value.len() as u64 * series);
        assert_eq!(top(bytes, 10), [named("job", 33), named(METRIC_NAME, 16)]);
    }

    #[test]
    fn a_limit_says_when_it_cuts() {
        let all = || BTreeSet::from([1, 2, 3]);
        assert!(!limited(all(), None).truncated && !limited(all(), Some(3)).truncated);
        let cut = limited(all(), Some(2));
        assert!(cut.truncated && cut.items == [1, 2]);
    }

    #[test]
    fn an_answer_too_large_is_refused_by_name() {
        let mut account = Account::new(100);
        account.take(100).expect("just fits");
        let error = account.take(1).expect_err("too much").to_string();
        assert!(error.contains("--query.max-memory"), "{error}");
    }
}
