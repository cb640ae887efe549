//! How the rest of the process talks to the shards: a closed set of requests through bounded mailboxes.
//!
//! Every call is answered or refused; none waits for ever. A wake-up across threads is dear, so what a caller needs of a shard
//! comes as one message, never one per series.

use std::{sync::Arc, time::Duration};

use futures_channel::oneshot;
use model::{IdentityKey, Matcher, WriteBatch};
use runtime::mailbox::{Receiver, SendError, Sender, channel};
use tsdb::{
    AppendOutcome, SeriesRef,
    exemplars::SelectedExemplars,
    out_of_order::{Part, SelectedOutOfOrder},
    select::{Cardinality, Selection, TimeRange, Wanted},
};

use crate::{limits::MAILBOX_MESSAGES, router, shared::Shared, stats::ShardStats};

/// Why a request was not served. Nothing of it is acknowledged; some of its samples may be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("shard {shard} has more to do than it can hold: the server is overloaded, try again")]
    Overloaded { shard: usize },
    #[error("the server is starting: shard {shard} is still replaying its log")]
    Starting { shard: usize },
    #[error("shard {shard} can't make writes durable: {reason}")]
    LogStalled { shard: usize, reason: String },
    #[error(
        "shard {shard} is fenced after a failed write and serves reads only: {reason}; restart the server once the disk is sound"
    )]
    Fenced { shard: usize, reason: String },
    #[error("the selection is larger than the query's memory limit of {bytes_max} bytes")]
    SelectionTooLarge { bytes_max: usize },
    #[error("shard {shard} has numbered its series anew since they were chosen")]
    Renumbered { shard: usize },
    #[error("the server is stopping")]
    Stopping,
}

/// A request to one shard.
pub(crate) enum Request {
    Append {
        batch: Arc<dyn WriteBatch>,
        members: Option<Vec<u32>>,
        reply: oneshot::Sender<Result<AppendOutcome, Refusal>>,
    },
    Select {
        matchers: Arc<[Matcher]>,
        range: TimeRange,
        wanted: Wanted,
        bytes_max: usize,
        reply: oneshot::Sender<Result<Box<Selection>, Refusal>>,
    },
    /// The samples of series that a selection has named.
    SelectChosen {
        generation: u32,
        series: Vec<SeriesRef>,
        range: TimeRange,
        reply: oneshot::Sender<Result<Box<Selection>, Refusal>>,
    },
    /// Makes everything durable that was appended before.
    Flush {
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Forgets what is before a time, which a block has.
    Truncate {
        floor: i64,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Deletes what the series that satisfy all matchers have in a range at this moment; answers with how many had something.
    Delete {
        matchers: Arc<[Matcher]>,
        range: TimeRange,
        reply: oneshot::Sender<Result<u64, Refusal>>,
    },
    /// Exemplars of the series that satisfy all matchers of one of the sets.
    SelectExemplars {
        match_sets: Arc<[Vec<Matcher>]>,
        range: TimeRange,
        reply: oneshot::Sender<Result<Vec<SelectedExemplars>, Refusal>>,
    },
    /// Has what is out of order become what goes into blocks next.
    FreezeOutOfOrder {
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Samples out of order of the series that satisfy all matchers of one of the sets.
    SelectOutOfOrder {
        match_sets: Arc<[Vec<Matcher>]>,
        range: TimeRange,
        part: Part,
        bytes_max: usize,
        reply: oneshot::Sender<Result<Vec<SelectedOutOfOrder>, Refusal>>,
    },
    /// Forgets what was frozen, which blocks have.
    DropOutOfOrder {
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Cardinality {
        reply: oneshot::Sender<Result<Cardinality, Refusal>>,
    },
    Stats {
        reply: oneshot::Sender<Result<ShardStats, Refusal>>,
    },
    /// Writes a checkpoint now, whatever the log's size.
    Checkpoint {
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Shutdown {
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
}

/// Access to all shards, from any thread.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    senders: Vec<Sender<Request>>,
    shared: Arc<Shared>,
}

/// The receiving end of a shard's mailbox, for [`crate::Shard::serve`].
pub struct Mailbox(pub(crate) Receiver<Request>);

impl Handle {
    /// A handle to as many shards as `shared` is made for, and their mailboxes in order.
    pub fn connect(shared: Arc<Shared>) -> (Self, Vec<Mailbox>) {
        let channels = (0..shared.shard_count()).map(|_| channel(MAILBOX_MESSAGES));
        let (senders, mailboxes) = channels.map(|(sender, receiver)| (sender, Mailbox(receiver))).unzip();
        (Self { inner: Arc::new(Inner { senders, shared }) }, mailboxes)
    }

    pub fn shard_count(&self) -> usize {
        self.inner.senders.len()
    }

    /// The key under which batches for these shards have to be decoded.
    pub fn identity_key(&self) -> &IdentityKey {
        &self.inner.shared.key
    }

    /// Facts of the whole process: readiness, head window, series and their limit.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Stores a batch. Success means that every part of it is durable. An `Err` says that some part is not; the sender has to
    /// try again, and what was stored already will count as repeated.
    pub async fn append(&self, batch: Arc<dyn WriteBatch>) -> Result<AppendOutcome, Refusal> {
        let mut answers = Vec::new();
        let mut refusal = None;
        for (shard, members) in router::split(&*batch, self.shard_count()) {
            match self.send_part(shard, batch.clone(), members) {
                Ok(answer) => answers.push(answer),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        let mut outcome = AppendOutcome::default();
        for answer in answers {
            match answer.await.unwrap_or(Err(Refusal::Stopping)) {
                Ok(part) => outcome.merge(&part),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        refusal.map_or(Ok(outcome), Err)
    }

    /// Hands a shard its part of a batch; the answer comes when it is durable.
    pub(crate) fn send_part(
        &self,
        shard: usize,
        batch: Arc<dyn WriteBatch>,
        members: Option<Vec<u32>>,
    ) -> Result<oneshot::Receiver<Result<AppendOutcome, Refusal>>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(shard, Request::Append { batch, members, reply })?;
        Ok(answer)
    }

    /// What each shard has of the series that satisfy all matchers, in the order of the shards.
    pub async fn select(
        &self,
        matchers: Arc<[Matcher]>,
        range: TimeRange,
        wanted: Wanted,
        bytes_max: usize,
    ) -> Result<Vec<Selection>, Refusal> {
        let selections = self
            .ask_all(|reply| Request::Select { matchers: matchers.clone(), range, wanted, bytes_max, reply })
            .await?;
        Ok(selections.into_iter().map(|selection| *selection).collect())
    }

    /// The samples of series of one shard that a selection has named, by their numbers there.
    pub async fn select_chosen(
        &self,
        shard: usize,
        generation: u32,
        series: Vec<SeriesRef>,
        range: TimeRange,
    ) -> Result<Selection, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(shard, Request::SelectChosen { generation, series, range, reply })?;
        answer.await.unwrap_or(Err(Refusal::Stopping)).map(|selection| *selection)
    }

    /// Closes all times before a window's border: once this returns, every shard has what it will ever have there, durably.
    pub async fn close_window(&self, end: i64) -> Result<(), Refusal> {
        self.inner.shared.close_before(end);
        self.ask_all(|reply| Request::Flush { reply }).await.map(drop)
    }

    /// Has every shard forget what is before a window's border. A block must have it, durably.
    pub async fn truncate(&self, floor: i64) -> Result<(), Refusal> {
        self.inner.shared.close_before(floor);
        self.ask_all(|reply| Request::Truncate { floor, reply }).await?;
        self.inner.shared.truncated(floor);
        Ok(())
    }

    /// Deletes what the series that satisfy all matchers have in a range now, and nothing that they get later; returns how many had
    /// something there. Durable when this returns. An error may leave it done in part.
    pub async fn delete(&self, matchers: Arc<[Matcher]>, range: TimeRange) -> Result<u64, Refusal> {
        let deleted = self.ask_all(|reply| Request::Delete { matchers: matchers.clone(), range, reply }).await?;
        Ok(deleted.into_iter().sum())
    }

    /// The exemplars in a time range of the series that satisfy all matchers of one of the sets, in no order of series.
    pub async fn select_exemplars(
        &self,
        match_sets: Arc<[Vec<Matcher>]>,
        range: TimeRange,
    ) -> Result<Vec<SelectedExemplars>, Refusal> {
        let parts =
            self.ask_all(|reply| Request::SelectExemplars { match_sets: match_sets.clone(), range, reply }).await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Has every shard set aside what it holds out of order, to be put into blocks, if nothing is set aside yet.
    pub async fn freeze_out_of_order(&self) -> Result<(), Refusal> {
        self.ask_all(|reply| Request::FreezeOutOfOrder { reply }).await.map(drop)
    }

    /// The samples out of order in a time range of the series that satisfy all matchers of one of the sets, in no order of series. Whoever joins
    /// them with blocks looks at those afterwards.
    pub async fn select_out_of_order(
        &self,
        match_sets: Arc<[Vec<Matcher>]>,
        range: TimeRange,
        part: Part,
        bytes_max: usize,
    ) -> Result<Vec<SelectedOutOfOrder>, Refusal> {
        if self.inner.shared.out_of_order_samples() == 0 {
            return Ok(Vec::new());
        }
        let parts = self
            .ask_all(|reply| {
                let match_sets = match_sets.clone();
                Request::SelectOutOfOrder { match_sets, range, part, bytes_max, reply }
            })
            .await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Has every shard forget what was set aside. Blocks must have it, durably.
    pub async fn drop_out_of_order(&self) -> Result<(), Refusal> {
        self.ask_all(|reply| Request::DropOutOfOrder { reply }).await.map(drop)
    }

    pub async fn cardinality(&self) -> Result<Vec<Cardinality>, Refusal> {
        self.ask_all(|reply| Request::Cardinality { reply }).await
    }

    pub async fn stats(&self) -> Result<Vec<ShardStats>, Refusal> {
        self.ask_all(|reply| Request::Stats { reply }).await
    }

    pub async fn checkpoint(&self) -> Result<(), Refusal> {
        self.ask_all(|reply| Request::Checkpoint { reply }).await.map(drop)
    }

    /// Lets what is under way become durable and refuses everything after it.
    pub async fn shutdown(&self) -> Result<(), Refusal> {
        self.ask_all(|reply| Request::Shutdown { reply }).await.map(drop)
    }

    /// Requests waiting in each shard's mailbox.
    pub fn mailbox_depths(&self) -> Vec<usize> {
        self.inner.senders.iter().map(Sender::depth).collect()
    }

    async fn ask_all<T>(
        &self,
        request: impl Fn(oneshot::Sender<Result<T, Refusal>>) -> Request,
    ) -> Result<Vec<T>, Refusal> {
        let mut answers = Vec::with_capacity(self.shard_count());
        for shard in 0..self.shard_count() {
            let (reply, answer) = oneshot::channel();
            self.send(shard, request(reply))?;
            answers.push(answer);
        }
        let mut all = Vec::with_capacity(answers.len());
        for answer in answers {
            all.push(answer.await.unwrap_or(Err(Refusal::Stopping))?);
        }
        Ok(all)
    }

    fn send(&self, shard: usize, request: Request) -> Result<(), Refusal> {
        if self.inner.shared.is_held_back() || !self.inner.shared.is_ready(shard) {
            return Err(Refusal::Starting { shard });
        }
        self.inner.senders[shard].try_send(request).map_err(|error| match error {
            SendError::Full(_) => Refusal::Overloaded { shard },
            SendError::Closed(_) => Refusal::Stopping,
        })
    }
}

/// How long a sender should wait before it tries a refused write again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
