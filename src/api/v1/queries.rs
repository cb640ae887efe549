//! `status/active_queries`, the queries that run or wait now (VictoriaMetrics has a list of this name), and a way to end one of them.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::admin;
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
    },
    json::{Json, number},
    query::running::RunningQuery,
};

/// The oldest first. Times are milliseconds, `duration` is in seconds.
pub(super) async fn active(State(shared): State<Shared>) -> Response {
    let queries = shared.queries.running.all();
    let write = |json: &mut Json| {
        json.array();
        for query in &queries {
            write_query(json, query);
        }
        json.end_array();
    };
    success(write, &[])
}

fn write_query(json: &mut Json, query: &RunningQuery) {
    let (start, end, step) = query.steps.bounds();
    json.object().key("id").integer(query.id).key("query").string(&query.text);
    json.key("start").integer(start).key("end").integer(end).key("step").integer(step);
    json.key("stage").string(query.stage().name());
    json.key("arrived").integer(query.arrived_at_ms);
    json.key("duration").raw(number::value_text(query.age().as_secs_f64()).as_bytes());
    json.key("samplesRead").integer(query.monitor.samples_read() as u64);
    json.key("peakSamples").integer(query.monitor.samples_peak() as u64);
    json.key("memoryBytes").integer(query.monitor.bytes() as u64);
    json.key("peakMemoryBytes").integer(query.monitor.bytes_peak() as u64);
    json.key("remoteAddr").string(&query.origin.client.to_string());
    json.key("method").string(&query.origin.method).key("path").string(&query.origin.path).end_object();
}

/// Only with `--web.enable-admin-api`. The query's own client is told that it was canceled.
pub(super) async fn cancel(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, ApiError> {
    admin::must_be_enabled(&shared)?;
    let refusal = |reason| ApiError::bad_parameter("id", reason);
    let number = id.parse().map_err(|_| refusal(format!("{id:?} is not a number of status/active_queries")))?;
    if !shared.queries.running.cancel(number) {
        return Err(refusal(format!("query {number} does not run, or no more")));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
