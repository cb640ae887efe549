//! The thread that changes the set of blocks, as the rest of the process sees it: how it is started and stopped, what it can be asked
//! for, and what it tells of itself.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
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
    deletion::Deletion,
    desk::{Desk, Reply, Request},
    error::{BlocksError, Damage},
    plan::Retention,
    set::{self, Blocks},
    snapshot,
    ulid::{Ulid, UlidMaker},
    worker::Worker,
};

/// Between two looks whether something is due, unless told otherwise.
pub const LOOK: Duration = Duration::from_secs(1);
/// As many series as a shard collects in one slice.
pub const SERIES_PER_PIECE: usize = 4096;
/// Lost chunks that are kept by name.
pub(crate) const LOST_NAMED_MAX: usize = 100;
/// Requests that may wait for the job under way.
const REQUESTS_MAX: usize = 16;

/// What the service is started with.
pub struct Config {
    pub data: PathBuf,
    pub key: IdentityKey,
    pub retention: Retention,
    /// Between two looks whether something is due.
    pub look: Duration,
    /// Series after which a job looks up: whether it is to stop, and whether something is to be deleted.
    pub series_per_piece: usize,
}

/// Access to the service, from any thread.
#[derive(Clone)]
pub struct Service {
    pub blocks: Blocks,
    pub(crate) state: Arc<State>,
    requests: Sender<Request>,
}

/// What the service tells of itself. Counters start with the process.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) stopping: AtomicBool,
    /// The last look has found nothing to do.
    pub(crate) idle: AtomicBool,
    retention: Mutex<Retention>,
    pub(crate) job: Mutex<Option<Job>>,
    /// Blocks that do not count any more and are to be removed. Nothing is compacted while there are any: what makes the start tell
    /// them from others is that the block that replaces them is there.
    pub(crate) doomed: Mutex<Vec<Ulid>>,
    /// The first chunks that blocks go without, as they could not be read.
    pub(crate) lost: Mutex<Vec<Damage>>,
    counters: Counters,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub cuts: AtomicU64,
    pub cuts_failed: AtomicU64,
    pub compactions: AtomicU64,
    pub compactions_failed: AtomicU64,
    pub blocks_expired: AtomicU64,
    /// Deletions that were asked for and made.
    pub deletions: AtomicU64,
    pub bytes_written: AtomicU64,
    /// Jobs that broke off through a mistake in the program.
    pub panics: AtomicU64,
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
    OutOfOrder,
    Compaction,
    Snapshot,
}

impl JobKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::OutOfOrder => "out-of-order",
            Self::Compaction => "compaction",
            Self::Snapshot => "snapshot",
        }
    }
}

/// The receiving end, for [`run`].
pub struct Inbox(Receiver<Request>);

impl Service {
    /// A service that [`run`] will serve.
    pub fn new(retention: Retention) -> (Self, Inbox) {
        let (requests, inbox) = mailbox::channel(REQUESTS_MAX);
        let state = Arc::new(State { retention: Mutex::new(retention), ..State::default() });
        (Self { blocks: Blocks::default(), state, requests }, Inbox(inbox))
    }

    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    pub fn job(&self) -> Option<Job> {
        lock(&self.state.job).clone()
    }

    /// Whether everything was done that was due at the last look.
    pub fn is_idle(&self) -> bool {
        self.state.idle.load(Ordering::Acquire)
    }

    /// Chunks that were found damaged when their window was cut, the first hundred of this process.
    pub fn lost_chunks(&self) -> Vec<Damage> {
        lock(&self.state.lost).clone()
    }

    pub fn retention(&self) -> Retention {
        *lock(&self.state.retention)
    }

    /// From the next look on.
    pub fn set_retention(&self, retention: Retention) {
        *lock(&self.state.retention) = retention;
    }

    /// Deletes from the shards and from all blocks, durably when this returns. An error may leave it done in part.
    pub async fn delete(&self, deletion: Deletion) -> Result<(), BlocksError> {
        self.ask(|reply| Request::Delete { deletion, reply }).await
    }

    /// Makes every block anew that something was deleted of, after the job under way.
    pub async fn clean_tombstones(&self) -> Result<(), BlocksError> {
        self.ask(|reply| Request::CleanTombstones { reply }).await
    }

    /// Makes a snapshot below `snapshots/` in the data directory, after the job under way; returns its name, which begins with `time`.
    pub async fn snapshot(&self, time: String, skip_head: bool) -> Result<String, BlocksError> {
        self.ask(|reply| Request::Snapshot { time, skip_head, reply }).await
    }

    /// Puts into blocks what the shards hold, whatever its age, so that they can be taken away. They keep it, and take more: who asks for
    /// this lets nothing in.
    pub async fn move_head(&self) -> Result<(), BlocksError> {
        self.ask(|reply| Request::MoveHead { reply }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, BlocksError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| BlocksError::Stopping)?;
        answer.await.unwrap_or(Err(BlocksError::Stopping))
    }

    pub(crate) fn wrote(&self, bytes: u64) {
        self.counters().bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends the job under way at its next step, and the service.
    pub fn stop(&self) {
        self.state.stopping.store(true, Ordering::Relaxed);
        // A mailbox that is full or closed has the same effect.
        drop(self.requests.try_send(Request::Stop));
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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
    snapshot::remove_leftovers(runtime, data).await;
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
    let look = config.look;
    let desk = Desk::new(runtime, config, handle, service, inbox.0);
    Worker::new(desk, look, ulids).run().await;
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
