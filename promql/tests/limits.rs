//! A query is stopped by name at each of its bounds, and streams instead of holding what it doesn't need to hold.

use std::time::Instant;

use model::Labels;
use promql::{
    budget::{BudgetError, QueryMonitor},
    engine::{Control, Engine, Options, TimeRange},
    error::QueryError,
    parser::ParseOptions,
    testscript::MemorySource,
    value::{QueryOutput, Value},
};

const SERIES: usize = 2000;
const SAMPLES: i64 = 100;
const RANGE: TimeRange = TimeRange { start: 0, end: (SAMPLES - 1) * 10_000, step: 10_000 };

fn store() -> MemorySource {
    let mut source = MemorySource::default();
    for series in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "m_total".to_owned()), ("i", format!("{series:05}"))]);
        source.add(&labels, (0..SAMPLES).map(|at| (at * 10_000, (at * 3) as f64)));
    }
    source
}

fn range(options: Options, control: &Control, text: &str) -> Result<QueryOutput, QueryError> {
    let engine = Engine::new(Options { parse: ParseOptions::all(), ..options });
    engine.range(&store(), &engine.parse(text)?, RANGE, control)
}

fn refusal(options: Options, control: &Control, text: &str) -> BudgetError {
    match range(options, control, text) {
        Err(QueryError::Budget(error)) => error,
        other => panic!("{text} is stopped by its budget, not {other:?}"),
    }
}

#[test]
fn too_many_samples_are_refused_but_not_for_what_streams() {
    let options = || Options { max_samples: 120_000, ..Options::default() };
    assert_eq!(refusal(options(), &Control::default(), "m_total"), BudgetError::TooManySamples);
    let output = range(options(), &Control::default(), "sum(rate(m_total[1m]))").expect("it never holds all of them");
    assert_eq!(output.statistics.samples_read, SERIES * SAMPLES as usize);
    assert!(output.statistics.samples_peak < 120_000, "{:?}", output.statistics);
}

#[test]
fn too_much_memory_is_refused_with_the_limit() {
    let options = Options { memory_bytes_max: 2 << 20, ..Options::default() };
    let error = refusal(options, &Control::default(), "m_total");
    assert_eq!(error, BudgetError::TooMuchMemory { limit: 2 << 20 });
    assert!(error.to_string().contains("2097152 bytes"), "{error}");
}

#[test]
fn an_aggregation_holds_little_however_many_series_it_reads() {
    let output = range(Options::default(), &Control::default(), "sum(m_total)").expect("within the limits");
    assert!(output.statistics.bytes_peak < 3 << 20, "{:?}", output.statistics);
}

#[test]
fn time_and_cancel_stop_a_query() {
    let late = Control { deadline: Some(Instant::now()), ..Control::default() };
    assert_eq!(refusal(Options::default(), &late, "m_total"), BudgetError::TimedOut);
    let canceled = Control { monitor: QueryMonitor::default(), ..Control::default() };
    canceled.monitor.cancel();
    assert_eq!(refusal(Options::default(), &canceled, "m_total"), BudgetError::Canceled);
}

#[test]
fn a_subquery_of_too_many_steps_is_refused_before_anything_grows() {
    let engine = Engine::default();
    let query = engine.parse("max_over_time(m_total[10y:1ms])").expect("a good query");
    let error = engine.instant(&store(), &query, 0, &Control::default()).expect_err("three hundred billion steps");
    assert!(error.to_string().contains("widen its step"), "{error}");
    let small = Engine::new(Options { memory_bytes_max: 1 << 20, ..Options::default() });
    let query = small.parse("max_over_time(m_total[1d:1s])").expect("a good query");
    let error = small.instant(&store(), &query, 0, &Control::default()).expect_err("a row of it is above the limit");
    assert!(matches!(error, QueryError::Budget(BudgetError::TooMuchMemory { .. })), "{error}");
}

#[test]
fn a_selection_that_stands_twice_is_read_once() {
    let text = "sum(rate(m_total[1m])) / sum(rate(m_total[3m]) + m_total)";
    let output = range(Options::default(), &Control::default(), text).expect("within the limits");
    assert_eq!(output.statistics.samples_read, SERIES * SAMPLES as usize);
}

/// Goal: the deepest query that the parser lets through doesn't overflow the stack of a thread with 2 MiB.
#[test]
fn the_deepest_query_fits_the_stack() {
    let shapes: [fn(usize) -> String; 4] = [
        |depth| format!("{}m_total{}", "abs(".repeat(depth), ")".repeat(depth)),
        |depth| format!("m_total{}", " + m_total".repeat(depth)),
        |depth| format!("{}m_total{}", "sum(".repeat(depth), ")".repeat(depth)),
        |depth| format!("{}m_total{}", "max_over_time(".repeat(depth), "[1m:30s])".repeat(depth)),
    ];
    let run = move || {
        let engine = Engine::default();
        let mut source = MemorySource::default();
        source.add(&Labels::from_pairs([("__name__", "m_total")]), (0..10).map(|at| (at * 10_000, 1.0)));
        for shape in shapes {
            let deepest = (1..600).rev().find_map(|depth| engine.parse(&shape(depth)).ok());
            let query = deepest.expect("one call deep is always possible");
            engine.instant(&source, &query, 60_000, &Control::default()).expect("a plain query");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread").join().expect("no overflow");
}

#[test]
fn a_scalar_over_a_range_and_bad_ranges() {
    let output = range(Options::default(), &Control::default(), "1 + 1").expect("a plain query");
    let Value::Matrix(matrix) = output.value else { panic!("a range query gives a matrix") };
    assert_eq!((matrix.len(), matrix[0].values.len()), (1, SAMPLES as usize));
    let engine = Engine::default();
    let query = engine.parse("m_total[5m]").expect("a good query");
    let error = engine.range(&store(), &query, RANGE, &Control::default()).expect_err("a range vector over a range");
    assert!(error.to_string().contains("invalid expression type \"range vector\""), "{error}");
    let backwards = TimeRange { start: 1, end: 0, step: 1 };
    let query = engine.parse("m_total").expect("a good query");
    assert!(matches!(engine.range(&store(), &query, backwards, &Control::default()), Err(QueryError::BadQuery(_))));
}
