//! From lines to commands.

use std::fmt;

use crate::{
    engine::TimeRange,
    testscript::sequence::{self, SeriesLine, number},
};

/// A script that is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Clear {
        line: usize,
    },
    /// Step in milliseconds.
    Load {
        line: usize,
        step: i64,
        series: Vec<SeriesLine>,
        with_native_histograms: bool,
    },
    Eval(Eval),
}

#[derive(Clone, Debug)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) expression: String,
    pub(crate) time: EvalTime,
    pub(crate) expectations: Expectations,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum EvalTime {
    /// Milliseconds.
    Instant(i64),
    Range(TimeRange),
}

/// What a statement says about the result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectations {
    pub(crate) series: Vec<SeriesLine>,
    pub(crate) scalar: Option<f64>,
    pub(crate) string: Option<String>,
    /// An instant query that gives a range vector, with samples at these times.
    pub(crate) range_vector: Option<TimeRange>,
    pub(crate) remarks: Vec<Remark>,
}

/// An `expect` line about order, failure or annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) kind: RemarkKind,
    pub(crate) text: TextMatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemarkKind {
    Ordered,
    Fail,
    Warn,
    NoWarn,
    Info,
    NoInfo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextMatch {
    Any,
    Exact(String),
    Pattern(String),
}

impl Expectations {
    pub(crate) fn fails(&self) -> bool {
        self.has(RemarkKind::Fail)
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.has(RemarkKind::Ordered)
    }

    pub(crate) fn has(&self, kind: RemarkKind) -> bool {
        self.remarks.iter().any(|remark| remark.kind == kind)
    }
}

/// The lines of a script. A block ends at a blank line or a comment.
struct Lines<'s> {
    lines: std::iter::Enumerate<std::str::Lines<'s>>,
}

impl<'s> Lines<'s> {
    /// The next line and its number, trimmed.
    fn next(&mut self) -> Option<(usize, &'s str)> {
        self.lines.next().map(|(index, line)| (index + 1, line.trim()))
    }

    fn block(&mut self) -> Vec<(usize, &'s str)> {
        let mut block = Vec::new();
        while let Some(entry) = self.next().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            block.push(entry);
        }
        block
    }
}

pub(crate) fn parse(script: &str) -> Result<Vec<Command>, ScriptError> {
    let mut lines = Lines { lines: script.lines().enumerate() };
    let mut commands = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        commands.push(match word {
            "clear" => Command::Clear { line: number },
            "load" | "load_with_nhcb" => load(number, word == "load_with_nhcb", rest, &lines.block())?,
            _ if word.starts_with("eval") => Command::Eval(eval(number, word, rest.trim_start(), &lines.block())?),
            _ => return Err(ScriptError { line: number, what: format!("not a command: {word}") }),
        });
    }
    Ok(commands)
}

fn load(
    number: usize,
    with_native_histograms: bool,
    step: &str,
    block: &[(usize, &str)],
) -> Result<Command, ScriptError> {
    let step = milliseconds(step.trim(), number)?;
    let mut series = Vec::new();
    for (number, line) in block {
        series.push(sequence::parse(line, *number)?);
    }
    Ok(Command::Load { line: number, step, series, with_native_histograms })
}

fn eval(number: usize, word: &str, rest: &str, block: &[(usize, &str)]) -> Result<Eval, ScriptError> {
    let bad = || ScriptError {
        line: number,
        what: "expected \"instant at\" or \"range from ... to ... step ...\"".to_owned(),
    };
    let (time, expression) = if let Some(rest) = rest.strip_prefix("instant at ") {
        let (time, expression) = rest.split_once(char::is_whitespace).ok_or_else(bad)?;
        (EvalTime::Instant(milliseconds(time, number)?), expression)
    } else {
        let rest = rest.strip_prefix("range ").ok_or_else(bad)?;
        let (range, expression) = time_range(rest, number)?;
        (EvalTime::Range(range), expression)
    };
    let mut expectations = Expectations::default();
    for suffix in word.split('_').skip(1) {
        let kind = match suffix {
            "fail" => RemarkKind::Fail,
            "warn" => RemarkKind::Warn,
            "info" => RemarkKind::Info,
            "ordered" => RemarkKind::Ordered,
            _ => return Err(ScriptError { line: number, what: format!("not a command: {word}") }),
        };
        expectations.remarks.push(Remark { kind, text: TextMatch::Any });
    }
    for (number, line) in block {
        expect(*number, line, &mut expectations)?;
    }
    Ok(Eval { line: number, expression: expression.trim().to_owned(), time, expectations })
}

/// `from a to b step c`, and what follows.
fn time_range(text: &str, number: usize) -> Result<(TimeRange, &str), ScriptError> {
    let mut rest = text.trim_start();
    let mut part = |word: &str| -> Result<i64, ScriptError> {
        let bad = || ScriptError { line: number, what: format!("expected \"{word} <duration>\" in {text}") };
        let after = rest.strip_prefix(word).ok_or_else(bad)?.trim_start();
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        rest = after[end..].trim_start();
        milliseconds(&after[..end], number)
    };
    let range = TimeRange { start: part("from")?, end: part("to")?, step: part("step")? };
    Ok((range, rest))
}

fn expect(number: usize, line: &str, expectations: &mut Expectations) -> Result<(), ScriptError> {
    if let Some(value) = self::number(line) {
        expectations.scalar = Some(value);
    } else if let Some(text) = line.strip_prefix("expected_fail_message ") {
        expectations.remarks.push(Remark { kind: RemarkKind::Fail, text: TextMatch::Exact(text.trim().to_owned()) });
    } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
        expectations.remarks.push(Remark { kind: RemarkKind::Fail, text: TextMatch::Pattern(text.trim().to_owned()) });
    } else if let Some(rest) = line.strip_prefix("expect range vector ") {
        expectations.range_vector = Some(time_range(rest, number)?.0);
    } else if let Some(text) = line.strip_prefix("expect string ") {
        let text = crate::parser::parse(text.trim(), &crate::parser::ParseOptions::all());
        match text.map(|expr| expr.kind) {
            Ok(crate::ast::ExprKind::String(text)) => expectations.string = Some(text),
            _ => return Err(ScriptError { line: number, what: format!("not a string: {line}") }),
        }
    } else if let Some(rest) = line.strip_prefix("expect ") {
        expectations.remarks.push(remark(number, rest.trim_start())?);
    } else {
        expectations.series.push(sequence::parse(line, number)?);
    }
    Ok(())
}

fn remark(number: usize, text: &str) -> Result<Remark, ScriptError> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let kind = match word {
        "ordered" => RemarkKind::Ordered,
        "fail" => RemarkKind::Fail,
        "warn" => RemarkKind::Warn,
        "no_warn" => RemarkKind::NoWarn,
        "info" => RemarkKind::Info,
        "no_info" => RemarkKind::NoInfo,
        _ => return Err(ScriptError { line: number, what: format!("not an expectation: {text}") }),
    };
    let rest = rest.trim();
    let text = if let Some(message) = rest.strip_prefix("msg:") {
        TextMatch::Exact(message.trim().to_owned())
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        TextMatch::Pattern(pattern.trim().to_owned())
    } else {
        TextMatch::Any
    };
    Ok(Remark { kind, text })
}

/// `1h30m`, or a number of seconds.
pub(super) fn milliseconds(text: &str, line: usize) -> Result<i64, ScriptError> {
    if let Some(seconds) = number(text) {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let bad = || ScriptError { line, what: format!("not a duration: {text}") };
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let count: i64 = rest[..digits].parse().map_err(|_| bad())?;
        total += count
            * match &rest[digits..unit_end] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 7 * 86_400_000,
                "y" => 365 * 86_400_000,
                _ => return Err(bad()),
            };
        rest = &rest[unit_end..];
    }
    Ok(sign * total)
}
