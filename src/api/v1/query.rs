//! `query` and `query_range`.

use std::time::{Duration, Instant};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use promql::{
    ast::{Expr, ValueType},
    budget::BudgetError,
    engine::{Engine, TimeRange},
    error::QueryError,
};

use super::codec::{self, Form};
use crate::{
    api::{
        Shared,
        error::{ApiError, ErrorKind},
        params::Params,
        stream,
    },
    calendar,
    query::{Query, QueryFailure, Steps, running::Origin},
};

/// Points of a series that one range query may give.
const POINTS_MAX: i64 = 11_000;

pub(super) async fn instant(
    State(shared): State<Shared>,
    origin: Origin,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let time = params.time_or("time", calendar::now_ms())?;
    let engine = shared.queries.engine(&shared.config());
    let query = query(&engine, &params, origin, Steps::Instant(time), |_| Ok(()))?;
    run(shared, engine, query, form(&params, limit)).await
}

pub(super) async fn range(State(shared): State<Shared>, origin: Origin, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let start = params.required_time("start")?;
    let end = params.required_time("end")?;
    if end < start {
        return Err(ApiError::bad_parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.required_duration("step")?;
    if step <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::bad_parameter("step", reason));
    }
    if end.checked_sub(start).is_none_or(|span| span / step > POINTS_MAX) {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. \
                    Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad_data(text));
    }
    let engine = shared.queries.engine(&shared.config());
    let range = TimeRange { start, end, step };
    let query = query(&engine, &params, origin, Steps::Range(range), must_have_steps)?;
    run(shared, engine, query, form(&params, limit)).await
}

/// What both kinds of query have in common.
fn query(
    engine: &Engine,
    params: &Params,
    origin: Origin,
    steps: Steps,
    check: fn(&Expr) -> Result<(), ApiError>,
) -> Result<Query, ApiError> {
    let asked = params.duration("timeout").map_err(|reason| ApiError::bad_parameter("timeout", reason))?;
    let asked = asked.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    let explain = |reason| ApiError::bad_data(format!("error parsing lookback delta duration: {reason}"));
    let lookback = params.duration("lookback_delta").map_err(explain)?;
    let text = params.get("query").unwrap_or_default();
    let start = Instant::now();
    let parsed = engine.parse(text).map_err(|error| ApiError::bad_parameter("query", error))?;
    check(parsed.expr())?;
    let lookback_ms = lookback.filter(|ms| *ms > 0);
    Ok(Query { parsed, steps, lookback_ms, timeout: asked, preparation: start.elapsed(), origin })
}

fn must_have_steps(expr: &Expr) -> Result<(), ApiError> {
    let given = match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => return Ok(()),
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
    };
    let reason = format!("invalid expression type {given:?} for range query, must be Scalar or instant Vector");
    Err(ApiError::bad_parameter("query", reason))
}

fn form(params: &Params, limit: Option<usize>) -> Form {
    Form { limit, with_stats: params.get("stats").is_some() }
}

/// Runs the query on a thread of its own and answers as soon as the answer has begun.
async fn run(shared: Shared, engine: Engine, query: Query, form: Form) -> Result<Response, ApiError> {
    let storage = shared.storage()?.clone();
    let (answer, response) = stream::answer();
    let finish = move |result: Result<_, _>| {
        let sent = match &result {
            Ok(finished) => codec::write_success(answer, finished, &form),
            Err(failure) => answer.whole(ApiError::from(failure).into_response()),
        };
        if sent.is_err() {
            tracing::debug!("the client did not wait for the answer to its query");
        }
    };
    // Held until the answer has begun: a client that goes away before that cancels the query.
    let _running =
        shared.queries.start(engine, storage, query, finish).await.map_err(|error| ApiError::from(&error))?;
    response.await.map_err(|_| ApiError::internal("the query's thread ended without an answer; its log line says why"))
}

impl From<&QueryFailure> for ApiError {
    fn from(failure: &QueryFailure) -> Self {
        let kind = match failure {
            QueryFailure::QueuedTooLong => ErrorKind::Timeout,
            QueryFailure::Engine(QueryError::Parse(_) | QueryError::BadQuery(_)) => ErrorKind::BadData,
            QueryFailure::Engine(QueryError::Execution(_)) => ErrorKind::Execution,
            QueryFailure::Engine(QueryError::Budget(BudgetError::TimedOut)) => ErrorKind::Timeout,
            QueryFailure::Engine(QueryError::Budget(BudgetError::Canceled)) => ErrorKind::Canceled,
            QueryFailure::Engine(QueryError::Budget(_)) => ErrorKind::Execution,
            QueryFailure::Engine(QueryError::Storage(_)) | QueryFailure::Panicked => ErrorKind::Internal,
        };
        Self::new(kind, failure.to_string())
    }
}
