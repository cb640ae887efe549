//! Whether a result is what a statement says.

use model::{Labels, sample};

use crate::{
    annotations::{Annotation, Level},
    histogram::FloatHistogram,
    testscript::{
        script::{Eval, EvalTime, Remark, RemarkKind, TextMatch},
        sequence::Given,
    },
    value::{MatrixSeries, QueryOutput, SampleValue, Value},
};

/// What did not hold.
pub(crate) type Verdict = Result<(), String>;

/// Relative difference that is rounding.
const TOLERANCE: f64 = 1e-6;

pub(crate) fn output(eval: &Eval, output: Result<QueryOutput, String>) -> Verdict {
    let output = match output {
        Ok(_) if eval.expectations.fails() => return Err("expected an error, got a result".to_owned()),
        Ok(output) => output,
        Err(error) if eval.expectations.fails() => return failure(eval, &error),
        Err(error) => return Err(format!("failed: {error}")),
    };
    annotations(eval, &output.annotations)?;
    let expected = &eval.expectations;
    match (&output.value, eval.time) {
        (Value::Scalar { value, .. }, _) => match expected.scalar {
            Some(wanted) if is_close(wanted, *value) => Ok(()),
            wanted => Err(format!("expected {wanted:?}, got {value}")),
        },
        (Value::String { text, .. }, _) if expected.string.as_ref() == Some(text) => Ok(()),
        (Value::String { text, .. }, _) => Err(format!("expected {:?}, got {text:?}", expected.string)),
        (Value::Vector { samples, .. }, _) => {
            vector(eval, samples.iter().map(|sample| (sample.labels.clone(), sample.value.clone())))
        }
        (Value::Matrix(series), EvalTime::Range(range)) => {
            // A scalar over a range has no labels.
            matrix(eval, series, range.start, range.step)
        }
        (Value::Matrix(series), EvalTime::Instant(_)) => match expected.range_vector {
            Some(range) => matrix(eval, series, range.start, range.step),
            None => Err("got a range vector".to_owned()),
        },
    }
}

fn failure(eval: &Eval, error: &str) -> Verdict {
    let wanted = |remark: &Remark| remark.kind != RemarkKind::Fail || is_match(&remark.text, error);
    if eval.expectations.remarks.iter().all(wanted) {
        Ok(())
    } else {
        Err(format!("failed with another error: {error}"))
    }
}

fn is_match(wanted: &TextMatch, text: &str) -> bool {
    match wanted {
        TextMatch::Any => true,
        TextMatch::Exact(wanted) => wanted == text,
        TextMatch::Pattern(pattern) => regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)),
    }
}

fn annotations(eval: &Eval, found: &[Annotation]) -> Verdict {
    for (level, some, none) in
        [(Level::Warning, RemarkKind::Warn, RemarkKind::NoWarn), (Level::Info, RemarkKind::Info, RemarkKind::NoInfo)]
    {
        let texts: Vec<&str> = found
            .iter()
            .filter(|annotation| annotation.level == level)
            .map(|annotation| annotation.text.as_str())
            .collect();
        if eval.expectations.has(none) && !texts.is_empty() {
            return Err(format!("unexpected remarks: {texts:?}"));
        }
        let wanted: Vec<&TextMatch> =
            eval.expectations.remarks.iter().filter(|remark| remark.kind == some).map(|remark| &remark.text).collect();
        let missing = wanted.iter().find(|wanted| !texts.iter().any(|text| is_match(wanted, text)));
        if let Some(missing) = missing {
            return Err(format!("expected {some:?} {missing:?}, got {texts:?}"));
        }
        let surplus = texts.iter().find(|text| !wanted.iter().any(|wanted| is_match(wanted, text)));
        if let (false, Some(surplus)) = (wanted.is_empty(), surplus) {
            return Err(format!("unexpected remark: {surplus}"));
        }
    }
    Ok(())
}

pub(crate) fn vector(eval: &Eval, found: impl Iterator<Item = (Labels, SampleValue)>) -> Verdict {
    let found: Vec<(Labels, SampleValue)> = found.collect();
    let expected = &eval.expectations.series;
    if eval.expectations.scalar.is_some() && expected.is_empty() {
        // A scalar that was evaluated over a range.
        return match found.as_slice() {
            [(labels, value)]
                if labels.is_empty()
                    && eval.expectations.scalar.is_some_and(|want| is_same(&Given::Float(want), value)) =>
            {
                Ok(())
            }
            _ => Err(format!("expected {:?}, got {found:?}", eval.expectations.scalar)),
        };
    }
    for (position, line) in expected.iter().enumerate() {
        let at = found.iter().position(|(labels, _)| *labels == line.labels);
        let Some(at) = at else { return Err(format!("missing {}; got {found:?}", line.labels)) };
        if eval.expectations.is_ordered() && at != position {
            return Err(format!("{} is at position {at}, expected {position}", line.labels));
        }
        let wanted = line.values.first().unwrap_or(&Given::Missing);
        if !is_same(wanted, &found[at].1) {
            return Err(format!("{}: expected {wanted:?}, got {:?}", line.labels, found[at].1));
        }
    }
    match found.iter().find(|(labels, _)| !expected.iter().any(|line| line.labels == *labels)) {
        Some((labels, value)) => Err(format!("unexpected {labels} {value:?}")),
        None => Ok(()),
    }
}

fn matrix(eval: &Eval, found: &[MatrixSeries], start: i64, step: i64) -> Verdict {
    let expected = &eval.expectations.series;
    for line in expected {
        let at = |position: usize| start + position as i64 * step;
        let mut wanted = line.values.iter().enumerate().filter(|(_, value)| **value != Given::Missing).peekable();
        let Some(series) = found.iter().find(|series| series.labels == line.labels) else {
            if wanted.peek().is_none() {
                continue;
            }
            return Err(format!("missing {}; got {found:?}", line.labels));
        };
        let mut count = 0;
        for (position, value) in wanted {
            count += 1;
            if !self::at(series, at(position)).is_some_and(|found| is_same(value, &found)) {
                return Err(format!("{} at {} ms: expected {value:?}, got {series:?}", line.labels, at(position)));
            }
        }
        if count < series.times.len() + series.histograms.len() {
            return Err(format!("{}: unexpected samples in {series:?}", line.labels));
        }
    }
    match found.iter().find(|series| !expected.iter().any(|line| line.labels == series.labels)) {
        Some(series) => Err(format!("unexpected {series:?}")),
        None => Ok(()),
    }
}

/// What a series has at a time.
pub(crate) fn at(series: &MatrixSeries, time: i64) -> Option<SampleValue> {
    let float = series.points().find(|(at, _)| *at == time).map(|(_, value)| SampleValue::Float(value));
    let histogram = || series.histograms.iter().find(|point| point.time == time);
    float.or_else(|| Some(SampleValue::Histogram(histogram()?.histogram.clone())))
}

fn is_same(wanted: &Given, found: &SampleValue) -> bool {
    match (wanted, found) {
        (Given::Float(wanted), SampleValue::Float(found)) => is_close(*wanted, *found),
        (Given::Histogram(wanted), SampleValue::Histogram(found)) => {
            let hints_agree = !wanted.has_hint || wanted.histogram.reset_hint == found.reset_hint;
            hints_agree && is_close_histogram(&wanted.histogram, found)
        }
        _ => false,
    }
}

fn is_close_histogram(left: &FloatHistogram, right: &FloatHistogram) -> bool {
    let side = |left: &[(i32, f64)], right: &[(i32, f64)]| {
        left.len() == right.len()
            && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && is_close(left.1, right.1))
    };
    left.schema == right.schema
        && is_close(left.count, right.count)
        && is_close(left.sum, right.sum)
        && left.zero_threshold == right.zero_threshold
        && is_close(left.zero_count, right.zero_count)
        && side(&left.positive, &right.positive)
        && side(&left.negative, &right.negative)
        && left.has_bounds_of(&right.custom_values)
}

fn is_close(left: f64, right: f64) -> bool {
    if sample::is_stale(left) || sample::is_stale(right) {
        return sample::is_stale(left) && sample::is_stale(right);
    }
    let difference = (left - right).abs();
    left == right
        || (left.is_nan() && right.is_nan())
        || (left != 0.0
            && right != 0.0
            && difference < TOLERANCE * (left.abs() + right.abs())
            && difference.is_finite())
}
