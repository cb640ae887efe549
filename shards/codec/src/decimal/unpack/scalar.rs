//! One difference after the other.

use super::GROUP;

/// Widest differences that lie in eight bytes, whatever bit they begin at.
const WIDTH_OF_ONE_WORD: u32 = 57;
/// Bytes of the longest group, and of the load that begins in its last one.
const GROUP_BYTES_MAX: usize = GROUP * 8 + 8;

pub(super) fn unpack(packed: &[u8], width: u32, base: u64, last: u64, group: &mut [u64]) -> u64 {
    let mut sum = last;
    if width == 0 {
        for integer in group {
            sum = sum.wrapping_add(base);
            *integer = sum;
        }
        return sum;
    }
    // So that each load finds eight bytes.
    let mut bytes = [0; GROUP_BYTES_MAX];
    let length = (group.len() * width as usize).div_ceil(8);
    bytes[..length].copy_from_slice(&packed[..length]);
    let mask = u64::MAX >> (u64::BITS - width);
    let load = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let mut bit = 0;
    for integer in group {
        let (at, shift) = (bit / 8, bit as u32 % 8);
        let mut difference = load(at) >> shift;
        if width > WIDTH_OF_ONE_WORD && shift > 0 {
            difference |= u64::from(bytes[at + 8]) << (u64::BITS - shift);
        }
        sum = sum.wrapping_add(base).wrapping_add(difference & mask);
        *integer = sum;
        bit += width as usize;
    }
    sum
}
