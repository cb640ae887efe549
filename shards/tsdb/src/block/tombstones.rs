//! The tombstones of a block: which times of which series have been deleted.

use std::collections::BTreeMap;

use codec::{
    crc::crc32c,
    varint::{put_signed, put_unsigned},
};

use super::{BlockError, Damage, Intervals, bytes::Cursor};
use crate::select::TimeRange;

const MAGIC: u32 = 0x0130_ba30;
const VERSION: u8 = 1;
/// Magic and version, which the checksum does not cover.
const HEADER_BYTES: usize = 5;

/// Deleted times by series reference. A series without any is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    series: BTreeMap<u64, Intervals>,
}

impl Tombstones {
    pub fn add(&mut self, series: u64, range: TimeRange) {
        self.series.entry(series).or_default().add(range);
    }

    pub fn get(&self, series: u64) -> Option<&Intervals> {
        self.series.get(&series)
    }

    /// By rising series reference.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Intervals)> {
        self.series.iter().map(|(&series, intervals)| (series, intervals))
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many intervals there are: `numTombstones` of `meta.json`.
    pub fn count(&self) -> usize {
        self.series.values().map(Intervals::len).sum()
    }

    /// The whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = MAGIC.to_be_bytes().to_vec();
        file.push(VERSION);
        for (&series, intervals) in &self.series {
            for range in intervals.iter() {
                put_unsigned(&mut file, series);
                put_signed(&mut file, range.min_time);
                put_signed(&mut file, range.max_time);
            }
        }
        let sum = crc32c(&file[HEADER_BYTES..]);
        file.extend_from_slice(&sum.to_be_bytes());
        file
    }

    /// Reads a whole file. Its entries may come in any order and overlap.
    pub fn decode(file: &[u8]) -> Result<Self, BlockError> {
        let mut entries = entries(file)?;
        let mut all: Vec<(u64, TimeRange)> = Vec::new();
        while !entries.is_empty() {
            let start = entries;
            let (series, min_time, max_time) = (entries.unsigned()?, entries.signed()?, entries.signed()?);
            if min_time > max_time {
                return Err(start.damage(Damage::Order));
            }
            all.push((series, TimeRange { min_time, max_time }));
        }
        // Sorted at once: to add them one by one would take quadratic time for entries in an unlucky order.
        all.sort_by_key(|&(series, _)| series);
        let of_series = |same: &[(u64, TimeRange)]| {
            (same[0].0, Intervals::from_unsorted(same.iter().map(|&(_, range)| range).collect()))
        };
        Ok(Self { series: all.chunk_by(|a, b| a.0 == b.0).map(of_series).collect() })
    }
}

/// Checks what stands around the entries.
fn entries(file: &[u8]) -> Result<Cursor<'_>, BlockError> {
    let mut cursor = Cursor::at(file, 0)?;
    if cursor.be_u32()? != MAGIC {
        return Err(BlockError::Magic);
    }
    match cursor.take(1)?[0] {
        VERSION => {}
        version => return Err(BlockError::Version(version)),
    }
    let length = cursor.rest().len().checked_sub(super::bytes::SUM_BYTES).ok_or(cursor.damage(Damage::Truncated))?;
    cursor.checked(length as u64, HEADER_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_file_is_the_one_that_prometheus_writes() {
        let file = Tombstones::default().encode();
        assert_eq!(file, [0x01, 0x30, 0xba, 0x30, 1, 0, 0, 0, 0]);
        assert_eq!(Tombstones::decode(&file), Ok(Tombstones::default()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(stones in prop::collection::vec((0..5u64, any::<i64>(), any::<i64>()), 0..20)) {
            let mut tombstones = Tombstones::default();
            for (series, one, other) in stones {
                tombstones.add(series * 0x1234_5678, TimeRange { min_time: one.min(other), max_time: one.max(other) });
            }
            let file = tombstones.encode();
            prop_assert_eq!(Tombstones::decode(&file), Ok(tombstones.clone()));
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let mut tombstones = Tombstones::default();
        for series in 0..4 {
            tombstones.add(series, TimeRange { min_time: -5, max_time: 1_700_000_000_000 });
            tombstones.add(series, TimeRange { min_time: i64::MAX, max_time: i64::MAX });
        }
        assert_eq!(tombstones.count(), 8);
        let file = tombstones.encode();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(Tombstones::decode(&damaged).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Tombstones::decode(&file[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn entries_in_any_order_are_joined_and_nonsense_is_named() {
        let file_of = |stones: &[(u64, i64, i64)]| {
            let mut file = Tombstones::default().encode();
            file.truncate(HEADER_BYTES);
            for &(series, min_time, max_time) in stones {
                put_unsigned(&mut file, series);
                put_signed(&mut file, min_time);
                put_signed(&mut file, max_time);
            }
            let sum = crc32c(&file[HEADER_BYTES..]);
            file.extend_from_slice(&sum.to_be_bytes());
            file
        };
        let tombstones = Tombstones::decode(&file_of(&[(7, 10, 20), (2, 0, 0), (7, 1, 5), (7, 6, 9)])).expect("sound");
        let all: Vec<_> = tombstones.iter().map(|(series, intervals)| (series, intervals.iter().collect())).collect();
        let range = |min_time, max_time| vec![TimeRange { min_time, max_time }];
        assert_eq!(all, [(2, range(0, 0)), (7, range(1, 20))]);
        let error = Tombstones::decode(&file_of(&[(1, 0, 1), (1, 5, 4)])).expect_err("ends before it begins");
        assert_eq!(error, BlockError::damaged(8, Damage::Order));
    }
}
