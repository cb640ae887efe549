//! The head against a naive model: what was accepted comes back bit for bit, and a head rebuilt from the log, or from a
//! checkpoint and the log behind it, answers as the one that wrote them.

mod bench;
mod exemplars;
mod out_of_order;
mod places;
mod sender;
mod truncation;

use std::collections::BTreeMap;

use model::{Labels, MatchOp, Matcher, OwnedBatch, sample::STALE_NAN_BITS};
use proptest::prelude::*;
use tsdb::{
    Head, Limits, Rejection, SeriesQuota, ShardPart, Window,
    limits::ShareLimit,
    select::{NO_LAST, TimeRange, Wanted},
    wal::{LogBatch, RecordError, Records},
};

use bench::{Bench, Model, Rows, key, labels_of};

struct Quota(u64);

impl SeriesQuota for Quota {
    fn reserve_one(&mut self) -> Result<(), Rejection> {
        self.0 = self.0.saturating_sub(1);
        if self.0 > 0 { Ok(()) } else { Err(Rejection::SeriesLimit) }
    }
}

const OPEN: Window = Window { min_time: i64::MIN, max_time: i64::MAX, out_of_order_from: None };
const ALL_TIME: TimeRange = TimeRange { min_time: i64::MIN, max_time: i64::MAX };
const START: i64 = 1_700_000_000_000;

fn text_of(series: u8) -> String {
    Labels::from_pairs(labels_of(series)).to_string()
}

/// Random batches, applied to the head and to the model by the rules of order.
fn run(steps: Vec<(Rows, bool)>) -> Bench {
    let mut bench = Bench::new();
    for (rows, reversed) in steps {
        let (mut stored, mut repeated) = (0, 0);
        let mut older = Vec::new();
        for (series, samples) in &rows {
            let known = bench.model.entry(text_of(*series)).or_default();
            for &(time, value) in samples {
                match known.last() {
                    Some(&newest) if newest == (time, value) => repeated += 1,
                    Some(&(newest, _)) if time <= newest => older.push((time, value)),
                    _ => {
                        known.push((time, value));
                        stored += 1;
                    }
                }
            }
        }
        let outcome = bench.append(&rows, reversed);
        // What is older than the newest is known or refused, depending on what is still in the open chunk.
        let known = outcome.repeated - repeated;
        assert_eq!((outcome.stored, known + outcome.rejected_total()), (stored, older.len() as u64));
    }
    bench.model.retain(|_, samples| !samples.is_empty());
    bench
}

/// Goal: what is short in decimals goes to the chunk files as such, anything else as XOR, and both come back.
#[test]
fn sealed_chunks_are_decimal_where_that_is_shorter() {
    let mut bench = Bench::new();
    let rows: Rows = [|at: u64| (at * 37) as f64, |at| 1.0 / (at + 3) as f64]
        .into_iter()
        .zip([2, 4])
        .map(|(value, series)| (series, (0..200).map(|at| (START + at * 10_000, value(at as u64).to_bits())).collect()))
        .collect();
    bench.append(&rows, false);
    let selection = bench.select(&[], ALL_TIME, Wanted::Samples);
    let mut encodings = Vec::new();
    for position in 0..selection.series.len() {
        let sealed = selection.chunks_of(position)[0];
        encodings.push(bench.chunk_data(&selection, position, sealed).encoding);
    }
    encodings.sort_unstable();
    assert_eq!(encodings, [codec::gorilla::ENCODING, codec::decimal::ENCODING]);
    let expected: Model = rows.into_iter().map(|(series, samples)| (text_of(series), samples)).collect();
    assert_eq!(bench.samples(&[], ALL_TIME), expected);
}

/// Goal: a marker that came as a float of a series of histograms is where it was after a replay, whatever follows it in the same request.
#[test]
fn markers_of_histograms_are_replayed_in_their_place() {
    let series = 11;
    let (marker, zero) = (STALE_NAN_BITS, 0);
    let labels = labels_of(series);
    let at = |time: i64, value: u64| (START + time, value);
    let requests: [&[&[(i64, u64)]]; 3] = [
        &[&[at(10_000_000, marker), at(14_000_000, zero)]],
        &[&[at(10_000_000, marker)], &[at(14_000_000, zero)]],
        &[&[at(10_000_000, zero)], &[at(11_000_000, marker)]],
    ];
    for entries in requests {
        let mut bench = Bench::new();
        bench.append(&[(series, vec![at(8_000_000, zero)])], false);
        let mut batch = OwnedBatch::default();
        for samples in entries {
            let labels = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            batch.push(&key(), labels, samples.iter().copied());
        }
        bench.append_batch(&batch);
        let all = bench.samples(&[], ALL_TIME);
        let expected: Vec<(i64, u64)> =
            std::iter::once(at(8_000_000, zero)).chain(entries.concat().iter().copied()).collect();
        assert_eq!(all.values().next(), Some(&expected));
        assert_eq!(bench.replayed(&[], 0).samples(&[], ALL_TIME), all);
    }
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..1000).prop_map(|number| (number as f64).to_bits()),
        2 => any::<u64>(),
        1 => Just(0x7ff0_0000_0000_0002),
        1 => Just((-0.0f64).to_bits()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Rows, bool)>> {
    let samples = prop::collection::vec((0i64..20_000_000, value()), 0..40).prop_map(|mut samples| {
        samples.sort_unstable_by_key(|sample| sample.0);
        samples.into_iter().map(|(time, value)| (START + time, value)).collect::<Vec<_>>()
    });
    prop::collection::vec((prop::collection::vec((0u8..40, samples), 0..30), any::<bool>()), 1..6)
}

/// Requests of a sender that keeps to its order of series but for some that go, come, repeat or change places.
fn nearly_ordered_steps() -> impl Strategy<Value = Vec<(Rows, bool)>> {
    let edits = prop::collection::vec((0usize..200, 0u8..4, 200u8..=255), 0..8);
    prop::collection::vec(edits, 1..6).prop_map(|steps| {
        let rows = |(step, edits): (usize, Vec<(usize, u8, u8)>)| {
            let mut order: Vec<u8> = (0..200).collect();
            for (place, edit, newcomer) in edits {
                let place = place.min(order.len() - 1);
                match edit {
                    0 => drop(order.remove(place)),
                    1 => order.insert(place, newcomer),
                    2 => order.insert(place, order[place]),
                    _ => order.swap(place, 0),
                }
            }
            let sample = |series: u8| (START + 1000 * step as i64, (f64::from(series) + step as f64).to_bits());
            (order.into_iter().map(|series| (series, vec![sample(series)])).collect(), false)
        };
        steps.into_iter().enumerate().map(rows).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_broken_order_of_series_misplaces_no_sample(steps in nearly_ordered_steps()) {
        let bench = run(steps);
        prop_assert_eq!(bench.samples(&[], ALL_TIME), bench.model);
    }

    #[test]
    fn accepted_samples_come_back(steps in steps()) {
        let bench = run(steps);
        prop_assert_eq!(bench.samples(&[], ALL_TIME), bench.model.clone());
        let range = TimeRange { min_time: START + 5_000_000, max_time: START + 9_000_000 };
        let mut inside = bench.model.clone();
        inside.values_mut().for_each(|samples| samples.retain(|s| (range.min_time..=range.max_time).contains(&s.0)));
        inside.retain(|_, samples| !samples.is_empty());
        prop_assert_eq!(bench.samples(&[], range), inside);
    }

    #[test]
    fn a_replayed_head_answers_alike(steps in steps(), cut in 0usize..6) {
        let mut bench = Bench::new();
        let mut checkpoint = Vec::new();
        let mut from = 0;
        for (at, (rows, reversed)) in steps.into_iter().enumerate() {
            bench.append(&rows, reversed);
            if at == cut {
                // The log behind a checkpoint may begin before it: samples that it holds already are skipped.
                from = at;
                checkpoint = bench.checkpoint();
            }
        }
        let all = bench.samples(&[], ALL_TIME);
        prop_assert_eq!(&bench.replayed(&[], 0).samples(&[], ALL_TIME), &all, "from the log alone");
        let restored = bench.replayed(&checkpoint, from);
        prop_assert_eq!(&restored.samples(&[], ALL_TIME), &all, "from a checkpoint and the log");
        prop_assert_eq!(restored.head.max_time(), bench.head.max_time());
        prop_assert_eq!(restored.head.min_time(), bench.head.min_time());
    }

    #[test]
    fn newest_samples_agree_with_all_samples(steps in steps(), until in 0i64..20_000_000) {
        let bench = run(steps);
        let range = TimeRange { min_time: START + until - 3_000_000, max_time: START + until };
        let selection = bench.select(&[], range, Wanted::Last);
        let mut found = BTreeMap::new();
        for (position, &series) in selection.series.iter().enumerate() {
            let mut last = (selection.last_times[position], selection.last_values[position].to_bits());
            if last.0 == NO_LAST {
                let (mut times, mut values) = (Vec::new(), Vec::new());
                for chunk in selection.chunks_of(position) {
                    let data = bench.chunk_data(&selection, position, *chunk);
                    bench::decode_into(data, &mut times, &mut values);
                }
                let mut inside = times.into_iter().zip(values);
                match inside.rfind(|s| (range.min_time..=range.max_time).contains(&s.0)) {
                    Some(sample) => last = sample,
                    None => continue,
                }
            }
            found.insert(selection.labels.labels(series).to_string(), last);
        }
        let expected: BTreeMap<_, _> = bench.samples(&[], range).into_iter()
            .filter_map(|(series, samples)| samples.last().map(|last| (series, *last))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn matchers_agree_with_a_look_at_every_series(steps in steps(), which in 0usize..8) {
        let bench = run(steps);
        let matcher = |op, name: &str, value: &str| Matcher::new(op, name, value).expect("a valid matcher");
        let matchers = match which {
            0 => vec![matcher(MatchOp::Equal, "job", "node")],
            1 => vec![matcher(MatchOp::Equal, "__name__", "metric_1"), matcher(MatchOp::NotEqual, "zone", "")],
            2 => vec![matcher(MatchOp::Regex, "instance", "host-1.*")],
            3 => vec![matcher(MatchOp::NotRegex, "instance", "host-1.*"), matcher(MatchOp::Equal, "zone", "z2")],
            4 => vec![matcher(MatchOp::Equal, "zone", "")],
            5 => vec![matcher(MatchOp::Regex, "zone", "z1|")],
            6 => vec![matcher(MatchOp::NotRegex, "zone", ".+")],
            _ => vec![matcher(MatchOp::Equal, "job", "nobody")],
        };
        let expected: Model = (0..40u8)
            .filter(|series| {
                let labels = Labels::from_pairs(labels_of(*series));
                matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
            })
            .filter_map(|series| bench.model.get_key_value(&text_of(series)))
            .map(|(text, samples)| (text.clone(), samples.clone()))
            .collect();
        prop_assert_eq!(bench.samples(&matchers, ALL_TIME), expected);
    }
}

#[test]
fn bad_series_are_counted_and_their_neighbours_stored() {
    type Pairs = &'static [(&'static [u8], &'static [u8])];
    const CASES: [(Pairs, Rejection); 6] = [
        (&[(b"job", b"x")], Rejection::NoMetricName),
        (&[(b"__name__", b"a"), (b"", b"x")], Rejection::LabelName),
        (&[(b"__name__", b"a"), (b"\xff", b"x")], Rejection::LabelName),
        (&[(b"__name__", b"a"), (b"x", b"\xff")], Rejection::LabelValue),
        (&[(b"__name__", b"a"), (b"x", b"1"), (b"x", b"1")], Rejection::DuplicateLabel),
        (&[(b"__name__", b"")], Rejection::NoMetricName),
    ];
    for (labels, reason) in CASES {
        let mut batch = OwnedBatch::default();
        batch.push(&key(), [(&b"__name__"[..], &b"good"[..])], [(START, 1)]);
        batch.push(&key(), labels.iter().copied(), [(START, 1), (START + 1, 2)]);
        batch.push(&key(), [(&b"__name__"[..], &b"good"[..]), (b"empty", b"")], [(START + 1, 2)]);
        let mut head = Head::new(key(), Limits::default(), 0);
        let mut log = LogBatch::default();
        let outcome = head.append(&batch, ShardPart::WHOLE, OPEN, &mut Quota(u64::MAX), &mut log);
        assert_eq!((outcome.stored, outcome.series_created), (2, 1), "an empty value is no label");
        assert_eq!(outcome.rejected(reason), 2, "{labels:?}");
        let offender = outcome.first_offender.expect("one");
        assert_eq!((offender.entry, offender.sample, offender.reason), (1, 1, reason));
    }
}

#[test]
fn a_missing_definition_loses_its_series_and_no_other() {
    let mut bench = Bench::new();
    bench.append(&[(1, vec![(START, 1)])], false);
    bench.append(&[(2, vec![(START, 2)])], false);
    bench.append(&[(3, vec![(START, 3)]), (1, vec![(START + 1, 4)]), (2, vec![(START + 1, 5)])], false);
    bench.log.remove(1);
    let mut head = Head::new(key(), Limits::default(), 0);
    let mut total = tsdb::wal::Replayed::default();
    for payload in &bench.log {
        for record in Records::of(payload) {
            total.add(head.replay(record.expect("a record")).expect("a record that makes sense"));
        }
    }
    assert_eq!((total.series_lost, total.samples_lost), (1, 1));
    let damaged = Bench { head, ..Bench::new() };
    let found = damaged.samples(&[], ALL_TIME);
    assert_eq!(found.get(&text_of(1)), Some(&vec![(START, 1), (START + 1, 4)]));
    assert_eq!(found.get(&text_of(3)), Some(&vec![(START, 3)]));
    assert_eq!(found.len(), 2);
}

#[test]
fn a_request_that_is_sent_again_is_a_success() {
    let mut bench = Bench::new();
    let rows = [(1, vec![(START, 1), (START + 1, 2), (START + 2, 3)]), (2, vec![(START, 7), (START + 5, 8)])];
    assert_eq!(bench.append(&rows, false).stored, 5);
    let again = bench.append(&rows, true);
    assert_eq!((again.stored, again.repeated, again.rejected_total()), (0, 5, 0));
    let other = bench.append(&[(1, vec![(START + 1, 9)]), (2, vec![(START + 1, 9)])], false);
    assert_eq!((other.rejected(Rejection::Duplicate), other.rejected(Rejection::OutOfOrder)), (1, 1));
}

#[test]
fn a_checkpoint_after_a_loss_keeps_the_rest() {
    let mut bench = Bench::new();
    bench.append(&[(1, vec![(START, 1)])], false);
    bench.append(&[(2, vec![(START, 2)])], false);
    bench.append(&[(3, vec![(START, 3)]), (4, vec![(START, 4)])], false);
    bench.log.remove(1);
    let mut damaged = bench.replayed(&[], 0);
    let found = damaged.samples(&[], ALL_TIME);
    assert!(found.contains_key(&text_of(1)) && found.contains_key(&text_of(3)) && !found.contains_key(&text_of(2)));
    let checkpoint = damaged.checkpoint();
    let restored = damaged.replayed(&checkpoint, 0);
    assert_eq!(restored.samples(&[], ALL_TIME), found);
    assert_eq!(restored.head.series_count(), damaged.head.series_count(), "numbers keep their meaning");
}

#[test]
fn the_window_and_the_quota_are_kept() {
    let mut head = Head::new(key(), Limits::default(), 0);
    let window = Window { min_time: START, max_time: START + 100, out_of_order_from: None };
    let mut batch = OwnedBatch::default();
    for (name, time) in [(b"a", START - 1), (b"b", START + 101), (b"c", START), (b"d", START + 100)] {
        batch.push(&key(), [(&b"__name__"[..], &name[..])], [(time, 1)]);
    }
    let mut log = LogBatch::default();
    let outcome = head.append(&batch, ShardPart::WHOLE, window, &mut Quota(2), &mut log);
    assert_eq!(outcome.stored, 1);
    assert_eq!(outcome.rejected(Rejection::OutOfBounds), 1);
    assert_eq!(outcome.rejected(Rejection::TooFarInFuture), 1);
    assert_eq!(outcome.rejected(Rejection::SeriesLimit), 1);
    assert_eq!(head.series_count(), 1);
}

#[test]
fn series_that_share_a_label_pair_are_bounded() {
    let share = |label: &str, series_max| ShareLimit { label: label.to_owned(), series_max };
    let limits = Limits { shares: vec![share("__name__", 3), share("job", 2)], ..Limits::default() };
    let mut head = Head::new(key(), limits, 0);
    let mut write = |metric: &str, job: &str, id: usize| {
        let mut batch = OwnedBatch::default();
        let id = id.to_string();
        let labels = [("__name__", metric), ("job", job), ("request_id", &id)];
        batch.push(&key(), labels.map(|(name, value)| (name.as_bytes(), value.as_bytes())), [(START, 1)]);
        let outcome = head.append(&batch, ShardPart::WHOLE, OPEN, &mut Quota(u64::MAX), &mut LogBatch::default());
        outcome.first_offender.map(|offender| offender.reason)
    };
    assert_eq!([0, 1, 2].map(|id| write("a", "x", id)), [None, None, Some(Rejection::LabelLimit)]);
    assert_eq!(write("a", "x", 1), None, "what is there goes on");
    assert_eq!([0, 1].map(|id| write("a", "y", id)), [None, Some(Rejection::MetricLimit)]);
    assert_eq!(write("b", "y", 0), None, "others have room");
}

/// Goal: places that damage emptied stay empty through a checkpoint, and what is made afterwards keeps its number. Method: lose
/// the frame that defines the second series.
#[test]
fn lost_places_survive_a_checkpoint() {
    let mut bench = Bench::new();
    for series in [1, 2, 3, 7] {
        bench.append(&[(series, vec![(START, u64::from(series))])], false);
    }
    bench.append(&[(7, vec![(START + 1, 9)])], false);
    bench.log.remove(1);
    let mut damaged = bench.replayed(&[], 0);
    let checkpoint = damaged.checkpoint();
    let restored = damaged.replayed(&checkpoint, 0);
    assert_eq!(restored.head.definitions_mark(), damaged.head.definitions_mark());
    let found = restored.samples(&[], ALL_TIME);
    assert_eq!(found, damaged.samples(&[], ALL_TIME));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.keys().all(|labels| labels.contains("instance")), "{found:?}");
}

/// The first sample of a head may be years older than the next ones: nothing refuses it, so it must not stop anything.
#[test]
fn an_old_first_sample_stops_nobody() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let mut bench = Bench::new();
    for (series, time) in [(1, START - YEAR), (2, START), (1, START), (2, START + 7_200_000), (1, START + 7_200_000)] {
        assert_eq!(bench.append(&[(series, vec![(time, 1)])], false).stored, 1);
    }
    assert_eq!(bench.samples(&[], ALL_TIME)[&text_of(1)], [(START - YEAR, 1), (START, 1), (START + 7_200_000, 1)]);
    let checkpoint = bench.checkpoint();
    let restored = bench.replayed(&checkpoint, bench.log.len());
    assert_eq!(restored.samples(&[], ALL_TIME), bench.samples(&[], ALL_TIME));
}

/// Goal: series that began together are not sealed together, so no request pays for all of them; in a new window neither.
#[test]
fn few_chunks_are_full_at_once() {
    let mut bench = Bench::new();
    for start in [START, START + 7_200_000] {
        for pass in 0..300 {
            // Those that never have histograms.
            let series = (0..114).map(|number| number + number / 3);
            let rows: Rows = series.map(|series| (series, vec![(start + pass * 1000, 1)])).collect();
            let before = bench.head.chunks_created();
            assert_eq!(bench.append(&rows, false).stored, 114);
            let begun = bench.head.chunks_created() - before;
            assert!(begun <= if pass == 0 { 114 } else { 2 }, "{begun} chunks begun in pass {pass}");
        }
    }
    let sealed_and_open = bench.head.chunks_created();
    assert!((2 * 114 * 3..=2 * 114 * 4).contains(&sealed_and_open), "{sealed_and_open} chunks");
}

fn record(kind: u8, numbers: &[u64], rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    numbers.iter().for_each(|&number| codec::varint::put_unsigned(&mut body, number));
    body.extend_from_slice(rest);
    [&[kind][..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn replay_one(head: &mut Head, payload: &[u8]) -> Result<tsdb::wal::Replayed, RecordError> {
    head.replay(Records::of(payload).next().expect("a record").expect("a whole one"))
}

#[test]
fn definitions_out_of_reach_are_refused_before_their_places_are_made() {
    let limits = Limits { lost_places_max: 100, ..Limits::default() };
    let mut head = Head::new(key(), limits, 0);
    let series_at = |number| record(1, &[0, 0, number, 1], &[0; 17]);
    assert_eq!(replay_one(&mut head, &series_at(4_000_000_000)), Err(RecordError::Gap { missing: 4_000_000_000 }));
    let pair_at = record(1, &[101, 1, 0, 0], &[0, 1, b'a', 1, b'b']);
    assert_eq!(replay_one(&mut head, &pair_at), Err(RecordError::Gap { missing: 101 }));
    assert_eq!((head.series_count(), head.label_pair_count()), (0, 0));
    assert_eq!(replay_one(&mut head, &series_at(60)).expect("within reach").series_lost, 61);
    assert!(replay_one(&mut head, &series_at(160)).is_err(), "the bound is on all of them");
}

#[test]
fn more_labels_than_a_series_can_have_lose_it() {
    let mut head = Head::new(key(), Limits::default(), 0);
    let pair = [0, 8, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 1, b'x'];
    assert!(replay_one(&mut head, &record(1, &[0, 1, 0, 0], &pair)).is_ok());
    let mut series = vec![7; 16];
    codec::varint::put_unsigned(&mut series, 20_000);
    series.resize(series.len() + 20_000, 0);
    assert_eq!(replay_one(&mut head, &record(1, &[1, 0, 0, 1], &series)).map(|replayed| replayed.series_lost), Ok(1));
}
