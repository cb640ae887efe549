//! Goal: a range query gives at each step what an instant query gives at that time.
//! Method: random series with gaps, stale markers and resets; a fixed list of expressions that covers the operators.

use std::collections::BTreeMap;

use model::{Labels, sample::STALE_NAN};
use promql::{
    engine::{Control, Engine, Options, TimeRange},
    parser::ParseOptions,
    testscript::MemorySource,
    value::Value,
};
use proptest::prelude::*;

const EXPRESSIONS: [&str; 38] = [
    "m",
    "m offset 20s",
    "m @ 100",
    "-m",
    "m * 2",
    "2 - m",
    "m > 3",
    "m > bool 3",
    "rate(m[1m])",
    "increase(m[45s] offset 10s)",
    "delta(m[2m])",
    "irate(m[90s])",
    "max_over_time(m[1m])",
    "quantile_over_time(0.7, m[1m])",
    "stddev_over_time(m[1m])",
    "max_over_time(rate(m[1m])[2m:20s])",
    "changes(m[2m])",
    "sum(m)",
    "sum by (a) (m)",
    "avg without (a) (m)",
    "count(m)",
    "min by (b) (m)",
    "stdvar(m)",
    "topk(2, m)",
    "bottomk by (a) (1, m)",
    "quantile(0.4, m)",
    "count_values(\"v\", m)",
    "m + m",
    "m / on (a, b) n",
    "m - on (a) group_left () sum by (a) (n)",
    "m and n",
    "m or n",
    "m unless on (b) n",
    "m == on (a, b) n",
    "label_replace(m, \"c\", \"$1\", \"a\", \"(.*)\")",
    "absent(m{a=\"1\"})",
    "scalar(n{a=\"1\",b=\"1\"}) + m",
    "clamp(m, scalar(n{a=\"1\",b=\"1\"}), 4)",
];

type Series = Vec<(u8, u8, Vec<Option<f64>>)>;

fn series() -> impl Strategy<Value = Series> {
    let value = prop_oneof![
        6 => (0_i32..8).prop_map(|value| Some(f64::from(value))),
        2 => Just(None),
        1 => Just(Some(STALE_NAN)),
    ];
    prop::collection::vec((0_u8..3, 0_u8..3, prop::collection::vec(value, 30)), 1..7)
}

fn store(series: &Series) -> MemorySource {
    let mut source = MemorySource::default();
    for (index, (a, b, values)) in series.iter().enumerate() {
        let name = if index % 3 == 2 { "n" } else { "m" };
        let labels = Labels::from_pairs([("__name__", name.to_owned()), ("a", a.to_string()), ("b", b.to_string())]);
        source.add(&labels, values.iter().enumerate().filter_map(|(at, value)| Some((at as i64 * 10_000, (*value)?))));
    }
    source
}

/// Labels as text and value, by bits.
type Vector = BTreeMap<String, u64>;

fn bits(value: f64) -> u64 {
    if value.is_nan() { u64::MAX } else { (value + 0.0).to_bits() }
}

fn instant(engine: &Engine, source: &MemorySource, text: &str, time: i64) -> Option<Vector> {
    let query = engine.parse(text).expect("the list holds good queries");
    let output = engine.instant(source, &query, time, &Control::default()).ok()?;
    match output.value {
        Value::Vector { samples, .. } => Some(
            samples
                .into_iter()
                .map(|sample| (sample.labels.to_string(), bits(sample.value.float().expect("only floats are loaded"))))
                .collect(),
        ),
        other => panic!("{text} gives a vector, not {other:?}"),
    }
}

fn check(delayed_name_removal: bool, series: &Series) -> Result<(), TestCaseError> {
    let engine = Engine::new(Options {
        delayed_name_removal,
        parse: ParseOptions::all(),
        lookback_ms: 35_000,
        ..Options::default()
    });
    let source = store(series);
    let range = TimeRange { start: -20_000, end: 350_000, step: 15_000 };
    for text in EXPRESSIONS {
        let query = engine.parse(text).expect("the list holds good queries");
        let times: Vec<i64> =
            (0..).map(|at| range.start + at * range.step).take_while(|time| *time <= range.end).collect();
        let singles: Vec<Option<Vector>> = times.iter().map(|time| instant(&engine, &source, text, *time)).collect();
        let Ok(output) = engine.range(&source, &query, range, &Control::default()) else {
            prop_assert!(singles.iter().any(Option::is_none), "{text} fails over the range only");
            continue;
        };
        let Value::Matrix(matrix) = output.value else { panic!("a range query gives a matrix") };
        for (time, single) in times.iter().zip(singles) {
            let at_time = matrix.iter().filter_map(|series| {
                let (_, value) = series.points().find(|(at, _)| at == time)?;
                Some((series.labels.to_string(), bits(value)))
            });
            prop_assert_eq!(Some(at_time.collect::<Vector>()), single, "{} at {}", text, time);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_range_query_is_many_instant_queries(series in series()) {
        check(false, &series)?;
        check(true, &series)?;
    }
}
