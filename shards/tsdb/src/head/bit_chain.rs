//! Memory of open chunks: chains of 32-byte blocks.
//!
//! A chunk grows a few bits at a time and a head has millions of them, so neither a heap allocation nor a copy per growth step
//! will do. A block holds seven words of bits and the number of the block before it; the series keeps only the newest block's
//! number. Blocks of sealed chunks are used again by whichever series grows next. Waste is half a block a series on average.

use codec::{gorilla::BitSink, prefetch::prefetch_read};

use super::HotLine;
use crate::segmented::Pages;

const WORDS: usize = 7;
/// Pending bits of a line from which on another sample often spills to a block.
const PENDING_BITS_LIKELY: u8 = 64;

/// Number of a block plus one; zero is "none".
pub(crate) type BlockRef = u32;

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
struct Block {
    words: [u32; WORDS],
    /// The block before this one in its chunk, or the next free block.
    previous: BlockRef,
}

const _: () = assert!(size_of::<Block>() == 32);

/// All blocks of a shard.
#[derive(Debug, Default)]
pub(crate) struct BitChain {
    blocks: Pages<Block, 2048>,
    free: BlockRef,
    used: usize,
}

impl BitChain {
    fn allocate(&mut self, previous: BlockRef) -> BlockRef {
        self.used += 1;
        if self.free == 0 {
            self.blocks.push(Block { words: [0; WORDS], previous });
            return self.blocks.len() as BlockRef;
        }
        let block = self.free;
        let slot = self.blocks.get_mut(block as usize - 1);
        self.free = slot.previous;
        *slot = Block { words: [0; WORDS], previous };
        // Which block is free next is written in that block, and it was last touched when it became free.
        if self.free != 0 {
            let (page, place) = self.blocks.place(self.free as usize - 1);
            prefetch_read(page, place);
        }
        block
    }

    /// Puts the next full word of a chunk behind its others. `at` counts the words that the chunk has in blocks.
    #[inline]
    fn push_word(&mut self, tail: &mut BlockRef, at: usize, word: u32) {
        let place = at % WORDS;
        if place == 0 {
            *tail = self.allocate(*tail);
        }
        self.blocks.get_mut(*tail as usize - 1).words[place] = word;
    }

    /// Asks the CPU for a line's newest block if its next sample is likely to need it.
    #[inline]
    pub(crate) fn prefetch(&self, line: &HotLine) {
        if line.pending_bits > PENDING_BITS_LIKELY && line.tail != 0 {
            let (page, place) = self.blocks.place(line.tail as usize - 1);
            prefetch_read(page, place);
        }
    }

    /// Brings the blocks of some chunks into the cache, all chains at once: each is a walk from miss to miss, but the misses of
    /// different chains don't wait for each other.
    pub(crate) fn touch(&self, tails: &mut [BlockRef]) {
        let mut is_more = true;
        while is_more {
            is_more = false;
            for tail in tails.iter_mut().filter(|tail| **tail != 0) {
                *tail = self.blocks.get(*tail as usize - 1).previous;
                is_more = true;
            }
        }
    }

    /// Gives back a chunk's blocks.
    pub(crate) fn release(&mut self, mut tail: BlockRef) {
        while tail != 0 {
            let block = self.blocks.get_mut(tail as usize - 1);
            let previous = std::mem::replace(&mut block.previous, self.free);
            self.free = tail;
            self.used -= 1;
            tail = previous;
        }
    }

    /// Appends the bits of a line's open chunk to `bytes`, the last byte filled up with zeros.
    pub(crate) fn copy_bits(&self, line: &HotLine, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let words = (usize::from(line.bit_length) - usize::from(line.pending_bits)) / 32;
        bytes.resize(start + words * 4, 0);
        let (mut tail, mut end) = (line.tail, words);
        while tail != 0 {
            let block = self.blocks.get(tail as usize - 1);
            let first = (end - 1) / WORDS * WORDS;
            for (word, place) in block.words[..end - first].iter().zip(first..end) {
                bytes[start + place * 4..start + place * 4 + 4].copy_from_slice(&word.to_be_bytes());
            }
            (tail, end) = (block.previous, first);
        }
        let pending = line.pending << (128 - u32::from(line.pending_bits)).min(127);
        let pending = if line.pending_bits == 0 { 0 } else { pending };
        bytes.extend_from_slice(&pending.to_be_bytes()[..usize::from(line.pending_bits).div_ceil(8)]);
    }

    /// Fills a line's chunk memory from bits that [`Self::copy_bits`] gave.
    pub(crate) fn restore_bits(&mut self, line: &mut HotLine, bytes: &[u8], bit_length: u16) {
        line.bit_length = bit_length;
        let words = usize::from(bit_length) / 32;
        for at in 0..words {
            let word = u32::from_be_bytes(bytes[at * 4..at * 4 + 4].try_into().expect("four bytes"));
            self.push_word(&mut line.tail, at, word);
        }
        let rest = usize::from(bit_length) % 32;
        let mut pending = 0u128;
        for &byte in &bytes[words * 4..words * 4 + rest.div_ceil(8)] {
            pending = pending << 8 | u128::from(byte);
        }
        line.pending = pending >> (rest.div_ceil(8) * 8 - rest);
        line.pending_bits = rest as u8;
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.blocks.heap_bytes()
    }
}

/// Where an encoder puts the bits of one series: up to 128 wait in the hot line, full words go to the chain.
pub(crate) struct ChainSink<'a> {
    pub(crate) chain: &'a mut BitChain,
    pub(crate) tail: BlockRef,
    pub(crate) pending: u128,
    pub(crate) pending_bits: u32,
    /// All bits of the chunk.
    pub(crate) bit_length: u32,
}

impl ChainSink<'_> {
    /// Moves full words to the chain. Cold: a sample of a calm series adds two to twenty bits.
    #[cold]
    fn spill(&mut self) {
        let mut at = (self.bit_length - self.pending_bits) as usize / 32;
        while self.pending_bits >= 32 {
            self.pending_bits -= 32;
            let word = (self.pending >> self.pending_bits) as u32;
            self.chain.push_word(&mut self.tail, at, word);
            at += 1;
        }
        self.pending &= (1 << self.pending_bits) - 1;
    }
}

impl BitSink for ChainSink<'_> {
    #[inline]
    fn put(&mut self, bits: u64, count: u32) {
        debug_assert!((1..=64).contains(&count));
        if self.pending_bits + count > 128 {
            self.spill();
        }
        self.pending = self.pending << count | u128::from(bits & (u64::MAX >> (64 - count)));
        self.pending_bits += count;
        self.bit_length += count;
    }
}
