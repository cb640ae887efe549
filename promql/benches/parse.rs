//! Time of reading an expression: what a query costs before it looks for anything.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use promql::parser::{self, ParseOptions};

/// From what a dashboard sends by the hundred to what somebody wrote once and is afraid of.
const EXPRESSIONS: [(&str, &str); 5] = [
    ("a metric", "up"),
    (
        "a selector",
        "node_cpu_seconds_total{instance=\"host-000007.example.net:9100\",mode!~\"idle|iowait\",cpu=~\"[0-9]+\"}",
    ),
    (
        "a panel",
        "sum by (job, instance) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (job, instance) (rate(http_requests_total[5m]))",
    ),
    (
        "a quantile",
        "histogram_quantile(0.99, sum by (le, handler) (rate(http_request_duration_seconds_bucket{job=\"api\"}[5m] offset 1h))) > 0.5",
    ),
    (
        "an alert",
        "(predict_linear(node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs\"}[6h], 4 * 3600) < 0 and on (instance, device) \
         node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.4) unless on (instance) (max_over_time(maintenance{state=\"on\"}[1h:5m]) == 1)",
    ),
];

fn parse(criterion: &mut Criterion) {
    let options = ParseOptions::default();
    let mut group = criterion.benchmark_group("parse");
    for (name, text) in EXPRESSIONS {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| parser::parse(text, &options).expect("the list holds good expressions"));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
