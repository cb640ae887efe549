//! `targets/relabel_steps`: what each rule of a job makes of a target's labels.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use model::{Labels, LabelsBuilder};

use super::targets::{pools_of, write_labels};
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::Json,
    targets::relabel,
};

pub(super) async fn relabel_steps(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let name = params.get("scrapePool").unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    }
    let labels = params.get("labels").filter(|labels| !labels.is_empty());
    let labels = labels.ok_or_else(|| ApiError::bad_data("no labels parameter provided"))?;
    let labels: BTreeMap<String, String> = serde_json::from_str(labels)
        .map_err(|error| ApiError::bad_data(format!("invalid labels JSON provided: {error}")))?;
    let pools = pools_of(&shared, Some(name));
    let job = &pools
        .first()
        .ok_or_else(|| ApiError::bad_data(format!("error getting scrape config: unknown scrape pool {name:?}")))?
        .job;
    let mut labels = LabelsBuilder::from_labels(&Labels::from_pairs(labels));
    let mut is_kept = true;
    let write = |json: &mut Json| {
        json.object().key("steps").array();
        for rule in &job.relabel_configs {
            // Behind a rule that drops it the target has no labels.
            is_kept = is_kept && relabel::apply(std::slice::from_ref(rule), job.name_scheme, &mut labels);
            json.object().key("rule");
            write_rule(json, rule);
            json.key("output");
            write_labels(json, &if is_kept { labels.build() } else { Labels::empty() });
            json.key("keep").bool(is_kept).end_object();
        }
        json.end_array().end_object();
    };
    Ok(success(write, &[]))
}

fn write_rule(json: &mut Json, rule: &crate::config::prometheus::relabel::RelabelConfig) {
    json.object().key("source_labels").strings(rule.source_labels.iter().map(String::as_str));
    json.key("separator").string(&rule.separator).key("regex").string(rule.regex_text());
    json.key("modulus").integer(rule.modulus).key("target_label").string(&rule.target_label);
    json.key("replacement").string(&rule.replacement).key("action").string(rule.action.as_str()).end_object();
}
