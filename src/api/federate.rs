//! `/federate`: the newest sample of chosen series, for another server to scrape.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use model::{Histogram, Labels, METRIC_NAME, histogram::ResetHint};
use prost::Message as _;
use wire::exposition::{
    families::{FamilyMessage, HistogramMessage, LabelPairMessage, MetricMessage, ValueMessage, kind},
    family_text::{self, Names},
};

use super::{Shared, accept, params::Params, plain, v1::selectors::match_sets};
use crate::{
    calendar,
    query::{Newest, QueryFailure},
};

const INSTANCE: &str = "instance";

pub(super) async fn federate(State(shared): State<Shared>, headers: HeaderMap, params: Params) -> Response {
    let Ok(storage) = shared.storage() else { return super::lifecycle::unavailable(&shared) };
    let match_sets = match match_sets(&params) {
        Ok(match_sets) => match_sets,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let now = calendar::now_ms();
    let found = match shared.queries.newest(storage.clone(), match_sets, now).await {
        Ok(found) => found,
        Err(error @ QueryFailure::QueuedTooLong) => {
            return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
        }
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (names, is_protobuf) = (names_for(accept), accept::prefers_protobuf(accept));
    // Text has no native histograms.
    let families = families(&found, &shared.config().global.external_labels, is_protobuf);
    let body = if is_protobuf { in_protobuf(families, names) } else { in_text(&families, names).into_bytes() };
    ([(header::CONTENT_TYPE, content_type(is_protobuf, names))], body).into_response()
}

fn names_for(accept: &str) -> Names {
    if accept::knows_utf8(accept) { Names::Quoted } else { Names::Underscores }
}

fn content_type(is_protobuf: bool, names: Names) -> String {
    let format = if is_protobuf { accept::DELIMITED } else { "text/plain; version=0.0.4; charset=utf-8" };
    let escaping = if names == Names::Quoted { "allow-utf-8" } else { "underscores" };
    format!("{format}; escaping={escaping}")
}

/// All samples in order of their names, with the labels that tell this server from others where they have none of that name.
fn families(found: &BTreeMap<Labels, (i64, Newest)>, external: &Labels, with_histograms: bool) -> Vec<FamilyMessage> {
    let mut external: Vec<(&str, &str)> = external.iter().map(|label| (label.name, label.value)).collect();
    if external.iter().all(|(name, _)| *name != INSTANCE) {
        // Else the one who scrapes would take this server's own.
        external.push((INSTANCE, ""));
        external.sort_unstable();
    }
    let mut samples: Vec<(&str, &Labels, &(i64, Newest))> =
        found.iter().filter_map(|(labels, sample)| Some((labels.metric_name()?, labels, sample))).collect();
    samples.sort_by_key(|(name, ..)| *name);
    let mut families: Vec<FamilyMessage> = Vec::new();
    for (name, labels, (time, value)) in samples {
        let kind = kind_of(value);
        if kind != kind::UNTYPED && !with_histograms {
            continue;
        }
        if families.last().is_none_or(|family| family.name != name || family.kind != kind) {
            families.push(FamilyMessage { name: name.to_owned(), kind, ..FamilyMessage::default() });
        }
        let family = families.last_mut().expect("there is one now");
        family.metric.push(metric(labels, &external, *time, value));
    }
    families
}

fn kind_of(value: &Newest) -> i32 {
    match value {
        Newest::Float(_) => kind::UNTYPED,
        Newest::Histogram(histogram) if histogram.reset_hint == ResetHint::Gauge => kind::GAUGE_HISTOGRAM,
        Newest::Histogram(_) => kind::HISTOGRAM,
    }
}

fn metric(labels: &Labels, external: &[(&str, &str)], timestamp_ms: i64, value: &Newest) -> MetricMessage {
    let own = labels.iter().filter(|label| label.name != METRIC_NAME).map(|label| (label.name, label.value));
    let added = external.iter().copied().filter(|(name, _)| labels.get(name).is_none());
    let pair = |(name, value): (&str, &str)| LabelPairMessage { name: name.to_owned(), value: value.to_owned() };
    let metric =
        MetricMessage { label: own.chain(added).map(pair).collect(), timestamp_ms, ..MetricMessage::default() };
    match value {
        Newest::Float(value) => MetricMessage { untyped: Some(ValueMessage { value: *value }), ..metric },
        Newest::Histogram(histogram) => {
            let histogram = HistogramMessage::from(&Histogram::from(&**histogram));
            MetricMessage { histogram: Some(histogram), ..metric }
        }
    }
}

fn in_text(families: &[FamilyMessage], names: Names) -> String {
    let mut page = String::new();
    families.iter().for_each(|family| family_text::write(&mut page, family, names));
    page
}

fn in_protobuf(mut families: Vec<FamilyMessage>, names: Names) -> Vec<u8> {
    families.iter_mut().for_each(|family| names.apply(family));
    families.iter().flat_map(FamilyMessage::encode_length_delimited_to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sample<'a> = (&'a [(&'a str, &'a str)], i64, f64);

    fn found(all: &[Sample<'_>]) -> BTreeMap<Labels, (i64, Newest)> {
        let sample = |(pairs, time, value): &Sample<'_>| {
            (Labels::from_pairs(pairs.iter().copied()), (*time, Newest::Float(*value)))
        };
        all.iter().map(sample).collect()
    }

    #[test]
    fn samples_are_written_as_prometheus_writes_them() {
        let found = found(&[
            (&[("__name__", "b"), ("instance", "i"), ("x", "a\"b\\c\nd")], 2, 1e21),
            (&[("__name__", "a:b"), ("zone", "own")], 1, f64::NAN),
            (&[("__name__", "b")], 3, 0.5),
            (&[("x", "nameless")], 4, 1.0),
        ]);
        let external = Labels::from_pairs([("zone", "z"), ("host", "h")]);
        assert_eq!(
            in_text(&families(&found, &external, false), Names::Underscores),
            "# TYPE a:b untyped\na:b{zone=\"own\",host=\"h\",instance=\"\"} NaN 1\n# TYPE b untyped\n\
             b{host=\"h\",instance=\"\",zone=\"z\"} 0.5 3\n\
             b{instance=\"i\",x=\"a\\\"b\\\\c\\nd\",host=\"h\",zone=\"z\"} 1e+21 2\n"
        );
    }

    #[test]
    fn names_of_any_letters_go_to_whoever_knows_them() {
        let found = found(&[(&[("__name__", "a.b"), ("c.d", "é")], 1, 1.0)]);
        let external = Labels::from_pairs([("instance", "i")]);
        let accept = "application/openmetrics-text;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*";
        let modern = names_for(accept);
        let expected = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8";
        assert_eq!(content_type(false, modern), expected);
        let families = families(&found, &external, false);
        assert_eq!(in_text(&families, modern), "# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"é\",instance=\"i\"} 1 1\n");
        assert_eq!(in_text(&families, names_for("*/*")), "# TYPE a_b untyped\na_b{c_d=\"é\",instance=\"i\"} 1 1\n");
    }
}
