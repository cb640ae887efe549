//! The write-ahead log of a Prometheus.

use codec::{crc::crc32c, varint};
use tsdb::prometheus_wal::{Entry, Records, decode};

use super::Target;

pub const TARGETS: &[Target] = &[
    Target { name: "prometheus_segment", run: prometheus_segment, seeds: segment_seeds },
    Target { name: "prometheus_record", run: prometheus_record, seeds: record_seeds },
];

/// Any bytes are a segment or an error at a place in it; records are no longer than what compression can make of them.
pub fn prometheus_segment(input: &[u8]) {
    let mut records = Records::new(input);
    while let Some(record) = records.next() {
        match record {
            Ok((offset, record)) => {
                assert!((offset as usize) < input.len());
                prometheus_record(record);
            }
            Err(error) => {
                assert!(error.offset as usize <= input.len(), "{error}");
                assert!(records.next().is_none(), "an error is the end");
                return;
            }
        }
    }
}

/// Any bytes are a record or an error; nothing is made up.
pub fn prometheus_record(input: &[u8]) {
    let (mut entries, mut buckets, mut sound) = (0, 0, 0);
    let decoded = decode(input, |entry| {
        entries += 1;
        if let Entry::Histogram { histogram, .. } = entry {
            buckets += histogram.bucket_count();
            // Whatever it says of itself, it is a histogram or is not.
            sound += usize::from(histogram.check().is_ok());
        }
    });
    // A byte each at least.
    assert!(sound <= entries && entries <= input.len() && buckets <= input.len(), "{decoded:?}");
}

fn segment_seeds() -> Vec<Vec<u8>> {
    let part = |kind: u8, data: &[u8]| {
        [&[kind][..], &(data.len() as u16).to_be_bytes(), &crc32c(data).to_be_bytes(), data].concat()
    };
    let records = record_seeds();
    let plain: Vec<u8> = records.iter().flat_map(|record| part(1, record)).collect();
    let (first, last) = plain.split_at(plain.len() / 2);
    let compressed = snap::raw::Encoder::new().compress_vec(&records[1]).expect("room");
    vec![plain.clone(), [part(2, first), part(4, last)].concat(), part(9, &compressed), [&plain[..], &[0; 99]].concat()]
}

fn record_seeds() -> Vec<Vec<u8>> {
    let with_base = |kind: u8| [&[kind][..], &7u64.to_be_bytes(), &1_700_000_000_000u64.to_be_bytes()].concat();
    let mut series = [&[1][..], &7u64.to_be_bytes(), &[2]].concat();
    for text in ["__name__", "up", "job", "a"] {
        varint::put_unsigned(&mut series, text.len() as u64);
        series.extend_from_slice(text.as_bytes());
    }
    let mut floats = with_base(2);
    for at in 0..20u8 {
        floats.extend_from_slice(&[at, 2 * at]);
        floats.extend_from_slice(&f64::from(at).to_bits().to_be_bytes());
    }
    let mut histogram = with_base(7);
    histogram.extend_from_slice(&[0, 0, 0, 4]);
    histogram.extend_from_slice(&0.001f64.to_bits().to_be_bytes());
    histogram.extend_from_slice(&[1, 4]);
    histogram.extend_from_slice(&2.5f64.to_bits().to_be_bytes());
    histogram.extend_from_slice(&[1, 6, 2, 0, 2, 2, 2, 0]);
    let deletion = [&[3][..], &7u64.to_be_bytes(), &[9, 10]].concat();
    vec![series, floats, histogram, deletion]
}
