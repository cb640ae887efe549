//! Native histograms in series lines: `{{schema:0 count:3 sum:4 buckets:[1 2]}}`, and sequences of them.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, ResetHint};

use crate::{
    histogram::FloatHistogram,
    testscript::sequence::{Given, number},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GivenHistogram {
    pub(crate) histogram: FloatHistogram,
    /// The line says what is known of resets.
    pub(crate) has_hint: bool,
}

/// Appends what `{{..}}`, `{{..}}+{{..}}` or `{{..}}-{{..}}` stands for, so many times.
pub(super) fn expand(text: &str, repeats: usize, values: &mut Vec<Given>) -> Option<()> {
    let (first, rest) = literal(text)?;
    let step = match rest.as_bytes().first() {
        None => None,
        Some(sign @ (b'+' | b'-')) => {
            let (step, rest) = literal(&rest[1..])?;
            rest.is_empty().then_some(())?;
            Some((*sign == b'+', step))
        }
        Some(_) => return None,
    };
    let mut value = first;
    for _ in 0..repeats {
        values.push(Given::Histogram(value.clone()));
        match &step {
            Some((true, step)) => drop(value.histogram.add(&step.histogram).ok()?),
            Some((false, step)) => drop(value.histogram.subtract(&step.histogram).ok()?),
            None => {}
        }
        value.histogram.drop_empty_buckets();
    }
    Some(())
}

/// A histogram at the start of a text, and what follows it.
fn literal(text: &str) -> Option<(GivenHistogram, &str)> {
    let (body, rest) = text.strip_prefix("{{")?.split_once("}}")?;
    Some((parse(body)?, rest))
}

fn parse(body: &str) -> Option<GivenHistogram> {
    let mut histogram = FloatHistogram::default();
    let mut has_hint = false;
    let (mut offset, mut negative_offset) = (0, 0);
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    for (key, value) in fields(body)? {
        match key {
            "schema" => histogram.schema = value.parse().ok()?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => negative_offset = value.parse().ok()?,
            "buckets" => positive = numbers(value)?,
            "n_buckets" => negative = numbers(value)?,
            "custom_values" => histogram.custom_values = numbers(value)?.into(),
            "counter_reset_hint" => {
                has_hint = true;
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return None,
                };
            }
            _ => return None,
        }
    }
    let side = |first: i32, counts: Vec<f64>| (first..).zip(counts).filter(|(_, count)| *count != 0.0).collect();
    histogram.positive = side(offset, positive);
    histogram.negative = side(negative_offset, negative);
    Some(GivenHistogram { histogram, has_hint })
}

/// `key:value` by `key:value`, where a value may be a list in brackets.
fn fields(body: &str) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':')?;
        let end = match after.starts_with('[') {
            true => after.find(']')? + 1,
            false => after.find(char::is_whitespace).unwrap_or(after.len()),
        };
        found.push((key, &after[..end]));
        rest = after[end..].trim_start();
    }
    Some(found)
}

fn numbers(list: &str) -> Option<Vec<f64>> {
    list.strip_prefix('[')?.strip_suffix(']')?.split_whitespace().map(number).collect()
}

/// The parts of a classic histogram at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Classic {
    /// Upper bounds and cumulative counts.
    pub(super) buckets: Vec<(f64, f64)>,
    pub(super) count: Option<f64>,
    pub(super) sum: f64,
}

impl Classic {
    /// The same with custom buckets.
    pub(super) fn to_native(&self) -> FloatHistogram {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        // A bound may be written in several ways; the last one counts.
        buckets.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                *kept = *next;
            }
            is_same
        });
        let mut before = 0.0;
        let mut positive = Vec::new();
        for (number, (_, cumulative)) in (0..).zip(&buckets) {
            if *cumulative != before {
                positive.push((number, cumulative - before));
            }
            before = *cumulative;
        }
        let count = self.count.unwrap_or(before);
        let bounds = buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite());
        let custom_values: std::sync::Arc<[f64]> = bounds.collect();
        if custom_values.len() == buckets.len() && count > before {
            positive.push((buckets.len() as i32, count - before));
        }
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive,
            custom_values,
            ..FloatHistogram::default()
        }
    }
}
