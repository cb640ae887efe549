//! Exemplars against a naive model: a list that the oldest leave. A head that was rebuilt from the log, or from a checkpoint and the
//! log behind it, has the same.

use std::collections::BTreeMap;

use model::{Labels, MatchOp, Matcher, OwnedBatch};
use proptest::prelude::*;
use tsdb::{
    ExemplarRejection, Head, Limits, ShardPart, Window,
    exemplars::SelectingExemplars,
    wal::{LogBatch, Records},
};

use crate::{ALL_TIME, Quota, START, bench::key};

/// Series, time, value, trace.
type Given = (u8, i64, f64, u8);

/// Series and trace by the labels that they have, in the order in which they came.
#[derive(Default)]
struct Model {
    kept: Vec<Given>,
    max: usize,
}

impl Model {
    fn append(&mut self, given: Given) -> Result<bool, ExemplarRejection> {
        let newest = self.kept.iter().rev().find(|kept| kept.0 == given.0);
        let order = |of: &Given| (of.1, of.2.to_bits(), trace(of.3));
        match newest.map(|newest| order(&given).cmp(&order(newest))) {
            Some(std::cmp::Ordering::Less) => return Err(ExemplarRejection::OutOfOrder),
            Some(std::cmp::Ordering::Equal) => return Ok(false),
            _ => self.kept.push(given),
        }
        let gone = self.kept.len().saturating_sub(self.max);
        self.kept.drain(..gone);
        Ok(true)
    }

    fn by_series(&self) -> BTreeMap<Labels, Vec<(i64, u64, Labels)>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for &(series, time, value, id) in &self.kept {
            let labels = Labels::from_pairs(series_labels(series));
            all.entry(labels).or_default().push((time, value.to_bits(), Labels::from_pairs([("trace", trace(id))])));
        }
        all
    }
}

fn trace(id: u8) -> String {
    format!("{id:x}")
}

fn series_labels(series: u8) -> [(String, String); 2] {
    [("__name__".into(), "latency".into()), ("path".into(), format!("/{series}"))]
}

fn bytes(pairs: &[(String, String)]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// Odd ones come without a sample.
fn batch_of(given: &[Given]) -> OwnedBatch {
    let mut batch = OwnedBatch::default();
    for &(series, time, value, id) in given {
        let samples = (series % 2 == 0).then_some((time, value.to_bits()));
        batch.push(&key(), bytes(&series_labels(series)), samples);
        batch.push_exemplar(bytes(&[("trace".into(), trace(id))]), (time, value.to_bits()));
    }
    batch
}

const OPEN: Window = Window { min_time: i64::MIN, max_time: START + 1_000_000, out_of_order_from: None };

fn new_head(max: usize) -> Head {
    let mut head = Head::new(key(), Limits::default(), 0);
    head.set_exemplars_max(max);
    head
}

pub(crate) fn contents(head: &Head, matcher: Matcher) -> BTreeMap<Labels, Vec<(i64, u64, Labels)>> {
    let mut selecting = SelectingExemplars::new([vec![matcher]].into(), ALL_TIME);
    while selecting.advance(head) {}
    let found = selecting.finish().into_iter().map(|series| {
        let exemplars = series.exemplars.into_iter().map(|of| (of.time, of.value, of.labels));
        (series.labels, exemplars.collect())
    });
    found.collect()
}

fn everything() -> Matcher {
    Matcher::new(MatchOp::Equal, "__name__", "latency").expect("a matcher")
}

fn replay(head: &mut Head, payload: &[u8]) {
    for record in Records::of(payload) {
        head.replay(record.expect("whole")).expect("sound");
    }
}

proptest! {
    /// Goal: what was accepted is there, in order, as far as the bound allows, also after a restart at any point.
    #[test]
    fn the_newest_are_kept_whatever_happens(
        steps in prop::collection::vec(prop::collection::vec((0..6u8, 0..40i64, 0..3u8, 0..3u8), 1..6), 1..20),
        max in 0..30usize,
        checkpoint_at in 0..20usize,
    ) {
        let (mut head, mut model) = (new_head(max), Model { max, ..Model::default() });
        let (mut log, mut checkpoint, mut replay_from) = (Vec::new(), Vec::new(), 0);
        let mut definitions = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            if at == checkpoint_at {
                let mark = head.definitions_mark();
                head.put_definitions(Default::default(), mark, &mut definitions);
                let (mut next, end) = (head.first_exemplar(), head.next_exemplar());
                while next < end {
                    next = head.put_exemplar_slice(next, end, &mut checkpoint);
                }
                // One frame is in both, as may be when a checkpoint is made while writes go on.
                replay_from = log.len().saturating_sub(1);
            }
            let given: Vec<Given> = step.iter().map(|&(series, time, value, id)| {
                (series, START + 1000 * (at as i64) + 100 * time, f64::from(value) / 4.0, id)
            }).collect();
            let mut frame = LogBatch::default();
            let outcome = head.append(&batch_of(&given), ShardPart::WHOLE, OPEN, &mut Quota(u64::MAX), &mut frame);
            let mut counts = (0, 0, 0);
            for given in given {
                match if max == 0 { Err(ExemplarRejection::Disabled) } else { model.append(given) } {
                    Ok(true) => counts.0 += 1,
                    Ok(false) => counts.1 += 1,
                    Err(_) => counts.2 += 1,
                }
            }
            let rejected = ExemplarRejection::ALL.iter().map(|&reason| outcome.exemplars_rejected(reason)).sum();
            prop_assert_eq!((outcome.exemplars_stored, outcome.exemplars_repeated, rejected), counts);
            let mut payload = Vec::new();
            frame.encode(&mut payload);
            log.push(payload);
        }
        let expected = model.by_series();
        prop_assert_eq!(&contents(&head, everything()), &expected);
        prop_assert_eq!(head.exemplar_counts().exemplars as usize, model.kept.len());
        prop_assert_eq!(head.exemplar_counts().series as usize, expected.len());
        let mut rebuilt = new_head(max);
        log.iter().for_each(|payload| replay(&mut rebuilt, payload));
        prop_assert_eq!(&contents(&rebuilt, everything()), &expected, "from the log");
        if checkpoint_at < steps.len() {
            let mut rebuilt = new_head(max);
            replay(&mut rebuilt, &definitions);
            replay(&mut rebuilt, &checkpoint);
            log[replay_from..].iter().for_each(|payload| replay(&mut rebuilt, payload));
            prop_assert_eq!(&contents(&rebuilt, everything()), &expected, "from a checkpoint and the log behind it");
        }
    }
}

/// Goal: a bad exemplar is counted by what is wrong with it, and only what is asked for is found.
#[test]
fn bad_ones_are_counted_and_good_ones_found_by_series() {
    let mut head = new_head(10);
    let mut batch = OwnedBatch::default();
    let name = |name: &str| [("__name__".to_owned(), name.to_owned())];
    for (number, labels) in [
        vec![("trace".to_owned(), "x".repeat(123))],
        vec![("trace".to_owned(), "ä".repeat(124))],
        vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        vec![(String::new(), "1".to_owned())],
        vec![],
    ]
    .into_iter()
    .enumerate()
    {
        batch.push(&key(), bytes(&name(&format!("metric_{number}"))), []);
        batch.push_exemplar(bytes(&labels), (START, 1));
    }
    batch.push(&key(), [(&b"job"[..], &b"nameless"[..])], []);
    batch.push_exemplar([], (START, 1));
    batch.push(&key(), bytes(&name("too_new")), []);
    batch.push_exemplar([], (OPEN.max_time + 1, 1));
    batch.push(&key(), bytes(&name("one_too_many")), [(START, 1)]);
    batch.push_exemplar([], (START, 1));
    let outcome = head.append(&batch, ShardPart::WHOLE, OPEN, &mut Quota(1), &mut LogBatch::default());
    let rejected = ExemplarRejection::ALL.map(|reason| outcome.exemplars_rejected(reason));
    assert_eq!((outcome.exemplars_stored, rejected), (2, [0, 1, 3, 2, 0]));
    let found = contents(&head, Matcher::new(MatchOp::Equal, "__name__", "metric_4").expect("a matcher"));
    assert_eq!(found.keys().map(Labels::to_string).collect::<Vec<_>>(), ["{__name__=\"metric_4\"}"]);
    head.set_exemplars_max(1);
    assert_eq!((head.exemplar_counts().exemplars, head.exemplar_counts().series), (1, 1));
}
