//! Forgetting what a block has: log it, give memory back, take out the dead, remove chunk files.
//!
//! The log's record comes first and is durable before anything is removed, so a start forgets the same. Everything after it may
//! fail or be cut short by a crash: chunk files that stay are removed at the next truncation or start, dead series at the next.

use std::rc::Rc;

use runtime::{Disk, Runtime};
use tsdb::head::{Reclaim, Renumbering};

use crate::{
    handle::Refusal,
    limits::{DEAD_SHARE, PIN_LOOK},
    shard::Core,
};

impl<R: Runtime> Core<R> {
    /// Forgets everything before a window's border; returns when that is durable and memory is given back.
    pub(crate) async fn truncate(self: Rc<Self>, floor: i64) -> Result<(), Refusal> {
        self.commits.check(self.number)?;
        if floor <= self.head.borrow().floor() {
            return Ok(());
        }
        {
            let mut batch = self.batch.borrow_mut();
            self.head.borrow_mut().truncate(floor, &mut batch);
            self.commits.open_batch_grew(batch.approximate_bytes());
        }
        self.pins.truncated();
        self.commits.committed(self.number).await?;
        let dead = self.reclaim().await;
        self.clone().remove_chunk_files_when_unread();
        let (share, whole) = DEAD_SHARE;
        if dead > 0 && dead * whole >= self.head.borrow().series_count() * share {
            self.renumber().await;
        }
        Ok(())
    }

    /// Gives back the memory of series that ended; returns how many those are.
    async fn reclaim(&self) -> usize {
        let mut reclaim = Reclaim::default();
        while reclaim.advance(&mut self.head.borrow_mut()) {
            self.runtime.yield_now().await;
        }
        reclaim.dead()
    }

    /// Takes ended series out, and makes a checkpoint that knows the new numbers.
    async fn renumber(self: Rc<Self>) {
        // Slices of a checkpoint are of one generation.
        self.claim_checkpoint().await;
        let start = self.runtime.monotonic();
        let mut renumbering = Renumbering::begin(&mut self.head.borrow_mut());
        loop {
            let more = renumbering.advance(&self.head.borrow());
            if !more {
                break;
            }
            self.runtime.yield_now().await;
        }
        let gone = {
            let (mut head, mut batch) = (self.head.borrow_mut(), self.batch.borrow_mut());
            self.growth.borrow_mut().renumbered(|series| renumbering.gone_before(series));
            let gone = renumbering.finish(&mut head, &mut batch);
            self.commits.open_batch_grew(batch.approximate_bytes());
            gone
        };
        self.shared.remove_series(gone as u64);
        let milliseconds = (self.runtime.monotonic() - start).as_millis();
        tracing::debug!(shard = self.number, gone, milliseconds, "ended series are out of the head");
        self.checkpoint().await;
    }

    /// Removes the chunk files that the head has let go, as soon as no reader needs them.
    fn remove_chunk_files_when_unread(self: Rc<Self>) {
        if !self.pins.claim_wait() {
            return;
        }
        self.runtime.clone().spawn(async move {
            while self.pins.is_held() {
                self.runtime.sleep(PIN_LOOK).await;
            }
            self.pins.end_wait();
            self.remove_chunk_files().await;
        });
    }

    async fn remove_chunk_files(&self) {
        let superfluous: Vec<u32> = {
            let mut head = self.head.borrow_mut();
            let files: Vec<u32> = head.extent().finished_files().collect();
            files.into_iter().filter(|&file| !head.refers_to_chunk_file(file)).collect()
        };
        for file in superfluous {
            let path = self.folders.chunk_file(file);
            match self.runtime.disk().remove(&path).await {
                Ok(()) => {
                    self.shared.chunk_file_removed();
                    self.head.borrow_mut().chunk_file_removed(file);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "a superfluous chunk file stays"),
            }
        }
    }
}
