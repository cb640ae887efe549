//! Packing of one log frame's samples: three parallel columns (series, time, value bits), in the order of the batch.
//!
//! A frame is packed without a look at any other, so each decodes alone. Nothing is lost: values come back by their bits, NaN
//! payloads, the stale marker, -0.0 and integers above 2^53 included.
//!
//! ```text
//! count    unsigned varint
//! series   deltas (below), the first against 0
//! times    deltas, the first against 0, wrapping
//! tags     4 bits a value, the earlier value in the low half of its byte; a last half without a value is 0
//! values   as many bytes a value as its tag says, little-endian
//! ```
//!
//! *Deltas* are unsigned varints. Even: a zigzag delta, doubled. Odd, 2n + 1: the last delta is repeated n times; 1 itself, which
//! would repeat it no time, says that a delta of 8 bytes follows (those too wide to be doubled). So a run of neighbouring series
//! and a run of one time take three bytes or fewer, whatever their length.
//!
//! *Tags*: see `values::TAGS`. A checksum is the frame's business.

mod deltas;
mod values;

use crate::varint::{self, VarintError};

/// Columns that can't be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("columns are damaged at byte {offset}: {what}")]
pub struct ColumnsError {
    /// Where the damage was noticed, in bytes from the start of the columns.
    pub offset: usize,
    pub what: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the bytes end too early")]
    Truncated,
    #[error("a number has more than 64 bits")]
    Overflow,
    #[error("more samples than the bytes can hold")]
    Count,
    #[error("a delta is repeated past the last sample")]
    Repeat,
    #[error("a series reference is outside 32 bits")]
    Series,
}

impl From<VarintError> for Damage {
    fn from(error: VarintError) -> Self {
        match error {
            VarintError::Truncated => Self::Truncated,
            VarintError::Overflow => Self::Overflow,
        }
    }
}

/// What [`decode`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub samples: usize,
    /// Length of the columns; what follows them was not looked at.
    pub bytes: usize,
}

/// Most bytes that [`encode`] appends for a number of samples.
pub const fn encoded_bytes_max(samples: usize) -> usize {
    varint::BYTES_MAX + samples * (deltas::SERIES_BYTES_MAX + deltas::TIME_BYTES_MAX + 8) + samples.div_ceil(2)
}

/// Packs samples and appends them.
///
/// # Panics
/// If the columns differ in length.
pub fn encode(series: &[u32], times: &[i64], values: &[u64], out: &mut Vec<u8>) {
    assert!(series.len() == times.len() && times.len() == values.len(), "columns of one frame have one length");
    varint::put_unsigned(out, values.len() as u64);
    deltas::encode(series.iter().map(|&series| i64::from(series)), out);
    deltas::encode(times.iter().copied(), out);
    values::encode(values, out);
}

/// Unpacks the columns at the front of `bytes` and appends them. On an error the vectors stay as they were.
///
/// Allocates at most 40 bytes for each byte of input.
pub fn decode(
    bytes: &[u8],
    series: &mut Vec<u32>,
    times: &mut Vec<i64>,
    values: &mut Vec<u64>,
) -> Result<Decoded, ColumnsError> {
    let starts = (series.len(), times.len(), values.len());
    let mut rest = bytes;
    let result = decode_columns(&mut rest, series, times, values);
    let offset = bytes.len() - rest.len();
    result.map(|samples| Decoded { samples, bytes: offset }).map_err(|what| {
        series.truncate(starts.0);
        times.truncate(starts.1);
        values.truncate(starts.2);
        ColumnsError { offset, what }
    })
}

fn decode_columns(
    rest: &mut &[u8],
    series: &mut Vec<u32>,
    times: &mut Vec<i64>,
    values: &mut Vec<u64>,
) -> Result<usize, Damage> {
    let count = varint::take_unsigned(rest)?;
    // Each sample has a tag of half a byte: nothing is allocated for a count that can't be true.
    let count = usize::try_from(count).ok().filter(|count| count.div_ceil(2) <= rest.len()).ok_or(Damage::Count)?;
    deltas::decode_series(rest, count, series)?;
    deltas::decode_times(rest, count, times)?;
    values::decode(rest, count, values)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(series: &[u32], times: &[i64], values: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0xaa];
        encode(series, times, values, &mut bytes);
        let packed = bytes.split_off(1);
        assert!(packed.len() <= encoded_bytes_max(values.len()), "{} bytes", packed.len());
        let (mut s, mut t, mut v) = (vec![7], vec![8], vec![9]);
        let followed = [packed.as_slice(), &[0xff; 9]].concat();
        let decoded = decode(&followed, &mut s, &mut t, &mut v);
        assert_eq!(decoded, Ok(Decoded { samples: values.len(), bytes: packed.len() }));
        assert_eq!((s[0], t[0], v[0]), (7, 8, 9), "columns are appended");
        assert_eq!((&s[1..], &t[1..], &v[1..]), (series, times, values));
        for cut in 0..packed.len() {
            assert!(decode(&packed[..cut], &mut s, &mut t, &mut v).is_err(), "cut at {cut} of {}", packed.len());
            assert_eq!((s.len(), t.len(), v.len()), (1 + series.len(), 1 + times.len(), 1 + values.len()));
        }
        packed
    }

    #[track_caller]
    fn check_values(values: &[f64], bytes: usize) {
        let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
        let series: Vec<u32> = (0..values.len() as u32).collect();
        let packed = check(&series, &vec![0; values.len()], &bits);
        let others = check(&series, &vec![0; values.len()], &vec![0; values.len()]);
        assert_eq!(packed.len() - others.len(), bytes, "bytes of {values:?}");
    }

    #[test]
    fn a_frame_of_none_and_of_one() {
        assert_eq!(check(&[], &[], &[]), [0]);
        assert_eq!(check(&[0], &[0], &[0]), [1, 0, 0, 0]);
        assert_eq!(check(&[5], &[1_700_000_000_000], &[1f64.to_bits()]).len(), 11);
    }

    #[test]
    fn a_run_of_neighbours_at_one_time_is_nearly_free() {
        let series: Vec<u32> = (1_000_000..1_004_000).collect();
        let packed = check(&series, &vec![1_700_000_000_000; 4000], &vec![0; 4000]);
        assert!(packed.len() < 2000 + 24, "{} bytes", packed.len());
    }

    #[test]
    fn extremes_come_back() {
        let times = [i64::MIN, i64::MAX, i64::MIN, 0, i64::MAX, -1, i64::MIN / 2, i64::MAX / 2, 1 << 61, -(1 << 61)];
        let series = [u32::MAX, 0, u32::MAX, 1, 1, 1, 2, 3, 0, u32::MAX];
        let values =
            [0, 1, u64::MAX, 1 << 63, 0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0001, 0xfff0 << 48, 0x7ff0 << 48, 2, 3];
        check(&series, &times, &values);
    }

    #[test]
    fn a_value_takes_its_shortest_form() {
        check_values(&[0.0, 0.0], 0);
        check_values(&[1.0, -1.0, 127.0, -128.0], 4);
        check_values(&[128.0, -129.0, 32767.0, -32768.0], 8);
        check_values(&[123_456_789.0], 4);
        check_values(&[f64::from(1 << 30), 2f64.powi(60), 2f64.powi(51), 2f64.powi(52), -0.0], 10);
        check_values(&[0.37, 12.345, -0.001], 6);
        check_values(&[12_345.67, 1_700_000_000.123], 4 + 6);
        check_values(&[0.1 + 0.2, 1.0 / 3.0, std::f64::consts::PI], 24);
        check_values(&[f64::INFINITY, f64::NEG_INFINITY, 0.5, f64::from_bits(0x7ff0_0000_0000_0002)], 2 + 2 + 2 + 8);
        let big = 2f64.powi(53);
        check_values(
            &[big - 1.0, big + 2.0, -(big + 4.0), 2f64.powi(51) - 1.0, -2f64.powi(51) + 1.0],
            8 + 8 + 8 + 7 + 7,
        );
    }

    #[test]
    fn a_count_that_cannot_be_true_is_refused() {
        let (mut s, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0];
        let error = decode(&bytes, &mut s, &mut t, &mut v).expect_err("2^64 - 1 samples in 3 bytes");
        assert_eq!(error.to_string(), "columns are damaged at byte 10: more samples than the bytes can hold");
        assert_eq!((s.capacity(), t.capacity(), v.capacity()), (0, 0, 0));
    }

    #[test]
    fn what_leaves_the_range_is_refused() {
        let (mut s, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
        // Two samples: series 0 and then -1; the repeat of more than there are; a repeat of nothing.
        for (bytes, what) in [
            ([2, 0, 2, 0, 3, 0].as_slice(), Damage::Series),
            (&[2, 4, 5, 0, 3, 0], Damage::Repeat),
            (&[2, 3, 0, 0, 3, 0], Damage::Repeat),
        ] {
            let error = decode(bytes, &mut s, &mut t, &mut v).expect_err("out of range");
            assert_eq!(error.what, what, "{bytes:?}");
        }
    }
}
