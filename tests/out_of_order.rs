//! The window for samples out of order, beside a Prometheus that is configured alike and gets the same requests.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    days::{HOUR, MINUTE, Model, assert_equal, blocks, copy_blocks, idle, read},
    eventually, http, now_ms,
    peer::{self, Peer},
    server::{Server, folder, run_to_end},
};

const CONFIG: &str = "storage: {tsdb: {out_of_order_time_window: 5h}}\n";
const ADMIN: &str = "--web.enable-admin-api";
const NAMES: usize = 12;

/// A sequence that is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % bound
    }
}

/// A request of some series, each with samples somewhere in the last hours before `now`.
fn request(random: &mut Random, start: i64, now: i64) -> BTreeMap<String, Vec<(i64, f64)>> {
    let mut request: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for _ in 0..6 {
        let series = random.below(NAMES as i64);
        // Two never come in order, one not before it is hours late.
        let reach = if series < 2 { 7 * 60 } else { 3 * 60 };
        let newest = (now - start) / MINUTE;
        let first = newest - random.below(reach);
        let samples = (first..newest.min(first + random.below(20)) + 1)
            .map(|minute| (start + minute * MINUTE, (minute * 7 + series) as f64));
        request.entry(format!("series_{series:02}")).or_default().extend(samples);
    }
    request
}

fn send(address: SocketAddr, request: &BTreeMap<String, Vec<(i64, f64)>>) -> (u16, String) {
    let labels: Vec<_> = request.keys().map(|name| [("__name__", name.as_str()), ("job", "blocks")]).collect();
    let all: Vec<_> = labels.iter().zip(request.values()).map(|(labels, samples)| Series { labels, samples }).collect();
    let answer = body::write(address, Protocol::V2, &all);
    (answer.code, answer.text())
}

/// What takes the head on: a series that is always there.
fn beat(address: SocketAddr, now: i64) {
    let labels = [("__name__", "beat"), ("job", "blocks")];
    let answer = body::write(address, Protocol::V2, &[Series { labels: &labels, samples: &[(now, 1.0)] }]);
    assert_eq!(answer.code, 204, "{}", answer.text());
}

fn delete(address: SocketAddr, matcher: &str, from: i64, to: i64) {
    let time = |time: i64| format!("{}", time as f64 / 1000.0);
    let pairs = [("match[]", matcher), ("start", &time(from)), ("end", &time(to))];
    assert_eq!(http::post_form(address, "/api/v1/admin/tsdb/delete_series", &pairs).code, 204);
}

fn metric(address: SocketAddr, name: &str) -> f64 {
    let page = http::get(address, "/metrics").text();
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is missing"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a value")
}

/// Both get the same requests for some hours; whatever one says to a request the other says.
fn feed(server: &Server, prometheus: &Peer, random: &mut Random, start: i64, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        let now = start + minute * MINUTE;
        for address in [server.address, prometheus.address] {
            beat(address, now);
        }
        if minute % 3 == 0 {
            let request = request(random, start, now);
            let codes = [server.address, prometheus.address].map(|address| send(address, &request));
            assert_eq!(codes[0].0, codes[1].0, "minute {minute}: {codes:?}");
        }
    }
}

fn compare(server: &Server, prometheus: &Peer, end: i64, what: &str) -> Model {
    let model = read(prometheus.address, end);
    assert_equal(&read(server.address, end), &model, what);
    let (from, to) = (((end - 12 * HOUR) / 1000).to_string(), (end / 1000).to_string());
    let rates = [("query", "sum(rate({job=\"blocks\"}[30m]))"), ("start", &from), ("end", &to), ("step", "600")];
    let same = |path: &str, pairs: &[(&str, &str)]| {
        let path = format!("{path}?{}", http::encode(pairs));
        let [ours, theirs] =
            [server.address, prometheus.address].map(|address| http::get(address, &path).json()["data"].clone());
        assert_eq!(ours, theirs, "{what}: {path}");
    };
    same("/api/v1/query_range", &rates);
    same("/api/v1/labels", &[]);
    same("/api/v1/label/__name__/values", &[("match[]", "{job=\"blocks\"}")]);
    same("/api/v1/series", &[("match[]", "{job=\"blocks\"}"), ("start", &from)]);
    model
}

/// Goal: within the window everything is kept that a Prometheus keeps, refused what it refuses, and read as it reads it: from memory, after a crash, from
/// blocks, without what was deleted.
#[test]
fn what_comes_late_is_kept_as_prometheus_keeps_it() {
    let (folder, beside) = (folder(), folder());
    fs::write(folder.path().join("prometheus.yml"), CONFIG).expect("a configuration");
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let args = ["--tuning.file=tuning.toml", ADMIN, "--web.enable-lifecycle"];
    let server = Server::start(folder.path(), &args);
    let prometheus = peer::prometheus_with(beside.path(), CONFIG, &[ADMIN]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let (start, mut random) = (end - 12 * HOUR, Random(7));
    feed(&server, &prometheus, &mut random, start, 0..7 * 60);
    compare(&server, &prometheus, end, "while it comes");
    for name in [
        "prometheus_tsdb_head_out_of_order_samples_appended_total{type=\"float\"}",
        "prometheus_tsdb_too_old_samples_total{type=\"float\"}",
    ] {
        assert!(metric(server.address, name) > 10.0, "{name}");
    }
    for address in [server.address, prometheus.address] {
        // Within what is there in order: Prometheus deletes nothing else of its head.
        delete(
            address,
            "{__name__=~\"series_0[3-5]\"}",
            start + 5 * HOUR + 45 * MINUTE,
            start + 6 * HOUR + 50 * MINUTE,
        );
    }
    compare(&server, &prometheus, end, "after deletions");
    server.kill();
    let server = Server::start(folder.path(), &args);
    compare(&server, &prometheus, end, "after kill -9");

    feed(&server, &prometheus, &mut random, start, 7 * 60..12 * 60);
    eventually("samples out of order in blocks", || {
        idle(&server);
        http::get(server.address, "/api/v1/status/tsdb/blocks").text().contains("ulid").then_some(())
    });
    let model = compare(&server, &prometheus, end, "with blocks");
    assert!(server.log().contains("samples out of order are in blocks"), "{}", server.log());

    // What is in blocks and what is not is in a snapshot.
    let answer = http::request(server.address, "POST", "/api/v1/admin/tsdb/snapshot", &[], b"");
    let name = answer.json()["data"]["name"].as_str().expect("a name").to_owned();
    let restored = beside.path().join("restored");
    fs::create_dir_all(restored.join("prometheus-data")).expect("a folder");
    copy_blocks(&folder.path().join("data/snapshots").join(name), &restored.join("prometheus-data"));
    let reader = peer::prometheus(&restored, "global: {}\n");
    assert_equal(&read(reader.address, end), &model, "a Prometheus on the snapshot");

    // Without the window it is as without it from the start.
    fs::write(folder.path().join("prometheus.yml"), "global: {}\n").expect("a configuration");
    assert_eq!(http::post_form(server.address, "/-/reload", &[]).code, 200);
    let late = BTreeMap::from([("series_06".to_owned(), vec![(end - 4 * HOUR + 1, 1.0)])]);
    assert_eq!(send(server.address, &late).0, 400);
    assert_equal(&read(server.address, end), &model, "and what there was stays");
    assert!(blocks(&server).len() > 2 && server.complaints().is_empty(), "{:?}", server.complaints());
    assert!(server.stop().success());
    let verified = run_to_end(&["tsdb", "verify", &folder.path().join("data").display().to_string()]);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("; 0 damaged"), "{verified:?}");
}
