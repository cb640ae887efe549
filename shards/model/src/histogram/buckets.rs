//! Buckets one by one: their numbers, their bounds, what fell into them.

use std::fmt;

use super::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, Span, bounds::upper_bound};

/// A bucket with something in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: Count,
}

/// How many observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    Integer(u64),
    Float(f64),
}

/// Numbered buckets.
type Side = Vec<(i32, Count)>;

impl Count {
    fn is_zero(self) -> bool {
        matches!(self, Self::Integer(0)) || self == Self::Float(0.0)
    }
}

/// The numbers of the buckets that spans name, ascending.
pub fn bucket_numbers(spans: &[Span]) -> impl Iterator<Item = i32> {
    let mut next = 0i32;
    spans.iter().flat_map(move |span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add(span.length as i32);
        (0..span.length).map(move |at| first.wrapping_add(at as i32))
    })
}

/// Spans for ascending numbers.
pub fn spans_of(numbers: &[i32]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for &number in numbers {
        match spans.last_mut() {
            Some(span) if number == next => span.length += 1,
            _ => spans.push(Span { offset: number.wrapping_sub(next), length: 1 }),
        }
        next = number.wrapping_add(1);
    }
    spans
}

impl Histogram {
    pub fn count(&self) -> Count {
        match self.counts {
            Counts::Integer { count, .. } => Count::Integer(count),
            Counts::Float { count, .. } => Count::Float(count),
        }
    }

    /// Whether both have counted the same, whatever their spans and hints: a bucket may be there and empty, or not be there.
    pub fn says_the_same(&self, other: &Self) -> bool {
        if self.is_stale() || other.is_stale() {
            return self.is_stale() && other.is_stale();
        }
        let bits = |count: Count| match count {
            Count::Integer(count) => (false, count),
            Count::Float(count) => (true, count.to_bits()),
        };
        let sides = |histogram: &Self| {
            let (zero_count, positive, negative) = histogram.sides();
            let filled = |side: Side| {
                let filled = side.into_iter().filter(|(_, count)| !count.is_zero());
                filled.map(|(number, count)| (number, bits(count))).collect::<Vec<_>>()
            };
            (bits(histogram.count()), bits(zero_count), filled(positive), filled(negative))
        };
        let bounds = |histogram: &Self| histogram.custom_values.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && bounds(self) == bounds(other)
            && sides(self) == sides(other)
    }

    /// The zero bucket's count, and the numbered buckets with theirs.
    fn sides(&self) -> (Count, Side, Side) {
        let (zero_count, positive, negative) = match &self.counts {
            Counts::Integer { zero_count, positive, negative, .. } => {
                (Count::Integer(*zero_count), absolute(positive), absolute(negative))
            }
            Counts::Float { zero_count, positive, negative, .. } => {
                let counts = |counts: &[f64]| counts.iter().map(|&count| Count::Float(count)).collect();
                (Count::Float(*zero_count), counts(positive), counts(negative))
            }
        };
        let side = |spans: &[Span], counts: Vec<Count>| bucket_numbers(spans).zip(counts).collect();
        (zero_count, side(&self.positive_spans, positive), side(&self.negative_spans, negative))
    }

    /// Buckets in which something is, from the lowest to the highest.
    pub fn buckets(&self) -> Vec<Bucket> {
        let (zero_count, positive, negative) = self.sides();
        let bound = |number| upper_bound(self.schema, &self.custom_values, number);
        let mut buckets = Vec::new();
        for (number, count) in negative.into_iter().rev() {
            let (lower, upper) = (-bound(number), -bound(number.wrapping_sub(1)));
            buckets.push(Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count });
        }
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        buckets.push(Bucket { lower, upper, lower_inclusive: true, upper_inclusive: true, count: zero_count });
        for (number, count) in positive {
            let lower = bound(number.wrapping_sub(1));
            // The first custom bucket has no lower bound.
            let lower_inclusive = self.schema == CUSTOM_BUCKETS_SCHEMA && lower == f64::NEG_INFINITY;
            buckets.push(Bucket { lower, upper: bound(number), lower_inclusive, upper_inclusive: true, count });
        }
        buckets.retain(|bucket| !bucket.count.is_zero());
        buckets
    }
}

fn absolute(deltas: &[i64]) -> Vec<Count> {
    let sums = deltas.iter().scan(0i64, |sum, delta| {
        *sum = sum.wrapping_add(*delta);
        Some(Count::Integer(*sum as u64))
    });
    sums.collect()
}

/// A number as Prometheus prints it.
pub trait PrintNumber {
    fn print(&self, value: f64) -> String;
}

/// A histogram as text: `{count:3, sum:2.5, [-1,-0.5):1, (0.5,1]:2}`. Numbers are printed by the caller's hand, as ways of printing doubles
/// are not this crate's subject.
pub struct Text<'a>(pub &'a Histogram, pub &'a dyn PrintNumber);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(histogram, numbers) = self;
        let count = |count: Count| match count {
            Count::Integer(count) => count.to_string(),
            Count::Float(count) => numbers.print(count),
        };
        write!(f, "{{count:{}, sum:{}", count(histogram.count()), numbers.print(histogram.sum))?;
        for bucket in histogram.buckets() {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (numbers.print(bucket.lower), numbers.print(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", count(bucket.count))?;
        }
        f.write_str("}")
    }
}
