//! Exemplars and metadata: a real Prometheus scrapes them and sends them by both protocols; queries answer as it does, also after a
//! kill, a checkpoint, and a smaller bound.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use serde_json::Value;

use crate::harness::{
    eventually, http, now_ms, peer,
    server::{Server, folder},
};

/// Scrapes that find something new; those after them find the same.
const ROUNDS: u64 = 6;

/// A target whose counters and buckets have exemplars. Serves until the process ends.
fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut round, mut time) = (0, 0.0);
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut request = [0; 4096];
            if connection.read(&mut request).is_err() {
                continue;
            }
            if round < ROUNDS {
                (round, time) = (round + 1, now_ms() as f64 / 1000.0);
            }
            let page = page(round, time);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                        Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\nContent-Length:";
            // A scrape that gave up is made again.
            drop(connection.write_all(format!("{head} {}\r\n\r\n{page}", page.len()).as_bytes()));
        }
    });
    address
}

fn page(round: u64, time: f64) -> String {
    format!(
        "# HELP requests Requests that were answered.\n# TYPE requests counter\n\
         requests_total{{path=\"/\"}} {round} # {{trace_id=\"{round:032x}\",span=\"ä\"}} 1.5 {time}\n\
         requests_total{{path=\"/x\"}} {round} # {{}} -0.25 {time}\n\
         # HELP latency_seconds How long it took.\n# UNIT latency_seconds seconds\n# TYPE latency_seconds histogram\n\
         latency_seconds_bucket{{le=\"0.1\"}} {round} # {{trace_id=\"a{round}\"}} 0.05 {time}\n\
         latency_seconds_bucket{{le=\"+Inf\"}} {round} # {{trace_id=\"b{round}\"}} 1e9 {time}\n\
         latency_seconds_count {round}\nlatency_seconds_sum {round}\n# EOF\n"
    )
}

fn config(source: SocketAddr, millrace: SocketAddr) -> String {
    let way = |via: &str, message: &str| {
        format!(
            "- url: http://{millrace}/api/v1/write\n  protobuf_message: {message}\n  send_exemplars: true\n  \
             metadata_config: {{send_interval: 1s}}\n  \
             write_relabel_configs: [{{target_label: via, replacement: \"{via}\"}}]\n"
        )
    };
    format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n- job_name: source\n  static_configs: [{{targets: [\"{source}\"]}}]\n\
         remote_write:\n{}{}",
        way("1", "prometheus.WriteRequest"),
        way("2", "io.prometheus.write.v2.Request")
    )
}

/// What is answered, by the text of the series' labels.
fn exemplars(address: SocketAddr, query: &str) -> BTreeMap<String, Value> {
    let end = now_ms() / 1000 + 60;
    let answer = http::post_form(
        address,
        "/api/v1/query_exemplars",
        &[("query", query), ("start", "0"), ("end", &end.to_string())],
    );
    assert_eq!(answer.code, 200, "{}", answer.text());
    let data = answer.json()["data"].clone();
    let series = data.as_array().expect("a list").iter();
    series.map(|one| (one["seriesLabels"].to_string(), one["exemplars"].clone())).collect()
}

/// As it was sent: `via` tells the protocol.
fn of_protocol(all: &BTreeMap<String, Value>, via: &str) -> BTreeMap<String, Value> {
    let label = format!(",\"via\":\"{via}\"");
    all.iter()
        .filter(|(key, _)| key.contains(&label))
        .map(|(key, one)| (key.replace(&label, ""), one.clone()))
        .collect()
}

fn metric(address: SocketAddr, name: &str) -> f64 {
    let page = http::get(address, "/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

/// Goal: every exemplar that a Prometheus sends is kept, within the bound, and answered as it answers.
#[test]
fn exemplars_of_a_prometheus_are_answered_as_it_does() {
    let (folder, beside) = (folder(), folder());
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let args = ["--tuning.file=tuning.toml"];
    let server = Server::start(folder.path(), &args);
    let config = config(target(), server.address);
    let features = "--enable-feature=exemplar-storage,metadata-wal-records";
    let prometheus = peer::prometheus_with(beside.path(), &config, &[features]);
    let all = "{__name__=~\".+\"}";
    let expected = eventually("exemplars in Prometheus", || {
        let found = exemplars(prometheus.address, all);
        let count = |one: &Value| one.as_array().expect("a list").len() as u64;
        (found.len() == 4 && found.values().all(|one| count(one) == ROUNDS)).then_some(found)
    });
    for via in ["1", "2"] {
        eventually("the same exemplars here", || {
            (of_protocol(&exemplars(server.address, all), via) == expected).then_some(())
        });
    }
    check_queries(&server, &prometheus);
    check_metadata(&server, &prometheus);
    assert_eq!(metric(server.address, "prometheus_tsdb_exemplar_exemplars_in_storage"), (8 * ROUNDS) as f64);
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    drop(prometheus);

    let kept = exemplars(server.address, all);
    server.kill();
    let server = Server::start(folder.path(), &args);
    assert_eq!(exemplars(server.address, all), kept, "after kill -9");
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &["--tuning.file=tuning.toml", "--web.enable-lifecycle"]);
    assert_eq!(exemplars(server.address, all), kept, "after a stop, which makes a checkpoint");
    check_bound(&server, folder.path());
}

/// Selectors are found wherever they stand, and times are honoured.
fn check_queries(server: &Server, prometheus: &peer::Peer) {
    for query in [
        "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m]))) > 0 or requests_total{path=\"/x\"}",
        "sum(requests_total offset 5m)",
        "max_over_time(rate(requests_total{path!=\"/x\"}[1m])[5m:1m])",
        "nothing",
    ] {
        let expected = exemplars(prometheus.address, query);
        let all = exemplars(server.address, query);
        assert_eq!(of_protocol(&all, "2"), expected, "{query}");
        assert_eq!(all.len(), 2 * expected.len(), "{query}");
    }
    for address in [server.address, prometheus.address] {
        assert_eq!(http::get(address, "/api/v1/query_exemplars?query=1").code, 204, "nothing is selected");
    }
    let all = exemplars(server.address, "requests_total");
    let times = all.values().next().expect("a series").as_array().expect("a list").iter();
    let times: Vec<f64> = times.map(|one| one["timestamp"].as_f64().expect("a number")).collect();
    let (start, end) = (times[1], times[3]);
    let path = format!("/api/v1/query_exemplars?query=requests_total&start={start}&end={end}");
    let answer = http::get(server.address, &path).json();
    assert_eq!(answer["data"][0]["exemplars"].as_array().expect("a list").len(), 3, "{answer}");
}

fn check_metadata(server: &Server, prometheus: &peer::Peer) {
    let of = |address: SocketAddr, query: &str| http::get(address, &format!("/api/v1/metadata{query}")).json();
    let expected = of(prometheus.address, "")["data"].clone();
    eventually("metadata of both protocols", || {
        let known = of(server.address, "")["data"].clone();
        // Protocol 1.0 speaks of families, as the API does; 2.0 of the counter by its own name.
        let same = ["latency_seconds", "requests"].iter().all(|name| known[name] == expected[name]);
        (same && known["requests_total"] == expected["requests"]).then_some(())
    });
    let one = of(server.address, "?metric=latency_seconds")["data"].clone();
    assert_eq!(one.as_object().expect("an object").len(), 1, "{one}");
    assert_eq!(of(server.address, "?limit=1")["data"].as_object().expect("an object").len(), 1);
    assert_eq!(of(server.address, "?limit=x")["error"], "limit must be a number");
}

/// A smaller bound, by a reload, keeps the newest; none keeps nothing and refuses nobody.
fn check_bound(server: &Server, folder: &std::path::Path) {
    let count = |server: &Server| {
        let found = exemplars(server.address, "{__name__=~\".+\"}");
        found.values().map(|one| one.as_array().expect("a list").len()).sum::<usize>()
    };
    for (max, expected) in [(4, 4), (0, 0)] {
        let config = format!("storage: {{exemplars: {{max_exemplars: {max}}}}}\n");
        fs::write(folder.join("prometheus.yml"), config).expect("a file");
        let reload = http::request(server.address, "POST", "/-/reload", &[], b"");
        assert_eq!(reload.code, 200, "{}", reload.text());
        // Each of the two shards keeps half of them. Which shard a series is in is drawn anew in each directory: that all eight are in one happens
        // once in 128 times.
        let found = count(server);
        assert!(found == expected || found * 2 == expected, "{found} of {expected}");
    }
}
