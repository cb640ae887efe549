//! What a start does: definitions, samples of the log, images of a checkpoint.

mod common;

use common::{append, measure, new_head, order, round_of, sizes};
use criterion::{Criterion, criterion_group, criterion_main};
use tsdb::{
    Head, SeriesRef,
    checkpoint::DefinitionsMark,
    wal::{LogBatch, Records, Replayed},
};

/// Rounds that the log of a checkpoint has on top of it.
const ROUNDS: i64 = 4;

/// Payloads as a shard's disk has them.
struct Written {
    definitions: Vec<Vec<u8>>,
    images: Vec<Vec<u8>>,
    samples: Vec<Vec<u8>>,
}

fn write(series: usize) -> Written {
    let (mut head, mut log, order) = (new_head(), LogBatch::default(), order(series, false));
    let mut write_rounds = |head: &mut Head, rounds: std::ops::Range<i64>| {
        let mut payloads = Vec::new();
        for batch in rounds.flat_map(|round| round_of(&order, round)) {
            append(head, &batch, &mut log);
            let mut payload = Vec::new();
            log.encode(&mut payload);
            payloads.push(payload);
        }
        payloads
    };
    drop(write_rounds(&mut head, 0..ROUNDS));
    let (definitions, images) = (definitions_of(&head), images_of(&head));
    Written { definitions, images, samples: write_rounds(&mut head, ROUNDS..2 * ROUNDS) }
}

fn definitions_of(head: &Head) -> Vec<Vec<u8>> {
    let (mut payloads, mut mark, end) = (Vec::new(), DefinitionsMark::default(), head.definitions_mark());
    while mark != end {
        let mut payload = Vec::new();
        mark = head.put_definitions(mark, end, &mut payload);
        payloads.push(payload);
    }
    payloads
}

fn images_of(head: &Head) -> Vec<Vec<u8>> {
    let (mut payloads, mut next, end) = (Vec::new(), SeriesRef(0), SeriesRef(head.series_count() as u32));
    while next < end {
        let mut payload = Vec::new();
        next = head.put_slice(next, end, &mut payload);
        payloads.push(payload);
    }
    payloads
}

fn replay(head: &mut Head, payloads: &[Vec<u8>]) -> Replayed {
    let mut total = Replayed::default();
    for record in payloads.iter().flat_map(|payload| Records::of(payload)) {
        total.add(head.replay(record.expect("a record")).expect("a record that makes sense"));
    }
    total
}

fn defined(written: &Written) -> Head {
    let mut head = new_head();
    replay(&mut head, &written.definitions);
    head
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    for series in sizes(&[100_000, 1_000_000]) {
        let written = write(series);
        let samples = series * ROUNDS as usize;
        // Here a sample is a series.
        measure(&mut group, &format!("definitions/{series}"), series, new_head, |head| {
            replay(head, &written.definitions).series
        });
        measure(
            &mut group,
            &format!("images/{series}"),
            samples,
            || defined(&written),
            |head| replay(head, &written.images).samples,
        );
        let restored = || {
            let mut head = defined(&written);
            replay(&mut head, &written.images);
            head
        };
        measure(&mut group, &format!("samples/{series}"), samples, restored, |head| {
            replay(head, &written.samples).samples
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
