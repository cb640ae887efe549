//! What the service's thread does: one step at a time, the most urgent first.
//!
//! Requests come first, then the removal of what is replaced or over its retention, as that makes room; then windows are cut that
//! are due, then blocks compacted. A job that fails leaves everything as it was and is tried again later, but for a compaction
//! that came upon damage: its blocks are left alone until a restart, and still answer as far as they can.

use std::{
    collections::HashSet,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use runtime::Runtime;
use shard::limits::OUT_OF_ORDER_SAMPLES_MANY;
use tsdb::{out_of_order::Part, select::TimeRange};

use crate::{
    block::Block,
    compact::Compactor,
    cut::{self, Cutter, Purpose},
    desk::{Desk, Request},
    error::{BlocksError, Damage},
    folder,
    out_of_order::Found,
    plan,
    service::{Job, JobKind, LOST_NAMED_MAX, count, lock},
    snapshot::Snapshot,
    ulid::{Ulid, UlidMaker},
};

/// Looks that are left out after a job failed.
const RETRY_LOOKS: u32 = 10;

pub(crate) struct Worker<R: Runtime> {
    desk: Desk<R>,
    look: Duration,
    ulids: UlidMaker,
    /// Blocks that a compaction could not read.
    failed: HashSet<Ulid>,
    /// The block of the last cut or compaction, which has the same name when it is tried again.
    attempt: Option<(Attempt, Ulid)>,
    /// A window was cut since samples out of order were put into blocks.
    out_of_order_due: bool,
    /// Windows that have a block of what is set aside, if something is: a failure with another must not make it twice, and nothing more must be
    /// set aside meanwhile.
    out_of_order_done: Option<HashSet<i64>>,
}

/// What a block is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attempt {
    Window(TimeRange),
    OutOfOrder(TimeRange),
    Blocks(Vec<Ulid>),
}

/// What a step has come to.
enum Step {
    Worked,
    NothingDue,
    Failed(BlocksError),
}

/// The future's value, or what it says in a panic.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            Poll::Ready(Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()))
        }
    })
    .await
}

impl<R: Runtime> Worker<R> {
    pub(crate) fn new(desk: Desk<R>, look: Duration, ulids: UlidMaker) -> Self {
        Self {
            desk,
            look,
            ulids,
            failed: HashSet::new(),
            attempt: None,
            out_of_order_due: false,
            out_of_order_done: None,
        }
    }

    /// Works until it is told to stop. A mistake of ours in a job must not end the others: what a job has not published does not
    /// count, so it can be left at any place.
    pub(crate) async fn run(mut self) {
        while let Err(panic) = caught(self.work()).await {
            let service = &self.desk.service;
            count(&service.counters().panics);
            tracing::error!(
                panic,
                "a job on blocks broke off through a mistake in Millrace; please report it. Nothing is lost"
            );
            *lock(&service.state.job) = None;
            self.desk.runtime.sleep(self.look * RETRY_LOOKS).await;
        }
    }

    async fn work(&mut self) {
        let mut told = None;
        while !self.desk.is_stopping() {
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
            if !self.rest(wait).await {
                break;
            }
        }
    }

    /// Serves requests for some time; `false` if there is nobody left to ask.
    async fn rest(&mut self, wait: Duration) -> bool {
        let runtime = self.desk.runtime.clone();
        let mut sleep = pin!(runtime.sleep(wait));
        loop {
            let woken = poll_fn(|context| match self.desk.poll_request(context) {
                Poll::Ready(is_open) => Poll::Ready(Some(is_open)),
                Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
            });
            match woken.await {
                None => return true,
                Some(false) => return false,
                Some(true) if self.desk.is_stopping() => return true,
                Some(true) => self.serve_requests().await,
            }
        }
    }

    async fn step(&mut self) -> Step {
        self.serve_requests().await;
        if !self.desk.handle.shared().all_ready() {
            return Step::NothingDue;
        }
        let steps = async {
            Ok(self.remove_doomed().await?
                || self.expire().await
                || self.forget_cut_windows().await?
                || self.cut().await?
                || self.empty_out_of_order().await?
                || self.compact().await?)
        };
        let stepped = steps.await;
        *lock(&self.desk.service.state.job) = None;
        match stepped {
            Ok(true) => Step::Worked,
            Ok(false) => {
                self.set_idle(true);
                Step::NothingDue
            }
            Err(error) => Step::Failed(error),
        }
    }

    async fn serve_requests(&mut self) {
        while let Some(request) = self.desk.next_request() {
            // Whoever asked may have gone away.
            match request {
                Request::Delete { deletion, reply } => drop(reply.send(self.desk.delete(&deletion).await)),
                Request::CleanTombstones { reply } => drop(reply.send(self.clean_tombstones().await)),
                Request::Snapshot { time, skip_head, reply } => drop(reply.send(self.snapshot(&time, skip_head).await)),
                Request::MoveHead { reply } => drop(reply.send(self.move_head().await)),
                Request::Stop => {}
            }
            *lock(&self.desk.service.state.job) = None;
        }
    }

    /// A crash may come between a block and the shards' forgetting what is in it.
    async fn forget_cut_windows(&self) -> Result<bool, BlocksError> {
        let Some(cut_before) = self.desk.service.blocks.current().cut_before else { return Ok(false) };
        if self.desk.handle.shared().truncated_before() >= cut_before {
            return Ok(false);
        }
        self.desk.handle.truncate(cut_before).await?;
        Ok(true)
    }

    async fn remove_doomed(&self) -> Result<bool, BlocksError> {
        let doomed = &self.desk.service.state.doomed;
        let Some(ulid) = lock(doomed).first().copied() else { return Ok(false) };
        folder::remove_block(&self.desk.runtime, &self.desk.data, ulid).await?;
        lock(doomed).retain(|other| *other != ulid);
        Ok(true)
    }

    /// Takes blocks out of the set in favour of others; their removal is the next step.
    fn replace(&self, gone: &[Arc<Block>], new: impl IntoIterator<Item = Block>) {
        self.set_idle(false);
        self.desk.service.blocks.replace(gone, new);
        lock(&self.desk.service.state.doomed).extend(gone.iter().map(|block| block.ulid));
    }

    /// Before anything else shows that there is work, and after the last of it.
    fn set_idle(&self, idle: bool) {
        self.desk.service.state.idle.store(idle, Ordering::Release);
    }

    async fn expire(&self) -> bool {
        let service = &self.desk.service;
        let set = service.blocks.current();
        let retention = service.retention();
        let shard_bytes = match retention.bytes {
            Some(_) => folder::shard_bytes(&self.desk.runtime, &self.desk.data).await,
            None => 0,
        };
        let expired = retention.expired(&set.blocks, shard_bytes, self.desk.runtime.wall_clock_ms());
        for block in &expired {
            tracing::info!(block = %block.ulid, max_time = block.meta.max_time, "a block is beyond the retention and goes");
            count(&service.counters().blocks_expired);
        }
        if expired.is_empty() {
            return false;
        }
        self.replace(&expired, []);
        true
    }

    async fn cut(&mut self) -> Result<bool, BlocksError> {
        let shared = self.desk.handle.shared().clone();
        let Some(window) = cut::due(shared.head_min_time(), shared.head_max_time()) else { return Ok(false) };
        self.cut_window(window, Purpose::Window).await?;
        self.desk.handle.truncate(window.max_time + 1).await?;
        // Once for each window, as these blocks overlap with others, which are merged then.
        self.out_of_order_due = true;
        Ok(true)
    }

    /// Puts into blocks what came out of order: with each window, or when there is much of it.
    async fn empty_out_of_order(&mut self) -> Result<bool, BlocksError> {
        let held = self.desk.handle.shared().out_of_order_samples();
        if held == 0 || !(self.out_of_order_due || held >= OUT_OF_ORDER_SAMPLES_MANY) {
            return Ok(false);
        }
        self.move_out_of_order().await?;
        self.out_of_order_due = false;
        Ok(true)
    }

    /// Puts what the shards hold out of order at this moment into blocks, and has them forget it.
    async fn move_out_of_order(&mut self) -> Result<(), BlocksError> {
        if self.out_of_order_done.is_none() {
            self.desk.handle.freeze_out_of_order().await?;
            self.out_of_order_done = Some(HashSet::new());
        }
        let start = self.desk.runtime.monotonic();
        let mut samples = 0;
        for window in Found::windows(&self.desk, Part::Frozen).await? {
            if self.out_of_order_done.as_ref().is_some_and(|done| done.contains(&window.min_time)) {
                continue;
            }
            let ulid = self.begin(JobKind::OutOfOrder, window, Attempt::OutOfOrder(window)).await?;
            // Only now, so that what is deleted from it is among the deletions noted since.
            let found = Found::in_shards(&self.desk, Part::Frozen, window).await?;
            let written = found.write(&self.desk, &self.desk.data, window, ulid, || self.desk.noted()).await;
            let block = written.inspect_err(|_| count(&self.desk.service.counters().cuts_failed))?;
            samples += block.as_ref().map_or(0, |block| block.meta.stats.num_samples);
            self.replace(&[], block);
            self.end_attempt();
            self.out_of_order_done.get_or_insert_default().insert(window.min_time);
        }
        let milliseconds = (self.desk.runtime.monotonic() - start).as_millis();
        tracing::info!(samples, milliseconds, "samples out of order are in blocks");
        // If only some shards come to forget it, the next try finds other samples in their place.
        self.out_of_order_done = None;
        self.desk.handle.drop_out_of_order().await?;
        Ok(())
    }

    async fn cut_window(&mut self, window: TimeRange, purpose: Purpose) -> Result<(), BlocksError> {
        let ulid = self.begin(JobKind::Cut, window, Attempt::Window(window)).await?;
        let start = self.desk.runtime.monotonic();
        let service = self.desk.service.clone();
        let lost = move |damage: &Damage| {
            count(&service.counters().chunks_lost);
            let mut lost = lock(&service.state.lost);
            if lost.len() < LOST_NAMED_MAX {
                lost.push(damage.clone());
            }
        };
        let cutter = Cutter { desk: &self.desk, into: &self.desk.data, window, ulid, purpose, lost: &lost };
        let cut = cutter.run().await.inspect_err(|_| count(&self.desk.service.counters().cuts_failed))?;
        let milliseconds = (self.desk.runtime.monotonic() - start).as_millis();
        if let Some(block) = cut {
            let stats = &block.meta.stats;
            tracing::info!(
                block = %ulid, series = stats.num_series, samples = stats.num_samples, bytes = block.bytes, milliseconds,
                "a window of the head is cut into a block"
            );
            count(&self.desk.service.counters().cuts);
            self.replace(&[], [block]);
        }
        self.end_attempt();
        Ok(())
    }

    async fn move_head(&mut self) -> Result<(), BlocksError> {
        let shared = self.desk.handle.shared().clone();
        if !shared.all_ready() {
            return Err(BlocksError::Starting);
        }
        let cut_before = self.desk.service.blocks.current().cut_before;
        for window in cut::held(shared.head_min_time(), shared.head_max_time(), cut_before) {
            self.cut_window(window, Purpose::Move).await?;
        }
        // What was set aside before, and what has come since.
        while shared.out_of_order_samples() > 0 {
            self.move_out_of_order().await?;
        }
        Ok(())
    }

    async fn compact(&mut self) -> Result<bool, BlocksError> {
        let set = self.desk.service.blocks.current();
        let ranges = plan::ranges(self.desk.service.retention().time_ms);
        let blocks = plan::next(&set.blocks, &ranges, &self.failed);
        if blocks.is_empty() {
            return Ok(false);
        }
        match self.merge(&blocks).await {
            Err(BlocksError::Damage(damage)) => self.leave_alone(&blocks, &damage),
            merged => merged?,
        }
        Ok(true)
    }

    /// Puts one block in the place of several, without what was deleted of them.
    async fn merge(&mut self, blocks: &[Arc<Block>]) -> Result<(), BlocksError> {
        let min_time = blocks.iter().map(|block| block.meta.min_time).min().unwrap_or_default();
        let end = blocks.iter().map(|block| block.meta.max_time).max().unwrap_or_default();
        let attempt = Attempt::Blocks(blocks.iter().map(|block| block.ulid).collect());
        let ulid = self.begin(JobKind::Compaction, TimeRange { min_time, max_time: end - 1 }, attempt).await?;
        let start = self.desk.runtime.monotonic();
        let merged = Compactor { desk: &self.desk, blocks, ulid }.run().await?;
        if let Some(block) = &merged {
            let milliseconds = (self.desk.runtime.monotonic() - start).as_millis();
            let (level, bytes) = (block.meta.compaction.level, block.bytes);
            tracing::info!(block = %ulid, of = blocks.len(), level, bytes, milliseconds, "blocks are compacted into one");
        }
        self.replace(blocks, merged);
        self.end_attempt();
        count(&self.desk.service.counters().compactions);
        Ok(())
    }

    fn leave_alone(&mut self, blocks: &[Arc<Block>], damage: &Damage) {
        count(&self.desk.service.counters().compactions_failed);
        let damaged = blocks.iter().filter(|block| damage.path.starts_with(block.folder()));
        let mut left_alone: Vec<Ulid> = damaged.map(|block| block.ulid).collect();
        if left_alone.is_empty() {
            left_alone = blocks.iter().map(|block| block.ulid).collect();
        }
        tracing::error!(%damage, "a block can't be compacted and is left alone; what is sound in it still answers");
        self.failed.extend(left_alone);
    }

    /// Makes every block anew that something was deleted of. One that is damaged does not keep the others from it.
    async fn clean_tombstones(&mut self) -> Result<(), BlocksError> {
        let mut result = Ok(());
        while self.remove_doomed().await? {}
        for ulid in self.desk.service.blocks.current().blocks.iter().map(|block| block.ulid).collect::<Vec<_>>() {
            // As it is now: something may have been deleted of it while those before it were made anew.
            let set = self.desk.service.blocks.current();
            let Some(block) = set.blocks.iter().find(|block| block.ulid == ulid && !block.tombstones().is_empty())
            else {
                continue;
            };
            match self.merge(std::slice::from_ref(block)).await {
                Err(BlocksError::Damage(damage)) => result = Err(damage.into()),
                merged => merged?,
            }
            while self.remove_doomed().await? {}
        }
        result
    }

    async fn snapshot(&mut self, time: &str, skip_head: bool) -> Result<String, BlocksError> {
        if !self.desk.handle.shared().all_ready() {
            return Err(BlocksError::Starting);
        }
        let shared = self.desk.handle.shared();
        let times = TimeRange {
            min_time: shared.head_min_time().unwrap_or_default(),
            max_time: shared.head_max_time().unwrap_or_default(),
        };
        self.show_job(JobKind::Snapshot, times);
        let (wall, monotonic) = (self.desk.runtime.wall_clock_ms(), self.desk.runtime.monotonic().as_nanos());
        let name = format!("{time}-{:016x}", self.ulids.make(wall, monotonic).unique());
        Snapshot { desk: &self.desk, ulids: &mut self.ulids, name, skip_head }.run().await
    }

    /// Begins an attempt; returns the block's name. One that got it before something else failed must not be made twice.
    async fn begin(&mut self, kind: JobKind, times: TimeRange, attempt: Attempt) -> Result<Ulid, BlocksError> {
        self.show_job(kind, times);
        let ulid = match &self.attempt {
            Some((last, ulid)) if *last == attempt => *ulid,
            _ => {
                self.give_up_attempt().await?;
                let runtime = &self.desk.runtime;
                let ulid = self.ulids.make(runtime.wall_clock_ms(), runtime.monotonic().as_nanos());
                self.attempt = Some((attempt, ulid));
                ulid
            }
        };
        self.desk.begin(ulid);
        Ok(ulid)
    }

    /// The block of the last attempt may have its name. Nobody would ask for it again, but a start would find it, without what is
    /// deleted from now on.
    async fn give_up_attempt(&mut self) -> Result<(), BlocksError> {
        let set = self.desk.service.blocks.current();
        if let Some((_, ulid)) = &self.attempt
            && set.blocks.iter().all(|block| block.ulid != *ulid)
        {
            folder::remove_block(&self.desk.runtime, &self.desk.data, *ulid).await?;
        }
        self.attempt = None;
        Ok(())
    }

    /// The block is in the set, or there is none.
    fn end_attempt(&mut self) {
        self.attempt = None;
        self.desk.end();
    }

    fn show_job(&self, kind: JobKind, times: TimeRange) {
        self.set_idle(false);
        *lock(&self.desk.service.state.job) = Some(Job { kind, times, series_done: 0, series: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_at_any_poll() {
        let mut polls = 0;
        let future = poll_fn(|context| {
            polls += 1;
            assert!(polls < 2, "on purpose");
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let mut caught = pin!(caught(future));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(caught.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(caught.as_mut().poll(&mut context), Poll::Ready(Err("on purpose".to_owned())));
    }
}
