//! One core's slice: the tasks of a shard and the state that they share.
//!
//! Tasks of one thread, so no lock: the mailbox, the commits, the chunk writer, the checkpoints, and one for each selection. The
//! head is borrowed for one synchronous step at a time, never across a wait.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_channel::oneshot;
use model::WriteBatch;
use runtime::Runtime;
use tsdb::{
    AppendOutcome, ExemplarRejection, Head, Limits, Members, ShardPart,
    exemplars::{SelectedExemplars, SelectingExemplars},
    out_of_order::SelectingOutOfOrder,
    select::{Progress, Selecting, Selection},
    wal::LogBatch,
};

use crate::{
    checkpoint::Checkpointing,
    chunk_writer::ChunkWriter,
    commit::Commits,
    frames::Damage,
    growth::Growth,
    handle::{Mailbox, Refusal, Request},
    limits::{
        CHECKPOINT_LOG_BYTES_MIN, DISK_RETRY, LOG_SEGMENT_BYTES, OUT_OF_ORDER_SAMPLES_MAX, UNCOMMITTED_BYTES_MAX,
        UNWRITTEN_CHUNK_BYTES_MAX,
    },
    log::Log,
    names::ShardFolders,
    pins::Pins,
    recovery::{OpenError, Recovered, recover},
    shared::{Quota, Shared},
    signal::Signal,
    spare::Spares,
    stats::ShardStats,
    turns::Turns,
};

/// A shard that has recovered. Clones are the same shard; they stay on its thread.
pub struct Shard<R: Runtime> {
    pub(crate) core: Rc<Core<R>>,
}

impl<R: Runtime> Clone for Shard<R> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone() }
    }
}

/// Sizes that decide when a shard does its housekeeping.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub log_segment_bytes: u64,
    /// Log after which a checkpoint begins, at least.
    pub checkpoint_log_bytes_min: u64,
    pub limits: Limits,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            log_segment_bytes: LOG_SEGMENT_BYTES,
            checkpoint_log_bytes_min: CHECKPOINT_LOG_BYTES_MIN,
            limits: Limits::default(),
        }
    }
}

pub(crate) struct Core<R: Runtime> {
    pub(crate) number: usize,
    pub(crate) runtime: R,
    pub(crate) folders: ShardFolders,
    pub(crate) shared: Arc<Shared>,
    pub(crate) head: RefCell<Head>,
    pub(crate) batch: RefCell<LogBatch>,
    pub(crate) commits: Commits,
    pub(crate) chunks_ready: Signal,
    pub(crate) checkpointing: Checkpointing,
    pub(crate) pins: Pins,
    /// Of tasks that read.
    pub(crate) turns: Turns,
    pub(crate) spares: Vec<Rc<Spares<R>>>,
    pub(crate) counters: RefCell<ShardStats>,
    pub(crate) growth: RefCell<Growth>,
    /// Samples out of order that the process knows of.
    pub(crate) out_of_order_told: Cell<u64>,
    busy: Cell<Duration>,
    stopping: Cell<bool>,
}

/// Appends that wait for their commit: answered by the commit task, without a task of their own.
pub(crate) struct WaitingAck {
    pub(crate) outcome: AppendOutcome,
    pub(crate) reply: oneshot::Sender<Result<AppendOutcome, Refusal>>,
}

impl<R: Runtime> Shard<R> {
    /// Recovers what is in the shard's folder, which is made if it is not there, and starts the tasks that write. The handle
    /// lets requests through from then on. Damage that was found is in the second part, and logged.
    pub async fn open(
        number: usize,
        runtime: R,
        folders: ShardFolders,
        shared: Arc<Shared>,
        config: ShardConfig,
    ) -> Result<(Self, Vec<Damage>), OpenError> {
        let mut recovered = recover(&runtime, &folders, number, &shared, config.limits.clone()).await?;
        let damage = std::mem::take(&mut recovered.damage);
        let mut spares = Vec::new();
        for folder in folders.written_logs() {
            spares.push(Spares::adopt(runtime.clone(), folder.clone(), config.log_segment_bytes).await);
        }
        let shard = Self::start(number, runtime, folders, shared, recovered, spares, config);
        shard.core.shared.set_ready(number);
        Ok((shard, damage))
    }

    fn start(
        number: usize,
        runtime: R,
        folders: ShardFolders,
        shared: Arc<Shared>,
        recovered: Recovered<R>,
        spares: Vec<Rc<Spares<R>>>,
        config: ShardConfig,
    ) -> Self {
        // The first commit should not have to wait for it.
        spares[0].prepare();
        let log = Log::new(runtime.clone(), number, spares.clone(), recovered.next_segment, recovered.next_frame);
        let core = Rc::new(Core {
            number,
            runtime: runtime.clone(),
            folders,
            shared,
            batch: RefCell::new(LogBatch::new(recovered.head.generation())),
            head: RefCell::new(recovered.head),
            commits: Commits::default(),
            chunks_ready: Signal::default(),
            pins: Pins::default(),
            turns: Turns::default(),
            checkpointing: Checkpointing::new(recovered.checkpoint, config.checkpoint_log_bytes_min),
            spares,
            counters: RefCell::new(ShardStats { recovery: recovered.stats, ..ShardStats::default() }),
            out_of_order_told: Cell::default(),
            busy: Cell::default(),
            growth: RefCell::default(),
            stopping: Cell::new(false),
        });
        core.tell_out_of_order(&core.head.borrow());
        runtime.spawn(crate::commit::run(core.clone(), log));
        runtime.spawn(run_chunk_writer(core.clone(), recovered.chunk_writer));
        core.chunks_ready.raise();
        Self { core }
    }

    /// Serves the mailbox until a shutdown is asked for, or nobody is left to ask.
    pub async fn serve(&self, mut mailbox: Mailbox) {
        let mut requests = Vec::new();
        while mailbox.0.receive_all(&mut requests).await.is_ok() {
            for request in requests.drain(..) {
                if let Request::Shutdown { reply } = request {
                    return self.stop(reply).await;
                }
                self.handle(request);
            }
            // Tasks that became ready meanwhile, the commits above all, come before the next messages.
            self.core.runtime.yield_now().await;
        }
    }

    /// Appends the members of a batch and returns when they are durable.
    pub async fn append(&self, batch: &dyn WriteBatch, members: Members<'_>) -> Result<AppendOutcome, Refusal> {
        let outcome = self.core.append(batch, members)?;
        self.core.commits.committed(self.core.number).await?;
        Ok(outcome)
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }

    pub fn number(&self) -> usize {
        self.core.number
    }

    fn handle(&self, request: Request) {
        let core = &self.core;
        match request {
            Request::Append { batch, members, reply } => core.handle_append(&*batch, members.as_deref(), reply),
            Request::Select { matchers, range, wanted, bytes_max, reply } => {
                let core = core.clone();
                let selecting = Selecting::new(&matchers, range, wanted);
                self.core.runtime.spawn(async move { answer(reply, core.select(selecting, bytes_max).await) });
            }
            Request::SelectChosen { generation, series, range, reply } => {
                let core = core.clone();
                let selecting = Selecting::chosen(generation, &series, range);
                self.core.runtime.spawn(async move { answer(reply, core.select(selecting, usize::MAX).await) });
            }
            Request::Flush { reply } => {
                let core = core.clone();
                self.core.runtime.spawn(async move { answer(reply, core.commits.committed(core.number).await) });
            }
            Request::Truncate { floor, reply } => {
                let core = core.clone();
                self.core.runtime.spawn(async move { answer(reply, core.truncate(floor).await) });
            }
            Request::Delete { matchers, range, reply } => {
                let core = core.clone();
                self.core.runtime.spawn(async move { answer(reply, core.delete(&matchers, range).await) });
            }
            Request::SelectExemplars { match_sets, range, reply } => {
                let core = core.clone();
                let selecting = SelectingExemplars::new(match_sets, range);
                self.core.runtime.spawn(async move { answer(reply, core.select_exemplars(selecting).await) });
            }
            Request::FreezeOutOfOrder { reply } => {
                core.head.borrow_mut().freeze_out_of_order();
                answer(reply, Ok(()));
            }
            Request::SelectOutOfOrder { match_sets, range, part, bytes_max, reply } => {
                let core = core.clone();
                let selecting = SelectingOutOfOrder::new(match_sets, range, part);
                self.core
                    .runtime
                    .spawn(async move { answer(reply, core.select_out_of_order(selecting, bytes_max).await) });
            }
            Request::DropOutOfOrder { reply } => {
                let core = core.clone();
                self.core.runtime.spawn(async move { answer(reply, core.drop_out_of_order().await) });
            }
            Request::Cardinality { reply } => {
                let new_from = core.growth.borrow_mut().new_from(core.runtime.monotonic());
                answer(reply, Ok(core.head.borrow().cardinality(new_from)));
            }
            Request::Stats { reply } => answer(reply, Ok(core.stats())),
            Request::Checkpoint { reply } => {
                let core = core.clone();
                self.core.runtime.spawn(async move { answer(reply, core.checkpoint_now().await) });
            }
            Request::Shutdown { reply } => drop(reply),
        }
    }

    async fn stop(&self, reply: oneshot::Sender<Result<(), Refusal>>) {
        let core = &self.core;
        core.stopping.set(true);
        let committed = core.commits.committed(core.number).await;
        answer(reply, committed);
    }
}

/// A caller that went away needs no answer.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

impl<R: Runtime> Core<R> {
    /// Appends to the head and to the open log batch. What the caller got is not durable before the batch is.
    pub(crate) fn append(&self, batch: &dyn WriteBatch, members: Members<'_>) -> Result<AppendOutcome, Refusal> {
        self.check_writable()?;
        let start = self.runtime.monotonic();
        let window = self.shared.window(self.runtime.wall_clock_ms());
        let (mut head, mut log) = (self.head.borrow_mut(), self.batch.borrow_mut());
        if !batch.exemplars().is_empty() {
            head.set_exemplars_max(self.shared.shard_exemplars_max());
        }
        let before = head.series_count();
        let part = ShardPart { shard: self.number as u16, members };
        let outcome = head.append(batch, part, window, &mut Quota::new(&self.shared, start), &mut log);
        if outcome.series_created > 0 {
            self.growth.borrow_mut().created(start, before);
        }
        self.shared.widen_times(head.min_time(), head.max_time());
        if outcome.out_of_order + outcome.histograms_out_of_order > 0 {
            self.tell_out_of_order(&head);
        }
        if head.extent().has_ready() {
            self.chunks_ready.raise();
        }
        self.commits.open_batch_grew(log.approximate_bytes());
        self.busy.set(self.busy.get() + (self.runtime.monotonic() - start));
        self.count(&outcome);
        Ok(outcome)
    }

    fn handle_append(
        &self,
        batch: &dyn WriteBatch,
        members: Option<&[u32]>,
        reply: oneshot::Sender<Result<AppendOutcome, Refusal>>,
    ) {
        match self.append(batch, members.map_or(Members::All, Members::Some)) {
            Ok(outcome) => self.commits.answer_when_durable(WaitingAck { outcome, reply }),
            Err(refusal) => answer(reply, Err(refusal)),
        }
    }

    /// Refuses before anything is stored, when what would be stored could not be made durable.
    fn check_writable(&self) -> Result<(), Refusal> {
        if self.stopping.get() {
            return Err(Refusal::Stopping);
        }
        if self.shared.is_held_back() {
            return Err(Refusal::Starting { shard: self.number });
        }
        self.commits.check(self.number)?;
        if self.head.borrow_mut().extent().waiting_bytes() > UNWRITTEN_CHUNK_BYTES_MAX {
            let reason =
                "its sealed chunks wait for the disk, which is full or fails; the log names the file".to_owned();
            return Err(Refusal::LogStalled { shard: self.number, reason });
        }
        if self.out_of_order_told.get() > OUT_OF_ORDER_SAMPLES_MAX {
            let reason = "its samples out of order can't be put into blocks; the log names the reason".to_owned();
            return Err(Refusal::LogStalled { shard: self.number, reason });
        }
        if self.batch.borrow().approximate_bytes() > UNCOMMITTED_BYTES_MAX {
            return Err(Refusal::Overloaded { shard: self.number });
        }
        Ok(())
    }

    fn count(&self, outcome: &AppendOutcome) {
        let mut counters = self.counters.borrow_mut();
        counters.batches += 1;
        counters.samples_stored += outcome.stored;
        counters.samples_repeated += outcome.repeated;
        counters.out_of_order_stored += outcome.out_of_order;
        counters.histograms_out_of_order_stored += outcome.histograms_out_of_order;
        counters.histograms_stored += outcome.histograms_stored;
        counters.histograms_repeated += outcome.histograms_repeated;
        counters.exemplars_stored += outcome.exemplars_stored;
        counters.exemplars_repeated += outcome.exemplars_repeated;
        for (count, reason) in counters.exemplars_rejected.iter_mut().zip(ExemplarRejection::ALL) {
            *count += outcome.exemplars_rejected(reason);
        }
        counters.series_created += outcome.series_created;
        if outcome.rejected_total() > 0 {
            for (count, reason) in counters.samples_rejected.iter_mut().zip(tsdb::Rejection::ALL) {
                *count += outcome.rejected(reason);
            }
        }
    }

    /// Selects, and answers when everything that the selection may show is durable.
    async fn select(&self, selecting: Selecting, bytes_max: usize) -> Result<Box<Selection>, Refusal> {
        let pin = self.pins.pin();
        let mut selection = self.select_in_slices(selecting, bytes_max).await?;
        self.everything_durable().await?;
        selection.pin = Some(pin);
        Ok(selection)
    }

    async fn select_exemplars(&self, mut selecting: SelectingExemplars) -> Result<Vec<SelectedExemplars>, Refusal> {
        self.head.borrow_mut().set_exemplars_max(self.shared.shard_exemplars_max());
        loop {
            let turn = self.turns.take().await;
            let more = selecting.advance(&self.head.borrow());
            drop(turn);
            if !more {
                break;
            }
            self.runtime.yield_now().await;
        }
        self.everything_durable().await?;
        Ok(selecting.finish())
    }

    /// Waits until what a selection may show is durable.
    pub(crate) async fn everything_durable(&self) -> Result<(), Refusal> {
        if self.commits.check(self.number).is_err() {
            return Ok(());
        }
        self.commits.committed(self.number).await.or_else(|refusal| match refusal {
            // A log that stalls stops writes; reads go on.
            Refusal::LogStalled { .. } | Refusal::Fenced { .. } => Ok(()),
            other => Err(other),
        })
    }

    /// Selects, letting other tasks run between the slices.
    pub(crate) async fn select_in_slices(
        &self,
        mut selecting: Selecting,
        bytes_max: usize,
    ) -> Result<Box<Selection>, Refusal> {
        loop {
            let turn = self.turns.take().await;
            let progress = selecting.advance(&self.head.borrow());
            drop(turn);
            match progress {
                Progress::Done(selection) => return Ok(selection),
                Progress::Renumbered => return Err(Refusal::Renumbered { shard: self.number }),
                Progress::More if selecting.heap_bytes() > bytes_max => {
                    return Err(Refusal::SelectionTooLarge { bytes_max });
                }
                Progress::More => self.runtime.yield_now().await,
            }
        }
    }

    fn stats(&self) -> ShardStats {
        let head = self.head.borrow();
        let mut stats = self.counters.borrow().clone();
        stats.series = head.series_count() as u64;
        stats.label_pairs = head.label_pair_count() as u64;
        stats.chunks = head.chunk_count() as u64;
        stats.chunks_created = head.chunks_created();
        stats.heap = head.heap_bytes();
        stats.exemplars = head.exemplar_counts();
        stats.out_of_order_samples = head.out_of_order_samples();
        stats.busy_seconds = self.busy.get().as_secs_f64();
        (stats.stalled, stats.fenced) = self.commits.trouble();
        drop(head);
        stats.stalled |= self.head.borrow_mut().extent().waiting_bytes() > UNWRITTEN_CHUNK_BYTES_MAX;
        stats
    }
}

/// Writes extents as they fill up; tries again what fails, and says so once.
async fn run_chunk_writer<R: Runtime>(core: Rc<Core<R>>, mut writer: ChunkWriter<R>) {
    let mut is_refused = false;
    loop {
        core.chunks_ready.wait().await;
        loop {
            let next = core.head.borrow_mut().extent().next_to_write();
            let Some(extent) = next else { break };
            match writer.write(&extent).await {
                Ok(()) => {
                    core.head.borrow_mut().extent().written(&extent);
                    if std::mem::take(&mut is_refused) {
                        tracing::info!(shard = core.number, "sealed chunks go to the disk again");
                    }
                }
                Err(error) => {
                    core.head.borrow_mut().extent().failed(&extent);
                    if !std::mem::replace(&mut is_refused, true) {
                        tracing::warn!(shard = core.number, %error, "sealed chunks wait for the disk");
                    }
                    core.checkpointing.chunk_write_failed(&error);
                    core.runtime.sleep(DISK_RETRY).await;
                }
            }
            core.counters.borrow_mut().chunk_device_bytes = writer.device_bytes.get();
        }
        if core.checkpointing.wants_chunk_sync() {
            let synced = writer.sync().await;
            core.checkpointing.chunks_synced(synced);
        }
    }
}
