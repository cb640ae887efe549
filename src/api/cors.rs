//! Which browsers may call from elsewhere (`--web.cors.origin`).

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::Shared;

pub(crate) async fn add_headers(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(allowed) = origin.and_then(|origin| allowed(&shared, origin)) else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    let names = HeaderValue::from_static("Accept, Authorization, Content-Type, Origin");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
    response
}

fn allowed(shared: &Shared, origin: HeaderValue) -> Option<HeaderValue> {
    match &shared.flags.cors_origin.regex {
        None => Some(origin),
        Some(regex) => regex.is_match(origin.to_str().ok()?).then_some(origin),
    }
}
