//! Classic histograms, which a page has as several series, put together to native ones with custom buckets.

use model::{
    Histogram,
    histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Span},
};

/// The lines of one classic histogram so far.
#[derive(Debug, Default)]
pub(super) struct ClassicHistogram {
    /// Upper bounds, ascending, each with the observations up to there.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    is_wrong: bool,
}

impl ClassicHistogram {
    pub(super) fn set_count(&mut self, count: f64) {
        self.is_wrong |= count < 0.0;
        self.count = Some(count);
    }

    pub(super) fn set_sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// Of two buckets with the same bound the first counts.
    pub(super) fn add_bucket(&mut self, bound: f64, count: f64) {
        let place = self.buckets.partition_point(|(other, _)| *other < bound);
        if self.buckets.get(place).is_some_and(|(other, _)| *other == bound) {
            return;
        }
        let falls = place > 0 && count < self.buckets[place - 1].1;
        let is_above_next = self.buckets.get(place).is_some_and(|(_, next)| count > *next);
        self.is_wrong |= count < 0.0 || falls || is_above_next;
        self.buckets.insert(place, (bound, count));
    }

    /// `None`: the counts don't make a histogram.
    pub(super) fn convert(mut self) -> Option<Histogram> {
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or_default();
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let is_whole = |count: f64| count.round() == count && count < i64::MAX as f64;
        let is_integer = is_whole(count) && self.buckets.iter().all(|(_, count)| is_whole(*count));
        let last = self.buckets.last().map(|(_, count)| *count);
        if self.is_wrong || last != Some(count) {
            return None;
        }
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            sum: self.sum,
            counts: if is_integer { self.integers(count) } else { self.floats(count) },
            positive_spans: vec![Span { offset: 0, length: self.buckets.len() as u32 }],
            custom_values: self.buckets[..self.buckets.len() - 1].iter().map(|(bound, _)| *bound).collect(),
            ..Histogram::default()
        };
        histogram.compact();
        histogram.check().is_ok().then_some(histogram)
    }

    fn integers(&self, count: f64) -> Counts {
        let (mut before, mut last) = (0, 0);
        let delta = |(_, cumulative): &(f64, f64)| {
            let bucket = *cumulative as i64 - before;
            before = *cumulative as i64;
            bucket - std::mem::replace(&mut last, bucket)
        };
        let positive = self.buckets.iter().map(delta).collect();
        Counts::Integer { count: count as u64, zero_count: 0, positive, negative: Vec::new() }
    }

    fn floats(&self, count: f64) -> Counts {
        let mut before = 0.0;
        let bucket = |(_, cumulative): &(f64, f64)| cumulative - std::mem::replace(&mut before, *cumulative);
        let positive = self.buckets.iter().map(bucket).collect();
        Counts::Float { count, zero_count: 0.0, positive, negative: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(buckets: &[(f64, f64)], count: Option<f64>) -> Option<Histogram> {
        let mut classic = ClassicHistogram::default();
        buckets.iter().for_each(|(bound, count)| classic.add_bucket(*bound, *count));
        count.into_iter().for_each(|count| classic.set_count(count));
        classic.set_sum(2.5);
        classic.convert()
    }

    #[test]
    fn cumulative_counts_become_buckets() {
        let expected = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            sum: 2.5,
            counts: Counts::Integer { count: 7, zero_count: 0, positive: vec![2, 2, -3], negative: Vec::new() },
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
            custom_values: vec![0.5, 1.0, 2.0],
            ..Histogram::default()
        };
        let buckets = [(1.0, 6.0), (0.5, 2.0), (2.0, 6.0), (2.0, 9.0)];
        assert_eq!(converted(&buckets, Some(7.0)).as_ref(), Some(&expected));
        let with_end = [&buckets[..], &[(f64::INFINITY, 7.0)]].concat();
        assert_eq!(converted(&with_end, None).as_ref(), Some(&expected));
        let floats = converted(&[(1.0, 0.5), (f64::INFINITY, 2.0)], None).expect("a histogram");
        let Counts::Float { positive, .. } = floats.counts else { panic!("not whole") };
        assert_eq!(positive, [0.5, 1.5]);
    }

    #[test]
    fn counts_that_make_no_sense_make_no_histogram() {
        assert_eq!(converted(&[(1.0, 2.0), (2.0, 1.0)], None), None);
        assert_eq!(converted(&[(2.0, 1.0), (1.0, 2.0)], None), None);
        assert_eq!(converted(&[(1.0, -1.0)], None), None);
        assert_eq!(converted(&[(f64::INFINITY, 2.0)], Some(3.0)), None);
        assert_eq!(converted(&[(1.0, f64::NAN)], None), None);
    }
}
