//! Running queries: how many at a time, for how long, with how much memory, and what stops them.
//!
//! A query waits in line (`--query.max-concurrency`), then runs on a blocking thread of its own: the engine is synchronous and a
//! worker of the runtime must never be held by it. Others help it while processors are idle. Its deadline counts from its arrival. A
//! client that hangs up cancels it.

pub(crate) mod cardinality;
mod grouper;
mod label_columns;
pub(crate) mod log;
mod merged;
mod newest;

pub(crate) use newest::Newest;
mod processors;
pub(crate) mod running;
pub(crate) mod source;
pub(crate) mod storage;

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Labels, Matcher};
use promql::{
    budget::{BudgetError, Limits, QueryBudget, QueryMonitor},
    engine::{self, Control, Engine, Options, TimeRange},
    error::QueryError,
    help::Help,
    value::QueryOutput,
};
use tokio::sync::Semaphore;

use crate::{
    config::{flags::ServeFlags, prometheus::FileConfig},
    telemetry::metrics::Metrics,
};
use log::QueryLog;
use processors::Processors;
use running::{Listed, Origin, RunningQueries, RunningQuery, Stage};
use source::StorageSource;
use storage::Storage;

/// A checked query and what it was asked with.
pub(crate) struct Query {
    pub(crate) parsed: engine::Query,
    pub(crate) steps: Steps,
    /// `None`: the server's.
    pub(crate) lookback_ms: Option<i64>,
    /// Never more than the server's.
    pub(crate) timeout: Option<Duration>,
    /// What parsing took.
    pub(crate) preparation: Duration,
    pub(crate) origin: Origin,
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// In milliseconds.
    Instant(i64),
    Range(TimeRange),
}

/// A result and what it took.
pub(crate) struct Finished {
    pub(crate) output: QueryOutput,
    pub(crate) timings: Timings,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timings {
    pub(crate) preparation: Duration,
    pub(crate) queue: Duration,
    pub(crate) evaluation: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryFailure {
    #[error("query timed out in query queue")]
    QueuedTooLong,
    #[error(transparent)]
    Engine(#[from] QueryError),
    #[error("the query met a mistake of the program; its log line says where")]
    Panicked,
}

/// Cancels the query when it goes.
pub(crate) struct Running(QueryMonitor);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The server's limits on queries.
pub(crate) struct QueryService {
    places: Arc<Semaphore>,
    timeout: Duration,
    options: Options,
    processors: Processors,
    metrics: Arc<Metrics>,
    pub(crate) running: Arc<RunningQueries>,
    pub(crate) log: Arc<QueryLog>,
}

impl QueryService {
    /// For so many processors. Within the runtime whose blocking threads stay on them.
    pub(crate) fn new(flags: &ServeFlags, processors: usize, metrics: Arc<Metrics>) -> Self {
        let processors = Processors::new(processors, metrics.clone(), tokio::runtime::Handle::current());
        metrics.queries_concurrent_max.set(i64::from(flags.query_concurrency));
        let options = Options {
            lookback_ms: i64::try_from(flags.lookback_delta.ms()).unwrap_or(i64::MAX),
            max_samples: usize::try_from(flags.query_samples_max).unwrap_or(usize::MAX),
            memory_bytes_max: flags.query_memory_bytes_max(),
            parse: flags.parse_options(),
            delayed_name_removal: flags.has_feature("promql-delayed-name-removal"),
            type_and_unit_labels: flags.has_feature("type-and-unit-labels"),
            help: Some(Help::new(Arc::new(processors.clone()))),
            ..Options::default()
        };
        Self {
            places: Arc::new(Semaphore::new(flags.query_concurrency as usize)),
            timeout: flags.query_timeout.get(),
            options,
            processors,
            metrics,
            running: Arc::default(),
            log: Arc::new(QueryLog::new(flags.slow_query_threshold())),
        }
    }

    /// The engine under the configuration as it is now.
    pub(crate) fn engine(&self, config: &FileConfig) -> Engine {
        let step = i64::try_from(config.global.evaluation_interval.ms()).unwrap_or(i64::MAX);
        Engine::new(Options { default_subquery_step_ms: step, ..self.options.clone() })
    }

    /// The newest floats of series within the look-back before `now`, by their labels. It waits for a place as queries do.
    pub(crate) async fn newest(
        &self,
        storage: Storage,
        match_sets: Vec<Vec<Matcher>>,
        now: i64,
    ) -> Result<BTreeMap<Labels, (i64, Newest)>, QueryFailure> {
        let counted = self.metrics.clone().count_query();
        let deadline = Instant::now() + self.timeout;
        let place = tokio::time::timeout_at(deadline.into(), self.places.clone().acquire_owned()).await;
        let Ok(place) = place else { return Err(QueryFailure::QueuedTooLong) };
        let limits = Limits {
            max_samples: self.options.max_samples,
            memory_bytes_max: self.options.memory_bytes_max,
            deadline: Some(deadline),
        };
        let range = (now.saturating_sub(self.options.lookback_ms), now);
        let (runtime, processors) = (tokio::runtime::Handle::current(), self.processors.clone());
        let read = tokio::task::spawn_blocking(move || {
            give_way();
            let _busy = processors.occupy();
            let found = newest::newest(&storage.source(runtime), &match_sets, range, &QueryBudget::new(limits));
            drop((place, counted));
            found
        });
        Ok(read.await.map_err(|_| QueryFailure::Panicked)??)
    }

    /// Waits for a place, then evaluates on a blocking thread and hands the result to `finish` there. The place is held until
    /// `finish` has returned, so that results that wait for slow clients are bounded in number too.
    pub(crate) async fn start(
        &self,
        engine: Engine,
        storage: Storage,
        query: Query,
        finish: impl FnOnce(Result<Finished, QueryFailure>) + Send + 'static,
    ) -> Result<Running, QueryFailure> {
        let counted = self.metrics.clone().count_query();
        let listed = self.running.enlist(query.parsed.text(), query.steps, query.origin.clone());
        let monitor = listed.monitor.clone();
        let deadline = listed.arrival() + query.timeout.map_or(self.timeout, |timeout| timeout.min(self.timeout));
        let place = tokio::time::timeout_at(deadline.into(), self.places.clone().acquire_owned()).await;
        let (log, metrics) = (self.log.clone(), self.metrics.clone());
        let timings = Timings { preparation: query.preparation, queue: listed.age(), evaluation: Duration::ZERO };
        let Ok(place) = place else {
            metrics.queries_timed_out.add(1);
            ended(&log, &metrics, &listed, &timings, Some(&QueryFailure::QueuedTooLong.to_string()));
            return Err(QueryFailure::QueuedTooLong);
        };
        metrics.query_durations.queue_time.observe(timings.queue);
        let runtime = tokio::runtime::Handle::current();
        let processors = self.processors.clone();
        tokio::task::spawn_blocking(move || {
            give_way();
            let busy = processors.occupy();
            let (result, timings) = evaluate(&engine, storage.source(runtime), &query, deadline, &listed, timings);
            drop(busy);
            metrics.query_durations.inner_eval.observe(timings.evaluation);
            let error = result.as_ref().err().map(ToString::to_string);
            result.as_ref().err().inspect(|failure| count_failure(failure, &metrics));
            listed.enter(Stage::Answering);
            finish(result.map(|output| Finished { output, timings }));
            ended(&log, &metrics, &listed, &timings, error.as_deref());
            drop((place, counted, listed));
        });
        Ok(Running(monitor))
    }
}

/// How far threads of queries give way to others, as in nice(2). Those that write the shards' logs are on the same CPUs: of equal
/// weight, each write would wait for as many time slices as there are queries.
const NICE: i32 = 10;

/// On a thread of the runtime's that blocks; it stays so for whatever it does next.
fn give_way() {
    // A thread that does not give way costs latency, not correctness.
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE).ok();
}

fn evaluate(
    engine: &Engine,
    source: StorageSource,
    query: &Query,
    deadline: Instant,
    listed: &Listed,
    timings: Timings,
) -> (Result<QueryOutput, QueryFailure>, Timings) {
    listed.enter(Stage::Evaluating);
    let control = Control { deadline: Some(deadline), monitor: listed.monitor.clone(), lookback_ms: query.lookback_ms };
    let evaluate = || match query.steps {
        Steps::Instant(time) => engine.instant(&source, &query.parsed, time, &control),
        Steps::Range(range) => engine.range(&source, &query.parsed, range, &control),
    };
    let start = Instant::now();
    // Evaluation changes nothing but its own memory, so a panic in it harms nobody else.
    let result = panic::catch_unwind(AssertUnwindSafe(evaluate));
    let timings = Timings { evaluation: start.elapsed(), ..timings };
    (result.map_err(|_| QueryFailure::Panicked).and_then(|result| result.map_err(QueryFailure::from)), timings)
}

fn count_failure(failure: &QueryFailure, metrics: &Metrics) {
    match failure {
        QueryFailure::Engine(QueryError::Budget(BudgetError::TimedOut)) => metrics.queries_timed_out.add(1),
        QueryFailure::Engine(QueryError::Budget(BudgetError::Canceled)) => metrics.queries_canceled.add(1),
        QueryFailure::Engine(QueryError::Budget(_)) => metrics.queries_refused_for_memory.add(1),
        QueryFailure::Engine(_) | QueryFailure::QueuedTooLong | QueryFailure::Panicked => {}
    }
}

fn ended(log: &QueryLog, metrics: &Metrics, query: &RunningQuery, timings: &Timings, error: Option<&str>) {
    if log.ended(query, timings, error) {
        metrics.queries_slow.add(1);
    }
}
