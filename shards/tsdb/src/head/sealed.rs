//! Where the sealed chunks of each series are: sixteen bytes a chunk, chained backwards through one array.
//!
//! Links are added as chunks are sealed, so roughly in order of time: a truncation moves the floor, below which no reader looks,
//! and drops the pages in front that hold nothing above it. No link is touched for that.

use std::collections::VecDeque;

use super::TOGETHER;
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

const LINKS_PER_PAGE: usize = 4096;
/// Links that were ever made, from which on their numbers are counted anew: they are 32 bits wide, and one page has to fit.
const REBASE_AT: u32 = 1 << 31;

/// Links by number, those in front gone.
#[derive(Debug, Default)]
struct Links {
    pages: VecDeque<Page>,
    /// Number of the first link of the first page.
    first: u32,
    length: u32,
}

#[derive(Debug)]
struct Page {
    links: Box<[Link]>,
    /// Latest end of a chunk that a link of the page leads to.
    max_time: i64,
}

impl Links {
    fn push(&mut self, link: Link, max_time: i64) {
        let at = (self.length - self.first) as usize;
        if at == self.pages.len() * LINKS_PER_PAGE {
            let links = vec![Link::default(); LINKS_PER_PAGE].into_boxed_slice();
            self.pages.push_back(Page { links, max_time: i64::MIN });
        }
        let page = &mut self.pages[at / LINKS_PER_PAGE];
        page.links[at % LINKS_PER_PAGE] = link;
        page.max_time = page.max_time.max(max_time);
        self.length += 1;
    }

    fn get(&self, number: u32) -> Option<Link> {
        let at = number.checked_sub(self.first)? as usize;
        Some(self.pages[at / LINKS_PER_PAGE].links[at % LINKS_PER_PAGE])
    }

    /// Drops full pages in front that lead to nothing at or after a time.
    fn drop_before(&mut self, floor: i64) {
        while self.pages.len() > 1 && self.pages[0].max_time < floor {
            self.pages.pop_front();
            self.first += LINKS_PER_PAGE as u32;
        }
    }

    /// Counts from zero again; returns what was taken off every number.
    fn rebase(&mut self) -> u32 {
        let by = std::mem::take(&mut self.first);
        self.length -= by;
        for link in self.pages.iter_mut().flat_map(|page| &mut page.links) {
            link.previous = link.previous.saturating_sub(by);
        }
        by
    }

    fn count(&self) -> usize {
        (self.length - self.first) as usize
    }
}

/// The sealed chunks of all series.
#[derive(Debug)]
pub(crate) struct SealedChains {
    first_window: Option<i64>,
    /// What ends before it is in blocks, and is not here any more.
    floor: i64,
    links: Links,
    /// By series: number of its newest link plus one; zero is "none".
    newest: Pages<u32, 4096>,
    /// Latest end of a chunk in each chunk file, by number.
    file_max_times: Vec<i64>,
}

impl Default for SealedChains {
    fn default() -> Self {
        Self {
            first_window: None,
            floor: i64::MIN,
            links: Links::default(),
            newest: Pages::default(),
            file_max_times: Vec::new(),
        }
    }
}

impl SealedChains {
    pub(crate) fn add_series(&mut self) {
        self.newest.push(0);
    }

    /// Forgets the chunks that end before a time, which is a window's border.
    pub(crate) fn truncate(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
        self.links.drop_before(self.floor);
        if self.links.first >= REBASE_AT {
            let by = self.links.rebase();
            self.newest.iter_mut().for_each(|newest| *newest = newest.saturating_sub(by));
        }
    }

    /// Gives the series other positions: `old[new]` is where each was.
    pub(crate) fn rearrange(&mut self, old: &[u32], in_order: usize) {
        self.newest.rearrange(old, in_order);
    }

    /// Whether a chunk file has a chunk that is still here.
    pub(crate) fn refers_to(&self, file: u32) -> bool {
        self.file_max_times.get(file as usize).is_some_and(|&max_time| max_time >= self.floor)
    }

    /// A chunk file is gone, and its number will be used again.
    pub(crate) fn forget_file(&mut self, file: u32) {
        if let Some(max_time) = self.file_max_times.get_mut(file as usize) {
            *max_time = i64::MIN;
        }
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
        self.links.push(Link { times, address: chunk.address, previous: *newest }, chunk.max_time);
        *newest = self.links.length;
        let file = chunk.address.file() as usize;
        if self.file_max_times.len() <= file {
            self.file_max_times.resize(file + 1, i64::MIN);
        }
        self.file_max_times[file] = self.file_max_times[file].max(chunk.max_time);
    }

    /// Sealed chunks of a series, newest first.
    pub(crate) fn newest_first(&self, series: SeriesRef) -> impl Iterator<Item = SealedChunk> {
        self.all_newest_first(series).take_while(|chunk| chunk.max_time >= self.floor)
    }

    fn all_newest_first(&self, series: SeriesRef) -> impl Iterator<Item = SealedChunk> {
        let mut next = *self.newest.get(series.index());
        std::iter::from_fn(move || self.step(&mut next))
    }

    /// The chunk of a link, and on to the one before it.
    fn step(&self, next: &mut u32) -> Option<SealedChunk> {
        let link = self.links.get(next.checked_sub(1)?)?;
        *next = link.previous;
        // The earliest window begins before the earliest time that can be written; its chunks do not.
        let start =
            (self.first_window.unwrap_or_default() + (link.times >> (2 * PLACE_BITS)) as i64).wrapping_mul(WINDOW_MS);
        let place = |shift: u32| (link.times >> shift & ((1 << PLACE_BITS) - 1)) as i64;
        let (min_time, max_time) = (start.wrapping_add(place(PLACE_BITS)), start.wrapping_add(place(0)));
        Some(SealedChunk { min_time, max_time, address: link.address })
    }

    /// Brings the links of some series' chunks from a time on into the cache, all chains at once, as [`super::BitChain::touch`].
    pub(crate) fn touch(&self, series: &[u32], from: i64) {
        let mut nexts = [0; TOGETHER];
        for (next, series) in nexts.iter_mut().zip(series) {
            *next = *self.newest.get(*series as usize);
        }
        let mut is_more = true;
        while is_more {
            is_more = false;
            for next in nexts.iter_mut().filter(|next| **next != 0) {
                match self.step(next) {
                    Some(chunk) if chunk.max_time >= from => is_more = true,
                    _ => *next = 0,
                }
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.links.pages.len() * LINKS_PER_PAGE * size_of::<Link>() + self.newest.heap_bytes()
    }

    /// Chunks here, and some behind the floor that share a page with them.
    pub(crate) fn count(&self) -> usize {
        self.links.count()
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
    fn what_is_below_the_floor_is_gone_and_its_pages_with_it() {
        let mut chains = SealedChains::default();
        chains.add_series();
        chains.add_series();
        let chunk = |number: i64| SealedChunk {
            min_time: number * 1000,
            max_time: number * 1000 + 999,
            address: ChunkAddress::new((number / 5000) as u32, 4096),
        };
        assert!(chains.reach(0));
        for number in 0..20_000 {
            chains.add(SeriesRef((number % 2) as u32), chunk(number));
        }
        let floor = 2 * WINDOW_MS;
        chains.truncate(floor);
        let kept: Vec<_> = (0..20_000).rev().filter(|number| number % 2 == 1).map(chunk).collect();
        let kept: Vec<_> = kept.into_iter().filter(|chunk| chunk.max_time >= floor).collect();
        assert_eq!(chains.newest_first(SeriesRef(1)).collect::<Vec<_>>(), kept);
        assert!(chains.count() < 20_000 - 14_400 + LINKS_PER_PAGE, "{} links", chains.count());
        assert!(!chains.refers_to(1) && chains.refers_to(2) && !chains.refers_to(9));
        let by = chains.links.rebase();
        chains.newest.iter_mut().for_each(|newest| *newest = newest.saturating_sub(by));
        assert_eq!(chains.newest_first(SeriesRef(1)).collect::<Vec<_>>(), kept, "after counting anew");
        chains.truncate(i64::MAX);
        assert_eq!(chains.newest_first(SeriesRef(0)).count(), 0);
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
