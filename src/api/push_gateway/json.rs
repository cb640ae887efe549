//! The gateway's state in JSON.

use axum::{extract::State, response::Response};
use model::{Histogram, histogram::buckets::Count, value_text};
use wire::exposition::{
    families::{MetricMessage, kind},
    family_text::kind_text,
};

use super::{Refusal, gateway};
use crate::{
    api::{Shared, error::success},
    calendar,
    json::Json,
    push_gateway::{Group, TimedFamily, failure_family, time_family},
    version,
};

pub(super) async fn status(State(shared): State<Shared>) -> Response {
    let write = |json: &mut Json| {
        json.object();
        json.key("build_information").string_map([
            ("version", version::VERSION),
            ("revision", version::REVISION),
            ("branch", ""),
        ]);
        let flags = shared.flag_texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        json.key("flags").string_map(flags);
        json.key("start_time").string(&calendar::rfc3339_ms(shared.started_at_ms));
        json.end_object();
    };
    success(write, &[])
}

pub(super) async fn metrics(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let groups = gateway(&shared)?.groups();
    let write = |json: &mut Json| {
        json.array();
        groups.iter().for_each(|group| write_group(json, group));
        json.end_array();
    };
    Ok(success(write, &[]))
}

fn write_group(json: &mut Json, group: &Group) {
    json.object();
    json.key("labels").string_map(group.key.0.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    json.key("last_push_successful").bool(group.is_last_push_taken());
    let times = [(group.push_time_ms, time_family(group)), (group.failure_time_ms, failure_family(group))];
    let times = times.map(|(time_ms, family)| TimedFamily { time_ms, family });
    group.families.values().chain(&times).for_each(|timed| write_family(json, timed));
    json.end_object();
}

fn write_family(json: &mut Json, TimedFamily { time_ms, family }: &TimedFamily) {
    json.key(&family.name).object();
    json.key("time_stamp").string(&calendar::rfc3339_ms(*time_ms));
    json.key("type").string(&kind_text(family.kind).to_ascii_uppercase());
    if !family.help.is_empty() {
        json.key("help").string(&family.help);
    }
    json.key("metrics").array();
    family.metric.iter().for_each(|metric| write_metric(json, family.kind, metric));
    json.end_array().end_object();
}

fn write_metric(json: &mut Json, of_kind: i32, metric: &MetricMessage) {
    let number = value_text::general;
    json.object();
    json.key("labels").string_map(metric.labels());
    match of_kind {
        kind::SUMMARY => {
            let summary = metric.summary.clone().unwrap_or_default();
            let quantiles: Vec<_> =
                summary.quantile.iter().map(|quantile| (number(quantile.quantile), number(quantile.value))).collect();
            write_numbers(json, "quantiles", &quantiles);
            json.key("count").string(&summary.sample_count.to_string());
            json.key("sum").string(&number(summary.sample_sum));
        }
        kind::HISTOGRAM | kind::GAUGE_HISTOGRAM => {
            let histogram = metric.histogram.clone().unwrap_or_default();
            if histogram.bucket.is_empty() && histogram.is_native() {
                write_native(json, &histogram.native(of_kind == kind::GAUGE_HISTOGRAM));
            } else {
                let buckets = histogram.bucket.iter();
                let buckets: Vec<_> =
                    buckets.map(|bucket| (number(bucket.upper_bound), number(bucket.count()))).collect();
                write_numbers(json, "buckets", &buckets);
            }
            json.key("count").string(&number(histogram.count()));
            json.key("sum").string(&number(histogram.sample_sum));
        }
        _ => {
            json.key("value").string(&number(metric.value()));
        }
    }
    json.end_object();
}

/// Buckets as answers to queries have them: which of their bounds are in them, the bounds, the count.
fn write_native(json: &mut Json, histogram: &Histogram) {
    json.key("buckets").array();
    for bucket in histogram.buckets() {
        let inside = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        let count = match bucket.count {
            Count::Integer(count) => count as f64,
            Count::Float(count) => count,
        };
        json.array().integer(inside);
        for value in [bucket.lower, bucket.upper, count] {
            json.string(&value_text::general(value));
        }
        json.end_array();
    }
    json.end_array();
}

fn write_numbers(json: &mut Json, key: &str, numbers: &[(String, String)]) {
    json.key(key).string_map(numbers.iter().map(|(bound, value)| (bound.as_str(), value.as_str())));
}
