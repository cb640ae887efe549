//! Native histograms of targets, beside a real Prometheus, which has such on its own page.

use std::{collections::BTreeSet, fs, net::SocketAddr};

use prost::Message as _;
use serde_json::Value;
use wire::exposition::families::{FamilyMessage, HistogramMessage, MetricMessage, SpanMessage, kind};

use crate::harness::{
    eventually,
    exposer::{Exposer, page},
    http, peer,
    server::{Server, folder},
};

const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const NATIVE: &str = "--enable-feature=native-histograms";

fn samples(address: SocketAddr, query: &str) -> Vec<Value> {
    let answer = http::get(address, &format!("/api/v1/query?{}", http::encode(&[("query", query)]))).json();
    answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

/// Series with the kind of their values.
fn series(address: SocketAddr, query: &str) -> BTreeSet<String> {
    let kind = |sample: &Value| if sample.get("histogram").is_some() { "histogram" } else { "float" };
    samples(address, query).iter().map(|sample| format!("{} {}", sample["metric"], kind(sample))).collect()
}

fn server(folder: &std::path::Path, config: &str, more: &[&str]) -> Server {
    let file = folder.join("millrace.yml");
    fs::write(&file, config).expect("a file");
    let file = format!("--config.file={}", file.display());
    Server::start(folder, &[&[file.as_str()], more].concat())
}

#[test]
fn the_page_of_a_prometheus_has_the_same_histograms_for_both() {
    let (first, second) = (folder(), folder());
    let asked = peer::prometheus(first.path(), "global: {}\n");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: native\n  static_configs: [{{targets: ['{0}']}}]\n\
         - job_name: both\n  always_scrape_classic_histograms: true\n  static_configs: [{{targets: ['{0}']}}]\n\
         - job_name: converted\n  scrape_protocols: [PrometheusText0.0.4]\n  convert_classic_histograms_to_nhcb: true\n  \
           static_configs: [{{targets: ['{0}']}}]\n",
        asked.address
    );
    let prometheus = peer::prometheus_with(second.path(), &config, &[NATIVE]);
    let server = server(second.path(), &config, &[NATIVE]);
    let query = "{job!=\"\",__name__!~\"scrape_.*\"}";
    let same = eventually("the same series", || {
        let (ours, theirs) = (series(server.address, query), series(prometheus.address, query));
        (ours == theirs && ours.len() > 500).then_some(ours)
    });
    let histograms = |job: &str| {
        let job = format!("\"job\":\"{job}\"");
        same.iter().filter(|series| series.ends_with(" histogram") && series.contains(&job)).count()
    };
    let counts = ["native", "both", "converted"].map(histograms);
    assert!(counts[0] > 1 && counts[1] == counts[0] && counts[2] > counts[0], "{counts:?}");
    let quantile = "histogram_quantile(0.5, sum by (job) (prometheus_http_request_duration_seconds))";
    assert_eq!(samples(server.address, quantile).len(), 3);
}

fn histogram(count: u64) -> Vec<u8> {
    let histogram = HistogramMessage {
        sample_count: count,
        zero_threshold: 1e-3,
        positive_span: vec![SpanMessage { offset: 0, length: 1 }],
        positive_delta: vec![count as i64],
        ..HistogramMessage::default()
    };
    let metric = vec![MetricMessage { histogram: Some(histogram), ..MetricMessage::default() }];
    FamilyMessage { name: "h".into(), kind: kind::HISTOGRAM, metric, ..FamilyMessage::default() }
        .encode_length_delimited_to_vec()
}

/// Goal: a series of histograms that is gone has no floats at its end.
#[test]
fn histograms_that_are_gone_end_as_histograms() {
    let (exposer, folder) = (Exposer::start(), folder());
    exposer.set("/metrics", page(PROTOBUF, &histogram(3)));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_native_histograms: true}}\nscrape_configs:\n\
         - job_name: x\n  static_configs: [{{targets: ['{}']}}]\n",
        exposer.address
    );
    let server = server(folder.path(), &config, &[]);
    eventually("a histogram", || (!samples(server.address, "h").is_empty()).then_some(()));
    let first = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6";
    let asked = exposer.asked().join("").to_lowercase();
    assert!(asked.contains(&first.to_lowercase()), "{asked}");
    exposer.set("/metrics", page("text/plain", b"other 1\n"));
    eventually("its end", || samples(server.address, "h").is_empty().then_some(()));
    exposer.set("/metrics", page(PROTOBUF, &histogram(5)));
    eventually("it again", || (!samples(server.address, "h").is_empty()).then_some(()));
    let range = samples(server.address, "h[1m]");
    assert_eq!(range.len(), 1, "{range:?}");
    assert!(range[0].get("values").is_none() && range[0].get("histograms").is_some(), "{range:?}");
    assert!(server.stop().success());
}

/// Goal: what a counter counted before its first scrape is in its increase, when an operator wants that.
#[test]
fn counters_were_zero_when_they_began() {
    let (exposer, folder) = (Exposer::start(), folder());
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() - 20;
    let body = format!("# TYPE c counter\nc_total 7\nc_created {began}\n# EOF\n");
    exposer.set("/metrics", page("application/openmetrics-text; version=1.0.0", body.as_bytes()));
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: x\n  static_configs: [{{targets: ['{}']}}]\n",
        exposer.address
    );
    let server = server(folder.path(), &config, &["--enable-feature=created-timestamp-zero-ingestion"]);
    let values = eventually("two scrapes", || {
        let range = samples(server.address, "c_total[1m]");
        let values = range.first()?["values"].as_array()?.clone();
        (values.len() > 2).then_some(values)
    });
    assert_eq!(values[0], serde_json::json!([began, "0"]));
    assert_eq!(values[1][1], "7");
    assert!(samples(server.address, "c_created").is_empty());
}
