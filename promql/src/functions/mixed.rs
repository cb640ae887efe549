//! What range functions make of windows in which there are native histograms. Windows of floats alone have their kernels.

use std::sync::Arc;

use model::histogram::ResetHint;

use crate::{
    ast::Span,
    exec::{
        Context,
        batch::{Cell, RowMut},
        grid::Windows,
    },
    functions::{
        over_time::RangeFunction,
        rate::{Difference, Extrapolation, is_change, is_reset},
    },
    histogram::{FloatHistogram, HistogramSum, Incompatible},
    source::{HistogramPoint, Samples},
};

/// What a user should know about histograms that went into a result, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// Floats and histograms in one window.
    Mixed,
    NotCounter,
    NotGauge,
    /// Exponential and custom buckets in one window.
    MixedSchemas,
    /// The function knows floats only.
    IgnoredInMixedRange,
    Reconciled(&'static str),
    ResetsConflict,
    /// A sample says that it began to count before the one before it ended, and not when that did.
    StartOverlaps,
}

impl Remark {
    pub(crate) fn report(self, context: &Context<'_>, span: Span, name: &str) {
        match self {
            Self::Mixed => {
                context.warn(span, format!("encountered a mix of histograms and floats for metric name {name:?}"));
            }
            Self::NotCounter => {
                context.warn(span, format!("this native histogram metric is not a counter: {name:?}"));
            }
            Self::NotGauge => context.warn(span, format!("this native histogram metric is not a gauge: {name:?}")),
            Self::MixedSchemas => context.warn(span, mixed_schemas(name)),
            Self::IgnoredInMixedRange => {
                let text = "ignored histograms in a range containing both floats and histograms for metric name";
                context.info(span, format!("{text} {name:?}"));
            }
            Self::Reconciled(during) => context.info(span, reconciled(during)),
            Self::StartOverlaps => {
                let text = "sample has start time that overlaps with previous sample timestamp for metric";
                context.warn(span, format!("{text} {name:?}"));
            }
            Self::ResetsConflict => context.warn(span, resets_conflict("aggregation")),
        }
    }
}

pub(crate) fn mixed_schemas(name: &str) -> String {
    format!("vector contains a mix of histograms with exponential and custom buckets schemas for metric name {name:?}")
}

pub(crate) fn reconciled(during: &str) -> String {
    format!("mismatched custom buckets were reconciled during {during}")
}

pub(crate) fn resets_conflict(during: &str) -> String {
    format!("conflicting counter resets during histogram {during}")
}

/// The samples of a series in one window.
#[derive(Clone, Copy)]
pub(crate) struct Window<'t> {
    pub(crate) floats: Samples<'t>,
    pub(crate) histograms: &'t [HistogramPoint],
    /// First time of the window, exclusive.
    pub(crate) start: i64,
    pub(crate) end: i64,
}

type Remarks = Vec<Remark>;

/// Calls `visit` with each window that holds a histogram.
pub(crate) fn each_mixed_window<'t>(samples: Samples<'t>, windows: &Windows, mut visit: impl FnMut(usize, Window<'t>)) {
    let Samples { times, values, histograms, .. } = samples;
    let (mut low, mut high, mut first, mut last) = (0, 0, 0, 0);
    for (step, end) in windows.ends().enumerate() {
        let start = end.saturating_sub(windows.range);
        while last < histograms.len() && histograms[last].time <= end {
            last += 1;
        }
        while first < last && histograms[first].time <= start {
            first += 1;
        }
        if first == last {
            continue;
        }
        while high < times.len() && times[high] <= end {
            high += 1;
        }
        while low < high && times[low] <= start {
            low += 1;
        }
        let floats =
            Samples { times: &times[low..high], values: &values[low..high], start_times: &[], histograms: &[] };
        visit(step, Window { floats, histograms: &histograms[first..last], start, end });
    }
}

/// Replaces what the floats alone gave, at the steps whose windows hold histograms too.
pub(crate) fn run(
    function: RangeFunction,
    samples: Samples<'_>,
    windows: &Windows,
    row: &mut RowMut<'_>,
    remarks: &mut Remarks,
) {
    each_mixed_window(samples, windows, |step, window| {
        let of_floats = row.as_row().get(step);
        let cell = function.of_mixed(&window, windows, of_floats, remarks);
        row.replace(step, cell);
    });
}

impl RangeFunction {
    fn of_mixed(
        self,
        window: &Window<'_>,
        windows: &Windows,
        of_floats: Option<f64>,
        remarks: &mut Remarks,
    ) -> Option<Cell> {
        let float = |value: f64| Some(Cell::Float(value));
        let seconds = |time: i64| float(time as f64 / 1000.0);
        match self {
            Self::Rate | Self::Increase | Self::Delta => {
                let difference = self.difference().expect("these three are differences");
                extrapolated(difference, window, windows, remarks)
            }
            Self::Irate => last_two(true, window, remarks),
            Self::Idelta => last_two(false, window, remarks),
            Self::Sum | Self::Avg => total(self == Self::Avg, window, remarks),
            Self::Count => float((window.floats.times.len() + window.histograms.len()) as f64),
            Self::Present => float(1.0),
            Self::First => Some(window.in_order().next()?.1),
            Self::Last => Some(window.in_order().last()?.1),
            Self::TsOfFirst => seconds(window.in_order().next()?.0),
            Self::TsOfLast => seconds(window.in_order().last()?.0),
            Self::Changes => float(f64::from(window.count_pairs(is_change, |before, after| before != after))),
            Self::Resets => {
                float(f64::from(window.count_pairs(is_reset, |before, after| after.is_reset_after(before))))
            }
            Self::Deriv
            | Self::DoubleExponentialSmoothing
            | Self::Mad
            | Self::Max
            | Self::Min
            | Self::PredictLinear
            | Self::Quantile
            | Self::Stddev
            | Self::Stdvar
            | Self::TsOfMax
            | Self::TsOfMin => {
                if !window.floats.times.is_empty() {
                    remarks.push(Remark::IgnoredInMixedRange);
                }
                of_floats.map(Cell::Float)
            }
        }
    }
}

impl Window<'_> {
    fn in_order(&self) -> impl Iterator<Item = (i64, Cell)> {
        in_order(self.floats, self.histograms)
    }

    /// Neighbours in a relation; a float beside a histogram always is.
    fn count_pairs(
        &self,
        floats: fn(f64, f64) -> bool,
        histograms: impl Fn(&FloatHistogram, &FloatHistogram) -> bool,
    ) -> u32 {
        let mut before: Option<Cell> = None;
        let mut count = 0;
        for (_, cell) in self.in_order() {
            count += u32::from(match (&before, &cell) {
                (None, _) => false,
                (Some(Cell::Float(before)), Cell::Float(after)) => floats(*before, *after),
                (Some(Cell::Histogram(before)), Cell::Histogram(after)) => histograms(before, after),
                _ => true,
            });
            before = Some(cell);
        }
        count
    }
}

/// Floats and histograms in order of time.
pub(crate) fn in_order<'t>(
    floats: Samples<'t>,
    histograms: &'t [HistogramPoint],
) -> impl Iterator<Item = (i64, Cell)> + use<'t> {
    let Samples { times, values, .. } = floats;
    let (mut at, mut next) = (0, 0);
    std::iter::from_fn(move || match (times.get(at), histograms.get(next)) {
        (Some(time), point) if point.is_none_or(|point| *time < point.time) => {
            at += 1;
            Some((*time, Cell::Float(values[at - 1])))
        }
        (_, Some(point)) => {
            next += 1;
            Some((point.time, Cell::Histogram(point.histogram.clone())))
        }
        _ => None,
    })
}

fn extrapolated(difference: Difference, window: &Window<'_>, windows: &Windows, remarks: &mut Remarks) -> Option<Cell> {
    if !window.floats.times.is_empty() {
        remarks.push(Remark::Mixed);
        return None;
    }
    let [first, .., last] = window.histograms else { return None };
    let histograms: Vec<&FloatHistogram> = window.histograms.iter().map(|point| point.histogram.as_ref()).collect();
    let resets = Resets::of(difference.is_counter, &histograms);
    let mut result = increase(difference.is_counter, &histograms, &resets, remarks)?;
    let ends = Extrapolation::new(
        (window.histograms.len() - 1) as f64,
        (last.time - first.time) as f64,
        (first.time - window.start) as f64,
        (window.end - last.time) as f64,
    );
    let divisor = if difference.is_rate { windows.range as f64 / 1000.0 } else { 1.0 };
    result.scale(ends.factor(difference.is_counter, first.histogram.count, result.count, divisor));
    result.drop_empty_buckets();
    Some(Cell::Histogram(Arc::new(result)))
}

/// Where a counter of histograms began again.
pub(crate) struct Resets {
    /// Between each two neighbours.
    pub(crate) between: Vec<bool>,
    /// It began within the window, so all of the first one was counted there.
    pub(crate) counts_first: bool,
}

impl Resets {
    fn of(is_counter: bool, histograms: &[&FloatHistogram]) -> Self {
        let pairs = histograms.windows(2);
        let between = pairs.map(|pair| is_counter && pair[1].is_reset_after(pair[0])).collect();
        Self { between, counts_first: false }
    }
}

/// The difference of the last and the first one, resets made good.
pub(crate) fn increase(
    is_counter: bool,
    histograms: &[&FloatHistogram],
    resets: &Resets,
    remarks: &mut Remarks,
) -> Option<FloatHistogram> {
    let (first, last) = (*histograms.first()?, *histograms.last()?);
    let is_gauge = |histogram: &&FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
    if is_counter {
        if histograms.iter().any(is_gauge) {
            remarks.push(Remark::NotCounter);
        }
    } else if ![first, last].iter().all(is_gauge) {
        remarks.push(Remark::NotGauge);
    }
    // After a reset right behind it nothing of the first counts, also if its buckets are of another kind.
    let skips_first = !resets.counts_first && resets.between.first() == Some(&true);
    let ends = [first, last];
    let counted = match is_counter {
        true if skips_first => &histograms[1..],
        true => histograms,
        false => &ends,
    };
    if counted.iter().any(|histogram| histogram.uses_custom_buckets() != last.uses_custom_buckets()) {
        remarks.push(Remark::MixedSchemas);
        return None;
    }
    let mut result = last.clone();
    if !last.uses_custom_buckets() {
        result.reduce_resolution(counted.iter().map(|histogram| histogram.schema).min()?);
    }
    if !skips_first && !resets.counts_first {
        noted(result.subtract(first), "subtraction", remarks)?;
    }
    let lost = histograms.iter().zip(&resets.between).filter(|(_, is_reset)| **is_reset);
    for (before, _) in lost.skip(usize::from(skips_first)) {
        noted(result.add(before), "addition", remarks)?;
    }
    result.reset_hint = ResetHint::Gauge;
    result.drop_empty_buckets();
    Some(result)
}

/// Conflicts of resets are no news where resets are looked for.
fn noted(
    combined: Result<crate::histogram::Combined, Incompatible>,
    during: &'static str,
    remarks: &mut Remarks,
) -> Option<()> {
    match combined {
        Ok(combined) => {
            if combined.bounds_reconciled {
                remarks.push(Remark::Reconciled(during));
            }
            Some(())
        }
        Err(Incompatible) => {
            remarks.push(Remark::MixedSchemas);
            None
        }
    }
}

fn last_two(is_rate: bool, window: &Window<'_>, remarks: &mut Remarks) -> Option<Cell> {
    let samples: Vec<(i64, Cell)> = window.in_order().collect();
    let [.., (before_time, before), (time, last)] = samples.as_slice() else { return None };
    let seconds = (time - before_time) as f64 / 1000.0;
    match (before, last) {
        (Cell::Float(before), Cell::Float(last)) => {
            let result = if is_rate && last < before { *last } else { last - before };
            Some(Cell::Float(if is_rate { result / seconds } else { result }))
        }
        (Cell::Histogram(before), Cell::Histogram(last)) => {
            let gauges = [before, last].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
            if is_rate && gauges.contains(&true) {
                remarks.push(Remark::NotCounter);
            }
            if !is_rate && gauges.contains(&false) {
                remarks.push(Remark::NotGauge);
            }
            let mut result = FloatHistogram::clone(last);
            if !is_rate || !last.is_reset_after(before) {
                noted(result.subtract(before), "subtraction", remarks)?;
            }
            result.reset_hint = ResetHint::Gauge;
            result.drop_empty_buckets();
            Some(Cell::Histogram(Arc::new(if is_rate { result.divided_by(seconds) } else { result })))
        }
        _ => {
            remarks.push(Remark::Mixed);
            None
        }
    }
}

fn total(is_mean: bool, window: &Window<'_>, remarks: &mut Remarks) -> Option<Cell> {
    if !window.floats.times.is_empty() {
        remarks.push(Remark::Mixed);
        return None;
    }
    let [first, rest @ ..] = window.histograms else { return None };
    let mut sum = HistogramSum::of(&first.histogram, is_mean);
    for point in rest {
        if sum.add(&point.histogram).is_err() {
            remarks.push(Remark::MixedSchemas);
            return None;
        }
    }
    if sum.bounds_reconciled() {
        remarks.push(Remark::Reconciled("aggregation"));
    }
    if sum.resets_conflict() {
        remarks.push(Remark::ResetsConflict);
    }
    Some(Cell::Histogram(Arc::new(sum.value())))
}
