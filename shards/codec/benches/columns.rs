//! Log columns: frames of a request's size and of one sample, by shape of the values.

mod common;

use codec::columns;
use common::{Random, SHAPES, fold, measure};
use criterion::{Criterion, criterion_group, criterion_main};

/// Samples in each round of a measurement.
const SAMPLES: usize = 64_000;
const START_MS: i64 = 1_700_000_000_000;

struct Frame {
    series: Vec<u32>,
    times: Vec<i64>,
    values: Vec<u64>,
}

/// How series and times of a batch follow each other.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Neighbouring series at one time: a scrape.
    Scrape,
    /// Six samples of each series in a row: a sender that catches up.
    Backlog,
    /// Any series at any time.
    Scattered,
}

fn frame(shape: &common::Shape, order: Order, samples: usize, random: &mut Random) -> Frame {
    let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for position in 0..samples as u64 {
        let (number, step) = match order {
            Order::Scrape => (position, 0),
            Order::Backlog => (position / 6, position % 6),
            Order::Scattered => (random.below(100_000), random.below(1_000)),
        };
        series.push(5_000 + number as u32);
        times.push(START_MS + step as i64 * 10_000);
        let previous = values.last().map_or(0.0, |&bits| f64::from_bits(bits));
        values.push(shape.1(random, previous, number, step).to_bits());
    }
    Frame { series, times, values }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("columns");
    let of_orders = [Order::Backlog, Order::Scattered].map(|order| (&SHAPES[4], order, 4_000));
    let of_one = [(&SHAPES[1], Order::Scrape, 1)];
    let of_shapes = SHAPES.iter().map(|shape| (shape, Order::Scrape, 4_000));
    for (shape, order, samples) in of_shapes.chain(of_orders).chain(of_one) {
        let name = |what: &str| format!("{what}/{}/{order:?}/{samples}", shape.0);
        let mut random = Random::new(9);
        // Many frames, so that the processor can't learn the branches of one by heart.
        let frames: Vec<_> = (0..SAMPLES / samples).map(|_| frame(shape, order, samples, &mut random)).collect();
        let pack = |frame: &Frame, out: &mut Vec<u8>| columns::encode(&frame.series, &frame.times, &frame.values, out);

        let mut out = Vec::with_capacity(frames.len() * columns::encoded_bytes_max(samples));
        frames.iter().for_each(|frame| pack(frame, &mut out));
        let packed = out.clone();
        measure(&mut group, &name("encode"), SAMPLES, packed.len(), || {
            out.clear();
            frames.iter().for_each(|frame| pack(frame, &mut out));
            fold([out.len() as u64, u64::from(out[out.len() / 2])])
        });
        let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
        measure(&mut group, &name("decode"), SAMPLES, packed.len(), || {
            let (mut rest, mut sum) = (packed.as_slice(), 0);
            while !rest.is_empty() {
                series.clear();
                times.clear();
                values.clear();
                let decoded = columns::decode(rest, &mut series, &mut times, &mut values).expect("just packed");
                rest = &rest[decoded.bytes..];
                sum = fold([sum, u64::from(series[samples / 2]), times[samples / 2] as u64, values[samples / 2]]);
            }
            sum
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
