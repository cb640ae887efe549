//! Where series come from, as tables: who to talk to when there are too many.

use std::fmt::Write as _;

use axum::{
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

use super::{escaped, head};
use crate::{
    api::Shared,
    query::cardinality::{Cardinality, NamedCount},
};

/// Lines of each table.
const LINES: usize = 20;

pub(crate) async fn page(State(shared): State<Shared>) -> Response {
    let Some(storage) = shared.storage.get() else { return crate::api::lifecycle::unavailable(&shared) };
    match storage.cardinality(LINES).await {
        Ok(cardinality) => {
            let mut page = String::new();
            let limit = storage.handle().shared().series_max();
            render(&mut page, &cardinality, limit).expect("writing to memory");
            Html(page).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

fn render(page: &mut String, found: &Cardinality, limit: u64) -> std::fmt::Result {
    head(page, "Millrace: series")?;
    writeln!(page, "<h1>Series</h1><p>{} of {limit} series, {} label pairs.</p>", found.series, found.label_pairs)?;
    writeln!(
        page,
        "<p>New is what was created within the last hour. Each limit (<code>--limits.*</code>) refuses new series alone.</p>"
    )?;
    let tables = [
        ("Metrics with the most series", &found.series_by_metric),
        ("Metrics with the most new series", &found.new_series_by_metric),
        ("Labels with the most values", &found.values_by_label),
        ("Labels with the most new values", &found.new_values_by_label),
        ("Label pairs with the most series", &found.series_by_pair),
        ("Label pairs with the most new series", &found.new_series_by_pair),
    ];
    for (title, counts) in tables {
        table(page, title, counts)?;
    }
    writeln!(page, "</body></html>")
}

fn table(page: &mut String, title: &str, counts: &[NamedCount]) -> std::fmt::Result {
    writeln!(page, "<h2>{title}</h2>\n<table>")?;
    for NamedCount { name, count } in counts {
        writeln!(page, "<tr><th>{}</th><td class=\"n\">{count}</td></tr>", escaped(name))?;
    }
    writeln!(page, "</table>")
}
