//! The queries that run or wait now: who asked, since when, and what they hold.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use promql::budget::QueryMonitor;

use super::Steps;
use crate::calendar;

/// Who asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    pub(crate) method: String,
    /// The route's.
    pub(crate) path: String,
}

/// How far a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// For a place among the queries that run.
    Waiting,
    Evaluating,
    /// The client reads.
    Answering,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Evaluating => "evaluating",
            Self::Answering => "answering",
        }
    }
}

/// One query, as long as it is listed.
#[derive(Debug)]
pub(crate) struct RunningQuery {
    /// Counts up from 1 at each start of the server.
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) steps: Steps,
    pub(crate) origin: Origin,
    pub(crate) arrived_at_ms: i64,
    arrival: Instant,
    stage: AtomicU8,
    pub(crate) monitor: QueryMonitor,
}

impl RunningQuery {
    pub(crate) fn arrival(&self) -> Instant {
        self.arrival
    }

    pub(crate) fn age(&self) -> Duration {
        self.arrival.elapsed()
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Waiting,
            1 => Stage::Evaluating,
            _ => Stage::Answering,
        }
    }
}

/// The list. A query is on it from its arrival until its answer has been sent.
#[derive(Debug, Default)]
pub(crate) struct RunningQueries {
    ids: AtomicU64,
    by_id: Mutex<BTreeMap<u64, Arc<RunningQuery>>>,
}

impl RunningQueries {
    pub(crate) fn enlist(self: &Arc<Self>, text: &str, steps: Steps, origin: Origin) -> Listed {
        let query = Arc::new(RunningQuery {
            id: self.ids.fetch_add(1, Relaxed) + 1,
            text: text.to_owned(),
            steps,
            origin,
            arrived_at_ms: calendar::now_ms(),
            arrival: Instant::now(),
            stage: AtomicU8::new(Stage::Waiting as u8),
            monitor: QueryMonitor::default(),
        });
        self.lock().insert(query.id, query.clone());
        Listed { list: self.clone(), query }
    }

    /// The oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<RunningQuery>> {
        self.lock().values().cloned().collect()
    }

    /// Whether there is such a query; it ends at its next look at its budget.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        self.lock().get(&id).inspect(|query| query.monitor.cancel()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<RunningQuery>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The query's place on the list, given up when this goes.
#[derive(Debug)]
pub(crate) struct Listed {
    list: Arc<RunningQueries>,
    query: Arc<RunningQuery>,
}

impl std::ops::Deref for Listed {
    type Target = RunningQuery;

    fn deref(&self) -> &RunningQuery {
        &self.query
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.list.lock().remove(&self.query.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { client: IpAddr::from([127, 0, 0, 1]), method: "GET".to_owned(), path: "/api/v1/query".to_owned() }
    }

    #[test]
    fn a_query_is_listed_until_it_is_dropped() {
        let list = Arc::new(RunningQueries::default());
        let first = list.enlist("up", Steps::Instant(0), origin());
        let second = list.enlist("down", Steps::Instant(0), origin());
        first.enter(Stage::Evaluating);
        let stages: Vec<_> = list.all().iter().map(|query| (query.id, query.stage())).collect();
        assert_eq!(stages, [(1, Stage::Evaluating), (2, Stage::Waiting)]);
        drop(first);
        assert!(!list.cancel(1), "it has gone");
        assert!(list.cancel(2));
        let texts: Vec<_> = list.all().iter().map(|query| query.text.clone()).collect();
        assert_eq!(texts, ["down"]);
        drop(second);
        assert!(list.all().is_empty());
    }
}
