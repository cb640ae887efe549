//! Federation: what a server hands on, beside what a real Prometheus hands on, and servers above servers.

use std::{fs, net::SocketAddr, path::Path};

use prost::Message as _;
use wire::exposition::families::{FamilyMessage, HistogramMessage, MetricMessage, SpanMessage, ValueMessage, kind};

use crate::harness::{
    eventually,
    exposer::{Exposer, page},
    http, now_ms, peer,
    server::{Server, folder},
};

const TEXT: &str = "text/plain; version=0.0.4";

fn configured(folder: &Path, name: &str, config: &str) -> Server {
    configured_with(folder, name, config, &[])
}

fn configured_with(folder: &Path, name: &str, config: &str, more: &[&str]) -> Server {
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("a folder");
    let file = folder.join("millrace.yml");
    fs::write(&file, config).expect("a file");
    let file = format!("--config.file={}", file.display());
    Server::start(&folder, &[&[file.as_str()], more].concat())
}

fn federated(address: SocketAddr, matches: &[&str], accept: &str) -> (u16, Option<String>, String) {
    let pairs: Vec<(&str, &str)> = matches.iter().map(|text| ("match[]", *text)).collect();
    let path = format!("/federate?{}", http::encode(&pairs));
    let answer = http::request(address, "GET", &path, &[("Accept", accept)], b"");
    (answer.code, answer.header("content-type").map(str::to_owned), answer.text())
}

/// Goal: byte for byte what Prometheus hands on.
#[test]
fn what_is_handed_on_is_what_prometheus_hands_on() {
    let (exposer, folder) = (Exposer::start(), folder());
    let now = now_ms();
    let lines = [
        format!("plain 1.5 {now}"),
        format!("with_labels{{a=\"x\\\"y\\\\z\\nw\",zone=\"own\"}} 1e+21 {now}"),
        format!("with_labels{{a=\"2\",instance=\"\"}} NaN {now}"),
        format!("a:rule{{le=\"1\"}} -Inf {}", now - 1000),
        format!("{{\"utf.8\",\"la.bel\"=\"é\"}} 3 {now}"),
        format!("older 1 {}", now - 600_000),
    ];
    exposer.set("/metrics", page(TEXT, (lines.join("\n") + "\n").as_bytes()));
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{zone: z, site: s}}}}\n\
         scrape_configs: [{{job_name: x, static_configs: [{{targets: ['{}']}}]}}]\n",
        exposer.address
    );
    let prometheus = peer::prometheus(folder.path(), &config);
    let server = configured(folder.path(), "edge", &config);
    for address in [server.address, prometheus.address] {
        eventually("a scrape", || federated(address, &["plain"], "").2.contains("plain{").then_some(()));
    }
    let names = "{__name__=~\"plain|with_labels|a:rule|older|utf.*\"}";
    let utf8 = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.1";
    for (matches, accept) in [
        (vec![names], ""),
        (vec![names], utf8),
        (vec![names], "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"),
        (vec!["plain", "{job=\"x\",__name__=~\"pl.*\"}", "a:rule"], ""),
        (vec!["nothing"], ""),
        (vec![], ""),
        (vec!["{"], ""),
    ] {
        let (ours, theirs) =
            (federated(server.address, &matches, accept), federated(prometheus.address, &matches, accept));
        let is_refused = theirs.0 != 200;
        assert_eq!(ours.0, theirs.0, "{matches:?} {}", theirs.2);
        assert!(is_refused || ours == theirs, "{matches:?} {accept}\n{ours:#?}\n{theirs:#?}");
    }
}

/// Goal: native histograms go on in protobuf, as Prometheus hands them on, and arrive at both kinds of servers.
#[test]
fn histograms_are_handed_on_in_protobuf() {
    let (exposer, folder) = (Exposer::start(), folder());
    let histogram = |kind, name: &str| {
        let histogram = HistogramMessage {
            sample_count: 5,
            sample_sum: 4.5,
            schema: 1,
            zero_threshold: 1e-3,
            zero_count: 1,
            positive_span: vec![SpanMessage { offset: -1, length: 1 }, SpanMessage { offset: 2, length: 1 }],
            positive_delta: vec![1, 1],
            negative_span: vec![SpanMessage { offset: 0, length: 1 }],
            negative_delta: vec![1],
            ..HistogramMessage::default()
        };
        let metric = vec![MetricMessage { histogram: Some(histogram), ..MetricMessage::default() }];
        FamilyMessage { name: name.to_owned(), kind, metric, ..FamilyMessage::default() }
    };
    let float = FamilyMessage {
        name: "plain".to_owned(),
        kind: kind::GAUGE,
        metric: vec![MetricMessage { gauge: Some(ValueMessage { value: 2.5 }), ..MetricMessage::default() }],
        ..FamilyMessage::default()
    };
    let families = [histogram(kind::HISTOGRAM, "h"), histogram(kind::GAUGE_HISTOGRAM, "g"), float];
    let body: Vec<u8> = families.iter().flat_map(FamilyMessage::encode_length_delimited_to_vec).collect();
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    exposer.set("/metrics", page(protobuf, &body));
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{zone: z}}}}\n\
         scrape_configs: [{{job_name: x, static_configs: [{{targets: ['{}']}}]}}]\n",
        exposer.address
    );
    let native = "--enable-feature=native-histograms";
    let prometheus = peer::prometheus_with(folder.path(), &config, &[native]);
    let server = configured_with(folder.path(), "edge", &config, &[native]);
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;q=0.5";
    let handed_on = |address: SocketAddr| -> Vec<String> {
        let path = format!("/federate?{}", http::encode(&[("match[]", "{__name__=~\"h|g|plain\"}")]));
        let answer = http::request(address, "GET", &path, &[("Accept", accept)], b"");
        assert_eq!(answer.header("content-type"), Some(&*format!("{protobuf}; escaping=underscores")));
        let mut rest = answer.body.as_slice();
        let mut all = Vec::new();
        while !rest.is_empty() {
            let mut family = FamilyMessage::decode_length_delimited(&mut rest).expect("a family");
            for metric in &mut family.metric {
                metric.timestamp_ms = 0;
                metric.label.sort_by(|a, b| a.name.cmp(&b.name));
            }
            all.push(format!("{family:?}"));
        }
        all
    };
    for address in [server.address, prometheus.address] {
        eventually("a scrape", || (handed_on(address).len() == 3).then_some(()));
    }
    assert_eq!(handed_on(server.address), handed_on(prometheus.address));
    let above = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: f, honor_labels: true, metrics_path: /federate, \
         params: {{'match[]': ['{{job=\"x\"}}']}}, static_configs: [{{targets: ['{}']}}]}}]\n",
        server.address
    );
    let top = tempfile::tempdir().expect("a folder");
    let theirs = peer::prometheus_with(top.path(), &above, &[native]);
    let ours = configured_with(folder.path(), "top", &above, &[native]);
    let query = format!("/api/v1/query?{}", http::encode(&[("query", "histogram_sum(h{zone=\"z\",job=\"x\"})")]));
    for address in [ours.address, theirs.address] {
        eventually("a histogram above", || {
            let answer = http::get(address, &query).json();
            (answer["data"]["result"][0]["value"][1] == "4.5").then_some(())
        });
    }
}

/// Goal: servers above two edges have what rules made there, under the edges' own names, whoever the server is.
#[test]
fn servers_above_have_what_the_edges_made() {
    let (exposer, folder) = (Exposer::start(), folder());
    exposer.set("/a", page(TEXT, b"job:requests:rate5m{job=\"api\",instance=\"\"} 7\nraw_total 1\n"));
    exposer.set("/b", page(TEXT, b"job:requests:rate5m{job=\"api\",instance=\"\"} 9\nraw_total 1\n"));
    let edge = |name: &str| {
        let config = format!(
            "global: {{scrape_interval: 1s, external_labels: {{edge: {name}}}}}\nscrape_configs:\n\
             - {{job_name: rules, honor_labels: true, metrics_path: /{name}, static_configs: [{{targets: ['{}']}}]}}\n",
            exposer.address
        );
        configured(folder.path(), name, &config)
    };
    let edges = [edge("a"), edge("b")];
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: edges\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['{{__name__=~\"job:.*\"}}']}}\n  static_configs: [{{targets: ['{}', '{}']}}]\n",
        edges[0].address, edges[1].address
    );
    let prometheus = peer::prometheus(folder.path(), &config);
    let above = configured(folder.path(), "above", &config);
    let series = |address: SocketAddr| -> Vec<String> {
        let query = http::encode(&[("query", "{__name__=~\"job:.*|raw_total\"}")]);
        let answer = http::get(address, &format!("/api/v1/query?{query}")).json();
        let samples = answer["data"]["result"].as_array().expect("a vector").clone();
        let mut all: Vec<_> = samples.iter().map(|of| format!("{} {}", of["metric"], of["value"][1])).collect();
        all.sort();
        all
    };
    let expected = [
        r#"{"__name__":"job:requests:rate5m","edge":"a","job":"api"} "7""#,
        r#"{"__name__":"job:requests:rate5m","edge":"b","job":"api"} "9""#,
    ];
    for address in [above.address, prometheus.address] {
        eventually("both edges above", || (series(address).len() == 2).then_some(()));
        assert_eq!(series(address), expected);
    }
}
