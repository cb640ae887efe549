//! Test scripts: the language in which Prometheus' own tests load series and state what an expression gives.
//!
//! Line oriented: `clear`, `load <step>` with series, `eval instant at <time> <expression>` and `eval range from <start> to <end>
//! step <step> <expression>` with what is expected.

mod compare;
mod histogram;
mod script;
mod sequence;
mod storage;
mod variants;

pub use script::ScriptError;
pub use storage::MemorySource;

use std::collections::BTreeMap;

use model::{Labels, LabelsBuilder, METRIC_NAME};

use crate::{
    engine::{Control, Engine, Options, Query, TimeRange},
    parser::ParseOptions,
    value::{QueryOutput, Value},
    value_text,
};
use compare::Verdict;
use histogram::Classic;
use script::{Command, Eval, EvalTime};
use sequence::SeriesLine;

/// What became of one `eval` statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Line of the statement in the script, from 1.
    pub line: usize,
    pub expression: String,
    /// What did not hold.
    pub result: Result<(), String>,
}

/// The settings under which the scripts' expectations were written.
pub fn options() -> Options {
    Options {
        max_samples: 10_000,
        delayed_name_removal: true,
        type_and_unit_labels: true,
        use_start_timestamps: true,
        parse: ParseOptions::all(),
        ..Options::default()
    }
}

/// Runs a script against a store in memory.
///
/// # Errors
/// When the script itself is malformed.
pub fn run(script: &str, engine: &Engine) -> Result<Vec<Outcome>, ScriptError> {
    let mut source = MemorySource::default();
    let mut outcomes = Vec::new();
    for command in script::parse(script)? {
        match command {
            Command::Clear => source = MemorySource::default(),
            Command::Load { step, series, with_native_histograms } => {
                let (starts, samples): (Vec<_>, Vec<_>) = series.iter().partition(|line| line.start_times.is_some());
                samples.iter().for_each(|line| load(&mut source, step, line));
                starts.iter().for_each(|line| load_start_times(&mut source, step, line));
                if with_native_histograms {
                    load_native_twins(&mut source, step, &series);
                }
            }
            Command::Eval(eval) => {
                let result = evaluate(engine, &source, &eval);
                outcomes.push(Outcome { line: eval.line, expression: eval.expression, result });
            }
        }
    }
    Ok(outcomes)
}

fn load(source: &mut MemorySource, step: i64, line: &SeriesLine) {
    let at = |position: usize| position as i64 * step;
    let samples = || line.values.iter().enumerate();
    source.add(&line.labels, samples().filter_map(|(position, value)| Some((at(position), value.float()?))));
    let histograms = samples().filter_map(|(position, value)| {
        let given = value.histogram()?;
        Some((at(position), given.histogram.clone()))
    });
    source.add_histograms(&line.labels, histograms);
}

fn load_start_times(source: &mut MemorySource, step: i64, line: &SeriesLine) {
    let starts = line.start_times.iter().flatten().enumerate();
    let absolute = |(position, start): (usize, &Option<i64>)| {
        let time = position as i64 * step;
        Some((time, time + (*start)?))
    };
    source.set_start_times(&line.labels, starts.filter_map(absolute));
}

/// What `load_with_nhcb` makes beyond the series it is given: of each classic histogram one with custom buckets.
fn load_native_twins(source: &mut MemorySource, step: i64, series: &[SeriesLine]) {
    let mut twins: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for SeriesLine { labels, values, .. } in series {
        let name = labels.metric_name().unwrap_or_default();
        let Some((base, part)) = name.rsplit_once('_').filter(|(_, part)| ["bucket", "count", "sum"].contains(part))
        else {
            continue;
        };
        let bound = labels.get("le").and_then(value_text::parse);
        if part == "bucket" && bound.is_none() {
            continue;
        }
        let twin = LabelsBuilder::from_labels(labels).set(METRIC_NAME, base).remove("le").build();
        let times = twins.entry(twin).or_default();
        for (position, value) in values.iter().enumerate() {
            let Some(value) = value.float() else { continue };
            let classic = times.entry(position).or_default();
            match (part, bound) {
                ("count", _) => classic.count = Some(value),
                ("sum", _) => classic.sum = value,
                (_, Some(bound)) => classic.buckets.push((bound, value)),
                (_, None) => {}
            }
        }
    }
    for (labels, times) in twins {
        let times = times.iter().filter(|(_, classic)| !classic.buckets.is_empty());
        source.add_histograms(&labels, times.map(|(at, classic)| (*at as i64 * step, classic.to_native())));
    }
}

fn evaluate(engine: &Engine, source: &MemorySource, eval: &Eval) -> Verdict {
    match eval.time {
        EvalTime::Range(range) => compare::output(
            eval,
            query(engine, &eval.expression).and_then(|query| run_range(engine, source, &query, range)),
        ),
        EvalTime::Instant(time) => {
            let parsed = match query(engine, &eval.expression) {
                Ok(parsed) => parsed,
                Err(error) => return compare::output(eval, Err(error)),
            };
            compare::output(eval, run_instant(engine, source, &parsed, time))?;
            for (pinned, at) in variants::pinned(&parsed, time) {
                let context = |text: String| format!("with selectors pinned to {time} ms, at {at} ms: {text}");
                compare::output(eval, run_instant(engine, source, &pinned, at)).map_err(context)?;
                middle_of_range(engine, source, eval, &pinned, at).map_err(context)?;
            }
            middle_of_range(engine, source, eval, &parsed, time)
        }
    }
}

/// An instant query must agree with the same time of a range query.
fn middle_of_range(engine: &Engine, source: &MemorySource, eval: &Eval, query: &Query, time: i64) -> Verdict {
    const MINUTE: i64 = 60_000;
    if eval.expectations.fails() || !variants::fits_range(query) {
        return Ok(());
    }
    let range = TimeRange { start: time - MINUTE, end: time + MINUTE, step: MINUTE };
    let output = run_range(engine, source, query, range).map_err(|error| format!("as a range query: {error}"))?;
    let Value::Matrix(series) = &output.value else { return Err("a range query gives a matrix".to_owned()) };
    if !series.is_sorted_by(|left, right| left.labels < right.labels) {
        return Err("as a range query: series are not sorted by labels".to_owned());
    }
    if eval.expectations.is_ordered() {
        return Ok(());
    }
    compare::vector(eval, series.iter().filter_map(|series| Some((series.labels.clone(), compare::at(series, time)?))))
        .map_err(|text| format!("in the middle of a range query: {text}"))
}

fn query(engine: &Engine, text: &str) -> Result<Query, String> {
    engine.parse(text).map_err(|error| error.to_string())
}

fn run_instant(engine: &Engine, source: &MemorySource, query: &Query, time: i64) -> Result<QueryOutput, String> {
    engine.instant(source, query, time, &Control::default()).map_err(|error| error.to_string())
}

fn run_range(engine: &Engine, source: &MemorySource, query: &Query, range: TimeRange) -> Result<QueryOutput, String> {
    engine.range(source, query, range, &Control::default()).map_err(|error| error.to_string())
}
