//! Bytes and bits: Prometheus' float and histogram chunks, the head's decimal ones, varints, checksums, the packing of log columns, prefetching.
//!
//! Everything here is a function of its input. Decoders take hostile bytes: they return an error that says where and what, never
//! panic, and never allocate more than the input's length justifies. The scalar code is the specification of each format; a
//! faster kernel has to give the same bytes and the same bits.

mod bits;
pub mod columns;
pub mod crc;
pub mod decimal;
pub mod gorilla;
pub mod histogram;
pub mod prefetch;
pub mod varint;

/// Whether a chunk of this encoding has floats, so that [`decode_floats_into`] reads it.
pub fn is_float(encoding: u8) -> bool {
    matches!(encoding, gorilla::ENCODING | decimal::ENCODING)
}

/// Decodes a chunk of floats, anything but decimal being taken for XOR, and appends its samples; returns how many. On an error
/// the vectors stay as they were.
#[inline]
pub fn decode_floats_into(
    encoding: u8,
    chunk: &[u8],
    times: &mut Vec<i64>,
    values: &mut Vec<u64>,
) -> Result<usize, gorilla::ChunkError> {
    match encoding {
        decimal::ENCODING => decimal::decode_into(chunk, times, values),
        _ => gorilla::decode_into(chunk, times, values),
    }
}

/// Decodes a chunk of any encoding to its end; returns how many samples it has.
pub fn count_samples(encoding: u8, chunk: &[u8]) -> Result<usize, gorilla::ChunkError> {
    if histogram::is_histogram(encoding) {
        histogram::HistogramSamples::new(encoding, chunk)?.try_fold(0, |count, sample| sample.map(|_| count + 1))
    } else {
        decode_floats_into(encoding, chunk, &mut Vec::new(), &mut Vec::new())
    }
}
