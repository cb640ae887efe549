//! Sums, differences and multiples of histograms.

use std::{cmp::Ordering, sync::Arc};

use model::histogram::{ResetHint, bounds::upper_bound};

use super::{Amount, FloatHistogram};

/// One has exponential buckets and the other custom ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What a user should know about a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Combined {
    /// One is known to follow a reset and the other not to.
    pub(crate) resets_conflict: bool,
    /// Both had custom bounds, but not the same: those that only one has are gone.
    pub(crate) bounds_reconciled: bool,
}

impl<A: Amount> FloatHistogram<A> {
    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Combined, Incompatible> {
        self.combine(other, 1.0)
    }

    pub(crate) fn subtract(&mut self, other: &FloatHistogram) -> Result<Combined, Incompatible> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &FloatHistogram, sign: f64) -> Result<Combined, Incompatible> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(Incompatible);
        }
        let resets_conflict = self.adjust_reset_hint(other.reset_hint);
        self.count = self.count.plus(sign * other.count);
        self.sum = self.sum.plus(sign * other.sum);
        if self.uses_custom_buckets() {
            let bounds_reconciled = self.combine_custom(other, sign);
            return Ok(Combined { resets_conflict, bounds_reconciled });
        }
        let other_zero = self.reconcile_zero_buckets(other);
        self.zero_count = self.zero_count.plus(sign * other_zero);
        self.reduce_resolution(other.schema);
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let in_zero_bucket = |number: i32| threshold != 0.0 && upper_bound(schema, &[], number) <= threshold;
        let others = |side: &[(i32, f64)]| -> Vec<(i32, f64)> {
            let mut side = reduced(side, other.schema, schema);
            side.retain(|(number, _)| !in_zero_bucket(*number));
            side
        };
        merge(&mut self.positive, &others(&other.positive), sign);
        merge(&mut self.negative, &others(&other.negative), sign);
        Ok(Combined { resets_conflict, bounds_reconciled: false })
    }

    fn combine_custom(&mut self, other: &FloatHistogram, sign: f64) -> bool {
        if self.has_bounds_of(&other.custom_values) {
            merge(&mut self.positive, &other.positive, sign);
            return false;
        }
        let common = common_bounds(&self.custom_values, &other.custom_values);
        self.positive = mapped(&self.positive, &self.custom_values, &common);
        merge(&mut self.positive, &mapped(&other.positive, &other.custom_values, &common), sign);
        self.custom_values = common;
        true
    }

    /// What is known of resets after a sum; whether what was known contradicts itself.
    fn adjust_reset_hint(&mut self, other: ResetHint) -> bool {
        let (hint, conflict) = match (self.reset_hint, other) {
            (own, other) if own == other => (own, false),
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
            _ => (ResetHint::Unknown, true),
        };
        self.reset_hint = hint;
        conflict
    }

    /// Makes the zero buckets of both equally wide, the other one's only in the mind; its count is returned.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> f64 {
        let (mut other_count, mut other_threshold) = (other.zero_count, other.zero_threshold);
        while other_threshold != self.zero_threshold {
            if self.zero_threshold > other_threshold {
                (other_count, other_threshold) = other.zero_bucket_reaching(self.zero_threshold);
            }
            if other_threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_bucket_reaching(other_threshold);
                self.trim_into_zero_bucket();
            } else if other_threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        other_count
    }

    /// Count and threshold of the zero bucket if it reached at least so far: further, where that would cut a bucket.
    pub(super) fn zero_bucket_reaching(&self, threshold: f64) -> (A, f64) {
        let mut threshold = threshold;
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        'again: loop {
            let mut count = self.zero_count;
            for (number, amount) in &self.positive {
                if self.bound(number.wrapping_sub(1)) >= threshold {
                    break;
                }
                count = count.join(*amount);
                threshold = threshold.max(self.bound(*number));
            }
            for (number, amount) in &self.negative {
                if self.bound(number.wrapping_sub(1)) >= threshold {
                    break;
                }
                count = count.join(*amount);
                if self.bound(*number) > threshold {
                    // The positive side was measured with less.
                    threshold = self.bound(*number);
                    continue 'again;
                }
            }
            return (count, threshold);
        }
    }

    fn trim_into_zero_bucket(&mut self) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let is_outside = |(number, _): &(i32, A)| upper_bound(schema, &[], *number) > threshold;
        self.positive.retain(is_outside);
        self.negative.retain(is_outside);
    }

    fn bound(&self, number: i32) -> f64 {
        upper_bound(self.schema, &self.custom_values, number)
    }

    /// Joins buckets until they are at least as wide as those of another exponential schema.
    pub(crate) fn reduce_resolution(&mut self, schema: i32) {
        if schema < self.schema {
            self.positive = reduced(&self.positive, self.schema, schema);
            self.negative = reduced(&self.negative, self.schema, schema);
            self.schema = schema;
        }
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        self.each_amount(|amount| *amount = amount.times(factor));
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    fn each_amount(&mut self, mut change: impl FnMut(&mut A)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, amount)| change(amount));
    }

    /// The size of the amount that is farthest from zero.
    pub(super) fn largest(&self) -> f64 {
        let single = [self.zero_count, self.count, self.sum];
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, amount)| *amount);
        single.into_iter().chain(buckets).map(|amount| amount.value().abs()).fold(0.0, f64::max)
    }
}

impl FloatHistogram {
    pub(crate) fn times(&self, factor: f64) -> Self {
        let mut product = self.clone();
        product.scale(factor);
        product.without_empty_buckets()
    }

    pub(crate) fn divided_by(&self, divisor: f64) -> Self {
        let mut quotient = self.clone();
        quotient.each_amount(|amount| *amount /= divisor);
        if divisor == 0.0 {
            quotient.positive.clear();
            quotient.negative.clear();
        } else if divisor < 0.0 {
            quotient.reset_hint = ResetHint::Gauge;
        }
        quotient.without_empty_buckets()
    }
}

/// Adds the buckets of one side to those of another.
fn merge<A: Amount>(into: &mut Vec<(i32, A)>, other: &[(i32, f64)], sign: f64) {
    if into.len() == other.len() && into.iter().zip(other).all(|(left, right)| left.0 == right.0) {
        into.iter_mut().zip(other).for_each(|(left, right)| left.1 = left.1.plus(sign * right.1));
        return;
    }
    let own = std::mem::take(into);
    into.reserve(own.len().max(other.len()));
    let (mut own, mut other) = (own.into_iter().peekable(), other.iter().peekable());
    loop {
        let order = match (own.peek(), other.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.0.cmp(&right.0),
        };
        let left = if order == Ordering::Greater { None } else { own.next() };
        let right = if order == Ordering::Less { None } else { other.next() };
        match (left, right) {
            (Some((number, amount)), Some((_, value))) => into.push((number, amount.plus(sign * value))),
            (Some(left), None) => into.push(left),
            (None, Some((number, value))) => into.push((*number, A::of(sign * value))),
            (None, None) => {}
        }
    }
}

/// The buckets in the numbering of a coarser schema.
pub(super) fn reduced<A: Amount>(side: &[(i32, A)], from: i32, to: i32) -> Vec<(i32, A)> {
    if to >= from {
        return side.to_vec();
    }
    let shift = from.abs_diff(to).min(31);
    joined(side.iter().map(|(number, amount)| ((number.wrapping_sub(1) >> shift) + 1, *amount)))
}

/// Adds up neighbours of the same number.
fn joined<A: Amount>(buckets: impl Iterator<Item = (i32, A)>) -> Vec<(i32, A)> {
    let mut all: Vec<(i32, A)> = Vec::new();
    for (number, amount) in buckets {
        match all.last_mut() {
            Some(last) if last.0 == number => last.1 = last.1.join(amount),
            _ => all.push((number, amount)),
        }
    }
    all
}

/// Custom bounds that both have.
pub(super) fn common_bounds(left: &[f64], right: &[f64]) -> Arc<[f64]> {
    left.iter().copied().filter(|bound| right.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}

/// The buckets under fewer custom bounds: what lay up to a bound that is gone lies up to the next one.
pub(super) fn mapped<A: Amount>(side: &[(i32, A)], bounds: &[f64], to: &[f64]) -> Vec<(i32, A)> {
    joined(side.iter().map(|(number, amount)| {
        let upper = usize::try_from(*number).ok().and_then(|at| bounds.get(at));
        let target = upper.map_or(to.len(), |upper| to.partition_point(|bound| bound < upper));
        (target as i32, *amount)
    }))
}
