//! Bits to samples.

use super::HEADER_BYTES;
use crate::{
    bits::BitReader,
    varint::{self, VarintError},
};

/// A chunk that can't be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunk is damaged at bit {offset_bits}: {what}")]
pub struct ChunkError {
    /// Where the damage was noticed, in bits from the first byte that the function was given.
    pub offset_bits: usize,
    pub what: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("too short for its count of samples")]
    Short,
    #[error("it ends inside a sample")]
    Truncated,
    #[error("a time has more than 64 bits")]
    TimeOverflow,
    #[error("leading zeros and length of a value exceed 64 bits")]
    Window,
    #[error("its number of decimals is more than 9")]
    Scale,
    #[error("a width has more than 64 bits")]
    Width,
    #[error("an integer has more than 64 bits")]
    Integer,
    #[error("its times do not ascend")]
    Times,
    #[error("the layout of its buckets is not valid: {0}")]
    Layout(&'static str),
}

/// Decodes a finished chunk and appends its samples; returns how many. On an error the vectors stay as they were.
pub fn decode_into(chunk: &[u8], times: &mut Vec<i64>, values: &mut Vec<u64>) -> Result<usize, ChunkError> {
    let (count, bits) = split_header(chunk)?;
    decode_bits_into(count, bits, bits.len() * 8, times, values).map_err(ChunkError::behind_header)
}

/// Decodes the first `bit_len` bits of a stream whose sample count is known apart from it (an open chunk) and appends the samples;
/// returns how many. On an error the vectors stay as they were.
pub fn decode_bits_into(
    count: u16,
    bits: &[u8],
    bit_len: usize,
    times: &mut Vec<i64>,
    values: &mut Vec<u64>,
) -> Result<usize, ChunkError> {
    let bits = checked_stream(count, bits, bit_len)?;
    let (times_start, values_start) = (times.len(), values.len());
    // At most half as many samples as there are bits: `checked_stream` has compared.
    times.resize(times_start + usize::from(count), 0);
    values.resize(values_start + usize::from(count), 0);
    let result = fill(bits, bit_len, &mut times[times_start..], &mut values[values_start..]);
    if result.is_err() {
        times.truncate(times_start);
        values.truncate(values_start);
    }
    result.map(|()| usize::from(count))
}

fn split_header(chunk: &[u8]) -> Result<(u16, &[u8]), ChunkError> {
    match chunk.split_first_chunk::<HEADER_BYTES>() {
        Some((&count, bits)) => Ok((u16::from_be_bytes(count), bits)),
        None => Err(ChunkError { offset_bits: 0, what: Damage::Short }),
    }
}

/// The bytes of a stream, if they can hold as many samples as they should: nothing is allocated for a count that can't be true.
fn checked_stream(count: u16, bits: &[u8], bit_len: usize) -> Result<&[u8], ChunkError> {
    let count = usize::from(count);
    // First: one byte of time, eight of value. Second: one byte of time, one bit of value. Others: a bit each.
    let needed = 72 * count.min(1) + 9 * usize::from(count > 1) + 2 * count.saturating_sub(2);
    match bits.get(..bit_len.div_ceil(8)) {
        Some(stream) if bit_len >= needed => Ok(stream),
        _ => Err(ChunkError { offset_bits: bit_len.min(bits.len() * 8), what: Damage::Short }),
    }
}

fn fill(bits: &[u8], bit_len: usize, times: &mut [i64], values: &mut [u64]) -> Result<(), ChunkError> {
    let mut samples = times.iter_mut().zip(values);
    let Some(first) = samples.next() else { return Ok(()) };
    let mut cursor = Cursor::first(bits)?;
    (*first.0, *first.1) = (cursor.time, cursor.value.bits);
    let Some(second) = samples.next() else { return cursor.check_end(bit_len) };
    cursor.second()?;
    (*second.0, *second.1) = (cursor.time, cursor.value.bits);
    for (time, value) in samples {
        cursor.next()?;
        (*time, *value) = (cursor.time, cursor.value.bits);
    }
    cursor.check_end(bit_len)
}

/// Walks through a chunk without decoding what nobody asks for. After an error it ends.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    bits: &'a [u8],
    bit_len: usize,
    /// Bits in front of `bits` in what the caller gave.
    header_bits: usize,
    /// On the sample that was returned last.
    cursor: Option<Cursor<'a>>,
    returned: u16,
    count: u16,
}

impl<'a> Samples<'a> {
    /// Walks through a finished chunk.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let (count, bits) = split_header(chunk)?;
        let samples = Self::from_bits(count, bits, bits.len() * 8).map_err(ChunkError::behind_header)?;
        Ok(Self { header_bits: 8 * HEADER_BYTES, ..samples })
    }

    /// Walks through the first `bit_len` bits of a stream whose sample count is known apart from it.
    pub fn from_bits(count: u16, bits: &'a [u8], bit_len: usize) -> Result<Self, ChunkError> {
        let bits = checked_stream(count, bits, bit_len)?;
        Ok(Self { bits, bit_len, header_bits: 0, cursor: None, returned: 0, count })
    }

    fn advance(&mut self) -> Result<(i64, u64), ChunkError> {
        let cursor = match &mut self.cursor {
            None => self.cursor.insert(Cursor::first(self.bits)?),
            Some(cursor) => {
                if self.returned == 1 {
                    cursor.second()?
                } else {
                    cursor.next()?
                }
                cursor
            }
        };
        cursor.check_end(self.bit_len)?;
        Ok((cursor.time, cursor.value.bits))
    }
}

impl Iterator for Samples<'_> {
    /// Time in milliseconds and the bits of the value.
    type Item = Result<(i64, u64), ChunkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.returned == self.count {
            return None;
        }
        let sample = self.advance();
        match sample {
            Ok(_) => self.returned += 1,
            Err(_) => self.returned = self.count,
        }
        Some(sample.map_err(|error| ChunkError { offset_bits: error.offset_bits + self.header_bits, ..error }))
    }

    /// Exact unless the chunk is damaged.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.count - self.returned);
        (usize::from(left > 0), Some(left))
    }
}

/// Place and state in a stream, standing on a sample.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    reader: BitReader<'a>,
    time: i64,
    delta: u64,
    value: XorValue,
}

/// A value and the window in force. Before the first one it is the whole word, as Prometheus' decoder has it: its encoder relies on
/// that when it goes on with a chunk that it has read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XorValue {
    pub(crate) bits: u64,
    leading: u32,
    length: u32,
}

impl<'a> Cursor<'a> {
    fn first(bits: &'a [u8]) -> Result<Self, ChunkError> {
        let mut rest = bits;
        let time = varint::take_signed(&mut rest).map_err(|error| time_error(0, error))?;
        let offset = bits.len() - rest.len();
        let Some((&value, _)) = rest.split_first_chunk() else {
            return Err(ChunkError { offset_bits: offset * 8, what: Damage::Truncated });
        };
        let reader = BitReader::new(bits, offset + 8);
        Ok(Self { reader, time, delta: 0, value: XorValue::new(u64::from_be_bytes(value)) })
    }

    fn second(&mut self) -> Result<(), ChunkError> {
        self.delta = self.reader.take_varint().map_err(|error| time_error(self.reader.position(), error))?;
        self.time = self.time.wrapping_add(self.delta as i64);
        self.reader.refill();
        self.value.next(&mut self.reader)
    }

    #[inline(always)]
    fn next(&mut self) -> Result<(), ChunkError> {
        self.reader.refill();
        if self.reader.window() >> 63 == 0 {
            self.reader.skip(1);
        } else {
            let dod = self.dod();
            self.delta = self.delta.wrapping_add(dod as u64);
        }
        self.time = self.time.wrapping_add(self.delta as i64);
        self.value.next(&mut self.reader)
    }

    /// A difference's difference whose code begins with a one.
    #[inline(always)]
    fn dod(&mut self) -> i64 {
        let window = self.reader.window();
        let ones = (!window).leading_zeros();
        if ones > 3 {
            self.reader.skip(4);
            let dod = self.reader.take_long(64);
            self.reader.refill();
            return dod as i64;
        }
        let (control, width) = (ones + 1, 11 + 3 * ones);
        let field = window << control;
        self.reader.skip(control + width);
        // One less is two's complement (see the encoder); the shifts to and fro extend the sign.
        let less_one = field.wrapping_sub(1 << (64 - width)) as i64;
        (less_one >> (64 - width)) + 1
    }

    #[inline(always)]
    fn check_end(&self, bit_len: usize) -> Result<(), ChunkError> {
        if self.reader.position() > bit_len {
            return Err(ChunkError { offset_bits: bit_len, what: Damage::Truncated });
        }
        Ok(())
    }
}

impl XorValue {
    pub(crate) fn new(bits: u64) -> Self {
        Self { bits, leading: 0, length: 64 }
    }

    /// Reads a value's code. At least 32 bits are held before.
    #[inline(always)]
    pub(crate) fn next(&mut self, reader: &mut BitReader<'_>) -> Result<(), ChunkError> {
        let window = reader.window();
        if window >> 63 == 0 {
            reader.skip(1);
            return Ok(());
        }
        if window >> 62 == 0b11 {
            self.leading = (window >> 57) as u32 & 31;
            // 1 to 64, written modulo 64.
            self.length = ((window >> 51) as u32).wrapping_sub(1) % 64 + 1;
            reader.skip(13);
        } else {
            reader.skip(2);
        }
        let Some(trailing) = 64u32.checked_sub(self.leading + self.length) else {
            return Err(ChunkError { offset_bits: reader.position() - 11, what: Damage::Window });
        };
        self.bits ^= self.payload(reader) << trailing;
        Ok(())
    }

    /// The next `length` bits.
    #[inline(always)]
    fn payload(self, reader: &mut BitReader<'_>) -> u64 {
        if reader.held() < self.length {
            if self.length > BitReader::REFILLED {
                return reader.take_long(self.length);
            }
            reader.refill();
        }
        let payload = reader.window() >> (64 - self.length);
        reader.skip(self.length);
        payload
    }
}

impl ChunkError {
    fn behind_header(self) -> Self {
        Self { offset_bits: self.offset_bits + 8 * HEADER_BYTES, ..self }
    }
}

fn time_error(offset_bits: usize, error: VarintError) -> ChunkError {
    let what = match error {
        VarintError::Truncated => Damage::Truncated,
        VarintError::Overflow => Damage::TimeOverflow,
    };
    ChunkError { offset_bits, what }
}
