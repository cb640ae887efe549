//! The list of running queries, their end by an administrator, and what is written of those that have ended.

use std::{fs, net::SocketAddr, thread};

use serde_json::Value;

use crate::harness::{
    eventually,
    http::{self, Answer},
    peer,
    server::{Server, folder},
};

/// Takes seconds and little memory: many windows of many samples, with a square for each.
const SLOW_QUERY: &str = "stddev_over_time(vector(time())[20h:1s])";

fn ask_slowly(address: SocketAddr) -> thread::JoinHandle<Answer> {
    let pairs = [("query", SLOW_QUERY), ("start", "1000000"), ("end", "1010000"), ("step", "1")];
    thread::spawn(move || http::post_form(address, "/api/v1/query_range", &pairs))
}

fn active(address: SocketAddr) -> Vec<Value> {
    let list = http::get(address, "/api/v1/status/active_queries").json();
    list["data"].as_array().expect("a list").clone()
}

/// Goal: an operator sees which query holds the server, ends it, and finds it in the log.
#[test]
fn a_running_query_is_listed_and_can_be_ended() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--web.enable-admin-api", "--query.slow-threshold=10ms"]);
    assert_eq!(active(server.address), Vec::<Value>::new());
    let client = ask_slowly(server.address);
    let query = eventually("a query that holds memory and is slow already", || {
        active(server.address)
            .into_iter()
            .find(|query| query["memoryBytes"].as_u64() > Some(0) && query["duration"].as_f64() > Some(0.01))
    });
    assert_eq!((&query["query"], &query["stage"]), (&SLOW_QUERY.into(), &"evaluating".into()));
    assert_eq!(
        (&query["start"], &query["end"], &query["step"]),
        (&1_000_000_000.into(), &1_010_000_000.into(), &1000.into())
    );
    assert_eq!((&query["remoteAddr"], &query["path"]), (&"127.0.0.1".into(), &"/api/v1/query_range".into()));
    let cancel = |id: &str| http::post_form(server.address, &format!("/api/v1/admin/queries/{id}/cancel"), &[]);
    assert_eq!(cancel(&query["id"].to_string()).code, 204);
    let answer = client.join().expect("no panic");
    assert_eq!(answer.code, 499, "{}", answer.text());
    assert!(answer.text().contains("query was canceled"), "{}", answer.text());
    assert_eq!(cancel("7").json()["error"], "invalid parameter \"id\": query 7 does not run, or no more");
    assert_eq!(cancel("x").code, 400);
    let line = eventually("a line of the log", || {
        server.log().lines().find(|line| line.contains("msg=\"slow query\"")).map(str::to_owned)
    });
    for part in [
        &format!("query={SLOW_QUERY}"),
        "start=1970-01-12T13:46:40.000Z",
        "step_ms=1000",
        "memory_bytes_peak=",
        "client=127.0.0.1",
        "error=\"query was canceled in expression evaluation\"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(http::get(server.address, "/metrics").text().contains("\nmillrace_queries_slow_total 1\n"));
    assert_eq!(active(server.address), Vec::<Value>::new());
}

#[test]
fn only_administrators_end_queries() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let answer = http::post_form(server.address, "/api/v1/admin/queries/1/cancel", &[]);
    assert_eq!((answer.code, &answer.json()["error"]), (500, &"admin APIs disabled".into()));
}

/// Goal: what reads Prometheus' query log reads ours. Method: the same requests to both, the lines compared without times and counts.
#[test]
fn the_query_log_is_that_of_prometheus() {
    const CONFIG: &str = "global:\n  query_log_file: queries.log\n";
    let (ours_in, theirs_in) = (folder(), folder());
    fs::write(ours_in.path().join("prometheus.yml"), CONFIG).expect("a configuration file");
    let server = Server::start(ours_in.path(), &[]);
    let prometheus = peer::prometheus(theirs_in.path(), CONFIG);
    // A line is written when its answer has been sent, so the next request could else overtake it.
    let lines = |folder: &tempfile::TempDir, count: usize| {
        eventually("so many lines", || {
            let text = fs::read_to_string(folder.path().join("queries.log")).unwrap_or_default();
            let whole = text.ends_with('\n').then(|| text.lines().map(comparable).collect::<Vec<_>>());
            whole.filter(|lines| lines.len() == count)
        })
    };
    for (address, folder) in [(server.address, &ours_in), (prometheus.address, &theirs_in)] {
        let range = [("query", "vector(1)"), ("start", "0"), ("end", "100.5"), ("step", "15.5")];
        assert_eq!(http::post_form(address, "/api/v1/query_range", &range).code, 200);
        lines(folder, 1);
        assert_eq!(http::get(address, "/api/v1/query?query=1%2Bvector(1)&time=7").code, 200);
        lines(folder, 2);
        assert_eq!(http::get(address, "/api/v1/query?query=up%7B").code, 400, "not logged: it never ran");
        let failing =
            http::get(address, "/api/v1/query?query=label_replace(vector(1),%22a%22,%22b%22,%22c%22,%22(%22)&time=8");
        assert_eq!(failing.code, 422, "{}", failing.text());
    }
    assert_eq!(lines(&ours_in, 3), lines(&theirs_in, 3));
}

/// Without what is a measurement, and without what one of both has beside the rest.
fn comparable(line: &str) -> Value {
    fn mask(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(mask),
            other => *other = "a measurement".into(),
        }
    }
    let mut line: Value = serde_json::from_str(line).expect("JSON");
    let fields = line.as_object_mut().expect("an object");
    // Places in Prometheus' own source, and traces.
    fields.retain(|key, _| key != "source" && key != "spanID");
    // Ours alone.
    fields["stats"].as_object_mut().expect("an object").remove("memory");
    mask(&mut fields["stats"]);
    mask(&mut fields["time"]);
    line
}

/// Goal: the log moves with the configuration, and a file that can't be written is named.
#[test]
fn a_reload_opens_another_query_log() {
    let folder = folder();
    let config = folder.path().join("prometheus.yml");
    let write = |file: &str| fs::write(&config, format!("global: {{query_log_file: {file}}}\n")).expect("a file");
    write("first.log");
    let server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    let ask = |query: &str| assert_eq!(http::get(server.address, &format!("/api/v1/query?query={query}")).code, 200);
    let has = |file: &str, query: &str| {
        eventually("a line of the query log", || {
            let text = fs::read_to_string(folder.path().join(file)).unwrap_or_default();
            text.contains(&format!("\"query\":\"{query}\"")).then_some(())
        });
    };
    ask("1");
    has("first.log", "1");
    write("second.log");
    assert_eq!(http::post_form(server.address, "/-/reload", &[]).code, 200);
    ask("2");
    has("second.log", "2");
    write("nowhere/third.log");
    let refused = http::post_form(server.address, "/-/reload", &[]);
    assert_eq!(refused.code, 500);
    assert!(refused.text().contains("global.query_log_file"), "{}", refused.text());
    ask("3");
    has("second.log", "3");
}
