//! What discovery found, and what relabelling made of it.

use std::fmt::Write as _;

use axum::{
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use model::Labels;

use super::{escaped, head};
use crate::{api::Shared, scrape::PoolView};

/// Lines of one job's table.
const LINES: usize = 500;

pub(crate) async fn page(State(shared): State<Shared>) -> Response {
    let pools = shared.scraper.get().map(|scraper| scraper.pools()).unwrap_or_default();
    let mut page = String::new();
    render(&mut page, &pools).expect("writing to memory");
    Html(page).into_response()
}

fn render(page: &mut String, pools: &[PoolView]) -> std::fmt::Result {
    head(page, "Millrace: service discovery")?;
    writeln!(page, "<h1>Service discovery</h1>")?;
    for pool in pools {
        let name = escaped(&pool.job.job_name);
        let (kept, dropped) = (pool.targets.len(), pool.dropped_count);
        writeln!(page, "<h2 id=\"{name}\">{name}</h2>\n<p>{kept} of {} targets kept.</p>", kept + dropped)?;
        writeln!(page, "<table><tr><th>Found</th><th>Labels of the target</th></tr>")?;
        for target in pool.targets.iter().take(LINES) {
            let discovered = target.state().discovered.clone();
            row(page, &discovered, &escaped(&target.public.to_string()))?;
        }
        let left = LINES.saturating_sub(kept);
        pool.dropped.iter().take(left).try_for_each(|found| row(page, found, "dropped by relabelling"))?;
        writeln!(page, "</table>")?;
        if kept + dropped > LINES {
            writeln!(page, "<p>The first {LINES}; all are in <code>api/v1/targets</code>.</p>")?;
        }
    }
    writeln!(page, "</body></html>")
}

fn row(page: &mut String, found: &Labels, outcome: &str) -> std::fmt::Result {
    writeln!(page, "<tr><td>{}</td><td>{outcome}</td></tr>", escaped(&found.to_string()))
}
