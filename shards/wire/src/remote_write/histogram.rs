//! The histogram message, the same in both protocols. Histograms are rare beside samples and large, so a library decodes them.

use model::{
    Histogram,
    histogram::{Counts, ResetHint, Span},
};
use prost::{Message, Oneof};

use crate::protobuf::{Malformed, Reader};

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramMessage {
    #[prost(oneof = "CountMessage", tags = "1, 2")]
    pub(super) count: Option<CountMessage>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(oneof = "ZeroCountMessage", tags = "6, 7")]
    pub(super) zero_count: Option<ZeroCountMessage>,
    #[prost(message, repeated, tag = "8")]
    pub(super) negative_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "9")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(super) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(super) time: i64,
    #[prost(double, repeated, tag = "16")]
    pub(super) custom_values: Vec<f64>,
    /// Of protocol 2.0.
    #[prost(int64, tag = "17")]
    pub(super) start_time: i64,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum CountMessage {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum ZeroCountMessage {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct SpanMessage {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// Reads a histogram, its time and its start timestamp, which is 0 if it has none. Whether it makes sense is for [`Histogram::check`] to say.
pub(super) fn read(message: Reader<'_>) -> Result<(i64, i64, Histogram), Malformed> {
    let offset = message.at();
    let decoded = HistogramMessage::decode(message.rest());
    let message = decoded.map_err(|_| Malformed { offset, what: "a native histogram that does not decode" })?;
    Ok((message.time, message.start_time, message.into()))
}

impl From<HistogramMessage> for Histogram {
    fn from(message: HistogramMessage) -> Self {
        let spans = |spans: Vec<SpanMessage>| {
            spans.into_iter().map(|SpanMessage { offset, length }| Span { offset, length }).collect()
        };
        let counts = match message.count {
            Some(CountMessage::Float(count)) => Counts::Float {
                count,
                zero_count: match message.zero_count {
                    Some(ZeroCountMessage::Float(count)) => count,
                    Some(ZeroCountMessage::Integer(count)) => count as f64,
                    None => 0.0,
                },
                positive: message.positive_counts,
                negative: message.negative_counts,
            },
            integer => Counts::Integer {
                count: match integer {
                    Some(CountMessage::Integer(count)) => count,
                    _ => 0,
                },
                zero_count: match message.zero_count {
                    Some(ZeroCountMessage::Integer(count)) => count,
                    _ => 0,
                },
                positive: message.positive_deltas,
                negative: message.negative_deltas,
            },
        };
        Self {
            reset_hint: match message.reset_hint {
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            schema: message.schema,
            zero_threshold: message.zero_threshold,
            sum: message.sum,
            counts,
            positive_spans: spans(message.positive_spans),
            negative_spans: spans(message.negative_spans),
            custom_values: message.custom_values,
        }
    }
}
