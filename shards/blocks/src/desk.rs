//! Requests to the service. One at a time, and after the job under way; but a deletion is served between the pieces of a job, as
//! nobody should wait for minutes until what must not be shown is not shown any more.
//!
//! The block that the job is making may hold by then what is deleted. So deletions are noted meanwhile, and become the new block's
//! tombstones before it gets its name.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    path::PathBuf,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use futures_channel::oneshot;
use runtime::{Runtime, mailbox::Receiver};
use shard::Handle;

use crate::{
    block::Block,
    deletion::Deletion,
    error::BlocksError,
    service::{Config, Service, count, lock},
    set::BlockSet,
    ulid::Ulid,
};

/// Deletions that are noted while one block is being made.
const NOTED_MAX: usize = 10_000;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, BlocksError>>;

pub(crate) enum Request {
    Delete {
        deletion: Deletion,
        reply: Reply<()>,
    },
    CleanTombstones {
        reply: Reply<()>,
    },
    Snapshot {
        time: String,
        skip_head: bool,
        reply: Reply<String>,
    },
    MoveHead {
        reply: Reply<()>,
    },
    /// Wakes the service, to see that it is stopping.
    Stop,
}

pub(crate) struct Desk<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) data: PathBuf,
    pub(crate) handle: Handle,
    pub(crate) service: Service,
    /// Series between two calls of [`Desk::pause`].
    pub(crate) series_per_piece: usize,
    inbox: RefCell<Receiver<Request>>,
    /// What waits for the job under way.
    waiting: RefCell<VecDeque<Request>>,
    /// Deletions since the job under way began.
    noted: RefCell<Vec<Deletion>>,
    /// The block that was attempted last: it may have its name already and not be in the set, if what came after that failed.
    attempted: Cell<Option<Ulid>>,
}

impl<R: Runtime> Desk<R> {
    pub(crate) fn new(runtime: R, config: Config, handle: Handle, service: Service, inbox: Receiver<Request>) -> Self {
        let Config { data, series_per_piece, .. } = config;
        let inbox = RefCell::new(inbox);
        let (waiting, noted, attempted) = Default::default();
        Self { runtime, data, handle, service, series_per_piece, inbox, waiting, noted, attempted }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.service.state.stopping.load(Ordering::Relaxed)
    }

    /// Ready when a request is there; `false` if there never will be one again.
    pub(crate) fn poll_request(&self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.waiting.borrow().is_empty() {
            return Poll::Ready(true);
        }
        let mut received = Vec::new();
        let polled = self.inbox.borrow_mut().poll_receive(&mut received, context);
        self.waiting.borrow_mut().extend(received);
        polled.map(|received| received.is_ok())
    }

    pub(crate) fn next_request(&self) -> Option<Request> {
        self.take_in();
        self.waiting.borrow_mut().pop_front()
    }

    fn take_in(&self) {
        let mut received = Vec::new();
        self.inbox.borrow_mut().try_receive_all(&mut received);
        self.waiting.borrow_mut().extend(received);
    }

    /// A job begins that makes a block of this name.
    pub(crate) fn begin(&self, ulid: Ulid) {
        self.attempted.set(Some(ulid));
        self.noted.borrow_mut().clear();
    }

    /// The job has ended, and its block is in the set.
    pub(crate) fn end(&self) {
        self.attempted.set(None);
    }

    /// Deletions that the block under way may not know of.
    pub(crate) fn noted(&self) -> Vec<Deletion> {
        self.noted.borrow().clone()
    }

    /// Between two pieces of a job: shows how far it is, serves deletions, and says whether to go on.
    pub(crate) async fn pause(&self, series_done: usize, series: usize) -> Result<(), BlocksError> {
        if let Some(job) = &mut *lock(&self.service.state.job) {
            (job.series_done, job.series) = (series_done, series);
        }
        self.take_in();
        let deletions: Vec<Request> = {
            let mut waiting = self.waiting.borrow_mut();
            let (deletions, others): (VecDeque<_>, _) =
                waiting.drain(..).partition(|request| matches!(request, Request::Delete { .. }));
            *waiting = others;
            deletions.into()
        };
        for request in deletions {
            let Request::Delete { deletion, reply } = request else { continue };
            let done = if self.noted.borrow().len() < NOTED_MAX {
                self.noted.borrow_mut().push(deletion.clone());
                self.delete(&deletion).await
            } else {
                Err(BlocksError::Busy { deletions: NOTED_MAX })
            };
            // Whoever asked may have gone away.
            drop(reply.send(done));
        }
        if self.is_stopping() { Err(BlocksError::Stopping) } else { Ok(()) }
    }

    /// Deletes from the shards and from all blocks, durably when this returns. What can't be written to or read does not keep the
    /// others from it: an error, the first one, leaves it done in part.
    pub(crate) async fn delete(&self, deletion: &Deletion) -> Result<(), BlocksError> {
        let mut result = Ok(());
        for matchers in &deletion.match_sets {
            let deleted = self.handle.delete(matchers.clone(), deletion.range).await;
            result = result.and(deleted.map(drop).map_err(BlocksError::from));
        }
        let set = self.service.blocks.current();
        for block in &set.blocks {
            let deleted = block.delete(&self.runtime, deletion).await;
            result = result.and(deleted.map(|new| {
                if let Some(new) = new {
                    self.service.blocks.replace(std::slice::from_ref(block), [new]);
                }
            }));
        }
        result = result.and(self.delete_from_attempted(deletion, &set).await);
        if result.is_ok() {
            count(&self.service.counters().deletions);
        }
        result
    }

    async fn delete_from_attempted(&self, deletion: &Deletion, set: &BlockSet) -> Result<(), BlocksError> {
        if let Some(ulid) = self.attempted.get()
            && set.blocks.iter().all(|block| block.ulid != ulid)
            && let Some(block) = Block::adopt(&self.runtime, &self.data, ulid).await?
        {
            block.delete(&self.runtime, deletion).await?;
        }
        Ok(())
    }
}
