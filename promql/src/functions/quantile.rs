//! Quantiles of plain values: `quantile_over_time`, the `quantile` aggregation, and the median absolute deviation.

use std::cmp::Ordering;

use crate::{
    exec::{batch::RowMut, grid::Windows},
    functions::{Kernel, each_window, scalar::Scalar},
    source::Samples,
};

/// Linear between the neighbours of rank `q * (n - 1)`; NaN counts as the lowest value. The values are sorted that way.
pub(crate) fn of_sorted(q: f64, count: usize, at: impl Fn(usize) -> f64) -> f64 {
    if count == 0 || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (count as f64 - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(count as f64 - 1.0);
    let weight = rank - rank.floor();
    at(lower as usize) * (1.0 - weight) + at(upper as usize) * weight
}

/// NaN first, then by size.
pub(crate) fn nan_first(left: &f64, right: &f64) -> Ordering {
    left.partial_cmp(right).unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

/// Whether a warning about the quantile is due.
pub(crate) fn is_odd(q: f64) -> bool {
    !(0.0..=1.0).contains(&q)
}

/// The quantile of values in any order, which it sorts.
pub(crate) fn of(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(nan_first);
    of_sorted(q, values.len(), |at| values[at])
}

pub(crate) fn median_absolute_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut values = values.to_vec();
    let median = of(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    of(0.5, &mut values)
}

/// Keeps the window sorted while it slides.
pub(crate) struct QuantileOverTime {
    quantile: Scalar,
    /// Values of the window that are numbers, ascending.
    sorted: Vec<f64>,
    nans: usize,
}

impl QuantileOverTime {
    pub(crate) fn new(quantile: Scalar) -> Self {
        Self { quantile, sorted: Vec::new(), nans: 0 }
    }

    fn enter(&mut self, value: f64) {
        if value.is_nan() {
            self.nans += 1;
        } else {
            self.sorted.insert(self.sorted.partition_point(|have| *have < value), value);
        }
    }

    fn leave(&mut self, value: f64) {
        if value.is_nan() {
            self.nans -= 1;
        } else {
            self.sorted.remove(self.sorted.partition_point(|have| *have < value));
        }
    }
}

impl Kernel for QuantileOverTime {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        self.sorted.clear();
        self.nans = 0;
        let mut inside = 0..0;
        each_window(samples, windows, |step, _, window| {
            for at in inside.start..window.start.min(inside.end) {
                self.leave(samples.values[at]);
            }
            for at in inside.end.max(window.start)..window.end {
                self.enter(samples.values[at]);
            }
            inside = window;
            let at = |at: usize| at.checked_sub(self.nans).map_or(f64::NAN, |at| self.sorted[at]);
            row.set(step, of_sorted(self.quantile.at(step), self.nans + self.sorted.len(), at));
        });
    }
}
