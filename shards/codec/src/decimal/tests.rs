use model::sample::STALE_NAN_BITS;
use proptest::{collection::vec, prelude::*};

use super::*;

/// By all kernels, which must agree.
fn decoded(chunk: &[u8]) -> Result<(Vec<i64>, Vec<u64>), ChunkError> {
    let mut all = Kernel::all().into_iter().map(|kernel| {
        let (mut times, mut values) = (vec![7], vec![8]);
        let result = decode_with(kernel, chunk, &mut times, &mut values);
        assert_eq!((times[0], values[0]), (7, 8), "what was there stays");
        match result {
            Ok(count) => assert_eq!((times.len(), values.len()), (count + 1, count + 1)),
            Err(_) => assert_eq!((times.len(), values.len()), (1, 1)),
        }
        result.map(|_| (times.split_off(1), values.split_off(1)))
    });
    let scalar = all.next().expect("the scalar one");
    all.for_each(|other| assert_eq!(other, scalar));
    scalar
}

/// Takes a column by all kernels, which must agree; returns what is behind it.
fn column_of(bytes: &[u8], count: usize) -> (Vec<i64>, Vec<u8>) {
    let mut all = Kernel::all().into_iter().map(|kernel| {
        let (mut rest, mut integers) = (bytes, vec![0; count]);
        assert_eq!(column::decode(kernel, &mut rest, &mut integers), Ok(()));
        (integers.into_iter().map(|integer| integer as i64).collect(), rest.to_vec())
    });
    let scalar = all.next().expect("the scalar one");
    all.for_each(|other| assert_eq!(other, scalar));
    scalar
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn times(count: usize) -> Vec<i64> {
    (0..count as i64).map(|at| 1_700_000_000_000 + at * 10_000).collect()
}

#[test]
fn the_bytes_are_those_of_the_description() {
    let chunk = encode(&[1000, 2000, 3001], &bits(&[0.5, 0.75, 0.25])).expect("decimal");
    let expected = [
        &[0, 3, 2][..],
        // 1000; base 1000, width 1: 0 and 1.
        &[0xd0, 0x0f, 0xd0, 0x0f, 1, 0b10],
        // 50; base -50, width 7: 75 and 0.
        &[100, 99, 7, 75, 0],
    ];
    assert_eq!(chunk, expected.concat());
}

#[test]
fn what_has_no_short_decimal_is_refused() {
    for odd in [f64::NAN, f64::INFINITY, -0.0, 1.0 / 3.0, 1e300, 5e-324, f64::from_bits(STALE_NAN_BITS), 1e-10] {
        assert_eq!(encode(&times(3), &bits(&[1.0, odd, 2.0])), None, "{odd}");
    }
    for edge in [(1u64 << 51) as f64, -((1u64 << 51) as f64) - 1.0, 9_007_199_254_740_993.0, u64::MAX as f64] {
        assert_eq!(encode(&times(1), &bits(&[edge])), None, "{edge}");
    }
    for fits in [((1u64 << 51) - 1) as f64, -((1u64 << 51) as f64), 0.0, 1e-9, 1e15, 123_456.789_012_345] {
        let chunk = encode(&times(1), &bits(&[fits])).expect("decimal");
        assert_eq!(decoded(&chunk), Ok((times(1), bits(&[fits]))));
    }
}

#[test]
fn calm_series_cost_a_fraction_of_xor() {
    let counter: Vec<f64> = (0..120).map(|at| (4_000_000 + at * 2000 + at * at * 7919 % 1999) as f64).collect();
    let gauge: Vec<f64> = (0..120).map(|at| (7000 + at * at * 31 % 500) as f64 / 100.0).collect();
    for (values, xor_at_least, at_most) in [(counter, 300, 220), (gauge, 700, 190)] {
        let samples: Vec<_> = times(120).into_iter().zip(bits(&values)).collect();
        let xor = gorilla::encode_chunk(&samples);
        let mut transcoder = Transcoder::default();
        let chunk = transcoder.shorter(&xor).expect("shorter");
        assert!(xor.len() >= xor_at_least && chunk.len() <= at_most, "{} and {}", xor.len(), chunk.len());
        assert_eq!(decoded(chunk), Ok((times(120), bits(&values))));
    }
}

#[test]
fn damage_is_named() {
    let chunk =
        encode(&times(100), &bits(&(0..100).map(|at| f64::from(at * at)).collect::<Vec<_>>())).expect("decimal");
    for length in 0..chunk.len() {
        let error = decoded(&chunk[..length]).expect_err("cut off");
        assert!(matches!(error.what, Damage::Short | Damage::Truncated), "{error}");
        assert!(error.offset_bits <= length * 8);
    }
    let with = |at: usize, byte: u8| [&chunk[..at], &[byte], &chunk[at + 1..]].concat();
    assert_eq!(decoded(&with(2, 10)), Err(ChunkError { offset_bits: 16, what: Damage::Scale }));
    assert_eq!(decoded(&with(12, 65)).map_err(|error| error.what), Err(Damage::Width));
    assert_eq!(decoded(&[&[0xff, 0xff, 0][..], &[0; 100]].concat()).map_err(|error| error.what), Err(Damage::Short));
}

fn any_integer() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -1000..1000i64,
        2 => (0..64u32, any::<i64>()).prop_map(|(shift, number)| number >> shift),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 0, -1]),
    ]
}

/// The column by the description, a bit at a time.
fn naive_column(integers: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(first) = integers.first() else { return out };
    crate::varint::put_signed(&mut out, *first);
    let differences: Vec<i64> = integers.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    for group in differences.chunks(32) {
        let base = *group.iter().min().expect("not empty");
        let rests: Vec<u64> = group.iter().map(|difference| difference.wrapping_sub(base) as u64).collect();
        let width = (0..=64).find(|width| rests.iter().all(|rest| *width == 64 || rest >> width == 0)).expect("64 do");
        crate::varint::put_signed(&mut out, base);
        out.push(width as u8);
        let bits: Vec<u8> = rests.iter().flat_map(|rest| (0..width).map(move |at| (rest >> at & 1) as u8)).collect();
        out.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().map(|(at, bit)| bit << at).sum::<u8>()));
    }
    out
}

/// Goal: kernels agree for every width and every length of a group, at the end of the bytes and before others.
#[test]
fn kernels_agree_for_all_widths_and_lengths() {
    let word = |at: usize| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u8;
    for width in 0..=64 {
        for length in 0..=unpack::GROUP {
            let bytes: Vec<u8> = (0..(length * width as usize).div_ceil(8) + 70).map(word).collect();
            for behind in [0, 1, 7, 70] {
                let packed = &bytes[..bytes.len() - 70 + behind];
                let unpacked = Kernel::all().into_iter().map(|kernel| {
                    let mut group = vec![0; length];
                    (kernel.unpack(packed, width, 0xfedc_ba98_7654_3210, 77, &mut group), group)
                });
                let unpacked: Vec<_> = unpacked.collect();
                assert!(
                    unpacked.iter().all(|one| *one == unpacked[0]),
                    "width {width}, length {length}, {behind} behind"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn columns_are_as_described_and_survive(integers in vec(any_integer(), 0..200), behind in vec(any::<u8>(), 0..20)) {
        let mut bytes = Vec::new();
        column::encode(&integers, &mut bytes);
        prop_assert_eq!(&bytes, &naive_column(&integers));
        prop_assert!(bytes.len() >= column::bytes_min(integers.len()));
        bytes.extend_from_slice(&behind);
        prop_assert_eq!(column_of(&bytes, integers.len()), (integers, behind));
    }

    #[test]
    fn each_width_survives(width in 0..=64u32, rests in vec(any::<u64>(), 1..80)) {
        let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
        let mut sum = 5i64;
        let integers: Vec<i64> = rests.iter().map(|rest| { sum = sum.wrapping_add((rest & mask) as i64); sum }).collect();
        let mut bytes = Vec::new();
        column::encode(&integers, &mut bytes);
        prop_assert_eq!(column_of(&bytes, integers.len()), (integers, vec![]));
    }

    #[test]
    fn values_come_back_with_their_bits(
        decimals in 0..=9i32,
        numbers in vec((-1_000_000_000_000i64..1_000_000_000_000, 0..=9i32), 1..150),
        start in any::<i64>(),
    ) {
        let values: Vec<u64> = numbers
            .iter()
            .map(|(number, fewer)| (*number as f64 / 10f64.powi(decimals.min(*fewer))).to_bits())
            .collect();
        let times: Vec<i64> = (0..values.len() as i64).map(|at| start.wrapping_add(at * 15_000)).collect();
        if let Some(chunk) = encode(&times, &values) {
            prop_assert_eq!(decoded(&chunk), Ok((times, values)));
        } else {
            prop_assert!(numbers.iter().any(|(number, _)| number.abs() > 1_000_000), "only long ones are refused");
        }
    }

    #[test]
    fn any_bytes_are_a_chunk_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        // What it holds may have integers that no encoder writes, whose doubles are not theirs alone.
        if let Ok((times, values)) = decoded(&bytes) {
            prop_assert_eq!(times.len(), values.len());
        }
    }
}
