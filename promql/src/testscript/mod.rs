//! Test scripts: the language in which Prometheus' own tests load series and state what an expression gives.
//!
//! Line oriented: `clear`, `load <step>` with series, `eval instant at <time> <expression>` and `eval range from <start> to <end>
//! step <step> <expression>` with what is expected. Native histograms and start timestamps are read but not stored yet, so
//! statements about them don't hold.

mod compare;
mod script;
mod sequence;
mod storage;
mod variants;

pub use script::ScriptError;
pub use storage::MemorySource;

use model::{Labels, LabelsBuilder, METRIC_NAME};

use crate::{
    engine::{Control, Engine, Options, Query, TimeRange},
    parser::ParseOptions,
    value::{QueryOutput, Value},
};
use compare::Verdict;
use script::{Command, Eval, EvalTime};
use sequence::Given;

/// What became of one `eval` statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Line of the statement in the script, from 1.
    pub line: usize,
    pub expression: String,
    /// What did not hold.
    pub result: Result<(), String>,
    /// Whether it reads series with native histograms or start timestamps, which are not stored yet.
    pub is_ahead: bool,
}

/// The settings under which the scripts' expectations were written.
pub fn options() -> Options {
    Options {
        max_samples: 10_000,
        delayed_name_removal: true,
        type_and_unit_labels: true,
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
                for series in series {
                    let at = |position: usize| position as i64 * step;
                    let samples = series.values.iter().enumerate();
                    source.add(
                        &series.labels,
                        samples.filter_map(|(position, value)| Some((at(position), value.float()?))),
                    );
                    if series.values.contains(&Given::Histogram) || series.has_start_times {
                        source.mark_incomplete(&series.labels);
                    }
                    if with_native_histograms {
                        source.mark_incomplete(&native_twin(&series.labels));
                    }
                }
            }
            Command::Eval(eval) => {
                let result = evaluate(engine, &source, &eval);
                let is_ahead = source.take_met_incomplete();
                outcomes.push(Outcome { line: eval.line, expression: eval.expression, result, is_ahead });
            }
        }
    }
    Ok(outcomes)
}

/// The series that `load_with_nhcb` makes, beyond what it is given, of the buckets of a classic histogram.
fn native_twin(labels: &Labels) -> Labels {
    let name = labels.metric_name().unwrap_or_default();
    let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    LabelsBuilder::from_labels(labels).set(METRIC_NAME, base).remove("le").build()
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
    compare::vector(
        eval,
        series.iter().filter_map(|series| {
            let (_, value) = series.points().find(|(at, _)| *at == time)?;
            Some((series.labels.clone(), value))
        }),
    )
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
