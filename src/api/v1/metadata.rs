//! `metadata`: type, help and unit of metrics, as senders told them.

use axum::{extract::State, response::Response};
use shard::metadata::Metadata;

use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::Json,
};

pub(super) async fn metadata(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let limit = number(&params, "limit")?;
    let limit_per_metric = number(&params, "limit_per_metric")?;
    let metric = params.get("metric").filter(|metric| !metric.is_empty());
    let mut known = shared.storage()?.metadata(metric);
    if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) {
        known.truncate(limit);
    }
    let per_metric = limit_per_metric.filter(|limit| *limit > 0).and_then(|limit| usize::try_from(limit).ok());
    let write = |json: &mut Json| {
        json.object();
        for (name, variants) in &known {
            json.key(name).array();
            variants.iter().take(per_metric.unwrap_or(usize::MAX)).for_each(|variant| write_variant(json, variant));
            json.end_array();
        }
        json.end_object();
    };
    Ok(success(write, &[]))
}

pub(super) fn number(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let text = params.get(name).filter(|text| !text.is_empty());
    let number = text.map(str::parse).transpose();
    number.map_err(|_| ApiError::bad_data(format!("{name} must be a number")))
}

fn write_variant(json: &mut Json, Metadata { kind, help, unit }: &Metadata) {
    json.object().key("type").string(kind).key("help").string(help).key("unit").string(unit).end_object();
}
