//! Lists of things of which this release has none: scrape targets, rules, alerts, metadata, exemplars.
//!
//! They answer as a Prometheus that has none configured, since clients ask on their own: Grafana asks for rules, metadata and
//! exemplars when it opens a data source. That the sections of the configuration have no effect is said at start, in the log.

use axum::{extract::State, response::Response};

use super::selectors;
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::Json,
};

fn empty_lists(names: &[&str]) -> Response {
    let write = |json: &mut Json| {
        json.object();
        for name in names {
            json.key(name).array().end_array();
        }
        json.end_object();
    };
    success(write, &[])
}

pub(super) async fn targets() -> Response {
    let write = |json: &mut Json| {
        json.object().key("activeTargets").array().end_array().key("droppedTargets").array().end_array();
        json.key("droppedTargetCounts").object().end_object().end_object();
    };
    success(write, &[])
}

pub(super) async fn rules() -> Response {
    empty_lists(&["groups"])
}

pub(super) async fn alerts() -> Response {
    empty_lists(&["alerts"])
}

pub(super) async fn alertmanagers() -> Response {
    empty_lists(&["activeAlertmanagers", "droppedAlertmanagers"])
}

pub(super) async fn metadata(params: Params) -> Result<Response, ApiError> {
    for name in ["limit", "limit_per_metric"] {
        if params.get(name).is_some_and(|text| text.parse::<i64>().is_err()) {
            return Err(ApiError::bad_data(format!("{name} must be a number")));
        }
    }
    Ok(success(
        |json| {
            json.object().end_object();
        },
        &[],
    ))
}

pub(super) async fn exemplars(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let start = params.time_or("start", i64::MIN)?;
    let end = params.time_or("end", i64::MAX)?;
    if end < start {
        return Err(ApiError::bad_parameter("end", "end timestamp must not be before start timestamp"));
    }
    selectors::parse_query(params.get("query").unwrap_or_default(), &shared.flags.parse_options())?;
    Ok(success(
        |json| {
            json.array().end_array();
        },
        &[],
    ))
}
