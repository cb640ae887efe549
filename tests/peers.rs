//! The main job with real peers, for seconds; `tests/soak` does it for minutes.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;

use crate::harness::{
    eventually, http,
    peer::{self, Peer},
    server::{Server, folder},
};

/// Samples of a selector at one time, by the series' labels as JSON.
type Samples = BTreeMap<String, Vec<(String, String)>>;

fn samples(address: SocketAddr, selector: &str, time_s: f64) -> Samples {
    let time = time_s.to_string();
    let answer = http::post_form(address, "/api/v1/query", &[("query", selector), ("time", &time)]);
    assert_eq!(answer.code, 200, "{}", answer.text());
    let json = answer.json();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let of_series = |series: &Value| {
        let values = series["values"].as_array().expect("samples");
        (series["metric"].to_string(), values.iter().map(|sample| (text(&sample[0]), text(&sample[1]))).collect())
    };
    json["data"]["result"].as_array().expect("a matrix").iter().map(of_series).collect()
}

fn count_of(address: SocketAddr, query: &str) -> f64 {
    let answer = http::post_form(address, "/api/v1/query", &[("query", query)]);
    let value = answer.json()["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok());
    value.unwrap_or_default()
}

fn scrape_config(exporter: &Peer) -> String {
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{}']}}]\n",
        exporter.address
    )
}

/// Goal: what Prometheus writes to us and what it keeps itself are the same, sample for sample.
fn check_prometheus(message: &str) {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let exporter = peer::node_exporter(folder.path());
    let config = format!(
        "{}remote_write:\n- url: http://{}/api/v1/write\n  protobuf_message: {message}\n  queue_config: {{batch_send_deadline: 100ms}}\n",
        scrape_config(&exporter),
        server.address
    );
    let prometheus = peer::prometheus(folder.path(), &config);
    let enough = "sum(count_over_time(up[1m]))";
    eventually("six scrapes", || (count_of(server.address, enough) >= 6.0).then_some(()));
    // Both have everything up to here: the newest sample that arrived is later than this.
    let newest = count_of(server.address, "timestamp(up)");
    let until = newest.floor() - 1.0;
    let (ours, theirs) = (
        samples(server.address, "{job=\"node\"}[4s]", until),
        samples(prometheus.address, "{job=\"node\"}[4s]", until),
    );
    assert!(theirs.len() > 100, "only {} series", theirs.len());
    assert_eq!(ours.len(), theirs.len(), "numbers of series");
    for (labels, expected) in &theirs {
        assert_eq!(ours.get(labels), Some(expected), "{labels}");
    }
    for query in ["sum by (mode) (rate(node_cpu_seconds_total[4s]))", "count by (__name__) ({job=\"node\"})"] {
        let ask = |address| {
            let time = until.to_string();
            let answer = http::post_form(address, "/api/v1/query", &[("query", query), ("time", &time)]);
            let mut result = answer.json()["data"]["result"].as_array().expect("a vector").clone();
            result.sort_by_key(|one| one["metric"].to_string());
            result
        };
        assert_eq!(ask(server.address), ask(prometheus.address), "{query}");
    }
}

#[test]
fn prometheus_writes_protocol_1() {
    check_prometheus("prometheus.WriteRequest");
}

#[test]
fn prometheus_writes_protocol_2() {
    check_prometheus("io.prometheus.write.v2.Request");
}

/// Node exporter, scraped by vmagent, written to both ports of ours.
#[test]
fn vmagent_writes_to_both_ports() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--ingest.listen-address=127.0.0.1:0"]);
    let exporter = peer::node_exporter(folder.path());
    let url = format!("http://{}/api/v1/write", server.ingest_address());
    let agent = peer::vmagent(folder.path(), &scrape_config(&exporter), &url);
    eventually("series from vmagent", || (count_of(server.address, "count({job=\"node\"})") > 100.0).then_some(()));
    eventually("three scrapes", || (count_of(server.address, "sum(count_over_time(up[1m]))") >= 3.0).then_some(()));
    assert_eq!(count_of(server.address, "min(up)"), 1.0);
    assert_eq!(count_of(server.address, "count(node_uname_info)"), 1.0);
    drop(agent);
    let url = format!("http://{}/api/v1/write", server.address);
    let config = scrape_config(&exporter).replace("job_name: node", "job_name: again");
    let _agent = peer::vmagent(folder.path(), &config, &url);
    eventually("series on the other port", || {
        (count_of(server.address, "count({job=\"again\"})") > 100.0).then_some(())
    });
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
}
