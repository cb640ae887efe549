//! Prometheus' flags whose feature is not here: known by name, so that a command line that works there starts here.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Value,
    Nothing,
}

/// Names without the leading dashes, of Prometheus 2.53 to 3.14.
const FOREIGN: &[(&str, Takes)] = &[
    ("agent", Takes::Nothing),
    ("alertmanager.drain-notification-queue-on-shutdown", Takes::Nothing),
    ("alertmanager.notification-batch-size", Takes::Value),
    ("alertmanager.notification-queue-capacity", Takes::Value),
    ("alertmanager.timeout", Takes::Value),
    ("auto-gomaxprocs", Takes::Nothing),
    ("auto-gomemlimit", Takes::Nothing),
    ("auto-gomemlimit.ratio", Takes::Value),
    ("config.auto-reload-interval", Takes::Value),
    ("rules.alert.for-grace-period", Takes::Value),
    ("rules.alert.for-outage-tolerance", Takes::Value),
    ("rules.alert.resend-delay", Takes::Value),
    ("rules.max-concurrent-evals", Takes::Value),
    ("scrape.adjust-timestamps", Takes::Nothing),
    ("scrape.discovery-reload-interval", Takes::Value),
    ("scrape.name-escaping-scheme", Takes::Value),
    ("scrape.timestamp-tolerance", Takes::Value),
    ("storage.agent.no-lockfile", Takes::Nothing),
    ("storage.agent.path", Takes::Value),
    ("storage.agent.retention.max-time", Takes::Value),
    ("storage.agent.retention.min-time", Takes::Value),
    ("storage.agent.wal-compression", Takes::Nothing),
    ("storage.agent.wal-compression-type", Takes::Value),
    ("storage.agent.wal-segment-size", Takes::Value),
    ("storage.agent.wal-truncate-frequency", Takes::Value),
    ("storage.exemplars.exemplars-limit", Takes::Value),
    ("storage.remote.flush-deadline", Takes::Value),
    ("storage.remote.read-concurrent-limit", Takes::Value),
    ("storage.remote.read-max-bytes-in-frame", Takes::Value),
    ("storage.remote.read-sample-limit", Takes::Value),
    ("storage.tsdb.allow-overlapping-blocks", Takes::Nothing),
    ("storage.tsdb.allow-overlapping-compaction", Takes::Nothing),
    ("storage.tsdb.block-reload-interval", Takes::Value),
    ("storage.tsdb.delay-compact-file.path", Takes::Value),
    ("storage.tsdb.delayed-compaction.max-percent", Takes::Value),
    ("storage.tsdb.enable-uncached-io", Takes::Nothing),
    ("storage.tsdb.head-chunks-write-queue-size", Takes::Value),
    ("storage.tsdb.max-block-chunk-segment-size", Takes::Value),
    ("storage.tsdb.max-block-duration", Takes::Value),
    ("storage.tsdb.min-block-duration", Takes::Value),
    ("storage.tsdb.no-lockfile", Takes::Nothing),
    ("storage.tsdb.retention", Takes::Value),
    ("storage.tsdb.samples-per-chunk", Takes::Value),
    ("storage.tsdb.wal-compression", Takes::Nothing),
    ("storage.tsdb.wal-compression-type", Takes::Value),
    ("storage.tsdb.wal-segment-size", Takes::Value),
    ("config.auto-reload", Takes::Nothing),
    ("web.config.file", Takes::Value),
    ("web.console.libraries", Takes::Value),
    ("web.console.templates", Takes::Value),
    ("web.enable-otlp-receiver", Takes::Nothing),
    ("web.local-assets", Takes::Value),
    ("web.max-notifications-subscribers", Takes::Value),
    ("web.page-title", Takes::Value),
    ("web.remote-write-receiver.accepted-protobuf-messages", Takes::Value),
    ("web.search.max-limit", Takes::Value),
    ("web.user-assets", Takes::Value),
];

/// What a flag of Prometheus takes; also for the `no-` form of its switches.
pub(crate) fn find(name: &str) -> Option<Takes> {
    let exact = |name: &str| FOREIGN.iter().find(|(known, _)| *known == name).map(|(_, takes)| *takes);
    exact(name).or_else(|| name.strip_prefix("no-").and_then(exact).filter(|takes| *takes == Takes::Nothing))
}

pub(crate) fn names<'a>() -> impl Iterator<Item = &'a str> {
    FOREIGN.iter().map(|(name, _)| *name)
}
