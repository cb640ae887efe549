//! The shards' state as metrics: Prometheus' names for what it has too, `millrace_shard_*` by shard for the rest.

use std::sync::atomic::{AtomicU64, Ordering};

use shard::{
    Handle,
    ingest::IngestCounters,
    stats::{COMMIT_BUCKETS, ShardStats},
};
use tsdb::{ExemplarRejection, Rejection};

use super::exposition::{Exposition, Kind};
use crate::json::number;

pub(crate) fn write(page: &mut Exposition, handle: &Handle, stats: &[ShardStats]) {
    write_head(page, handle, stats);
    write_rejections(page, stats);
    write_exemplars(page, stats);
    write_commits(page, stats);
    write_memory(page, stats);
    write_recovery(page, stats);
    let depths = handle.mailbox_depths();
    let name = "millrace_shard_mailbox_depth";
    page.family(name, Kind::Gauge, "Requests waiting in a shard's mailbox.");
    for (shard, depth) in depths.iter().enumerate() {
        page.sample(name, &[("shard", &shard.to_string())], *depth as f64);
    }
    for column in COLUMNS {
        page.family(column.name, column.kind, column.help);
        for (shard, stats) in stats.iter().enumerate() {
            page.sample(column.name, &[("shard", &shard.to_string())], (column.value)(stats));
        }
    }
}

/// What write requests came to, over all ports.
pub(crate) fn write_ingest(page: &mut Exposition, writes: &IngestCounters) {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let name = "millrace_write_requests_total";
    page.family(name, Kind::Counter, "Requests of remote write, by what they came to.");
    for (outcome, counter) in [
        ("accepted", &writes.accepted),
        ("partial", &writes.partial),
        ("malformed", &writes.malformed),
        ("unsupported", &writes.unsupported),
        ("unavailable", &writes.unavailable),
    ] {
        page.sample(name, &[("outcome", outcome)], get(counter));
    }
    let name = "millrace_write_unstored_total";
    page.family(name, Kind::Counter, "What arrived with label references that could not be resolved.");
    for (kind, counter) in [("exemplar", &writes.exemplars_unresolved), ("series", &writes.series_unresolved)] {
        page.sample(name, &[("kind", kind)], get(counter));
    }
    let help = "Bytes of request bodies, as they came.";
    page.single("millrace_write_body_bytes_total", Kind::Counter, help, get(&writes.body_bytes));
}

fn sum(stats: &[ShardStats], value: impl Fn(&ShardStats) -> u64) -> f64 {
    stats.iter().map(value).sum::<u64>() as f64
}

fn write_head(page: &mut Exposition, handle: &Handle, stats: &[ShardStats]) {
    let shared = handle.shared();
    let gauge = Kind::Gauge;
    let series = sum(stats, |shard| shard.series);
    page.single("prometheus_tsdb_head_series", gauge, "Total number of series in the head.", series);
    let help = "Series that the process may hold.";
    page.single("millrace_head_series_limit", gauge, help, shared.series_max() as f64);
    let help = "Total number of chunks in the head.";
    page.single("prometheus_tsdb_head_chunks", gauge, help, sum(stats, |shard| shard.chunks));
    let help = "Total number of series created in the head.";
    let created = sum(stats, |shard| shard.series_created);
    page.single("prometheus_tsdb_head_series_created_total", Kind::Counter, help, created);
    let help = "Total number of chunks created in the head.";
    let created = sum(stats, |shard| shard.chunks_created);
    page.single("prometheus_tsdb_head_chunks_created_total", Kind::Counter, help, created);
    let name = "prometheus_tsdb_head_samples_appended_total";
    page.family(name, Kind::Counter, "Total number of appended samples.");
    page.sample(name, &[("type", "float")], sum(stats, |shard| shard.samples_stored));
    page.sample(name, &[("type", "histogram")], sum(stats, |shard| shard.histograms_stored));
    let name = "prometheus_tsdb_head_out_of_order_samples_appended_total";
    page.family(name, Kind::Counter, "Total number of appended out of order samples.");
    page.sample(name, &[("type", "float")], sum(stats, |shard| shard.out_of_order_stored));
    page.sample(name, &[("type", "histogram")], sum(stats, |shard| shard.histograms_out_of_order_stored));
    let help = "Samples out of order that no block has yet.";
    page.single("millrace_out_of_order_samples", gauge, help, sum(stats, |shard| shard.out_of_order_samples));
    if let (Some(oldest), Some(newest)) = (shared.head_min_time(), shared.head_max_time()) {
        let help = "Minimum time of the head, in milliseconds since the epoch.";
        page.single("prometheus_tsdb_head_min_time", gauge, help, oldest as f64);
        let help = "Maximum time of the head, in milliseconds since the epoch.";
        page.single("prometheus_tsdb_head_max_time", gauge, help, newest as f64);
    }
    let segment = stats.iter().map(|shard| shard.log_segment).max().unwrap_or_default();
    let help = "Number of the newest log segment of any shard.";
    page.single("prometheus_tsdb_wal_segment_current", gauge, help, segment as f64);
    let help = "Whether the last stop was clean: 1 if nothing had to be repaired at start.";
    let clean = stats.iter().all(|shard| shard.recovery.frames_damaged == 0);
    page.single("prometheus_tsdb_clean_start", gauge, help, f64::from(u8::from(clean)));
}

fn write_rejections(page: &mut Exposition, stats: &[ShardStats]) {
    let rejected = |reason: Rejection| sum(stats, |shard| shard.samples_rejected[reason as usize]);
    let name = "millrace_samples_rejected_total";
    page.family(name, Kind::Counter, "Samples refused, by reason.");
    for reason in Rejection::ALL {
        page.sample(name, &[("reason", reason.name())], rejected(reason));
    }
    let name = "prometheus_tsdb_out_of_order_samples_total";
    page.family(name, Kind::Counter, "Total number of samples refused as out of order.");
    page.sample(name, &[("type", "float")], rejected(Rejection::OutOfOrder));
    let name = "prometheus_tsdb_too_old_samples_total";
    let help = "Total number of samples refused as before the window for samples out of order.";
    page.family(name, Kind::Counter, help);
    page.sample(name, &[("type", "float")], rejected(Rejection::TooOld));
    let name = "prometheus_tsdb_out_of_bound_samples_total";
    page.family(name, Kind::Counter, "Total number of samples refused as out of bounds.");
    page.sample(name, &[("type", "float")], rejected(Rejection::OutOfBounds) + rejected(Rejection::TooFarInFuture));
}

/// In Prometheus' names.
fn write_exemplars(page: &mut Exposition, stats: &[ShardStats]) {
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    let appended = sum(stats, |shard| shard.exemplars_stored);
    let help = "Total number of appended exemplars.";
    page.single("prometheus_tsdb_exemplar_exemplars_appended_total", counter, help, appended);
    let help = "Total number of out of order exemplar ingestion failed attempts.";
    let rejected = |reason: ExemplarRejection| sum(stats, |shard| shard.exemplars_rejected[reason as usize]);
    let out_of_order = rejected(ExemplarRejection::OutOfOrder);
    page.single("prometheus_tsdb_exemplar_out_of_order_exemplars_total", counter, help, out_of_order);
    let name = "millrace_exemplars_rejected_total";
    page.family(name, counter, "Exemplars that were not stored, by reason.");
    for reason in ExemplarRejection::ALL {
        page.sample(name, &[("reason", reason.name())], rejected(reason));
    }
    let help = "Number of exemplars currently in circular storage.";
    let kept = sum(stats, |shard| shard.exemplars.exemplars);
    page.single("prometheus_tsdb_exemplar_exemplars_in_storage", gauge, help, kept);
    let help = "Number of series with exemplars currently in circular storage.";
    let series = sum(stats, |shard| shard.exemplars.series);
    page.single("prometheus_tsdb_exemplar_series_with_exemplars_in_storage", gauge, help, series);
    let help = "Total number of exemplars the exemplar storage can store, resizeable.";
    let exemplars_max = sum(stats, |shard| shard.exemplars.exemplars_max);
    page.single("prometheus_tsdb_exemplar_max_exemplars", gauge, help, exemplars_max);
    if let Some(oldest) = stats.iter().filter_map(|shard| shard.exemplars.oldest_time).min() {
        let help = "The timestamp of the oldest exemplar stored in circular storage. Useful to check for what time range the \
                    current exemplar buffer limit allows.";
        let name = "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds";
        page.single(name, gauge, help, oldest as f64 / 1000.0);
    }
}

fn write_commits(page: &mut Exposition, stats: &[ShardStats]) {
    let name = "millrace_shard_commit_duration_seconds";
    page.family(name, Kind::Histogram, "Time that a commit took to become durable.");
    for (shard, stats) in stats.iter().enumerate() {
        let shard = shard.to_string();
        let bounds = COMMIT_BUCKETS.iter().map(|bound| number::value_text(*bound)).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(stats.commit_seconds_buckets) {
            page.sample(&format!("{name}_bucket"), &[("shard", &shard), ("le", &bound)], count as f64);
        }
        page.sample(&format!("{name}_sum"), &[("shard", &shard)], stats.commit_seconds_sum);
        page.sample(&format!("{name}_count"), &[("shard", &shard)], stats.commits as f64);
    }
}

fn write_memory(page: &mut Exposition, stats: &[ShardStats]) {
    let name = "millrace_shard_heap_bytes";
    page.family(name, Kind::Gauge, "Memory of a shard's head, by part.");
    for (shard, stats) in stats.iter().enumerate() {
        let shard = shard.to_string();
        let heap = &stats.heap;
        for (part, bytes) in [
            ("hot_lines", heap.hot_lines),
            ("identity_table", heap.identity_table),
            ("open_chunks", heap.open_chunks),
            ("sealed_references", heap.sealed_references),
            ("pairs", heap.pairs),
            ("postings", heap.postings),
            ("series_labels", heap.series_labels),
            ("exemplars", heap.exemplars),
            ("out_of_order", heap.out_of_order),
        ] {
            page.sample(name, &[("shard", &shard), ("part", part)], bytes as f64);
        }
    }
}

fn write_recovery(page: &mut Exposition, stats: &[ShardStats]) {
    let slowest = stats.iter().map(|shard| shard.recovery.seconds).fold(0.0, f64::max);
    let help = "Time that recovery took at start, of the slowest shard.";
    page.single("millrace_recovery_seconds", Kind::Gauge, help, slowest);
    let name = "millrace_recovery_count";
    page.family(name, Kind::Gauge, "What recovery found at start.");
    for (what, count) in [
        ("samples", sum(stats, |shard| shard.recovery.samples)),
        ("series", sum(stats, |shard| shard.recovery.series)),
        ("samples_lost", sum(stats, |shard| shard.recovery.samples_lost)),
        ("series_lost", sum(stats, |shard| shard.recovery.series_lost)),
        ("frames_damaged", sum(stats, |shard| shard.recovery.frames_damaged)),
        ("bytes_read", sum(stats, |shard| shard.recovery.bytes_read)),
    ] {
        page.sample(name, &[("what", what)], count);
    }
}

/// A number of which each shard has one.
struct Column {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&ShardStats) -> f64,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&ShardStats) -> f64) -> Column {
    Column { name, kind: Kind::Counter, help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&ShardStats) -> f64) -> Column {
    Column { name, kind: Kind::Gauge, help, value }
}

const COLUMNS: &[Column] = &[
    gauge("millrace_shard_series", "Series that a shard holds.", |shard| shard.series as f64),
    counter("millrace_shard_samples_stored_total", "Samples stored.", |shard| shard.samples_stored as f64),
    counter("millrace_shard_samples_repeated_total", "Samples that were there already, bit for bit.", |shard| {
        shard.samples_repeated as f64
    }),
    counter("millrace_shard_batches_total", "Parts of requests that a shard took.", |shard| shard.batches as f64),
    counter("millrace_shard_commits_total", "Group commits.", |shard| shard.commits as f64),
    counter("millrace_shard_busy_seconds_total", "Time that a shard was not waiting.", |shard| shard.busy_seconds),
    counter("millrace_shard_log_payload_bytes_total", "Payload of log frames.", |shard| shard.log_payload_bytes as f64),
    counter("millrace_shard_log_padding_bytes_total", "Bytes that fill the last sector of log frames.", |shard| {
        shard.log_padding_bytes as f64
    }),
    counter("millrace_shard_log_device_bytes_total", "All bytes written to the log's device.", |shard| {
        shard.log_device_bytes as f64
    }),
    counter("millrace_shard_chunk_device_bytes_total", "Bytes written to chunk files.", |shard| {
        shard.chunk_device_bytes as f64
    }),
    counter("millrace_shard_checkpoint_device_bytes_total", "Bytes written to checkpoints.", |shard| {
        shard.checkpoint_device_bytes as f64
    }),
    counter(
        "millrace_shard_log_write_failures_total",
        "Log writes that failed and went to a fresh segment.",
        |shard| shard.log_write_failures as f64,
    ),
    counter("millrace_shard_checkpoints_total", "Checkpoints written.", |shard| shard.checkpoints as f64),
    counter("millrace_shard_checkpoint_failures_total", "Checkpoints that could not be written.", |shard| {
        shard.checkpoint_failures as f64
    }),
    gauge("millrace_shard_log_on_second_directory", "1 if the first log directory has refused a write.", |shard| {
        f64::from(u8::from(shard.log_on_second))
    }),
    gauge("millrace_shard_fenced", "1 if a shard refuses appends after a failed write.", |shard| {
        f64::from(u8::from(shard.fenced))
    }),
    gauge("millrace_shard_stalled", "1 if a shard can't write its log at the moment.", |shard| {
        f64::from(u8::from(shard.stalled))
    }),
];
