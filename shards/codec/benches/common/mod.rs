//! What the codec's benches share: shapes of data and a measurement that prints ns and bytes per sample.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Throughput, measurement::WallTime};

/// Fixed seed: two runs measure the same data.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn word(&mut self) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Value shapes by name; `series` is a number that makes two series differ, `step` the position in the series.
pub(crate) type Shape = (&'static str, fn(random: &mut Random, previous: f64, series: u64, step: u64) -> f64);

pub(crate) const SHAPES: &[Shape] = &[
    ("constant", |_, _, series, _| series as f64),
    (
        "counter",
        |random, previous, series, step| {
            if step == 0 { (series * 1_000_003) as f64 } else { previous + random.below(500) as f64 }
        },
    ),
    ("decimal", |random, _, _, _| (random.below(10_000) as f64) / 100.0),
    ("random", |random, _, _, _| random.unit()),
    ("mixed", |random, previous, series, step| {
        let (_, shape) = SHAPES[(series % 4) as usize];
        shape(random, previous, series, step)
    }),
];

/// Measures `run`, which handles `samples` samples and returns a checksum of what it made; prints the best time a sample.
pub(crate) fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    samples: usize,
    bytes: usize,
    mut run: impl FnMut() -> u64,
) {
    let best = Cell::new(f64::INFINITY);
    let checksum = run();
    group.throughput(Throughput::Elements(samples as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                let made = run();
                let took = start.elapsed();
                assert_eq!(made, checksum, "each round does the same work");
                best.set(best.get().min(took.as_nanos() as f64 / samples as f64));
                total += took;
            }
            total
        });
    });
    let bytes = bytes as f64 / samples as f64;
    if best.get().is_infinite() {
        // Left out by a filter on the command line.
        return;
    }
    println!("{name}: best {:.2} ns/sample, {bytes:.2} bytes/sample, checksum {checksum:016x}", best.get());
}

/// Folds words into one; cheap beside what is measured.
pub(crate) fn fold(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0, |sum, word| sum.rotate_left(5) ^ word)
}
