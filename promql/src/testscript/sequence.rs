//! Series lines: labels, and the short notation for sequences of values.

use model::{Labels, MatchOp, sample};

use crate::{
    parser,
    testscript::{
        histogram::{self, GivenHistogram},
        script::{self, ScriptError},
    },
};

/// A series line of a `load` or of an expectation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeriesLine {
    pub(crate) labels: Labels,
    /// One per step; none in a line of start timestamps.
    pub(crate) values: Vec<Given>,
    /// By step when the sample's counter began, as milliseconds from the sample's own time; the line has nothing else then.
    pub(crate) start_times: Option<Vec<Option<i64>>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Missing,
    Float(f64),
    Histogram(GivenHistogram),
}

impl Given {
    pub(crate) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Missing | Self::Histogram(_) => None,
        }
    }

    pub(crate) fn histogram(&self) -> Option<&GivenHistogram> {
        match self {
            Self::Histogram(given) => Some(given),
            Self::Missing | Self::Float(_) => None,
        }
    }
}

/// Bound on values of one line, against a mistyped count.
const VALUES_MAX: usize = 1_000_000;

pub(crate) fn parse(line: &str, number: usize) -> Result<SeriesLine, ScriptError> {
    let bad = |what: String| ScriptError { line: number, what };
    let (metric, rest) = line.split_at(metric_end(line));
    let (metric, has_start_times) = metric.strip_suffix("@st").map_or((metric, false), |metric| (metric, true));
    let matchers = parser::parse_metric_selector(metric).map_err(|error| bad(error.to_string()))?;
    if matchers.iter().any(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(bad(format!("not a series: {metric}")));
    }
    let labels = Labels::from_pairs(matchers.iter().map(|matcher| (matcher.name(), matcher.value())));
    let mut values = Vec::new();
    let mut start_times = has_start_times.then(Vec::new);
    for token in tokens(rest) {
        let expanded = match &mut start_times {
            Some(starts) => expand_start(token, starts),
            None => expand(token, &mut values),
        };
        expanded.ok_or_else(|| bad(format!("not a value: {token}")))?;
    }
    Ok(SeriesLine { labels, values, start_times })
}

/// Appends what one token of a line of start timestamps stands for: `-30s`, `_`, `_x3`, `0x2` (three times), `-30s-1mx2`.
fn expand_start(token: &str, starts: &mut Vec<Option<i64>>) -> Option<()> {
    let (body, times) = match token.rsplit_once('x') {
        Some((body, count)) => (body, Some(count.parse::<usize>().ok().filter(|count| *count <= VALUES_MAX)?)),
        None => (token, None),
    };
    if body == "_" {
        starts.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Some(());
    }
    let sign_at = body.char_indices().skip(1).find(|(_, sign)| matches!(sign, '+' | '-')).map(|(at, _)| at);
    let (first, step) = match sign_at {
        Some(at) => (duration(&body[..at])?, duration(&body[at..])?),
        None => (duration(body)?, 0),
    };
    starts.extend((0..=times.unwrap_or(0) as i64).map(|at| Some(first + at * step)));
    Some(())
}

/// Milliseconds, with or without a sign.
fn duration(text: &str) -> Option<i64> {
    let plain = text.strip_prefix('+').unwrap_or(text);
    if plain.trim_start_matches('-') == "0" { Some(0) } else { script::milliseconds(plain, 0).ok() }
}

/// Where the description of the metric ends: at a blank outside of braces and quotes.
fn metric_end(line: &str) -> usize {
    let mut quote = None;
    let mut depth = 0;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, _) if c.is_whitespace() && depth == 0 => return at,
            (None, _) => {}
        }
    }
    line.len()
}

/// Splits at blanks, but not within a histogram.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut end = 0;
        while end < rest.len() && !rest[end..].starts_with(char::is_whitespace) {
            end += if rest[end..].starts_with("{{") {
                rest[end..].find("}}").map_or(rest.len() - end, |close| close + 2)
            } else {
                rest[end..].chars().next().map_or(1, char::len_utf8)
            };
        }
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

/// Appends what one token stands for: `1`, `_`, `stale`, `1x3` (four times), `1+2x3`, `_x3` (three times).
fn expand(token: &str, values: &mut Vec<Given>) -> Option<()> {
    let (body, times) = match token.rsplit_once('x') {
        Some((body, count)) if !body.is_empty() && !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()) => {
            (body, Some(count.parse::<usize>().ok().filter(|count| *count <= VALUES_MAX)?))
        }
        _ => (token, None),
    };
    let repeats = times.map_or(1, |times| times + 1);
    if body == "_" {
        values.extend(std::iter::repeat_n(Given::Missing, times.unwrap_or(1)));
    } else if body.starts_with("{{") {
        histogram::expand(body, repeats, values)?;
    } else if body == "stale" {
        values.extend(std::iter::repeat_n(Given::Float(sample::STALE_NAN), repeats));
    } else if let Some(value) = number(body) {
        values.extend(std::iter::repeat_n(Given::Float(value), repeats));
    } else {
        let (start, step) = arithmetic(body).filter(|_| times.is_some())?;
        let mut value = start;
        for _ in 0..repeats {
            values.push(Given::Float(value));
            value += step;
        }
    }
    Some(())
}

/// `start+step` or `start-step`.
fn arithmetic(text: &str) -> Option<(f64, f64)> {
    let bytes = text.as_bytes();
    let is_operator =
        |at: &usize| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[*at - 1], b'e' | b'E' | b'+' | b'-');
    let at = (1..bytes.len()).find(is_operator)?;
    let step = number(&text[at + 1..])?;
    Some((number(&text[..at])?, if bytes[at] == b'-' { -step } else { step }))
}

pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<Option<f64>> {
        let line = parse(&format!("m{{a=\"b c\"}} {text}"), 1).expect("a good line");
        line.values.iter().map(Given::float).collect()
    }

    #[test]
    fn short_notations() {
        assert_eq!(values("0+10x2 _ 7x1"), [Some(0.0), Some(10.0), Some(20.0), None, Some(7.0), Some(7.0)]);
        assert_eq!(
            values("1e2-1.5x1 _x2 {{sum:1 count:2}}+{{sum:1}}x1"),
            [Some(100.0), Some(98.5), None, None, None, None]
        );
        assert_eq!(values("0x2 -Inf"), [Some(0.0), Some(0.0), Some(0.0), Some(f64::NEG_INFINITY)]);
    }
}
