//! Chunks of numbers that are short in decimal notation: the head's own, denser than XOR and quicker to decode.
//!
//! Most metrics are whole numbers or have a few decimals. As doubles their fractions are long, and the xor of two has nearly as
//! many bits as a fraction; as integers, scaled by a power of ten, neighbours differ by little. The idea is decimal scaling as
//! in ALP (Afroozeh et al., SIGMOD 2023) and VictoriaMetrics; the chunk is our own:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0-1 | count of samples, big endian, as in Prometheus' chunks |
//! | 2 | decimals *d*: a value is its integer divided by 10^d, at most 9 |
//! | 3- | column of times, column of the values' integers ([`column`]) |
//!
//! A chunk is of this kind only if each value comes back with the bits that went in; all others stay XOR chunks.

mod column;
mod scale;
#[cfg(test)]
mod tests;
mod unpack;

use self::unpack::Kernel;
use crate::gorilla::{self, ChunkError, Damage};

/// Number of this encoding: far from Prometheus', which count up from 1. No block has it.
pub const ENCODING: u8 = 128;

const HEADER_BYTES: usize = 3;

/// Makes chunks of XOR chunks; its memory is used again.
#[derive(Debug, Default)]
pub struct Transcoder {
    times: Vec<i64>,
    values: Vec<u64>,
    integers: Vec<i64>,
    chunk: Vec<u8>,
}

impl Transcoder {
    /// The chunk of the same samples, if there is one and it is shorter.
    pub fn shorter(&mut self, xor: &[u8]) -> Option<&[u8]> {
        self.times.clear();
        self.values.clear();
        gorilla::decode_into(xor, &mut self.times, &mut self.values).ok()?;
        let Self { times, values, integers, chunk } = self;
        (encode_into(times, values, integers, chunk) && chunk.len() < xor.len()).then_some(&self.chunk[..])
    }
}

/// The XOR chunk of the same samples: the one that the chunk was made of, if it was made of one.
pub fn to_xor(chunk: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    decode_into(chunk, &mut times, &mut values)?;
    Ok(gorilla::encode_columns(&times, &values))
}

/// Encodes samples; `None` if a value does not come back with its bits.
///
/// # Panics
/// On more than `u16::MAX` samples, which the count can't hold.
pub fn encode(times: &[i64], values: &[u64]) -> Option<Vec<u8>> {
    let mut chunk = Vec::new();
    encode_into(times, values, &mut Vec::new(), &mut chunk).then_some(chunk)
}

fn encode_into(times: &[i64], values: &[u64], integers: &mut Vec<i64>, chunk: &mut Vec<u8>) -> bool {
    let count = u16::try_from(times.len()).expect("a chunk holds at most 65,535 samples");
    let Some(decimals) = scale::to_integers(values, integers) else { return false };
    chunk.clear();
    chunk.extend_from_slice(&count.to_be_bytes());
    chunk.push(decimals);
    column::encode(times, chunk);
    column::encode(integers, chunk);
    true
}

/// Decodes a chunk and appends its samples; returns how many. On an error the vectors stay as they were.
pub fn decode_into(chunk: &[u8], times: &mut Vec<i64>, values: &mut Vec<u64>) -> Result<usize, ChunkError> {
    decode_with(Kernel::best(), chunk, times, values)
}

fn decode_with(kernel: Kernel, chunk: &[u8], times: &mut Vec<i64>, values: &mut Vec<u64>) -> Result<usize, ChunkError> {
    let error = |rest: &[u8], what| ChunkError { offset_bits: (chunk.len() - rest.len()) * 8, what };
    let Some((&[high, low, decimals], mut rest)) = chunk.split_first_chunk::<HEADER_BYTES>() else {
        return Err(error(chunk, Damage::Short));
    };
    let count = usize::from(u16::from_be_bytes([high, low]));
    if decimals > scale::DECIMALS_MAX {
        return Err(ChunkError { offset_bits: 16, what: Damage::Scale });
    }
    // Nothing is allocated for a count that can't be true.
    if rest.len() < 2 * column::bytes_min(count) {
        return Err(error(rest, Damage::Short));
    }
    let (times_start, values_start) = (times.len(), values.len());
    times.resize(times_start + count, 0);
    values.resize(values_start + count, 0);
    let columns = column::decode(kernel, &mut rest, as_words(&mut times[times_start..]))
        .and_then(|()| column::decode(kernel, &mut rest, &mut values[values_start..]));
    if let Err(what) = columns {
        times.truncate(times_start);
        values.truncate(values_start);
        return Err(error(rest, what));
    }
    scale::to_doubles(&mut values[values_start..], decimals);
    Ok(count)
}

fn as_words(times: &mut [i64]) -> &mut [u64] {
    // SAFETY: both types have the same size and alignment, and any bits are a value of either.
    unsafe { std::slice::from_raw_parts_mut(times.as_mut_ptr().cast(), times.len()) }
}
