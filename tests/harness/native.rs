//! Remote write 1.0 with native histograms: its messages, and histograms of three shapes that move with time.

use std::net::SocketAddr;

use prost::Message;
use wire::remote_write::Protocol;

use super::body;

/// Of remote write 1.0, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(crate) series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Series {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Float>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Float {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(crate) count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub(crate) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(crate) schema: i32,
    #[prost(double, tag = "5")]
    pub(crate) zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub(crate) zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub(crate) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) negative_spans: Vec<Span>,
    #[prost(double, repeated, tag = "10")]
    pub(crate) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub(crate) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(crate) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(crate) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(crate) time: i64,
    #[prost(double, repeated, tag = "16")]
    pub(crate) custom_values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

pub(crate) fn send(address: SocketAddr, request: &Request) {
    let answer = body::send(address, Protocol::V1.content_type(), &body::compressed(&request.encode_to_vec()));
    assert_eq!(answer.code / 100, 2, "{}", answer.text());
}

/// A counter that counts more buckets as it goes, starts again now and then, and changes its resolution once.
pub(crate) fn counter(instance: i64, minute: i64, time: i64) -> Histogram {
    let age = (minute + instance * 17) % 97 + 1;
    let buckets: Vec<i64> = (0..4 + age / 30).map(|at| age * (at + instance + 1) % 1000 + age).collect();
    let count: i64 = buckets.iter().sum::<i64>() + age;
    let mut before = 0;
    let deltas = buckets.iter().map(|bucket| bucket - std::mem::replace(&mut before, *bucket)).collect();
    Histogram {
        count_int: Some(count as u64),
        zero_count_int: Some(age as u64),
        sum: count as f64 * 0.37,
        schema: if minute < 130 { 2 } else { 1 },
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: instance as i32 - 2, length: buckets.len() as u32 }],
        positive_deltas: deltas,
        time,
        ..Histogram::default()
    }
}

pub(crate) fn gauge(instance: i64, minute: i64, time: i64) -> Histogram {
    let wave = |at: i64| ((minute * (at + 3) + instance * 7) % 23) as f64 + 0.5;
    let (positive, negative) = (vec![wave(0), wave(1), wave(2)], vec![wave(4), wave(5)]);
    let zero = wave(6);
    Histogram {
        count_float: Some(positive.iter().chain(&negative).sum::<f64>() + zero),
        zero_count_float: Some(zero),
        sum: wave(7) - 11.0,
        schema: 0,
        zero_threshold: 0.01,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 2, length: 1 }],
        positive_counts: positive,
        negative_spans: vec![Span { offset: 1, length: 2 }],
        negative_counts: negative,
        reset_hint: 3,
        time,
        ..Histogram::default()
    }
}

pub(crate) fn custom(instance: i64, minute: i64, time: i64) -> Histogram {
    let age = (minute + instance) as f64;
    let bounds = vec![0.1, 1.0, 5.0, 10.0];
    let counts: Vec<f64> = (0..=bounds.len()).map(|at| age * (at + 1) as f64).collect();
    Histogram {
        count_float: Some(counts.iter().sum()),
        zero_count_float: Some(0.0),
        sum: age * 12.25,
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
        positive_counts: counts,
        custom_values: bounds,
        time,
        ..Histogram::default()
    }
}
