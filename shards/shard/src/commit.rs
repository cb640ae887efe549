//! Group commit: one durable write for all that came in since the last one, then the answers.
//!
//! A commit begins when the log is idle. If another one has just been made, it waits until there is enough to write or a
//! millisecond has passed: under load there is always more to put into it. A frame that can't be written is never dropped, as the
//! head shows its samples already: its waiters are told at once, writes are refused, and the frame is tried again until it is
//! durable. Only a disk that is full is hoped for; any other failure, twice, fences the shard.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use runtime::Runtime;

use crate::{
    frames::FileError,
    handle::Refusal,
    limits::{COMMIT_BYTES_MIN, COMMIT_INTERVAL, DISK_RETRY},
    log::Log,
    shard::{Core, WaitingAck},
    signal::{Signal, Waiters},
    stats::COMMIT_BUCKETS,
};

/// State of the log as writers see it.
#[derive(Debug, Default)]
enum Trouble {
    #[default]
    None,
    /// The disk is full; goes away by itself.
    Stalled(String),
    /// For good.
    Fenced(String),
}

/// Which batches are durable, and who waits for them.
#[derive(Default)]
pub(crate) struct Commits {
    /// Number of the batch that is being filled.
    open: Cell<u64>,
    /// All batches below this number are durable.
    durable: Cell<u64>,
    open_bytes: Cell<usize>,
    trouble: RefCell<Trouble>,
    work: Signal,
    enough: Signal,
    waiting_for_more: Cell<bool>,
    waiters: Waiters,
    acks: RefCell<Vec<WaitingAck>>,
}

impl Commits {
    /// The open batch got something to write, or to answer.
    pub(crate) fn open_batch_grew(&self, bytes: usize) {
        self.open_bytes.set(bytes);
        self.work.raise();
        if self.waiting_for_more.get() && bytes >= COMMIT_BYTES_MIN {
            self.enough.raise();
        }
    }

    pub(crate) fn answer_when_durable(&self, ack: WaitingAck) {
        self.acks.borrow_mut().push(ack);
    }

    /// Waits until everything appended so far is durable.
    pub(crate) async fn committed(&self, shard: usize) -> Result<(), Refusal> {
        // Nothing in the open batch: what was appended is in the one before it.
        let needed = if self.open_bytes.get() == 0 { self.open.get() } else { self.open.get() + 1 };
        self.waiters
            .until(|| {
                if self.durable.get() >= needed {
                    return Some(Ok(()));
                }
                self.check(shard).err().map(Err)
            })
            .await
    }

    /// Refuses while what is appended could not be made durable.
    pub(crate) fn check(&self, shard: usize) -> Result<(), Refusal> {
        match &*self.trouble.borrow() {
            Trouble::None => Ok(()),
            Trouble::Stalled(reason) => Err(Refusal::LogStalled { shard, reason: reason.clone() }),
            Trouble::Fenced(reason) => Err(Refusal::Fenced { shard, reason: reason.clone() }),
        }
    }

    /// Whether the log is stalled, and whether the shard is fenced.
    pub(crate) fn trouble(&self) -> (bool, bool) {
        let trouble = self.trouble.borrow();
        (matches!(*trouble, Trouble::Stalled(_)), matches!(*trouble, Trouble::Fenced(_)))
    }

    /// Wakes the commit task for something else than a batch.
    pub(crate) fn nudge(&self) {
        self.work.raise();
    }

    fn set_trouble(&self, trouble: Trouble) {
        self.trouble.replace(trouble);
        self.waiters.wake_all();
    }

    fn answer(&self, acks: Vec<WaitingAck>, refusal: Option<&Refusal>) {
        for WaitingAck { outcome, reply } in acks {
            drop(reply.send(refusal.map_or(Ok(outcome), |refusal| Err(refusal.clone()))));
        }
    }
}

/// The commit task of a shard.
pub(crate) async fn run<R: Runtime>(core: Rc<Core<R>>, mut log: Log<R>) {
    let mut payload = Vec::new();
    let mut last_start = None;
    loop {
        core.commits.work.wait().await;
        if core.checkpointing.take_rotation_request() {
            rotate(&core, &mut log).await;
        }
        if core.commits.trouble().1 {
            // Fenced: the frame that was lost must never be followed by one that is not.
            continue;
        }
        wait_for_more(&core, last_start).await;
        last_start = Some(core.runtime.monotonic());
        commit(&core, &mut log, &mut payload).await;
        request_checkpoint(&core, &log);
    }
}

/// Lets requests that are ready join, and under load waits a little for those that will be.
async fn wait_for_more<R: Runtime>(core: &Core<R>, last_start: Option<Duration>) {
    let commits = &core.commits;
    let since = last_start.map_or(COMMIT_INTERVAL, |start| core.runtime.monotonic() - start);
    if since >= COMMIT_INTERVAL || commits.open_bytes.get() >= COMMIT_BYTES_MIN {
        return core.runtime.yield_now().await;
    }
    commits.enough.lower();
    commits.waiting_for_more.set(true);
    either(core.runtime.sleep(COMMIT_INTERVAL - since), commits.enough.wait()).await;
    commits.waiting_for_more.set(false);
}

async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    std::future::poll_fn(|context| {
        if a.as_mut().poll(context).is_ready() || b.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}

async fn commit<R: Runtime>(core: &Rc<Core<R>>, log: &mut Log<R>, payload: &mut Vec<u8>) {
    let commits = &core.commits;
    payload.clear();
    core.batch.borrow_mut().encode(payload);
    let acks = commits.acks.take();
    let number = commits.open.get();
    commits.open.set(number + 1);
    commits.open_bytes.set(0);
    if payload.is_empty() {
        // Nothing new was stored, and what is repeated was durable before this commit began.
        commits.answer(acks, None);
    } else if !make_durable(core, log, payload, acks).await {
        return;
    }
    commits.durable.set(number + 1);
    commits.waiters.wake_all();
}

/// Writes a frame until it is durable, then answers. `false`: the shard is fenced and the frame is not durable.
async fn make_durable<R: Runtime>(
    core: &Rc<Core<R>>,
    log: &mut Log<R>,
    payload: &[u8],
    mut acks: Vec<WaitingAck>,
) -> bool {
    let commits = &core.commits;
    loop {
        let start = core.runtime.monotonic();
        let written = log.write(payload).await;
        count_commit(core, log, core.runtime.monotonic() - start);
        match written {
            Ok(()) => {
                if !matches!(*commits.trouble.borrow(), Trouble::None) {
                    tracing::info!(shard = core.number, "the log can be written again");
                }
                commits.trouble.replace(Trouble::None);
                commits.answer(acks, None);
                return true;
            }
            Err(error) => {
                let is_full = error.is_disk_full();
                report(core, &error);
                let reason = error.to_string();
                commits.set_trouble(if is_full { Trouble::Stalled(reason) } else { Trouble::Fenced(reason) });
                let refusal = commits.check(core.number).expect_err("set above");
                acks.append(&mut commits.acks.borrow_mut());
                commits.answer(std::mem::take(&mut acks), Some(&refusal));
                if !is_full {
                    return false;
                }
                core.runtime.sleep(DISK_RETRY).await;
            }
        }
    }
}

fn report<R: Runtime>(core: &Core<R>, error: &FileError) {
    let stalled_already = core.commits.trouble().0;
    match (error.is_disk_full(), stalled_already) {
        (true, true) => {}
        (true, false) => tracing::error!(
            shard = core.number, %error,
            "the disk is full: writes are refused with 503 until there is room; nothing acknowledged is lost"
        ),
        (false, _) => tracing::error!(
            shard = core.number, %error,
            "the log can't be written, not to a fresh segment either: the shard is fenced and serves reads only; \
             check the disk and restart"
        ),
    }
}

async fn rotate<R: Runtime>(core: &Rc<Core<R>>, log: &mut Log<R>) {
    // What is in the open batch now may be in a slice of the checkpoint and in the new segment: a replay skips it.
    let rotated = log.rotate().await.map(|segment| (segment, log.next_frame()));
    core.checkpointing.rotated(rotated);
}

fn count_commit<R: Runtime>(core: &Core<R>, log: &Log<R>, took: Duration) {
    let mut counters = core.counters.borrow_mut();
    counters.commits += 1;
    counters.commit_seconds_sum += took.as_secs_f64();
    let slot = COMMIT_BUCKETS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(COMMIT_BUCKETS.len());
    counters.commit_seconds_buckets[slot..].iter_mut().for_each(|count| *count += 1);
    counters.log_payload_bytes = log.bytes.payload;
    counters.log_padding_bytes = log.bytes.padding;
    counters.log_device_bytes = log.bytes.device;
    counters.log_segment = log.segment_number();
    counters.log_write_failures = log.write_failures;
    counters.log_on_second = log.is_on_second();
}

/// Begins a checkpoint once a replay would have to read too much.
fn request_checkpoint<R: Runtime>(core: &Rc<Core<R>>, log: &Log<R>) {
    if core.checkpointing.is_due(log.bytes.device) && core.checkpointing.begin() {
        core.checkpointing.begun_at(log.bytes.device);
        let core = core.clone();
        core.runtime.clone().spawn(async move { core.checkpoint().await });
    }
}
