//! Properties of the codecs over generated data; the chunk's against the naive one in `naive`.

mod naive;

use codec::{
    columns,
    gorilla::{self, BitSink, HEADER_BYTES, XorState},
    varint,
};
use model::sample::{NORMAL_NAN_BITS, STALE_NAN_BITS};
use proptest::{collection::vec, prelude::*};

fn any_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => any::<u64>(),
        2 => (0..=52u64).prop_map(|shift| 0x7ff0 << 48 | 1 << shift.min(51)),
        2 => any::<u64>().prop_map(|payload| payload | 0x7ff0 << 48),
        4 => (-1_000_000i64..1_000_000).prop_map(|number| (number as f64).to_bits()),
        4 => (-1_000_000i64..1_000_000).prop_map(|number| (number as f64 / 1000.0).to_bits()),
        2 => any::<i64>().prop_map(|number| (number as f64).to_bits()),
        2 => (-1074i32..1024).prop_map(|exponent| 2f64.powi(exponent).to_bits()),
        1 => Just(STALE_NAN_BITS),
        1 => Just(NORMAL_NAN_BITS),
        1 => Just((-0f64).to_bits()),
        1 => Just(0),
        1 => Just(f64::INFINITY.to_bits()),
    ]
}

/// A step from one value to the next, so that equal values, windows in force and new ones all occur.
fn value_step() -> impl Strategy<Value = (u8, u64)> {
    (0..5u8, any_bits())
}

fn follow(previous: u64, (kind, bits): (u8, u64)) -> u64 {
    match kind {
        0 | 1 => previous,
        // A few bits in the middle: likely to fit into the window in force.
        2 => previous ^ (bits & 0xfff) << 30,
        3 => (f64::from_bits(previous) + 1.0).to_bits(),
        _ => bits,
    }
}

fn time_step() -> impl Strategy<Value = i64> {
    let limits = [14, 17, 20, 40].map(|width| 1i64 << (width - 1));
    prop_oneof![
        6 => Just(15_000i64),
        3 => 14_900..15_100i64,
        2 => (prop::sample::select(limits.to_vec()), -2..=2i64, any::<bool>())
            .prop_map(|(limit, around, negative)| if negative { around - limit } else { around + limit }),
        1 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 0, -1]),
    ]
}

fn samples(longest: usize) -> impl Strategy<Value = Vec<(i64, u64)>> {
    let start =
        prop_oneof![Just(1_700_000_000_000i64), any::<i64>(), prop::sample::select(vec![i64::MIN, i64::MAX, 0])];
    (start, any_bits(), vec((time_step(), value_step()), 0..=longest)).prop_map(|(start, bits, steps)| {
        let mut last = (start, bits);
        let follow_all = |(time, value): (i64, (u8, u64))| {
            let sample = last;
            last = (last.0.wrapping_add(time), follow(last.1, value));
            sample
        };
        steps.into_iter().map(follow_all).collect()
    })
}

fn decode(chunk: &[u8]) -> Result<Vec<(i64, u64)>, gorilla::ChunkError> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let count = gorilla::decode_into(chunk, &mut times, &mut values)?;
    assert_eq!((times.len(), values.len()), (count, count));
    Ok(times.into_iter().zip(values).collect())
}

/// A sink that keeps each bit apart and checks the contract on what it is given.
#[derive(Default)]
struct Bits(Vec<bool>);

impl BitSink for Bits {
    fn put(&mut self, bits: u64, count: u32) {
        assert!((1..=64).contains(&count) && u128::from(bits) >> count == 0, "{count} bits of {bits:#x}");
        self.0.extend((0..count).rev().map(|at| bits >> at & 1 == 1));
    }
}

proptest! {
    #[test]
    fn a_chunk_has_the_bits_of_the_naive_one(samples in samples(260)) {
        let chunk = gorilla::encode_chunk(&samples);
        prop_assert_eq!(&chunk, &naive::encode(&samples));
        prop_assert_eq!(naive::decode(&chunk), Some(samples.clone()));
        prop_assert_eq!(decode(&chunk), Ok(samples.clone()));
        let walked: Result<Vec<_>, _> = gorilla::Samples::new(&chunk).expect("a whole chunk").collect();
        prop_assert_eq!(walked, Ok(samples));
    }

    #[test]
    fn an_open_stream_decodes_after_every_sample(samples in samples(40)) {
        let mut state = XorState::default();
        let mut sink = Bits::default();
        for (index, &(time, value)) in samples.iter().enumerate() {
            state.append(time, value, &mut sink);
            prop_assert_eq!((state.time, state.value, usize::from(state.count)), (time, value, index + 1));
            let mut bytes: Vec<u8> = sink.0.chunks(8).map(|byte| byte.iter().fold(0, |sum, &bit| sum << 1 | u8::from(bit)) << (8 - byte.len())).collect();
            // What lies behind the end is not looked at.
            bytes.push(0xff);
            let (mut times, mut values) = (Vec::new(), Vec::new());
            gorilla::decode_bits_into(state.count, &bytes, sink.0.len(), &mut times, &mut values).expect("an open chunk");
            let decoded: Vec<_> = times.into_iter().zip(values).collect();
            prop_assert_eq!(&decoded, &samples[..=index]);
            let short = gorilla::decode_bits_into(state.count, &bytes, sink.0.len() - 1, &mut Vec::new(), &mut Vec::new());
            prop_assert!(short.is_err(), "a bit is missing");
        }
    }

    #[test]
    fn hostile_bytes_mean_the_same_to_both_decoders(head in prop_oneof![0..300u16, any::<u16>()], bytes in vec(any::<u8>(), 0..200)) {
        let chunk = [&head.to_be_bytes(), bytes.as_slice()].concat();
        prop_assert_eq!(decode(&chunk).ok(), naive::decode(&chunk));
        let walked: Option<Result<Vec<_>, _>> = gorilla::Samples::new(&chunk).ok().map(Iterator::collect);
        prop_assert_eq!(walked.and_then(Result::ok), naive::decode(&chunk));
    }

    #[test]
    fn a_flipped_bit_means_the_same_to_both_decoders(samples in samples(130), at in any::<prop::sample::Index>()) {
        let mut chunk = gorilla::encode_chunk(&samples);
        let bit = at.index((chunk.len() - HEADER_BYTES).max(1) * 8);
        if let Some(byte) = chunk.get_mut(HEADER_BYTES + bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        prop_assert_eq!(decode(&chunk).ok(), naive::decode(&chunk));
    }

    #[test]
    fn columns_come_back(
        samples in prop_oneof![samples(300), samples(3)],
        steps in vec(prop_oneof![4 => Just(1u32), 2 => Just(0u32), 1 => any::<u32>()], 300),
        from in any::<u32>(),
    ) {
        let (times, values): (Vec<i64>, Vec<u64>) = samples.into_iter().unzip();
        let mut last = from;
        let series: Vec<u32> = steps[..times.len()].iter().map(|&step| { last = last.wrapping_add(step); last }).collect();
        let mut packed = Vec::new();
        columns::encode(&series, &times, &values, &mut packed);
        prop_assert!(packed.len() <= columns::encoded_bytes_max(times.len()));
        let bytes = packed.len();
        packed.extend([0xab; 3]);
        let (mut s, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
        let decoded = columns::decode(&packed, &mut s, &mut t, &mut v);
        prop_assert_eq!(decoded, Ok(columns::Decoded { samples: times.len(), bytes }));
        prop_assert_eq!((s, t, v), (series, times, values));
    }

    #[test]
    fn hostile_columns_are_refused_or_bounded(count in 0..64u8, bytes in vec(any::<u8>(), 0..400)) {
        let bytes = [&[count], bytes.as_slice()].concat();
        let (mut s, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
        match columns::decode(&bytes, &mut s, &mut t, &mut v) {
            Ok(decoded) => {
                prop_assert!(decoded.bytes <= bytes.len() && decoded.samples == usize::from(count));
                prop_assert_eq!((s.len(), t.len(), v.len()), (decoded.samples, decoded.samples, decoded.samples));
            }
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                prop_assert!(s.is_empty() && t.is_empty() && v.is_empty());
            }
        }
    }

    #[test]
    fn varints_come_back(number in any::<i64>(), shift in 0..64u32, tail in vec(any::<u8>(), 0..4)) {
        let number = number >> shift;
        let mut bytes = Vec::new();
        varint::put_signed(&mut bytes, number);
        varint::put_unsigned(&mut bytes, number as u64);
        bytes.extend(&tail);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(varint::take_signed(&mut rest), Ok(number));
        prop_assert_eq!(varint::take_unsigned(&mut rest), Ok(number as u64));
        prop_assert_eq!(rest, tail.as_slice());
    }
}

#[test]
fn every_length_of_a_chunk() {
    let samples: Vec<(i64, u64)> =
        (0..700i64).map(|i| (i * i % 977, (i * i % 313) as u64 * 0x0101_0101_0101)).collect();
    for length in 0..=samples.len() {
        let chunk = gorilla::encode_chunk(&samples[..length]);
        assert_eq!(chunk, naive::encode(&samples[..length]), "{length} samples");
        assert_eq!(decode(&chunk).as_deref(), Ok(&samples[..length]));
    }
    let longest = vec![(7, 9); usize::from(u16::MAX)];
    assert_eq!(decode(&gorilla::encode_chunk(&longest)), Ok(longest));
}
