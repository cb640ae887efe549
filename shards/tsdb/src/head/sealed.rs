//! Where the sealed chunks of each series are: twelve bytes a chunk, chained backwards through one array.

use crate::{SeriesRef, limits::WINDOW_MS, segmented::Pages};

/// Place of a chunk in the shard's chunk files, in units of [`ChunkAddress::UNIT`] bytes over all files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ChunkAddress(pub u32);

impl ChunkAddress {
    pub const UNIT: u64 = 16;
    /// Size of a chunk file: 64 MiB. 32 bits of address then reach 1,024 files, 64 GiB a shard.
    pub const FILE_BYTES: u64 = 64 << 20;
    const UNITS_PER_FILE: u32 = (Self::FILE_BYTES / Self::UNIT) as u32;
    pub const FILES_MAX: u32 = u32::MAX / Self::UNITS_PER_FILE;

    pub fn new(file: u32, offset: u64) -> Self {
        debug_assert!(file < Self::FILES_MAX && offset < Self::FILE_BYTES && offset.is_multiple_of(Self::UNIT));
        Self(file * Self::UNITS_PER_FILE + (offset / Self::UNIT) as u32)
    }

    pub fn file(self) -> u32 {
        self.0 / Self::UNITS_PER_FILE
    }

    pub fn offset(self) -> u64 {
        u64::from(self.0 % Self::UNITS_PER_FILE) * Self::UNIT
    }
}

/// A chunk that will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedChunk {
    pub min_time: i64,
    pub max_time: i64,
    pub address: ChunkAddress,
}

/// Times are packed, as no chunk crosses a window's border: the window relative to the head's first in 18 bits, which reach 29
/// years to either side, then both ends of the chunk inside it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Link {
    times: u64,
    address: ChunkAddress,
    /// The chunk before, plus one; zero is "none".
    previous: u32,
}

const _: () = assert!(size_of::<Link>() == 16, "the byte budget of docs/decisions counts 16 bytes a sealed chunk");

const WINDOW_BITS: u32 = 18;
const PLACE_BITS: u32 = (u64::BITS - WINDOW_BITS) / 2;
const _: () = assert!(WINDOW_MS < 1 << PLACE_BITS);

/// The sealed chunks of all series.
#[derive(Debug, Default)]
pub(crate) struct SealedChains {
    first_window: Option<i64>,
    links: Pages<Link, 4096>,
    newest: Pages<u32, 4096>,
}

impl SealedChains {
    pub(crate) fn add_series(&mut self) {
        self.newest.push(0);
    }

    /// Whether a chunk of this time can be kept. The first time that is asked for settles where the reach lies.
    pub(crate) fn reach(&mut self, time: i64) -> bool {
        let window = time.div_euclid(WINDOW_MS);
        let first = *self.first_window.get_or_insert(window - (1 << (WINDOW_BITS - 1)));
        (0..1 << WINDOW_BITS).contains(&(window - first))
    }

    /// Adds a chunk that [`Self::reach`] allowed and that lies in one window.
    pub(crate) fn add(&mut self, series: SeriesRef, chunk: SealedChunk) {
        let window = chunk.min_time.div_euclid(WINDOW_MS);
        let first = self.first_window.expect("asked for its reach when the chunk began");
        assert_eq!(window, chunk.max_time.div_euclid(WINDOW_MS), "no chunk crosses a window's border");
        let place = |time: i64| time.rem_euclid(WINDOW_MS) as u64;
        let times =
            ((window - first) as u64) << (2 * PLACE_BITS) | place(chunk.min_time) << PLACE_BITS | place(chunk.max_time);
        let newest = self.newest.get_mut(series.index());
        self.links.push(Link { times, address: chunk.address, previous: *newest });
        *newest = self.links.len() as u32;
    }

    /// Sealed chunks of a series, newest first.
    pub(crate) fn newest_first(&self, series: SeriesRef) -> impl Iterator<Item = SealedChunk> {
        let first = self.first_window.unwrap_or_default();
        let mut next = *self.newest.get(series.index());
        std::iter::from_fn(move || {
            let link = self.links.get(next.checked_sub(1)? as usize);
            next = link.previous;
            // The earliest window begins before the earliest time that can be written; its chunks do not.
            let start = (first + (link.times >> (2 * PLACE_BITS)) as i64).wrapping_mul(WINDOW_MS);
            let place = |shift: u32| (link.times >> shift & ((1 << PLACE_BITS) - 1)) as i64;
            let (min_time, max_time) = (start.wrapping_add(place(PLACE_BITS)), start.wrapping_add(place(0)));
            Some(SealedChunk { min_time, max_time, address: link.address })
        })
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = ChunkAddress> {
        self.links.iter().map(|link| link.address)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.links.heap_bytes() + self.newest.heap_bytes()
    }

    pub(crate) fn count(&self) -> usize {
        self.links.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_wherever_they_lie() {
        for first in [0, 1_700_000_000_123, i64::MIN, i64::MAX - 1] {
            let mut chains = SealedChains::default();
            chains.add_series();
            assert!(chains.reach(first));
            let end = (first.div_euclid(WINDOW_MS) as i128 + 1) * i128::from(WINDOW_MS) - 1;
            let chunk = SealedChunk {
                min_time: first,
                max_time: end.min(i64::MAX.into()) as i64,
                address: ChunkAddress::new(3, 4096),
            };
            chains.add(SeriesRef(0), chunk);
            assert_eq!(chains.newest_first(SeriesRef(0)).collect::<Vec<_>>(), [chunk]);
        }
    }

    #[test]
    fn the_reach_is_decades_and_has_an_end() {
        const YEAR: i64 = 365 * 24 * 3_600_000;
        let mut chains = SealedChains::default();
        let start = 1_700_000_000_000;
        assert!(chains.reach(start) && chains.reach(start + 29 * YEAR) && chains.reach(start - 29 * YEAR));
        assert!(!chains.reach(start + 31 * YEAR) && !chains.reach(start - 31 * YEAR));
        assert!(!chains.reach(i64::MIN) && !chains.reach(i64::MAX));
    }
}
