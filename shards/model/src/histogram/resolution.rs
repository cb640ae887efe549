//! Histograms with fewer buckets: without the empty ones, or with two and two of them put together.

use super::{CUSTOM_BUCKETS_SCHEMA, Counts, EXPONENTIAL_SCHEMAS, Histogram, Span, bucket_numbers, spans_of};

/// Counts of one kind.
trait BucketCount: Copy + Default + PartialEq {
    fn plus(self, other: Self) -> Self;
}

impl BucketCount for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl BucketCount for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Histogram {
    /// Leaves empty buckets out.
    pub fn compact(&mut self) {
        self.renumber(|number| number);
    }

    /// Puts buckets together until the schema is this one, if it is a finer one now and knows such. Empty ones go too.
    pub fn reduce_to(&mut self, schema: i32) {
        let schema = schema.max(*EXPONENTIAL_SCHEMAS.start());
        if self.schema == CUSTOM_BUCKETS_SCHEMA || self.schema <= schema {
            return;
        }
        let steps = (self.schema - schema) as u32;
        // A bucket ends where its number says, so that with the next lower schema 1 and 2 become 1.
        self.renumber(|number| (number.wrapping_sub(1) >> steps).wrapping_add(1));
        self.schema = schema;
    }

    /// Puts buckets together, a schema at a time, until there are at most so many. False: it can't be done.
    pub fn reduce_to_buckets(&mut self, buckets_max: usize) -> bool {
        while self.bucket_count() > buckets_max {
            if self.schema == CUSTOM_BUCKETS_SCHEMA || self.schema <= *EXPONENTIAL_SCHEMAS.start() {
                return false;
            }
            self.reduce_to(self.schema - 1);
        }
        true
    }

    fn renumber(&mut self, to: impl Fn(i32) -> i32) {
        match &mut self.counts {
            Counts::Integer { positive, negative, .. } => {
                for (spans, deltas) in [(&mut self.positive_spans, positive), (&mut self.negative_spans, negative)] {
                    let counts = renumbered(spans, &absolute(deltas), &to);
                    *deltas = differences(&counts);
                }
            }
            Counts::Float { positive, negative, .. } => {
                *positive = renumbered(&mut self.positive_spans, positive, &to);
                *negative = renumbered(&mut self.negative_spans, negative, &to);
            }
        }
    }
}

fn absolute(deltas: &[i64]) -> Vec<i64> {
    let sums = deltas.iter().scan(0i64, |sum, delta| {
        *sum = sum.wrapping_add(*delta);
        Some(*sum)
    });
    sums.collect()
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(0).chain(counts.iter().copied());
    counts.iter().zip(before).map(|(count, before)| count.wrapping_sub(before)).collect()
}

/// The counts under other numbers, which ascend as the old ones do; spans are made to fit.
fn renumbered<C: BucketCount>(spans: &mut Vec<Span>, counts: &[C], to: impl Fn(i32) -> i32) -> Vec<C> {
    let mut numbers: Vec<i32> = Vec::with_capacity(counts.len());
    let mut kept: Vec<C> = Vec::with_capacity(counts.len());
    let filled = bucket_numbers(spans).zip(counts).filter(|(_, count)| **count != C::default());
    for (number, &count) in filled.map(|(number, count)| (to(number), count)) {
        match kept.last_mut() {
            Some(last) if numbers.last() == Some(&number) => *last = last.plus(count),
            _ => {
                numbers.push(number);
                kept.push(count);
            }
        }
    }
    *spans = spans_of(&numbers);
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::histogram::bounds::upper_bound;

    type Numbered = BTreeMap<i32, u64>;

    fn side(buckets: &Numbered) -> (Vec<Span>, Vec<i64>) {
        let numbers: Vec<i32> = buckets.keys().copied().collect();
        let counts: Vec<i64> = buckets.values().map(|count| *count as i64).collect();
        (spans_of(&numbers), differences(&counts))
    }

    fn histogram(schema: i32, positive: &Numbered, negative: &Numbered, is_float: bool) -> Histogram {
        let ((positive_spans, deltas), (negative_spans, negative_deltas)) = (side(positive), side(negative));
        let count = positive.values().chain(negative.values()).sum();
        let floats = |deltas: &[i64]| absolute(deltas).into_iter().map(|count| count as f64).collect();
        let counts = match is_float {
            true => Counts::Float {
                count: count as f64,
                zero_count: 0.0,
                positive: floats(&deltas),
                negative: floats(&negative_deltas),
            },
            false => Counts::Integer { count, zero_count: 0, positive: deltas, negative: negative_deltas },
        };
        Histogram { schema, counts, positive_spans, negative_spans, ..Histogram::default() }
    }

    /// Where each count goes, by the bounds of buckets instead of their numbers.
    fn by_bounds(buckets: &Numbered, from: i32, to: i32) -> Numbered {
        let mut reduced = Numbered::new();
        for (number, count) in buckets.iter().filter(|(_, count)| **count > 0) {
            let end = upper_bound(from, &[], *number);
            let place = (-200..200).find(|place| upper_bound(to, &[], *place) >= end).expect("a bucket");
            *reduced.entry(place).or_default() += count;
        }
        reduced
    }

    fn buckets() -> impl Strategy<Value = Numbered> {
        prop::collection::btree_map(-60i32..60, 0u64..4, 0..20)
    }

    proptest! {
        #[test]
        fn reducing_puts_counts_where_their_bounds_are(
            positive in buckets(),
            negative in buckets(),
            from in 0i32..=4,
            steps in 0i32..=4,
            is_float: bool,
        ) {
            let mut reduced = histogram(from, &positive, &negative, is_float);
            reduced.compact();
            reduced.reduce_to(from - steps);
            let to = from - steps;
            let expected =
                histogram(to, &by_bounds(&positive, from, to), &by_bounds(&negative, from, to), is_float);
            prop_assert_eq!(&reduced, &expected);
            prop_assert_eq!(reduced.check(), Ok(()));
        }

        #[test]
        fn as_many_buckets_as_are_wanted(positive in buckets(), most in 1usize..8) {
            let mut reduced = histogram(4, &positive, &Numbered::new(), false);
            let before = reduced.clone();
            let is_done = reduced.reduce_to_buckets(most);
            prop_assert_eq!(is_done, reduced.bucket_count() <= most);
            prop_assert!(is_done || reduced.schema == -4);
            let mut again = before;
            if reduced.schema < 4 {
                // One schema more would have been too many.
                again.reduce_to(reduced.schema + 1);
                prop_assert!(again.bucket_count() > most || reduced.schema + 1 == 4);
            }
        }
    }

    #[test]
    fn custom_buckets_are_as_they_are() {
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![1.0, 2.0],
            counts: Counts::Float { count: 3.0, zero_count: 0.0, positive: vec![1.0, 1.0, 1.0], negative: Vec::new() },
            positive_spans: vec![Span { offset: 0, length: 3 }],
            ..Histogram::default()
        };
        let mut reduced = custom.clone();
        reduced.reduce_to(0);
        assert!(!reduced.reduce_to_buckets(2));
        assert_eq!(reduced, custom);
    }
}
