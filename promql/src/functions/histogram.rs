//! histogram_quantile, histogram_quantiles and histogram_fraction: over native histograms, and over classic ones, which have one
//! series per bucket with its upper bound in the label `le`.

use model::{Labels, LabelsBuilder};

use crate::{
    annotations::invalid_quantile,
    ast::Span,
    exec::{
        Context, Operator, Result,
        batch::{Batch, any},
        grouping::GroupTable,
        matrix::{Matrix, Replay, SeriesInfo},
    },
    functions::scalar::Scalar,
    histogram::{self as native, FloatHistogram, NanObservations},
    value_text,
};

/// The label that holds a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// What to compute of each histogram.
pub(crate) enum Measure {
    Quantile(Scalar),
    /// Several quantiles, told apart by a label.
    Quantiles {
        label: String,
        quantiles: Vec<Scalar>,
    },
    Fraction {
        lower: Scalar,
        upper: Scalar,
    },
}

/// Where the arguments stand in the query, for remarks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub(crate) quantile: Span,
    pub(crate) vector: Span,
}

/// One histogram: rows of the matrix.
struct Histogram {
    info: SeriesInfo,
    /// By ascending upper bound.
    buckets: Vec<(f64, usize)>,
    native: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    /// Observations up to the bound.
    count: f64,
}

pub(crate) fn evaluate(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    measure: &Measure,
    spans: Spans,
    steps: usize,
) -> Result<Replay> {
    let matrix = Matrix::collect(context, operator, steps)?;
    let histograms = find_histograms(context, operator, &matrix.rows, spans.vector);
    warn_of_odd_quantiles(context, measure, spans.quantile);
    let mut results = Matrix::new(context, steps);
    let mut infos = Vec::new();
    let mut row = Batch::new(steps);
    let variants = match measure {
        Measure::Quantiles { quantiles, .. } => quantiles.len(),
        Measure::Quantile(_) | Measure::Fraction { .. } => 1,
    };
    for histogram in &histograms {
        for variant in 0..variants {
            row.clear();
            fill_row(context, &matrix.rows, histogram, measure, variant, spans.vector, &mut row, infos.len() as u32);
            for (series, row) in row.iter() {
                results.push(series, row)?;
            }
            infos.push(variant_info(context, histogram, measure, variant));
        }
    }
    Ok(Replay::new(infos, results, false))
}

fn warn_of_odd_quantiles(context: &Context<'_>, measure: &Measure, span: Span) {
    let quantiles = match measure {
        Measure::Quantile(quantile) => std::slice::from_ref(quantile),
        Measure::Quantiles { quantiles, .. } => quantiles,
        Measure::Fraction { .. } => &[],
    };
    for value in quantiles.iter().flat_map(Scalar::values).filter(|value| super::quantile::is_odd(**value)) {
        context.warn(span, invalid_quantile(*value));
    }
}

fn variant_info(context: &Context<'_>, histogram: &Histogram, measure: &Measure, variant: usize) -> SeriesInfo {
    let mut info = histogram.info.clone();
    if !context.options.delayed_name_removal {
        info.labels = context.without_metadata(&info.labels);
    }
    if let Measure::Quantiles { label, quantiles } = measure {
        let text = value_text::open_metrics(quantiles[variant].at(0));
        info.labels = LabelsBuilder::from_labels(&info.labels).set(label, &text).build();
    }
    info
}

/// Puts the bucket series together by all labels but `le`.
fn find_histograms(context: &Context<'_>, operator: &dyn Operator, rows: &Batch, span: Span) -> Vec<Histogram> {
    let delayed = context.options.delayed_name_removal;
    let mut table = GroupTable::default();
    let mut histograms: Vec<Histogram> = Vec::new();
    for row in 0..rows.rows() {
        let labels = operator.labels(rows.series(row) as usize);
        if rows.row(row).has_histograms() {
            let id = table.id(|| labels.iter()) as usize;
            entry(&mut histograms, id, &table, delayed).native = Some(row);
        }
        if !any(rows.row(row).valid) {
            continue;
        }
        let Some(upper) = upper_bound(context, &labels, span) else { continue };
        // Under the name, too: histograms that differ by it only are two, and in each other's way at the end.
        let id = table.id(|| labels.iter().filter(|label| label.name != BUCKET_LABEL)) as usize;
        entry(&mut histograms, id, &table, delayed).buckets.push((upper, row));
    }
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
    }
    histograms
}

fn entry<'h>(histograms: &'h mut Vec<Histogram>, id: usize, table: &GroupTable, delayed: bool) -> &'h mut Histogram {
    if id == histograms.len() {
        let info = SeriesInfo { labels: table.labels[id].clone(), drops_name: delayed };
        histograms.push(Histogram { info, buckets: Vec::new(), native: None });
    }
    &mut histograms[id]
}

fn upper_bound(context: &Context<'_>, labels: &Labels, span: Span) -> Option<f64> {
    let text = labels.get(BUCKET_LABEL).unwrap_or_default();
    let upper = value_text::parse(text);
    if upper.is_none() {
        let mut warning = format!("bucket label \"le\" is missing or has a malformed value of \"{text}\"");
        if let Some(name) = labels.metric_name() {
            warning.push_str(&format!(" for metric name \"{name}\""));
        }
        context.warn(span, warning);
    }
    upper
}

#[allow(clippy::too_many_arguments, reason = "one row's inputs, all different, used once")]
fn fill_row(
    context: &Context<'_>,
    rows: &Batch,
    histogram: &Histogram,
    measure: &Measure,
    variant: usize,
    span: Span,
    out: &mut Batch,
    series: u32,
) {
    let mut row = out.push(series);
    let mut buckets = Vec::with_capacity(histogram.buckets.len());
    for step in 0..rows.steps() {
        buckets.clear();
        for (upper, at) in &histogram.buckets {
            if let Some(count) = rows.row(*at).get(step) {
                buckets.push(Bucket { upper: *upper, count });
            }
        }
        if let Some(native) = histogram.native.and_then(|at| rows.row(at).histogram(step)) {
            if buckets.is_empty() {
                row.set(step, of_native(context, histogram, native, measure, variant, step, span));
            } else {
                let text = "vector contains a mix of classic and native histograms";
                context.warn(span, with_name(text, histogram));
            }
            continue;
        }
        if buckets.is_empty() {
            continue;
        }
        let value = match measure {
            Measure::Fraction { lower, upper } => fraction(lower.at(step), upper.at(step), &mut buckets),
            Measure::Quantile(quantile) => remark(context, histogram, span, quantile.at(step), &mut buckets),
            Measure::Quantiles { quantiles, .. } => {
                remark(context, histogram, span, quantiles[variant].at(step), &mut buckets)
            }
        };
        row.set(step, value);
    }
    out.drop_last_if_empty();
}

fn remark(context: &Context<'_>, histogram: &Histogram, span: Span, q: f64, buckets: &mut Vec<Bucket>) -> f64 {
    let (value, was_forced) = quantile(q, buckets);
    if was_forced {
        let text = "input to histogram_quantile needed to be fixed for monotonicity \
            (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        context.info(span, with_name(text, histogram));
    }
    value
}

fn with_name(text: &str, histogram: &Histogram) -> String {
    match histogram.info.labels.metric_name() {
        Some(name) => format!("{text} for metric name \"{name}\""),
        None => text.to_owned(),
    }
}

fn of_native(
    context: &Context<'_>,
    histogram: &Histogram,
    native: &FloatHistogram,
    measure: &Measure,
    variant: usize,
    step: usize,
    span: Span,
) -> f64 {
    let quantile = match measure {
        Measure::Fraction { lower, upper } => {
            let (value, has_nans) = native::fraction(lower.at(step), upper.at(step), native);
            if has_nans {
                let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
                context.info(span, with_name(text, histogram));
            }
            return value;
        }
        Measure::Quantile(quantile) => quantile,
        Measure::Quantiles { quantiles, .. } => &quantiles[variant],
    };
    let (value, nans) = native::quantile(quantile.at(step), native);
    if let Some(nans) = nans {
        let outcome = match nans {
            NanObservations::Skew => "result is skewed higher",
            NanObservations::Result => "result is NaN",
        };
        context
            .info(span, with_name(&format!("input to histogram_quantile has NaN observations, {outcome}"), histogram));
    }
    value
}

/// The quantile, and whether counts had to be raised to be in order. The buckets are sorted by bound.
fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, false);
    }
    let Some(was_forced) = put_in_order(buckets) else { return (f64::NAN, false) };
    let last = buckets.len() - 1;
    let total = buckets[last].count;
    if last == 0 || total == 0.0 {
        return (f64::NAN, was_forced);
    }
    let rank = q * total;
    let reaches = |bucket: &Bucket| bucket.count >= rank;
    let at = buckets[..last].partition_point(|bucket| !reaches(bucket));
    let value = if at == last {
        buckets[last - 1].upper
    } else if at == 0 && buckets[0].upper <= 0.0 {
        buckets[0].upper
    } else {
        let before = if at == 0 { Bucket { upper: 0.0, count: 0.0 } } else { buckets[at - 1] };
        let share = (rank - before.count) / (buckets[at].count - before.count);
        before.upper + (buckets[at].upper - before.upper) * share
    };
    (value, was_forced)
}

/// Share of the observations between two values. Counts that fall are left as they are, as in the reference implementation.
fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !reaches_infinity(buckets) {
        return f64::NAN;
    }
    join_equal_bounds(buckets);
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (observations_below(upper, buckets).min(total) - observations_below(lower, buckets).min(total)) / total
}

fn observations_below(value: f64, buckets: &[Bucket]) -> f64 {
    // The first bucket begins at 0 when its bound is above that, and nowhere otherwise.
    let first_lower = if buckets[0].upper > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let mut before = Bucket { upper: first_lower, count: 0.0 };
    for bucket in buckets {
        if before.upper >= value {
            return before.count;
        }
        if bucket.upper > value {
            if before.upper == f64::NEG_INFINITY {
                // There is no middle between a bound and nowhere.
                return bucket.count;
            }
            let share = (value - before.upper) / (bucket.upper - before.upper);
            return before.count + (bucket.count - before.count) * share;
        }
        before = *bucket;
    }
    before.count
}

/// Relative difference of counts that is rounding and not an observation.
const SMALL_DELTA: f64 = 1e-12;

/// Joins buckets of equal bounds and raises counts that fall. `None` without a bucket that reaches to infinity; else whether
/// a count was raised by more than rounding explains.
fn put_in_order(buckets: &mut Vec<Bucket>) -> Option<bool> {
    if !reaches_infinity(buckets) {
        return None;
    }
    join_equal_bounds(buckets);
    let mut was_forced = false;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if almost_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            was_forced = true;
        } else {
            before = bucket.count;
        }
    }
    Some(was_forced)
}

fn reaches_infinity(buckets: &[Bucket]) -> bool {
    buckets.last().is_some_and(|last| last.upper == f64::INFINITY)
}

fn join_equal_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let is_same = next.upper == kept.upper;
        if is_same {
            kept.count += next.count;
        }
        is_same
    });
}

fn almost_equal(left: f64, right: f64) -> bool {
    let (sum, difference) = (left.abs() + right.abs(), (left - right).abs());
    if left == right {
        true
    } else if left == 0.0 || right == 0.0 || sum < f64::MIN_POSITIVE {
        difference < SMALL_DELTA * f64::MIN_POSITIVE
    } else {
        difference / sum.min(f64::MAX) < SMALL_DELTA
    }
}
