//! Remote write: both protocols on both ports, partial writes, and everything that may come instead.

use std::net::SocketAddr;

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    http, now_ms,
    server::{Server, folder},
};

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn value_of(address: SocketAddr, query: &str) -> String {
    let answer = http::post_form(address, "/api/v1/query", &[("query", query)]);
    let value = answer.json()["data"]["result"][0]["value"][1].clone();
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn both_protocols_on_both_ports() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--ingest.listen-address=127.0.0.1:0"]);
    let now = now_ms();
    let mut written = 0;
    for (port, address) in [("api", server.address), ("ingest", server.ingest_address())] {
        for (protocol, name) in [(Protocol::V1, "one"), (Protocol::V2, "two")] {
            let labels = [("__name__", "m"), ("port", port), ("protocol", name)];
            let answer = body::write(address, protocol, &[Series { labels: &labels, samples: &[(now, 7.0)] }]);
            assert_eq!(answer.code, 204, "{port} {name}: {}", answer.text());
            let header = answer.header("x-prometheus-remote-write-samples-written");
            assert_eq!(header, (protocol == Protocol::V2).then_some("1"), "{port} {name}");
            written += 1;
            assert_eq!(value_of(server.address, "count(m)"), written.to_string(), "read your own write");
        }
    }
    assert_eq!(value_of(server.address, "sum(m)"), "28");
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
}

#[test]
fn a_bad_sample_does_not_stop_its_neighbours() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let now = now_ms();
    let good = [("__name__", "good")];
    let series = [
        Series { labels: &good, samples: &[(now, 1.0)] },
        Series { labels: &[("__name__", "late")], samples: &[(now, 1.0), (now - 1000, 2.0)] },
        Series { labels: &[("job", "nameless")], samples: &[(now, 1.0)] },
        Series { labels: &[("__name__", "twice"), ("a", "1"), ("a", "2")], samples: &[(now, 1.0)] },
        Series { labels: &[("__name__", "soon")], samples: &[(now + 3_600_000, 1.0)] },
    ];
    let answer = body::write(server.address, Protocol::V2, &series);
    assert_eq!(answer.code, 400, "{}", answer.text());
    assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), Some("2"));
    for part in ["partial write", "out of order", "no metric name", "occurs twice", "the first:"] {
        assert!(answer.text().contains(part), "{part:?} is not in {}", answer.text());
    }
    assert_eq!(value_of(server.address, "count({__name__=~\"good|late\"})"), "2");
    let metrics = http::get(server.address, "/metrics").text();
    assert!(metrics.contains("\nmillrace_samples_rejected_total{reason=\"out_of_order\"} 1\n"), "{metrics}");
    let again = body::write(server.address, Protocol::V1, &[Series { labels: &good, samples: &[(now, 1.0)] }]);
    assert_eq!(again.code, 204, "a retry of what is there is a success: {}", again.text());
}

/// Anything may come in; the answer is clear, nothing crashes, and the next good request is served.
#[test]
fn bad_requests_are_answered_and_change_nothing() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--ingest.listen-address=127.0.0.1:0"]);
    for address in [server.address, server.ingest_address()] {
        check_bad_requests(address);
        let labels = [("__name__", "after")];
        let answer = body::write(address, Protocol::V1, &[Series { labels: &labels, samples: &[(now_ms(), 1.0)] }]);
        assert_eq!(answer.code, 204, "{}", answer.text());
    }
    assert_eq!(value_of(server.address, "count({__name__!=\"\"})"), "1");
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    assert!(server.stop().success());
}

fn check_bad_requests(address: SocketAddr) {
    let series = [Series { labels: &[("__name__", "bad")], samples: &[(now_ms(), 1.0)] }];
    let message = body::message(Protocol::V1, &series);
    let good = body::compressed(&message);
    let check = |what: &str, content_type: &str, body: &[u8], code: u16| {
        let answer = body::send(address, content_type, body);
        assert_eq!(answer.code, code, "{what}: {}", answer.text());
        assert!(!answer.text().trim().is_empty(), "{what}: an answer without words");
    };
    check("truncated", V1, &good[..good.len() / 2], 400);
    check("not snappy", V1, &message, 400);
    check("cut inside protobuf", V1, &body::compressed(&message[..message.len() - 3]), 400);
    check("random bytes", V1, &random_bytes(4096), 400);
    check("random protobuf", V1, &body::compressed(&random_bytes(4096)), 400);
    check("random protobuf", V2, &body::compressed(&random_bytes(4096)), 400);
    check("a claim of 4 GiB", V1, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00], 400);
    check("a bomb", V1, &body::compressed(&vec![0; 200 << 20]), 400);
    check("text", "text/plain", &good, 415);
    check("another message", "application/x-protobuf;proto=some.Other", &good, 415);
    let answer =
        http::request(address, "POST", "/api/v1/write", &[("Content-Encoding", "gzip"), ("Content-Type", V1)], &good);
    assert_eq!(answer.code, 415, "{}", answer.text());
    assert_eq!(http::get(address, "/api/v1/write").code, 405);
    check_oversized(address);
    check_broken_off(address);
}

/// More than any request may have: refused from its head, without waiting for the body.
fn check_oversized(address: SocketAddr) {
    let head =
        format!("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: {V1}\r\nContent-Length: 1000000000\r\n\r\n");
    let answer = http::raw(address, head.as_bytes()).expect("an answer to the head alone");
    assert_eq!(answer.code, 413, "{}", answer.text());
}

/// Clients that go away in the middle, and such that do not speak HTTP.
fn check_broken_off(address: SocketAddr) {
    use std::io::Write as _;
    for bytes in [
        format!("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: {V1}\r\nContent-Length: 1000\r\n\r\nabc"),
        "POST /api/v1/write HT".to_owned(),
        "\0\0\0\0 nonsense\r\n\r\n".to_owned(),
    ] {
        let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
        stream.write_all(bytes.as_bytes()).expect("sent");
    }
}

/// The same bytes on each run.
fn random_bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(next).collect()
}

#[test]
fn the_series_limit_is_a_partial_write_with_a_reason() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--limits.max-series=2"]);
    let now = now_ms();
    let names = ["a", "b", "c"];
    let labels: Vec<_> = names.iter().map(|name| [("__name__", *name)]).collect();
    let samples = [(now, 1.0)];
    let series: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
    let answer = body::write(server.address, Protocol::V2, &series);
    assert_eq!(answer.code, 400);
    assert!(answer.text().contains("series limit"), "{}", answer.text());
    assert_eq!(value_of(server.address, "count({__name__!=\"\"})"), "2");
}
