//! Prometheus' XOR chunk (encoding byte 1), bit for bit.
//!
//! A chunk is a big-endian `u16` sample count and one bit stream, written from the highest bit of each byte down and padded with
//! zeros to a whole byte. In the stream:
//!
//! | sample | time | value |
//! | --- | --- | --- |
//! | first | signed varint, milliseconds | 8 bytes, big-endian bits of the double |
//! | second | difference to the first, unsigned varint | xor code |
//! | others | code of the difference's difference (*dod*) | xor code |
//!
//! dod code: `0` for 0, `10` + 14 bits, `110` + 17, `1110` + 20, `1111` + 64; a width of *w* bits holds
//! -2^(w-1) + 1 up to 2^(w-1). xor code, of the value's bits and its predecessor's: `0` for equal; `10` + the bits inside the
//! window that is in force; `11` + 5 bits leading zeros (31 at most) + 6 bits length (0 means 64) + the bits of that window,
//! which is in force from then on. All arithmetic wraps, so every `i64` time can be held in any order.
//!
//! The count is apart from the bits in [`XorState`] and [`decode_bits_into`], because an open chunk keeps it elsewhere.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use crate::bits::{BitSink, BitWriter};
pub(crate) use decode::XorValue;
pub use decode::{ChunkError, Damage, Samples, decode_bits_into, decode_into};
pub use encode::{XorState, encode_chunk, encode_columns};

/// Prometheus' number of this encoding.
pub const ENCODING: u8 = 1;

/// Bytes in front of the bit stream of a finished chunk: the count.
pub const HEADER_BYTES: usize = 2;

/// Most bits that one sample can take: a time of 10 varint bytes and 8 value bytes, or 4 + 64 and 2 + 5 + 6 + 64 bits.
pub const SAMPLE_BITS_MAX: usize = 145;
