//! Scrapes on their way to the shards, several at a time.
//!
//! To wake a shard, have it commit, and be woken by it costs as much as parsing a page. Nobody waits for a scrape to be acknowledged, so those that
//! end one shortly after the other go together: one wake-up, one commit.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use shard::{Handle, Refusal};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tsdb::AppendOutcome;

use super::batch::ScrapeBatch;

/// How long a scrape waits for others: far below what anybody sees on a dashboard.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// Samples that wait for no more: about as many as the largest requests of remote write have.
const SAMPLES_MAX: usize = 50_000;

type Answer = Result<AppendOutcome, Refusal>;

struct Waiting {
    batch: Arc<ScrapeBatch>,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    samples: usize,
}

/// Where loops leave their batches.
pub(super) struct Appends {
    storage: Handle,
    queue: Mutex<Queue>,
    has_some: Notify,
    has_many: Notify,
}

impl Appends {
    pub(super) fn new(storage: Handle) -> Arc<Self> {
        Arc::new(Self { storage, queue: Mutex::default(), has_some: Notify::new(), has_many: Notify::new() })
    }

    /// Sends what waits, again and again.
    pub(super) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let appends = self.clone();
        tokio::spawn(async move {
            loop {
                appends.has_some.notified().await;
                tokio::select! {
                    () = tokio::time::sleep(WAIT_MAX) => {}
                    () = appends.has_many.notified() => {}
                }
                appends.send();
            }
        })
    }

    /// Stores a batch; returns when it is durable, or refused.
    pub(super) async fn append(&self, batch: Arc<ScrapeBatch>) -> Answer {
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.samples += batch.sample_count();
            queue.waiting.push(Waiting { batch, answer });
            if queue.waiting.len() == 1 {
                self.has_some.notify_one();
            }
            if queue.samples >= SAMPLES_MAX {
                self.has_many.notify_one();
            }
        }
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Sends what waits. Others may gather while it is made durable.
    pub(super) fn send(&self) {
        let queue = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        let storage = self.storage.clone();
        let sent = queue.waiting.into_iter().map(move |Waiting { batch, answer }| {
            let storage = storage.clone();
            async move {
                let outcome = storage.append(batch).await;
                // Who asked may be gone.
                drop(answer.send(outcome));
            }
        });
        tokio::spawn(join_all(sent));
    }
}
