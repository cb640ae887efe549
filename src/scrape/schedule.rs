//! When a target is scraped: at a place in the interval of its own, so that the load is even and stays the same over restarts.

use std::time::Duration;

/// How far a scrape may be off its time and still be stored at it: times in even steps take a fraction of the room.
const TOLERANCE_MAX: Duration = Duration::from_millis(2);

/// Of nanoseconds.
const NANOS_PER_MS: i64 = 1_000_000;

/// Fowler, Noll and Vo's hash (FNV-1a, 64 bits): the same over restarts and releases.
pub(crate) fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // A byte that no UTF-8 text holds keeps the parts apart.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The times of a target's scrapes, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval: i64,
    /// The time that the next scrape should begin at.
    due: i64,
}

impl Schedule {
    /// For a target with this hash, seen from now.
    pub(crate) fn new(interval: Duration, hash: u64, now: i64) -> Self {
        let interval = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        let offset = (hash % interval as u64) as i64;
        let wait = (offset - now.rem_euclid(interval)).rem_euclid(interval);
        Self { interval, due: now.saturating_add(wait) }
    }

    /// How long it is until the scrape that is due.
    pub(crate) fn wait(&self, now: i64) -> Duration {
        // The wall clock may have been set back: nothing waits longer than one interval for that.
        Duration::from_nanos((self.due.saturating_sub(now)).clamp(0, self.interval) as u64)
    }

    /// A scrape begins now: the time of its samples in milliseconds. The next one is due at the first time ahead.
    pub(crate) fn begin(&mut self, now: i64) -> i64 {
        let tolerance = (self.interval / 100).min(TOLERANCE_MAX.as_nanos() as i64);
        // A little early is in time: a timer goes by another clock.
        let late = now.saturating_sub(self.due).saturating_add(tolerance);
        let intervals = late.div_euclid(self.interval);
        let ideal = self.due.saturating_add(intervals.saturating_mul(self.interval));
        self.due = ideal.saturating_add(self.interval);
        let time = if now - ideal <= tolerance { ideal } else { now };
        time.div_euclid(NANOS_PER_MS)
    }

    /// The time that is due, in milliseconds.
    pub(crate) fn due_ms(&self) -> i64 {
        self.due.div_euclid(NANOS_PER_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = NANOS_PER_MS;

    #[test]
    fn a_target_keeps_its_place_in_the_interval() {
        let interval = Duration::from_secs(10);
        let hash = 3_000_000_000 + 10_000_000_000 * 7;
        for now in [0, 2_999 * MS, 3_000 * MS] {
            assert_eq!(Schedule::new(interval, hash, now).due_ms(), 3_000, "{now}");
        }
        assert_eq!(Schedule::new(interval, hash, 3_001 * MS).due_ms(), 13_000);
    }

    #[test]
    fn times_are_even_while_scrapes_begin_nearly_in_time() {
        let mut schedule = Schedule::new(Duration::from_secs(1), 0, 0);
        assert_eq!(schedule.begin(MS), 0);
        assert_eq!(schedule.wait(400 * MS), Duration::from_millis(600));
        assert_eq!(schedule.begin(999 * MS), 1_000);
        // Late.
        assert_eq!(schedule.begin(2_003 * MS), 2_003);
        // So late that some are left out.
        assert_eq!(schedule.begin(5_001 * MS), 5_000);
        assert_eq!(schedule.due_ms(), 6_000);
        // Early, as the clock was set back.
        assert_eq!(schedule.wait(1_000 * MS), Duration::from_secs(1));
        assert_eq!(schedule.begin(2_000 * MS), 2_000);
        assert_eq!(schedule.due_ms(), 3_000);
    }
}
