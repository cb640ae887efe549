//! Lists of things of which this release has none: rules and alerts.
//!
//! They answer as a Prometheus that has none configured, since clients ask on their own: Grafana asks for rules when it opens a data
//! source. That the sections of the configuration have no effect is said at start, in the log.

use axum::response::Response;

use crate::{api::error::success, json::Json};

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

pub(super) async fn rules() -> Response {
    empty_lists(&["groups"])
}

pub(super) async fn alerts() -> Response {
    empty_lists(&["alerts"])
}

pub(super) async fn alertmanagers() -> Response {
    empty_lists(&["activeAlertmanagers", "droppedAlertmanagers"])
}
