//! The functions of the language, a file per family, and the table that finds them by name.

pub(crate) mod absent;
pub(crate) mod date;
pub(crate) mod extended;
pub(crate) mod histogram;
pub(crate) mod info;
pub(crate) mod kahan;
pub(crate) mod label;
pub(crate) mod math;
pub(crate) mod mixed;
pub(crate) mod native;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod scalar;
pub(crate) mod sort;
pub(crate) mod starts;

use std::ops::Range;

use crate::{
    exec::{batch::RowMut, grid::Windows},
    source::Samples,
};
use date::DateFunction;
use native::NativeMeasure;
use over_time::RangeFunction;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Absent,
    AbsentOverTime,
    Clamp(Bound),
    Date(DateFunction),
    /// `start()` and its like: what the query itself was asked for.
    Query(QueryParameter),
    /// `max_of` and `min_of`.
    Extremum(Extremum),
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    Info,
    LabelJoin,
    LabelReplace,
    Math(MathFunction),
    /// `histogram_count` and its like, which have a meaning for native histograms only.
    NativeHistogram(NativeMeasure),
    Pi,
    /// A function of a range vector and, before or after it, numbers.
    Range(RangeFunction),
    Round,
    Scalar,
    Sort(Direction),
    SortByLabel(Direction),
    StartTimestamp,
    Time,
    Timestamp,
    Vector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Both,
    Max,
    Min,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extremum {
    Max,
    Min,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryParameter {
    Start,
    End,
    Step,
    Range,
}

/// One value to one value. The name finds the code in [`math::function`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MathFunction(pub(crate) &'static str);

impl Function {
    /// `None` for names that this engine doesn't know.
    pub(crate) fn by_name(name: &'static str) -> Option<Self> {
        if math::function(name).is_some() {
            return Some(Self::Math(MathFunction(name)));
        }
        if let Some(date) = DateFunction::by_name(name) {
            return Some(Self::Date(date));
        }
        if let Some(range) = RangeFunction::by_name(name) {
            return Some(Self::Range(range));
        }
        Some(match name {
            "absent" => Self::Absent,
            "absent_over_time" => Self::AbsentOverTime,
            "clamp" => Self::Clamp(Bound::Both),
            "clamp_max" => Self::Clamp(Bound::Max),
            "clamp_min" => Self::Clamp(Bound::Min),
            "start" => Self::Query(QueryParameter::Start),
            "end" => Self::Query(QueryParameter::End),
            "step" => Self::Query(QueryParameter::Step),
            "range" => Self::Query(QueryParameter::Range),
            "max_of" => Self::Extremum(Extremum::Max),
            "min_of" => Self::Extremum(Extremum::Min),
            "histogram_fraction" => Self::HistogramFraction,
            "histogram_quantile" => Self::HistogramQuantile,
            "histogram_quantiles" => Self::HistogramQuantiles,
            "histogram_avg" => Self::NativeHistogram(NativeMeasure::Average),
            "histogram_count" => Self::NativeHistogram(NativeMeasure::Count),
            "histogram_stddev" => Self::NativeHistogram(NativeMeasure::StandardDeviation),
            "histogram_stdvar" => Self::NativeHistogram(NativeMeasure::Variance),
            "histogram_sum" => Self::NativeHistogram(NativeMeasure::Sum),
            "info" => Self::Info,
            "label_join" => Self::LabelJoin,
            "label_replace" => Self::LabelReplace,
            "pi" => Self::Pi,
            "round" => Self::Round,
            "scalar" => Self::Scalar,
            "sort" => Self::Sort(Direction::Ascending),
            "sort_desc" => Self::Sort(Direction::Descending),
            "sort_by_label" => Self::SortByLabel(Direction::Ascending),
            "sort_by_label_desc" => Self::SortByLabel(Direction::Descending),
            "start_timestamp" => Self::StartTimestamp,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "vector" => Self::Vector,
            _ => return None,
        })
    }
}

/// The code of a range function: reads the samples of a series once and fills its row.
pub(crate) trait Kernel: Send {
    /// Always with the same windows.
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>);
}

/// Calls `visit` with each step whose window holds samples, the window's end and the samples' positions. Both ends of the
/// positions only move forward.
#[inline]
pub(crate) fn each_window(samples: Samples<'_>, windows: &Windows, mut visit: impl FnMut(usize, i64, Range<usize>)) {
    let times = samples.times;
    let (mut low, mut high) = (0, 0);
    for (step, end) in windows.ends().enumerate() {
        let start = end.saturating_sub(windows.range);
        while high < times.len() && times[high] <= end {
            high += 1;
        }
        while low < high && times[low] <= start {
            low += 1;
        }
        if low < high {
            visit(step, end, low..high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_parser_is_known_here() {
        for signature in crate::signature::all() {
            assert!(Function::by_name(signature.name).is_some(), "{} has code", signature.name);
        }
    }
}
