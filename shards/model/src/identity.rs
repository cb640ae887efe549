//! One identity for a series, whatever the way in.
//!
//! A series is the sum, over its labels, of a keyed 128-bit hash of (name, value). The sum does not depend on order, so
//! remote write 1.0 bytes, 2.0 symbol references, scraped lines and labels out of order all give the same number, and 2.0
//! hashes each symbol of a request once. Why a sum and not a hash of the canonical encoding:
//! `docs/decisions/2026-11-22-series-identity.md`.
//!
//! The hash is two independent 64-bit lanes of multiply-and-fold (the construction of wyhash, public domain, by Wang Yi) under
//! secret keys that live in the data directory: who does not know them can't aim at a collision, and a collision by chance
//! among 50 million series has a probability below 1e-22.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
};

use crate::Labels;

/// Secret of one data directory.
#[derive(Clone, Copy)]
pub struct IdentityKey {
    words: [u64; 8],
}

/// Keyed hash of one name or one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolHash {
    low: u64,
    high: u64,
}

/// Identity of a series, or of a part of its labels: addition joins parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct SeriesId {
    pub low: u64,
    pub high: u64,
}

/// The key is a secret and stays out of logs.
impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(secret)")
    }
}

impl IdentityKey {
    pub const BYTES: usize = 64;

    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = [0; 8];
        for (word, piece) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            // Odd, so that no word is zero and multiplication loses nothing.
            *word = u64::from_le_bytes(piece.try_into().expect("chunks of 8")) | 1;
        }
        Self { words }
    }

    /// Hashes one name or value.
    #[inline]
    pub fn symbol(&self, bytes: &[u8]) -> SymbolHash {
        let mut state = Lanes::start(self);
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            state.mix(self, words(block));
        }
        let [a, b] = tail(rest);
        state.finish(self, pad(rest.len(), [a, b]))
    }

    /// The same as `symbol(&buffer[start..start + length])`. Where at least sixteen more bytes follow in the buffer it spends no
    /// branch on the length of the last piece, which is most of the cost of short texts.
    ///
    /// # Panics
    /// When the range leaves the buffer.
    #[inline(always)]
    pub fn symbol_within(&self, buffer: &[u8], start: usize, length: usize) -> SymbolHash {
        match buffer.get(start..).and_then(<[u8]>::first_chunk) {
            Some(block) if length < BLOCK => Lanes::start(self).finish(self, pad(length, words(block))),
            _ => self.long_symbol_within(buffer, start, length),
        }
    }

    fn long_symbol_within(&self, buffer: &[u8], start: usize, length: usize) -> SymbolHash {
        let (mut at, mut left) = (start, length);
        let mut state = Lanes::start(self);
        while left >= BLOCK {
            state.mix(self, words(buffer[at..].first_chunk().expect("inside the range")));
            at += BLOCK;
            left -= BLOCK;
        }
        let last = match buffer.get(at..).and_then(<[u8]>::first_chunk) {
            Some(block) => words(block),
            None => tail(&buffer[at..at + left]),
        };
        state.finish(self, pad(left, last))
    }

    /// Hashes the first `length` bytes of a buffer into 64 bits, for tables that can bear one false match in 2^64. Half the work of a symbol:
    /// the lanes take the blocks in turns.
    ///
    /// # Panics
    /// When the buffer is shorter.
    #[inline]
    pub fn text_hash(&self, buffer: &[u8], length: usize) -> u64 {
        let text = &buffer[..length];
        let (mut a, mut b) = (self.words[0], self.words[2]);
        let (pairs, rest) = text.as_chunks::<{ 2 * BLOCK }>();
        for pair in pairs {
            let ([first, second], []) = pair.as_chunks::<BLOCK>() else { unreachable!("two blocks") };
            a = self.mixed(a, words(first), 1);
            b = self.mixed(b, words(second), 3);
        }
        let (blocks, rest) = rest.as_chunks::<BLOCK>();
        if let [block] = blocks {
            a = self.mixed(a, words(block), 1);
        }
        let start = length - rest.len();
        let last = match buffer.get(start..).and_then(<[u8]>::first_chunk) {
            Some(block) => words(block),
            None => tail(rest),
        };
        b = self.mixed(b, pad(rest.len(), last), 3);
        fold(a, b ^ length as u64)
    }

    #[inline(always)]
    fn mixed(&self, state: u64, [a, b]: [u64; 2], word: usize) -> u64 {
        fold(a ^ state, b ^ self.words[word])
    }

    /// Joins a name and a value into the label's part of the identity. The value must not be empty: see [`Self::label`].
    #[inline]
    pub fn pair(&self, name: SymbolHash, value: SymbolHash) -> SeriesId {
        let [.., k4, k5, k6, k7] = self.words;
        SeriesId { low: fold(name.low ^ k4, value.low ^ k5), high: fold(name.high ^ k6, value.high ^ k7) }
    }

    /// The label's part of the identity: nothing for an empty value, which is the same as no label at all.
    #[inline]
    pub fn label(&self, name: &[u8], value: &[u8]) -> SeriesId {
        if value.is_empty() { SeriesId::default() } else { self.pair(self.symbol(name), self.symbol(value)) }
    }

    /// Identity of a whole label set.
    pub fn series<'a>(&self, labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> SeriesId {
        labels.into_iter().fold(SeriesId::default(), |sum, (name, value)| sum + self.label(name, value))
    }
}

impl IdentityKey {
    /// Identity of labels that are put in order already.
    pub fn labels(&self, labels: &Labels) -> SeriesId {
        self.series(labels.iter().map(|label| (label.name.as_bytes(), label.value.as_bytes())))
    }
}

impl SymbolHash {
    /// One of the two lanes, for a hash table of symbols.
    #[inline]
    pub fn low(self) -> u64 {
        self.low
    }
}

impl Add for SeriesId {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self { low: self.low.wrapping_add(other.low), high: self.high.wrapping_add(other.high) }
    }
}

impl AddAssign for SeriesId {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for SeriesId {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self { low: self.low.wrapping_sub(other.low), high: self.high.wrapping_sub(other.high) }
    }
}

/// How many partitions the identities fall into; a shard owns a range of them.
pub const PARTITIONS: u32 = 4096;

impl SeriesId {
    /// The partition, from bits that the identity table does not use.
    #[inline]
    pub fn partition(self) -> u32 {
        (self.high >> 52) as u32
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Bytes that one multiplication of each lane takes in.
const BLOCK: usize = 16;

/// The two lanes while a text goes through them.
struct Lanes {
    low: u64,
    high: u64,
}

impl Lanes {
    #[inline]
    fn start(key: &IdentityKey) -> Self {
        Self { low: key.words[0], high: key.words[2] }
    }

    #[inline]
    fn mix(&mut self, key: &IdentityKey, [a, b]: [u64; 2]) {
        self.low = fold(a ^ self.low, b ^ key.words[1]);
        self.high = fold(a ^ key.words[3], b ^ self.high);
    }

    #[inline]
    fn finish(mut self, key: &IdentityKey, last: [u64; 2]) -> SymbolHash {
        self.mix(key, last);
        SymbolHash { low: self.low, high: self.high }
    }
}

/// What stays of the last block's words, and the mark behind the text, by the number of bytes in that block.
const TAILS: [[u64; 4]; BLOCK] = {
    let mut tails = [[0; 4]; BLOCK];
    let mut length = 0;
    while length < BLOCK {
        let mark = 1u128 << (8 * length);
        let keep = mark - 1;
        tails[length] = [keep as u64, (keep >> 64) as u64, mark as u64, (mark >> 64) as u64];
        length += 1;
    }
    tails
};

/// Closes the last block: bytes behind the text go, and a mark takes their place, so that no two texts give the same blocks,
/// whatever zero bytes they end with. `length` is below sixteen.
#[inline]
fn pad(length: usize, [a, b]: [u64; 2]) -> [u64; 2] {
    let [keep_a, keep_b, mark_a, mark_b] = TAILS[length];
    [a & keep_a | mark_a, b & keep_b | mark_b]
}

#[inline]
fn words(block: &[u8; BLOCK]) -> [u64; 2] {
    let whole = u128::from_le_bytes(*block);
    [whole as u64, (whole >> 64) as u64]
}

/// Fewer than sixteen bytes as two words, zeros behind them; two reads that overlap instead of a loop over bytes.
#[inline]
fn tail(bytes: &[u8]) -> [u64; 2] {
    let length = bytes.len();
    match length {
        8.. => [word(bytes, 0), shifted(word(bytes, length - 8), 16 - length)],
        4..8 => [half(bytes, 0) | half(bytes, length - 4) << (8 * (length - 4)), 0],
        1..4 => {
            let (first, middle, last) = (bytes[0], bytes[length / 2], bytes[length - 1]);
            let outer = u64::from(first) | u64::from(last) << (8 * (length - 1));
            [outer | u64::from(middle) << (8 * (length / 2)), 0]
        }
        0 => [0, 0],
    }
}

/// Drops the lowest `bytes` bytes of a word: up to all eight.
#[inline]
fn shifted(word: u64, bytes: usize) -> u64 {
    word.checked_shr(8 * bytes as u32).unwrap_or(0)
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key() -> IdentityKey {
        let mut bytes = [0; IdentityKey::BYTES];
        let mut state = 7u64;
        for byte in &mut bytes {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *byte = (state >> 56) as u8;
        }
        IdentityKey::from_bytes(&bytes)
    }

    #[test]
    fn order_does_not_matter_and_roles_do() {
        let key = key();
        let [a, b] = [["job", "api"], ["zone", "a"]].map(|[name, value]| (name.as_bytes(), value.as_bytes()));
        assert_eq!(key.series([a, b]), key.series([b, a]));
        assert_ne!(key.label(b"a", b"b"), key.label(b"b", b"a"));
        assert_ne!(key.label(b"ab", b"c"), key.label(b"a", b"bc"));
    }

    #[test]
    fn every_byte_and_every_length_counts() {
        let key = key();
        let mut seen = HashSet::new();
        let base: Vec<u8> = (0..70u8).collect();
        for length in 0..=base.len() {
            let mut text = base[..length].to_vec();
            let hash = key.symbol(&text);
            assert!(seen.insert(hash.low) && seen.insert(hash.high), "length {length}");
            for at in 0..length {
                text[at] ^= 0x80;
                let hash = key.symbol(&text);
                assert!(seen.insert(hash.low) && seen.insert(hash.high), "length {length}, byte {at}");
                text[at] ^= 0x80;
            }
        }
    }

    #[test]
    fn a_text_hashes_alike_whatever_stands_behind_it() {
        let key = key();
        // Even a key that nobody would draw tells texts apart.
        let poor = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
        let hashes: HashSet<u64> = ["a", "b", "ab", "a_longer_text_of_more_than_a_block"]
            .iter()
            .map(|text| poor.text_hash(text.as_bytes(), text.len()))
            .collect();
        assert_eq!(hashes.len(), 4);
        let mut seen = HashSet::new();
        let base: Vec<u8> = (0..100u8).map(|number| number.wrapping_mul(73)).collect();
        for length in 0..=base.len() {
            let hash = key.text_hash(&base, length);
            assert_eq!(hash, key.text_hash(&base[..length], length), "{length}");
            assert!(seen.insert(hash), "{length}");
            for at in 0..length {
                let mut other = base[..length].to_vec();
                other[at] ^= 1;
                assert!(seen.insert(key.text_hash(&other, length)), "length {length}, byte {at}");
            }
        }
    }

    #[test]
    fn a_text_inside_a_buffer_hashes_as_by_itself() {
        let key = key();
        let buffer: Vec<u8> = (0..90u8).map(|number| number.wrapping_mul(37)).collect();
        for start in 0..buffer.len() {
            for end in start..=buffer.len() {
                let (alone, within) = (key.symbol(&buffer[start..end]), key.symbol_within(&buffer, start, end - start));
                assert_eq!(alone, within, "{start}..{end}");
            }
        }
    }

    #[test]
    fn zeros_at_the_end_count_and_an_empty_value_does_not() {
        let key = key();
        let zeros: HashSet<u64> = (0..64).map(|length| key.symbol(&vec![0; length]).low).collect();
        assert_eq!(zeros.len(), 64);
        assert_ne!(key.symbol(b"b").low, key.symbol(b"a\0").low);
        let [job, empty] = [["job", "api"], ["zone", ""]].map(|[name, value]| (name.as_bytes(), value.as_bytes()));
        assert_eq!(key.series([job, empty]), key.series([job]));
    }

    #[test]
    fn both_lanes_spread_over_their_bits() {
        let key = key();
        let mut partitions = [0u32; 64];
        let mut low = [0u32; 64];
        for number in 0..64_000u32 {
            let id = key.label(b"instance", format!("host-{number}:9100").as_bytes());
            partitions[(id.partition() / 64) as usize] += 1;
            low[(id.low & 63) as usize] += 1;
        }
        assert!(partitions.iter().chain(&low).all(|&count| (850..1150).contains(&count)), "{partitions:?} {low:?}");
    }
}
