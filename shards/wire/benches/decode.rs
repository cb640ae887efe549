//! Decoding of remote write: nanoseconds per series of one sample and ten labels, 2,000 series a request.
//!
//! `snappy` is decompression alone; what `decode` takes beyond it is walk and hash. `cargo test` runs each once, and every run
//! checks what came out.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::{IdentityKey, Sample, Timestamp, WriteBatch};
use wire::remote_write::{
    Batch, DecodeLimits, Protocol,
    encode::{Compressor, SymbolTable, labels_v1, labels_v2, series_v1, series_v2},
};

const SERIES: usize = 2_000;
const START_MS: i64 = 1_790_000_000_000;

/// A fleet's usual labels: names that repeat, a few values that differ from series to series.
fn labels(series: usize) -> [(&'static str, String); 10] {
    let host = series / 50;
    [
        ("__name__", format!("node_network_{}_total", ["receive_bytes", "transmit_bytes", "receive_errs"][series % 3])),
        ("cluster", "production-west".to_owned()),
        ("datacenter", format!("dc{}", host % 4)),
        ("device", format!("eth{}", series % 50)),
        ("environment", "production".to_owned()),
        ("instance", format!("host-{host:05}.example.net:9100")),
        ("job", "node".to_owned()),
        ("os", "linux".to_owned()),
        ("rack", format!("r{:03}", host % 200)),
        ("team", "infrastructure".to_owned()),
    ]
}

fn message(protocol: Protocol) -> Vec<u8> {
    let mut symbols = SymbolTable::new();
    let mut all_series = Vec::new();
    for series in 0..SERIES {
        let labels = labels(series);
        let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
        let sample = Sample { time: Timestamp(START_MS), value: series as f64 * 1.25 + 0.5 };
        let mut rendered = Vec::new();
        match protocol {
            Protocol::V1 => {
                labels_v1(&mut rendered, labels);
                series_v1(&mut all_series, &rendered, &[sample]);
            }
            Protocol::V2 => {
                labels_v2(&mut rendered, &mut symbols, labels);
                series_v2(&mut all_series, &rendered, &[sample]);
            }
        }
    }
    match protocol {
        Protocol::V1 => all_series,
        Protocol::V2 => [symbols.message(), &all_series].concat(),
    }
}

fn decode(criterion: &mut Criterion) {
    let key = IdentityKey::from_bytes(&std::array::from_fn(|index| (index * 151 + 13) as u8));
    let limits = DecodeLimits::default();
    let mut group = criterion.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(SERIES as u64));
    for protocol in [Protocol::V1, Protocol::V2] {
        let message = message(protocol);
        let body = Compressor::default().compress(&message).to_vec();
        let mut arena = vec![0; message.len()];
        group.bench_function(BenchmarkId::new("snappy", format!("{protocol:?}")), |bencher| {
            bencher.iter(|| snap::raw::Decoder::new().decompress(black_box(&body), &mut arena));
        });
        let mut batch = Batch::new();
        group.bench_function(BenchmarkId::new("decode", format!("{protocol:?}")), |bencher| {
            bencher.iter(|| batch.decode(protocol, black_box(&body), &key, &limits));
        });
        assert_eq!(batch.series().len(), SERIES);
        let checksum = batch.series().iter().fold(0, |sum: u64, series| sum.wrapping_add(series.id.low));
        println!("{protocol:?}: {} bytes, {} compressed, checksum {checksum:016x}", message.len(), body.len());
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
