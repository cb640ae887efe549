//! Lists of things of which this release has none: scrape targets, rules, alerts.
//!
//! They answer as a Prometheus that has none configured, since clients ask on their own: Grafana asks for rules when it opens a data
//! source. That the sections of the configuration have no effect is said at start, in the log.

use axum::response::Response;
use promql::parser::parse_metric_selector;

use super::metadata::number;
use crate::{
    api::{
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

pub(super) async fn target_metadata(params: Params) -> Result<Response, ApiError> {
    number(&params, "limit")?;
    if let Some(selector) = params.get("match_target") {
        parse_metric_selector(selector).map_err(|error| ApiError::bad_parameter("match_target", error))?;
    }
    let write = |json: &mut Json| {
        json.array().end_array();
    };
    Ok(success(write, &[]))
}

pub(super) async fn scrape_pools() -> Response {
    empty_lists(&["scrapePools"])
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
