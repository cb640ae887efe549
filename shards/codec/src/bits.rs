//! Bit streams, highest bit of a byte first.

use std::borrow::BorrowMut;

use crate::varint::{self, VarintError};

/// Takes bits from an encoder.
pub trait BitSink {
    /// Appends the low `count` bits (1 to 64) of `bits`, the highest of them first. The bits above are zero.
    fn put(&mut self, bits: u64, count: u32);
}

/// Appends a bit stream to a vector, a word at a time.
///
/// The last bits reach the vector with [`BitWriter::finish`] only.
#[derive(Clone, Debug)]
pub struct BitWriter<V> {
    out: V,
    /// Bits that are not in `out` yet, from the top down; zeros below.
    word: u64,
    /// How many of them there are: 0 to 63.
    held: u32,
}

impl<V: BorrowMut<Vec<u8>>> BitWriter<V> {
    pub fn new(out: V) -> Self {
        Self { out, word: 0, held: 0 }
    }

    /// Writes what is left, padded with zeros to a whole byte.
    pub fn finish(mut self) -> V {
        let bytes = self.held.div_ceil(8) as usize;
        self.out.borrow_mut().extend_from_slice(&self.word.to_be_bytes()[..bytes]);
        self.out
    }

    /// Bytes that [`Self::finish`] would leave.
    pub fn byte_len(&self) -> usize {
        self.out.borrow().len() + self.held.div_ceil(8) as usize
    }
}

impl<V: BorrowMut<Vec<u8>>> BitSink for BitWriter<V> {
    #[inline]
    fn put(&mut self, bits: u64, count: u32) {
        debug_assert!((1..=64).contains(&count) && (count == 64 || bits >> count == 0), "{count} bits of {bits:#x}");
        let aligned = bits << (64 - count);
        self.word |= aligned >> self.held;
        let total = self.held + count;
        if total >= 64 {
            self.out.borrow_mut().extend_from_slice(&self.word.to_be_bytes());
            // What did not fit; in two shifts, because all of it may have fitted (a shift by 64).
            self.word = (aligned << (63 - self.held)) << 1;
        }
        self.held = total % 64;
    }
}

/// Reads a bit stream through a 64-bit window that is refilled by whole words.
///
/// Past the end it gives zeros and goes on counting, so that a decoder needs one comparison per sample (or per chunk) and not
/// one per field: [`BitReader::position`] tells whether it has read more than there was.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The byte that the next refill starts at.
    next: usize,
    /// Unread bits from the top down. Below the first `held` there may be more of the stream, but never anything else.
    window: u64,
    /// How many bits of `window` count: 0 to 63.
    held: u32,
}

impl<'a> BitReader<'a> {
    /// Bits that are there after a refill.
    pub(crate) const REFILLED: u32 = 56;

    /// Reads from a byte of the stream on.
    pub(crate) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, next: start, window: 0, held: 0 }
    }

    /// Unread bits from the top down, of which [`BitReader::held`] count.
    #[inline(always)]
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    #[inline(always)]
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Bits read so far, counted from the start of the bytes.
    #[inline(always)]
    pub(crate) fn position(&self) -> usize {
        self.next * 8 - self.held as usize
    }

    /// Makes sure that at least [`BitReader::REFILLED`] bits are in the window.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        let word = match self.bytes.get(self.next..).and_then(<[u8]>::first_chunk) {
            Some(word) => u64::from_be_bytes(*word),
            None => self.last_word(),
        };
        // As many whole bytes as fit count; the rest of the word is read again by the next refill, into the same places.
        self.window |= word >> self.held;
        self.next += ((63 - self.held) / 8) as usize;
        self.held |= Self::REFILLED;
    }

    /// Drops bits, at most as many as are held.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: u32) {
        debug_assert!(count <= self.held, "{count} bits of {}", self.held);
        self.window <<= count;
        self.held -= count;
    }

    /// The next 33 to 64 bits, which a refill does not promise at once.
    pub(crate) fn take_long(&mut self, count: u32) -> u64 {
        self.refill();
        let high = self.window >> 32;
        self.skip(32);
        self.refill();
        let low = self.window >> (96 - count);
        self.skip(count - 32);
        high << (count - 32) | low
    }

    /// An unsigned varint that begins at a whole byte, right after the start or another varint.
    pub(crate) fn take_varint(&mut self) -> Result<u64, VarintError> {
        debug_assert_eq!(self.held, 0, "nothing but whole bytes was read so far");
        let mut rest = self.bytes.get(self.next..).unwrap_or_default();
        let value = varint::take_unsigned(&mut rest)?;
        self.next = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// The word at `next` where less than a word is left: zeros after the end.
    fn last_word(&self) -> u64 {
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let word = self.bytes.last_chunk().map_or_else(|| short_word(self.bytes), |last| u64::from_be_bytes(*last));
        word.checked_shl(8 * (8 - rest.len()) as u32).unwrap_or(0)
    }
}

/// Fewer than eight bytes as the low end of a word.
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random pieces of a fixed seed: (bits, count).
    fn pieces(number: usize) -> Vec<(u64, u32)> {
        let mut state = 11u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state ^ state >> 29
        };
        (0..number).map(|_| (random(), 1 + (random() >> 40) as u32 % 64)).map(|(b, n)| (b >> (64 - n), n)).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        for number in 0..200 {
            let pieces = pieces(number);
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            pieces.iter().for_each(|&(bits, count)| writer.put(bits, count));
            writer.finish();
            let total: usize = pieces.iter().map(|piece| piece.1 as usize).sum();
            assert_eq!(bytes.len(), total.div_ceil(8));

            let mut reader = BitReader::new(&bytes, 0);
            for (bits, count) in pieces {
                let mut read = 0u128;
                for part in [count.min(32), count.saturating_sub(32)].into_iter().filter(|&part| part > 0) {
                    reader.refill();
                    read = read << part | u128::from(reader.window() >> (64 - part));
                    reader.skip(part);
                }
                assert_eq!(read, u128::from(bits));
            }
            assert_eq!(reader.position(), total);
        }
    }

    #[test]
    fn after_the_end_come_zeros_and_the_position_tells() {
        for length in 0..20 {
            let bytes = vec![0xff; length];
            let mut reader = BitReader::new(&bytes, 0);
            for bit in 0..length * 8 + 300 {
                reader.refill();
                assert_eq!(reader.window() >> 63, u64::from(bit < length * 8), "bit {bit} of {length} bytes");
                reader.skip(1);
                assert_eq!(reader.position(), bit + 1);
            }
        }
    }
}
