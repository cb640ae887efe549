//! Errors of the API, and the only place where they become status codes.

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use shard::Refusal;

use crate::{json::Json, query::storage::StorageError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    Unavailable,
}

impl ErrorKind {
    fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    fn code(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // Known to Prometheus' clients though not registered: the client went away.
            Self::Canceled => StatusCode::from_u16(499).expect("three digits"),
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal | Self::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn bad_data(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, text)
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }

    pub(crate) fn bad_parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let kind = match error {
            StorageError::TooLarge { .. } => ErrorKind::Execution,
            StorageError::Refused(Refusal::SelectionTooLarge { .. }) => ErrorKind::Execution,
            StorageError::Refused(Refusal::Starting { .. } | Refusal::Stopping) => ErrorKind::Unavailable,
            // As a timeout it is 503: the client may ask again.
            StorageError::Refused(Refusal::Overloaded { .. }) => ErrorKind::Timeout,
            StorageError::Refused(_) | StorageError::Damaged(_) | StorageError::Panicked => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut json = Json::default();
        json.object().key("status").string("error");
        json.key("errorType").string(self.kind.name()).key("error").string(&self.text).end_object();
        json_response(self.kind.code(), json.take())
    }
}

pub(crate) fn json_response(code: StatusCode, body: impl Into<Body>) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// `{"status":"success","data":<what `write` writes>}`, with the warnings behind the data if there are any.
pub(crate) fn success(write: impl FnOnce(&mut Json), warnings: &[&str]) -> Response {
    let mut json = Json::default();
    json.object().key("status").string("success").key("data");
    write(&mut json);
    if !warnings.is_empty() {
        json.key("warnings").strings(warnings.iter().copied());
    }
    json.end_object();
    json_response(StatusCode::OK, json.take())
}
