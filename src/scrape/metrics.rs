//! What scraping counts, by Prometheus' names where it has them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    PoolView,
    page::{PageCounts, PageError},
};
use crate::{
    config::units::PromDuration,
    telemetry::{
        exposition::{Exposition, Kind},
        metrics::Counter,
    },
};

#[derive(Default)]
pub(crate) struct ScrapeMetrics {
    pub(super) interval_lengths: IntervalLengths,
    pub(super) above_body_size_limit: Counter,
    pub(super) above_target_limit: Counter,
    pub(super) out_of_order: Counter,
    pub(super) duplicate: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) not_stored: Counter,
    above_sample_limit: Counter,
    above_bucket_limit: Counter,
    above_label_limits: Counter,
    above_series_limit: Counter,
    samples: Counter,
}

impl ScrapeMetrics {
    pub(super) fn count_page(&self, counts: &PageCounts, error: Option<&PageError>) {
        self.samples.add(counts.scraped);
        self.duplicate.add(counts.repeated);
        self.above_series_limit.add(counts.above_series_limit);
        match error {
            Some(PageError::SampleLimit) => self.above_sample_limit.add(1),
            Some(PageError::BucketLimit) => self.above_bucket_limit.add(1),
            Some(PageError::Labels(error)) if error.is_limit() => self.above_label_limits.add(1),
            _ => {}
        }
    }

    pub(super) fn write(&self, page: &mut Exposition, pools: &[PoolView]) {
        self.interval_lengths.write(page);
        write_pools(page, pools);
        let counters: [(&str, &str, &Counter); 11] = [
            (
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit.",
                &self.above_body_size_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
                &self.above_sample_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
                &self.above_bucket_limit,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
                &self.above_label_limits,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
                &self.above_target_limit,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being in the right order.",
                &self.out_of_order,
            ),
            (
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
                &self.duplicate,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
                &self.out_of_bounds,
            ),
            ("millrace_scrape_samples_total", "Lines with a value on the pages of all targets.", &self.samples),
            (
                "millrace_scrape_samples_above_series_limit_total",
                "Samples left out as their targets had as many series as series_limit allows.",
                &self.above_series_limit,
            ),
            (
                "millrace_scrapes_not_stored_total",
                "Scrapes whose samples could not be made durable in time.",
                &self.not_stored,
            ),
        ];
        for (name, help, counter) in counters {
            page.single(name, Kind::Counter, help, counter.get());
        }
    }
}

fn write_pools(page: &mut Exposition, pools: &[PoolView]) {
    let name = "prometheus_target_scrape_pools_total";
    page.single(name, Kind::Counter, "Scrape pools there are.", pools.len() as f64);
    let mut by_job = |name: &str, kind: Kind, help: &str, value: fn(&PoolView) -> f64| {
        page.family(name, kind, help);
        for pool in pools {
            page.sample(name, &[("scrape_job", &pool.job.job_name)], value(pool));
        }
    };
    let name = "prometheus_target_scrape_pool_targets";
    by_job(name, Kind::Gauge, "Current number of targets in this scrape pool.", |pool| pool.targets.len() as f64);
    let name = "prometheus_target_scrape_pool_target_limit";
    let help = "Maximum number of targets allowed in this scrape pool.";
    by_job(name, Kind::Gauge, help, |pool| pool.job.limits.target as f64);
    let name = "prometheus_target_sync_failed_total";
    by_job(name, Kind::Counter, "Total number of target sync failures.", |pool| pool.unusable_total as f64);
    let name = "prometheus_target_metadata_cache_entries";
    let help = "Total number of metric metadata entries in the cache";
    by_job(name, Kind::Gauge, help, |pool| {
        pool.targets.iter().map(|target| target.state().families.len()).sum::<usize>() as f64
    });
    let name = "millrace_scrape_line_cache_bytes";
    by_job(name, Kind::Gauge, "Memory that the lines of last pages take.", |pool| {
        pool.targets.iter().map(|target| target.state().heap_bytes).sum::<usize>() as f64
    });
    let name = "prometheus_sd_discovered_targets";
    page.family(name, Kind::Gauge, "Current number of discovered targets.");
    for pool in pools {
        let labels = [("config", pool.job.job_name.as_str()), ("name", "scrape")];
        page.sample(name, &labels, (pool.targets.len() + pool.dropped_count) as f64);
    }
}

/// How far apart scrapes are: sum and count by the interval that was asked for.
#[derive(Default)]
pub(super) struct IntervalLengths(Mutex<BTreeMap<Duration, (f64, u64)>>);

impl IntervalLengths {
    pub(super) fn observe(&self, interval: Duration, length: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sum, count) = all.entry(interval).or_default();
        *sum += length.as_secs_f64();
        *count += 1;
    }

    fn write(&self, page: &mut Exposition) {
        let name = "prometheus_target_interval_length_seconds";
        page.family(name, Kind::Summary, "Actual intervals between scrapes.");
        for (interval, (sum, count)) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let interval = PromDuration::from_ms(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)).to_string();
            let labels = [("interval", interval.as_str())];
            page.sample(&format!("{name}_sum"), &labels, *sum);
            page.sample(&format!("{name}_count"), &labels, *count as f64);
        }
    }
}
