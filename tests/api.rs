//! The HTTP API: texts, codes, numbers, forms, compression, and equality with a real Prometheus.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    eventually,
    http::{self, Answer},
    now_ms, peer,
    server::{Server, folder},
};

/// Method, path, and the pairs of the form or of the query.
type Request = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Requests whose answers must not depend on who answers.
const SAME_ANSWERS: &[Request] = &[
    ("GET", "/api/v1/query", &[("query", "1e30"), ("time", "4")]),
    ("GET", "/api/v1/query", &[("query", "1+1"), ("time", "4")]),
    ("POST", "/api/v1/query", &[("query", "vector(1e-7)"), ("time", "4.0005")]),
    ("POST", "/api/v1/query", &[("query", "vector(1e21)"), ("time", "2015-07-01T20:10:51.781Z")]),
    ("POST", "/api/v1/query", &[("query", "vector(-0.000001)"), ("time", "-1.5")]),
    ("POST", "/api/v1/query", &[("query", "vector(0/0)"), ("time", "1")]),
    ("POST", "/api/v1/query", &[("query", "-vector(1/0)"), ("time", "1")]),
    ("GET", "/api/v1/query", &[("query", "\"text \\\"quoted\\\" <&>\""), ("time", "1")]),
    ("GET", "/api/v1/query", &[]),
    ("GET", "/api/v1/query", &[("query", "foo(")]),
    ("GET", "/api/v1/query", &[("query", "up{")]),
    ("GET", "/api/v1/query", &[("query", "up{a<1}")]),
    ("GET", "/api/v1/query", &[("query", "vector(1) < 0"), ("time", "1")]),
    ("GET", "/api/v1/query", &[("query", "1 < 0"), ("time", "1")]),
    (
        "GET",
        "/api/v1/query",
        &[("query", "label_replace(vector(1), \"a\", \"<&>\\u2028\", \"\", \"\")"), ("time", "1")],
    ),
    ("GET", "/api/v1/format_query", &[("query", "a<b and c>\"\"")]),
    ("GET", "/api/v1/query", &[("query", "up"), ("time", "x")]),
    ("GET", "/api/v1/query", &[("query", "up"), ("timeout", "x")]),
    ("GET", "/api/v1/query", &[("query", "up"), ("lookback_delta", "x")]),
    ("GET", "/api/v1/query", &[("query", "up"), ("limit", "-1")]),
    ("GET", "/api/v1/query", &[("query", "up"), ("limit", "x")]),
    ("GET", "/api/v1/query", &[("query", "up"), ("limit", "99999999999999999999")]),
    ("POST", "/api/v1/query_range", &[("query", "1"), ("start", "0"), ("end", "10"), ("step", "5")]),
    ("POST", "/api/v1/query_range", &[("query", "vector(1.5)"), ("start", "0.5"), ("end", "2"), ("step", "500ms")]),
    ("POST", "/api/v1/query_range", &[("query", "up"), ("start", "1"), ("end", "0"), ("step", "1")]),
    ("POST", "/api/v1/query_range", &[("query", "up"), ("start", "1"), ("end", "2"), ("step", "0")]),
    ("POST", "/api/v1/query_range", &[("query", "up"), ("start", "1"), ("end", "2")]),
    ("POST", "/api/v1/query_range", &[("query", "up"), ("start", "x"), ("end", "2"), ("step", "1")]),
    ("POST", "/api/v1/query_range", &[("query", "up"), ("start", "0"), ("end", "20000"), ("step", "1")]),
    ("POST", "/api/v1/query_range", &[("query", "up[5m]"), ("start", "0"), ("end", "20"), ("step", "1")]),
    ("POST", "/api/v1/query_range", &[("query", "\"s\""), ("start", "0"), ("end", "20"), ("step", "1")]),
    ("GET", "/api/v1/series", &[]),
    ("GET", "/api/v1/query", &[("query", "topk(1e20, vector(1))")]),
    ("GET", "/api/v1/query", &[("query", "quantile(1234567, vector(1))"), ("time", "1")]),
    ("GET", "/api/v1/series", &[("match[]", "{}")]),
    ("GET", "/api/v1/series", &[("match[]", "up{")]),
    ("GET", "/api/v1/series", &[("match[]", "sum(up)")]),
    ("POST", "/api/v1/series", &[("match[]", "{__name__!=\"\"}"), ("start", "x")]),
    ("GET", "/api/v1/labels", &[("start", "x")]),
    ("GET", "/api/v1/labels", &[("match[]", "up{")]),
    ("GET", "/api/v1/labels", &[("limit", "x")]),
    ("GET", "/api/v1/label/a/values", &[("match[]", "{a=~\".*\"}")]),
    ("GET", "/api/v1/format_query", &[("query", "sum(a)by(b)")]),
    ("GET", "/api/v1/query_exemplars", &[("query", "test"), ("start", "0"), ("end", "1")]),
    ("GET", "/api/v1/query_exemplars", &[("query", "test"), ("start", "x"), ("end", "1")]),
    ("GET", "/api/v1/rules", &[]),
    ("GET", "/api/v1/alerts", &[]),
    ("GET", "/api/v1/metadata", &[]),
    ("GET", "/api/v1/metadata", &[("limit", "x")]),
    ("GET", "/api/v1/targets", &[]),
    ("GET", "/api/v1/targets/metadata", &[]),
    ("GET", "/api/v1/targets/metadata", &[("limit", "x")]),
    ("GET", "/api/v1/targets/metadata", &[("match_target", "{a")]),
    ("GET", "/api/v1/targets/metadata", &[("match_target", "{a=\"b\"}"), ("metric", "up"), ("limit", "3")]),
    ("GET", "/api/v1/scrape_pools", &[]),
    ("GET", "/api/v1/alertmanagers", &[]),
    ("GET", "/api/v1/status/tsdb", &[("limit", "x")]),
    ("GET", "/api/v1/status/tsdb", &[("limit", "0")]),
    ("POST", "/api/v1/admin/tsdb/snapshot", &[]),
    ("GET", "/api/v1/nothing", &[]),
    ("GET", "/nothing", &[]),
    ("POST", "/api/v1/label/a/values", &[]),
    ("DELETE", "/api/v1/query", &[]),
    ("GET", "/-/healthy", &[]),
    ("GET", "/-/ready", &[]),
    ("GET", "/-/reload", &[]),
    ("POST", "/-/reload", &[]),
];

fn ask(address: SocketAddr, method: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    match method {
        "POST" => http::post_form(address, path, pairs),
        _ if pairs.is_empty() => http::request(address, method, path, &[], b""),
        _ => http::request(address, method, &format!("{path}?{}", http::encode(pairs)), &[], b""),
    }
}

/// Goal: a client can't tell who answers. Method: the same requests to Millrace and to Prometheus, compared byte by byte.
#[test]
fn answers_are_those_of_prometheus() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let prometheus = peer::prometheus(folder.path(), "global: {}\n");
    let mut differences = Vec::new();
    for (method, path, pairs) in SAME_ANSWERS {
        let ours = ask(server.address, method, path, pairs);
        let theirs = ask(prometheus.address, method, path, pairs);
        let form = |answer: &Answer| (answer.code, answer.header("content-type").map(str::to_owned), answer.text());
        if form(&ours) != form(&theirs) {
            differences.push(format!(
                "{method} {path} {pairs:?}\n  ours   {:?}\n  theirs {:?}",
                form(&ours),
                form(&theirs)
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn samples_come_back_as_they_were_sent() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let now = now_ms();
    let samples = [
        (now - 30_000, 0.1),
        (now - 20_000, -0.0),
        (now - 15_001, 9_007_199_254_740_993.0),
        (now - 10_000, 1e-7),
        (now - 5_000, f64::NAN),
        (now, f64::INFINITY),
    ];
    let labels = [("__name__", "m"), ("job", "a \"b\"\n\\ü"), ("instance", "x")];
    let answer = body::write(server.address, Protocol::V1, &[Series { labels: &labels, samples: &samples }]);
    assert_eq!(answer.code, 204, "{}", answer.text());
    let time = (now as f64 / 1000.0).to_string();
    let answer = http::post_form(server.address, "/api/v1/query", &[("query", "m[5m]"), ("time", &time)]);
    assert_eq!(answer.code, 200, "{}", answer.text());
    let series = &answer.json()["data"]["result"][0];
    assert_eq!(series["metric"], json!({"__name__": "m", "job": "a \"b\"\n\\ü", "instance": "x"}));
    let texts: Vec<_> = series["values"].as_array().expect("samples").iter().map(|sample| sample[1].clone()).collect();
    assert_eq!(texts, ["0.1", "-0", "9007199254740992", "1e-07", "NaN", "+Inf"]);
    let third = format!("{}.{:03}", (now - 15_001).div_euclid(1000), (now - 15_001).rem_euclid(1000));
    let third = third.strip_suffix(".000").unwrap_or(&third).to_owned();
    assert!(answer.text().contains(&format!("[{third},\"9007199254740992\"]")), "{}", answer.text());
    let names = http::get(server.address, "/api/v1/labels").json();
    assert_eq!(names["data"], json!(["__name__", "instance", "job"]));
    let values = http::get(server.address, "/api/v1/label/U__job/values?match[]=m").json();
    assert_eq!(values["data"], json!(["a \"b\"\n\\ü"]));
}

/// Writes `count` series of a metric, one sample each.
fn write_many(server: &Server, count: usize) {
    let time = now_ms();
    let numbers: Vec<String> = (0..count).map(|number| format!("{number:05}")).collect();
    let labels: Vec<_> = numbers.iter().map(|number| [("__name__", "many"), ("number", number.as_str())]).collect();
    let samples = [(time, 1.0)];
    let series: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
    let answer = body::write(server.address, Protocol::V2, &series);
    assert_eq!(answer.code, 204, "{}", answer.text());
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some(count.to_string().as_str()));
}

#[test]
fn limits_cut_and_say_so() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    write_many(&server, 50);
    let warned = |answer: &Value| answer["warnings"] == json!(["results truncated due to limit"]);
    for path in ["/api/v1/series?match[]=many", "/api/v1/label/number/values?", "/api/v1/query?query=many"] {
        let all = http::get(server.address, path).json();
        let cut = http::get(server.address, &format!("{path}&limit=7")).json();
        let count = |answer: &Value| {
            let data = &answer["data"];
            data.as_array().or_else(|| data["result"].as_array()).expect("a list").len()
        };
        assert_eq!((count(&all), all.get("warnings")), (50, None), "{path}");
        assert!(count(&cut) == 7 && warned(&cut), "{path}: {cut}");
    }
}

#[test]
fn long_answers_stream_and_compress() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    write_many(&server, 5000);
    let path = format!("/api/v1/query?query=many&time={}", now_ms() as f64 / 1000.0);
    let plain = http::get(server.address, &path);
    assert_eq!(plain.code, 200, "{}", plain.text());
    assert_eq!(plain.json()["data"]["result"].as_array().map(Vec::len), Some(5000));
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"));
    for coding in ["gzip", "zstd"] {
        let headers = [("Accept-Encoding", coding)];
        let zipped = http::request(server.address, "GET", &path, &headers, b"");
        assert_eq!(zipped.header("content-encoding"), Some(coding));
        assert!(zipped.body.len() * 5 < plain.body.len(), "{} of {} bytes", zipped.body.len(), plain.body.len());
        if coding == "zstd" {
            let mut back = Vec::new();
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(&zipped.body[..]).expect("a frame");
            decoder.read_to_end(&mut back).expect("a whole frame");
            assert_eq!(back, plain.body);
        }
    }
}

/// Goal: a query that runs away is stopped by name, by each of its limits, and the server goes on.
#[test]
fn queries_that_run_away_are_stopped_by_name() {
    let folder = folder();
    let args = ["--query.max-samples=1000", "--query.max-memory=64MB"];
    let server = Server::start(folder.path(), &args);
    write_many(&server, 2000);
    let answer = http::get(server.address, "/api/v1/query?query=many");
    assert_eq!(answer.code, 422, "{}", answer.text());
    let text = answer.json()["error"].as_str().expect("a text").to_owned();
    assert_eq!(text, "query processing would load too many samples into memory in query execution");
    let answer = http::get(server.address, "/api/v1/query?query=many&timeout=0.000001");
    assert_eq!((answer.code, answer.json()["errorType"].clone()), (503, json!("timeout")), "{}", answer.text());
    assert!(answer.text().contains("query timed out in"), "{}", answer.text());
    assert_eq!(http::get(server.address, "/api/v1/query?query=1").code, 200);
    write_many(&server, 10);
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
}

#[test]
fn browsers_may_call_from_allowed_origins() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--web.cors.origin=https?://grafana\\.example"]);
    let ask = |method: &str, origin: &str| {
        http::request(server.address, method, "/api/v1/query?query=1", &[("Origin", origin)], b"")
    };
    let answer = ask("GET", "http://grafana.example");
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://grafana.example"));
    let preflight = ask("OPTIONS", "http://grafana.example");
    assert_eq!((preflight.code, preflight.header("access-control-allow-methods")), (204, Some("GET, POST, OPTIONS")));
    assert_eq!(ask("GET", "http://grafana.example.org").header("access-control-allow-origin"), None);
}

/// What Grafana asks when somebody adds the data source, opens a panel and types a query.
#[test]
fn grafanas_requests_are_answered() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    write_many(&server, 3);
    let now = (now_ms() / 1000).to_string();
    let range = [("query", "many"), ("start", "0"), ("end", now.as_str()), ("step", "1000000")];
    let list = [("match[]", "{__name__!=\"\"}"), ("start", "0"), ("end", &now), ("limit", "40000")];
    for answer in [
        http::post_form(server.address, "/api/v1/query", &[("query", "1+1"), ("time", "4")]),
        http::get(server.address, "/api/v1/status/buildinfo"),
        http::post_form(server.address, "/api/v1/query_range", &range),
        http::post_form(server.address, "/api/v1/series", &list),
        http::post_form(server.address, "/api/v1/labels", &list),
        http::get(server.address, &format!("/api/v1/label/__name__/values?{}", http::encode(&list))),
        http::get(server.address, "/api/v1/rules"),
        http::get(server.address, "/api/v1/metadata?limit=40000"),
        http::get(server.address, "/api/v1/query_exemplars?query=test&start=1795357883000&end=1795357893000"),
    ] {
        assert_eq!((answer.code, answer.json()["status"].clone()), (200, json!("success")), "{}", answer.text());
    }
    let build = http::get(server.address, "/api/v1/status/buildinfo").json();
    assert!(build["data"].get("features").is_none(), "would make Grafana believe that this is Mimir: {build}");
}

#[test]
fn status_pages_answer_everywhere() {
    let folder = folder();
    let args = ["--web.external-url=http://example.org/metrics-store/"];
    let server = Server::launch(folder.path(), &args);
    eventually("readiness", || (http::get(server.address, "/metrics-store/-/ready").code == 200).then_some(()));
    let series = Series { labels: &[("__name__", "many")], samples: &[(now_ms(), 1.0)] };
    let message = body::compressed(&body::message(Protocol::V1, &[series]));
    let headers = [("Content-Type", "application/x-protobuf")];
    assert_eq!(http::request(server.address, "POST", "/metrics-store/api/v1/write", &headers, &message).code, 204);
    let get = |path: &str| http::get(server.address, &format!("/metrics-store{path}"));
    for path in ["/", "/status", "/metrics", "/-/healthy", "/-/ready"] {
        assert_eq!(get(path).code, 200, "{path}");
    }
    for name in ["buildinfo", "config", "flags", "runtimeinfo", "tsdb"] {
        let answer = get(&format!("/api/v1/status/{name}"));
        assert_eq!((answer.code, answer.json()["status"].clone()), (200, json!("success")), "{name}");
    }
    let tsdb = get("/api/v1/status/tsdb").json();
    assert_eq!(tsdb["data"]["headStats"]["numSeries"], 1);
    assert_eq!(tsdb["data"]["seriesCountByMetricName"], json!([{"name": "many", "value": 1}]));
    assert!(get("/").text().contains("<h1>Millrace"), "{}", get("/").text());
    assert_eq!(http::get(server.address, "/").code, 303);
    assert!(get("/metrics").text().contains("\nprometheus_tsdb_head_series 1\n"));
}

/// Takes seconds and little memory: many windows of many samples, with a square for each.
const SLOW_QUERY: &str =
    "/api/v1/query_range?query=stddev_over_time(vector(time())[20h:1s])&start=1000000&end=1010000&step=1";

/// Goal: a client that hangs up frees the place of its query, and one that waits too long in line is told so.
#[test]
fn hanging_up_cancels_and_the_queue_has_a_limit() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--query.max-concurrency=1"]);
    let metric = |name: &str| {
        let page = http::get(server.address, "/metrics").text();
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is missing"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    let mut slow = TcpStream::connect(server.address).expect("the server listens");
    slow.write_all(format!("GET {SLOW_QUERY} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("sent");
    eventually("the slow query", || (metric("prometheus_engine_queries ") == 1.0).then_some(()));
    let waiting = http::get(server.address, "/api/v1/query?query=1&timeout=0.1");
    assert_eq!(waiting.code, 503, "{}", waiting.text());
    assert!(waiting.text().contains("query timed out in query queue"), "{}", waiting.text());
    drop(slow);
    eventually("its end", || (metric("prometheus_engine_queries ") == 0.0).then_some(()));
    assert_eq!(metric("millrace_queries_stopped_total{cause=\"canceled\"}"), 1.0);
    assert_eq!(http::get(server.address, "/api/v1/query?query=1").code, 200);
}
