//! `/metrics`.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};

use super::Shared;
use crate::telemetry::{
    blocks, data_plane,
    exposition::{CONTENT_TYPE, Exposition},
    process,
};

pub(crate) async fn show(State(shared): State<Shared>) -> Response {
    let mut page = Exposition::default();
    shared.metrics.write(&mut page);
    process::write(&mut page);
    if let Some(storage) = shared.storage.get() {
        data_plane::write_ingest(&mut page, storage.writes());
        blocks::write(&mut page, storage.blocks());
    }
    if let Some(scraper) = shared.scraper.get() {
        scraper.write_metrics(&mut page);
    }
    if let Some(gateway) = shared.push_gateway.get() {
        gateway.write_metrics(&mut page);
    }
    // A shard that does not answer leaves its lines out: the rest of the page is needed most just then.
    if let Some(storage) = shared.storage.get()
        && let Ok(stats) = storage.stats().await
    {
        data_plane::write(&mut page, storage.handle(), &stats);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.finish()).into_response()
}
