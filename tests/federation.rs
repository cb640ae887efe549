//! Federation: what a server hands on, beside what a real Prometheus hands on, and servers above servers.

use std::{fs, net::SocketAddr, path::Path};

use crate::harness::{
    eventually,
    exposer::{Exposer, page},
    http, now_ms, peer,
    server::{Server, folder},
};

const TEXT: &str = "text/plain; version=0.0.4";

fn configured(folder: &Path, name: &str, config: &str) -> Server {
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("a folder");
    let file = folder.join("millrace.yml");
    fs::write(&file, config).expect("a file");
    Server::start(&folder, &[&format!("--config.file={}", file.display())])
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
