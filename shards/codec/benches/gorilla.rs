//! XOR chunks of 120 samples, by shape of the values and of the times.
//!
//! `encode` goes through the `BitWriter`; `decode` into vectors; `walk` through the lazy iterator. `seal` is what the head does with a
//! full chunk: the decimal one of the same samples, where that is shorter; `decode-sealed` is a query's part of it.

mod common;

use codec::{
    decimal::{self, Transcoder},
    gorilla::{self, BitWriter, Samples, XorState},
};
use common::{Random, SHAPES, fold, measure};
use criterion::{Criterion, criterion_group, criterion_main};

/// So many that the processor can't learn their branches by heart.
const CHUNKS: u64 = 512;
const SAMPLES_PER_CHUNK: u64 = 120;
const STEP_MS: i64 = 10_000;
const START_MS: i64 = 1_700_000_000_000;

type Chunk = Vec<(i64, u64)>;

fn chunks(shape: &common::Shape, jitter_ms: u64) -> Vec<Chunk> {
    let mut random = Random::new(7);
    (0..CHUNKS)
        .map(|series| {
            let mut value = 0.0;
            (0..SAMPLES_PER_CHUNK)
                .map(|step| {
                    value = shape.1(&mut random, value, series, step);
                    let jitter = random.below(jitter_ms + 1) as i64;
                    (START_MS + step as i64 * STEP_MS + jitter, value.to_bits())
                })
                .collect()
        })
        .collect()
}

fn encode_all(chunks: &[Chunk], out: &mut Vec<u8>) {
    out.clear();
    for chunk in chunks {
        let mut state = XorState::default();
        let mut writer = BitWriter::new(&mut *out);
        for &(time, value) in chunk {
            state.append(time, value, &mut writer);
        }
        writer.finish();
    }
}

/// What the head would seal.
fn shortest(xor: &[u8]) -> Vec<u8> {
    Transcoder::default().shorter(xor).unwrap_or(xor).to_vec()
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gorilla");
    for (shape, jitter_ms) in SHAPES.iter().flat_map(|shape| [(shape, 0), (shape, 20)]) {
        let name = |what: &str| format!("{what}/{}{}", shape.0, if jitter_ms > 0 { "+jitter" } else { "" });
        let chunks = chunks(shape, jitter_ms);
        let encoded: Vec<Vec<u8>> = chunks.iter().map(|chunk| gorilla::encode_chunk(chunk)).collect();
        let bytes = encoded.iter().map(Vec::len).sum();
        let samples = (CHUNKS * SAMPLES_PER_CHUNK) as usize;

        let mut out = Vec::with_capacity(bytes);
        measure(&mut group, &name("encode"), samples, bytes, || {
            encode_all(&chunks, &mut out);
            fold(out.chunks_exact(512).map(|piece| u64::from(piece[0])))
        });
        let (mut times, mut values) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        measure(&mut group, &name("decode"), samples, bytes, || {
            times.clear();
            values.clear();
            for chunk in &encoded {
                gorilla::decode_into(chunk, &mut times, &mut values).expect("just encoded");
            }
            fold([times[times.len() - 1] as u64, values[values.len() - 1], values.len() as u64])
        });
        let decimal: Vec<Vec<u8>> = encoded.iter().map(|chunk| shortest(chunk)).collect();
        let decimal_bytes = decimal.iter().map(Vec::len).sum();
        let mut transcoder = Transcoder::default();
        measure(&mut group, &name("seal"), samples, decimal_bytes, || {
            let lengths = encoded.iter().map(|chunk| transcoder.shorter(chunk).map_or(chunk.len(), <[u8]>::len) as u64);
            fold(lengths)
        });
        measure(&mut group, &name("decode-sealed"), samples, decimal_bytes, || {
            times.clear();
            values.clear();
            for (chunk, xor) in decimal.iter().zip(&encoded) {
                let encoding = if chunk == xor { gorilla::ENCODING } else { decimal::ENCODING };
                codec::decode_floats_into(encoding, chunk, &mut times, &mut values).expect("just encoded");
            }
            fold([times[times.len() - 1] as u64, values[values.len() - 1], values.len() as u64])
        });
        measure(&mut group, &name("walk"), samples, bytes, || {
            let walk = encoded.iter().flat_map(|chunk| Samples::new(chunk).expect("just encoded"));
            walk.fold(0, |sum, sample| {
                let (time, value) = sample.expect("just encoded");
                fold([sum, time as u64, value])
            })
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
