//! Pushed metrics, beside a real Pushgateway that gets the same requests.

use std::{collections::BTreeMap, io::Write as _, net::SocketAddr, path::Path, time::Duration};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use serde_json::{Value, json};
use wire::exposition::families::{FamilyMessage, HistogramMessage, MetricMessage, SpanMessage, kind};

use crate::harness::{
    eventually, free_port, http, peer,
    server::{Server, folder},
};

const TEXT: (&str, &str) = ("Content-Type", "text/plain; version=0.0.4");
const PROTOBUF: (&str, &str) =
    ("Content-Type", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited");

struct Gateway {
    server: Server,
    address: SocketAddr,
}

fn gateway(folder: &Path, port: u16, more: &[&str]) -> Gateway {
    let file = folder.join("millrace.yml");
    std::fs::write(&file, "global: {scrape_interval: 1s}\n").expect("a file");
    let (file, listen) =
        (format!("--config.file={}", file.display()), format!("--push.listen-address=127.0.0.1:{port}"));
    let server = Server::start(folder, &[&[file.as_str(), &listen], more].concat());
    Gateway { server, address: SocketAddr::from(([127, 0, 0, 1], port)) }
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn native() -> Vec<u8> {
    let histogram = HistogramMessage {
        sample_count: 3,
        sample_sum: 4.5,
        zero_threshold: 1e-3,
        positive_span: vec![SpanMessage { offset: 0, length: 1 }],
        positive_delta: vec![3],
        ..HistogramMessage::default()
    };
    let metric = vec![MetricMessage { histogram: Some(histogram), ..MetricMessage::default() }];
    let name = "native_seconds".to_owned();
    FamilyMessage { name, kind: kind::HISTOGRAM, metric, ..FamilyMessage::default() }.encode_length_delimited_to_vec()
}

/// Method, path, headers, body.
type Push = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<u8>);

/// Requests in their order.
fn requests() -> Vec<Push> {
    let text = |method, path, body: &str| (method, path, vec![TEXT], body.as_bytes().to_vec());
    vec![
        text("PUT", "/metrics/job/backup", "# HELP done Done.\n# TYPE done gauge\ndone 1\nbytes{disk=\"a\"} 17\n"),
        text("POST", "/metrics/job/backup", "# TYPE extra counter\nextra{instance=\"own\",job=\"mine\"} 2\n"),
        text("POST", "/metrics/job/backup/instance/i1", "# TYPE done gauge\n# HELP done Otherwise.\ndone 0.5\n"),
        text("PUT", "/metrics/job@base64/YS9i/path@base64/L3Zhcg/empty@base64/=", "x 1e21\n"),
        text("PUT", "/metrics/job/percent%2Fslash/a%20b/c", "x 1\n"),
        text(
            "PUT",
            "/metrics/job/shapes",
            "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\n\
             # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 3\ns_count 4\nu{a=\"b\\\"c\\\\\\n\"} -Inf\n",
        ),
        ("PUT", "/metrics/job/packed", vec![TEXT, ("Content-Encoding", "gzip")], gzipped(b"packed 1\n")),
        ("PUT", "/metrics/job/native", vec![PROTOBUF], native()),
        // What is refused.
        text("PUT", "/metrics/job/backup", "done{a=\"b\"} 1\n"),
        text("PUT", "/metrics/job/other", "# TYPE done counter\ndone 1\n"),
        text("PUT", "/metrics/job/timed", "a 1 1000\n"),
        text("PUT", "/metrics/job/cut", "a 1"),
        text("PUT", "/metrics/job/bad", "a\n"),
        text("PUT", "/metrics/job/twice", "a{b=\"c\"} 1\na{b=\"c\"} 2\n"),
        text("PUT", "/metrics/job/a/b", "x 1\n"),
        text("PUT", "/metrics/job/a/__b/c", "x 1\n"),
        text("PUT", "/metrics/job@base64/!!", "x 1\n"),
        text("PUT", "/metrics/job@base64/=/x/y", "x 1\n"),
        text("GET", "/metrics/job/backup", ""),
        // The same series by two ways.
        text("PUT", "/metrics/job/same", "z{l=\"v\"} 1\n"),
        text("PUT", "/metrics/job/same/l/v", "z 1\n"),
        // What goes.
        text("PUT", "/metrics/job/emptied", "gone 1\n"),
        text("PUT", "/metrics/job/emptied", ""),
        text("POST", "/metrics/job/kept", "stays 1\n"),
        text("POST", "/metrics/job/kept", ""),
        text("PUT", "/metrics/job/deleted", "gone 1\n"),
        text("DELETE", "/metrics/job/deleted", ""),
        text("DELETE", "/metrics/job/never/there/x", ""),
        text("POST", "/api/v1/admin/wipe", ""),
    ]
}

/// The groups without times, but for whether there are some.
fn groups(address: SocketAddr) -> Vec<Value> {
    let mut all = http::get(address, "/api/v1/metrics").json()["data"].as_array().expect("groups").clone();
    for group in &mut all {
        for (name, family) in group.as_object_mut().expect("a group") {
            let Some(family) = family.as_object_mut() else { continue };
            family.remove("time_stamp");
            if name.starts_with("push_") {
                for metric in family["metrics"].as_array_mut().expect("metrics") {
                    metric["value"] = json!(metric["value"] != "0");
                }
            }
        }
    }
    all.sort_by_key(|group| group["labels"].to_string());
    all
}

/// The page without times, and without what tells of the server itself. Of two help texts for a name either may be shown.
fn page(address: SocketAddr) -> Vec<String> {
    let text = http::get(address, "/metrics").text();
    let is_of_server = |line: &str| {
        ["go_", "process_", "pushgateway_", "promhttp_", "# HELP done "].iter().any(|own| line.contains(own))
    };
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !is_of_server(line))
        .map(|line| match line.split_once("} ") {
            Some((series, value)) if line.starts_with("push_") => format!("{series}}} {}", value != "0"),
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn pushes_are_taken_as_a_pushgateway_takes_them() {
    let folder = folder();
    let real = peer::pushgateway(folder.path());
    let port = free_port();
    let ours = gateway(folder.path(), port, &[]);
    for (method, path, headers, body) in requests() {
        let codes = [ours.address, real.address].map(|address| {
            let answer = http::request(address, method, path, &headers, &body);
            (answer.code, answer.text())
        });
        let shown = format!("{method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(40)]).escape_debug());
        assert_eq!(codes[0].0, codes[1].0, "{shown}: ours {:?}, theirs {:?}", codes[0].1, codes[1].1);
        // A delete is queued there.
        eventually(&format!("the same groups after {shown}"), || {
            let (ours, theirs) = (groups(ours.address), groups(real.address));
            if ours != theirs {
                for (ours, theirs) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs) {
                    eprintln!("ours {ours}\ntheirs {theirs}");
                }
            }
            (ours == theirs).then_some(())
        });
    }
    assert!(groups(ours.address).len() > 8);
    assert_eq!(page(ours.address), page(real.address));
    let before = (groups(ours.address), page(ours.address));
    // What was answered is there after the hardest of ends.
    let Gateway { server, .. } = ours;
    drop(server);
    let again = gateway(folder.path(), port, &[]);
    assert_eq!((groups(again.address), page(again.address)), before);
    // Scraped without any configuration, with the pushed labels.
    let values = |query: &str| -> BTreeMap<String, String> {
        let answer =
            http::get(again.server.address, &format!("/api/v1/query?{}", http::encode(&[("query", query)]))).json();
        let samples = answer["data"]["result"].as_array().expect("a vector").clone();
        let pair = |sample: &Value| (sample["metric"].to_string(), sample["value"][1].to_string());
        samples.iter().map(pair).collect()
    };
    let expected: BTreeMap<String, String> = [
        (r#"{"__name__":"done","instance":"i1","job":"backup"}"#.to_owned(), "\"0.5\"".to_owned()),
        (r#"{"__name__":"done","job":"backup"}"#.to_owned(), "\"1\"".to_owned()),
    ]
    .into();
    eventually("the pushed metrics", || (values("done") == expected).then_some(()));
    assert_eq!(values("up{job=\"pushgateway\"}").len(), 1);
    assert!(http::get(again.address, "/").text().contains("{job=&quot;backup&quot;}"));
    assert_eq!(http::get(again.address, "/-/healthy").code, 200);
    assert!(again.server.stop().success());
}

#[test]
fn groups_go_when_their_time_is_over() {
    let folder = folder();
    let gateway = gateway(folder.path(), free_port(), &["--push.time-to-live=1h", "--web.enable-admin-api"]);
    let push = |path: &str| http::request(gateway.address, "PUT", path, &[TEXT], b"x 1\n").code;
    assert_eq!(push("/metrics/job/long"), 200);
    assert_eq!(push("/metrics/job/short?ttl=1s"), 200);
    assert_eq!(push("/metrics/job/wrong?ttl=soon"), 400);
    let jobs = || -> Vec<String> {
        groups(gateway.address).iter().map(|group| group["labels"]["job"].as_str().expect("a job").to_owned()).collect()
    };
    assert_eq!(jobs(), ["long", "short"]);
    eventually("the end of one", || (jobs() == ["long"]).then_some(()));
    let metrics = http::get(gateway.server.address, "/metrics").text();
    assert!(metrics.contains("\nmillrace_push_groups_expired_total 1\n"), "{metrics}");
    assert_eq!(http::request(gateway.address, "PUT", "/api/v1/admin/wipe", &[], b"").code, 202);
    assert!(jobs().is_empty());
}

#[test]
fn a_gateway_below_a_path_of_the_web_address() {
    let folder = folder();
    let file = folder.path().join("millrace.yml");
    std::fs::write(&file, "global: {scrape_interval: 1s, scrape_native_histograms: true}\n").expect("a file");
    let file = format!("--config.file={}", file.display());
    let server = Server::start(folder.path(), &[&file, "--push.route-prefix=/pushgateway", "--push.enable-utf8-names"]);
    let path = "/pushgateway/metrics/job/x/U__a_2e_b/c";
    assert_eq!(http::request(server.address, "POST", path, &[PROTOBUF], &native()).code, 200);
    let query =
        format!("/api/v1/query?{}", http::encode(&[("query", "histogram_count(native_seconds{\"a.b\"=\"c\"})")]));
    let value =
        || http::get(server.address, &query).json()["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
    eventually("a native histogram", || (value().as_deref() == Some("3")).then_some(()));
    // Metrics of the server itself are where they were.
    assert!(http::get(server.address, "/metrics").text().contains("millrace_push_groups 1"));
    std::thread::sleep(Duration::from_millis(10));
    assert!(server.stop().success());
}
