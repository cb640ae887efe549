//! Start timestamps of remote write 2.0: with the feature that Prometheus has for it, a counter is known to have been 0 when it began.

use std::{fs, net::SocketAddr};

use prost::Message;
use serde_json::Value;
use wire::remote_write::Protocol;

use crate::harness::{
    body, http, now_ms, peer,
    server::{Server, folder},
};

const FEATURE: &str = "--enable-feature=created-timestamp-zero-ingestion,native-histograms";
const MINUTE: i64 = 60_000;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(uint32, repeated, tag = "1")]
    references: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    /// As the peer at hand reads it; later ones have it at each sample.
    #[prost(int64, tag = "6")]
    created: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    time: i64,
    #[prost(int64, tag = "3")]
    start_time: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    time: i64,
    #[prost(int64, tag = "17")]
    start_time: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Where the start timestamp of a series is written.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Series,
    Sample,
}

/// One sample of a counter that began at `created`.
fn send(address: SocketAddr, place: Place, name: &str, created: i64, time: i64, value: f64) -> u16 {
    let symbols = ["", "__name__", name].map(str::to_owned).to_vec();
    let (created, start_time) = if place == Place::Series { (created, 0) } else { (0, created) };
    let mut series = Series { references: vec![1, 2], created, ..Series::default() };
    if name.starts_with("native") {
        series.histograms.push(Histogram {
            count: value as u64,
            sum: value,
            schema: 1,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_deltas: vec![value as i64],
            time,
            start_time,
        });
    } else {
        series.samples.push(Sample { value, time, start_time });
    }
    let request = Request { symbols, series: vec![series] };
    body::send(address, Protocol::V2.content_type(), &body::compressed(&request.encode_to_vec())).code
}

/// Name, when it began, time and value, in minutes before now.
const SAMPLES: &[(&str, i64, i64, f64)] = &[
    ("counter", 50, 45, 7.0),
    ("counter", 50, 40, 9.0),
    // It began anew.
    ("counter", 37, 35, 2.0),
    ("counter", 37, 30, 4.0),
    // It says that it began before what is known of it.
    ("counter", 48, 25, 5.0),
    ("at_once", 40, 40, 3.0),
    ("later", 30, 40, 3.0),
    ("long_ago", 60 * 24 * 9, 40, 3.0),
    ("unknown", 0, 40, 3.0),
    ("native", 50, 45, 7.0),
    ("native", 50, 40, 9.0),
    ("native", 37, 35, 2.0),
];

fn read(address: SocketAddr, now: i64, query: &str) -> Value {
    let time = (now / 1000).to_string();
    let path = format!("/api/v1/query?{}", http::encode(&[("query", query), ("time", &time)]));
    let answer = http::get(address, &path);
    assert_eq!(answer.code, 200, "{}", answer.text());
    let mut result = answer.json()["data"]["result"].clone();
    result.as_array_mut().expect("series").sort_by_key(|series| series["metric"].to_string());
    result
}

#[test]
fn counters_begin_at_zero_when_they_say_so() {
    let (folder, other_folder, beside) = (folder(), folder(), folder());
    for folder in [&folder, &other_folder] {
        fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n")
            .expect("a file");
    }
    let args = ["--tuning.file=tuning.toml", FEATURE];
    let server = Server::start(folder.path(), &args);
    let other = Server::start(other_folder.path(), &args);
    let prometheus = peer::prometheus_with(beside.path(), "global: {}\n", &[FEATURE]);
    let now = now_ms();
    for (name, created, time, value) in SAMPLES {
        let at = |minutes: i64| now - minutes * MINUTE;
        let created = if *created == 0 { 0 } else { at(*created) };
        let to = |address, place| send(address, place, name, created, at(*time), *value);
        let codes = [
            to(prometheus.address, Place::Series),
            to(server.address, Place::Series),
            to(other.address, Place::Sample),
        ];
        assert_eq!(codes, [204; 3], "{name} at {time}");
    }
    let queries = ["{__name__!=\"\"}[2h]", "increase(counter[1h])", "increase(long_ago[1h])"];
    let same = |address: SocketAddr, what: &str| {
        for query in queries {
            assert_eq!(read(address, now, query), read(prometheus.address, now, query), "{what}: {query}");
        }
    };
    let counts = read(server.address, now, "count_over_time(counter[2h])");
    assert_eq!(counts[0]["value"][1], "7", "five samples and two beginnings");
    assert_eq!(read(server.address, now, "resets(native[1h])")[0]["value"][1], "1");
    same(server.address, "as drafts had it");
    same(other.address, "as the protocol has it");
    server.kill();
    let server = Server::start(folder.path(), &args);
    same(server.address, "after kill -9");
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
}
