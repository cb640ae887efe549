//! `/api/v1/admin/tsdb/...`: deletion, the rewriting of blocks that something was deleted of, snapshots. Only with
//! `--web.enable-admin-api`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use blocks::{BlocksError, Deletion};
use tsdb::select::TimeRange;

use super::selectors::match_sets;
use crate::{
    api::{
        Shared,
        error::{ApiError, ErrorKind, success},
        params::Params,
    },
    calendar,
    json::Json,
};

/// Answers when what was deleted is shown no more, and will not be after a crash either.
pub(super) async fn delete_series(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let service = service(&shared)?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let match_sets = match_sets(&params).map_err(|error| ApiError::bad_parameter("match[]", error))?;
    let range = TimeRange { min_time: params.time_or("start", i64::MIN)?, max_time: params.time_or("end", i64::MAX)? };
    if range.min_time > range.max_time {
        return Err(ApiError::bad_parameter("end", "end timestamp must not be before start time"));
    }
    let match_sets = match_sets.iter().map(|set| Arc::from(set.as_slice())).collect();
    service.delete(Deletion { match_sets, range }).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Answers when the blocks without what was deleted have taken the others' place.
pub(super) async fn clean_tombstones(State(shared): State<Shared>) -> Result<Response, ApiError> {
    service(&shared)?.clean_tombstones().await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn snapshot(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let service = service(&shared)?;
    let skip_head = match params.get("skip_head") {
        None | Some("") => false,
        Some(text) => boolean(text).ok_or_else(|| {
            ApiError::bad_parameter("skip_head", format!("unable to parse boolean \"{text}\": it is true or false"))
        })?,
    };
    let name = service.snapshot(calendar::compact_s(calendar::now_ms()), skip_head).await.map_err(refused)?;
    let write = |json: &mut Json| {
        json.object().key("name").string(&name).end_object();
    };
    Ok(success(write, &[]))
}

pub(super) fn must_be_enabled(shared: &Shared) -> Result<(), ApiError> {
    let refusal = || ApiError::new(ErrorKind::Unavailable, "admin APIs disabled");
    shared.flags.enable_admin_api.then_some(()).ok_or_else(refusal)
}

fn service(shared: &Shared) -> Result<blocks::Service, ApiError> {
    must_be_enabled(shared)?;
    Ok(shared.storage()?.blocks().clone())
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn refused(error: BlocksError) -> ApiError {
    let kind = match error {
        BlocksError::Starting | BlocksError::Stopping => ErrorKind::Unavailable,
        // As a timeout it is 503: the client may ask again.
        BlocksError::Busy { .. } => ErrorKind::Timeout,
        BlocksError::Shards(refusal) => return crate::query::storage::StorageError::from(refusal).into(),
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_prometheus() {
        assert_eq!((boolean("1"), boolean("False"), boolean("yes")), (Some(true), Some(false), None));
    }
}
