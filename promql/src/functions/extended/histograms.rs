//! `anchored` and `smoothed` where there are native histograms.

use std::sync::Arc;

use model::histogram::ResetHint;

use super::interpolate;
use crate::{
    ast::Extension,
    exec::{
        batch::{Cell, RowMut},
        grid::Windows,
    },
    functions::{
        mixed::{Remark, in_order},
        over_time::RangeFunction,
        rate::{Difference, is_change, is_reset},
    },
    histogram::{FloatHistogram, Incompatible},
    source::Samples,
};

type Remarks = Vec<Remark>;

/// A function of a selector with a modifier.
pub(crate) struct ExactHistograms {
    pub(crate) function: RangeFunction,
    pub(crate) extension: Extension,
    pub(crate) lookback: i64,
}

/// Positions around a window, among all samples of a series.
struct Around {
    start: i64,
    end: i64,
    /// First sample after the window's start.
    first: usize,
    /// First sample after the window's end.
    after: usize,
    /// Whether there is a sample at or before the start, within the lookback.
    has_before: bool,
    /// Whether there is one after the end, within the lookback.
    has_next: bool,
}

impl ExactHistograms {
    /// Replaces what the floats alone gave, at the steps for which a histogram is looked at.
    pub(crate) fn run(&self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>, remarks: &mut Remarks) {
        let all: Vec<(i64, Cell)> = in_order(samples, samples.histograms).collect();
        for step in 0..windows.len() {
            let (start, end) = (windows.start(step), windows.end(step));
            let first = all.partition_point(|(time, _)| *time <= start);
            let after = all.partition_point(|(time, _)| *time <= end);
            let has_before = first > 0 && all[first - 1].0 > start.saturating_sub(self.lookback);
            let has_next = all.get(after).is_some_and(|(time, _)| *time <= end.saturating_add(self.lookback));
            let around = Around { start, end, first, after, has_before, has_next };
            let is_smoothed = self.extension == Extension::Smoothed;
            let from = first - usize::from(has_before);
            let to = after + usize::from(is_smoothed && has_next);
            if !all[from..to].iter().any(|(_, cell)| matches!(cell, Cell::Histogram(_))) {
                continue;
            }
            let has_data = first < after || is_smoothed && has_before && has_next;
            let cell = if has_data { self.at(&all, from, to, &around, windows, remarks) } else { None };
            row.replace(step, cell);
        }
    }

    fn at(
        &self,
        all: &[(i64, Cell)],
        from: usize,
        to: usize,
        around: &Around,
        windows: &Windows,
        remarks: &mut Remarks,
    ) -> Option<Cell> {
        let Some(difference) = self.function.difference() else { return self.count(&all[from..around.after]) };
        let histograms: Option<Vec<&Arc<FloatHistogram>>> = all[from..to]
            .iter()
            .map(|(_, cell)| match cell {
                Cell::Histogram(histogram) => Some(histogram),
                Cell::Float(_) => None,
            })
            .collect();
        let Some(histograms) = histograms else {
            remarks.push(Remark::Mixed);
            return None;
        };
        note_gauges(difference, &histograms, remarks);
        let times: Vec<i64> = all[from..to].iter().map(|(time, _)| *time).collect();
        let exact = Exact { difference, times, histograms, is_smoothed: self.extension == Extension::Smoothed };
        match exact.increase(around, around.first - from, around.after - from, remarks) {
            Ok(mut result) => {
                if difference.is_rate {
                    result.scale(1000.0 / windows.range as f64);
                }
                result.reset_hint = ResetHint::Gauge;
                result.drop_empty_buckets();
                Some(Cell::Histogram(Arc::new(result)))
            }
            Err(Incompatible) => {
                remarks.push(Remark::MixedSchemas);
                None
            }
        }
    }

    /// `changes` and `resets`.
    fn count(&self, samples: &[(i64, Cell)]) -> Option<Cell> {
        let is_changes = self.function == RangeFunction::Changes;
        let is_counted = |pair: &&[(i64, Cell)]| match (&pair[0].1, &pair[1].1) {
            (Cell::Float(before), Cell::Float(after)) if is_changes => is_change(*before, *after),
            (Cell::Float(before), Cell::Float(after)) => is_reset(*before, *after),
            (Cell::Histogram(before), Cell::Histogram(after)) if is_changes => before != after,
            (Cell::Histogram(before), Cell::Histogram(after)) => after.is_reset_after(before),
            _ => true,
        };
        Some(Cell::Float(samples.windows(2).filter(is_counted).count() as f64))
    }
}

fn note_gauges(difference: Difference, histograms: &[&Arc<FloatHistogram>], remarks: &mut Remarks) {
    let is_gauge = |histogram: &&Arc<FloatHistogram>| histogram.reset_hint == ResetHint::Gauge;
    if difference.is_counter && histograms.iter().any(is_gauge) {
        remarks.push(Remark::NotCounter);
    }
    if !difference.is_counter && !histograms.iter().all(is_gauge) {
        remarks.push(Remark::NotGauge);
    }
}

/// The samples that `increase`, `rate` or `delta` look at.
struct Exact<'s> {
    difference: Difference,
    times: Vec<i64>,
    histograms: Vec<&'s Arc<FloatHistogram>>,
    is_smoothed: bool,
}

impl Exact<'_> {
    /// `first` and `after` are positions among the samples at hand.
    fn increase(
        &self,
        around: &Around,
        first: usize,
        after: usize,
        remarks: &mut Remarks,
    ) -> Result<FloatHistogram, Incompatible> {
        let cuts_left = self.is_smoothed && around.has_before && self.times[first - 1] != around.start;
        let cuts_right = self.is_smoothed && around.has_next && self.times[after - 1] < around.end;
        let left = match (cuts_left, around.has_before) {
            (true, _) => self.between(first - 1, around.start)?,
            (false, true) => self.histograms[first - 1].as_ref().clone(),
            (false, false) => self.histograms[first].as_ref().clone(),
        };
        let right =
            if cuts_right { self.between(after - 1, around.end)? } else { self.histograms[after - 1].as_ref().clone() };
        let mut result = right;
        let mut reconciled = result.subtract(&left)?.bounds_reconciled;
        if self.difference.is_counter {
            // What is cut on the left has made good the reset that lies there.
            let from = if cuts_left { first } else { first - usize::from(around.has_before) };
            let to = after + usize::from(cuts_right);
            for at in from..to.saturating_sub(1) {
                if self.histograms[at + 1].is_reset_after(self.histograms[at]) {
                    reconciled |= result.add(self.histograms[at])?.bounds_reconciled;
                }
            }
        }
        if reconciled {
            remarks.push(Remark::Reconciled("subtraction"));
        }
        Ok(result)
    }

    fn between(&self, left: usize, time: i64) -> Result<FloatHistogram, Incompatible> {
        let (before, after) = (self.histograms[left], self.histograms[left + 1]);
        let share = share(self.times[left], self.times[left + 1], time);
        if self.difference.is_counter && after.is_reset_after(before) {
            if before.uses_custom_buckets() != after.uses_custom_buckets() {
                return Err(Incompatible);
            }
            return Ok(after.times(share));
        }
        line(before, after, share)
    }
}

fn share(left: i64, right: i64, time: i64) -> f64 {
    (time - left) as f64 / (right - left) as f64
}

/// On the line between two histograms.
fn line(before: &FloatHistogram, after: &FloatHistogram, share: f64) -> Result<FloatHistogram, Incompatible> {
    let mut result = before.times(1.0 - share);
    result.add(&after.times(share))?;
    result.drop_empty_buckets();
    Ok(result)
}

/// `selector smoothed` over samples among which there are histograms.
pub(crate) fn smooth_mixed_instants(
    samples: Samples<'_>,
    windows: &Windows,
    row: &mut RowMut<'_>,
    remarks: &mut Remarks,
) {
    let all: Vec<(i64, Cell)> = in_order(samples, samples.histograms).collect();
    for step in 0..windows.len() {
        let (start, time) = (windows.start(step), windows.end(step));
        let after = all.partition_point(|sample| sample.0 <= time);
        let Some((last_time, last)) = after.checked_sub(1).map(|at| &all[at]).filter(|last| last.0 > start) else {
            continue;
        };
        if is_stale(last) {
            continue;
        }
        let next = all.get(after).filter(|next| next.0 <= time.saturating_add(windows.range) && !is_stale(&next.1));
        let cell = match (last, next) {
            (_, Some((next_time, next))) if *last_time < time => {
                smooth((*last_time, last), (*next_time, next), time, remarks)
            }
            _ => Some(last.clone()),
        };
        row.replace(step, cell);
    }
}

fn is_stale(cell: &Cell) -> bool {
    match cell {
        Cell::Float(value) => model::sample::is_stale(*value),
        Cell::Histogram(histogram) => histogram.is_stale(),
    }
}

fn smooth(
    (left_time, left): (i64, &Cell),
    (right_time, right): (i64, &Cell),
    time: i64,
    remarks: &mut Remarks,
) -> Option<Cell> {
    let remark = match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => {
            return Some(Cell::Float(interpolate((left_time, *left), (right_time, *right), time)));
        }
        (Cell::Histogram(left), Cell::Histogram(right)) => {
            match line(left, right, share(left_time, right_time, time)) {
                Ok(result) => return Some(Cell::Histogram(Arc::new(result))),
                Err(Incompatible) => Remark::MixedSchemas,
            }
        }
        _ => Remark::Mixed,
    };
    remarks.push(remark);
    None
}
