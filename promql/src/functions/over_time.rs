//! The table of range functions, and the `_over_time` family. Windows slide: a sample enters and leaves a window once.

use std::collections::VecDeque;

use crate::{
    ast::Extension,
    exec::{batch::RowMut, grid::Windows},
    functions::{
        Kernel, each_window,
        extended::{AnchoredPairs, Exact},
        kahan::{Mean, Sum, Variance},
        quantile::{self, QuantileOverTime},
        rate::{CountPairs, Difference, Extrapolated, LastTwo, is_change, is_reset},
        regression::{Derivative, DoubleExponentialSmoothing, PredictLinear},
        scalar::Scalar,
    },
    source::Samples,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeFunction {
    Avg,
    Changes,
    Count,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    First,
    Idelta,
    Increase,
    Irate,
    Last,
    Mad,
    Max,
    Min,
    PredictLinear,
    Present,
    Quantile,
    Rate,
    Resets,
    Stddev,
    Stdvar,
    Sum,
    TsOfFirst,
    TsOfLast,
    TsOfMax,
    TsOfMin,
}

impl RangeFunction {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Self::Avg,
            "changes" => Self::Changes,
            "count_over_time" => Self::Count,
            "delta" => Self::Delta,
            "deriv" => Self::Deriv,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "first_over_time" => Self::First,
            "idelta" => Self::Idelta,
            "increase" => Self::Increase,
            "irate" => Self::Irate,
            "last_over_time" => Self::Last,
            "mad_over_time" => Self::Mad,
            "max_over_time" => Self::Max,
            "min_over_time" => Self::Min,
            "predict_linear" => Self::PredictLinear,
            "present_over_time" => Self::Present,
            "quantile_over_time" => Self::Quantile,
            "rate" => Self::Rate,
            "resets" => Self::Resets,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "sum_over_time" => Self::Sum,
            "ts_of_first_over_time" => Self::TsOfFirst,
            "ts_of_last_over_time" => Self::TsOfLast,
            "ts_of_max_over_time" => Self::TsOfMax,
            "ts_of_min_over_time" => Self::TsOfMin,
            _ => return None,
        })
    }

    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }

    /// Whether its argument should be a counter by name.
    pub(crate) fn wants_counter(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }

    /// The code, with the function's number arguments in the order in which they are written.
    pub(crate) fn kernel(self, mut numbers: Vec<Scalar>) -> Box<dyn Kernel> {
        let per_window = |function: fn(Samples<'_>) -> f64| -> Box<dyn Kernel> { Box::new(PerWindow(function)) };
        match self {
            Self::Avg => Box::new(SumOverTime { is_mean: true, sliding: SlidingSum::default() }),
            Self::Sum => Box::new(SumOverTime { is_mean: false, sliding: SlidingSum::default() }),
            Self::Changes => Box::new(CountPairs::changes()),
            Self::Resets => Box::new(CountPairs::resets()),
            Self::Count => per_window(|window| window.values.len() as f64),
            Self::Delta | Self::Increase | Self::Rate => {
                Box::new(Extrapolated::new(self.difference().expect("these three are differences")))
            }
            Self::Irate => Box::new(LastTwo { is_rate: true }),
            Self::Idelta => Box::new(LastTwo { is_rate: false }),
            Self::Deriv => Box::new(Derivative),
            Self::DoubleExponentialSmoothing => {
                let trend = numbers.pop().expect("the parser has counted the arguments");
                let smoothing = numbers.pop().expect("the parser has counted the arguments");
                Box::new(DoubleExponentialSmoothing { smoothing, trend })
            }
            Self::PredictLinear => {
                Box::new(PredictLinear { ahead: numbers.pop().expect("the parser has counted the arguments") })
            }
            Self::First => per_window(|window| window.values[0]),
            Self::Last => per_window(|window| window.values[window.values.len() - 1]),
            Self::Present => per_window(|_| 1.0),
            Self::TsOfFirst => per_window(|window| window.times[0] as f64 / 1000.0),
            Self::TsOfLast => per_window(|window| window.times[window.times.len() - 1] as f64 / 1000.0),
            Self::Mad => per_window(|window| quantile::median_absolute_deviation(window.values)),
            Self::Stdvar => per_window(|window| variance(window.values)),
            Self::Stddev => per_window(|window| variance(window.values).sqrt()),
            Self::Max => Box::new(ExtremumOverTime::new(|new, old| new > old, Give::Value)),
            Self::Min => Box::new(ExtremumOverTime::new(|new, old| new < old, Give::Value)),
            Self::TsOfMax => Box::new(ExtremumOverTime::new(|new, old| new >= old, Give::Time)),
            Self::TsOfMin => Box::new(ExtremumOverTime::new(|new, old| new <= old, Give::Time)),
            Self::Quantile => {
                Box::new(QuantileOverTime::new(numbers.pop().expect("the parser has counted the arguments")))
            }
        }
    }

    /// The code for `anchored` or `smoothed` selectors; `None` when the function has none.
    pub(crate) fn extended_kernel(self, extension: Extension, lookback: i64) -> Option<Box<dyn Kernel>> {
        let pairs = |is_counted| -> Box<dyn Kernel> { Box::new(AnchoredPairs { is_counted, lookback }) };
        match (self, extension) {
            (Self::Changes, Extension::Anchored) => Some(pairs(is_change)),
            (Self::Resets, Extension::Anchored) => Some(pairs(is_reset)),
            _ => {
                let difference = self.difference()?;
                Some(Box::new(Exact { difference, lookback, is_smoothed: extension == Extension::Smoothed }))
            }
        }
    }

    pub(crate) fn difference(self) -> Option<Difference> {
        match self {
            Self::Delta => Some(Difference { is_counter: false, is_rate: false }),
            Self::Increase => Some(Difference { is_counter: true, is_rate: false }),
            Self::Rate => Some(Difference { is_counter: true, is_rate: true }),
            _ => None,
        }
    }
}

/// A function that looks at each window by itself.
struct PerWindow(fn(Samples<'_>) -> f64);

impl Kernel for PerWindow {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        each_window(samples, windows, |step, _, window| {
            let samples = samples.part(window);
            row.set(step, (self.0)(samples));
        });
    }
}

fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    values.iter().for_each(|value| variance.add(*value));
    variance.value()
}

/// Sum and mean. Where windows overlap much and no sum can be rounded, partial sums are kept instead of adding up anew: a rounded
/// sum depends on the order of its parts, and the answer has to be the reference's to the bit.
struct SumOverTime {
    is_mean: bool,
    sliding: SlidingSum,
}

/// Overlap of neighbouring windows from which keeping partial sums is cheaper than adding up again.
const SLIDING_OVERLAP_MIN: i64 = 4;

impl Kernel for SumOverTime {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        let overlaps = windows.len() > 1 && windows.range / windows.grid.step.max(1) >= SLIDING_OVERLAP_MIN;
        if overlaps && sums_are_exact(samples.values) {
            let is_mean = self.is_mean;
            self.sliding.clear();
            each_window(samples, windows, |step, _, window| {
                let count = window.len() as f64;
                let sum = self.sliding.over(samples.values, window);
                row.set(step, if is_mean { sum.mean(count) } else { sum.total() });
            });
        } else if self.is_mean {
            each_window(samples, windows, |step, _, window| row.set(step, mean(&samples.values[window])));
        } else {
            each_window(samples, windows, |step, _, window| {
                row.set(step, samples.values[window].iter().fold(Sum::default(), |sum, value| sum.add(*value)).total());
            });
        }
    }
}

/// Whether all partial sums, in any order, are whole numbers that a float has exactly. Counters and sizes mostly are.
fn sums_are_exact(values: &[f64]) -> bool {
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    // Also false for NaN.
    values.iter().all(|value| value.trunc() == *value)
        && values.iter().map(|value| value.abs()).sum::<f64>() <= EXACT_MAX
}

fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::of(values[0]);
    values[1..].iter().for_each(|value| mean.add(*value));
    mean.value()
}

/// Sum of a window whose ends only move forward: sums of the suffixes of a front part, and one sum of the rest.
#[derive(Default)]
struct SlidingSum {
    /// By position before `border`, from `front_start` on: the sum up to `border`.
    front: Vec<Sum>,
    front_start: usize,
    border: usize,
    back: Sum,
    end: usize,
}

impl SlidingSum {
    fn clear(&mut self) {
        *self = Self { front: std::mem::take(&mut self.front), ..Self::default() };
    }

    fn over(&mut self, values: &[f64], window: std::ops::Range<usize>) -> Sum {
        if window.start >= self.border {
            self.rebuild(values, &window);
        }
        for value in &values[self.end..window.end] {
            self.back = self.back.add(*value);
        }
        self.end = window.end;
        self.front[window.start - self.front_start].join(self.back)
    }

    /// Makes the whole window the front part.
    fn rebuild(&mut self, values: &[f64], window: &std::ops::Range<usize>) {
        self.front.clear();
        self.front.resize(window.len(), Sum::default());
        let mut sum = Sum::default();
        for (slot, value) in self.front.iter_mut().zip(&values[window.clone()]).rev() {
            sum = sum.add(*value);
            *slot = sum;
        }
        (self.front_start, self.border, self.end) = (window.start, window.end, window.end);
        self.back = Sum::default();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Give {
    Value,
    Time,
}

/// Largest or smallest sample of a window: candidates wait in a queue in which each beats all behind it.
struct ExtremumOverTime<F> {
    beats: F,
    give: Give,
    queue: VecDeque<usize>,
}

impl<F: Fn(f64, f64) -> bool> ExtremumOverTime<F> {
    fn new(beats: F, give: Give) -> Self {
        Self { beats, give, queue: VecDeque::new() }
    }
}

impl<F: Fn(f64, f64) -> bool + Send> Kernel for ExtremumOverTime<F> {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        let Samples { times, values, .. } = samples;
        self.queue.clear();
        let mut seen = 0;
        each_window(samples, windows, |step, _, window| {
            for at in seen.max(window.start)..window.end {
                if values[at].is_nan() {
                    continue;
                }
                while self.queue.back().is_some_and(|last| (self.beats)(values[at], values[*last])) {
                    self.queue.pop_back();
                }
                self.queue.push_back(at);
            }
            seen = seen.max(window.end);
            while self.queue.front().is_some_and(|first| *first < window.start) {
                self.queue.pop_front();
            }
            // Nothing but NaN gives the last one.
            let best = self.queue.front().copied().unwrap_or(window.end - 1);
            row.set(step, if self.give == Give::Value { values[best] } else { times[best] as f64 / 1000.0 });
        });
    }
}

#[cfg(test)]
mod tests;
