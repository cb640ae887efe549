//! Buckets one by one.

use model::histogram::bounds::upper_bound;

use super::FloatHistogram;

/// A bucket with something in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

impl Bucket {
    /// Whether 0 lies in it or at its edge.
    pub(super) fn reaches_zero(&self) -> bool {
        self.lower <= 0.0 && self.upper >= 0.0
    }
}

impl FloatHistogram {
    pub(super) fn positive_bucket(&self, (number, count): (i32, f64)) -> Bucket {
        let bound = |number| upper_bound(self.schema, &self.custom_values, number);
        let lower = bound(number.wrapping_sub(1));
        // The first custom bucket has no lower bound.
        let lower_inclusive = self.uses_custom_buckets() && lower == f64::NEG_INFINITY;
        Bucket { lower, upper: bound(number), lower_inclusive, upper_inclusive: true, count }
    }

    pub(super) fn negative_bucket(&self, (number, count): (i32, f64)) -> Bucket {
        let bound = |number| -upper_bound(self.schema, &self.custom_values, number);
        let (lower, upper) = (bound(number), bound(number.wrapping_sub(1)));
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    pub(super) fn zero_bucket(&self) -> Bucket {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: true, count: self.zero_count }
    }

    /// From the lowest to the highest.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> {
        let negative = self.negative.iter().rev().map(|bucket| self.negative_bucket(*bucket));
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        negative.chain(zero).chain(self.positive.iter().map(|bucket| self.positive_bucket(*bucket)))
    }
}
