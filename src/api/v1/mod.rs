//! `/api/v1`.

mod admin;
mod codec;
mod empty;
mod exemplars;
mod language;
mod metadata;
mod queries;
mod query;
mod relabel_steps;
pub(super) mod selectors;
mod series;
mod status;
mod target_metadata;
mod targets;

use axum::{
    Router,
    routing::{get, post},
};

use super::Shared;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/format_query", get(language::format).post(language::format))
        .route("/parse_query", get(language::parse).post(language::parse))
        .route("/series", get(series::series).post(series::series))
        .route("/labels", get(series::label_names).post(series::label_names))
        .route("/label/{name}/values", get(series::label_values))
        .route("/metadata", get(metadata::metadata))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(target_metadata::target_metadata))
        .route("/targets/relabel_steps", get(relabel_steps::relabel_steps))
        .route("/scrape_pools", get(targets::scrape_pools))
        .route("/scrape_pools/config", get(targets::scrape_pool_config))
        .route("/rules", get(empty::rules))
        .route("/alerts", get(empty::alerts))
        .route("/alertmanagers", get(empty::alertmanagers))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/active_queries", get(queries::active))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(status::blocks))
        .route("/admin/queries/{id}/cancel", post(queries::cancel).put(queries::cancel))
        .route("/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
}
