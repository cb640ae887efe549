//! What the benches of the head share: a fleet of series, heads made of it, and a measurement that prints ns a sample.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Throughput, measurement::WallTime};
use model::{IdentityKey, OwnedBatch};
use tsdb::{Head, Limits, Rejection, SeriesQuota, ShardPart, Window, wal::LogBatch};

/// Samples of a request, one a series.
pub(crate) const BATCH: usize = 2_000;
pub(crate) const START: i64 = 1_700_000_000_000;
/// Between two samples of a series.
pub(crate) const STEP: i64 = 10_000;
const OPEN: Window = Window { min_time: i64::MIN, max_time: i64::MAX, out_of_order_from: None };

/// Sizes to measure: real ones under `cargo bench`, tiny ones when a test only wants to know that the bench works.
pub(crate) fn sizes(real: &[usize]) -> Vec<usize> {
    if is_measuring() { real.to_vec() } else { vec![2 * BATCH] }
}

fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

struct Unlimited;

impl SeriesQuota for Unlimited {
    fn reserve_one(&mut self) -> Result<(), Rejection> {
        Ok(())
    }
}

pub(crate) fn key() -> IdentityKey {
    IdentityKey::from_bytes(&std::array::from_fn(|at| (at * 37 + 11) as u8))
}

pub(crate) fn new_head() -> Head {
    Head::new(key(), Limits::default(), 0)
}

/// One sample each of some series, with ten labels: a node's metrics come together, as a scrape sends them.
pub(crate) fn batch_of(series: impl Iterator<Item = usize>, round: i64) -> OwnedBatch {
    let mut batch = OwnedBatch::default();
    let key = key();
    for number in series {
        let (node, metric) = (number / 500, number % 500);
        let labels = [
            ("__name__", format!("node_metric_{}", metric / 10)),
            ("cluster", format!("cluster-{}", node / 200)),
            ("container", "exporter".to_owned()),
            ("cpu", format!("{}", metric % 10)),
            ("instance", format!("10.0.{}.{}:9100", node / 250, node % 250)),
            ("job", "node".to_owned()),
            ("namespace", format!("team-{}", node % 20)),
            ("node", format!("node-{node:05}")),
            ("pod", format!("exporter-{node:05x}")),
            ("zone", format!("zone-{}", node % 3)),
        ];
        let labels = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        batch.push(&key, labels, [(START + round * STEP, value_of(number, round).to_bits())]);
    }
    batch
}

/// A third each of constants, counters and small decimals.
fn value_of(series: usize, round: i64) -> f64 {
    match series % 3 {
        0 => series as f64,
        1 => (series as i64 + round * (100 + series as i64 % 7)) as f64,
        _ => ((series as i64 * 31 + round * 17) % 1000) as f64 / 10.0,
    }
}

/// The order in which series come: as they were made, or a fixed permutation.
pub(crate) fn order(series: usize, shuffled: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..series).collect();
    let mut state = 9u64;
    for at in (1..series).rev().filter(|_| shuffled) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
    order
}

/// A round of all series, cut into requests.
pub(crate) fn round_of(order: &[usize], round: i64) -> Vec<OwnedBatch> {
    order.chunks(BATCH).map(|series| batch_of(series.iter().copied(), round)).collect()
}

/// Appends batches; what has to be logged is in `log` until its owner encodes it.
pub(crate) fn append(head: &mut Head, batch: &OwnedBatch, log: &mut LogBatch) -> u64 {
    let outcome = head.append(batch, ShardPart::WHOLE, OPEN, &mut Unlimited, log);
    // What a chunk writer does; the disk is not part of the measurement.
    while let Some(extent) = head.extent().next_to_write() {
        head.extent().written(&extent);
    }
    outcome.stored
}

/// Measures `run`, which is told to work on what `prepare` made and says how many samples it stored; prints the best.
pub(crate) fn measure<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    samples: usize,
    mut prepare: impl FnMut() -> T,
    mut run: impl FnMut(&mut T) -> u64,
) {
    let best = Cell::new(f64::INFINITY);
    group.sample_size(10).throughput(Throughput::Elements(samples as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                let mut prepared = prepare();
                let start = Instant::now();
                let stored = run(&mut prepared);
                let took = start.elapsed();
                assert_eq!(stored, samples as u64, "each round stores what it says");
                best.set(best.get().min(took.as_nanos() as f64 / samples as f64));
                total += took;
            }
            total
        });
    });
    if best.get().is_finite() {
        println!("{name}: best {:.1} ns/sample", best.get());
    }
}
