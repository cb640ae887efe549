//! A column of integers that step evenly: the first one, then groups of differences, each a base and a width.
//!
//! | what | how |
//! | --- | --- |
//! | first integer | signed varint |
//! | group: base, the least difference of the group | signed varint |
//! | group: width *w*, at most 64 | a byte |
//! | group: up to 32 differences less the base | w bits each, from the lowest bit of each byte up, padded to a whole byte |
//!
//! All arithmetic wraps, so any integers in any order can be held.

use super::unpack::{GROUP, Kernel};
use crate::{
    gorilla::Damage,
    varint::{self, VarintError},
};

/// Widest differences that lie in eight bytes, whatever bit they begin at.
const WIDTH_OF_ONE_WORD: u32 = 57;
/// Bytes of the longest group, and of the load that begins in its last one.
const GROUP_BYTES_MAX: usize = GROUP * 8 + 8;

/// Bytes that a column of so many integers has at least.
pub(super) fn bytes_min(count: usize) -> usize {
    usize::from(count > 0) + 2 * count.saturating_sub(1).div_ceil(GROUP)
}

/// Appends a column.
pub(super) fn encode(integers: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = integers.split_first() else { return };
    varint::put_signed(out, first);
    let mut last = first;
    for group in rest.chunks(GROUP) {
        let mut differences = [0; GROUP];
        for (difference, &integer) in differences.iter_mut().zip(group) {
            *difference = integer.wrapping_sub(last);
            last = integer;
        }
        encode_group(&differences[..group.len()], out);
    }
}

fn encode_group(differences: &[i64], out: &mut Vec<u8>) {
    let base = differences.iter().copied().min().expect("a group is not empty");
    let all = differences.iter().fold(0, |all, difference| all | difference.wrapping_sub(base) as u64);
    let width = 64 - all.leading_zeros();
    varint::put_signed(out, base);
    out.push(width as u8);
    let rests = differences.iter().map(|difference| difference.wrapping_sub(base) as u64);
    let start = out.len();
    // Each is put into the word that its first bit lies in.
    out.resize(start + GROUP_BYTES_MAX, 0);
    let mut bit = 0;
    for rest in rests {
        let (at, shift) = (start + bit / 8, bit as u32 % 8);
        let word = u64::from_le_bytes(out[at..at + 8].try_into().expect("eight bytes")) | rest << shift;
        out[at..at + 8].copy_from_slice(&word.to_le_bytes());
        if width > WIDTH_OF_ONE_WORD && shift > 0 {
            out[at + 8] = (rest >> (u64::BITS - shift)) as u8;
        }
        bit += width as usize;
    }
    out.truncate(start + bit.div_ceil(8));
}

/// Takes a column off the front of `rest` and fills `integers` with it. On damage `rest` begins where it was noticed.
pub(super) fn decode(kernel: Kernel, rest: &mut &[u8], integers: &mut [u64]) -> Result<(), Damage> {
    let Some((first, others)) = integers.split_first_mut() else { return Ok(()) };
    let mut last = take_integer(rest)?;
    *first = last;
    for group in others.chunks_mut(GROUP) {
        let base = take_integer(rest)?;
        let (&width, packed) = rest.split_first().ok_or(Damage::Truncated)?;
        let width = u32::from(width);
        if width > u64::BITS {
            return Err(Damage::Width);
        }
        let length = (group.len() * width as usize).div_ceil(8);
        let behind = packed.get(length..).ok_or(Damage::Truncated)?;
        last = kernel.unpack(packed, width, base, last, group);
        *rest = behind;
    }
    Ok(())
}

fn take_integer(rest: &mut &[u8]) -> Result<u64, Damage> {
    varint::take_signed(rest).map(|integer| integer as u64).map_err(|error| match error {
        VarintError::Truncated => Damage::Truncated,
        VarintError::Overflow => Damage::Integer,
    })
}
