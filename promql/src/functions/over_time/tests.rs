use proptest::prelude::*;

use super::*;
use crate::exec::{batch::Batch, grid::Grid};

const FUNCTIONS: [&str; 24] = [
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "first_over_time",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "mad_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "quantile_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

fn run(kernel: &mut dyn Kernel, samples: Samples<'_>, windows: &Windows) -> Vec<Option<f64>> {
    let mut batch = Batch::new(windows.len());
    kernel.run(samples, windows, &mut batch.push(0));
    (0..windows.len()).map(|step| batch.row(0).get(step)).collect()
}

fn kernel(function: RangeFunction) -> Box<dyn Kernel> {
    function.kernel(vec![Scalar::Constant(0.3)])
}

/// Values as counters and gauges have them, with the odd NaN, infinity, reset and tie.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-50_i32..50).prop_map(f64::from),
        6 => -1e3..1e3_f64,
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e300), Just(-1e300), Just(-0.0)],
    ]
}

/// Values whose sums are exact, or just not.
fn whole_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => (-50_i32..50).prop_map(f64::from),
        1 => prop_oneof![Just(-0.0), Just(2_f64.powi(52)), Just(2_f64.powi(53) - 1.0)],
    ]
}

fn series() -> impl Strategy<Value = (Vec<i64>, Vec<f64>)> {
    let mixed = prop::collection::vec((1_i64..40, value()), 0..120);
    let whole = prop::collection::vec((1_i64..40, whole_value()), 0..120);
    prop_oneof![mixed, whole].prop_map(|samples| {
        let mut time = 0;
        samples
            .into_iter()
            .map(|(gap, value)| {
                time += gap;
                (time, value)
            })
            .unzip()
    })
}

/// Equal numbers have equal bits but for the sign of zero, which order statistics leave to chance.
fn agree(left: Option<f64>, right: Option<f64>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => left == right || (left.is_nan() && right.is_nan()),
        (left, right) => left.is_none() && right.is_none(),
    }
}

proptest! {
    /// Goal: a kernel that slides over many windows gives what it gives on each window alone.
    #[test]
    fn sliding_agrees_with_each_window_alone(
        (times, values) in series(),
        start in -100_i64..3000,
        step in 1_i64..200,
        count in 1_usize..60,
        range in 1_i64..900,
    ) {
        let samples = Samples { times: &times, values: &values, start_times: &[], histograms: &[] };
        let windows = Windows { grid: Grid { start, step, count }, at: None, offset: 0, range };
        for name in FUNCTIONS {
            let function = RangeFunction::by_name(name).expect("all of these exist");
            let all = run(kernel(function).as_mut(), samples, &windows);
            for (at, found) in all.iter().enumerate() {
                let alone = Windows { grid: Grid::instant(windows.grid.time(at)), ..windows };
                let expected = run(kernel(function).as_mut(), samples, &alone)[0];
                prop_assert!(
                    agree(*found, expected),
                    "{name} at step {at}: {found:?}, alone {expected:?}"
                );
            }
        }
    }
}

#[test]
fn a_kernel_forgets_the_series_before() {
    for name in FUNCTIONS {
        let function = RangeFunction::by_name(name).expect("all of these exist");
        let windows = Windows { grid: Grid { start: 10, step: 10, count: 5 }, at: None, offset: 0, range: 60 };
        let first =
            Samples { times: &[1, 11, 21, 31], values: &[5.0, 1.0, 7.0, 2.0], start_times: &[], histograms: &[] };
        let second =
            Samples { times: &[8, 18, 28, 38], values: &[1.0, 2.0, 2.0, 9.0], start_times: &[], histograms: &[] };
        let mut used = kernel(function);
        run(used.as_mut(), first, &windows);
        // Of the same times as the one before, too, where what was found for it is used again.
        let third = Samples { values: &[3.0, f64::NAN, 1.0, 0.5], ..second };
        for next in [second, third, first] {
            let fresh = run(kernel(function).as_mut(), next, &windows);
            let same = run(used.as_mut(), next, &windows).iter().zip(&fresh).all(|(used, fresh)| agree(*used, *fresh));
            assert!(same, "{name}");
        }
    }
}
