//! Bodies as real agents sent them: Prometheus 3.5.3 over both protocols and vmagent 1.145.0, after they had scraped the same page
//! as job "shop", instance "shop-1:80". The agents' own labels differ by "site"; vmagent does not sort labels.

use std::collections::BTreeMap;

use model::{IdentityKey, Labels, WriteBatch};
use wire::remote_write::{Batch, DecodeLimits, Protocol};

const PROMETHEUS_V1: &[u8] = include_bytes!("data/prometheus-3.5.3.v1");
const PROMETHEUS_V2: &[u8] = include_bytes!("data/prometheus-3.5.3.v2");
const VMAGENT_V1: &[u8] = include_bytes!("data/vmagent-1.145.0.v1");

/// What the page said.
type Line = (&'static str, &'static [(&'static str, &'static str)], f64);

const PAGE: [Line; 13] = [
    ("requests_total", &[("path", "/api"), ("code", "200")], 1027.0),
    ("requests_total", &[("path", "/"), ("code", "500")], 3.0),
    ("temperature_celsius", &[("room", "Küche")], -0.5),
    ("temperature_celsius", &[("room", "cellar")], 0.0),
    ("odd_values", &[("kind", "nan")], f64::from_bits(model::sample::NORMAL_NAN_BITS)),
    ("odd_values", &[("kind", "infinite")], f64::INFINITY),
    ("odd_values", &[("kind", "negative zero")], -0.0),
    ("odd_values", &[("kind", "large")], 9_007_199_254_740_993.0),
    ("latency_seconds_bucket", &[("le", "0.1")], 5.0),
    ("latency_seconds_bucket", &[("le", "1.0")], 9.0),
    ("latency_seconds_bucket", &[("le", "+Inf")], 10.0),
    ("latency_seconds_sum", &[], 4.25),
    ("latency_seconds_count", &[], 10.0),
];

fn key() -> IdentityKey {
    IdentityKey::from_bytes(&std::array::from_fn(|index| (index * 151 + 13) as u8))
}

/// Value bits by label set without "site"; every identity is checked on the way.
fn decode(protocol: Protocol, body: &[u8]) -> BTreeMap<Labels, u64> {
    let mut batch = Batch::new();
    batch.decode(protocol, body, &key(), &DecodeLimits::default()).expect("a real body");
    assert_eq!((batch.rejections().series, batch.histograms().len()), (0, 0));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let series = batch.series().iter().map(|entry| {
        let mut pairs = Vec::new();
        batch.visit_labels(entry.labels, &mut |name, value| pairs.push((text(name), text(value))));
        let labels = Labels::from_pairs(pairs.clone());
        assert_eq!(labels.len(), pairs.len(), "no label twice");
        let sorted = labels.iter().map(|label| (label.name.as_bytes(), label.value.as_bytes()));
        assert_eq!(entry.id, key().series(sorted), "{labels}");
        pairs.retain(|(name, _)| name != "site");
        (Labels::from_pairs(pairs), batch.values()[entry.samples().start])
    });
    series.collect()
}

fn check(protocol: Protocol, body: &[u8], le_of_one: &str, negative_zero: f64) {
    let series = decode(protocol, body);
    for (name, labels, value) in PAGE {
        let own = labels.iter().map(|&(name, value)| (name, if value == "1.0" { le_of_one } else { value }));
        let common = [("__name__", name), ("job", "shop"), ("instance", "shop-1:80")];
        let labels = Labels::from_pairs(own.chain(common));
        let value = if labels.get("kind") == Some("negative zero") { negative_zero } else { value };
        assert_eq!(series.get(&labels), Some(&value.to_bits()), "{labels}");
    }
}

/// Prometheus writes the bound 1 as "1.0"; its encoder takes a negative zero for the default and leaves it out.
#[test]
fn prometheus_over_both_protocols() {
    check(Protocol::V1, PROMETHEUS_V1, "1.0", 0.0);
    check(Protocol::V2, PROMETHEUS_V2, "1.0", 0.0);
    let keys = |protocol, body| decode(protocol, body).into_keys().collect::<Vec<_>>();
    assert_eq!(keys(Protocol::V1, PROMETHEUS_V1), keys(Protocol::V2, PROMETHEUS_V2));
}

#[test]
fn vmagent() {
    check(Protocol::V1, VMAGENT_V1, "1", 0.0);
}
