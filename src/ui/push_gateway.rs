//! Groups of pushed metrics.

use std::fmt::Write as _;

use axum::{extract::State, response::Response};

use super::{escaped, head};
use crate::{
    api::{Shared, push_gateway::html},
    calendar,
    push_gateway::Group,
};

/// Lines of the table.
const LINES: usize = 1000;

pub(crate) async fn page(State(shared): State<Shared>) -> Response {
    let groups = shared.push_gateway.get().map(|gateway| gateway.groups()).unwrap_or_default();
    let mut page = String::new();
    render(&mut page, &groups).expect("writing to memory");
    html(page)
}

fn render(page: &mut String, groups: &[std::sync::Arc<Group>]) -> std::fmt::Result {
    head(page, "Millrace: pushed metrics")?;
    writeln!(page, "<h1>Pushed metrics</h1>\n<p>{} groups.</p>", groups.len())?;
    write!(page, "<table><tr><th>Group</th><th>Last push</th><th>Last failure</th><th>Time to live</th>")?;
    writeln!(page, "<th>Families</th></tr>")?;
    for group in groups.iter().take(LINES) {
        let time = |ms: i64| if ms == 0 { "never".to_owned() } else { calendar::rfc3339_s(ms) };
        let life = group.time_to_live.map_or_else(String::new, |life| format!("{} s", life.as_secs()));
        let names: Vec<_> = group.families.keys().map(|name| escaped(name)).collect();
        write!(page, "<tr><td>{}</td><td>{}</td>", escaped(&group.key.to_string()), time(group.push_time_ms))?;
        writeln!(page, "<td>{}</td><td>{life}</td><td>{}</td></tr>", time(group.failure_time_ms), names.join(" "))?;
    }
    writeln!(page, "</table>")?;
    if groups.len() > LINES {
        writeln!(page, "<p>The first {LINES}; all are in <code>api/v1/metrics</code>.</p>")?;
    }
    writeln!(page, "</body></html>")
}
