//! Test scripts: the language in which Prometheus' own tests load series and state what an expression gives.
//!
//! Line oriented: `clear`, `load <step>` with series, `eval instant at <time> <expression>` and `eval range from <start> to <end>
//! step <step> <expression>` with what is expected.

mod compare;
mod helpers;
mod histogram;
mod script;
mod sequence;
mod storage;
mod variants;

pub use helpers::hasty_help;
pub use script::ScriptError;
pub use storage::MemorySource;

use std::collections::BTreeMap;

use model::{Labels, LabelsBuilder, METRIC_NAME};

use self::histogram::Classic;
use crate::{
    engine::{Control, Engine, Options, Query, TimeRange},
    histogram::FloatHistogram,
    parser::ParseOptions,
    source::Source,
    value::{QueryOutput, Value},
    value_text,
};
use compare::Verdict;
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

/// Where a script's series go, and what its expressions read.
pub trait ScriptStore {
    /// Forgets everything.
    fn clear(&mut self) -> Result<(), String>;

    /// Takes samples of a series, each kind in order of time, in milliseconds.
    fn load(
        &mut self,
        labels: &Labels,
        floats: Vec<(i64, f64)>,
        histograms: Vec<(i64, FloatHistogram)>,
    ) -> Result<(), String>;

    /// Takes start timestamps of samples that are there, as (time of the sample, start). A store need not keep them.
    fn load_start_times(&mut self, labels: &Labels, starts: Vec<(i64, i64)>) -> Result<(), String>;

    fn source(&self) -> &dyn Source;
}

/// Runs a script against a store in memory.
///
/// # Errors
/// When the script itself is malformed.
pub fn run(script: &str, engine: &Engine) -> Result<Vec<Outcome>, ScriptError> {
    run_on(script, engine, &mut MemorySource::default())
}

/// Runs a script against a store, which is cleared first.
///
/// # Errors
/// When the script itself is malformed, or the store fails.
pub fn run_on(script: &str, engine: &Engine, store: &mut dyn ScriptStore) -> Result<Vec<Outcome>, ScriptError> {
    let mut outcomes = Vec::new();
    store.clear().map_err(|what| ScriptError { line: 1, what })?;
    for command in script::parse(script)? {
        match command {
            Command::Clear { line } => store.clear().map_err(|what| ScriptError { line, what })?,
            Command::Load { line, step, series, with_native_histograms } => {
                let loaded = load_all(store, step, &series, with_native_histograms);
                loaded.map_err(|what| ScriptError { line, what })?;
            }
            Command::Eval(eval) => {
                let result = evaluate(engine, store.source(), &eval);
                outcomes.push(Outcome { line: eval.line, expression: eval.expression, result });
            }
        }
    }
    Ok(outcomes)
}

fn load_all(
    store: &mut dyn ScriptStore,
    step: i64,
    series: &[SeriesLine],
    with_native_histograms: bool,
) -> Result<(), String> {
    let (starts, samples): (Vec<_>, Vec<_>) = series.iter().partition(|line| line.start_times.is_some());
    samples.iter().try_for_each(|line| load(store, step, line))?;
    starts.iter().try_for_each(|line| load_start_times(store, step, line))?;
    if with_native_histograms { load_native_twins(store, step, series) } else { Ok(()) }
}

fn load(store: &mut dyn ScriptStore, step: i64, line: &SeriesLine) -> Result<(), String> {
    let at = |position: usize| position as i64 * step;
    let samples = || line.values.iter().enumerate();
    let floats = samples().filter_map(|(position, value)| Some((at(position), value.float()?))).collect();
    let histograms = samples().filter_map(|(position, value)| {
        let given = value.histogram()?;
        Some((at(position), given.histogram.clone()))
    });
    store.load(&line.labels, floats, histograms.collect())
}

fn load_start_times(store: &mut dyn ScriptStore, step: i64, line: &SeriesLine) -> Result<(), String> {
    let starts = line.start_times.iter().flatten().enumerate();
    let absolute = |(position, start): (usize, &Option<i64>)| {
        let time = position as i64 * step;
        Some((time, time + (*start)?))
    };
    store.load_start_times(&line.labels, starts.filter_map(absolute).collect())
}

/// What `load_with_nhcb` makes beyond the series it is given: of each classic histogram one with custom buckets.
fn load_native_twins(store: &mut dyn ScriptStore, step: i64, series: &[SeriesLine]) -> Result<(), String> {
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
        let histograms = times.map(|(at, classic)| (*at as i64 * step, classic.to_native())).collect();
        store.load(&labels, Vec::new(), histograms)?;
    }
    Ok(())
}

fn evaluate(engine: &Engine, source: &dyn Source, eval: &Eval) -> Verdict {
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
fn middle_of_range(engine: &Engine, source: &dyn Source, eval: &Eval, query: &Query, time: i64) -> Verdict {
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

fn run_instant(engine: &Engine, source: &dyn Source, query: &Query, time: i64) -> Result<QueryOutput, String> {
    engine.instant(source, query, time, &Control::default()).map_err(|error| error.to_string())
}

fn run_range(engine: &Engine, source: &dyn Source, query: &Query, range: TimeRange) -> Result<QueryOutput, String> {
    engine.range(source, query, range, &Control::default()).map_err(|error| error.to_string())
}
