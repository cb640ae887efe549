//! Against bytes put together by the format's description. A real Prometheus' logs: `tests/import.rs` of the root crate.

use codec::{crc::crc32c, varint};
use model::{
    Histogram, Labels,
    histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, ResetHint, Span},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::select::TimeRange;

const PAGE: usize = 32 << 10;

/// A segment of records, each with the compression bits of its parts.
fn segment(records: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for (compression, data) in records {
        let mut rest = &data[..];
        let mut is_first = true;
        loop {
            if PAGE - bytes.len() % PAGE < 8 {
                bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
            }
            let room = PAGE - bytes.len() % PAGE - 7;
            let (part, behind) = rest.split_at(room.min(rest.len()));
            rest = behind;
            let kind = match (is_first, rest.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            bytes.push(kind | compression);
            bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&crc32c(part).to_be_bytes());
            bytes.extend_from_slice(part);
            is_first = false;
            if rest.is_empty() {
                break;
            }
        }
    }
    bytes
}

fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<SegmentError>) {
    let (mut records, mut reader) = (Vec::new(), Records::new(bytes));
    while let Some(record) = reader.next() {
        match record {
            Ok((_, record)) => records.push(record.to_vec()),
            Err(error) => {
                assert!(reader.next().is_none(), "an error is the end");
                return (records, Some(error));
            }
        }
    }
    (records, None)
}

fn entries(record: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    decode(record, |entry| entries.push(entry)).expect("a sound record");
    entries
}

fn signed(out: &mut Vec<u8>, numbers: &[i64]) {
    numbers.iter().for_each(|&number| varint::put_signed(out, number));
}

fn texts(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        varint::put_unsigned(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

#[test]
fn series_samples_and_deletions_are_read() {
    let mut record = vec![1];
    record.extend_from_slice(&7u64.to_be_bytes());
    record.push(2);
    texts(&mut record, &["__name__", "up", "job", "a"]);
    record.extend_from_slice(&9u64.to_be_bytes());
    record.push(0);
    let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
    let both = [Entry::Series { series: 7, labels: up }, Entry::Series { series: 9, labels: Labels::empty() }];
    assert_eq!(entries(&record), both);

    let mut record = vec![2];
    record.extend_from_slice(&7u64.to_be_bytes());
    record.extend_from_slice(&1_000i64.to_be_bytes());
    for (series, time, value) in [(0, 0, 0.5f64), (2, -10, f64::NAN), (-7, 15_000, -0.0)] {
        signed(&mut record, &[series, time]);
        record.extend_from_slice(&value.to_bits().to_be_bytes());
    }
    let float = |series, time, value: f64| Entry::Float { series, time, bits: value.to_bits() };
    let three = [float(7, 1_000, 0.5), float(9, 990, f64::NAN), float(0, 16_000, -0.0)];
    assert_eq!(entries(&record), three);
    assert_eq!(entries(&[2]), []);

    // With start times: none, the one before, another one.
    let mut record = vec![11];
    signed(&mut record, &[7, 1_000, 500]);
    record.extend_from_slice(&0.5f64.to_bits().to_be_bytes());
    for (numbers, marker, value) in [([2, -10], &[0][..], f64::NAN), ([-9, 15_000], &[2, 3], -0.0)] {
        signed(&mut record, &numbers);
        record.extend_from_slice(marker);
        record.extend_from_slice(&value.to_bits().to_be_bytes());
    }
    assert_eq!(entries(&record), three);

    let mut record = vec![3];
    record.extend_from_slice(&7u64.to_be_bytes());
    signed(&mut record, &[-5, 5]);
    let range = TimeRange { min_time: -5, max_time: 5 };
    assert_eq!(entries(&record), [Entry::Deletion { series: 7, range }]);
    assert_eq!(entries(&[4, 0]), [Entry::LeftOut("records of exemplars")]);
    assert_eq!(decode(&[15], |_| {}), Err(RecordError::Type(15)));
    assert!(matches!(decode(&record[..10], |_| {}), Err(RecordError::Content(_))));
}

#[test]
fn histograms_are_read() {
    let mut body = vec![3];
    signed(&mut body, &[2]);
    body.extend_from_slice(&0.001f64.to_bits().to_be_bytes());
    body.extend_from_slice(&[1, 4]);
    body.extend_from_slice(&2.5f64.to_bits().to_be_bytes());
    // One span of two buckets, no negative ones.
    body.extend_from_slice(&[1, 6, 2, 0]);
    body.extend_from_slice(&[2, 2, 2, 0]);
    let integer = Histogram {
        reset_hint: ResetHint::Gauge,
        schema: 2,
        zero_threshold: 0.001,
        sum: 2.5,
        counts: Counts::Integer { count: 4, zero_count: 1, positive: vec![1, 1], negative: Vec::new() },
        positive_spans: vec![Span { offset: 3, length: 2 }],
        ..Histogram::default()
    };
    assert_eq!(integer.check(), Ok(()));
    let mut record = vec![7];
    record.extend_from_slice(&5u64.to_be_bytes());
    record.extend_from_slice(&100i64.to_be_bytes());
    signed(&mut record, &[0, 1]);
    record.extend_from_slice(&body);
    let at = |time, histogram: &Histogram| Entry::Histogram { series: 5, time, histogram: Box::new(histogram.clone()) };
    assert_eq!(entries(&record), [at(101, &integer)]);
    let mut record = vec![12];
    signed(&mut record, &[5, 101, 0]);
    record.extend_from_slice(&body);
    signed(&mut record, &[0, 9]);
    record.push(1);
    record.extend_from_slice(&body);
    assert_eq!(entries(&record), [at(101, &integer), at(110, &integer)]);

    let mut record = vec![10];
    record.extend_from_slice(&5u64.to_be_bytes());
    record.extend_from_slice(&100i64.to_be_bytes());
    signed(&mut record, &[0, 0]);
    record.push(0);
    signed(&mut record, &[CUSTOM_BUCKETS_SCHEMA.into()]);
    let doubles =
        |out: &mut Vec<u8>, all: &[f64]| all.iter().for_each(|double| out.extend(double.to_bits().to_be_bytes()));
    doubles(&mut record, &[0.0, 0.0, 3.5, 7.0]);
    record.extend_from_slice(&[1, 0, 2, 0, 2]);
    doubles(&mut record, &[1.5, 2.0]);
    record.extend_from_slice(&[0, 1]);
    doubles(&mut record, &[10.0]);
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        sum: 7.0,
        counts: Counts::Float { count: 3.5, zero_count: 0.0, positive: vec![1.5, 2.0], negative: Vec::new() },
        positive_spans: vec![Span { offset: 0, length: 2 }],
        custom_values: vec![10.0],
        ..Histogram::default()
    };
    assert_eq!(custom.check(), Ok(()));
    assert_eq!(entries(&record), [at(100, &custom)]);
}

#[test]
fn records_of_all_sizes_and_compressions_are_put_together() {
    let records: Vec<Vec<u8>> = [0, 1, 100, PAGE - 7, PAGE - 8, PAGE, 3 * PAGE + 5, 20]
        .iter()
        .map(|&length| (0..length).map(|at| (at * at / 8) as u8).collect())
        .collect();
    let compressed = |kind: u8| -> Vec<(u8, Vec<u8>)> {
        let pack = |record: &Vec<u8>| match kind {
            8 if !record.is_empty() => snap::raw::Encoder::new().compress_vec(record).expect("room"),
            16 if !record.is_empty() => {
                ruzstd::encoding::compress_to_vec(&record[..], ruzstd::encoding::CompressionLevel::Fastest)
            }
            _ => record.clone(),
        };
        records.iter().map(|record| (kind, pack(record))).collect()
    };
    for kind in [0, 8, 16] {
        let bytes = segment(&compressed(kind));
        assert_eq!(read(&bytes), (records.clone(), None), "compression {kind}");
        let padded = [&bytes[..], &[0; 3 * PAGE]].concat();
        let whole = padded.len() / PAGE * PAGE;
        assert_eq!(read(&padded[..whole]), (records.clone(), None));
    }
}

#[test]
fn damage_is_named_and_what_came_before_is_there() {
    let records: Vec<(u8, Vec<u8>)> = (0..5u8).map(|number| (0, vec![number; 9_000])).collect();
    let bytes = segment(&records);
    for cut in [1, 6, 7, 5_000] {
        let (found, error) = read(&bytes[..3 * 9_007 + cut]);
        assert_eq!((found.len(), error), (3, Some(SegmentError { offset: 27_021, what: SegmentFault::Torn })), "{cut}");
    }
    let with = |at: usize, byte: u8| [&bytes[..at], &[byte], &bytes[at + 1..]].concat();
    let fault = |bytes: &[u8]| read(bytes).1.expect("damage");
    assert_eq!(fault(&with(9_007 + 20, 99)), SegmentError { offset: 9_007, what: SegmentFault::Checksum });
    assert_eq!(fault(&with(9_007, 0)), SegmentError { offset: 9_007, what: SegmentFault::Padding });
    assert_eq!(fault(&with(9_007, 4)), SegmentError { offset: 9_007, what: SegmentFault::Sequence });
    assert_eq!(fault(&with(9_007, 9)), SegmentError { offset: 9_007, what: SegmentFault::Compression });
    assert_eq!(fault(&with(9_008, 0xff)), SegmentError { offset: 9_007, what: SegmentFault::Length });
}

proptest! {
    #[test]
    fn any_bytes_are_records_or_an_error(bytes in vec(any::<u8>(), 0..500), kind in 0..16u8) {
        read(&bytes);
        let record = [&[kind][..], &bytes].concat();
        let mut told = 0;
        if let Err(RecordError::Type(unknown)) = decode(&record, |_| told += 1) {
            prop_assert!(unknown == kind && (kind == 0 || kind > 14) && told == 0);
        }
        read(&segment(&[(8, bytes.clone()), (16, bytes)]));
    }
}
