//! Integers in variable numbers of bits, as Prometheus writes them into histogram chunks.
//!
//! A prefix of ones and a zero says how many bits follow: `0` none (the number is 0), `10` 3, `110` 6, then 9, 12, 18, 25 and, with eight
//! ones or seven and a zero, 64 and 56. A signed number of a width *w* is from -2^(w-1) + 1 to 2^(w-1).

use crate::bits::{BitReader, BitSink};

/// Widths by the number of ones in front.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

fn put(bits: u64, ones: usize, sink: &mut impl BitSink) {
    match ones {
        0 => return sink.put(0, 1),
        8 => sink.put(0xff, 8),
        _ => sink.put((2 << ones) - 2, ones as u32 + 1),
    }
    let width = WIDTHS[ones];
    sink.put(bits & (u64::MAX >> (64 - width)), width);
}

pub(super) fn put_signed(value: i64, sink: &mut impl BitSink) {
    let fits = |width: u32| value > -(1 << (width - 1)) && value <= 1 << (width - 1);
    let ones = match value {
        0 => 0,
        _ => (1..8).find(|&ones| fits(WIDTHS[ones])).unwrap_or(8),
    };
    put(value as u64, ones, sink);
}

pub(super) fn put_unsigned(value: u64, sink: &mut impl BitSink) {
    let ones = match value {
        0 => 0,
        _ => (1..8).find(|&ones| value >> WIDTHS[ones] == 0).unwrap_or(8),
    };
    put(value, ones, sink);
}

/// The bits of a number and how many they are.
fn take(reader: &mut BitReader<'_>) -> (u64, u32) {
    reader.refill();
    let ones = (!reader.window()).leading_zeros().min(8);
    reader.skip((ones + 1).min(8));
    let width = WIDTHS[ones as usize];
    (take_bits(reader, width), width)
}

/// The next 0 to 64 bits.
pub(super) fn take_bits(reader: &mut BitReader<'_>, count: u32) -> u64 {
    match count {
        0 => 0,
        1..=56 => {
            reader.refill();
            let bits = reader.window() >> (64 - count);
            reader.skip(count);
            bits
        }
        _ => reader.take_long(count),
    }
}

pub(super) fn take_signed(reader: &mut BitReader<'_>) -> i64 {
    let (bits, width) = take(reader);
    let is_negative = (1..64).contains(&width) && bits > 1 << (width - 1);
    if is_negative { bits.wrapping_sub(1 << width) as i64 } else { bits as i64 }
}

pub(super) fn take_unsigned(reader: &mut BitReader<'_>) -> u64 {
    take(reader).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bits::BitWriter;

    fn bits_of(put: impl FnOnce(&mut BitWriter<Vec<u8>>)) -> Vec<u8> {
        let mut writer = BitWriter::new(Vec::new());
        put(&mut writer);
        writer.finish()
    }

    #[test]
    fn bits_are_as_the_format_says() {
        assert_eq!(bits_of(|sink| put_signed(0, sink)), [0]);
        assert_eq!(bits_of(|sink| put_signed(4, sink)), [0b10_100_000]);
        assert_eq!(bits_of(|sink| put_signed(-3, sink)), [0b10_101_000]);
        assert_eq!(bits_of(|sink| put_signed(-4, sink)), [0b110_11110, 0]);
        assert_eq!(bits_of(|sink| put_signed(5, sink)), [0b110_00010, 0b1000_0000]);
        assert_eq!(bits_of(|sink| put_unsigned(7, sink)), [0b10_111_000]);
        assert_eq!(bits_of(|sink| put_unsigned(8, sink)), [0b110_00100, 0]);
        assert_eq!(bits_of(|sink| put_signed(i64::MIN, sink)), [0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bits_of(|sink| put_unsigned(1 << 30, sink))[..2], [0b1111_1110, 0]);
    }

    proptest! {
        #[test]
        fn numbers_read_back(numbers in prop::collection::vec((any::<i64>(), 0u32..64), 0..50)) {
            let numbers: Vec<i64> = numbers.into_iter().map(|(number, shift)| number >> shift).collect();
            let bytes = bits_of(|sink| {
                for &number in &numbers {
                    put_signed(number, sink);
                    put_unsigned(number as u64, sink);
                }
            });
            let mut reader = BitReader::new(&bytes, 0);
            for &number in &numbers {
                prop_assert_eq!(take_signed(&mut reader), number);
                prop_assert_eq!(take_unsigned(&mut reader), number as u64);
            }
            prop_assert!(reader.position() <= bytes.len() * 8 && reader.position() + 8 > bytes.len() * 8);
        }
    }
}
