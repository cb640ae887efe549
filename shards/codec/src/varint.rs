//! Variable-length integers in the form of Go's `encoding/binary`, which is what Prometheus' files hold.
//!
//! Unsigned: seven bits a byte, lowest first, the top bit says that another byte follows. Signed: zigzag, then unsigned.
//! Reading accepts what Go's `Uvarint` accepts, longer forms than needed included, up to ten bytes.

/// Most bytes that one integer takes.
pub const BYTES_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    #[error("the bytes end inside a varint")]
    Truncated,
    #[error("a varint holds more than 64 bits")]
    Overflow,
}

/// Folds the sign into the lowest bit, so that small numbers of either sign are small.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The way back from [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// One integer's bytes and how many of them count.
#[inline]
pub fn encode_unsigned(mut value: u64) -> ([u8; BYTES_MAX], usize) {
    let mut bytes = [0; BYTES_MAX];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}

#[inline]
pub fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else if value < 1 << WORD_BITS {
        put_word(out, value);
    } else {
        let (bytes, length) = encode_unsigned(value);
        out.extend_from_slice(&bytes[..length]);
    }
}

/// Bits that eight bytes of seven hold.
const WORD_BITS: u32 = 56;
/// The bit of each byte that says that another one follows.
const MORE_BITS: u64 = 0x8080_8080_8080_8080;

/// Up to eight bytes at once: neighbours in a column differ in length, so a loop over bytes would be mispredicted each time.
#[inline]
fn put_word(out: &mut Vec<u8>, value: u64) {
    let length = (70 - value.leading_zeros()) / 7;
    let spread = (value & 0x0fff_ffff) | (value & 0x0fff_ffff << 28) << 4;
    let spread = (spread & 0x3fff << 32 | spread & 0x3fff) | (spread & (0x3fff << 46 | 0x3fff << 14)) << 2;
    let low = 0x007f_007f_007f_007f;
    let spread = (spread & low) | (spread & low << 7) << 1;
    let more = MORE_BITS & ((1 << (8 * (length - 1))) - 1);
    out.extend_from_slice(&(spread | more).to_le_bytes());
    out.truncate(out.len() - 8 + length as usize);
}

#[inline]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag(value));
}

/// Takes an unsigned integer off the front; on an error the slice stays as it was.
#[inline]
pub fn take_unsigned(bytes: &mut &[u8]) -> Result<u64, VarintError> {
    match bytes.split_first() {
        Some((&first, rest)) if first < 0x80 => {
            *bytes = rest;
            Ok(u64::from(first))
        }
        _ => take_long(bytes),
    }
}

/// Takes a signed integer off the front; on an error the slice stays as it was.
#[inline]
pub fn take_signed(bytes: &mut &[u8]) -> Result<i64, VarintError> {
    take_unsigned(bytes).map(unzigzag)
}

// A loop over bytes: taking eight at once, without a branch on the length, made columns of mixed lengths a third slower to read
// (benches/columns.rs, `decode/mixed/Scattered`), since the next integer then waits for all of this one.
fn take_long(bytes: &mut &[u8]) -> Result<u64, VarintError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            if index + 1 == BYTES_MAX && byte > 1 {
                return Err(VarintError::Overflow);
            }
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < BYTES_MAX { VarintError::Truncated } else { VarintError::Overflow })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_unsigned(value: u64, expect: &[u8]) {
        let mut out = Vec::new();
        put_unsigned(&mut out, value);
        assert_eq!(out, expect, "{value}");
        out.push(0x55);
        let mut rest = out.as_slice();
        assert_eq!(take_unsigned(&mut rest), Ok(value));
        assert_eq!(rest, [0x55]);
    }

    #[test]
    fn forms_of_go() {
        check_unsigned(0, &[0]);
        check_unsigned(127, &[0x7f]);
        check_unsigned(128, &[0x80, 0x01]);
        check_unsigned(16383, &[0xff, 0x7f]);
        check_unsigned(16384, &[0x80, 0x80, 0x01]);
        check_unsigned(u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        for (value, expect) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)] {
            assert_eq!(zigzag(value), expect);
            assert_eq!(unzigzag(expect), value);
        }
    }

    #[test]
    fn every_length_comes_back_and_every_cut_is_noticed() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let signed = unzigzag(value);
                let mut out = Vec::new();
                put_signed(&mut out, signed);
                assert_eq!(take_signed(&mut out.as_slice()), Ok(signed));
                for cut in 0..out.len() {
                    assert_eq!(take_unsigned(&mut &out[..cut]), Err(VarintError::Truncated));
                }
                assert_eq!(out, encode_unsigned(value).0[..encode_unsigned(value).1], "{value:#x}");
                out.extend([0xff; 8]);
                let mut rest = out.as_slice();
                assert_eq!(take_unsigned(&mut rest), Ok(value), "{value:#x}");
                assert_eq!(rest, [0xff; 8]);
            }
        }
    }

    #[test]
    fn longer_than_needed_is_taken_and_more_than_64_bits_is_not() {
        assert_eq!(take_unsigned(&mut &[0x81, 0x80, 0x00][..]), Ok(1));
        let mut bytes = [0xff; 11];
        assert_eq!(take_unsigned(&mut &bytes[..]), Err(VarintError::Overflow));
        bytes[9] = 2;
        assert_eq!(take_unsigned(&mut &bytes[..]), Err(VarintError::Overflow));
        bytes[9] = 1;
        assert_eq!(take_unsigned(&mut &bytes[..]), Ok(u64::MAX));
    }
}
