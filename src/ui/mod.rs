//! The status page: plain HTML, readable without scripts and in a text browser.

pub(crate) mod cardinality;
pub(crate) mod push_gateway;
pub(crate) mod service_discovery;
pub(crate) mod targets;

use std::fmt::Write as _;

use axum::{
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use shard::stats::ShardStats;

use crate::{api::Shared, calendar, query::storage::Storage, version};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;\
                     background:#fff}table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #d0d7de;padding:.3rem .7rem;\
                     text-align:left}th{background:#f3f5f7}td.n{text-align:right;font-variant-numeric:tabular-nums}\
                     @media(prefers-color-scheme:dark){body{background:#16191d;color:#dde2e7}th{background:#22272e}\
                     th,td{border-color:#3a424b}a{color:#7ab7ff}}";

/// Where the page leads.
const LINKS: [(&str, &str); 13] = [
    ("targets", "who is scraped, and what came of it"),
    ("service-discovery", "what discovery found, and what relabelling made of it"),
    ("metrics", "metrics of this server"),
    ("cardinality", "which metrics, labels and values have the most series, and the most new ones"),
    ("api/v1/status/active_queries", "queries that run or wait"),
    ("api/v1/status/tsdb", "series and labels by count"),
    ("api/v1/status/flags", "flags in effect"),
    ("api/v1/status/config", "configuration in effect"),
    ("api/v1/status/buildinfo", "build"),
    ("api/v1/status/runtimeinfo", "process"),
    ("api/v1/labels", "label names"),
    ("-/healthy", "health"),
    ("-/ready", "readiness"),
];

pub(crate) async fn status_page(State(shared): State<Shared>) -> Response {
    let stats = match shared.storage.get() {
        Some(storage) => storage.stats().await.unwrap_or_default(),
        None => Vec::new(),
    };
    let mut page = String::new();
    render(&mut page, &shared, &stats).expect("writing to memory");
    Html(page).into_response()
}

fn render(page: &mut String, shared: &Shared, stats: &[ShardStats]) -> std::fmt::Result {
    head(page, "Millrace")?;
    writeln!(page, "<h1>Millrace {}</h1>", version::VERSION)?;
    writeln!(page, "<table>")?;
    row(page, "Started", &calendar::rfc3339_s(shared.started_at_ms))?;
    row(page, "Placement", &shared.placement)?;
    row(page, "Backend", shared.storage.get().map_or("starting", Storage::backend))?;
    let addresses: Vec<_> = shared.addresses.iter().map(ToString::to_string).collect();
    row(page, "API, status and remote write", &addresses.join(", "))?;
    let ingest = shared.ingest_address.get().map_or_else(|| "off".to_owned(), |address| address.to_string());
    row(page, "Ingest listener", &ingest)?;
    row(page, "Data", &shared.flags.storage_path.display().to_string())?;
    let state = if shared.metrics.reload_successful() { "loaded" } else { "the last reload failed; see the log" };
    row(page, "Configuration", &format!("{}: {state}", shared.flags.config_file.display()))?;
    let without_effect = shared.config().without_effect.join(", ");
    if !without_effect.is_empty() {
        row(page, "Without effect in this release", &without_effect)?;
    }
    writeln!(page, "</table>")?;
    shards(page, stats)?;
    writeln!(page, "<h2>More</h2><ul>")?;
    for (path, what) in LINKS {
        writeln!(page, "<li><a href=\"{}/{path}\">{path}</a>: {what}</li>", escaped(&shared.route_prefix))?;
    }
    writeln!(page, "</ul></body></html>")
}

fn head(page: &mut String, title: &str) -> std::fmt::Result {
    write!(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>")?;
    writeln!(page, "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>")
}

fn row(page: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escaped(value))
}

fn shards(page: &mut String, stats: &[ShardStats]) -> std::fmt::Result {
    writeln!(
        page,
        "<h2>Shards</h2>\n<table><tr><th>Shard</th><th>State</th><th>Series</th><th>Chunks</th><th>Samples stored</th>"
    )?;
    writeln!(page, "<th>Commits</th><th>Heap, MiB</th></tr>")?;
    for (number, shard) in stats.iter().enumerate() {
        let state = match (shard.fenced, shard.stalled) {
            (true, _) => "fenced: reads only",
            (false, true) => "waiting for its disk",
            (false, false) => "serving",
        };
        write!(page, "<tr><td>{number}</td><td>{state}</td>")?;
        let heap = (shard.heap.total() >> 20) as u64;
        for count in [shard.series, shard.chunks, shard.samples_stored, shard.commits, heap] {
            write!(page, "<td class=\"n\">{count}</td>")?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</table>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
