//! Time of whole queries on decoded columns: what the engine itself costs, without a storage.
//!
//! 10,000 series with a sample each 10 s for an hour and a bit, read from memory; range queries have a step of 15 s.
//! The rate is in samples read, so its inverse is the cost of a sample.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::Labels;
use promql::{
    budget::QueryBudget,
    engine::{Control, Engine, Options, TimeRange},
    source::{GroupIds, Grouping, SelectRequest, SeriesStream, Source, SourceError, Tile},
};

const SERIES: usize = 10_000;
const JOBS: usize = 20;
const INTERVAL_MS: i64 = 10_000;
const SAMPLES: usize = 400;

/// The same counter many times over, under different labels.
struct Columns {
    times: Vec<i64>,
    values: Vec<f64>,
    labels: Vec<Labels>,
    has_group_codes: bool,
}

impl Columns {
    fn new(has_group_codes: bool) -> Self {
        let label = |series: usize| {
            let (job, instance, path) = (series % JOBS, series / 100, series % 100);
            Labels::from_pairs([
                ("__name__", "requests_total".to_owned()),
                ("job", format!("job-{job}")),
                ("instance", format!("10.0.{}.{}:9100", instance / 256, instance % 256)),
                ("path", format!("/api/v1/{path}")),
                ("region", "eu-central".to_owned()),
            ])
        };
        Self {
            times: (0..SAMPLES as i64).map(|at| at * INTERVAL_MS + 137).collect(),
            values: (0..SAMPLES).map(|at| (at * 7 % 1000 + at * 3) as f64).collect(),
            labels: (0..SERIES).map(label).collect(),
            has_group_codes,
        }
    }
}

impl Source for Columns {
    fn select<'s>(
        &'s self,
        request: &SelectRequest<'_>,
        _budget: &QueryBudget,
    ) -> Result<Box<dyn SeriesStream + 's>, SourceError> {
        let from = self.times.partition_point(|time| *time < request.min_time);
        let to = self.times.partition_point(|time| *time <= request.max_time);
        let from = if request.hints.last_only { to.saturating_sub(1) } else { from };
        Ok(Box::new(Stream { columns: self, rows: from..to, next: 0 }))
    }
}

struct Stream<'s> {
    columns: &'s Columns,
    rows: std::ops::Range<usize>,
    next: usize,
}

impl SeriesStream for Stream<'_> {
    fn series_count(&self) -> usize {
        SERIES
    }

    fn labels(&self, series: usize) -> Labels {
        self.columns.labels[series].clone()
    }

    fn group_ids(&mut self, grouping: Grouping<'_>) -> Option<GroupIds> {
        let is_by_job = !grouping.without && grouping.labels == ["job"];
        (self.columns.has_group_codes && is_by_job).then(|| GroupIds {
            ids: (0..SERIES).map(|series| (series % JOBS) as u32).collect(),
            labels: (0..JOBS).map(|job| Labels::from_pairs([("job", format!("job-{job}"))])).collect(),
        })
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        let first = self.next;
        while self.next < SERIES && !tile.is_full() {
            let (times, values) = tile.columns();
            times.extend_from_slice(&self.columns.times[self.rows.clone()]);
            values.extend_from_slice(&self.columns.values[self.rows.clone()]);
            tile.finish_series(self.next as u32);
            self.next += 1;
        }
        Ok(self.next > first)
    }
}

const RANGE_QUERIES: [&str; 22] = [
    "sum by (job) (requests_total)",
    "sum by (job) (rate(requests_total[5m]))",
    "avg by (job) (rate(requests_total[5m]))",
    "max by (job) (max_over_time(requests_total[5m]))",
    "sum by (job) (sum_over_time(requests_total[5m]))",
    "sum by (job) (avg_over_time(requests_total[30m]))",
    "sum by (job) (quantile_over_time(0.9, requests_total[5m]))",
    "sum by (job) (stddev_over_time(requests_total[5m]))",
    "sum without (path) (rate(requests_total[5m]))",
    "topk(5, rate(requests_total[5m]))",
    "quantile by (job) (0.9, requests_total)",
    "sum(requests_total / ignoring (path) group_left () max without (path) (requests_total))",
    "sum(requests_total / requests_total)",
    "count(requests_total and on (instance) requests_total{path=\"/api/v1/7\"})",
    "count(requests_total unless on (path) requests_total{instance=\"10.0.0.7:9100\"})",
    "sum(clamp_max(requests_total, 500) ^ 2)",
    "count(label_replace(requests_total, \"version\", \"$1\", \"path\", \"/api/(.*)\"))",
    "stddev by (instance) (requests_total)",
    "avg(deriv(requests_total[5m]))",
    "sum(max_over_time(rate(requests_total[1m])[10m:1m]))",
    "count_values by (job) (\"value\", requests_total > 1900)",
    "absent(requests_total > 1e9)",
];

const INSTANT_QUERIES: [&str; 4] =
    ["sum by (job) (requests_total)", "count(requests_total > 1000)", "topk(5, requests_total)", "requests_total"];

fn range_queries(criterion: &mut Criterion) {
    let engine = Engine::new(Options { memory_bytes_max: 8 << 30, ..Options::default() });
    let mut group = criterion.benchmark_group("range");
    group.sample_size(10).throughput(Throughput::Elements((SERIES * 360) as u64));
    let range = TimeRange { start: 390_000, end: 390_000 + 3_600_000, step: 15_000 };
    for has_group_codes in [true, false] {
        let source = Columns::new(has_group_codes);
        for text in RANGE_QUERIES.into_iter().filter(|text| has_group_codes || text.contains("by (job) (rate")) {
            let query = engine.parse(text).expect("the list holds good queries");
            let name = if has_group_codes { text.to_owned() } else { format!("{text} without codes") };
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter(|| engine.range(&source, &query, range, &Control::default()).expect("within the limits"));
            });
        }
    }
    group.finish();
}

fn instant_queries(criterion: &mut Criterion) {
    let engine = Engine::new(Options::default());
    let source = Columns::new(true);
    let mut group = criterion.benchmark_group("instant");
    group.sample_size(20).throughput(Throughput::Elements(SERIES as u64));
    for text in INSTANT_QUERIES {
        let query = engine.parse(text).expect("the list holds good queries");
        group.bench_function(BenchmarkId::from_parameter(text), |bencher| {
            bencher
                .iter(|| engine.instant(&source, &query, 3_990_000, &Control::default()).expect("within the limits"));
        });
    }
    group.finish();
}

criterion_group!(benches, range_queries, instant_queries);
criterion_main!(benches);
