//! What the API asks the data plane for besides samples: series, names, values, counts, and its own state.
//!
//! The shards answer with references and views of their index; turning those into text is done here, on a blocking thread, and
//! bounded by the memory that one query may hold.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use blocks::{Block, Damage};
use model::{Label, Labels, MatchOp, Matcher};
use shard::{
    BackendInUse, DataPlane, Handle, Refusal,
    ingest::{IngestCounters, Receiver},
    metadata::{Metadata, MetadataStore},
    read::ChunkFiles,
    stats::ShardStats,
};
use tsdb::{
    block::index::{SeriesEntry, SymbolPair},
    exemplars::SelectedExemplars,
    index::PairRef,
    out_of_order::Part,
    select::{self, TimeRange, Wanted},
};

use super::{cardinality::Cardinality, label_columns::LabelColumns, source::StorageSource};

/// The data plane, seen from the control plane.
#[derive(Clone)]
pub(crate) struct Storage {
    handle: Handle,
    blocks: blocks::Service,
    files: Arc<ChunkFiles>,
    columns: Arc<LabelColumns>,
    receiver: Arc<Receiver>,
    writes: Arc<IngestCounters>,
    metadata: Arc<MetadataStore>,
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

/// How long chunk files stay mapped that no query reads: as long as a dashboard waits until it asks again.
const UNUSED_MAX: Duration = Duration::from_secs(30);

async fn unmap_unused(files: Weak<ChunkFiles>) {
    let mut ticks = tokio::time::interval(UNUSED_MAX / 4);
    loop {
        ticks.tick().await;
        let Some(files) = files.upgrade() else { return };
        files.unmap_unused(UNUSED_MAX);
    }
}

impl Storage {
    pub(crate) fn new(data_plane: &DataPlane, blocks: blocks::Service, bytes_max: usize) -> Self {
        let backend = match data_plane.backend() {
            backend @ (BackendInUse::Glommio | BackendInUse::Portable { instead: None }) => backend.name().to_owned(),
            backend @ BackendInUse::Portable { instead: Some(reason) } => format!("{}: {reason}", backend.name()),
        };
        let (files, receiver) = (Arc::new(data_plane.chunk_files()), Arc::new(data_plane.receiver()));
        let (writes, metadata) = (data_plane.ingest_counters().clone(), data_plane.metadata().clone());
        let columns = Arc::default();
        Self { handle: data_plane.handle(), blocks, files, columns, receiver, writes, metadata, backend, bytes_max }
    }

    /// Lets go, from now on, of what queries have left behind for the next ones when none comes.
    pub(crate) fn tidy_up(&self) {
        tokio::spawn(unmap_unused(Arc::downgrade(&self.files)));
    }

    /// Counts of the write requests of all ports.
    pub(crate) fn writes(&self) -> &IngestCounters {
        &self.writes
    }

    /// What is known of metrics, for whoever learns more of them.
    pub(crate) fn metadata_store(&self) -> Arc<MetadataStore> {
        self.metadata.clone()
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
        let (blocks, files, columns) = (self.blocks.blocks.clone(), self.files.clone(), self.columns.clone());
        StorageSource::new(self.handle.clone(), blocks, files, columns, runtime, self.bytes_max)
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
        let out_of_order = self.out_of_order(&selection).await?;
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
            out_of_order.into_iter().try_for_each(&mut insert)?;
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
            |label| Some(label.name),
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
        let (wanted, wanted_late) = (name.clone(), name.clone());
        self.texts_of_pairs(
            selection,
            move |labels, pair| (labels.name_of(pair) == name).then(|| labels.value_of(pair)),
            move |label| (label.name == wanted_late).then_some(label.value),
            move |block, (name, value)| {
                if block.symbol(name)? == wanted { block.symbol(value).map(Some) } else { Ok(None) }
            },
        )
        .await
    }

    async fn all_names(&self, selection: Selection) -> Result<Found<String>, StorageError> {
        let shards = if self.is_outside(&selection) { Vec::new() } else { self.handle.cardinality().await? };
        let out_of_order = self.out_of_order(&selection).await?;
        let blocks = self.blocks_in(&selection);
        off_the_runtime(move || {
            let names = shards.into_iter().flat_map(|shard| shard.names).map(|name| name.name);
            let mut names: BTreeSet<String> = names.collect();
            names.extend(out_of_order.iter().flat_map(|labels| labels.iter().map(|label| label.name.to_owned())));
            for block in &blocks {
                names.extend(block.label_names()?.into_iter().map(str::to_owned));
            }
            Ok(limited(names, selection.limit))
        })
        .await
    }

    async fn all_values(&self, name: String, selection: Selection) -> Result<Found<String>, StorageError> {
        let shards = if self.is_outside(&selection) { Vec::new() } else { self.handle.cardinality().await? };
        let out_of_order = self.out_of_order(&selection).await?;
        let blocks = self.blocks_in(&selection);
        let mut account = Account::new(self.bytes_max);
        off_the_runtime(move || {
            let mut values = BTreeSet::new();
            for value in out_of_order.iter().filter_map(|labels| labels.get(&name)) {
                insert(&mut values, value, &mut account)?;
            }
            for shard in &shards {
                for counted in &shard.by_pair {
                    if shard.labels.name_of(counted.pair) == name {
                        insert(&mut values, shard.labels.value_of(counted.pair), &mut account)?;
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
        late_text: impl for<'a> Fn(Label<'a>) -> Option<&'a str> + Send + 'static,
        block_text: impl for<'a> Fn(&'a Block, SymbolPair) -> Result<Option<&'a str>, Damage> + Send + 'static,
    ) -> Result<Found<String>, StorageError> {
        let found = self.select(&selection).await?;
        let out_of_order = self.out_of_order(&selection).await?;
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
            for text in out_of_order.iter().flat_map(|labels| labels.iter().filter_map(&late_text)) {
                insert(&mut texts, text, &mut account)?;
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

    /// Labels of series that have samples out of order in the time; they may have no others.
    async fn out_of_order(&self, selection: &Selection) -> Result<Vec<Labels>, StorageError> {
        let range = TimeRange { min_time: selection.min_time, max_time: selection.max_time };
        let match_sets: Arc<[Vec<Matcher>]> = match &selection.match_sets[..] {
            [] => [vec![]].into(),
            sets => sets.into(),
        };
        let found = self.handle.select_out_of_order(match_sets, range, Part::All, self.bytes_max).await?;
        Ok(found.into_iter().map(|series| series.labels).collect())
    }

    /// Exemplars of the series that satisfy all matchers of one of the sets, in order of series, then of time.
    pub(crate) async fn exemplars(
        &self,
        match_sets: Arc<[Vec<Matcher>]>,
        range: TimeRange,
    ) -> Result<Vec<SelectedExemplars>, StorageError> {
        let mut found = self.handle.select_exemplars(match_sets, range).await?;
        off_the_runtime(move || {
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
            Ok(found)
        })
        .await
    }

    /// What senders say of one metric, or of all.
    pub(crate) fn metadata(&self, metric: Option<&str>) -> Vec<(String, Vec<Metadata>)> {
        self.metadata.list(metric)
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

    /// Counts of the head for `limit` names each.
    pub(crate) async fn cardinality(&self, limit: usize) -> Result<Cardinality, StorageError> {
        let stats = self.handle.stats().await?;
        let shards = self.handle.cardinality().await?;
        let shared = self.handle.shared();
        let times = (shared.head_min_time(), shared.head_max_time());
        off_the_runtime(move || Ok(Cardinality::of(&stats, &shards, times, limit))).await
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
