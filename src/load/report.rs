//! The report at the end, as JSON.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;
use wire::remote_write::Protocol;

use super::{
    args::LoadArgs,
    measure::{ProcessUsage, Refusal, Totals},
};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    protocol: &'static str,
    series: u32,
    connections: u32,
    samples_per_request: u32,
    /// From the first request to the last answer.
    seconds: f64,
    pub(super) acknowledged_samples: u64,
    acknowledged_samples_per_second: f64,
    acknowledged_requests: u64,
    retries: u64,
    refused_samples: u64,
    refusals: BTreeMap<String, Refusal>,
    /// A connection stopped early, since nobody answered.
    gave_up: bool,
    /// Of acknowledged requests, from sending to the answer.
    latency_ms: LatencyReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerReport>,
    client_cpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_log_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct LatencyReport {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// The server's process, between the first request and the end of the time to settle.
#[derive(Debug, Serialize)]
struct ServerReport {
    cpu_seconds: f64,
    user_cpu_seconds: f64,
    system_cpu_seconds: f64,
    samples_per_cpu_second: f64,
    resident_bytes: u64,
    resident_bytes_before: u64,
}

impl Report {
    pub(super) fn new(
        args: &LoadArgs,
        totals: &Totals,
        elapsed: Duration,
        server: Option<(ProcessUsage, ProcessUsage)>,
        client: ProcessUsage,
    ) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let acknowledged = get(&totals.acknowledged_samples);
        Self {
            url: args.url.clone(),
            protocol: match Protocol::from(args.protocol) {
                Protocol::V1 => "1.0",
                Protocol::V2 => "2.0",
            },
            series: args.series,
            connections: args.connections,
            samples_per_request: args.samples_per_request,
            seconds: elapsed.as_secs_f64(),
            acknowledged_samples: acknowledged,
            acknowledged_samples_per_second: acknowledged as f64 / elapsed.as_secs_f64(),
            acknowledged_requests: get(&totals.acknowledged_requests),
            retries: get(&totals.retries),
            refused_samples: get(&totals.refused_samples),
            refusals: totals.refusals(),
            gave_up: totals.gave_up(),
            latency_ms: LatencyReport::new(totals),
            server: server.map(|(before, after)| ServerReport::new(acknowledged, before, after)),
            client_cpu_seconds: client.cpu().as_secs_f64(),
            verify_log_error: totals.verify_log_error(),
        }
    }

    /// What the first request that came to nothing was told.
    pub(super) fn first_refusal(&self) -> Option<String> {
        self.refusals.iter().next().map(|(status, refusal)| format!("{status}: {}", refusal.first))
    }
}

impl LatencyReport {
    fn new(totals: &Totals) -> Self {
        let ms = |latency: Duration| latency.as_secs_f64() * 1e3;
        Self {
            p50: ms(totals.latency(0.5)),
            p90: ms(totals.latency(0.9)),
            p99: ms(totals.latency(0.99)),
            p999: ms(totals.latency(0.999)),
            max: ms(totals.latency_max()),
        }
    }
}

impl ServerReport {
    fn new(acknowledged: u64, before: ProcessUsage, after: ProcessUsage) -> Self {
        let used = after.since(before);
        // At least a tick, below which the kernel doesn't count.
        let cpu_seconds = used.cpu().as_secs_f64().max(0.01);
        Self {
            cpu_seconds,
            user_cpu_seconds: used.user.as_secs_f64(),
            system_cpu_seconds: used.system.as_secs_f64(),
            samples_per_cpu_second: acknowledged as f64 / cpu_seconds,
            resident_bytes: after.resident_bytes,
            resident_bytes_before: before.resident_bytes,
        }
    }
}
