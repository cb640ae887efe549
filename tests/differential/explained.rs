//! Where Millrace and the Prometheus at hand differ and why that is as it should be.

use serde_json::Value;

use super::generate::HISTOGRAMS;
use crate::harness::answers::{is_close, is_within};

pub(super) type Parts = (Value, Vec<String>);

/// Leaves out what says which of several series was met first, as that is up to the order of series; what only says that a series has no name,
/// and what is said of sorting ranges, as later releases do; and names in remarks on buckets, which 3.5 has or has not by step.
pub(super) fn simplify((data, remarks): Parts) -> Parts {
    let is_kept = |text: &&String| !text.contains("sort is ineffective for range queries");
    let simple = |text: &String| {
        let text = without_labels(text).replace(" for metric name \"\"", "");
        let text = text.replace("Scalar value NaN overflows int64", "Parameter value is NaN");
        match text.split_once(" for metric name") {
            Some((before, _)) if before.contains("needed to be fixed for monotonicity") => before.to_owned(),
            None if text.contains("needed to be fixed for monotonicity") => {
                text.rsplit_once(" (").map_or(text.clone(), |(before, _)| before.to_owned())
            }
            _ => text,
        }
    };
    let mut remarks: Vec<String> = remarks.iter().filter(is_kept).map(simple).collect();
    remarks.sort();
    remarks.dedup();
    (data, remarks)
}

fn without_labels(text: &str) -> String {
    let mut depth = 0;
    let is_outside = |character: &char| {
        depth += i32::from(*character == '{');
        let is_outside = depth == 0;
        depth -= i32::from(*character == '}');
        is_outside
    };
    text.chars().filter(is_outside).collect()
}

/// What an aggregation or an operator says of histograms that don't fit to each other or to floats: which of it is said depends on the series that come first.
const OF_FIRST: &[&str] = &[
    "vector contains a mix of histograms with exponential and custom buckets",
    "encountered a mix of histograms and floats for aggregation",
    "incompatible sample types encountered for binary operator",
    "incompatible bucket layout encountered for binary operator",
    // Of what is known of resets a storage may keep less: the first histogram of each of its chunks says nothing.
    "conflicting counter resets during histogram aggregation",
];

/// What makes a query fail, of which only what is met first is said.
const OF_FAILURES: &[&str] = &[
    "vector cannot contain metrics with the same labelset",
    "found duplicate series for the match group",
    "multiple matches for labels",
    "overflows int64",
    "Parameter value is NaN",
    "Ratio value is NaN",
];

/// With which 3.5 gives up over the text of a histogram with custom buckets.
const PANIC: &str = "histograms with custom buckets have no zero bucket";

pub(super) fn is_of_order(query: &str, ours: &Parts, theirs: &Parts) -> bool {
    let others = |parts: &Parts| {
        let is_other = |remark: &&String| !OF_FIRST.iter().any(|text| remark.contains(text));
        parts.1.iter().filter(is_other).cloned().collect::<Vec<_>>()
    };
    // Of remarks with one text 3.5 keeps the one that came last, wherever it points.
    let texts = |parts: &Parts| {
        let mut texts: Vec<_> = others(parts)
            .iter()
            .map(|text| text.rsplit_once(" (").map_or(text.as_str(), |cut| cut.0).to_owned())
            .collect();
        texts.dedup();
        texts
    };
    // A part that doesn't change with time keeps its parentheses' place.
    let is_fixed = query.contains("@ ");
    if (is_fixed || others(ours).len() > others(theirs).len())
        && is_close(&ours.0, &theirs.0)
        && texts(ours) == texts(theirs)
    {
        return true;
    }
    // Which of two sides is looked at first is up to the engine.
    let fails = |parts: &Parts| OF_FAILURES.iter().any(|text| parts.1.iter().any(|remark| remark.contains(text)));
    if fails(ours) && fails(theirs) {
        return true;
    }
    let fails_itself = theirs.1.iter().any(|remark| remark.contains("runtime error") || remark.contains(PANIC));
    fails_itself || (is_close(&ours.0, &theirs.0) && others(ours) == others(theirs))
}

/// Why an expression that can't be made smaller differs, where that is as it should be.
pub(super) fn reason(query: &str, ours: &Parts, theirs: &Parts) -> Option<&'static str> {
    let is_rate = ["rate(", "increase("].iter().any(|name| query.contains(name));
    if is_rate && ours.1 == theirs.1 && is_scaled(&ours.0["result"], &theirs.0["result"]) {
        return Some("a histogram that counts is not extrapolated to below zero");
    }
    if query.contains("info(") && ours.1 == theirs.1 {
        return Some(
            "3.5 looks for info series from the beginning of the query on, not back from there, and keeps what it finds nothing for",
        );
    }
    if ours.1.iter().any(|text| text.contains("many-to-one matching must be explicit")) && theirs.0["result"].is_array()
    {
        return Some(
            "two series that match one are refused even where a comparison would have dropped one, as operators.test has it",
        );
    }
    if ours.1 == theirs.1 && is_close(&without_nan(&ours.0), &without_nan(&theirs.0)) {
        return Some(
            "an empty bucket is no bucket here, so nothing times infinity is not shown as one that is no number",
        );
    }
    if query.starts_with("histogram_fraction(")
        && is_close(&without_unknown(&ours.0, &theirs.0), &without_unknown(&theirs.0, &theirs.0))
    {
        return Some("the first bucket begins at zero, as histograms.test has it, and not nowhere");
    }
    if query.contains("count_values") && ours.1 == theirs.1 {
        return Some("sums in another order, within a text");
    }
    if query.starts_with("absent") && ours.1 == theirs.1 && differ_in_repeated_labels(query, &ours.0, &theirs.0) {
        return Some(
            "of a label that is asked for twice, 3.5 puts the matchers in another order when there are series to look among",
        );
    }
    let is_variance = query.starts_with("std") && ["ts_of_", "time"].iter().any(|part| query.contains(part));
    if is_variance && ours.1 == theirs.1 && is_within(&ours.0, &theirs.0, 1e-4, 0.0) {
        return Some("variances of numbers as large as times, of which few digits are left");
    }
    if theirs.1.iter().any(|text| text.contains("same labelset")) && ours.0["result"].is_array() {
        return Some(
            "series that become one without their names, though never at one time, are one, as operators.test has it of a minus",
        );
    }
    if query.starts_with("mad_over_time(") && ours.1 == theirs.1 {
        return Some("one sample that is no number makes the deviation none, as functions.test has it");
    }
    // Of a selector alone, which keeps this from covering what stands around it.
    let is_fixed_time =
        query.starts_with("timestamp(") && query.replace("start()", "").replace("end()", "").matches('(').count() == 1;
    if is_fixed_time && query.contains(" offset ") && query.contains("@ ") && ours.1 == theirs.1 {
        return Some(
            "beside @, 3.5 reads at the fixed time itself, among the samples that it has selected by the offset",
        );
    }
    let is_count = |text: &String| {
        ["int64", "Parameter value is NaN", "Ratio value is NaN"].iter().any(|part| text.contains(part))
    };
    if ours.1.iter().any(is_count) && is_empty(theirs) {
        return Some("a count that is none is refused whatever there is to count, as aggregators.test has it");
    }
    if query.contains("sort") && (query.contains(':') || theirs.0["resultType"] == "matrix") {
        return Some("a sort over a range lets histograms pass, as later releases have it");
    }
    if ours.1 == theirs.1 && is_within(&ours.0, &theirs.0, 1e-6, 1e-9) {
        return Some("sums in another order");
    }
    let counts_changes = ["changes(", "resets("].iter().any(|name| query.starts_with(name));
    let is_of_sums = ["sum", "avg", "std"].iter().any(|name| query.contains(name));
    // A few changes more or less, not another count.
    if counts_changes && is_of_sums && ours.1 == theirs.1 && is_within(&ours.0, &theirs.0, 0.05, 2.0) {
        return Some("sums in another order, whose last digit is counted as a change");
    }
    if ours.1 == theirs.1 && query.contains("^") && query.contains("%") {
        return Some("remainders of powers so large that their last digit decides");
    }
    if ours.1 == theirs.1 && ["sin(", "cos(", "tan("].iter().any(|name| query.starts_with(name)) {
        return Some("angles so large that their last digit turns them");
    }
    if ours.1 == theirs.1
        && (query.contains("==") || query.contains("!="))
        && HISTOGRAMS.iter().any(|name| query.contains(name))
    {
        return Some(
            "histograms are equal when their buckets are; in 3.5 only when the same empty buckets are stored with them, too",
        );
    }
    None
}

/// Without buckets whose count is no number.
fn without_nan(value: &Value) -> Value {
    match value {
        Value::Array(all) => {
            let is_kept =
                |value: &&Value| value.as_array().is_none_or(|bucket| bucket.len() != 4 || bucket[3] != "NaN");
            Value::Array(all.iter().filter(is_kept).map(without_nan).collect())
        }
        Value::Object(all) => {
            let fields = all.iter().map(|(key, value)| (key.clone(), without_nan(value)));
            // Without any bucket a histogram has no list of them.
            Value::Object(
                fields.filter(|(key, value)| key != "buckets" || value != &Value::Array(Vec::new())).collect(),
            )
        }
        _ => value.clone(),
    }
}

fn is_empty(answer: &Parts) -> bool {
    answer.0["result"].as_array().is_some_and(Vec::is_empty)
}

/// An answer without the values that are no number in the other.
fn without_unknown(value: &Value, other: &Value) -> Value {
    match (value, other) {
        (Value::Array(all), Value::Array(others)) if all.len() == others.len() => {
            Value::Array(all.iter().zip(others).map(|(value, other)| without_unknown(value, other)).collect())
        }
        (Value::Object(all), Value::Object(_)) => {
            Value::Object(all.iter().map(|(key, value)| (key.clone(), without_unknown(value, &other[key]))).collect())
        }
        (_, Value::String(text)) if text == "NaN" => Value::Null,
        _ => value.clone(),
    }
}

/// Whether answers are the same but for labels that a selector asks for more than once.
fn differ_in_repeated_labels(query: &str, ours: &Value, theirs: &Value) -> bool {
    let asked =
        |label: &str| ["=", "!"].iter().map(|sign| query.matches(&format!("{label}{sign}")).count()).sum::<usize>();
    let without = |data: &Value| {
        let mut data = data.clone();
        for series in data["result"].as_array_mut().into_iter().flatten() {
            if let Some(labels) = series["metric"].as_object_mut() {
                labels.retain(|label, _| asked(label) < 2);
            }
        }
        data
    };
    is_close(&without(ours), &without(theirs))
}

/// Whether each histogram of ours is one of theirs with every bucket smaller by one factor, and all else is the same.
fn is_scaled(ours: &Value, theirs: &Value) -> bool {
    let histograms = |result: &Value| -> Vec<Value> {
        let series = result.as_array().into_iter().flatten();
        series
            .flat_map(|series| match (&series["histograms"], &series["histogram"]) {
                (Value::Array(all), _) => all.iter().map(|point| point[1].clone()).collect(),
                (_, Value::Array(point)) => vec![point[1].clone()],
                _ => Vec::new(),
            })
            .collect()
    };
    let floats = |result: &Value| {
        let mut result = result.clone();
        for series in result.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            series.retain(|key, _| !key.starts_with("histogram"));
        }
        result
    };
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let counts = |histogram: &Value| -> Vec<f64> {
        let buckets = histogram["buckets"].as_array().into_iter().flatten().map(|bucket| number(&bucket[3]));
        [number(&histogram["count"]), number(&histogram["sum"])].into_iter().chain(buckets).collect()
    };
    let rest_is_close = is_close(&floats(ours), &floats(theirs));
    let (ours, theirs) = (histograms(ours), histograms(theirs));
    rest_is_close
        && ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(ours, theirs)| {
            let (ours, theirs) = (counts(ours), counts(theirs));
            let factor = if theirs[0] == 0.0 { 1.0 } else { ours[0] / theirs[0] };
            let is_close = |left: f64, right: f64| (left - right).abs() <= 1e-9 * right.abs();
            factor <= 1.0 + 1e-9
                && ours.len() == theirs.len()
                && ours.iter().zip(&theirs).all(|(ours, theirs)| is_close(*ours, theirs * factor))
        })
}
