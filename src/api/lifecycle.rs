//! Health, readiness, reload and quit.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{Shared, plain};
use crate::app::Order;

pub(crate) async fn healthy() -> Response {
    plain(StatusCode::OK, "Prometheus Server is Healthy.\n")
}

pub(crate) async fn ready(State(shared): State<Shared>) -> Response {
    if !shared.is_ready() {
        return unavailable(&shared);
    }
    plain(StatusCode::OK, "Prometheus Server is Ready.\n")
}

/// The answer while the data is being recovered, and while the server stops.
pub(crate) fn unavailable(shared: &Shared) -> Response {
    let stopping = if shared.is_stopping() { "true" } else { "false" };
    let mut text = "Service Unavailable".to_owned();
    if let Some(storage) = shared.storage.get().filter(|_| !shared.is_stopping()) {
        let (read, all) = storage.handle().shared().replay_progress();
        text.push_str(&format!("\nrecovery: {read} of {all} bytes of the log read\n"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, [("X-Prometheus-Stopping", stopping)], text).into_response()
}

pub(crate) async fn reload(State(shared): State<Shared>) -> Response {
    if !shared.flags.enable_lifecycle {
        return disabled();
    }
    let reloaded = tokio::task::spawn_blocking(move || shared.reload()).await;
    match reloaded {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")),
    }
}

pub(crate) async fn quit(State(shared): State<Shared>) -> Response {
    if !shared.flags.enable_lifecycle {
        return disabled();
    }
    shared.order(Order::Quit);
    plain(StatusCode::OK, "Requesting termination... Goodbye!")
}

/// The answer to other methods.
pub(crate) async fn post_only() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed")
}

fn disabled() -> Response {
    plain(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
}
