use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, spans_of};
use proptest::prelude::*;

use super::*;
use crate::gorilla::Damage;

/// A histogram from absolute counts by bucket number.
fn integer(positive: &[(i32, i64)], negative: &[(i32, i64)], zero_count: u64) -> Histogram {
    let numbers = |side: &[(i32, i64)]| side.iter().map(|bucket| bucket.0).collect::<Vec<_>>();
    let deltas = |side: &[(i32, i64)]| {
        let before = [0].into_iter().chain(side.iter().map(|bucket| bucket.1));
        side.iter().zip(before).map(|(bucket, before)| bucket.1 - before).collect::<Vec<_>>()
    };
    let all: i64 = positive.iter().chain(negative).map(|bucket| bucket.1).sum();
    Histogram {
        schema: 3,
        zero_threshold: 0.001,
        sum: all as f64 / 3.0,
        counts: Counts::Integer {
            count: all as u64 + zero_count,
            zero_count,
            positive: deltas(positive),
            negative: deltas(negative),
        },
        positive_spans: spans_of(&numbers(positive)),
        negative_spans: spans_of(&numbers(negative)),
        ..Histogram::default()
    }
}

fn float(histogram: &Histogram) -> Histogram {
    let Counts::Integer { count, zero_count, positive, negative } = &histogram.counts else { unreachable!() };
    let values = |deltas: &[i64]| spread::absolute(deltas).into_iter().map(|count| count as f64 / 2.0).collect();
    let counts = Counts::Float {
        count: *count as f64 / 2.0,
        zero_count: *zero_count as f64 / 2.0,
        positive: values(positive),
        negative: values(negative),
    };
    Histogram { counts, ..histogram.clone() }
}

fn decode(chunk: &HistogramChunk) -> Vec<(i64, Histogram)> {
    let bytes = chunk.to_bytes();
    HistogramSamples::new(chunk.encoding(), &bytes).expect("sound").map(|sample| sample.expect("sound")).collect()
}

#[test]
fn growing_histograms_share_a_chunk_and_new_buckets_widen_it() {
    let steps = [
        integer(&[(0, 1), (3, 2)], &[], 0),
        integer(&[(0, 1), (2, 1), (3, 2)], &[(-1, 4)], 1),
        integer(&[(0, 2), (2, 1), (3, 2), (9, 1)], &[(-1, 5)], 1),
        // A bucket that was empty anyway may be left out.
        integer(&[(0, 2), (2, 1), (3, 2), (9, 1)], &[(-1, 5)], 2),
    ];
    for is_float in [false, true] {
        let steps: Vec<_> = steps.iter().map(|step| if is_float { float(step) } else { step.clone() }).collect();
        let mut chunk = HistogramChunk::begin(1000, &steps[0], None);
        for (at, step) in steps.iter().enumerate().skip(1) {
            assert!(chunk.append(1000 + at as i64 * 15_000, step), "step {at}");
        }
        let read = decode(&chunk);
        assert_eq!(read.iter().map(|sample| sample.0).collect::<Vec<_>>(), [1000, 16_000, 31_000, 46_000]);
        for ((_, histogram), step) in read.iter().zip(&steps) {
            assert!(histogram.says_the_same(step), "{histogram:?} {step:?}");
        }
        let hints: Vec<_> = read.iter().map(|sample| sample.1.reset_hint).collect();
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::NotReset, ResetHint::NotReset, ResetHint::NotReset]);
        let resumed = HistogramChunk::resume(chunk.encoding(), &chunk.to_bytes()).expect("sound").expect("has samples");
        assert_eq!(resumed.to_bytes(), chunk.to_bytes());
    }
}

#[test]
fn what_counts_down_begins_another_chunk_and_says_so() {
    let first = integer(&[(0, 5), (1, 5)], &[], 3);
    let chunk = HistogramChunk::begin(0, &first, None);
    let cases: [(&str, Histogram, ResetHint); 6] = [
        ("a bucket", integer(&[(0, 4), (1, 8)], &[], 3), ResetHint::Reset),
        ("a missing bucket", integer(&[(0, 14)], &[], 3), ResetHint::Reset),
        ("the zero bucket", integer(&[(0, 9), (1, 9)], &[], 2), ResetHint::Reset),
        ("another schema", Histogram { schema: 2, ..first.clone() }, ResetHint::Reset),
        ("another kind", float(&first), ResetHint::Unknown),
        ("a hint", Histogram { reset_hint: ResetHint::Reset, ..first.clone() }, ResetHint::Reset),
    ];
    for (what, histogram, header) in cases {
        assert!(!chunk.clone().append(10, &histogram), "{what}");
        let next = HistogramChunk::begin(10, &histogram, Some(&chunk));
        let bytes = next.to_bytes();
        assert_eq!(HistogramSamples::new(next.encoding(), &bytes).expect("sound").header(), header, "{what}");
    }
    let next = HistogramChunk::begin(10, &integer(&[(0, 5), (1, 6)], &[], 3), Some(&chunk));
    assert_eq!(next.to_bytes()[2], 0x40, "it goes on");
    let gauge = Histogram { reset_hint: ResetHint::Gauge, ..first };
    let mut gauges = HistogramChunk::begin(0, &gauge, Some(&chunk));
    let less = Histogram { reset_hint: ResetHint::Gauge, ..integer(&[(7, 1)], &[], 0) };
    assert!(gauges.append(10, &less), "a gauge goes up and down");
    assert!(decode(&gauges).iter().all(|sample| sample.1.reset_hint == ResetHint::Gauge));
    assert!(decode(&gauges)[1].1.says_the_same(&less));
}

#[test]
fn stale_markers_end_a_chunk() {
    for is_float in [false, true] {
        let first = integer(&[(0, 5), (4, 1)], &[], 3);
        let first = if is_float { float(&first) } else { first };
        let mut chunk = HistogramChunk::begin(0, &first, None);
        assert!(chunk.append(10, &first) && chunk.append(20, &Histogram::stale(!is_float)));
        assert!(!chunk.append(30, &first), "only stale markers follow one");
        assert!(chunk.append(30, &Histogram::stale(is_float)));
        let read = decode(&chunk);
        assert_eq!(read.iter().map(|sample| sample.1.is_stale()).collect::<Vec<_>>(), [false, false, true, true]);
        let only = HistogramChunk::begin(5, &Histogram { sum: model::sample::STALE_NAN, ..first }, None);
        assert_eq!(decode(&only), [(5, Histogram::stale(is_float))]);
    }
}

#[test]
fn custom_bounds_are_in_the_layout() {
    let histogram = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        custom_values: vec![0.005, 0.01, 2.5, 1e9],
        ..integer(&[(0, 1), (4, 2)], &[], 0)
    };
    let mut chunk = HistogramChunk::begin(0, &histogram, None);
    assert!(chunk.append(1, &histogram));
    let other = Histogram { custom_values: vec![0.005, 0.01, 2.5, 1e8], ..histogram.clone() };
    assert!(!chunk.append(2, &other));
    assert!(decode(&chunk).iter().all(|(_, read)| read.says_the_same(&histogram)));
}

#[test]
fn a_chunk_that_claims_more_than_it_has_is_damaged() {
    let chunk = HistogramChunk::begin(0, &integer(&[(0, 5), (4, 1)], &[], 3), None);
    let mut bytes = chunk.to_bytes();
    bytes[1] = 40;
    let last = HistogramSamples::new(ENCODING_INTEGER, &bytes).expect("its header is sound").last();
    assert_eq!(last.expect("some").expect_err("too short").what, Damage::Truncated);
    // A layout of a billion buckets.
    let mut writer = crate::bits::BitWriter::new(vec![0, 1, 0]);
    crate::bits::BitSink::put(&mut writer, 0, 8);
    varbit::put_signed(0, &mut writer);
    varbit::put_unsigned(1, &mut writer);
    varbit::put_unsigned(1 << 30, &mut writer);
    let bytes = [writer.finish(), vec![0; 50]].concat();
    let first = HistogramSamples::new(ENCODING_FLOAT, &bytes).expect("its header is sound").next();
    assert!(matches!(first.expect("some").expect_err("too large").what, Damage::Layout(_)));
}

fn any_side() -> impl Strategy<Value = Vec<(i32, i64)>> {
    prop::collection::btree_map(-30i32..30, 0i64..1000, 0..12).prop_map(|side| side.into_iter().collect())
}

proptest! {
    #[test]
    fn whatever_comes_reads_back(
        samples in prop::collection::vec((any_side(), any_side(), 0u64..9, 0i64..100_000, 0u8..8), 1..60),
        is_float: bool,
    ) {
        let mut time = -50_000;
        let (mut chunks, mut sent): (Vec<HistogramChunk>, Vec<(i64, Histogram)>) = (Vec::new(), Vec::new());
        let mut grown = (Vec::new(), Vec::new());
        for (positive, negative, zero_count, step, kind) in samples {
            time += step + 1;
            // Mostly a counter that grows, sometimes anything.
            let (positive, negative) = if kind < 6 { (add(&grown.0, &positive), add(&grown.1, &negative)) } else { (positive, negative) };
            grown = (positive.clone(), negative.clone());
            let mut histogram = integer(&positive, &negative, zero_count);
            if is_float {
                histogram = float(&histogram);
            }
            if kind == 7 {
                histogram = Histogram::stale(is_float);
            }
            sent.push((time, histogram.clone()));
            let is_taken = chunks.last_mut().is_some_and(|chunk| !chunk.is_full() && chunk.append(time, &histogram));
            if !is_taken {
                chunks.push(HistogramChunk::begin(time, &histogram, chunks.last()));
            }
        }
        let read: Vec<_> = chunks.iter().flat_map(decode).collect();
        prop_assert_eq!(read.len(), sent.len());
        for ((time, histogram), (sent_time, sent)) in read.iter().zip(&sent) {
            prop_assert_eq!(time, sent_time);
            prop_assert!(histogram.says_the_same(sent), "{:?} {:?}", histogram, sent);
        }
        for chunk in &chunks {
            let resumed = HistogramChunk::resume(chunk.encoding(), &chunk.to_bytes()).expect("sound").expect("not empty");
            prop_assert_eq!(resumed.to_bytes(), chunk.to_bytes());
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), encoding in 2u8..4, flip in 0usize..2000) {
        for bytes in [bytes, flipped(flip)] {
            if let Ok(samples) = HistogramSamples::new(encoding, &bytes) {
                samples.take_while(Result::is_ok).for_each(drop);
            }
        }
    }
}

/// A sound chunk with one bit turned.
fn flipped(bit: usize) -> Vec<u8> {
    let mut chunk = HistogramChunk::begin(0, &integer(&[(0, 5), (4, 1)], &[(2, 2)], 3), None);
    (1..30).for_each(|at| assert!(chunk.append(at * 10, &integer(&[(0, 5 + at), (4, 1)], &[(2, 2 * at)], 3))));
    let mut bytes = chunk.to_bytes();
    let at = bit % (bytes.len() * 8);
    bytes[at / 8] ^= 1 << (at % 8);
    bytes
}

fn add(a: &[(i32, i64)], b: &[(i32, i64)]) -> Vec<(i32, i64)> {
    let mut sums = std::collections::BTreeMap::new();
    a.iter().chain(b).for_each(|&(number, count)| *sums.entry(number).or_insert(0) += count);
    sums.into_iter().collect()
}
