//! The write path of a request that arrived on a shard's own thread: its own part needs no message.

use std::sync::Arc;

use runtime::Runtime;
use tsdb::{AppendOutcome, Members};
use wire::remote_write::Batch;

use crate::{
    handle::{Handle, Refusal},
    ingest::Appender,
    router,
    shard::Shard,
};

/// Stores batches from the thread of one of the shards.
pub(crate) struct LocalAppender<R: Runtime> {
    shard: Shard<R>,
    handle: Handle,
}

impl<R: Runtime> LocalAppender<R> {
    pub(crate) fn new(shard: Shard<R>, handle: Handle) -> Self {
        Self { shard, handle }
    }

    /// Sends the others their parts first, so that they work while this shard does.
    async fn append_parts(&self, batch: Arc<Batch>) -> Result<AppendOutcome, Refusal> {
        let mut own = None;
        let mut answers = Vec::new();
        let mut refusal = None;
        for (shard, members) in router::split(&*batch, self.handle.shard_count()) {
            if shard == self.shard.number() {
                own = Some(members);
                continue;
            }
            match self.handle.send_part(shard, batch.clone(), members) {
                Ok(answer) => answers.push(answer),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        let mut outcome = AppendOutcome::default();
        if let Some(members) = own {
            let members = members.as_deref().map_or(Members::All, Members::Some);
            match self.shard.append(&*batch, members).await {
                Ok(part) => outcome.merge(&part),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        for answer in answers {
            match answer.await.unwrap_or(Err(Refusal::Stopping)) {
                Ok(part) => outcome.merge(&part),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        refusal.map_or(Ok(outcome), Err)
    }
}

impl<R: Runtime> Appender for LocalAppender<R> {
    async fn append(&self, batch: Arc<Batch>) -> Result<AppendOutcome, Refusal> {
        if self.handle.shard_count() == 1 {
            return self.shard.append(&*batch, Members::All).await;
        }
        self.append_parts(batch).await
    }
}
