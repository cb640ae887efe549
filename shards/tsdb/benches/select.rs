//! Finding series and handing out what a reader needs of them: the part of a query that is a shard's.

#[expect(dead_code, reason = "a selection changes nothing, so criterion can repeat it by itself")]
mod common;

use common::{START, STEP, append, new_head, order, round_of, sizes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::{MatchOp, Matcher};
use tsdb::{
    Head,
    select::{Progress, Selecting, Selection, TimeRange, Wanted},
    wal::LogBatch,
};

/// Samples of each series: an open chunk, and no sealed one.
const ROUNDS: i64 = 100;

fn head_of(series: usize) -> Head {
    let (mut head, mut log) = (new_head(), LogBatch::default());
    let order = order(series, false);
    for round in 0..ROUNDS {
        for batch in round_of(&order, round) {
            append(&mut head, &batch, &mut log);
            log.encode(&mut Vec::new());
        }
    }
    head
}

fn select(head: &Head, matchers: &[Matcher], wanted: Wanted) -> Box<Selection> {
    let range = TimeRange { min_time: START, max_time: START + ROUNDS * STEP };
    let mut selecting = Selecting::new(matchers, range, wanted);
    loop {
        match selecting.advance(head) {
            Progress::More => {}
            Progress::Done(selection) => return selection,
            Progress::Renumbered => unreachable!("nobody numbers anew"),
        }
    }
}

fn selections(criterion: &mut Criterion) {
    let matcher = |name: &str, op, value: &str| Matcher::new(op, name, value).expect("a good pattern");
    let node = || matcher("job", MatchOp::Equal, "node");
    let cases: [(&str, Vec<Matcher>); 6] = [
        (
            "a series",
            vec![
                matcher("__name__", MatchOp::Equal, "node_metric_3"),
                matcher("node", MatchOp::Equal, "node-00001"),
                matcher("cpu", MatchOp::Equal, "4"),
            ],
        ),
        ("a metric", vec![matcher("__name__", MatchOp::Equal, "node_metric_3")]),
        ("all", vec![node()]),
        ("a prefix", vec![node(), matcher("node", MatchOp::Regex, "node-0000.*")]),
        ("some values", vec![node(), matcher("zone", MatchOp::Regex, "zone-1|zone-2")]),
        ("all but some values", vec![node(), matcher("node", MatchOp::NotRegex, ".*[05]")]),
    ];
    for series in sizes(&[100_000]) {
        let head = head_of(series);
        let mut group = criterion.benchmark_group(format!("select/{series}"));
        group.sample_size(20);
        for (name, matchers) in &cases {
            for (kind, wanted) in [("series", Wanted::Series), ("newest", Wanted::Last), ("samples", Wanted::Samples)] {
                let found = select(&head, matchers, wanted).series.len();
                assert!(found > 0, "{name} finds nothing");
                group.throughput(Throughput::Elements(found as u64));
                group.bench_function(BenchmarkId::new(*name, kind), |bencher| {
                    bencher.iter(|| select(&head, matchers, wanted));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, selections);
criterion_main!(benches);
