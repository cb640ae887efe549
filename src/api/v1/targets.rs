//! `targets` and `scrape_pools`: who is scraped, and what came of it.

use axum::{extract::State, response::Response};
use hyper::Uri;
use model::Labels;

use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    calendar,
    config::units::PromDuration,
    json::{Json, number},
    scrape::{PoolView, target::Target},
};

/// What Prometheus shows for a scrape that there was not yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) async fn targets(State(shared): State<Shared>, params: Params) -> Response {
    let state = params.get("state").map(str::to_ascii_lowercase).unwrap_or_default();
    let (with_active, with_dropped) = match state.as_str() {
        "active" => (true, false),
        "dropped" => (false, true),
        _ => (true, true),
    };
    let pools = pools_of(&shared, params.get("scrapePool"));
    let write = |json: &mut Json| {
        json.object().key("activeTargets").array();
        for pool in pools.iter().filter(|_| with_active) {
            pool.targets.iter().for_each(|target| write_target(json, &shared, &pool.job.job_name, target));
        }
        json.end_array().key("droppedTargets").array();
        for pool in pools.iter().filter(|_| with_dropped) {
            for discovered in &pool.dropped {
                json.object().key("discoveredLabels");
                write_labels(json, discovered);
                json.key("scrapePool").string(&pool.job.job_name).end_object();
            }
        }
        json.end_array().key("droppedTargetCounts");
        json.object();
        for pool in pools.iter().filter(|_| with_dropped) {
            json.key(&pool.job.job_name).integer(pool.dropped_count as i128);
        }
        json.end_object().end_object();
    };
    success(write, &[])
}

pub(super) async fn scrape_pools(State(shared): State<Shared>) -> Response {
    let pools = pools_of(&shared, None);
    let write = |json: &mut Json| {
        json.object().key("scrapePools").strings(pools.iter().map(|pool| pool.job.job_name.as_str())).end_object();
    };
    success(write, &[])
}

/// What is in effect of a job.
pub(super) async fn scrape_pool_config(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let name = params.get("scrapePool").unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    }
    let config = shared.scraped();
    let yaml = config.job_yaml(name);
    let yaml = yaml.ok_or_else(|| ApiError::bad_data(format!("unknown scrape pool {name:?}")))?;
    let write = |json: &mut Json| {
        json.object().key("yaml").string(yaml).end_object();
    };
    Ok(success(write, &[]))
}

/// All pools, or the one of that name.
pub(super) fn pools_of(shared: &Shared, name: Option<&str>) -> Vec<PoolView> {
    let mut pools = shared.scraper.get().map(|scraper| scraper.pools()).unwrap_or_default();
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        pools.retain(|pool| pool.job.job_name == name);
    }
    pools
}

pub(super) fn write_labels(json: &mut Json, labels: &Labels) {
    json.string_map(labels.iter().map(|label| (label.name, label.value)));
}

fn write_target(json: &mut Json, shared: &Shared, pool: &str, target: &Target) {
    let state = target.state().clone();
    json.object().key("discoveredLabels");
    write_labels(json, &state.discovered);
    json.key("labels");
    write_labels(json, &target.public);
    json.key("scrapePool").string(pool).key("scrapeUrl").string(&target.url.to_string());
    json.key("globalUrl").string(&global_url(shared, &target.url)).key("lastError").string(&state.last_error);
    let last_scrape = state.last_scrape.map_or_else(|| NEVER.to_owned(), calendar::rfc3339_ms);
    let duration = number::value_text(state.last_duration.as_secs_f64());
    json.key("lastScrape").string(&last_scrape).key("lastScrapeDuration").raw(duration.as_bytes());
    let text = |duration: std::time::Duration| {
        PromDuration::from_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
    };
    json.key("health").string(state.health.as_str()).key("scrapeInterval").string(&text(target.interval));
    json.key("scrapeTimeout").string(&text(target.timeout)).end_object();
}

/// A URL as others see it: this machine by its name.
pub(crate) fn global_url(shared: &Shared, url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        return url.to_string();
    }
    let external = &shared.flags.external_url;
    let authority = external.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
    let is_own_port = shared.addresses.iter().any(|address| Some(address.port()) == url.port_u16());
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = match authority.rsplit_once(':') {
        _ if authority.is_empty() => own,
        _ if is_own_port => return with_authority(url, authority),
        Some((name, _)) => name.to_owned(),
        None => authority.to_owned(),
    };
    match url.port() {
        Some(port) => with_authority(url, &format!("{name}:{port}")),
        None => with_authority(url, &name),
    }
}

fn with_authority(url: &Uri, authority: &str) -> String {
    let path = url.path_and_query().map_or("", |path| path.as_str());
    format!("{}://{authority}{path}", url.scheme_str().unwrap_or_default())
}
