//! Messages of `io.prometheus.client` that a library reads and writes: those that are rare beside samples, or large.
//!
//! github.com/prometheus/client_model, metrics.proto.

use std::borrow::Cow;

use model::{
    Histogram,
    histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, ResetHint, Span, buckets::Count},
};
use prost::Message;

use super::{
    protobuf_page::ProtobufError,
    reader::{Exemplar, LabelText},
};

#[derive(Clone, PartialEq, Message)]
pub struct FamilyMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub help: String,
    /// One of [`kind`].
    #[prost(int32, tag = "3")]
    pub kind: i32,
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<MetricMessage>,
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// Types of a family.
pub mod kind {
    pub const COUNTER: i32 = 0;
    pub const GAUGE: i32 = 1;
    pub const SUMMARY: i32 = 2;
    pub const UNTYPED: i32 = 3;
    pub const HISTOGRAM: i32 = 4;
    pub const GAUGE_HISTOGRAM: i32 = 5;
}

#[derive(Clone, PartialEq, Message)]
pub struct MetricMessage {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPairMessage>,
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<ValueMessage>,
    #[prost(message, optional, tag = "3")]
    pub counter: Option<CounterMessage>,
    #[prost(message, optional, tag = "4")]
    pub summary: Option<SummaryMessage>,
    #[prost(message, optional, tag = "5")]
    pub untyped: Option<ValueMessage>,
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<HistogramMessage>,
    #[prost(int64, tag = "6")]
    pub timestamp_ms: i64,
}

/// A gauge, or a value that nobody says the type of.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ValueMessage {
    #[prost(double, tag = "1")]
    pub value: f64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelPairMessage {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct TimestampMessage {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPairMessage>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<TimestampMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct QuantileMessage {
    #[prost(double, tag = "1")]
    pub quantile: f64,
    #[prost(double, tag = "2")]
    pub value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub struct SummaryMessage {
    #[prost(uint64, tag = "1")]
    pub sample_count: u64,
    #[prost(double, tag = "2")]
    pub sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub quantile: Vec<QuantileMessage>,
    #[prost(message, optional, tag = "4")]
    pub created: Option<TimestampMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CounterMessage {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(message, optional, tag = "2")]
    pub exemplar: Option<ExemplarMessage>,
    #[prost(message, optional, tag = "3")]
    pub created: Option<TimestampMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BucketMessage {
    #[prost(uint64, tag = "1")]
    pub cumulative_count: u64,
    #[prost(double, tag = "4")]
    pub cumulative_count_float: f64,
    #[prost(double, tag = "2")]
    pub upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    pub exemplar: Option<ExemplarMessage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SpanMessage {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct HistogramMessage {
    #[prost(uint64, tag = "1")]
    pub sample_count: u64,
    #[prost(double, tag = "4")]
    pub sample_count_float: f64,
    #[prost(double, tag = "2")]
    pub sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<BucketMessage>,
    #[prost(message, optional, tag = "15")]
    pub created: Option<TimestampMessage>,
    #[prost(sint32, tag = "5")]
    pub schema: i32,
    #[prost(double, tag = "6")]
    pub zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub zero_count: u64,
    #[prost(double, tag = "8")]
    pub zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    pub negative_span: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "10")]
    pub negative_delta: Vec<i64>,
    #[prost(double, repeated, tag = "11")]
    pub negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "13")]
    pub positive_delta: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    pub positive_count: Vec<f64>,
    #[prost(message, repeated, tag = "16")]
    pub exemplars: Vec<ExemplarMessage>,
}

impl TimestampMessage {
    pub(super) fn millis(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos) / 1_000_000)
    }
}

/// Milliseconds since 1970, or 0.
pub(super) fn start_time(created: Option<TimestampMessage>) -> i64 {
    created.map_or(0, TimestampMessage::millis)
}

impl From<ExemplarMessage> for Exemplar<'static> {
    fn from(message: ExemplarMessage) -> Self {
        let label = |pair: LabelPairMessage| -> LabelText<'static> { (Cow::Owned(pair.name), Cow::Owned(pair.value)) };
        Self {
            labels: message.label.into_iter().map(label).collect(),
            value: message.value.to_bits(),
            time: message.timestamp.map(TimestampMessage::millis),
        }
    }
}

impl BucketMessage {
    /// Observations up to its bound.
    pub fn count(&self) -> f64 {
        if self.cumulative_count_float == 0.0 { self.cumulative_count as f64 } else { self.cumulative_count_float }
    }
}

impl From<&Histogram> for HistogramMessage {
    /// Custom buckets, which protobuf has no place for, as the classic ones that they were.
    fn from(histogram: &Histogram) -> Self {
        let spans = |spans: &[Span]| {
            spans.iter().map(|Span { offset, length }| SpanMessage { offset: *offset, length: *length }).collect()
        };
        let mut message = Self { sample_sum: histogram.sum, ..Self::default() };
        match &histogram.counts {
            Counts::Integer { count, .. } => message.sample_count = *count,
            Counts::Float { count, .. } => message.sample_count_float = *count,
        }
        if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
            message.bucket = classic_buckets(histogram);
            return message;
        }
        (message.schema, message.zero_threshold) = (histogram.schema, histogram.zero_threshold);
        (message.positive_span, message.negative_span) =
            (spans(&histogram.positive_spans), spans(&histogram.negative_spans));
        match histogram.counts.clone() {
            Counts::Integer { zero_count, positive, negative, .. } => {
                (message.zero_count, message.positive_delta, message.negative_delta) = (zero_count, positive, negative);
            }
            Counts::Float { zero_count, positive, negative, .. } => {
                message.zero_count_float = zero_count;
                (message.positive_count, message.negative_count) = (positive, negative);
            }
        }
        message
    }
}

fn classic_buckets(histogram: &Histogram) -> Vec<BucketMessage> {
    let filled = histogram.buckets();
    let bounds = histogram.custom_values.iter().copied().chain([f64::INFINITY]);
    let up_to = |bound: f64| {
        let counts = filled.iter().filter(|bucket| bucket.upper <= bound).map(|bucket| match bucket.count {
            Count::Integer(count) => count as f64,
            Count::Float(count) => count,
        });
        counts.sum::<f64>()
    };
    let bucket = |upper_bound| BucketMessage {
        upper_bound,
        cumulative_count_float: up_to(upper_bound),
        ..BucketMessage::default()
    };
    bounds.map(bucket).collect()
}

impl HistogramMessage {
    /// Whether it has native buckets, or at least where they would begin. Without, it is a classic one.
    pub fn is_native(&self) -> bool {
        !self.positive_span.is_empty()
            || !self.negative_span.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    pub fn count(&self) -> f64 {
        if self.sample_count_float == 0.0 { self.sample_count as f64 } else { self.sample_count_float }
    }

    /// The native histogram. Whether it makes sense is for [`Histogram::check`] to say.
    pub fn native(&self, is_gauge: bool) -> Histogram {
        let spans = |spans: &[SpanMessage]| {
            spans.iter().map(|SpanMessage { offset, length }| Span { offset: *offset, length: *length }).collect()
        };
        let is_float = self.sample_count_float > 0.0 || self.zero_count_float > 0.0;
        let counts = match is_float {
            true => Counts::Float {
                count: self.sample_count_float,
                zero_count: self.zero_count_float,
                positive: self.positive_count.clone(),
                negative: self.negative_count.clone(),
            },
            false => Counts::Integer {
                count: self.sample_count,
                zero_count: self.zero_count,
                positive: self.positive_delta.clone(),
                negative: self.negative_delta.clone(),
            },
        };
        Histogram {
            reset_hint: if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown },
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sample_sum,
            counts,
            positive_spans: spans(&self.positive_span),
            negative_spans: spans(&self.negative_span),
            custom_values: Vec::new(),
        }
    }
}

/// Reads metric families, each behind its length.
///
/// # Errors
/// At the first that does not decode, or has a native histogram that contradicts itself.
pub fn read_all(page: &[u8]) -> Result<Vec<FamilyMessage>, ProtobufError> {
    let (mut families, mut rest) = (Vec::new(), page);
    while !rest.is_empty() {
        let wrong = |what| ProtobufError { offset: page.len() - rest.len(), what };
        let family = FamilyMessage::decode_length_delimited(&mut rest);
        let family = family.map_err(|_| wrong("a metric family that does not decode"))?;
        let histograms = family.metric.iter().filter_map(|metric| metric.histogram.as_ref());
        if histograms
            .filter(|histogram| histogram.is_native())
            .any(|histogram| histogram.native(false).check().is_err())
        {
            return Err(ProtobufError {
                offset: page.len() - rest.len(),
                what: "a native histogram before here has numbers that contradict each other",
            });
        }
        families.push(family);
    }
    Ok(families)
}
