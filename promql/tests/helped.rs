//! Goal: what a query answers does not depend on how many threads work for it, and once it has ended none does.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use model::Labels;
use promql::{
    budget::{BudgetError, QueryBudget, QueryMonitor},
    engine::{Control, Engine, Options, TimeRange},
    error::QueryError,
    parser::ParseOptions,
    source::{SelectRequest, SeriesReader, SeriesStream, Source, SourceError, Tile},
    testscript::{self, MemorySource},
    value::{QueryOutput, Value},
};
use proptest::prelude::*;

const RANGE: TimeRange = TimeRange { start: 0, end: 300_000, step: 15_000 };

fn engine(is_helped: bool, options: Options) -> Engine {
    let help = is_helped.then(testscript::hasty_help);
    Engine::new(Options { parse: ParseOptions::all(), help, ..options })
}

fn store(series: &[Vec<Option<u32>>]) -> MemorySource {
    let mut source = MemorySource::default();
    for (at, values) in series.iter().enumerate() {
        let name = ["m", "m_total", "n"][at % 3];
        let labels = Labels::from_pairs([
            ("__name__", name.to_owned()),
            ("i", format!("{at:03}")),
            ("job", format!("job-{}", at % 4)),
        ]);
        let samples = values.iter().enumerate();
        // Thirds are rounded, so that sums show the order of their parts.
        source.add(&labels, samples.filter_map(|(at, value)| Some((at as i64 * 10_000, f64::from((*value)?) / 3.0))));
    }
    source
}

/// Everything that a client sees, values by their bits.
fn seen(result: Result<QueryOutput, QueryError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(QueryOutput { value: Value::Matrix(matrix), annotations, .. }) => {
            let bits = |value: &f64| value.to_bits();
            let series = matrix.iter().map(|series| {
                (series.labels.to_string(), series.times.clone(), series.values.iter().map(bits).collect::<Vec<_>>())
            });
            format!("{:?} {annotations:?}", series.collect::<Vec<_>>())
        }
        Ok(output) => format!("{:?} {:?}", output.value, output.annotations),
    }
}

const EXPRESSIONS: [&str; 16] = [
    "m",
    "sum(m)",
    "avg by (job) (rate(m_total[1m]))",
    "rate({__name__=~\"m.*\"}[45s])",
    "increase(m[1m])",
    "stddev_over_time(m[50s] offset 10s)",
    "quantile_over_time(2, m[1m])",
    "m + on (job) group_left () sum by (job) (n)",
    "sum(rate(m[1m])) / count(rate(m[2m]))",
    "topk(3, m)",
    "limitk(4, m)",
    "sum(timestamp(m))",
    "count_values(\"v\", m)",
    "max_over_time(sum(m)[1m:20s])",
    "m smoothed",
    "increase(m_total[1m] anchored)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn answers_do_not_depend_on_help(
        series in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, 0_u32..50), 31), 1..40),
    ) {
        let source = store(&series);
        let (alone, helped) = (engine(false, Options::default()), engine(true, Options::default()));
        for text in EXPRESSIONS {
            let query = alone.parse(text).expect("the list holds good queries");
            let range = |engine: &Engine| seen(engine.range(&source, &query, RANGE, &Control::default()));
            prop_assert_eq!(range(&alone), range(&helped), "{}", text);
            let instant = |engine: &Engine| seen(engine.instant(&source, &query, 150_000, &Control::default()));
            prop_assert_eq!(instant(&alone), instant(&helped), "{} at once", text);
        }
    }
}

fn many() -> MemorySource {
    store(&(0..300_u32).map(|series| (0..31).map(|at| Some(series + at)).collect()).collect::<Vec<_>>())
}

#[test]
fn a_helped_query_keeps_its_limits() {
    let source = many();
    let run = |options, control: &Control, text: &str| {
        let engine = engine(true, options);
        let query = engine.parse(text).expect("a good query");
        engine.range(&source, &query, RANGE, control)
    };
    let options = Options { memory_bytes_max: 20_000, ..Options::default() };
    let error = run(options, &Control::default(), "m").expect_err("it holds more");
    assert!(matches!(error, QueryError::Budget(BudgetError::TooMuchMemory { limit: 20_000 })), "{error}");
    let late = Control { deadline: Some(Instant::now()), ..Control::default() };
    let error = run(Options::default(), &late, "sum(m)").expect_err("it is late");
    assert!(matches!(error, QueryError::Budget(BudgetError::TimedOut)), "{error}");
    let control = Control { monitor: QueryMonitor::default(), ..Control::default() };
    let output = run(Options::default(), &control, "sum(rate(m_total[1m]))").expect("within the limits");
    assert_eq!(output.statistics.samples_read, 100 * 31);
    drop(output);
    assert_eq!(control.monitor.bytes(), 0, "everything has been given back");
}

/// A selection of many series that does something else than to read at one of them.
struct Odd {
    at: fn(usize) -> Result<(), SourceError>,
    reading: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct OddStream {
    at: fn(usize) -> Result<(), SourceError>,
    reading: Arc<AtomicUsize>,
}

const ODD_SERIES: usize = 64;

impl Source for Odd {
    fn select<'s>(
        &'s self,
        _request: &SelectRequest<'_>,
        _budget: &QueryBudget,
    ) -> Result<Box<dyn SeriesStream + 's>, SourceError> {
        Ok(Box::new(OddStream { at: self.at, reading: self.reading.clone() }))
    }
}

impl SeriesStream for OddStream {
    fn series_count(&self) -> usize {
        ODD_SERIES
    }

    fn labels(&self, series: usize) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("i", series.to_string())])
    }

    fn next_batch(&mut self, _tile: &mut Tile) -> Result<bool, SourceError> {
        unreachable!("there are readers")
    }

    fn reader(&self) -> Option<Box<dyn SeriesReader>> {
        Some(self.twin())
    }
}

impl SeriesReader for OddStream {
    fn read_next(&mut self, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        let Some(next) = series.next() else { return Ok(false) };
        self.reading.fetch_add(1, SeqCst);
        let odd = (self.at)(next);
        self.reading.fetch_sub(1, SeqCst);
        odd?;
        tile.push(0, next as f64);
        tile.finish_series(next as u32);
        Ok(true)
    }

    fn twin(&self) -> Box<dyn SeriesReader> {
        Box::new(self.clone())
    }
}

fn ask(source: &Odd) -> Result<QueryOutput, QueryError> {
    let engine = engine(true, Options::default());
    let query = engine.parse("sum(m)").expect("a good query");
    engine.range(source, &query, RANGE, &Control::default())
}

#[test]
fn the_first_failing_series_is_the_one_named() {
    let at = |series: usize| match series {
        20 => {
            thread::sleep(Duration::from_millis(20));
            Err(SourceError::Storage("series 20 is damaged".to_owned()))
        }
        21.. => Err(SourceError::Storage("a later one is".to_owned())),
        _ => Ok(()),
    };
    for _ in 0..20 {
        let source = Odd { at, reading: Arc::default() };
        assert_eq!(ask(&source).expect_err("damaged").to_string(), "series 20 is damaged");
        assert_eq!(source.reading.load(SeqCst), 0, "nothing works for it any more");
    }
}

#[test]
fn a_panic_of_any_thread_ends_the_query_with_one() {
    let at = |series: usize| {
        assert!(series != 30, "a mistake of the source");
        thread::sleep(Duration::from_millis(1));
        Ok(())
    };
    for _ in 0..20 {
        let source = Odd { at, reading: Arc::default() };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&source)));
        assert!(result.is_err(), "no answer without a series");
    }
}
