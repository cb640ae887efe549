//! Checkpoints: what bounds the log that a start has to replay.
//!
//! In steps that each leave a state from which recovery works: begin a log segment; write the definitions that no series log has;
//! write images of all series to a draft, slice by slice between the writes; wait for the sealed chunks that they refer to; sync,
//! rename the draft, sync the folder; only then remove what the checkpoint replaces.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use runtime::{Disk, Runtime};
use tsdb::{
    SeriesRef,
    checkpoint::{CheckpointEnd, DefinitionsMark},
    wal::{FileHeader, FileKind},
};

use crate::{
    frames::{FileError, FrameFile},
    handle::Refusal,
    limits::CHECKPOINT_LOG_SHARE,
    names::{Numbered, numbered},
    recovery::log_segments,
    shard::Core,
    signal::Waiters,
};

/// Where checkpoints stand after a recovery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckpointState {
    pub(crate) next_number: u64,
    /// Which the definitions below are of.
    pub(crate) generation: u32,
    /// Definitions that the series logs have.
    pub(crate) definitions: DefinitionsMark,
    pub(crate) last_bytes: u64,
    /// Log that a start had to replay and the next checkpoint will make superfluous.
    pub(crate) replayed_log_bytes: u64,
}

/// A checkpoint that failed is tried again after this part of the log that the first one waits for.
const RETRY_PART: u64 = 16;

/// Why a checkpoint was given up; the next one tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CheckpointError(String);

impl From<FileError> for CheckpointError {
    fn from(error: FileError) -> Self {
        Self(error.to_string())
    }
}

/// State shared by the checkpoint, the commit task and the chunk writer.
pub(crate) struct Checkpointing {
    state: Cell<CheckpointState>,
    running: Cell<bool>,
    log_bytes_min: u64,
    log_bytes_at_last: Cell<u64>,
    /// Log after which one that failed is tried again, and not before.
    retry_at: Cell<Option<u64>>,
    rotation_wanted: Cell<bool>,
    rotated: RefCell<Option<Result<(u64, u64), CheckpointError>>>,
    chunk_sync_wanted: Cell<bool>,
    chunks_synced: RefCell<Option<Result<(), CheckpointError>>>,
    changed: Waiters,
}

impl Checkpointing {
    pub(crate) fn new(state: CheckpointState, log_bytes_min: u64) -> Self {
        Self {
            log_bytes_min,
            state: Cell::new(state),
            running: Cell::new(false),
            log_bytes_at_last: Cell::new(0),
            retry_at: Cell::new(None),
            rotation_wanted: Cell::new(false),
            rotated: RefCell::new(None),
            chunk_sync_wanted: Cell::new(false),
            chunks_synced: RefCell::new(None),
            changed: Waiters::default(),
        }
    }

    /// Whether the log has grown enough since the last checkpoint began.
    pub(crate) fn is_due(&self, log_bytes: u64) -> bool {
        let (numerator, denominator) = CHECKPOINT_LOG_SHARE;
        let share = self.state.get().last_bytes * numerator / denominator;
        let due_at = || self.log_bytes_at_last.get() + self.log_bytes_min.max(share);
        match self.retry_at.get() {
            Some(retry_at) => log_bytes >= retry_at,
            None => log_bytes + self.state.get().replayed_log_bytes >= due_at(),
        }
    }

    pub(crate) fn begun_at(&self, log_bytes: u64) {
        self.log_bytes_at_last.set(log_bytes);
        self.retry_at.set(None);
    }

    /// Until a checkpoint succeeds the log takes up room, which may be what this one lacked.
    fn failed_at(&self, log_bytes: u64) {
        self.retry_at.set(Some(log_bytes + self.log_bytes_min / RETRY_PART));
    }

    /// Claims the right to make a checkpoint; `false` while another is being made.
    pub(crate) fn begin(&self) -> bool {
        !self.running.replace(true)
    }

    pub(crate) fn take_rotation_request(&self) -> bool {
        self.rotation_wanted.replace(false)
    }

    /// The log begins a new segment with this number and first frame.
    pub(crate) fn rotated(&self, rotated: Result<(u64, u64), FileError>) {
        self.rotated.replace(Some(rotated.map_err(CheckpointError::from)));
        self.changed.wake_all();
    }

    pub(crate) fn wants_chunk_sync(&self) -> bool {
        self.chunk_sync_wanted.get()
    }

    pub(crate) fn chunks_synced(&self, synced: Result<(), FileError>) {
        self.chunk_sync_wanted.set(false);
        self.chunks_synced.replace(Some(synced.map_err(CheckpointError::from)));
        self.changed.wake_all();
    }

    /// A checkpoint does not wait for a disk that refuses chunks.
    pub(crate) fn chunk_write_failed(&self, error: &FileError) {
        if self.chunk_sync_wanted.replace(false) {
            self.chunks_synced.replace(Some(Err(CheckpointError(error.to_string()))));
            self.changed.wake_all();
        }
    }
}

impl<R: Runtime> Core<R> {
    /// Makes a checkpoint on demand.
    pub(crate) async fn checkpoint_now(self: Rc<Self>) -> Result<(), Refusal> {
        self.claim_checkpoint().await;
        self.checkpoint().await;
        Ok(())
    }

    /// Waits until no checkpoint is being made, and keeps others from beginning one.
    pub(crate) async fn claim_checkpoint(&self) {
        self.checkpointing.changed.until(|| self.checkpointing.begin().then_some(())).await;
    }

    /// Makes a checkpoint that [`Checkpointing::begin`] has allowed. A failure is logged and counted; the log then simply stays.
    pub(crate) async fn checkpoint(self: Rc<Self>) {
        let number = self.checkpointing.state.get().next_number;
        match self.write_checkpoint(number).await {
            Ok(state) => {
                self.checkpointing.state.set(state);
                let mut counters = self.counters.borrow_mut();
                counters.checkpoints += 1;
                counters.checkpoint_device_bytes += state.last_bytes;
            }
            Err(error) => {
                tracing::warn!(shard = self.number, %error, "a checkpoint failed; the log stays until one succeeds");
                self.counters.borrow_mut().checkpoint_failures += 1;
                self.checkpointing.failed_at(self.counters.borrow().log_device_bytes);
                // The number is not used again, so that nothing half-written is taken for something else.
                let state = self.checkpointing.state.get();
                self.checkpointing.state.set(CheckpointState { next_number: number + 1, ..state });
                self.remove_draft(number).await;
            }
        }
        self.checkpointing.running.set(false);
        self.checkpointing.changed.wake_all();
    }

    async fn write_checkpoint(&self, number: u64) -> Result<CheckpointState, CheckpointError> {
        let generation = self.head.borrow().generation();
        if generation != self.checkpointing.state.get().generation {
            // The log behind the checkpoint must not hold frames of the generation before.
            let durable = self.commits.committed(self.number).await;
            durable.map_err(|refusal| CheckpointError(refusal.to_string()))?;
        }
        let file = Numbered { generation, number };
        let (first_segment, first_frame) = self.rotate_log().await?;
        let definitions = self.head.borrow().definitions_mark();
        let series_log_bytes = self.write_series_log(file, definitions).await?;
        let mut draft = self.create(self.folders.checkpoint_draft(file), FileKind::Checkpoint, number).await?;
        // Before the images, which take long: the fewer come meanwhile, the fewer of the oldest may be read from the log again.
        self.write_exemplars(&mut draft).await?;
        self.write_out_of_order(&mut draft).await?;
        self.write_images(&mut draft, SeriesRef(definitions.next_series)).await?;
        self.sync_chunks().await?;
        // Images may show writes that the log does not hold yet; after a crash a part of one would be seen.
        let durable = self.commits.committed(self.number).await;
        durable.map_err(|refusal| CheckpointError(refusal.to_string()))?;
        let end = {
            let head = self.head.borrow();
            CheckpointEnd {
                first_segment,
                first_frame,
                definitions,
                min_time: head.min_time(),
                max_time: head.max_time(),
                floor: head.floor(),
            }
        };
        let mut payload = Vec::new();
        self.head.borrow().put_end(&end, &mut payload);
        draft.push(&payload).await?;
        draft.sync().await?;
        let last_bytes = series_log_bytes + draft.bytes();
        drop(draft);
        self.publish(file).await?;
        self.remove_replaced(file, first_segment).await;
        Ok(CheckpointState { next_number: number + 1, generation, definitions, last_bytes, replayed_log_bytes: 0 })
    }

    async fn rotate_log(&self) -> Result<(u64, u64), CheckpointError> {
        let state = &self.checkpointing;
        state.rotated.replace(None);
        state.rotation_wanted.set(true);
        self.commits.nudge();
        state.changed.until(|| state.rotated.take()).await
    }

    /// Writes the definitions that are in no series log yet.
    async fn write_series_log(&self, file: Numbered, end: DefinitionsMark) -> Result<u64, CheckpointError> {
        let state = self.checkpointing.state.get();
        let begun = state.generation == file.generation;
        let mut mark = if begun { state.definitions } else { DefinitionsMark::default() };
        // A damaged series log has had more than the head got of it: what it lost is not there to be written, and what comes next has
        // numbers from the head's end on.
        mark.next_pair = mark.next_pair.min(end.next_pair);
        mark.next_series = mark.next_series.min(end.next_series);
        if mark == end {
            return Ok(0);
        }
        let mut file = self.create(self.folders.series_log(file), FileKind::SeriesLog, file.number).await?;
        let mut payload = Vec::new();
        while mark != end {
            payload.clear();
            mark = self.head.borrow().put_definitions(mark, end, &mut payload);
            file.push(&payload).await?;
            self.runtime.yield_now().await;
        }
        file.sync().await?;
        Ok(file.bytes())
    }

    async fn write_images(&self, draft: &mut FrameFile<R>, end: SeriesRef) -> Result<(), CheckpointError> {
        let (mut next, mut payload) = (SeriesRef(0), Vec::new());
        while next < end {
            payload.clear();
            next = self.head.borrow().put_slice(next, end, &mut payload);
            draft.push(&payload).await?;
            self.runtime.yield_now().await;
        }
        Ok(())
    }

    async fn write_exemplars(&self, draft: &mut FrameFile<R>) -> Result<(), CheckpointError> {
        let end = self.head.borrow().next_exemplar();
        let (mut next, mut payload) = (self.head.borrow().first_exemplar(), Vec::new());
        while next < end {
            payload.clear();
            next = self.head.borrow().put_exemplar_slice(next, end, &mut payload);
            draft.push(&payload).await?;
            self.runtime.yield_now().await;
        }
        Ok(())
    }

    async fn write_out_of_order(&self, draft: &mut FrameFile<R>) -> Result<(), CheckpointError> {
        let (mut next, mut payload) = (self.head.borrow().first_out_of_order(), Vec::new());
        while let Some(mark) = next {
            payload.clear();
            next = self.head.borrow().put_out_of_order_slice(mark, &mut payload);
            draft.push(&payload).await?;
            self.runtime.yield_now().await;
        }
        Ok(())
    }

    /// Waits until every chunk that is sealed now is durable.
    async fn sync_chunks(&self) -> Result<(), CheckpointError> {
        let state = &self.checkpointing;
        self.head.borrow_mut().extent().finish_extent();
        state.chunks_synced.replace(None);
        state.chunk_sync_wanted.set(true);
        self.chunks_ready.raise();
        state.changed.until(|| state.chunks_synced.take()).await
    }

    async fn create(
        &self,
        path: std::path::PathBuf,
        kind: FileKind,
        number: u64,
    ) -> Result<FrameFile<R>, CheckpointError> {
        let header = FileHeader { kind, shard: self.number as u16, number, first_frame: 0 };
        Ok(FrameFile::create(&self.runtime, path, header).await?)
    }

    /// Gives a draft its name. The series log's own name has to be durable before, or a crash could keep the one without the
    /// other.
    async fn publish(&self, file: Numbered) -> Result<(), CheckpointError> {
        let (disk, root) = (self.runtime.disk(), &self.folders.root);
        disk.sync_directory(root).await.map_err(FileError::new("sync", root))?;
        let (draft, path) = (self.folders.checkpoint_draft(file), self.folders.checkpoint(file));
        disk.rename(&draft, &path).await.map_err(FileError::new("rename", &draft))?;
        disk.sync_directory(root).await.map_err(FileError::new("sync", root))?;
        Ok(())
    }

    /// What can't be removed is superfluous but harmless: the next checkpoint tries again.
    async fn remove_replaced(&self, by: Numbered, first_segment: u64) {
        let disk = self.runtime.disk();
        let names = disk.list(&self.folders.root).await.unwrap_or_default();
        let checkpoints = numbered(&names, "checkpoint-").into_iter().filter(|file| file.number < by.number);
        let mut replaced: Vec<_> = checkpoints.map(|file| self.folders.checkpoint(file)).collect();
        let series_logs = numbered(&names, "series-").into_iter().filter(|file| file.generation != by.generation);
        replaced.extend(series_logs.map(|file| self.folders.series_log(file)));
        for (number, path) in log_segments(&self.runtime, &self.folders).await.unwrap_or_default() {
            let spares = self.spares.iter().find(|spares| path.starts_with(spares.folder()));
            let is_recycled = match spares {
                Some(spares) if number < first_segment => spares.recycle(path.clone()).await,
                _ => false,
            };
            if number < first_segment && !is_recycled {
                replaced.push(path);
            }
        }
        for path in replaced {
            if let Err(error) = disk.remove(&path).await {
                tracing::warn!(shard = self.number, path = %path.display(), %error, "a superfluous file stays");
            }
        }
    }

    async fn remove_draft(&self, number: u64) {
        let path = self.folders.checkpoint_draft(Numbered { generation: self.head.borrow().generation(), number });
        if let Err(error) = self.runtime.disk().remove(&path).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(shard = self.number, path = %path.display(), %error, "the draft of a failed checkpoint stays");
        }
    }
}
