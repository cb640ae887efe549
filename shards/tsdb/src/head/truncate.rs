//! Forgetting what a block has: times below the head's floor.
//!
//! The floor moves at once and every reader looks at it; memory is given back in slices, between the writes. A series without a
//! sample above the floor is dead: [`super::Renumbering`] takes it out.

use super::Head;
use crate::{SeriesRef, limits::WINDOW_MS, wal::LogBatch};

/// Series that a slice looks at: one cache line each.
const SERIES_PER_SLICE: u32 = 16 << 10;

/// Giving back the open chunks of series that ended below the floor; and how many those are.
#[derive(Debug, Default)]
pub struct Reclaim {
    next: u32,
    dead: u32,
}

impl Reclaim {
    /// Does the next slice; `false` when there is none.
    pub fn advance(&mut self, head: &mut Head) -> bool {
        let count = head.series_count() as u32;
        let end = self.next.saturating_add(SERIES_PER_SLICE).min(count);
        for series in (self.next..end).map(SeriesRef) {
            let line = head.lines.get(series.index());
            if line.is_alive(head.floor) {
                continue;
            }
            self.dead += 1;
            if line.count > 0 {
                head.drop_open_chunk(series);
            }
            head.histograms.close(series);
        }
        self.next = end;
        end < count
    }

    /// Series found without a sample above the floor.
    pub fn dead(&self) -> usize {
        self.dead as usize
    }
}

impl Head {
    /// Forgets all samples before a window's border, durably once `log` is. Nothing below it must be appended any more.
    pub fn truncate(&mut self, floor: i64, log: &mut LogBatch) {
        assert_eq!(floor.rem_euclid(WINDOW_MS), 0, "blocks end at a window's border");
        if floor > self.floor {
            self.raise_floor(floor);
            log.push_truncation(floor);
        }
    }

    pub(crate) fn raise_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
        self.sealed.truncate(self.floor);
        self.deleted.truncate(self.floor);
        self.min_time = self.min_time.map(|time| time.max(self.floor));
        self.max_time = self.max_time.filter(|&time| time >= self.floor);
        self.min_time = self.max_time.and(self.min_time);
    }
}
