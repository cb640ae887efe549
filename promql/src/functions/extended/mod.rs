//! The selectors' modifiers `anchored` and `smoothed`: what they make of the samples around a window.
//!
//! `anchored` takes the last sample at or before the window's start as its first value; `smoothed` interpolates linearly at
//! both ends. Neither extrapolates.

mod histograms;

pub(crate) use histograms::{ExactHistograms, smooth_mixed_instants};

use crate::{
    exec::{batch::RowMut, grid::Windows},
    functions::{Kernel, rate::Difference},
    source::Samples,
};

/// Positions around a window, among samples that reach a lookback beyond it.
struct Around {
    /// Samples at or before the window's start, within the lookback.
    before: usize,
    /// First sample after the window's start.
    first: usize,
    /// First sample after the window's end.
    after: usize,
}

/// Calls `visit` with each step and the positions around its window. All only move forward.
fn each_around(samples: Samples<'_>, windows: &Windows, lookback: i64, mut visit: impl FnMut(usize, Around)) {
    let times = samples.times;
    let (mut before, mut first, mut after) = (0, 0, 0);
    for step in 0..windows.len() {
        let (start, end) = (windows.start(step), windows.end(step));
        while before < times.len() && times[before] <= start.saturating_sub(lookback) {
            before += 1;
        }
        while first < times.len() && times[first] <= start {
            first += 1;
        }
        while after < times.len() && times[after] <= end {
            after += 1;
        }
        visit(step, Around { before: first.saturating_sub(before), first, after });
    }
}

/// `increase`, `rate` and `delta` between exact ends.
pub(crate) struct Exact {
    pub(crate) difference: Difference,
    pub(crate) lookback: i64,
    pub(crate) is_smoothed: bool,
}

impl Exact {
    /// Value at a time between two samples. After a reset the counter is taken to start from 0.
    fn between(&self, samples: Samples<'_>, left: usize, time: i64) -> f64 {
        let Samples { times, values, .. } = samples;
        let from = if self.difference.is_counter && values[left + 1] < values[left] { 0.0 } else { values[left] };
        interpolate((times[left], from), (times[left + 1], values[left + 1]), time)
    }

    fn left(&self, samples: Samples<'_>, around: &Around, start: i64) -> f64 {
        match around.before {
            0 => samples.values[around.first],
            _ if !self.is_smoothed || samples.times[around.first - 1] == start => samples.values[around.first - 1],
            _ => self.between(samples, around.first - 1, start),
        }
    }

    fn right(&self, samples: Samples<'_>, around: &Around, windows: &Windows, step: usize) -> f64 {
        let (Samples { times, values, .. }, end) = (samples, windows.end(step));
        let last = around.after - 1;
        let next_is_near = times.get(around.after).is_some_and(|time| *time <= end.saturating_add(self.lookback));
        if self.is_smoothed && times[last] < end && next_is_near {
            self.between(samples, last, end)
        } else {
            values[last]
        }
    }

    /// Whether there is something on both sides to measure between.
    fn has_data(&self, samples: Samples<'_>, around: &Around, windows: &Windows, step: usize) -> bool {
        if around.first < around.after {
            return true;
        }
        let limit = windows.end(step).saturating_add(self.lookback);
        self.is_smoothed && around.before > 0 && samples.times.get(around.after).is_some_and(|time| *time <= limit)
    }
}

impl Kernel for Exact {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        each_around(samples, windows, self.lookback, |step, around| {
            if !self.has_data(samples, &around, windows, step) {
                return;
            }
            let left = self.left(samples, &around, windows.start(step));
            let right = self.right(samples, &around, windows, step);
            let mut result = right - left;
            if self.difference.is_counter {
                let mut before = left;
                let inside = &samples.values[around.first..around.after];
                for value in inside.iter().chain(std::iter::once(&right)) {
                    if *value < before {
                        result += before;
                    }
                    before = *value;
                }
            }
            row.set(step, if self.difference.is_rate { result / (windows.range as f64 / 1000.0) } else { result });
        });
    }
}

/// `changes` and `resets`, with the sample before the window.
pub(crate) struct AnchoredPairs {
    pub(crate) is_counted: fn(f64, f64) -> bool,
    pub(crate) lookback: i64,
}

impl Kernel for AnchoredPairs {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        each_around(samples, windows, self.lookback, |step, around| {
            if around.first == around.after {
                return;
            }
            let from = around.first - around.before.min(1);
            let pairs = samples.values[from..around.after].windows(2);
            row.set(step, pairs.filter(|pair| (self.is_counted)(pair[0], pair[1])).count() as f64);
        });
    }
}

/// `selector smoothed`: the value at each step, on the line between the neighbours. The window is the lookback.
pub(crate) fn smooth_instants(samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
    let Samples { times, values, .. } = samples;
    let mut after = 0;
    for step in 0..windows.len() {
        let time = windows.end(step);
        after += times[after..].iter().take_while(|sample| **sample <= time).count();
        let Some(last) = after.checked_sub(1).filter(|last| times[*last] > windows.start(step)) else { continue };
        if model::sample::is_stale(values[last]) {
            continue;
        }
        let next = times.get(after).filter(|next| **next <= time.saturating_add(windows.range));
        let value = match next {
            Some(next) if times[last] < time && !model::sample::is_stale(values[after]) => {
                interpolate((times[last], values[last]), (*next, values[after]), time)
            }
            _ => values[last],
        };
        row.set(step, value);
    }
}

fn interpolate((left_time, left): (i64, f64), (right_time, right): (i64, f64), time: i64) -> f64 {
    left + (right - left) * ((time - left_time) as f64 / (right_time - left_time) as f64)
}
