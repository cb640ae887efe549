//! The control plane's own counters, and the page that `/metrics` serves.
//!
//! Names that Prometheus has are kept, so that its mixin's dashboards and alerts work; everything else begins with `millrace_`.
//! A registry of our own: the set is closed, a scrape walks it once, and an update is one atomic.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::exposition::{Exposition, Kind};
use crate::version;

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

#[derive(Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    /// Counts one up, and one down when the guard goes.
    pub(crate) fn enter(&self) -> GaugeGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(self)
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// A query that runs or waits; counted until it is dropped.
pub(crate) struct CountedQuery(Arc<Metrics>);

impl Drop for CountedQuery {
    fn drop(&mut self) {
        self.0.queries.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) struct GaugeGuard<'a>(&'a Gauge);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sum and count of durations.
#[derive(Default)]
pub(crate) struct Durations {
    nanos: AtomicU64,
    count: AtomicU64,
}

impl Durations {
    pub(crate) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, page: &mut Exposition, name: &str, labels: &[(&str, &str)]) {
        let seconds = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        page.sample(&format!("{name}_sum"), labels, seconds);
        page.sample(&format!("{name}_count"), labels, self.count.load(Ordering::Relaxed) as f64);
    }
}

/// Requests by route and status code.
#[derive(Default)]
struct Requests {
    by_route: Mutex<BTreeMap<(String, u16), u64>>,
    durations: Durations,
}

/// What a query spent its time on, by Prometheus' names of the slices.
#[derive(Default)]
pub(crate) struct QueryDurations {
    pub(crate) queue_time: Durations,
    pub(crate) inner_eval: Durations,
}

#[derive(Default)]
pub(crate) struct Metrics {
    requests: Requests,
    /// Connections that are open on the API's listeners.
    pub(crate) connections: Gauge,
    /// Queries that run or wait.
    pub(crate) queries: Gauge,
    pub(crate) queries_concurrent_max: Gauge,
    pub(crate) query_durations: QueryDurations,
    pub(crate) queries_refused_for_memory: Counter,
    pub(crate) queries_timed_out: Counter,
    pub(crate) queries_canceled: Counter,
    pub(crate) queries_slow: Counter,
    pub(crate) query_helpers: Counter,
    reload_successful: AtomicBool,
    reload_success_time_ms: AtomicI64,
}

impl Metrics {
    pub(crate) fn count_query(self: Arc<Self>) -> CountedQuery {
        self.queries.0.fetch_add(1, Ordering::Relaxed);
        CountedQuery(self)
    }

    /// Counts one answered request. Routes are patterns of the router, so their number is bounded.
    pub(crate) fn count_request(&self, route: &str, code: u16, took: Duration) {
        let mut by_route = self.requests.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        *by_route.entry((route.to_owned(), code)).or_default() += 1;
        self.requests.durations.observe(took);
    }

    /// Remembers how the last loading of the configuration went.
    pub(crate) fn config_loaded(&self, result: Result<i64, ()>) {
        self.reload_successful.store(result.is_ok(), Ordering::Relaxed);
        if let Ok(now_ms) = result {
            self.reload_success_time_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn reload_successful(&self) -> bool {
        self.reload_successful.load(Ordering::Relaxed)
    }

    pub(crate) fn reload_success_time_ms(&self) -> i64 {
        self.reload_success_time_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, page: &mut Exposition) {
        self.write_build(page);
        self.write_requests(page);
        self.write_queries(page);
    }

    fn write_build(&self, page: &mut Exposition) {
        let labels =
            [("version", version::VERSION), ("revision", version::REVISION), ("branch", ""), ("goversion", "")];
        let help = "A metric with a constant '1' value labeled by version and revision of the program.";
        page.family("prometheus_build_info", Kind::Gauge, help).sample("prometheus_build_info", &labels, 1.0);
        page.family("millrace_build_info", Kind::Gauge, help).sample("millrace_build_info", &labels[..2], 1.0);
        let help = "Whether the last configuration reload attempt was successful.";
        let successful = f64::from(u8::from(self.reload_successful()));
        page.single("prometheus_config_last_reload_successful", Kind::Gauge, help, successful);
        let help = "Timestamp of the last successful configuration reload.";
        let seconds = self.reload_success_time_ms() as f64 / 1000.0;
        page.single("prometheus_config_last_reload_success_timestamp_seconds", Kind::Gauge, help, seconds);
    }

    fn write_requests(&self, page: &mut Exposition) {
        let name = "prometheus_http_requests_total";
        page.family(name, Kind::Counter, "Counter of HTTP requests.");
        let by_route = self.requests.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        for ((route, code), count) in by_route.iter() {
            page.sample(name, &[("code", &code.to_string()), ("handler", route)], *count as f64);
        }
        drop(by_route);
        let name = "millrace_http_request_duration_seconds";
        page.family(name, Kind::Summary, "Time from the head of a request to the head of its answer.");
        self.requests.durations.write(page, name, &[]);
        let help = "Connections that are open on the API's listeners.";
        page.single("millrace_http_connections", Kind::Gauge, help, self.connections.get());
    }

    fn write_queries(&self, page: &mut Exposition) {
        let help = "The current number of queries being executed or waiting.";
        page.single("prometheus_engine_queries", Kind::Gauge, help, self.queries.get());
        let help = "The max number of concurrent queries.";
        let max = self.queries_concurrent_max.get();
        page.single("prometheus_engine_queries_concurrent_max", Kind::Gauge, help, max);
        let name = "prometheus_engine_query_duration_seconds";
        page.family(name, Kind::Summary, "Query timings.");
        self.query_durations.queue_time.write(page, name, &[("slice", "queue_time")]);
        self.query_durations.inner_eval.write(page, name, &[("slice", "inner_eval")]);
        let name = "millrace_queries_stopped_total";
        page.family(name, Kind::Counter, "Queries that did not come to their end, by cause.");
        page.sample(name, &[("cause", "memory")], self.queries_refused_for_memory.get());
        page.sample(name, &[("cause", "timeout")], self.queries_timed_out.get());
        page.sample(name, &[("cause", "canceled")], self.queries_canceled.get());
        let help = "Queries that took --query.slow-threshold or longer; each has a line in the log.";
        page.single("millrace_queries_slow_total", Kind::Counter, help, self.queries_slow.get());
        let help = "Threads that were lent to running queries while processors of the control plane were idle.";
        page.single("millrace_query_helpers_total", Kind::Counter, help, self.query_helpers.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_names_that_dashboards_use() {
        let metrics = Metrics::default();
        metrics.count_request("/api/v1/query", 200, Duration::from_millis(5));
        metrics.config_loaded(Ok(1500));
        let metrics = Arc::new(metrics);
        let running = metrics.clone().count_query();
        let mut page = Exposition::default();
        metrics.write(&mut page);
        let page = page.finish();
        for line in [
            "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/query\"} 1",
            "prometheus_config_last_reload_successful 1",
            "prometheus_config_last_reload_success_timestamp_seconds 1.5",
            "prometheus_engine_queries 1",
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is missing in\n{page}");
        }
        drop(running);
        assert_eq!(metrics.queries.get(), 0.0);
    }
}
