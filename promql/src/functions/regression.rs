//! Lines through the samples of a window: deriv, predict_linear, double_exponential_smoothing.

use crate::{
    exec::{batch::RowMut, grid::Windows},
    functions::{Kernel, each_window, kahan::Sum, scalar::Scalar},
    source::Samples,
};

/// Slope per second, and value at `origin`, of the least-squares line.
fn least_squares(samples: Samples<'_>, origin: i64) -> (f64, f64) {
    let Samples { times, values, .. } = samples;
    if values.iter().all(|value| *value == values[0]) {
        // Exactly flat, whatever rounding would make of it.
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let (mut x, mut y, mut xy, mut xx) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, value) in times.iter().zip(values) {
        let seconds = (time - origin) as f64 / 1000.0;
        x = x.add(seconds);
        y = y.add(*value);
        xy = xy.add(seconds * value);
        xx = xx.add(seconds * seconds);
    }
    let n = times.len() as f64;
    let (x, y, xy, xx) = (x.sum + x.lost, y.sum + y.lost, xy.sum + xy.lost, xx.sum + xx.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

pub(crate) struct Derivative;

impl Kernel for Derivative {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        each_window(samples, windows, |step, _, window| {
            if window.len() >= 2 {
                let origin = samples.times[window.start];
                row.set(step, least_squares(samples.part(window), origin).0);
            }
        });
    }
}

pub(crate) struct PredictLinear {
    /// How far ahead of the evaluation time, in seconds.
    pub(crate) ahead: Scalar,
}

impl Kernel for PredictLinear {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        each_window(samples, windows, |step, _, window| {
            if window.len() >= 2 {
                let (slope, now) = least_squares(samples.part(window), windows.grid.time(step));
                row.set(step, slope * self.ahead.at(step) + now);
            }
        });
    }
}

pub(crate) struct DoubleExponentialSmoothing {
    pub(crate) smoothing: Scalar,
    pub(crate) trend: Scalar,
}

impl Kernel for DoubleExponentialSmoothing {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        each_window(samples, windows, |step, _, window| {
            if window.len() >= 2 {
                row.set(step, smooth(&samples.values[window], self.smoothing.at(step), self.trend.at(step)));
            }
        });
    }
}

fn smooth(values: &[f64], smoothing: f64, trend_factor: f64) -> f64 {
    let (mut before, mut level, mut trend) = (0.0, values[0], values[1] - values[0]);
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    level
}
