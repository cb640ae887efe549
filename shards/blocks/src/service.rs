//! The thread that changes the set of blocks: one job at a time, the most urgent first.
//!
//! What is replaced or over its retention goes first, as that makes room; then windows are cut that are due, then blocks compacted. A job
//! that fails leaves everything as it was and is tried again later, but for a compaction that came upon damage: its blocks are
//! left alone until a restart, and still answer as far as they can.

use std::{
    collections::HashSet,
    future::{Future, poll_fn},
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_channel::oneshot;
use model::IdentityKey;
use runtime::{
    DurableWay, RunningThread, Runtime, ThreadConfig,
    mailbox::{self, Receiver, Sender},
    portable,
};
use shard::Handle;
use tsdb::select::TimeRange;

use crate::{
    block::Block,
    compact::Compactor,
    cut::{self, Cutter},
    error::{BlocksError, Damage},
    folder,
    plan::{self, Retention},
    set::{self, Blocks},
    ulid::{Ulid, UlidMaker},
};

/// Between two looks whether something is due, unless told otherwise.
pub const LOOK: Duration = Duration::from_secs(1);
/// Looks that are left out after a job failed.
const RETRY_LOOKS: u32 = 10;
/// Lost chunks that are kept by name.
const LOST_NAMED_MAX: usize = 100;
/// Requests that may wait for the job under way.
const REQUESTS_MAX: usize = 16;

/// What the service is started with.
pub struct Config {
    pub data: PathBuf,
    pub key: IdentityKey,
    pub retention: Retention,
    /// Between two looks whether something is due.
    pub look: Duration,
}

/// Access to the service, from any thread.
#[derive(Clone)]
pub struct Service {
    pub blocks: Blocks,
    state: Arc<State>,
    requests: Sender<Request>,
}

/// What the service tells of itself. Counters start with the process.
#[derive(Default)]
struct State {
    stopping: AtomicBool,
    retention: Retention,
    job: Mutex<Option<Job>>,
    /// Blocks that do not count any more and are to be removed. Nothing is compacted while there are any: what makes the start tell
    /// them from others is that the block that replaces them is there.
    doomed: Mutex<Vec<Ulid>>,
    /// The first chunks that blocks go without, as they could not be read.
    lost: Mutex<Vec<Damage>>,
    counters: Counters,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub cuts: AtomicU64,
    pub cuts_failed: AtomicU64,
    pub compactions: AtomicU64,
    pub compactions_failed: AtomicU64,
    pub blocks_expired: AtomicU64,
    pub bytes_written: AtomicU64,
    /// Chunks that blocks go without, as they could not be read when the window was cut.
    pub chunks_lost: AtomicU64,
    /// Blocks that could not be opened at start.
    pub blocks_damaged: AtomicU64,
}

/// A job under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub kind: JobKind,
    pub times: TimeRange,
    pub series_done: usize,
    pub series: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    Cut,
    Compaction,
}

impl JobKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Compaction => "compaction",
        }
    }
}

enum Request {
    Stop,
}

/// The receiving end, for [`run`].
pub struct Inbox(Receiver<Request>);

impl Service {
    /// A service that [`run`] will serve.
    pub fn new(retention: Retention) -> (Self, Inbox) {
        let (requests, inbox) = mailbox::channel(REQUESTS_MAX);
        let state = Arc::new(State { retention, ..State::default() });
        (Self { blocks: Blocks::default(), state, requests }, Inbox(inbox))
    }

    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    pub fn job(&self) -> Option<Job> {
        lock(&self.state.job).clone()
    }

    /// Chunks that were found damaged when their window was cut, the first hundred of this process.
    pub fn lost_chunks(&self) -> Vec<Damage> {
        lock(&self.state.lost).clone()
    }

    pub fn retention(&self) -> Retention {
        self.state.retention
    }

    /// Ends the job under way at its next step, and the service.
    pub fn stop(&self) {
        self.state.stopping.store(true, Ordering::Relaxed);
        // A mailbox that is full or closed has the same effect.
        drop(self.requests.try_send(Request::Stop));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the blocks of a data directory and shows them to readers. Returns those that can't be opened, which stay where they are.
///
/// # Errors
/// If the directory can't be listed. A block that can't be opened is logged and left alone.
pub async fn open<R: Runtime>(
    runtime: &R,
    data: &Path,
    service: &Service,
) -> Result<Vec<(PathBuf, BlocksError)>, BlocksError> {
    let found = set::open(runtime, data).await?;
    service.counters().blocks_damaged.store(found.damaged.len() as u64, Ordering::Relaxed);
    *lock(&service.state.doomed) = found.doomed;
    service.blocks.publish(found.set);
    Ok(found.damaged)
}

/// The service's thread.
pub struct Running {
    service: Service,
    opened: Option<oneshot::Receiver<Result<(), BlocksError>>>,
    thread: RunningThread<()>,
}

/// Gives way to everything else on the machine.
const NICE: u8 = 19;

/// Starts the service on a thread of its own. Requests to the shards are let in when the blocks are open.
///
/// # Errors
/// If the thread can't be started.
pub fn start(config: Config, handle: Handle) -> io::Result<Running> {
    let (service, inbox) = Service::new(config.retention);
    let (opened, when_opened) = oneshot::channel();
    let thread_config =
        ThreadConfig { name: "blocks".to_owned(), cpu: None, durable: DurableWay::WriteThenFlush, nice: NICE };
    let of_thread = service.clone();
    let thread = portable::run(thread_config, move |runtime| async move {
        let result = open(&runtime, &config.data, &of_thread).await.map(drop);
        let is_open = result.is_ok();
        if is_open {
            handle.shared().admit(of_thread.blocks.current().cut_before);
        }
        // Nobody waits any more if the start was given up.
        drop(opened.send(result));
        if is_open {
            run(runtime, config, handle, of_thread, inbox).await;
        }
    })?;
    Ok(Running { service, opened: Some(when_opened), thread })
}

impl Running {
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Waits until the blocks are open.
    pub async fn opened(&mut self) -> Result<(), BlocksError> {
        match self.opened.take() {
            Some(opened) => opened.await.unwrap_or(Err(BlocksError::Stopping)),
            None => Ok(()),
        }
    }

    /// Ends the job under way at its next step, and the thread.
    pub fn stop(self) {
        self.service.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the blocks panicked");
        }
    }
}

/// Serves until it is told to stop. The blocks have been opened.
pub async fn run<R: Runtime>(runtime: R, config: Config, handle: Handle, service: Service, inbox: Inbox) {
    let ulids = UlidMaker::new(config.key);
    let Config { data, look, .. } = config;
    let worker = Worker { runtime, data, look, handle, service, ulids, failed: HashSet::new(), attempt: None };
    worker.run(inbox.0).await;
}

struct Worker<R: Runtime> {
    runtime: R,
    data: PathBuf,
    look: Duration,
    handle: Handle,
    service: Service,
    ulids: UlidMaker,
    /// Blocks that a compaction could not read.
    failed: HashSet<Ulid>,
    /// The block of the last cut or compaction, which has the same name when it is tried again.
    attempt: Option<(Attempt, Ulid)>,
}

/// What a block is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attempt {
    Window(TimeRange),
    Blocks(Vec<Ulid>),
}

/// What a step has come to.
enum Step {
    Worked,
    NothingDue,
    Failed(BlocksError),
}

impl<R: Runtime> Worker<R> {
    async fn run(mut self, mut inbox: Receiver<Request>) {
        let mut told = None;
        while !self.is_stopping() {
            let wait = match self.step().await {
                Step::Worked => {
                    told = None;
                    continue;
                }
                Step::NothingDue => self.look,
                Step::Failed(BlocksError::Stopping) => break,
                Step::Failed(error) => {
                    // The same failure again and again is worth one line.
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "a job on blocks failed and will be tried again; nothing is lost");
                        told = Some(text);
                    }
                    self.look * RETRY_LOOKS
                }
            };
            let mut requests = Vec::new();
            let received = inbox.receive_all(&mut requests);
            if !either(self.runtime.sleep(wait), received).await {
                break;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.service.state.stopping.load(Ordering::Relaxed)
    }

    async fn step(&mut self) -> Step {
        if !self.handle.shared().all_ready() {
            return Step::NothingDue;
        }
        let steps = async {
            Ok(self.remove_doomed().await?
                || self.expire()
                || self.forget_cut_windows().await?
                || self.cut().await?
                || self.compact().await?)
        };
        let stepped = steps.await;
        *lock(&self.service.state.job) = None;
        match stepped {
            Ok(true) => Step::Worked,
            Ok(false) => Step::NothingDue,
            Err(error) => Step::Failed(error),
        }
    }

    /// A crash may come between a block and the shards' forgetting what is in it.
    async fn forget_cut_windows(&self) -> Result<bool, BlocksError> {
        let Some(cut_before) = self.service.blocks.current().cut_before else { return Ok(false) };
        if self.handle.shared().truncated_before() >= cut_before {
            return Ok(false);
        }
        self.handle.truncate(cut_before).await?;
        Ok(true)
    }

    async fn remove_doomed(&self) -> Result<bool, BlocksError> {
        let Some(ulid) = lock(&self.service.state.doomed).first().copied() else { return Ok(false) };
        folder::remove_block(&self.runtime, &self.data, ulid).await?;
        lock(&self.service.state.doomed).retain(|other| *other != ulid);
        Ok(true)
    }

    /// Takes blocks out of the set in favour of others; their removal is the next step.
    fn replace(&self, gone: &[Arc<Block>], new: impl IntoIterator<Item = Block>) {
        self.service.blocks.replace(gone, new);
        lock(&self.service.state.doomed).extend(gone.iter().map(|block| block.ulid));
    }

    fn expire(&self) -> bool {
        let set = self.service.blocks.current();
        let expired = self.service.retention().expired(&set.blocks, self.runtime.wall_clock_ms());
        for block in &expired {
            tracing::info!(block = %block.ulid, max_time = block.meta.max_time, "a block is beyond the retention and goes");
            count(&self.service.counters().blocks_expired);
        }
        if expired.is_empty() {
            return false;
        }
        self.replace(&expired, []);
        true
    }

    async fn cut(&mut self) -> Result<bool, BlocksError> {
        let shared = self.handle.shared().clone();
        let Some(window) = cut::due(shared.head_min_time(), shared.head_max_time()) else { return Ok(false) };
        let ulid = self.ulid_of(Attempt::Window(window));
        let progress = self.progress(JobKind::Cut, window);
        let start = self.runtime.monotonic();
        let handle = self.handle.clone();
        let service = self.service.clone();
        let lost = move |damage: &Damage| {
            count(&service.counters().chunks_lost);
            let mut lost = lock(&service.state.lost);
            if lost.len() < LOST_NAMED_MAX {
                lost.push(damage.clone());
            }
        };
        let (runtime, data) = (&self.runtime, self.data.clone());
        let cutter = Cutter { runtime, data, handle, window, ulid, progress: &progress, lost: &lost };
        let cut = cutter.run().await.inspect_err(|_| count(&self.service.counters().cuts_failed))?;
        let milliseconds = (self.runtime.monotonic() - start).as_millis();
        if let Some(block) = cut {
            let stats = &block.meta.stats;
            tracing::info!(
                block = %ulid, series = stats.num_series, samples = stats.num_samples, bytes = block.bytes, milliseconds,
                "a window of the head is cut into a block"
            );
            self.made(&block);
            count(&self.service.counters().cuts);
            self.replace(&[], [block]);
        }
        self.handle.truncate(window.max_time + 1).await?;
        Ok(true)
    }

    async fn compact(&mut self) -> Result<bool, BlocksError> {
        let set = self.service.blocks.current();
        let ranges = plan::ranges(self.service.retention().time_ms);
        let blocks = plan::next(&set.blocks, &ranges, &self.failed);
        let (Some(first), Some(last)) = (blocks.first(), blocks.iter().map(|block| block.meta.max_time).max()) else {
            return Ok(false);
        };
        let times = TimeRange { min_time: first.meta.min_time, max_time: last - 1 };
        let ulid = self.ulid_of(Attempt::Blocks(blocks.iter().map(|block| block.ulid).collect()));
        let progress = self.progress(JobKind::Compaction, times);
        let start = self.runtime.monotonic();
        let compactor =
            Compactor { runtime: &self.runtime, data: &self.data, blocks: &blocks, ulid, progress: &progress };
        let compacted = match compactor.run().await {
            Ok(block) => block,
            Err(error) => return self.compaction_failed(&blocks, error),
        };
        if let Some(block) = &compacted {
            let milliseconds = (self.runtime.monotonic() - start).as_millis();
            let (level, bytes) = (block.meta.compaction.level, block.bytes);
            tracing::info!(block = %ulid, of = blocks.len(), level, bytes, milliseconds, "blocks are compacted into one");
            self.made(block);
        }
        self.replace(&blocks, compacted);
        count(&self.service.counters().compactions);
        Ok(true)
    }

    fn compaction_failed(&mut self, blocks: &[Arc<Block>], error: BlocksError) -> Result<bool, BlocksError> {
        let BlocksError::Damage(damage) = &error else { return Err(error) };
        count(&self.service.counters().compactions_failed);
        let damaged = blocks.iter().filter(|block| damage.path.starts_with(block.folder()));
        let mut left_alone: Vec<Ulid> = damaged.map(|block| block.ulid).collect();
        if left_alone.is_empty() {
            left_alone = blocks.iter().map(|block| block.ulid).collect();
        }
        tracing::error!(%damage, "a block can't be compacted and is left alone; what is sound in it still answers");
        self.failed.extend(left_alone);
        Ok(true)
    }

    fn made(&self, block: &Block) {
        self.service.counters().bytes_written.fetch_add(block.bytes, Ordering::Relaxed);
    }

    /// The name of what is attempted: a block that got it before something else failed must not be made twice.
    fn ulid_of(&mut self, attempt: Attempt) -> Ulid {
        match &self.attempt {
            Some((last, ulid)) if *last == attempt => *ulid,
            _ => {
                let ulid = self.ulids.make(self.runtime.wall_clock_ms(), self.runtime.monotonic().as_nanos());
                self.attempt = Some((attempt, ulid));
                ulid
            }
        }
    }

    fn progress(&self, kind: JobKind, times: TimeRange) -> impl Fn(usize, usize) -> bool + use<R> {
        let state = self.service.state.clone();
        *lock(&state.job) = Some(Job { kind, times, series_done: 0, series: 0 });
        move |series_done, series| {
            *lock(&state.job) = Some(Job { kind, times, series_done, series });
            !state.stopping.load(Ordering::Relaxed)
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Waits for the first; `false` if the mailbox is closed.
async fn either<E>(sleep: impl Future<Output = ()>, received: impl Future<Output = Result<(), E>>) -> bool {
    let (mut sleep, mut received) = (pin!(sleep), pin!(received));
    poll_fn(|context| {
        if let Poll::Ready(received) = received.as_mut().poll(context) {
            return Poll::Ready(received.is_ok());
        }
        sleep.as_mut().poll(context).map(|()| true)
    })
    .await
}
