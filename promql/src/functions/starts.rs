//! Counters whose samples say when they began to count: a new beginning is a reset whatever the values, and a counter that began within the window is
//! counted from zero there instead of being extrapolated to the window's start.

use std::sync::Arc;

use model::histogram::ResetHint;

use crate::{
    exec::{
        batch::{Cell, RowMut},
        grid::Windows,
    },
    functions::{
        mixed::{Remark, Resets, increase},
        over_time::RangeFunction,
        rate::{Difference, Extrapolation},
    },
    histogram::FloatHistogram,
    source::{HistogramPoint, Samples},
};

/// One sample of a counter.
struct Sample<'s> {
    time: i64,
    /// 0 when it is not known.
    start: i64,
    value: Value<'s>,
}

enum Value<'s> {
    Float(f64),
    Histogram(&'s Arc<FloatHistogram>),
}

/// Whether a function looks at start timestamps.
pub(crate) fn matters_to(function: RangeFunction) -> bool {
    use RangeFunction::{Increase, Irate, Rate, Resets};
    matches!(function, Rate | Increase | Irate | Resets)
}

/// Whether a series has any.
pub(crate) fn has_any(samples: Samples<'_>) -> bool {
    samples.start_times.iter().any(|start| *start != 0) || samples.histograms.iter().any(|point| point.start_time != 0)
}

/// Replaces what was computed without them.
pub(crate) fn run(
    function: RangeFunction,
    samples: Samples<'_>,
    windows: &Windows,
    row: &mut RowMut<'_>,
    remarks: &mut Vec<Remark>,
) {
    let all = in_order(samples);
    for step in 0..windows.len() {
        let (start, end) = (windows.start(step), windows.end(step));
        let from = all.partition_point(|sample| sample.time <= start);
        let to = all.partition_point(|sample| sample.time <= end);
        if from < to {
            let cell = of_window(function, &all[from..to], (start, end), windows.range, remarks);
            row.replace(step, cell);
        }
    }
}

fn in_order(samples: Samples<'_>) -> Vec<Sample<'_>> {
    let start_of = |at: usize| samples.start_times.get(at).copied().unwrap_or(0);
    let floats = samples.times.iter().zip(samples.values).enumerate();
    let floats =
        floats.map(|(at, (time, value))| Sample { time: *time, start: start_of(at), value: Value::Float(*value) });
    let histograms = samples.histograms.iter().map(|HistogramPoint { time, start_time, histogram }| Sample {
        time: *time,
        start: *start_time,
        value: Value::Histogram(histogram),
    });
    let mut all: Vec<Sample<'_>> = floats.chain(histograms).collect();
    all.sort_by_key(|sample| sample.time);
    all
}

impl Sample<'_> {
    /// Whether it began to count since the sample before it.
    fn begins_after(&self, before: &Self) -> bool {
        if self.start == 0 || self.start >= self.time {
            return false;
        }
        // One that begins where the other ends is a delta, if that one has a beginning of its own.
        let is_delta = self.start == before.time && before.start != 0 && before.start < before.time;
        self.start > before.time || is_delta && before.start != self.start
    }

    fn overlaps(&self, before: &Self) -> bool {
        self.start != 0 && self.start < before.time && self.start != before.start
    }

    fn is_reset_after(&self, before: &Self) -> bool {
        self.begins_after(before)
            || match (&before.value, &self.value) {
                (Value::Float(before), Value::Float(after)) => after < before,
                (Value::Histogram(before), Value::Histogram(after)) => after.is_reset_after(before),
                _ => true,
            }
    }
}

fn of_window(
    function: RangeFunction,
    window: &[Sample<'_>],
    (start, end): (i64, i64),
    range: i64,
    remarks: &mut Vec<Remark>,
) -> Option<Cell> {
    let pairs = || window.windows(2);
    if function == RangeFunction::Resets {
        let count = pairs().filter(|pair| pair[1].is_reset_after(&pair[0])).count();
        return Some(Cell::Float(count as f64));
    }
    if function == RangeFunction::Irate {
        let [.., before, last] = window else { return None };
        return last_two(before, last, remarks);
    }
    if pairs().any(|pair| pair[1].overlaps(&pair[0])) {
        remarks.push(Remark::StartOverlaps);
    }
    let difference = function.difference().filter(|difference| difference.is_counter)?;
    extrapolated(difference, window, (start, end), range, remarks)
}

fn last_two(before: &Sample<'_>, last: &Sample<'_>, remarks: &mut Vec<Remark>) -> Option<Cell> {
    let seconds = (last.time - before.time) as f64 / 1000.0;
    match (&before.value, &last.value) {
        (Value::Float(first), Value::Float(value)) => {
            let result = if last.is_reset_after(before) { *value } else { value - first };
            Some(Cell::Float(result / seconds))
        }
        (Value::Histogram(first), Value::Histogram(second)) => {
            let resets = Resets { between: vec![last.is_reset_after(before)], counts_first: false };
            let mut result = increase(true, &[first, second], &resets, remarks)?;
            result.scale(1.0 / seconds);
            Some(result.into())
        }
        _ => {
            remarks.push(Remark::Mixed);
            None
        }
    }
}

fn extrapolated(
    difference: Difference,
    window: &[Sample<'_>],
    (start, end): (i64, i64),
    range: i64,
    remarks: &mut Vec<Remark>,
) -> Option<Cell> {
    let (first, last) = (window.first()?, window.last()?);
    let counts_first = start < first.start && first.start < first.time;
    if window.len() == 1 && !counts_first {
        return None;
    }
    let between: Vec<bool> = window.windows(2).map(|pair| pair[1].is_reset_after(&pair[0])).collect();
    let (total, first_value) = total(window, Resets { between, counts_first }, remarks)?;
    let intervals = (window.len() - 1) as f64;
    let (sampled, to_end) = ((last.time - first.time) as f64, (end - last.time) as f64);
    let divisor = if difference.is_rate { range as f64 / 1000.0 } else { 1.0 };
    let factor = if counts_first {
        let average = if intervals > 0.0 { sampled / intervals } else { 0.0 };
        let to_end = if to_end >= average * 1.1 { average / 2.0 } else { to_end };
        let sampled = (last.time - first.start) as f64;
        (sampled + to_end) / sampled / divisor
    } else {
        let growth = match &total {
            Cell::Float(value) => *value,
            Cell::Histogram(histogram) => histogram.count,
        };
        let spans = Extrapolation::new(intervals, sampled, (first.time - start) as f64, to_end);
        spans.factor(true, first_value, growth, divisor)
    };
    Some(match total {
        Cell::Float(value) => Cell::Float(value * factor),
        Cell::Histogram(histogram) => {
            let mut scaled = histogram.times(factor);
            scaled.reset_hint = ResetHint::Gauge;
            scaled.into()
        }
    })
}

/// The difference with resets made good, and the first value.
fn total(window: &[Sample<'_>], resets: Resets, remarks: &mut Vec<Remark>) -> Option<(Cell, f64)> {
    let floats: Option<Vec<f64>> = window
        .iter()
        .map(|sample| match sample.value {
            Value::Float(value) => Some(value),
            Value::Histogram(_) => None,
        })
        .collect();
    if let Some(floats) = floats {
        let from = if resets.counts_first { 0.0 } else { floats[0] };
        let lost = floats.iter().zip(&resets.between).filter(|(_, is_reset)| **is_reset).map(|(value, _)| *value);
        return Some((Cell::Float(floats[floats.len() - 1] - from + lost.sum::<f64>()), floats[0]));
    }
    let histograms: Option<Vec<&FloatHistogram>> = window
        .iter()
        .map(|sample| match sample.value {
            Value::Histogram(histogram) => Some(histogram.as_ref()),
            Value::Float(_) => None,
        })
        .collect();
    let Some(histograms) = histograms else {
        remarks.push(Remark::Mixed);
        return None;
    };
    let result = increase(true, &histograms, &resets, remarks)?;
    Some((result.into(), histograms[0].count))
}
