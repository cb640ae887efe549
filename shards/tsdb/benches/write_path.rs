//! The write path inside a shard: known series, new series, the log batch, sealing.

mod common;

use common::{BATCH, START, STEP, append, batch_of, measure, new_head, order, round_of, sizes};
use criterion::{Criterion, criterion_group, criterion_main};
use tsdb::{Head, limits::WINDOW_MS, wal::LogBatch};

/// A head that knows all series, each with a sample or more.
fn head_of(order: &[usize]) -> Head {
    let (mut head, mut log) = (new_head(), LogBatch::default());
    for batch in round_of(order, 0) {
        append(&mut head, &batch, &mut log);
        log.encode(&mut Vec::new());
    }
    head
}

/// Appends requests, each followed by its commit's encoding. Returns how many samples were stored.
fn append_all(head: &mut Head, batches: &[model::OwnedBatch], payload: &mut Vec<u8>) -> u64 {
    let (mut log, mut stored) = (LogBatch::default(), 0);
    for batch in batches {
        stored += append(head, batch, &mut log);
        payload.clear();
        log.encode(payload);
    }
    stored
}

fn known_series(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for series in sizes(&[100_000, 1_000_000]) {
        // The head was made in one order; a sender keeps to it or does not.
        let mut head = head_of(&order(series, false));
        let (mut round, mut payload) = (0, Vec::new());
        for (name, shuffled) in [("stable", false), ("shuffled", true)] {
            let order = order(series, shuffled);
            let prepare = || {
                round += 1;
                round_of(&order, round)
            };
            let run = |batches: &mut Vec<_>| append_all(&mut head, batches, &mut payload);
            measure(&mut group, &format!("known/{series}/{name}"), series, prepare, run);
        }
    }
    group.finish();
}

fn new_series(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for series in sizes(&[100_000]) {
        let batches = round_of(&order(series, false), 0);
        let mut payload = Vec::new();
        let run = |head: &mut Head| append_all(head, &batches, &mut payload);
        measure(&mut group, &format!("new/{series}"), series, new_head, run);
    }
    group.finish();
}

fn log_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    let mut head = head_of(&order(BATCH, false));
    let (mut round, mut payload) = (0, Vec::with_capacity(1 << 20));
    let prepare = || {
        round += 1;
        let mut log = LogBatch::default();
        append(&mut head, &batch_of(0..BATCH, round), &mut log);
        log
    };
    let run = |log: &mut LogBatch| {
        let samples = log.sample_count();
        payload.clear();
        log.encode(&mut payload);
        samples as u64
    };
    measure(&mut group, "encode", BATCH, prepare, run);
    println!("encode: {:.2} bytes/sample", payload.len() as f64 / BATCH as f64);
    group.finish();
}

/// The first sample of a head window, which seals what each series has open: all of it in one round.
fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for series in sizes(&[100_000]) {
        let order = order(series, false);
        let rounds_to_border = (WINDOW_MS - START.rem_euclid(WINDOW_MS)) / STEP + 1;
        let rounds_per_window = WINDOW_MS / STEP;
        let mut head = head_of(&order);
        let (mut next, mut payload) = (rounds_to_border, Vec::new());
        let prepare = || {
            let round = next;
            next += rounds_per_window;
            round_of(&order, round)
        };
        let run = |batches: &mut Vec<_>| append_all(&mut head, batches, &mut payload);
        measure(&mut group, &format!("window/{series}"), series, prepare, run);
    }
    group.finish();
}

criterion_group!(benches, known_series, new_series, log_batch, seal);
criterion_main!(benches);
