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

/// Into how many parts an interval is divided, at least. Scrapes begin where a part begins: those of one part share wake-ups and warm caches,
/// which is a third of their cost.
const PARTS_MIN: u64 = 32;
/// Targets that should share a part.
const TARGETS_PER_PART: u64 = 16;

/// The parts of an interval for so many targets.
pub(crate) fn parts(targets: usize) -> u64 {
    (targets as u64 / TARGETS_PER_PART).next_power_of_two().max(PARTS_MIN)
}

/// The times of a target's scrapes, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval: i64,
    /// The target's place in the interval, before it is moved to where a part begins.
    offset: i64,
    /// The time that the next scrape should begin at.
    due: i64,
}

impl Schedule {
    /// For a target with this hash, seen from now.
    pub(crate) fn new(interval: Duration, hash: u64, parts: u64, now: i64) -> Self {
        let interval = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        let mut schedule = Self { interval, offset: (hash % interval as u64) as i64, due: 0 };
        schedule.due = now.saturating_add((schedule.place(parts) - now.rem_euclid(interval)).rem_euclid(interval));
        schedule
    }

    fn place(&self, parts: u64) -> i64 {
        let part = (self.interval / i64::try_from(parts).unwrap_or(i64::MAX)).max(1);
        self.offset / part * part
    }

    /// How long it is until the scrape that is due.
    pub(crate) fn wait(&self, now: i64) -> Duration {
        // The wall clock may have been set back: nothing waits longer than one interval for that.
        Duration::from_nanos((self.due.saturating_sub(now)).clamp(0, self.interval) as u64)
    }

    /// A scrape begins now: the time of its samples in milliseconds. The next one is due at the first time ahead.
    pub(crate) fn begin(&mut self, now: i64, parts: u64) -> i64 {
        let tolerance = (self.interval / 100).min(TOLERANCE_MAX.as_nanos() as i64);
        // A little early is in time: a timer goes by another clock.
        let late = now.saturating_sub(self.due).saturating_add(tolerance);
        let ideal = self.due.saturating_add(late.div_euclid(self.interval).saturating_mul(self.interval));
        let time = if now - ideal <= tolerance { ideal } else { now };
        // Parts become smaller as targets come: the place moves by less than a part, once.
        let next = ideal.saturating_add(self.interval);
        let place = next.saturating_sub(next.rem_euclid(self.interval)).saturating_add(self.place(parts));
        let moved = place - next;
        self.due = if moved.abs() <= self.interval / 2 { place } else { place - moved.signum() * self.interval };
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
            assert_eq!(Schedule::new(interval, hash, 10_000, now).due_ms(), 3_000, "{now}");
        }
        assert_eq!(Schedule::new(interval, hash, 10_000, 3_001 * MS).due_ms(), 13_000);
        // With fewer parts it is where its part begins.
        assert_eq!(Schedule::new(interval, hash, 4, 0).due_ms(), 2_500);
        assert_eq!((parts(3), parts(1000), parts(50_000)), (32, 64, 4096));
    }

    #[test]
    fn times_are_even_while_scrapes_begin_nearly_in_time() {
        let mut schedule = Schedule::new(Duration::from_secs(1), 0, 64, 0);
        assert_eq!(schedule.begin(MS, 64), 0);
        assert_eq!(schedule.wait(400 * MS), Duration::from_millis(600));
        assert_eq!(schedule.begin(999 * MS, 64), 1_000);
        // Late.
        assert_eq!(schedule.begin(2_003 * MS, 64), 2_003);
        // So late that some are left out.
        assert_eq!(schedule.begin(5_001 * MS, 64), 5_000);
        assert_eq!(schedule.due_ms(), 6_000);
        // Early, as the clock was set back.
        assert_eq!(schedule.wait(1_000 * MS), Duration::from_secs(1));
        assert_eq!(schedule.begin(2_000 * MS, 64), 2_000);
        assert_eq!(schedule.due_ms(), 3_000);
    }

    #[test]
    fn a_place_moves_by_less_than_a_part_as_targets_come() {
        let mut schedule = Schedule::new(Duration::from_secs(8), 3_900_000_000, 8, 0);
        assert_eq!(schedule.begin(3_000 * MS, 8), 3_000);
        assert_eq!(schedule.due_ms(), 11_000);
        assert_eq!(schedule.begin(11_000 * MS, 16), 11_000);
        assert_eq!(schedule.due_ms(), 19_500);
        assert_eq!(schedule.begin(19_500 * MS, 8), 19_500);
        assert_eq!(schedule.due_ms(), 27_000);
    }
}
