//! What is one thing in Prometheus is one thing here: head window, series limit and readiness, shared by all shards.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use model::IdentityKey;
use tsdb::{
    Rejection, SeriesQuota, Window,
    limits::{BEHIND_MS_MAX, FUTURE_MS_MAX},
};

/// Time that stands for "no sample yet".
const NO_TIME: i64 = i64::MIN;

/// Exemplars that are kept unless the operator says otherwise (Prometheus' number).
pub const EXEMPLARS_MAX: u64 = 100_000;

/// Facts of the whole process. Read once per batch, never per sample.
pub struct Shared {
    pub key: IdentityKey,
    head_max_time: AtomicI64,
    head_min_time: AtomicI64,
    /// Earlier times are in blocks, or about to be: nothing is appended there any more.
    closed_before: AtomicI64,
    /// What all shards have forgotten.
    truncated_before: AtomicI64,
    series: AtomicU64,
    series_max: AtomicU64,
    /// 0: any number.
    new_series_per_minute_max: u32,
    exemplars_max: AtomicU64,
    /// How far behind the newest sample one may be that is out of order; 0: none may.
    out_of_order_window_ms: AtomicI64,
    /// Samples out of order that the shards hold.
    out_of_order_samples: AtomicU64,
    /// The number of a minute, and below it the series that were created in it.
    created_in_minute: AtomicU64,
    ready: Vec<AtomicBool>,
    /// Somebody has to say yet what blocks hold: until then nothing is let in.
    held_back: AtomicBool,
    /// Chunk files that were removed, by all shards. Their numbers are used again, so whoever keeps files open looks here.
    chunk_files_removed: AtomicU64,
    /// Bytes of log that replays have read, and all that they have to.
    replay_bytes: AtomicU64,
    replay_bytes_total: AtomicU64,
}

impl Shared {
    pub fn new(key: IdentityKey, shards: usize, series_max: u64, new_series_per_minute_max: u32) -> Self {
        Self {
            key,
            head_max_time: AtomicI64::new(NO_TIME),
            head_min_time: AtomicI64::new(i64::MAX),
            closed_before: AtomicI64::new(i64::MIN),
            truncated_before: AtomicI64::new(i64::MIN),
            series: AtomicU64::new(0),
            series_max: AtomicU64::new(series_max),
            new_series_per_minute_max,
            exemplars_max: AtomicU64::new(EXEMPLARS_MAX),
            out_of_order_window_ms: AtomicI64::new(0),
            out_of_order_samples: AtomicU64::new(0),
            created_in_minute: AtomicU64::new(0),
            ready: std::iter::repeat_with(|| AtomicBool::new(false)).take(shards).collect(),
            held_back: AtomicBool::new(false),
            chunk_files_removed: AtomicU64::new(0),
            replay_bytes: AtomicU64::new(0),
            replay_bytes_total: AtomicU64::new(0),
        }
    }

    /// The times that a batch may have, seen from a wall clock in milliseconds.
    pub fn window(&self, wall_clock_ms: i64) -> Window {
        let newest = self.head_max_time.load(Ordering::Relaxed);
        let behind = if newest == NO_TIME { i64::MIN } else { newest.saturating_sub(BEHIND_MS_MAX) };
        let min_time = behind.max(self.closed_before());
        let reach = self.out_of_order_window_ms.load(Ordering::Relaxed);
        let out_of_order_from = (reach > 0 && newest != NO_TIME).then(|| newest.saturating_sub(reach));
        Window { min_time, max_time: wall_clock_ms.saturating_add(FUTURE_MS_MAX), out_of_order_from }
    }

    /// Changes how far behind the newest sample one may be that is out of order, in milliseconds; 0: none may.
    pub fn set_out_of_order_window(&self, window_ms: i64) {
        self.out_of_order_window_ms.store(window_ms, Ordering::Relaxed);
    }

    /// Samples out of order that no block has yet.
    pub fn out_of_order_samples(&self) -> u64 {
        self.out_of_order_samples.load(Ordering::Acquire)
    }

    /// A shard has more or fewer of them.
    pub(crate) fn change_out_of_order_samples(&self, before: u64, after: u64) {
        self.out_of_order_samples.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
    }

    pub fn head_max_time(&self) -> Option<i64> {
        Some(self.head_max_time.load(Ordering::Relaxed)).filter(|&time| time != NO_TIME)
    }

    pub fn head_min_time(&self) -> Option<i64> {
        Some(self.head_min_time.load(Ordering::Relaxed)).filter(|&time| time != i64::MAX)
    }

    /// Times that are closed for appending.
    pub fn closed_before(&self) -> i64 {
        self.closed_before.load(Ordering::Relaxed)
    }

    /// Closes earlier times. What a shard has begun to append may still get in; see [`crate::Handle::close_window`].
    pub(crate) fn close_before(&self, time: i64) {
        self.closed_before.fetch_max(time, Ordering::Relaxed);
    }

    /// What all shards have forgotten since the process began.
    pub fn truncated_before(&self) -> i64 {
        self.truncated_before.load(Ordering::Relaxed)
    }

    /// The shards have forgotten what is before a time.
    pub(crate) fn truncated(&self, floor: i64) {
        self.truncated_before.fetch_max(floor, Ordering::Relaxed);
        if self.head_min_time().is_some() {
            self.head_min_time.fetch_max(floor, Ordering::Relaxed);
        }
    }

    pub fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    pub fn series_max(&self) -> u64 {
        self.series_max.load(Ordering::Relaxed)
    }

    /// Changes the series limit; series that exist already stay.
    pub fn set_series_max(&self, series_max: u64) {
        self.series_max.store(series_max, Ordering::Relaxed);
    }

    /// Exemplars that the process keeps.
    pub fn exemplars_max(&self) -> u64 {
        self.exemplars_max.load(Ordering::Relaxed)
    }

    /// Changes how many exemplars are kept; a shard looks when one comes, or is asked for.
    pub fn set_exemplars_max(&self, exemplars_max: u64) {
        self.exemplars_max.store(exemplars_max, Ordering::Relaxed);
    }

    /// What a shard keeps of them: series fall to the shards evenly.
    pub(crate) fn shard_exemplars_max(&self) -> usize {
        usize::try_from(self.exemplars_max().div_ceil(self.shard_count() as u64)).unwrap_or(usize::MAX)
    }

    pub fn shard_count(&self) -> usize {
        self.ready.len()
    }

    /// Keeps requests out until [`Self::admit`].
    pub fn hold_back(&self) {
        self.held_back.store(true, Ordering::Release);
    }

    /// Lets requests in. Times before `closed_before` are in blocks: a shard that has not forgotten them yet will, so nothing may be
    /// appended there.
    pub fn admit(&self, closed_before: Option<i64>) {
        self.close_before(closed_before.unwrap_or(i64::MIN));
        self.held_back.store(false, Ordering::Release);
    }

    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Acquire)
    }

    /// Whether requests are let in and all shards have replayed their logs.
    pub fn all_ready(&self) -> bool {
        !self.is_held_back() && (0..self.ready.len()).all(|shard| self.is_ready(shard))
    }

    pub fn is_ready(&self, shard: usize) -> bool {
        self.ready[shard].load(Ordering::Acquire)
    }

    /// Bytes of log replayed and to be replayed, over all shards.
    pub fn replay_progress(&self) -> (u64, u64) {
        (self.replay_bytes.load(Ordering::Relaxed), self.replay_bytes_total.load(Ordering::Relaxed))
    }

    pub(crate) fn chunk_files_removed(&self) -> u64 {
        self.chunk_files_removed.load(Ordering::Acquire)
    }

    pub(crate) fn chunk_file_removed(&self) {
        self.chunk_files_removed.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn set_ready(&self, shard: usize) {
        self.ready[shard].store(true, Ordering::Release);
    }

    pub(crate) fn widen_times(&self, min_time: Option<i64>, max_time: Option<i64>) {
        if let (Some(min_time), Some(max_time)) = (min_time, max_time) {
            // Read first: a shared line that is only read stays in every core's cache.
            if self.head_max_time.load(Ordering::Relaxed) < max_time {
                self.head_max_time.fetch_max(max_time, Ordering::Relaxed);
            }
            if self.head_min_time.load(Ordering::Relaxed) > min_time {
                self.head_min_time.fetch_min(min_time, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn add_replay_total(&self, bytes: u64) {
        self.replay_bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_replayed(&self, bytes: u64) {
        self.replay_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives the places of series that are gone back to the allowance.
    pub(crate) fn remove_series(&self, count: u64) {
        self.series.fetch_sub(count, Ordering::Relaxed);
    }

    /// Counts series that a replay brought back; they are never refused.
    pub(crate) fn add_series(&self, count: u64) {
        self.series.fetch_add(count, Ordering::Relaxed);
    }
}

/// Takes series out of the process' allowance, one by one as they are created.
pub(crate) struct Quota<'a> {
    shared: &'a Shared,
    minute: u32,
}

impl<'a> Quota<'a> {
    pub(crate) fn new(shared: &'a Shared, now: Duration) -> Self {
        Self { shared, minute: (now.as_secs() / 60) as u32 }
    }

    /// Whether the process may create another series in this minute.
    fn is_within_rate(&self) -> bool {
        let max = self.shared.new_series_per_minute_max;
        if max == 0 {
            return true;
        }
        let (created, minute) = (&self.shared.created_in_minute, u64::from(self.minute) << 32);
        let next = |packed: u64| match packed.checked_sub(minute) {
            // Of this minute, or of the next one, which another shard has begun already.
            Some(_) => ((packed as u32) < max).then_some(packed + 1),
            None => Some(minute + 1),
        };
        created.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl SeriesQuota for Quota<'_> {
    fn reserve_one(&mut self) -> Result<(), Rejection> {
        let shared = self.shared;
        if shared.series.fetch_add(1, Ordering::Relaxed) >= shared.series_max.load(Ordering::Relaxed) {
            shared.series.fetch_sub(1, Ordering::Relaxed);
            return Err(Rejection::SeriesLimit);
        }
        if !self.is_within_rate() {
            shared.series.fetch_sub(1, Ordering::Relaxed);
            return Err(Rejection::CreationRate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_series_are_created_within_a_minute_as_may_be() {
        let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
        let shared = Shared::new(key, 1, 8, 3);
        let mut create = |seconds: u64| Quota::new(&shared, Duration::from_secs(seconds)).reserve_one();
        assert_eq!([0, 1, 59, 59].map(&mut create), [Ok(()), Ok(()), Ok(()), Err(Rejection::CreationRate)]);
        // The second one is of a clock that is behind.
        assert_eq!([60, 59, 61, 62].map(&mut create), [Ok(()), Ok(()), Ok(()), Err(Rejection::CreationRate)]);
        assert_eq!([600, 600, 600].map(&mut create), [Ok(()), Ok(()), Err(Rejection::SeriesLimit)]);
        assert_eq!(shared.series(), 8, "what was refused takes no place");
    }
}
