//! The push gateway's API: that of prom/pushgateway, on an address of its own or below a path of the others.

mod body;
mod json;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware,
    response::{Html, IntoResponse as _, Response},
    routing::{get, put},
};
use percent_encoding::percent_decode_str;
use prost::Message as _;
use wire::exposition::{families::FamilyMessage, family_text};

use super::{Shared, accept, count, lifecycle, method_not_allowed, not_found, plain, refuse_unless_ready};
use crate::{
    config::units::PromDuration,
    push_gateway::{GroupingKey, KeyError, Mode, PushError, PushGateway, StoreError},
    ui,
};
use body::BodyError;

/// Bytes of a push as they come.
const BODY_BYTES_MAX: usize = 64 << 20;
/// All of it on an address of its own.
pub(crate) fn router(shared: &Shared) -> Router {
    routes(shared).method_not_allowed_fallback(method_not_allowed).fallback(not_found).with_state(shared.clone())
}

/// The same to be put below a path.
pub(super) fn routes(shared: &Shared) -> Router<Shared> {
    Router::new()
        .route("/", get(ui::push_gateway::page))
        .route("/metrics", get(metrics))
        .route("/metrics/{*labels}", put(push).post(push).delete(push))
        .route("/api/v1/status", get(json::status))
        .route("/api/v1/metrics", get(json::metrics))
        .route("/api/v1/admin/wipe", put(wipe).post(wipe))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(middleware::from_fn_with_state(shared.clone(), refuse_unless_ready))
        .route("/-/healthy", get(lifecycle::healthy))
        .route("/-/ready", get(lifecycle::ready))
        .route_layer(middleware::from_fn_with_state(shared.clone(), count))
}

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the push gateway is not open yet")]
    Starting,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the path holds percent signs that stand for no text")]
    Path,
    #[error("invalid parameter \"ttl\": {0}")]
    TimeToLive(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the gateway's thread ended")]
    Thread,
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Starting => StatusCode::SERVICE_UNAVAILABLE,
            Self::Push(PushError::Store(_)) | Self::Store(_) | Self::Thread => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        plain(code, format!("{self}\n"))
    }
}

fn gateway(shared: &Shared) -> Result<Arc<PushGateway>, Refusal> {
    shared.push_gateway.get().cloned().ok_or(Refusal::Starting)
}

/// What waits for a disk does not hold up who does not.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Thread)
}

async fn push(State(shared): State<Shared>, request: Request) -> Result<Response, Refusal> {
    let gateway = gateway(&shared)?;
    let key = grouping_key(request.uri(), gateway.settings.has_utf8_names)?;
    let time_to_live = time_to_live(request.uri())?;
    let mode = match *request.method() {
        Method::DELETE => {
            on_disk(move || gateway.delete(&key)).await??;
            return Ok(StatusCode::ACCEPTED.into_response());
        }
        Method::PUT => Mode::Replace,
        _ => Mode::Merge,
    };
    let headers = request.headers().clone();
    let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    let bytes: Bytes = bytes.map_err(|error| BodyError::Read(error.to_string()))?;
    let is_unchecked = gateway.settings.is_unchecked;
    let pushed = on_disk(move || {
        let families = body::families(&headers, &bytes)?;
        Ok::<(), Refusal>(gateway.push(&key, families, mode, time_to_live)?)
    });
    pushed.await??;
    let code = if is_unchecked { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(code.into_response())
}

/// The labels in a path, whose values may hold slashes behind percent signs.
fn grouping_key(uri: &Uri, has_utf8_names: bool) -> Result<GroupingKey, Refusal> {
    let labels = uri.path().split_once("/metrics/").map_or("", |(_, labels)| labels);
    let decoded = labels.split('/').map(|part| percent_decode_str(part).decode_utf8().map(|text| text.into_owned()));
    let mut parts: Vec<String> = decoded.collect::<Result<_, _>>().map_err(|_| Refusal::Path)?;
    if !parts.len().is_multiple_of(2) && parts.last().is_some_and(String::is_empty) {
        // A slash at the end.
        parts.pop();
    }
    Ok(GroupingKey::of_path(&parts, has_utf8_names)?)
}

fn time_to_live(uri: &Uri) -> Result<Option<Duration>, Refusal> {
    let query = uri.query().unwrap_or_default();
    let Some((_, text)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ttl") else {
        return Ok(None);
    };
    let duration: PromDuration = text.parse().map_err(|error| Refusal::TimeToLive(format!("{error}")))?;
    Ok(Some(duration.get()))
}

async fn wipe(State(shared): State<Shared>) -> Result<Response, Refusal> {
    if !shared.flags.enable_admin_api {
        return Ok(plain(StatusCode::NOT_FOUND, "admin APIs are disabled: start with --web.enable-admin-api\n"));
    }
    let gateway = gateway(&shared)?;
    on_disk(move || gateway.wipe()).await??;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// All metrics, as text, or as protobuf for who prefers that: native histograms are in protobuf alone.
async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Refusal> {
    let families = gateway(&shared)?.families();
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept::prefers_protobuf(accept) {
        let page: Vec<u8> = families.iter().flat_map(FamilyMessage::encode_length_delimited_to_vec).collect();
        return Ok(([(header::CONTENT_TYPE, accept::DELIMITED)], page).into_response());
    }
    let (names, escaping) = match accept::knows_utf8(accept) {
        true => (family_text::Names::Quoted, "allow-utf-8"),
        false => (family_text::Names::Underscores, "underscores"),
    };
    let mut page = String::new();
    families.iter().for_each(|family| family_text::write(&mut page, family, names));
    let content_type = format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
    Ok(([(header::CONTENT_TYPE, content_type)], page).into_response())
}

/// For the page that shows the groups.
pub(crate) fn html(page: String) -> Response {
    Html(page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_paths_may_hold_anything() {
        let key = |path: &str| grouping_key(&path.parse().expect("a path"), false).map(|key| key.to_string()).ok();
        assert_eq!(key("/x/metrics/job/a%2Fb/c/%C3%A9").as_deref(), Some("{c=\"é\",job=\"a/b\"}"));
        assert_eq!(key("/metrics/job/a/").as_deref(), Some("{job=\"a\"}"));
        assert_eq!(key("/metrics/job/a/b/").as_deref(), Some("{b=\"\",job=\"a\"}"));
        assert_eq!(key("/metrics/job/%FF"), None);
    }
}
