//! Prometheus' chunks of native histograms: encoding byte 2 for integer counts, 3 for float counts.
//!
//! A chunk is a big-endian `u16` sample count, a byte that says how it follows the chunk before it ([`ResetHint`]), and one bit stream: the
//! layout, which all its histograms share, then the samples. Of a sample come time, count, zero count, sum and the buckets, the positive
//! ones first. Integers are [variable numbers of bits](varbit): as they are in the first sample, differences' differences in the others (time
//! and bucket differences signed from the start, counts unsigned). Floats are 64 bits in the first sample and xor codes later, as in a
//! [float chunk](crate::gorilla), each with a window of its own. A stale marker has no buckets, and only stale markers follow it in a chunk.

mod decode;
mod encode;
mod layout;
mod spread;
#[cfg(test)]
mod tests;
mod varbit;

use model::histogram::ResetHint;

pub use decode::HistogramSamples;
pub use encode::HistogramChunk;

/// Prometheus' number for histograms of integer counts.
pub const ENCODING_INTEGER: u8 = 2;
/// Prometheus' number for histograms of float counts.
pub const ENCODING_FLOAT: u8 = 3;

/// Bytes in front of the bit stream: the count and the flags.
const HEADER_BYTES: usize = 3;

/// Whether chunks of an encoding are of histograms.
pub fn is_histogram(encoding: u8) -> bool {
    matches!(encoding, ENCODING_INTEGER | ENCODING_FLOAT)
}

fn flags_of(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::NotReset => 0x40,
        ResetHint::Reset => 0x80,
        ResetHint::Gauge => 0xc0,
    }
}

fn hint_of(flags: u8) -> ResetHint {
    match flags & 0xc0 {
        0 => ResetHint::Unknown,
        0x40 => ResetHint::NotReset,
        0x80 => ResetHint::Reset,
        _ => ResetHint::Gauge,
    }
}
