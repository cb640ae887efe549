//! The sample message, the same in both protocols: value 1 (double), timestamp 2 (int64); 2.0 adds a start timestamp 3.

use crate::protobuf::{Malformed, Reader, Tag, WIRE_FIXED64, WIRE_LENGTH, WIRE_VARINT};

/// The sample's tag inside its series, in both protocols.
pub(super) const SAMPLE: Tag = Tag::new(2, WIRE_LENGTH);

pub(super) const VALUE: Tag = Tag::new(1, WIRE_FIXED64);
pub(super) const TIME: Tag = Tag::new(2, WIRE_VARINT);
const START_TIME: Tag = Tag::new(3, WIRE_VARINT);

/// Time in milliseconds and bits of the value.
pub(super) type Sample = (i64, u64);

/// Takes a sample that looks as nearly all do: value, then a time of this century; or the time alone, as the value 0 is left out
/// by senders that follow proto3. Anything else is `None`, and the reader stays.
#[inline(always)]
pub(super) fn take_plain(reader: &mut Reader<'_>) -> Option<Sample> {
    let window: &[u8; 20] = reader.buffer().get(reader.at()..)?.first_chunk()?;
    let (value, time, length) = match window {
        [0x12, 16, 9, value @ .., 0x10, _, _, _, _, _, _, _, _] => (u64::from_le_bytes(*value), word(window, 12), 18),
        [0x12, 7, 0x10, ..] => (0, word(window, 3), 9),
        _ => return None,
    };
    if time & SIX_BYTES_CONTINUED != SIX_BYTES || reader.at() + length > reader.end() {
        return None;
    }
    reader.advance_to(reader.at() + length);
    Some((six_byte_varint(time), value))
}

fn word(window: &[u8; 20], at: usize) -> u64 {
    u64::from_le_bytes(window[at..at + 8].try_into().expect("eight bytes"))
}

/// The continuation bits of a varint's first six bytes, and how they stand when it has exactly six: from 1971 to 2109.
const SIX_BYTES_CONTINUED: u64 = 0x8080_8080_8080;
const SIX_BYTES: u64 = 0x0080_8080_8080;

#[inline(always)]
fn six_byte_varint(word: u64) -> i64 {
    let pairs = (word & 0x007f_007f_007f) | ((word & 0x7f00_7f00_7f00) >> 1);
    ((pairs & 0x3fff) | ((pairs >> 2) & (0x3fff << 14)) | ((pairs >> 4) & (0x3fff << 28))) as i64
}

/// The fields a sample has, by protocol.
pub(super) const FIELDS_V1: &[Tag] = &[VALUE, TIME];
pub(super) const FIELDS_V2: &[Tag] = &[VALUE, TIME, START_TIME];

/// Reads any legal sample message; the last is its start timestamp in milliseconds, or 0.
pub(super) fn read(mut message: Reader<'_>, fields: &[Tag]) -> Result<(Sample, i64), Malformed> {
    let (mut time, mut value, mut start_time) = (0, 0, 0);
    while !message.is_empty() {
        match message.tag()? {
            VALUE => value = message.fixed64()?,
            TIME => time = message.varint()? as i64,
            START_TIME => start_time = message.varint()? as i64,
            other => message.skip_unknown(other, fields)?,
        }
    }
    Ok(((time, value), start_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::put_varint;

    #[test]
    fn the_plain_way_reads_what_the_general_way_reads() {
        for shift in 0..63 {
            for time in [1i64 << shift, (1i64 << shift) - 1, -(1i64 << shift)] {
                for value in [0, 1, u64::MAX] {
                    check(time, value);
                }
            }
        }
    }

    fn check(time: i64, value: u64) {
        let mut inner = Vec::new();
        if value != 0 {
            inner.push(9);
            inner.extend_from_slice(&value.to_le_bytes());
        }
        inner.push(0x10);
        put_varint(&mut inner, time as u64);
        let mut bytes = vec![0x12, inner.len() as u8];
        bytes.extend_from_slice(&inner);
        let end = bytes.len();
        bytes.extend_from_slice(&[0xff; 20]);
        assert_eq!(read(Reader::new(&bytes, 2, end), FIELDS_V1), Ok(((time, value), 0)));
        let mut reader = Reader::new(&bytes, 0, end);
        let plain = take_plain(&mut reader);
        let six_bytes = (1i64 << 35..1i64 << 42).contains(&time);
        assert_eq!(plain, six_bytes.then_some((time, value)), "{time} {value}");
        assert_eq!(reader.at(), if six_bytes { end } else { 0 });
        assert_eq!(take_plain(&mut Reader::new(&bytes, 0, end - 1)), None, "a sample that is cut off");
    }
}
