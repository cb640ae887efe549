//! One simulated file: what survives for certain, and everything later that might.

use std::{collections::BTreeMap, rc::Rc};

use runtime::SECTOR_BYTES;

use crate::random::Random;

/// Unit in which a write can tear: what a device with 512-byte sectors promises to write whole.
pub(super) const PIECE_BYTES: usize = 512;
const PIECES_PER_SECTOR: usize = SECTOR_BYTES / PIECE_BYTES;
const SECTOR: u64 = SECTOR_BYTES as u64;

type Sector = Rc<[u8]>;

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Sectors that survive any crash; an absent one reads as zeros.
    durable: BTreeMap<u64, Sector>,
    durable_length: u64,
    /// Later versions of sectors, oldest first, none of them durable.
    pending: BTreeMap<u64, Vec<Version>>,
    /// Later lengths, oldest first.
    pending_lengths: Vec<u64>,
    /// Space taken from the disk's capacity; at least the length.
    reserved: u64,
}

#[derive(Clone, Debug)]
struct Version {
    bytes: Sector,
    origin: Origin,
    /// A sync failed while this waited: the system has forgotten that it is dirty, so no later sync writes it.
    forgotten: bool,
}

/// Which kind of handle wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Waits for a sync, and is forgotten when that fails.
    Ordinary,
    /// A durable write that was cut off or failed; it is at the device already, so any later sync settles it.
    Durable,
}

/// How much of the unsynced state of a file, or of the names, a crash lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrashMood {
    KeepAll,
    LoseAll,
    /// Each thing by itself.
    Mixed,
}

impl CrashMood {
    /// Uniform subsets alone would hardly ever lose or keep everything, which are the commonest outcomes of real crashes.
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::KeepAll,
            1 => Self::LoseAll,
            _ => Self::Mixed,
        }
    }

    pub(super) fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::KeepAll => true,
            Self::LoseAll => false,
            Self::Mixed => random.percent(50),
        }
    }
}

/// Which 512-byte pieces of a write reach the file.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    Whole,
    Pieces(Vec<bool>),
}

impl Reach {
    /// A write that was cut off: nothing, everything, a prefix, a suffix, whole sectors, or any subset of the pieces.
    pub(super) fn cut(random: &mut Random, bytes: usize) -> Self {
        let pieces = bytes / PIECE_BYTES;
        let border = random.index(pieces + 1);
        Self::Pieces(match random.below(6) {
            0 => vec![false; pieces],
            1 => return Self::Whole,
            2 => (0..pieces).map(|piece| piece < border).collect(),
            3 => (0..pieces).map(|piece| piece >= border).collect(),
            4 => {
                let sectors: Vec<bool> = (0..pieces / PIECES_PER_SECTOR).map(|_| random.percent(50)).collect();
                (0..pieces).map(|piece| sectors[piece / PIECES_PER_SECTOR]).collect()
            }
            _ => (0..pieces).map(|_| random.percent(50)).collect(),
        })
    }

    fn has(&self, piece: usize) -> bool {
        match self {
            Self::Whole => true,
            Self::Pieces(pieces) => pieces[piece],
        }
    }
}

impl Content {
    /// The length that the running system sees.
    pub(super) fn length(&self) -> u64 {
        self.pending_lengths.last().copied().unwrap_or(self.durable_length)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Fills `into` as far as the file goes and returns the count.
    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> usize {
        let count = into.len().min(usize::try_from(self.length().saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let within = (at % SECTOR) as usize;
            let piece = (SECTOR_BYTES - within).min(count - done);
            match self.sector(at / SECTOR) {
                Some(bytes) => into[done..done + piece].copy_from_slice(&bytes[within..within + piece]),
                None => into[done..done + piece].fill(0),
            }
            done += piece;
        }
        count
    }

    /// Bytes by which the space taken would grow.
    pub(super) fn growth(&self, end: u64) -> u64 {
        end.saturating_sub(self.reserved)
    }

    /// A write as the running system sees it: pending, until something makes it durable.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, origin: Origin, reach: &Reach) {
        for (index, new) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            let number = offset / SECTOR + index as u64;
            let mut merged = self.sector_or_zeros(number);
            let mut touched = false;
            for piece in 0..PIECES_PER_SECTOR {
                if reach.has(index * PIECES_PER_SECTOR + piece) {
                    let range = piece * PIECE_BYTES..(piece + 1) * PIECE_BYTES;
                    merged[range.clone()].copy_from_slice(&new[range]);
                    touched = true;
                }
            }
            if touched {
                self.pending.entry(number).or_default().push(Version {
                    bytes: merged.into(),
                    origin,
                    forgotten: false,
                });
            }
        }
        self.grow(offset + bytes.len() as u64);
    }

    pub(super) fn grow(&mut self, length: u64) {
        self.reserved = self.reserved.max(length);
        if length > self.length() {
            self.pending_lengths.push(length);
        }
    }

    /// As the running system sees it at once; a crash may keep any length since the last that was durable.
    pub(super) fn set_length(&mut self, length: u64) {
        if length != self.length() {
            self.reserved = self.reserved.max(length);
            self.pending_lengths.push(length);
        }
    }

    /// What a completed durable write promises: its own sectors and a length that covers them; nothing else.
    pub(super) fn make_range_durable(&mut self, offset: u64, bytes: u64) {
        for number in offset / SECTOR..(offset + bytes) / SECTOR {
            if let Some(last) = self.pending.remove(&number).and_then(|versions| versions.into_iter().last()) {
                self.durable.insert(number, last.bytes);
            }
        }
        self.durable_length = self.durable_length.max(offset + bytes);
        let durable = self.durable_length;
        self.pending_lengths.retain(|&length| length > durable);
    }

    pub(super) fn sync(&mut self) {
        self.pending.retain(|&number, versions| {
            let Some(last) = versions.last().filter(|version| !version.forgotten) else { return true };
            self.durable.insert(number, Rc::clone(&last.bytes));
            false
        });
        self.durable_length = self.length();
        self.pending_lengths.clear();
    }

    /// The sync answered with an error: what waited may or may not be on the disk, and no later sync writes it again.
    pub(super) fn fail_sync(&mut self) {
        let ordinary = self.pending.values_mut().flatten().filter(|version| version.origin == Origin::Ordinary);
        ordinary.for_each(|version| version.forgotten = true);
    }

    /// Power is cut: what was not durable is kept, lost or torn, each sector and the length by itself.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let mood = CrashMood::draw(random);
        for (number, versions) in std::mem::take(&mut self.pending) {
            let survivor = match mood {
                CrashMood::LoseAll => None,
                CrashMood::KeepAll => versions.last().map(|version| Rc::clone(&version.bytes)),
                CrashMood::Mixed => self.survivor(number, &versions, random),
            };
            if let Some(bytes) = survivor {
                self.durable.insert(number, bytes);
            }
        }
        // Not tied to the sectors' mood: data without its length, and length without its data, are the classic traps.
        let lengths = std::mem::take(&mut self.pending_lengths);
        if !lengths.is_empty() && CrashMood::draw(random).keeps(random) {
            self.durable_length = *random.pick(&lengths);
        }
        let sectors = self.durable_length.div_ceil(SECTOR);
        drop(self.durable.split_off(&sectors));
        self.reserved = self.durable_length;
    }

    fn survivor(&self, number: u64, versions: &[Version], random: &mut Random) -> Option<Sector> {
        match random.below(4) {
            0 => None,
            1 => versions.last().map(|version| Rc::clone(&version.bytes)),
            2 => Some(Rc::clone(&random.pick(versions).bytes)),
            _ => {
                let before = self.durable.get(&number).map_or_else(|| vec![0; SECTOR_BYTES], |bytes| bytes.to_vec());
                Some(torn(before, versions, random))
            }
        }
    }

    /// Flips one bit of a sector that holds data, for good; the sector's offset, or `None` if the file has no data.
    pub(super) fn rot(&mut self, random: &mut Random) -> Option<u64> {
        let mut numbers: Vec<u64> = self.durable.keys().chain(self.pending.keys()).copied().collect();
        numbers.retain(|&number| number * SECTOR < self.length());
        if numbers.is_empty() {
            return None;
        }
        let number = *random.pick(&numbers);
        let mut bytes = self.sector_or_zeros(number);
        bytes[random.index(SECTOR_BYTES)] ^= 1 << random.below(8);
        self.pending.remove(&number);
        self.durable.insert(number, bytes.into());
        Some(number * SECTOR)
    }

    fn sector(&self, number: u64) -> Option<&[u8]> {
        let pending = self.pending.get(&number).and_then(|versions| versions.last()).map(|version| &version.bytes);
        pending.or_else(|| self.durable.get(&number)).map(|bytes| &bytes[..])
    }

    fn sector_or_zeros(&self, number: u64) -> Vec<u8> {
        self.sector(number).map_or_else(|| vec![0; SECTOR_BYTES], <[u8]>::to_vec)
    }
}

/// A sector of which each piece comes from any of its versions.
fn torn(before: Vec<u8>, versions: &[Version], random: &mut Random) -> Sector {
    let mut bytes = before;
    for (piece, place) in bytes.chunks_exact_mut(PIECE_BYTES).enumerate() {
        let choice = random.index(versions.len() + 1);
        if let Some(version) = versions.get(choice) {
            place.copy_from_slice(&version.bytes[piece * PIECE_BYTES..(piece + 1) * PIECE_BYTES]);
        }
    }
    bytes.into()
}
