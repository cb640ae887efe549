//! `targets/metadata`: what the pages of targets say of their metrics.

use axum::{extract::State, response::Response};
use model::{Labels, Matcher};
use promql::parser::parse_metric_selector;

use super::{
    metadata::number,
    targets::{pools_of, write_labels},
};
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::Json,
    scrape::Family,
};

pub(super) async fn target_metadata(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let limit = number(&params, "limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let selector = params.get("match_target").filter(|selector| !selector.is_empty());
    let matchers = selector
        .map(|selector| parse_metric_selector(selector).map_err(|error| ApiError::bad_parameter("match_target", error)))
        .transpose()?
        .unwrap_or_default();
    let metric = params.get("metric").filter(|metric| !metric.is_empty());
    let mut found: Vec<(Labels, std::sync::Arc<Family>)> = Vec::new();
    let targets = pools_of(&shared, None).into_iter().flat_map(|pool| pool.targets);
    for target in targets.filter(|target| is_matched(&matchers, &target.public)) {
        let families = target.state().families.clone();
        let wanted = families.into_iter().filter(|family| metric.is_none_or(|metric| family.name == metric));
        found.extend(wanted.take(limit - found.len()).map(|family| (target.public.clone(), family)));
        if found.len() >= limit {
            break;
        }
    }
    let write = |json: &mut Json| {
        json.array();
        for (target, family) in &found {
            json.object().key("target");
            write_labels(json, target);
            if metric.is_none() {
                json.key("metric").string(&family.name);
            }
            json.key("type").string(family.kind).key("help").string(&family.help);
            json.key("unit").string(&family.unit).end_object();
        }
        json.end_array();
    };
    Ok(success(write, &[]))
}

fn is_matched(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}
