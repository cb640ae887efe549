//! What is counted while a load runs, and what the kernel says about a process.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    ops::Range,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{LoadError, verify_log::Signature};

/// Counts of all connections.
pub(super) struct Totals {
    pub(super) acknowledged_samples: AtomicU64,
    pub(super) acknowledged_requests: AtomicU64,
    pub(super) refused_samples: AtomicU64,
    pub(super) retries: AtomicU64,
    gave_up: AtomicBool,
    /// Taken once a request, by at most a few connections.
    slow: Mutex<Slow>,
    verify_log: Option<Mutex<File>>,
}

#[derive(Default)]
struct Slow {
    latencies: Latencies,
    refusals: BTreeMap<String, Refusal>,
    verify_log_error: Option<String>,
}

/// Requests that came to nothing with one status.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Refusal {
    pub(super) requests: u64,
    pub(super) samples: u64,
    /// What the first of them was told.
    pub(super) first: String,
}

impl Totals {
    pub(super) fn open(verify_log: Option<&Path>, signature: &Signature) -> Result<Self, LoadError> {
        let open = |path: &Path| {
            let open = || {
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                file.write_all(signature.line()?.as_bytes())?;
                Ok(Mutex::new(file))
            };
            open().map_err(|source| LoadError::VerifyLog { path: path.display().to_string(), source })
        };
        Ok(Self {
            acknowledged_samples: AtomicU64::new(0),
            acknowledged_requests: AtomicU64::new(0),
            refused_samples: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            gave_up: AtomicBool::new(false),
            slow: Mutex::default(),
            verify_log: verify_log.map(open).transpose()?,
        })
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        // Counters are sound at every step, so a panic elsewhere is no reason to lose them.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that was answered with success, of which the server may say that it wrote less than it got.
    pub(super) fn count_acknowledged(&self, written: u64, samples: u64, latency: Duration) {
        self.acknowledged_samples.fetch_add(written, Ordering::Relaxed);
        self.acknowledged_requests.fetch_add(1, Ordering::Relaxed);
        self.refused_samples.fetch_add(samples - written, Ordering::Relaxed);
        self.slow().latencies.add(latency);
    }

    /// Counts the samples that a refused request has brought in all the same.
    pub(super) fn count_partly_acknowledged(&self, written: u64) {
        self.acknowledged_samples.fetch_add(written, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, status: String, samples: u64, text: String) {
        self.refused_samples.fetch_add(samples, Ordering::Relaxed);
        let mut slow = self.slow();
        let refusal = slow.refusals.entry(status).or_insert_with(|| Refusal { first: text, ..Refusal::default() });
        refusal.requests += 1;
        refusal.samples += samples;
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// Appends a request to the verify log: one write, so that lines of several connections don't mix.
    pub(super) fn log_acknowledged(&self, series: &Range<u32>, time_ms: i64) {
        let Some(log) = &self.verify_log else { return };
        let line = format!("{}\t{}\t{time_ms}\t{time_ms}\n", series.start, series.end);
        let written = log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        if let Err(error) = written {
            self.slow().verify_log_error.get_or_insert(error.to_string());
        }
    }

    pub(super) fn verify_log_error(&self) -> Option<String> {
        self.slow().verify_log_error.clone()
    }

    pub(super) fn refusals(&self) -> BTreeMap<String, Refusal> {
        self.slow().refusals.clone()
    }

    /// The latency below which a share of the acknowledgements came.
    pub(super) fn latency(&self, share: f64) -> Duration {
        self.slow().latencies.quantile(share)
    }

    pub(super) fn latency_max(&self) -> Duration {
        self.slow().latencies.max
    }

    pub(super) fn progress_line(&self, elapsed: Duration, last: &mut u64) -> String {
        let acknowledged = self.acknowledged_samples.load(Ordering::Relaxed);
        let line = format!(
            "{:>5.0} s  {:>10} samples/s  {acknowledged} acknowledged  {} refused  {} retries  p99 {:.1} ms",
            elapsed.as_secs_f64(),
            acknowledged - *last,
            self.refused_samples.load(Ordering::Relaxed),
            self.retries.load(Ordering::Relaxed),
            self.latency(0.99).as_secs_f64() * 1e3,
        );
        *last = acknowledged;
        line
    }
}

/// Counts of latencies in buckets that are a thirty-second of their power of two wide: within 3 % of the truth.
struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

/// Bits of a latency in microseconds that tell the buckets of one power of two apart.
const BUCKET_BITS: u32 = 5;
/// Up to 2^40 microseconds, which is twelve days.
const POWERS: u32 = 40;

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; ((POWERS + 1) << BUCKET_BITS) as usize], total: 0, max: Duration::ZERO }
    }
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    fn quantile(&self, share: f64) -> Duration {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Duration::from_micros(bucket_end(bucket)).min(self.max);
            }
        }
        self.max
    }
}

/// Below 2^BUCKET_BITS each number has its own bucket; from there on a power of two has 2^BUCKET_BITS of them.
fn bucket_of(micros: u64) -> usize {
    let power = (u64::BITS - micros.leading_zeros()).saturating_sub(BUCKET_BITS + 1);
    ((u64::from(power) << BUCKET_BITS) + (micros >> power)) as usize
}

/// The largest number of a bucket.
fn bucket_end(bucket: usize) -> u64 {
    let power = ((bucket >> BUCKET_BITS) as u64).saturating_sub(1);
    let within = bucket as u64 - (power << BUCKET_BITS);
    ((within + 1) << power) - 1
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessUsage {
    pub(super) user: Duration,
    pub(super) system: Duration,
    pub(super) resident_bytes: u64,
}

impl ProcessUsage {
    /// Processor time since an earlier reading; memory as it is now.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            resident_bytes: self.resident_bytes,
        }
    }

    pub(super) fn cpu(self) -> Duration {
        self.user + self.system
    }
}

/// Linux counts processor time in hundredths of a second towards user space, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);

pub(super) fn usage_of(pid: u32) -> io::Result<ProcessUsage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a line that does not look like the kernel's");
    // The name may hold anything, so fields are counted from the bracket behind it.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(broken)?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u32>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else { return Err(broken()) };
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let resident_kib: u64 = resident.trim().trim_end_matches(" kB").trim().parse().map_err(|_| broken())?;
    Ok(ProcessUsage { user: TICK * user, system: TICK * system, resident_bytes: resident_kib * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_falls_into_them() {
        for micros in (0..100_000).chain([1 << 30, (1 << 40) - 1]) {
            let bucket = bucket_of(micros);
            let end = bucket_end(bucket);
            assert!(micros <= end && (end - micros) as f64 <= 0.04 * micros as f64, "{micros} in {bucket} to {end}");
            assert!(bucket == 0 || bucket_end(bucket - 1) < micros, "{micros} in {bucket}");
        }
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|micros| latencies.add(Duration::from_micros(micros)));
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(share).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.04, "{share}: {found}");
        }
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn the_kernel_knows_this_process() {
        let usage = usage_of(std::process::id()).expect("our own process");
        assert!(usage.resident_bytes > 100_000);
        assert!(usage_of(u32::MAX).is_err());
    }
}
