//! Samples to bits.

use super::HEADER_BYTES;
use crate::{
    bits::{BitSink, BitWriter},
    varint,
};

/// What the encoder of one chunk knows between two samples; the bits themselves are wherever its sink puts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorState {
    /// Time of the newest sample, milliseconds.
    pub time: i64,
    /// Bits of the newest value.
    pub value: u64,
    /// Difference of the two newest times, wrapping.
    pub delta: u64,
    /// Leading zeros of the window in force, at most 31; [`XorState::NO_WINDOW`] before there is one.
    pub leading: u8,
    /// Trailing zeros of the window in force.
    pub trailing: u8,
    /// Samples so far.
    pub count: u16,
}

impl XorState {
    /// `leading` while no window is in force: more than any value's leading zeros, so that no value fits into it.
    pub const NO_WINDOW: u8 = 0xff;

    /// Appends a sample. A chunk holds at most `u16::MAX`; the caller closes it long before.
    #[inline]
    pub fn append(&mut self, time: i64, value: u64, sink: &mut impl BitSink) {
        debug_assert!(self.count < u16::MAX, "the caller closes a chunk before its count overflows");
        if self.count < 2 {
            self.append_early(time, value, sink);
        } else {
            let delta = time.wrapping_sub(self.time) as u64;
            let prefix = dod_code(delta.wrapping_sub(self.delta) as i64, sink);
            self.delta = delta;
            self.append_value(value, prefix, sink);
        }
        self.time = time;
        self.value = value;
        self.count += 1;
    }

    /// Appends a value alone, without a time: a further number beside those of a sample, whose first 64 bits stand as they are.
    pub(crate) fn append_number(&mut self, value: u64, sink: &mut impl BitSink) {
        match self.count {
            0 => sink.put(value, 64),
            _ => self.append_value(value, Code::EMPTY, sink),
        }
        self.value = value;
        self.count = 1;
    }

    /// The first two samples, whose times are varints.
    fn append_early(&mut self, time: i64, value: u64, sink: &mut impl BitSink) {
        if self.count == 0 {
            put_varint(varint::zigzag(time), sink);
            sink.put(value, 64);
        } else {
            self.delta = time.wrapping_sub(self.time) as u64;
            put_varint(self.delta, sink);
            self.append_value(value, Code::EMPTY, sink);
        }
    }

    /// Appends the xor code, behind a prefix so that both usually go into the sink as one.
    #[inline]
    fn append_value(&mut self, value: u64, prefix: Code, sink: &mut impl BitSink) {
        let xor = value ^ self.value;
        if xor == 0 {
            return prefix.then(0, 1).put(sink);
        }
        let leading = (xor.leading_zeros() as u8).min(31);
        let trailing = xor.trailing_zeros() as u8;
        let code = if leading >= self.leading && trailing >= self.trailing {
            prefix.then(0b10, 2)
        } else {
            (self.leading, self.trailing) = (leading, trailing);
            let length = u64::from(64 - leading - trailing);
            prefix.then(0b11 << 11 | u64::from(leading) << 6 | length & 63, 13)
        };
        let length = 64 - u32::from(self.leading) - u32::from(self.trailing);
        let payload = xor >> self.trailing;
        if code.count + length <= 64 {
            code.then(payload, length).put(sink);
        } else {
            code.put(sink);
            sink.put(payload, length);
        }
    }
}

impl Default for XorState {
    fn default() -> Self {
        Self { time: 0, value: 0, delta: 0, leading: Self::NO_WINDOW, trailing: 0, count: 0 }
    }
}

/// Up to 63 bits on their way to the sink.
#[derive(Clone, Copy)]
struct Code {
    bits: u64,
    count: u32,
}

impl Code {
    const EMPTY: Self = Self { bits: 0, count: 0 };

    #[inline(always)]
    fn then(self, bits: u64, count: u32) -> Self {
        Self { bits: self.bits << count | bits, count: self.count + count }
    }

    #[inline(always)]
    fn put(self, sink: &mut impl BitSink) {
        sink.put(self.bits, self.count);
    }
}

/// Code of a difference's difference. The longest goes into the sink at once and leaves nothing to prefix the value with.
#[inline(always)]
fn dod_code(dod: i64, sink: &mut impl BitSink) -> Code {
    if dod == 0 {
        return Code { bits: 0, count: 1 };
    }
    // A width holds one number less below zero than two's complement and one more above: one less is two's complement exactly.
    let shifted = dod.wrapping_sub(1);
    let width_needed = 65 - (shifted ^ (shifted >> 63)).leading_zeros();
    if width_needed > 20 {
        sink.put(0b1111, 4);
        sink.put(dod as u64, 64);
        return Code::EMPTY;
    }
    let step = u32::from(width_needed > 14) + u32::from(width_needed > 17);
    let width = 14 + 3 * step;
    // 10, 110 or 1110.
    let control = (4 << step) - 2;
    Code { bits: control << width | dod as u64 & ((1 << width) - 1), count: step + 2 + width }
}

/// A varint's bytes in their order.
fn put_varint(value: u64, sink: &mut impl BitSink) {
    let (bytes, length) = varint::encode_unsigned(value);
    for piece in bytes[..length].chunks(8) {
        let word = piece.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        sink.put(word, 8 * piece.len() as u32);
    }
}

/// Encodes a whole chunk from (time, value bits), count included: the bytes that Prometheus would hold for these samples.
///
/// # Panics
/// On more than `u16::MAX` samples, which the count can't hold.
pub fn encode_chunk(samples: &[(i64, u64)]) -> Vec<u8> {
    encode_each(samples.iter().copied())
}

/// The same of samples in columns, which are equally long.
///
/// # Panics
/// On more than `u16::MAX` samples, which the count can't hold.
pub fn encode_columns(times: &[i64], values: &[u64]) -> Vec<u8> {
    encode_each(times.iter().copied().zip(values.iter().copied()))
}

fn encode_each(samples: impl ExactSizeIterator<Item = (i64, u64)>) -> Vec<u8> {
    let count = u16::try_from(samples.len()).expect("a chunk holds at most 65,535 samples");
    let mut chunk = Vec::with_capacity(HEADER_BYTES + 24 + 2 * samples.len());
    chunk.extend_from_slice(&count.to_be_bytes());
    let mut state = XorState::default();
    let mut writer = BitWriter::new(&mut chunk);
    for (time, value) in samples {
        state.append(time, value, &mut writer);
    }
    writer.finish();
    chunk
}
