//! The cache line that an append touches: one per series, 64 bytes.
//!
//! It holds the identity (so that the table needs no copy of it), the newest sample (which is also the encoder's predecessor,
//! and what an instant query reads), the encoder's state, and up to 128 bits of the chunk that have not gone to its blocks yet:
//! a sample of a calm series then touches no other memory. Why the newest samples have no columns of their own:
//! `docs/decisions/2026-11-22-series-layout.md`.

use codec::gorilla::XorState;
use model::SeriesId;

use super::{BitChain, ChainSink, bit_chain::BlockRef};
use crate::limits::{CHUNK_BITS_PER_SAMPLE, WINDOW_MS};

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct HotLine {
    pub(crate) id: SeriesId,
    /// Newest sample; meaningless while `has_samples` is false.
    pub(crate) time: i64,
    pub(crate) value: u64,
    /// Newest bits of the open chunk, right-aligned.
    pub(crate) pending: u128,
    /// Time step before the newest sample. Fits: a chunk never crosses a window, which is 7.2 million ms long.
    pub(crate) delta: u32,
    /// Newest block of the open chunk.
    pub(crate) tail: BlockRef,
    /// All bits of the open chunk, pending ones included.
    pub(crate) bit_length: u16,
    /// Samples in the open chunk.
    pub(crate) count: u8,
    /// Samples with which the open chunk is full; zero if none is open.
    pub(crate) capacity: u8,
    pub(crate) pending_bits: u8,
    pub(crate) leading: u8,
    pub(crate) trailing: u8,
    pub(crate) has_samples: bool,
}

const _: () = assert!(size_of::<HotLine>() == 64, "one cache line");
const _: () = assert!(crate::limits::SAMPLES_PER_CHUNK < u8::MAX as u16);
// The longest sample takes 4 + 64 bits of time and 2 + 5 + 6 + 64 of value.
const _: () = assert!(crate::limits::CHUNK_BITS_MAX as u32 + 145 < u16::MAX as u32);
const _: () = assert!(WINDOW_MS < u32::MAX as i64);

impl HotLine {
    pub(crate) fn new(id: SeriesId) -> Self {
        Self { id, ..Self::default() }
    }

    /// Whether the series has a sample at or after a time.
    #[inline]
    pub(crate) fn is_alive(&self, floor: i64) -> bool {
        self.has_samples && self.time >= floor
    }

    /// Whether the next sample begins a chunk.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.count >= self.capacity || self.bit_length >= u16::from(self.capacity) * CHUNK_BITS_PER_SAMPLE
    }

    /// Appends a sample that belongs into the open chunk. The caller has checked that time moves forward and that the chunk
    /// has room.
    #[inline]
    pub(crate) fn encode(&mut self, chain: &mut BitChain, time: i64, value: u64) {
        let mut state = XorState {
            time: self.time,
            value: self.value,
            delta: u64::from(self.delta),
            leading: self.leading,
            trailing: self.trailing,
            count: u16::from(self.count),
        };
        if state.count == 0 {
            state = XorState::default();
        }
        let mut sink = ChainSink {
            chain,
            tail: self.tail,
            pending: self.pending,
            pending_bits: u32::from(self.pending_bits),
            bit_length: u32::from(self.bit_length),
        };
        state.append(time, value, &mut sink);
        self.tail = sink.tail;
        self.pending = sink.pending;
        self.pending_bits = sink.pending_bits as u8;
        self.bit_length = sink.bit_length as u16;
        self.time = time;
        self.value = value;
        self.delta = state.delta as u32;
        self.leading = state.leading;
        self.trailing = state.trailing;
        self.count = state.count as u8;
        self.has_samples = true;
    }

    /// Empties the open chunk after its bits were taken. The newest sample stays known.
    pub(crate) fn reset_chunk(&mut self) {
        self.pending = 0;
        self.pending_bits = 0;
        self.bit_length = 0;
        self.tail = 0;
        self.count = 0;
        self.capacity = 0;
        self.delta = 0;
        self.leading = 0;
        self.trailing = 0;
    }
}
