//! What can be said about the observations: quantiles, shares, spread. Within a bucket they are taken to be spread evenly, on a
//! logarithmic scale where the buckets are exponential.

use super::{Bucket, FloatHistogram};
use crate::functions::kahan::Sum;

/// Observations that are not numbers are in no bucket: what that did to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanObservations {
    /// The result is a number, but too high or too low.
    Skew,
    /// The result is `NaN` for that.
    Result,
}

/// The quantile, and whether observations that are no numbers have part in it.
pub(crate) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<NanObservations>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    let has_nans = histogram.sum.is_nan();
    // From the nearer end, for less rounding. Those that are no numbers count at the upper one.
    let forward = has_nans || q < 0.5;
    let rank = if forward { q * histogram.count } else { (1.0 - q) * histogram.count };
    let (bucket, count) = if forward {
        bucket_of_rank(histogram.buckets(), rank)
    } else {
        bucket_of_rank(histogram.buckets().rev(), rank)
    };
    let Some(mut bucket) = bucket else {
        return (if has_nans { f64::NAN } else { 0.0 }, has_nans.then_some(NanObservations::Result));
    };
    let remark = counts_nans(histogram).then_some(NanObservations::Skew);
    if histogram.uses_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, remark);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            if has_nans && count < rank {
                return (f64::NAN, Some(NanObservations::Result));
            }
            return (bucket.lower, remark);
        }
    } else {
        clip_zero_bucket(histogram, &mut bucket);
    }
    let count = count.min(histogram.count);
    if count < rank {
        return if has_nans { (f64::NAN, Some(NanObservations::Result)) } else { (bucket.upper, None) };
    }
    let rank = if forward { rank - (count - bucket.count) } else { count - rank };
    let share = rank / bucket.count;
    if histogram.uses_custom_buckets() || bucket.reaches_zero() {
        return (bucket.lower + (bucket.upper - bucket.lower) * share, remark);
    }
    let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (low + (high - low) * share).exp2()
    } else {
        -(high + (low - high) * (1.0 - share)).exp2()
    };
    (value, remark)
}

/// The bucket in which the counts reach the rank, or else the last one, and the counts up to and with it.
fn bucket_of_rank(buckets: impl Iterator<Item = Bucket>, rank: f64) -> (Option<Bucket>, f64) {
    let (mut last, mut count) = (None, 0.0);
    for bucket in buckets {
        count += bucket.count;
        last = Some(bucket);
        if count >= rank {
            break;
        }
    }
    (last, count)
}

/// With observations on one side of zero only, the zero bucket is taken to hold none of the other sign.
pub(super) fn clip_zero_bucket(histogram: &FloatHistogram, bucket: &mut Bucket) {
    if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
}

/// The share of observations between two values, and whether some are no numbers.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let count = if histogram.sum.is_nan() { in_buckets(histogram) } else { histogram.count };
    let below = |value: f64| observations_below(value, histogram).unwrap_or(count).min(count);
    ((below(upper) - below(lower)) / histogram.count, counts_nans(histogram))
}

fn in_buckets(histogram: &FloatHistogram) -> f64 {
    histogram.buckets().map(|bucket| bucket.count).sum()
}

/// Whether there are observations that are no numbers. The sum alone does not say so: infinities of both signs add up to none either.
fn counts_nans(histogram: &FloatHistogram) -> bool {
    histogram.sum.is_nan() && in_buckets(histogram) < histogram.count
}

/// `None` when the value is above all buckets.
fn observations_below(value: f64, histogram: &FloatHistogram) -> Option<f64> {
    let mut rank = 0.0;
    for mut bucket in histogram.buckets() {
        let is_linear = histogram.uses_custom_buckets() || bucket.reaches_zero();
        if histogram.uses_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                bucket.lower = 0.0;
            }
        } else {
            clip_zero_bucket(histogram, &mut bucket);
        }
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            let share = if is_linear { linear_share } else { logarithmic_share }(value, bucket.lower, bucket.upper);
            return Some(rank + bucket.count * share);
        }
        rank += bucket.count;
    }
    None
}

/// The share of a bucket's observations that lie below a value inside.
pub(super) fn linear_share(value: f64, lower: f64, upper: f64) -> f64 {
    // There is no middle between a bound and nowhere.
    if lower == f64::NEG_INFINITY { 1.0 } else { (value - lower) / (upper - lower) }
}

pub(super) fn logarithmic_share(value: f64, lower: f64, upper: f64) -> f64 {
    let (low, high, at) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
}

/// Variance of the observations, each taken to be at the middle of its bucket.
pub(crate) fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = Sum::default();
    for bucket in histogram.buckets() {
        let middle = if histogram.uses_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.reaches_zero() {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        squares = squares.add(bucket.count * delta * delta);
    }
    (squares.sum + squares.lost) / histogram.count
}
