//! Native histograms as the engine computes with them: counts are floats, and only buckets that hold something are written down.
//!
//! What the operations do with differing schemas, zero buckets, custom bounds and counter resets follows the reference
//! implementation's `FloatHistogram`.

mod amount;
mod arithmetic;
mod buckets;
mod estimate;
mod reset;
mod sum;
mod text;
mod trim;

pub use amount::Amount;
pub(crate) use arithmetic::{Combined, Incompatible};
pub use buckets::Bucket;
pub(crate) use estimate::{NanObservations, fraction, quantile, variance};
pub(crate) use sum::HistogramSum;

use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, ResetHint, Span, bucket_numbers, spans_of};

use crate::functions::kahan::Sum;

/// A histogram, or a running sum of histograms when its amounts are compensated sums.
#[derive(Clone, Debug)]
pub struct FloatHistogram<A = f64> {
    pub reset_hint: ResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: A,
    pub count: A,
    pub sum: A,
    /// Buckets in ascending order of their numbers, none of them empty.
    pub positive: Vec<(i32, A)>,
    pub negative: Vec<(i32, A)>,
    /// Upper bounds of custom buckets.
    pub custom_values: Arc<[f64]>,
}

impl Default for FloatHistogram {
    fn default() -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_values: Arc::new([]),
        }
    }
}

/// Equal when they have counted the same, whatever is known of resets. `NaN` equals only the same bits.
impl PartialEq for FloatHistogram {
    fn eq(&self, other: &Self) -> bool {
        let side = |left: &[(i32, f64)], right: &[(i32, f64)]| {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && same(left.1, right.1))
        };
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && same(self.zero_threshold, other.zero_threshold)
            && self.zero_count == other.zero_count
            && side(&self.positive, &other.positive)
            && side(&self.negative, &other.negative)
            && self.has_bounds_of(&other.custom_values)
    }
}

fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits()
}

impl<A: Amount> FloatHistogram<A> {
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    pub(crate) fn has_bounds_of(&self, custom_values: &[f64]) -> bool {
        self.custom_values.len() == custom_values.len()
            && self.custom_values.iter().zip(custom_values).all(|(left, right)| same(*left, *right))
    }

    /// Bytes it takes on the heap, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + (self.positive.len() + self.negative.len()) * size_of::<(i32, A)>()
    }

    fn without_empty_buckets(mut self) -> Self {
        self.drop_empty_buckets();
        self
    }

    pub(crate) fn drop_empty_buckets(&mut self) {
        self.positive.retain(|(_, amount)| amount.value() != 0.0);
        self.negative.retain(|(_, amount)| amount.value() != 0.0);
    }
}

impl FloatHistogram {
    /// Whether it marks the end of its series.
    pub fn is_stale(&self) -> bool {
        model::sample::is_stale(self.sum)
    }

    /// What it counts as towards a bound on samples: as many as fit in its memory.
    pub(crate) fn samples(&self) -> usize {
        (self.bytes() / 16).max(1)
    }

    /// The same with sums that keep what rounding takes.
    pub(crate) fn compensated(&self) -> FloatHistogram<Sum> {
        let side = |side: &[(i32, f64)]| side.iter().map(|(number, count)| (*number, Sum::of(*count))).collect();
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: Sum::of(self.zero_count),
            count: Sum::of(self.count),
            sum: Sum::of(self.sum),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom_values: self.custom_values.clone(),
        }
    }
}

impl From<&FloatHistogram> for model::Histogram {
    fn from(histogram: &FloatHistogram) -> Self {
        let numbers = |side: &[(i32, f64)]| side.iter().map(|bucket| bucket.0).collect::<Vec<_>>();
        let counts = |side: &[(i32, f64)]| side.iter().map(|bucket| bucket.1).collect();
        Self {
            reset_hint: histogram.reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            sum: histogram.sum,
            counts: Counts::Float {
                count: histogram.count,
                zero_count: histogram.zero_count,
                positive: counts(&histogram.positive),
                negative: counts(&histogram.negative),
            },
            positive_spans: spans_of(&numbers(&histogram.positive)),
            negative_spans: spans_of(&numbers(&histogram.negative)),
            custom_values: histogram.custom_values.to_vec(),
        }
    }
}

impl FloatHistogram<Sum> {
    pub(crate) fn rounded(&self) -> FloatHistogram {
        let side = |side: &[(i32, Sum)]| side.iter().map(|(number, count)| (*number, count.value())).collect();
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.value(),
            count: self.count.value(),
            sum: self.sum.value(),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom_values: self.custom_values.clone(),
        }
        .without_empty_buckets()
    }
}

impl From<&model::Histogram> for FloatHistogram {
    fn from(histogram: &model::Histogram) -> Self {
        let (count, zero_count, positive, negative) = match &histogram.counts {
            Counts::Integer { count, zero_count, positive, negative } => (
                *count as f64,
                *zero_count as f64,
                numbered(&histogram.positive_spans, absolute(positive)),
                numbered(&histogram.negative_spans, absolute(negative)),
            ),
            Counts::Float { count, zero_count, positive, negative } => (
                *count,
                *zero_count,
                numbered(&histogram.positive_spans, positive.iter().copied()),
                numbered(&histogram.negative_spans, negative.iter().copied()),
            ),
        };
        Self {
            reset_hint: histogram.reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count,
            count,
            sum: histogram.sum,
            positive,
            negative,
            custom_values: histogram.custom_values.as_slice().into(),
        }
    }
}

fn numbered(spans: &[Span], counts: impl Iterator<Item = f64>) -> Vec<(i32, f64)> {
    bucket_numbers(spans).zip(counts).filter(|(_, count)| *count != 0.0).collect()
}

fn absolute(deltas: &[i64]) -> impl Iterator<Item = f64> {
    deltas.iter().scan(0i64, |sum, delta| {
        *sum = sum.wrapping_add(*delta);
        Some(*sum as f64)
    })
}

#[cfg(test)]
mod tests;
