//! Who is scraped, and what came of it: a table for each job, what is down first.

use std::fmt::Write as _;

use axum::{
    extract::State,
    response::{Html, IntoResponse as _, Response},
};

use super::{escaped, head};
use crate::{
    api::Shared,
    calendar,
    scrape::{
        PoolView,
        target::{Health, Target},
    },
};

/// Lines of one job's table; a page of thousands is read by nobody, and the API has them all.
const LINES: usize = 500;

pub(crate) async fn page(State(shared): State<Shared>) -> Response {
    let pools = shared.scraper.get().map(|scraper| scraper.pools()).unwrap_or_default();
    let mut page = String::new();
    render(&mut page, &pools).expect("writing to memory");
    Html(page).into_response()
}

fn render(page: &mut String, pools: &[PoolView]) -> std::fmt::Result {
    head(page, "Millrace: targets")?;
    writeln!(page, "<h1>Targets</h1>")?;
    if pools.is_empty() {
        writeln!(page, "<p>The configuration has no <code>scrape_configs</code>.</p>")?;
    }
    for pool in pools {
        let count = |health: Health| pool.targets.iter().filter(|target| target.state().health == health).count();
        let (up, down, total) = (count(Health::Up), count(Health::Down), pool.targets.len());
        let name = escaped(&pool.job.job_name);
        writeln!(page, "<h2 id=\"{name}\">{name}</h2>\n<p>{up} of {total} up, {down} down.</p>\n<table>")?;
        writeln!(page, "<tr><th>Target</th><th>State</th><th>Labels</th><th>Last scrape</th><th>Took, ms</th>")?;
        writeln!(page, "<th>Series</th><th>Error</th></tr>")?;
        let mut targets: Vec<&Target> = pool.targets.iter().map(|target| &**target).collect();
        targets.sort_by_key(|target| target.state().health != Health::Down);
        targets.iter().take(LINES).try_for_each(|target| row(page, target))?;
        writeln!(page, "</table>")?;
        if total > LINES {
            writeln!(page, "<p>{} more are in <code>api/v1/targets</code>.</p>", total - LINES)?;
        }
    }
    writeln!(page, "</body></html>")
}

fn row(page: &mut String, target: &Target) -> std::fmt::Result {
    let state = target.state().clone();
    let url = escaped(&target.url.to_string());
    let last = state.last_scrape.map_or_else(|| "never".to_owned(), calendar::rfc3339_ms);
    write!(page, "<tr><td><a href=\"{url}\">{url}</a></td><td>{}</td>", state.health.as_str())?;
    write!(page, "<td>{}</td><td>{last}</td>", escaped(&target.public.to_string()))?;
    write!(page, "<td class=\"n\">{}</td><td class=\"n\">{}</td>", state.last_duration.as_millis(), state.series)?;
    writeln!(page, "<td>{}</td></tr>", escaped(&state.last_error))
}
