//! Bringing histograms of different buckets to the same ones.

use model::histogram::{Counts, Histogram, bucket_numbers, spans_of};

/// The numbers of positive and of negative buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) positive: Vec<i32>,
    pub(super) negative: Vec<i32>,
}

impl Numbers {
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self {
            positive: bucket_numbers(&histogram.positive_spans).collect(),
            negative: bucket_numbers(&histogram.negative_spans).collect(),
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self { positive: union(&self.positive, &other.positive), negative: union(&self.negative, &other.negative) }
    }
}

fn union(a: &[i32], b: &[i32]) -> Vec<i32> {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// The histogram with buckets of all numbers, which are those that it has and more; the others are empty.
pub(super) fn spread(histogram: &Histogram, to: &Numbers) -> Histogram {
    let from = Numbers::of(histogram);
    let counts = match &histogram.counts {
        Counts::Integer { count, zero_count, positive, negative } => Counts::Integer {
            count: *count,
            zero_count: *zero_count,
            positive: differences(&place(&from.positive, &absolute(positive), &to.positive)),
            negative: differences(&place(&from.negative, &absolute(negative), &to.negative)),
        },
        Counts::Float { count, zero_count, positive, negative } => Counts::Float {
            count: *count,
            zero_count: *zero_count,
            positive: place(&from.positive, positive, &to.positive),
            negative: place(&from.negative, negative, &to.negative),
        },
    };
    Histogram {
        counts,
        positive_spans: spans_of(&to.positive),
        negative_spans: spans_of(&to.negative),
        ..histogram.clone()
    }
}

fn place<T: Copy + Default>(from: &[i32], counts: &[T], to: &[i32]) -> Vec<T> {
    let mut known = from.iter().zip(counts).peekable();
    let placed = to.iter().map(|number| match known.next_if(|(known, _)| *known == number) {
        Some((_, &count)) => count,
        None => T::default(),
    });
    placed.collect()
}

pub(super) fn absolute(deltas: &[i64]) -> Vec<i64> {
    let sums = deltas.iter().scan(0i64, |sum, delta| {
        *sum = sum.wrapping_add(*delta);
        Some(*sum)
    });
    sums.collect()
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let differences =
        counts.iter().scan(0i64, |before, count| Some(count.wrapping_sub(std::mem::replace(before, *count))));
    differences.collect()
}

/// Whether something that only grows has become less from one histogram to a later one with the same buckets.
pub(super) fn has_shrunk(before: &Counts, after: &Counts) -> bool {
    match (before, after) {
        (
            Counts::Integer { count, zero_count, positive, negative },
            Counts::Integer { count: c, zero_count: z, positive: p, negative: n },
        ) => {
            let less =
                |before: &[i64], after: &[i64]| absolute(before).iter().zip(absolute(after)).any(|(b, a)| a < *b);
            c < count || z < zero_count || less(positive, p) || less(negative, n)
        }
        (
            Counts::Float { count, zero_count, positive, negative },
            Counts::Float { count: c, zero_count: z, positive: p, negative: n },
        ) => {
            let less = |before: &[f64], after: &[f64]| before.iter().zip(after).any(|(b, a)| a < b);
            c < count || z < zero_count || less(positive, p) || less(negative, n)
        }
        _ => true,
    }
}
