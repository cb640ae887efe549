//! `/api/v1/write`: remote write on the API port, through the same receiver as the ingest port's.
//!
//! Always on: what Prometheus asks `--web.enable-remote-write-receiver` for is here what the program is for.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::{Shared, plain};

/// Bound on a compressed body.
const BODY_BYTES_MAX: usize = 32 << 20;

pub(super) async fn receive(State(shared): State<Shared>, request: Request) -> Response {
    let Ok(storage) = shared.storage() else { return super::lifecycle::unavailable(&shared) };
    let (parts, body) = request.into_parts();
    let text = |name: HeaderName| parts.headers.get(name).map(|value| value.to_str().unwrap_or("(not ASCII)"));
    let body = match read(body, shared.flags.read_timeout.get()).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let receiver = storage.receiver();
    let answer =
        receiver.receive(storage.handle(), text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING), &body).await;
    answer.into_response().map(Body::from)
}

async fn read(body: Body, patience: Duration) -> Result<Bytes, Box<Response>> {
    // Said before anything is read, so that a sender need not send what won't be taken.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Box::new(too_large()));
    }
    match tokio::time::timeout(patience, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Box::new(too_large())),
        Ok(Err(error)) => Err(Box::new(plain(StatusCode::BAD_REQUEST, format!("the body broke off: {error}\n")))),
        Err(_) => {
            let text = format!("the body did not arrive within {} s (--web.read-timeout)\n", patience.as_secs());
            Err(Box::new(plain(StatusCode::REQUEST_TIMEOUT, text)))
        }
    }
}

fn too_large() -> Response {
    let text = format!("the body is larger than {BODY_BYTES_MAX} bytes: send fewer samples in a request\n");
    plain(StatusCode::PAYLOAD_TOO_LARGE, text)
}
