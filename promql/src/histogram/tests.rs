use std::collections::BTreeMap;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, ResetHint, bounds::upper_bound};
use proptest::{collection::btree_map, prelude::*};

use super::*;

/// Whole numbers, so that sums are exact in any order.
fn side() -> impl Strategy<Value = Vec<(i32, f64)>> {
    btree_map(-6..9i32, 1..50u32, 0..8)
        .prop_map(|side| side.into_iter().map(|(number, count)| (number, f64::from(count))).collect())
}

prop_compose! {
    fn exponential()(
        schema in 0..4i32,
        threshold in prop_oneof![Just(0.0), Just(0.001), Just(0.3), Just(1.0)],
        zero_count in 0..9u32,
        positive in side(),
        negative in side(),
    ) -> FloatHistogram {
        let is_outside = |(number, _): &(i32, f64)| upper_bound(schema, &[], *number) > threshold;
        let (positive, negative): (Vec<_>, Vec<_>) = (
            positive.into_iter().filter(is_outside).collect(),
            negative.into_iter().filter(is_outside).collect(),
        );
        let zero_count = f64::from(zero_count);
        let count = zero_count + positive.iter().chain(&negative).map(|bucket| bucket.1).sum::<f64>();
        FloatHistogram {
            schema,
            zero_threshold: threshold,
            zero_count,
            count,
            sum: count * 2.0,
            positive,
            negative,
            ..FloatHistogram::default()
        }
    }
}

prop_compose! {
    fn custom()(bounds in btree_map(1..20i32, Just(()), 1..5), counts in proptest::collection::vec(0..9u32, 6)) -> FloatHistogram {
        let custom_values: Arc<[f64]> = bounds.into_keys().map(f64::from).collect();
        let counts = counts.into_iter().take(custom_values.len() + 1).map(f64::from);
        let positive: Vec<_> = (0..).zip(counts).filter(|(_, count)| *count != 0.0).collect();
        let count = positive.iter().map(|bucket| bucket.1).sum();
        FloatHistogram { schema: CUSTOM_BUCKETS_SCHEMA, count, sum: count * 3.0, positive, custom_values, ..FloatHistogram::default() }
    }
}

fn any_histogram() -> impl Strategy<Value = FloatHistogram> {
    prop_oneof![exponential(), custom()]
}

/// What lies in buckets, and how much of it up to each bound that both histograms have.
fn in_buckets(histogram: &FloatHistogram) -> f64 {
    histogram.buckets().map(|bucket| bucket.count).sum()
}

proptest! {
    /// Whatever schemas, thresholds and bounds meet, no observation comes or goes.
    #[test]
    fn a_sum_has_all_observations_of_both(mut left in any_histogram(), right in any_histogram()) {
        let before = left.clone();
        match left.add(&right) {
            Ok(_) => {
                prop_assert_eq!(left.count, before.count + right.count);
                // Two of differing resolution and threshold may count some near the threshold twice, as the reference does.
                if before.schema == right.schema {
                    prop_assert_eq!(in_buckets(&left), left.count);
                }
                prop_assert!(left.positive.is_sorted_by_key(|bucket| bucket.0));
                prop_assert!(left.negative.is_sorted_by_key(|bucket| bucket.0));
            }
            Err(Incompatible) => prop_assert_ne!(left.uses_custom_buckets(), right.uses_custom_buckets()),
        }
    }

    #[test]
    fn what_is_added_can_be_taken_away(left in exponential(), mut right in exponential()) {
        // Of one layout; with others the sum is coarser than its parts.
        right.schema = left.schema;
        right.zero_threshold = left.zero_threshold;
        let is_outside = |(number, _): &(i32, f64)| upper_bound(left.schema, &[], *number) > left.zero_threshold;
        right.positive.retain(is_outside);
        right.negative.retain(is_outside);
        let mut sum = left.clone();
        sum.add(&right).expect("both are exponential");
        prop_assert!(!sum.is_reset_after(&left));
        sum.subtract(&right).expect("both are exponential");
        sum.drop_empty_buckets();
        prop_assert_eq!(sum, left);
    }

    /// A compensated sum of whole numbers is the plain one.
    #[test]
    fn compensated_sums_are_sums(parts in proptest::collection::vec(exponential(), 1..6), is_mean in any::<bool>()) {
        let mut sum = HistogramSum::of(&parts[0], is_mean);
        let mut plain = parts[0].clone();
        for part in &parts[1..] {
            sum.add(part).expect("all are exponential");
            plain.add(part).expect("all are exponential");
        }
        plain.drop_empty_buckets();
        let expected = if is_mean { plain.divided_by(parts.len() as f64) } else { plain };
        prop_assert_eq!(sum.value(), expected);
    }

    #[test]
    fn a_histogram_that_lost_something_was_reset(histogram in any_histogram(), at in any::<prop::sample::Index>()) {
        prop_assert!(!histogram.is_reset_after(&histogram));
        prop_assume!(!histogram.positive.is_empty());
        let mut less = histogram.clone();
        let at = at.index(less.positive.len());
        less.positive[at].1 -= 1.0;
        prop_assert!(less.is_reset_after(&histogram), "also where the count of all is the same");
        less.reset_hint = ResetHint::NotReset;
        prop_assert!(!less.is_reset_after(&histogram), "who made it knows better");
    }

    /// Trimming from both sides leaves all that was there, and fractions say the same.
    #[test]
    fn trimmed_parts_make_the_whole(histogram in exponential(), at in -40.0..40.0f64) {
        prop_assume!(histogram.count > 0.0);
        let (below, above) = (histogram.trimmed(at, true), histogram.trimmed(at, false));
        prop_assert!((below.count + above.count - histogram.count).abs() < 1e-6);
        let (share, _) = fraction(f64::NEG_INFINITY, at, &histogram);
        let holding = histogram.buckets().filter(|bucket| bucket.count > 0.0 && bucket.lower < at && at < bucket.upper);
        if holding.count() > 1 {
            // The zero bucket reaches into another one: trimming cuts both, a fraction ends in the first.
            prop_assert!(share * histogram.count <= below.count + 1e-6);
            return Ok(());
        }
        prop_assert!((share * histogram.count - below.count).abs() < 1e-6, "{} and {}", share * histogram.count, below.count);
    }

    #[test]
    fn quantiles_rise(histogram in any_histogram(), low in 0.0..1.0f64, high in 0.0..1.0f64) {
        prop_assume!(histogram.count > 0.0);
        let (low, high) = (low.min(high), low.max(high));
        let value = |q| quantile(q, &histogram).0;
        prop_assert!(value(low) <= value(high) + 1e-9, "{} and {}", value(low), value(high));
    }
}

#[test]
fn integer_histograms_come_as_floats() {
    let spans = vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }];
    let counts = Counts::Integer { count: 9, zero_count: 2, positive: vec![1, -1, 6], negative: vec![] };
    let histogram = model::Histogram { counts, positive_spans: spans, sum: 4.5, ..model::Histogram::default() };
    let float = FloatHistogram::from(&histogram);
    assert_eq!(float.positive, [(-1, 1.0), (4, 6.0)], "a bucket without anything in it is left out");
    assert_eq!((float.count, float.zero_count, float.sum), (9.0, 2.0, 4.5));
    assert_eq!(float.to_string(), "{count:9, sum:4.5, [-0,0]:2, (0.25,0.5]:1, (8,16]:6}");
}

#[test]
fn bounds_that_only_one_has_go() {
    let histogram = |bounds: &[f64], counts: &[f64]| FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        positive: (0..).zip(counts.iter().copied()).collect(),
        custom_values: bounds.into(),
        ..FloatHistogram::default()
    };
    let mut sum = histogram(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0]);
    let combined = sum.add(&histogram(&[2.0, 3.0], &[10.0, 20.0, 30.0])).expect("both are custom");
    assert!(combined.bounds_reconciled);
    assert_eq!((&sum.custom_values[..], sum.positive), (&[2.0][..], vec![(0, 13.0), (1, 57.0)]));
}

#[test]
fn the_zero_bucket_grows_to_the_end_of_a_bucket_that_it_would_cut() {
    let wide = FloatHistogram { zero_threshold: 0.6, zero_count: 1.0, ..FloatHistogram::default() };
    let mut fine = FloatHistogram { positive: vec![(-1, 4.0), (0, 2.0), (3, 1.0)], ..FloatHistogram::default() };
    fine.add(&wide).expect("both are exponential");
    assert_eq!((fine.zero_threshold, fine.zero_count, fine.positive), (1.0, 7.0, vec![(3, 1.0)]));
}

#[test]
fn what_is_known_of_resets_after_a_sum() {
    let hinted = |reset_hint| FloatHistogram { reset_hint, ..FloatHistogram::default() };
    let expected = BTreeMap::from([
        ("unknown + not", (ResetHint::Unknown, ResetHint::NotReset, ResetHint::Unknown, false)),
        ("not + not", (ResetHint::NotReset, ResetHint::NotReset, ResetHint::NotReset, false)),
        ("reset + gauge", (ResetHint::Reset, ResetHint::Gauge, ResetHint::Gauge, false)),
        ("reset + not", (ResetHint::Reset, ResetHint::NotReset, ResetHint::Unknown, true)),
    ]);
    for (what, (left, right, result, conflict)) in expected {
        let mut sum = hinted(left);
        let combined = sum.add(&hinted(right)).expect("both are exponential");
        assert_eq!((sum.reset_hint, combined.resets_conflict), (result, conflict), "{what}");
    }
}
