//! What is sent when: passes over all series, one sample each, in requests of a fixed block of series.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

use super::{
    args::LoadArgs,
    verify_log::{SIGNATURE_VERSION, Signature},
};

/// Unless told otherwise the first sample is at most this old; a load that needs more ends up waiting for the clock.
const AGE_MAX: Duration = Duration::from_secs(2 * 3600);

pub(super) struct Plan {
    series: u32,
    pub(super) block: u32,
    start_ms: i64,
    step_ms: i64,
    /// `None`: until the deadline.
    passes: Option<u32>,
    pub(super) deadline: Option<Instant>,
    /// Share of the series replaced from pass to pass.
    churn: f64,
    pace: Option<Pace>,
    pub(super) lockstep: Lockstep,
}

impl Plan {
    pub(super) fn new(args: &LoadArgs) -> Self {
        let step_ms = i64::try_from(args.step.as_millis()).unwrap_or(i64::MAX).max(1);
        let span_ms = args.samples_per_series.map_or(i64::MAX, |count| i64::from(count) * step_ms);
        let start_ms = args.start.unwrap_or_else(|| now_ms() - span_ms.min(AGE_MAX.as_millis() as i64));
        Self {
            series: args.series,
            block: args.samples_per_request.min(args.series),
            start_ms,
            step_ms,
            passes: args.samples_per_series,
            deadline: args.duration.map(|duration| Instant::now() + duration),
            churn: args.churn.per_pass(args.step),
            pace: args.rate.map(Pace::new),
            lockstep: Lockstep::new(args.connections),
        }
    }

    pub(super) fn blocks(&self) -> u32 {
        self.series.div_ceil(self.block)
    }

    pub(super) fn series_of(&self, block: u32) -> Range<u32> {
        let start = block * self.block;
        start..(start + self.block).min(self.series)
    }

    /// Whether there is a pass of this number, as far as can be said now.
    pub(super) fn goes_on(&self, pass: u32) -> bool {
        self.passes.is_none_or(|passes| pass < passes) && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    pub(super) fn time_ms(&self, pass: u32) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(i64::from(pass)))
    }

    /// How often a series has been replaced by a pass: each pass takes the next share of the series.
    pub(super) fn generation(&self, series: u32, pass: u32) -> u32 {
        generation(series, self.series, self.churn, pass)
    }

    /// What a verify log must say about a load, so that it can be checked without its arguments.
    pub(super) fn signature(&self, args: &LoadArgs) -> Signature {
        Signature {
            version: SIGNATURE_VERSION,
            series: self.series,
            labels: args.labels,
            values: args.values,
            churn_per_pass: self.churn,
            start_ms: self.start_ms,
            step_ms: self.step_ms,
        }
    }

    /// Waits until it is time to send so many samples of a pass: the rate allows them, and their time has come. A sample of
    /// the future would be refused by every server.
    pub(super) async fn wait(&self, pass: u32, samples: u64) {
        let early_ms = self.time_ms(pass) - now_ms();
        if early_ms > 0 {
            self.sleep(Duration::from_millis(early_ms as u64)).await;
        }
        if let Some(pace) = &self.pace {
            self.sleep(pace.reserve(samples)).await;
        }
    }

    /// Never beyond the deadline.
    async fn sleep(&self, time: Duration) {
        let left = self.deadline.map_or(time, |deadline| deadline.saturating_duration_since(Instant::now()));
        tokio::time::sleep(time.min(left)).await;
    }
}

/// How often a series has been replaced by a pass, of which each replaces a share of all series.
pub(super) fn generation(series: u32, all: u32, churn_per_pass: f64, pass: u32) -> u32 {
    if churn_per_pass == 0.0 {
        return 0;
    }
    let place = f64::from(series) / f64::from(all);
    (f64::from(pass) * churn_per_pass + place).floor() as u32
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Hands out turns at a fixed rate to all connections.
struct Pace {
    started: Instant,
    per_second: u64,
    reserved: AtomicU64,
}

/// What a connection may be behind and still catch up, so that a pause of the server is not answered with a flood.
const BEHIND_MAX: Duration = Duration::from_secs(1);

impl Pace {
    fn new(per_second: u64) -> Self {
        Self { started: Instant::now(), per_second: per_second.max(1), reserved: AtomicU64::new(0) }
    }

    /// Takes a turn for so many samples; how long it is until then.
    fn reserve(&self, samples: u64) -> Duration {
        let now = self.samples_at(self.started.elapsed());
        let oldest = now.saturating_sub(self.samples_at(BEHIND_MAX));
        self.reserved.fetch_max(oldest, Ordering::Relaxed);
        let turn = self.reserved.fetch_add(samples, Ordering::Relaxed);
        Duration::from_secs_f64(turn.saturating_sub(now) as f64 / self.per_second as f64)
    }

    fn samples_at(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.per_second as f64) as u64
    }
}

/// Keeps connections within one pass of each other: as with real agents, samples of all series are of about the same time, and a
/// slow connection does not fall out of the server's window.
pub(super) struct Lockstep {
    /// The pass that each connection is in.
    passes: Mutex<Vec<u32>>,
    moved: Notify,
}

impl Lockstep {
    fn new(connections: u32) -> Self {
        Self { passes: Mutex::new(vec![0; connections as usize]), moved: Notify::new() }
    }

    /// Enters a pass as soon as everybody has left the one before the last.
    pub(super) async fn enter(&self, connection: u32, pass: u32) {
        self.set(connection, pass);
        loop {
            let moved = self.moved.notified();
            if self.slowest().saturating_add(1) >= pass {
                return;
            }
            moved.await;
        }
    }

    /// Nobody waits for this connection any longer.
    pub(super) fn leave(&self, connection: u32) {
        self.set(connection, u32::MAX);
    }

    fn set(&self, connection: u32, pass: u32) {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)[connection as usize] = pass;
        self.moved.notify_waiters();
    }

    fn slowest(&self) -> u32 {
        let passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.iter().copied().min().unwrap_or(u32::MAX)
    }
}
