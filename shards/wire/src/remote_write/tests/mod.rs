//! The walks against a naive decoder, on messages as senders write them, as nobody writes them, and broken.

mod naive;
mod odd;

use model::{IdentityKey, LabelSpan, Sample, Timestamp, WriteBatch};
use proptest::{collection::vec, prelude::*};
use prost::Message;

use self::naive::{
    Decoded, ExemplarV1, ExemplarV2, Label, MetadataV1, MetadataV2, Pair, RequestV1, RequestV2, SampleV2, SeriesV1,
    SeriesV2,
};
use super::{
    Batch, DecodeError, DecodeLimits, Limit, OTHER_PROTOCOL, Protocol, RejectReason,
    encode::{Compressor, SymbolTable, labels_v1, labels_v2, series_v1, series_v2},
    histogram::{CountMessage, HistogramMessage, SpanMessage, ZeroCountMessage},
};

fn key() -> IdentityKey {
    IdentityKey::from_bytes(&std::array::from_fn(|index| (index * 151 + 13) as u8))
}

fn decode(batch: &mut Batch, protocol: Protocol, message: &[u8]) -> Result<(), DecodeError> {
    let limits = DecodeLimits { keeps_start_times: true, ..DecodeLimits::default() };
    batch.decode(protocol, Compressor::default().compress(message), &key(), &limits)
}

fn labels_of(batch: &Batch, labels: LabelSpan) -> Vec<Pair> {
    let (span, mut labels) = (labels, Vec::new());
    batch.visit_labels(span, &mut |name, value| labels.push((name.to_vec(), value.to_vec())));
    labels
}

/// Everything a batch says, in the naive decoder's terms. Identities are checked on the way.
fn contents(batch: &Batch) -> Decoded {
    let series = batch.series().iter().enumerate().map(|(number, entry)| {
        let labels = labels_of(batch, entry.labels);
        let pairs = labels.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        assert_eq!(entry.id, key().series(pairs), "identity of {labels:?}");
        let samples = entry.samples().map(|index| (batch.times()[index], batch.values()[index])).collect();
        let histograms = batch.histograms().iter().filter(|sample| sample.entry as usize == number);
        let histograms = histograms.map(|sample| (sample.time, sample.histogram.clone())).collect();
        let exemplars = batch.exemplars().iter().filter(|exemplar| exemplar.entry as usize == number);
        let exemplars = exemplars.map(|of| (labels_of(batch, of.labels), (of.time, of.value))).collect();
        (labels, samples, histograms, exemplars)
    });
    assert!(batch.histograms().is_sorted_by_key(|sample| sample.entry));
    assert!(batch.exemplars().is_sorted_by_key(|exemplar| exemplar.entry));
    let mut metadata = Vec::new();
    batch.visit_metadata(0, 1, &mut |of| {
        metadata.push((of.name.to_vec(), of.kind, of.help.to_vec(), of.unit.to_vec()));
    });
    let rejections = batch.rejections();
    Decoded {
        series: series.collect(),
        metadata,
        start_times: batch
            .start_times()
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, start_time)| *start_time != 0)
            .collect(),
        histogram_start_times: batch.histograms().iter().map(|sample| sample.start_time).collect(),
        metadata_count: batch.metadata_count(),
        rejected_exemplars: rejections.exemplars as usize,
        rejected_series: rejections.series as usize,
        rejected_samples: rejections.samples as usize,
        first_rejected: rejections.first,
    }
}

/// Goal: a body that is sent under the other protocol's name is never a success that stores nothing.
#[test]
fn the_other_protocol_is_refused() {
    let mut batch = Batch::new();
    for (protocol, message) in [
        (Protocol::V1, &b"\x22\x00\x22\x03job\x2a\x00"[..]),
        (Protocol::V2, &b"\x0a\x0a\x0a\x08\x0a\x03job\x12\x01x"[..]),
    ] {
        assert_eq!(decode(&mut batch, protocol, message), Err(OTHER_PROTOCOL));
        assert_eq!(decode(&mut batch, protocol, b""), Ok(()));
    }
}

/// Goal: a batch holds what the naive decoder finds, and is refused where that one refuses.
fn check(batch: &mut Batch, protocol: Protocol, message: &[u8]) {
    let expected = match protocol {
        Protocol::V1 => naive::decode_v1(message),
        Protocol::V2 => naive::decode_v2(message),
    };
    match (decode(batch, protocol, message), expected) {
        (Ok(()), Some(expected)) => assert_eq!(contents(batch), expected),
        (Ok(()), None) => panic!("accepted what is malformed: {message:02x?}"),
        // A message of which no field is known is sound protobuf, and refused all the same: a success would lose it.
        (Err(error), Some(expected)) if error == OTHER_PROTOCOL => {
            assert_eq!(expected, Decoded::default(), "{message:02x?}");
            assert!(!message.is_empty());
        }
        (Err(error), Some(_)) => panic!("refused what is sound: {error}: {message:02x?}"),
        (Err(_), None) => assert!(batch.series().is_empty() && batch.times().is_empty()),
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["job", "instance", "zone", "", "a", "__name__"]).prop_map(|name| name.into()),
        4 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 120..140),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1_700_000_000_000..1_800_000_000_000i64, 1 => any::<i64>(), 1 => Just(0)]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![3 => any::<u64>().prop_map(f64::from_bits), 1 => Just(0.0), 1 => Just(-0.0), 1 => Just(1.5)]
}

fn exemplars_one() -> impl Strategy<Value = Vec<ExemplarV1>> {
    let exemplar = (vec((text(), text()), 0..3), value(), time()).prop_map(|(labels, value, time)| {
        let labels = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
        ExemplarV1 { labels, value, time }
    });
    vec(exemplar, 0..2)
}

fn exemplars_two() -> impl Strategy<Value = Vec<ExemplarV2>> {
    let references = prop_oneof![4 => vec((0..24u64, 0..24u64), 0..3).prop_map(|pairs| {
        pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()
    }), 1 => vec(0..30u64, 0..4)];
    let exemplar = (references, value(), time());
    vec(exemplar.prop_map(|(references, value, time)| ExemplarV2 { references, value, time }), 0..2)
}

/// Bytes of messages, some of which are none.
fn metadata_one() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let sound = (0..9u64, text(), text(), text());
    let sound = sound.prop_map(|(kind, name, help, unit)| MetadataV1 { kind, name, help, unit }.encode_to_vec());
    vec(prop_oneof![3 => sound, 1 => vec(any::<u8>(), 0..8)], 0..3)
}

fn metadata_two() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let sound = (0..9u64, 0..26u64, 0..26u64);
    let sound = sound.prop_map(|(kind, help, unit)| MetadataV2 { kind, help, unit }.encode_to_vec());
    vec(prop_oneof![3 => sound, 1 => vec(any::<u8>(), 0..8)], 0..2)
}

fn histograms() -> impl Strategy<Value = Vec<HistogramMessage>> {
    let spans = || vec((any::<i32>(), any::<u32>()).prop_map(|(offset, length)| SpanMessage { offset, length }), 0..3);
    let numbers = (any::<bool>(), any::<u64>(), any::<u64>(), -60..20i32, 0..5i32, time());
    let lists = (spans(), spans(), vec(any::<i64>(), 0..4), vec(value(), 0..4));
    let histogram = (numbers, lists).prop_map(|(numbers, (positive_spans, negative_spans, deltas, values))| {
        let (is_float, count, zero_count, schema, reset_hint, time) = numbers;
        let float = f64::from_bits;
        HistogramMessage {
            count: Some(if is_float { CountMessage::Float(float(count)) } else { CountMessage::Integer(count) }),
            zero_count: (count % 3 > 0).then_some(match is_float {
                true => ZeroCountMessage::Float(float(zero_count)),
                false => ZeroCountMessage::Integer(zero_count),
            }),
            sum: float(zero_count),
            schema,
            zero_threshold: 0.5,
            negative_deltas: deltas.clone(),
            positive_deltas: deltas,
            negative_counts: values.clone(),
            positive_counts: values.clone(),
            custom_values: values,
            positive_spans,
            negative_spans,
            reset_hint,
            time,
            start_time: if time % 3 == 0 { 0 } else { time.wrapping_sub(schema.into()) },
        }
    });
    vec(histogram, 0..2)
}

prop_compose! {
    fn series_one()(
        labels in vec((text(), text()), 0..12),
        samples in vec((value(), time()), 0..4),
        exemplars in exemplars_one(),
        histograms in histograms(),
    ) -> SeriesV1 {
        let labels = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
        let samples = samples.into_iter().map(|(value, time)| naive::Sample { value, time }).collect();
        SeriesV1 { labels, samples, exemplars, histograms }
    }
}

prop_compose! {
    fn request_one()(series in vec(series_one(), 0..6), metadata in metadata_one()) -> RequestV1 {
        // Neighbours that share labels, as real ones do.
        let mut series = series;
        for index in 1..series.len() {
            if index % 2 == 1 {
                let (last, rest) = (series[index - 1].labels.clone(), series[index].labels.clone());
                let shared = last.len() / 2;
                series[index].labels = last.into_iter().take(shared).chain(rest).collect();
            }
        }
        RequestV1 { series, metadata }
    }
}

prop_compose! {
    fn series_two()(
        // Odd in number and out of range now and then.
        pairs in vec((0..24u64, 0..24u64), 0..12),
        bad in prop_oneof![6 => Just(vec![]), 1 => Just(vec![1]), 1 => Just(vec![1, 25]), 1 => Just(vec![u64::MAX; 2])],
        samples in vec((value(), time(), time()), 0..4),
        created in prop_oneof![2 => Just(0), 1 => time()],
        exemplars in exemplars_two(),
        histograms in histograms(),
        metadata in metadata_two(),
    ) -> SeriesV2 {
        let references = pairs.into_iter().flat_map(|(name, value)| [name, value]).chain(bad).collect();
        let sample = |(value, time, start_time)| SampleV2 { value, time, start_time };
        let samples = samples.into_iter().map(sample).collect();
        SeriesV2 { references, samples, histograms, exemplars, metadata, created }
    }
}

prop_compose! {
    fn request_two()(
        first in prop_oneof![9 => Just(vec![]), 1 => Just(b"a".to_vec())],
        // With more than 128 a reference may take one byte or two.
        symbols in prop_oneof![3 => vec(text(), 23), 1 => vec(text(), 150)],
        series in vec(series_two(), 0..6),
        // More references than are remembered from series to series.
        long in prop_oneof![4 => Just(0usize), 1 => 60..150usize],
        kin in vec(vec((any::<prop::sample::Index>(), any::<u64>()), 0..4), 8),
    ) -> RequestV2 {
        let symbols: Vec<_> = [first].into_iter().chain(symbols).collect();
        let mut series = series;
        if let Some(first) = series.first_mut() {
            first.references.extend((0..2 * (long / 2) as u64).map(|at| at % symbols.len() as u64));
        }
        // Neighbours that differ in a few references, some out of range.
        for changes in kin {
            let Some(mut next) = series.last().cloned() else { break };
            for (place, reference) in changes {
                if !next.references.is_empty() {
                    *place.get_mut(&mut next.references) = reference % (symbols.len() as u64 + 2);
                }
            }
            series.push(next);
        }
        RequestV2 { symbols, series }
    }
}

/// Changes a message at a few places, or cuts it off.
fn damage(message: &mut Vec<u8>, seed: u64) {
    let mut random = odd::Random(seed);
    for _ in 0..=random.below(3) {
        if message.is_empty() {
            return;
        }
        let at = random.below(message.len());
        match random.below(4) {
            0 => message.truncate(at),
            1 => drop(message.remove(at)),
            2 => message.insert(at, random.below(256) as u8),
            _ => message[at] ^= 1 << random.below(8),
        }
    }
}

proptest! {
    #[test]
    fn requests_as_senders_write_them(one in request_one(), two in request_two()) {
        let mut batch = Batch::new();
        check(&mut batch, Protocol::V1, &one.encode_to_vec());
        check(&mut batch, Protocol::V2, &two.encode_to_vec());
    }

    #[test]
    fn requests_as_nobody_writes_them(one in request_one(), two in request_two(), seed: u64) {
        let mut batch = Batch::new();
        let mut random = odd::Random(seed);
        let message = odd::encode_v1(&one, &mut random);
        prop_assert_eq!(format!("{:?}", RequestV1::decode(message.as_slice()).expect("legal")), format!("{one:?}"));
        check(&mut batch, Protocol::V1, &message);
        let message = odd::encode_v2(&two, &mut random);
        prop_assert_eq!(format!("{:?}", RequestV2::decode(message.as_slice()).expect("legal")), format!("{two:?}"));
        check(&mut batch, Protocol::V2, &message);
    }

    #[test]
    fn damaged_requests(one in request_one(), two in request_two(), seed: u64) {
        let mut batch = Batch::new();
        for (protocol, mut message) in [(Protocol::V1, one.encode_to_vec()), (Protocol::V2, two.encode_to_vec())] {
            damage(&mut message, seed);
            check(&mut batch, protocol, &message);
        }
    }

    #[test]
    fn damaged_and_random_compression(one in request_one(), seed: u64, noise in vec(any::<u8>(), 0..300)) {
        let mut batch = Batch::new();
        let mut body = Compressor::default().compress(&one.encode_to_vec()).to_vec();
        damage(&mut body, seed);
        for body in [body, noise] {
            for protocol in [Protocol::V1, Protocol::V2] {
                if batch.decode(protocol, &body, &key(), &DecodeLimits::default()).is_ok() {
                    contents(&batch);
                }
            }
        }
    }
}

const LABELS: [(&str, &str); 3] = [("__name__", "up"), ("instance", "host-1:9100"), ("job", "node")];

fn sample(time: i64, value: f64) -> Sample {
    Sample { time: Timestamp(time), value }
}

fn small(protocol: Protocol, samples: &[Sample]) -> Vec<u8> {
    let mut rendered = Vec::new();
    let mut message = Vec::new();
    match protocol {
        Protocol::V1 => {
            labels_v1(&mut rendered, LABELS);
            series_v1(&mut message, &rendered, samples);
        }
        Protocol::V2 => {
            let mut symbols = SymbolTable::new();
            labels_v2(&mut rendered, &mut symbols, LABELS);
            message.extend_from_slice(symbols.message());
            series_v2(&mut message, &rendered, samples);
        }
    }
    message
}

/// Goal: both protocols give one identity, and every value keeps its bits. Zero is left out by the writer, its negative is not.
#[test]
fn what_is_encoded_comes_back_bit_by_bit() {
    let values =
        [0.0, -0.0, 1.5, f64::INFINITY, f64::from_bits(model::sample::STALE_NAN_BITS), 9_007_199_254_740_993.0];
    let times = [0, -1, 1, i64::MIN, i64::MAX, 1_790_000_000_000];
    let samples: Vec<_> = times.into_iter().zip(values).map(|(time, value)| sample(time, value)).collect();
    let mut identities = Vec::new();
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut batch = Batch::new();
        decode(&mut batch, protocol, &small(protocol, &samples)).expect("a sound message");
        assert_eq!(batch.times(), times);
        assert_eq!(batch.values(), values.map(f64::to_bits));
        identities.push(batch.series()[0].id);
        check(&mut batch, protocol, &small(protocol, &samples));
    }
    let pairs = LABELS.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    assert_eq!(identities, [key().series(pairs); 2]);
}

#[test]
fn an_empty_message_is_an_empty_batch() {
    let mut batch = Batch::new();
    for protocol in [Protocol::V1, Protocol::V2] {
        decode(&mut batch, protocol, &[]).expect("nothing is sound");
        assert!(batch.series().is_empty());
        let error = batch.decode(protocol, &[], &key(), &DecodeLimits::default()).expect_err("not even a length");
        assert!(matches!(error, DecodeError::Snappy(_)), "{error}");
    }
}

/// Goal: a few bytes that claim to be gigabytes cost nothing.
#[test]
fn a_bomb_is_refused_by_its_declared_length() {
    let mut batch = Batch::new();
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0xfe, 1, 0];
    let error = batch.decode(Protocol::V1, &bomb, &key(), &DecodeLimits::default()).expect_err("4 GiB");
    assert_eq!(error, DecodeError::LimitReached { which: Limit::DecodedBytes, bound: 32 << 20 });
    assert_eq!(batch.arena.capacity(), 0);
}

#[test]
fn every_limit_is_named() {
    let message = [small(Protocol::V1, &[sample(1, 1.0)]), small(Protocol::V1, &[sample(1, 1.0)])].concat();
    let unlimited = DecodeLimits::default();
    let cases = [
        (DecodeLimits { series_max: 1, ..unlimited }, Protocol::V1, Limit::Series, 1),
        (DecodeLimits { samples_max: 1, ..unlimited }, Protocol::V1, Limit::Samples, 1),
        (DecodeLimits { decoded_bytes_max: 40, ..unlimited }, Protocol::V1, Limit::DecodedBytes, 40),
        (DecodeLimits { symbols_max: 6, ..unlimited }, Protocol::V2, Limit::Symbols, 6),
    ];
    for (limits, protocol, which, bound) in cases {
        let message = if protocol == Protocol::V1 { message.clone() } else { small(protocol, &[sample(1, 1.0)]) };
        let mut batch = Batch::new();
        let error = batch.decode(protocol, Compressor::default().compress(&message), &key(), &limits);
        assert_eq!(error, Err(DecodeError::LimitReached { which, bound }));
        assert!(batch.series().is_empty());
    }
}

#[test]
fn too_many_labels_are_one_rejected_series() {
    let limits = DecodeLimits { labels_per_series_max: 2, ..DecodeLimits::default() };
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut batch = Batch::new();
        let message = small(protocol, &[sample(1, 1.0), sample(2, 2.0)]);
        batch.decode(protocol, Compressor::default().compress(&message), &key(), &limits).expect("a sound message");
        let first = batch.rejections().first.expect("the only series");
        assert_eq!((first.index, first.reason), (0, RejectReason::TooManyLabels { bound: 2 }));
        assert_eq!((batch.rejections().samples, batch.series().len(), batch.times().len()), (2, 0, 0));
    }
}

#[test]
fn a_reference_in_two_pieces_is_malformed() {
    let message = [0x22, 0x00, 0x2a, 0x07, 0x0a, 0x02, 0x00, 0x80, 0x0a, 0x01, 0x00];
    let error = decode(&mut Batch::new(), Protocol::V2, &message).expect_err("half a reference");
    assert_eq!(error, DecodeError::Malformed { offset: 6, what: "a reference that does not end" });
}

#[test]
fn damage_is_named_by_its_place() {
    let mut message = small(Protocol::V1, &[sample(1, 1.0)]);
    let end = message.len();
    message.extend_from_slice(&[0x0a, 0x05, 0x0a, 0x7f]);
    let error = decode(&mut Batch::new(), Protocol::V1, &message).expect_err("cut off");
    assert_eq!(error, DecodeError::Malformed { offset: end + 1, what: "a length beyond the end of its message" });
    assert!(error.to_string().contains(&format!("at byte {}", end + 1)), "{error}");
}

/// Goal: a huge request does not stay in memory behind the small ones that follow it.
#[test]
fn memory_of_a_huge_request_is_given_back() {
    let huge: Vec<u8> = small(Protocol::V1, &[sample(1, 1.0)]).repeat(200_000);
    let mut batch = Batch::new();
    decode(&mut batch, Protocol::V1, &huge).expect("a sound message");
    assert_eq!(batch.series().len(), 200_000);
    decode(&mut batch, Protocol::V1, &small(Protocol::V1, &[sample(1, 1.0)])).expect("a sound message");
    assert!(batch.arena.capacity() < 1 << 20);
    assert!(batch.columns.entries.capacity() < 200_000 && batch.columns.times.capacity() < 200_000);
}
