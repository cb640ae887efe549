//! Which series of a head are new. Positions rise with creation, so it is enough to note now and then how many series there were.

use std::{collections::VecDeque, time::Duration};

use tsdb::SeriesRef;

/// What counts as new.
pub const NEW: Duration = Duration::from_secs(3600);
/// Time between two notes: as much older what counts as new may be.
const STEP: Duration = Duration::from_secs(300);

/// Notes of the last while. Nothing is done while no series are created.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// When series were created, and how many there were before. No two within a step.
    notes: VecDeque<(Duration, u32)>,
}

impl Growth {
    /// Some series were created now, behind so many others.
    pub(crate) fn created(&mut self, now: Duration, before: usize) {
        if self.notes.back().is_none_or(|(time, _)| now >= *time + STEP) {
            self.notes.push_back((now, before as u32));
            self.forget(now);
        }
    }

    /// The first position that is new; everything is older if nothing was created.
    pub(crate) fn new_from(&mut self, now: Duration) -> SeriesRef {
        self.forget(now);
        SeriesRef(self.notes.front().map_or(u32::MAX, |(_, before)| *before))
    }

    fn forget(&mut self, now: Duration) {
        while self.notes.front().is_some_and(|(time, _)| *time + NEW + STEP < now) {
            self.notes.pop_front();
        }
    }

    /// Series are numbered anew; `gone_before` says how many go that stand before a position.
    pub(crate) fn renumbered(&mut self, gone_before: impl Fn(u32) -> u32) {
        for (_, before) in &mut self.notes {
            *before -= gone_before(*before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_created_within_the_hour_is_new() {
        let minute = |minute: u64| Duration::from_secs(minute * 60);
        let mut growth = Growth::default();
        assert_eq!(growth.new_from(minute(0)), SeriesRef(u32::MAX));
        for (at, before) in [(1, 100), (2, 110), (40, 120), (64, 130)] {
            growth.created(minute(at), before);
        }
        assert_eq!(growth.new_from(minute(65)), SeriesRef(100));
        assert_eq!(growth.new_from(minute(90)), SeriesRef(120));
        growth.renumbered(|before| before / 10);
        assert_eq!(growth.new_from(minute(90)), SeriesRef(108));
        assert_eq!(growth.new_from(minute(120)), SeriesRef(117));
        assert_eq!(growth.new_from(minute(200)), SeriesRef(u32::MAX));
    }
}
