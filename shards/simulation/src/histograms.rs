//! Some series of the workload go to the shards as native histograms. The oracle knows their samples by the sum, from which the rest of a
//! histogram follows: what comes back with another rest is wrong.

use model::{
    Histogram,
    histogram::{Counts, ResetHint, spans_of},
};

/// Whether the samples of a series, by its place in the pool, are histograms.
pub(crate) fn comes_as_histograms(series: u32) -> bool {
    series % 5 == 3
}

/// The histogram of a sum. Neighbours mostly count down, so that chunks stay short; gauges have longer ones, with more and more buckets.
pub(crate) fn histogram_of(sum: u64) -> Histogram {
    let mixed = (sum ^ sum >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let numbers: Vec<i32> = (0..10).filter(|bit| mixed >> (40 + bit) & 1 == 1).collect();
    let counts: Vec<i64> = numbers.iter().map(|&number| (mixed >> (number * 3)) as i64 & 7).collect();
    let deltas = counts.iter().scan(0, |before, &count| Some(count - std::mem::replace(before, count)));
    let histogram = Histogram {
        reset_hint: if mixed >> 60 < 12 { ResetHint::Gauge } else { ResetHint::Unknown },
        sum: f64::from_bits(sum),
        counts: Counts::Integer {
            count: counts.iter().sum::<i64>() as u64,
            zero_count: 0,
            positive: deltas.collect(),
            negative: Vec::new(),
        },
        positive_spans: spans_of(&numbers),
        ..Histogram::default()
    };
    let is_float = mixed >> 56 & 15 == 0;
    if histogram.is_stale() || !is_float {
        return histogram;
    }
    let counts = Counts::Float {
        count: counts.iter().sum::<i64>() as f64,
        zero_count: 0.5,
        positive: counts.iter().map(|&count| count as f64).collect(),
        negative: Vec::new(),
    };
    Histogram { counts, ..histogram }
}

/// The sum of a histogram that came back.
pub(crate) fn sum_of(histogram: &Histogram) -> Result<u64, String> {
    let sum = histogram.sum.to_bits();
    match histogram.says_the_same(&histogram_of(sum)) {
        true => Ok(sum),
        false => Err(format!("a histogram that nobody sent: {histogram:?}")),
    }
}
