//! Reading of pages: nanoseconds per sample of 2,000 counters with three labels, and of 100 classic histograms of 20 buckets.
//!
//! `known` has the lines of the same page beside it, as every scrape but the first has. `cargo test` runs each once, and every run checks
//! what came out.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{IdentityKey, SeriesId};
use prost::Message as _;
use wire::exposition::{
    Bounds, Dialect, Found, Gathered, Item, LineCache, Reader, Wanted,
    families::{BucketMessage, CounterMessage, FamilyMessage, HistogramMessage, LabelPairMessage, MetricMessage, kind},
    lines::{NewLine, Walk},
    reader::KnownLines as _,
};

const FAMILIES: usize = 100;
const METRICS: usize = 20;
const HISTOGRAMS: usize = 100;
const BUCKETS: usize = 20;

fn key() -> IdentityKey {
    IdentityKey::from_bytes(&std::array::from_fn(|index| (index * 151 + 13) as u8))
}

fn labels(metric: usize) -> [(&'static str, String); 3] {
    [("device", format!("eth{metric}")), ("direction", "receive".to_owned()), ("zone", format!("zone-{}", metric % 4))]
}

fn value(family: usize, metric: usize) -> f64 {
    (family * 1000 + metric) as f64 * 1.25
}

/// The counters as text.
fn counters(is_openmetrics: bool) -> String {
    let mut page = String::new();
    for family in 0..FAMILIES {
        page += &format!("# HELP network_{family} Bytes that came.\n# TYPE network_{family} counter\n");
        for metric in 0..METRICS {
            let labels = labels(metric).map(|(name, value)| format!("{name}=\"{value}\"")).join(",");
            page += &format!("network_{family}_total{{{labels}}} {}\n", value(family, metric));
        }
    }
    page + if is_openmetrics { "# EOF\n" } else { "" }
}

/// The same in protobuf.
fn counters_in_protobuf() -> Vec<u8> {
    let metric = |family: usize, metric: usize| MetricMessage {
        label: labels(metric).map(|(name, value)| LabelPairMessage { name: name.to_owned(), value }).to_vec(),
        counter: Some(CounterMessage { value: value(family, metric), ..CounterMessage::default() }),
        ..MetricMessage::default()
    };
    let family = |family: usize| FamilyMessage {
        name: format!("network_{family}_total"),
        help: "Bytes that came.".to_owned(),
        kind: kind::COUNTER,
        metric: (0..METRICS).map(|at| metric(family, at)).collect(),
        ..FamilyMessage::default()
    };
    (0..FAMILIES).flat_map(|at| family(at).encode_length_delimited_to_vec()).collect()
}

fn histograms() -> String {
    let mut page = "# TYPE wait_seconds histogram\n".to_owned();
    for at in 0..HISTOGRAMS {
        let bucket = |bucket: usize| match bucket {
            BUCKETS => format!("wait_seconds_bucket{{path=\"/{at}\",le=\"+Inf\"}} {}\n", BUCKETS * 3),
            _ => format!("wait_seconds_bucket{{path=\"/{at}\",le=\"{bucket}.5\"}} {}\n", bucket * 3),
        };
        page.extend((0..=BUCKETS).map(bucket));
        page +=
            &format!("wait_seconds_sum{{path=\"/{at}\"}} 17.5\nwait_seconds_count{{path=\"/{at}\"}} {}\n", BUCKETS * 3);
    }
    page
}

fn histograms_in_protobuf() -> Vec<u8> {
    let bucket = |at: usize| BucketMessage {
        cumulative_count: at as u64 * 3,
        upper_bound: at as f64 + 0.5,
        ..BucketMessage::default()
    };
    let metric = |at: usize| MetricMessage {
        label: vec![LabelPairMessage { name: "path".to_owned(), value: format!("/{at}") }],
        histogram: Some(HistogramMessage {
            sample_count: BUCKETS as u64 * 3,
            sample_sum: 17.5,
            bucket: (0..BUCKETS).map(bucket).collect(),
            ..HistogramMessage::default()
        }),
        ..MetricMessage::default()
    };
    let family = FamilyMessage {
        name: "wait_seconds".to_owned(),
        kind: kind::HISTOGRAM,
        metric: (0..HISTOGRAMS).map(metric).collect(),
        ..FamilyMessage::default()
    };
    family.encode_length_delimited_to_vec()
}

/// Lines get numbers in place of identities, which are not what is measured.
fn add(walk: &mut Walk<'_>, line: NewLine, count: u64) {
    walk.add(line, Some(SeriesId { low: count, high: 1 }));
}

/// Reads a page line by line; returns how many samples it has.
fn read_lines(key: &IdentityKey, lines: &mut LineCache, dialect: Dialect, page: &[u8]) -> u64 {
    let (mut walk, mut reader, mut count) = (lines.walk(key), Reader::new(dialect, page), 0);
    loop {
        while let Some(sample) = reader.next_plain(&mut walk) {
            black_box((walk.accepted(), sample.value));
            count += 1;
        }
        match reader.next(&mut walk).expect("a good page") {
            None => break,
            Some(Item::Metadata(_)) => continue,
            Some(Item::Sample(sample)) if sample.is_known => drop(black_box(walk.accepted())),
            Some(Item::Sample(sample)) => {
                if let Found::New(line) = walk.find(sample.series, reader.bounds()) {
                    black_box(reader.labels());
                    add(&mut walk, line, count);
                }
            }
        }
        count += 1;
    }
    walk.finish();
    count
}

/// The same of a page that is gathered first.
fn read_gathered(key: &IdentityKey, lines: &mut LineCache, gathered: &Gathered<'_>) -> u64 {
    let (mut walk, mut count) = (lines.walk(key), 0);
    for sample in &gathered.samples {
        let (start, end) = gathered.place(sample);
        if walk.length(&gathered.text()[start..], Bounds::None) == Some(end - start) {
            walk.accept();
            black_box(walk.accepted());
        } else if let Found::New(line) = walk.find(&gathered.text()[start..end], Bounds::None) {
            add(&mut walk, line, count);
        }
        count += 1;
    }
    walk.finish();
    count
}

fn exposition(criterion: &mut Criterion) {
    let key = key();
    let wanted = Wanted { native: true, convert_classic: false, keep_classic: false, start_times: false };
    let converting = Wanted { convert_classic: true, ..wanted };
    let of_counters = (FAMILIES * METRICS) as u64;
    let of_histograms = (HISTOGRAMS * (BUCKETS + 3)) as u64;
    let mut group = criterion.benchmark_group("exposition");

    group.throughput(Throughput::Elements(of_counters));
    for (name, dialect) in [("text", Dialect::Text), ("openmetrics", Dialect::OpenMetrics)] {
        let page = counters(dialect == Dialect::OpenMetrics);
        let mut lines = LineCache::default();
        assert_eq!(read_lines(&key, &mut lines, dialect, page.as_bytes()), of_counters);
        group.bench_function(format!("counters, {name}, known"), |bencher| {
            bencher.iter(|| read_lines(&key, &mut lines, dialect, black_box(page.as_bytes())));
        });
        group.bench_function(format!("counters, {name}, new"), |bencher| {
            bencher.iter(|| read_lines(&key, &mut LineCache::default(), dialect, black_box(page.as_bytes())));
        });
    }
    let from_protobuf = |lines: &mut LineCache, page: &[u8], wanted: Wanted| {
        let gathered = Gathered::from_protobuf(page, wanted).expect("a good page");
        read_gathered(&key, lines, &gathered)
    };
    let (page, mut lines) = (counters_in_protobuf(), LineCache::default());
    assert_eq!(from_protobuf(&mut lines, &page, wanted), of_counters);
    group.bench_function("counters, protobuf, known", |bencher| {
        bencher.iter(|| from_protobuf(&mut lines, black_box(&page), wanted));
    });

    // Also where twenty buckets become one sample: the work is that of the page.
    group.throughput(Throughput::Elements(of_histograms));
    let (text, mut lines) = (histograms(), LineCache::default());
    assert_eq!(read_lines(&key, &mut lines, Dialect::Text, text.as_bytes()), of_histograms);
    group.bench_function("histograms, text, known", |bencher| {
        bencher.iter(|| read_lines(&key, &mut lines, Dialect::Text, black_box(text.as_bytes())));
    });
    let convert = |lines: &mut LineCache, page: &[u8]| {
        let gathered = Gathered::from_text(Dialect::Text, page, converting).expect("a good page");
        read_gathered(&key, lines, &gathered)
    };
    let mut lines = LineCache::default();
    assert_eq!(convert(&mut lines, text.as_bytes()), HISTOGRAMS as u64);
    group.bench_function("histograms, text, converted", |bencher| {
        bencher.iter(|| convert(&mut lines, black_box(text.as_bytes())));
    });
    let page = histograms_in_protobuf();
    for (name, wanted, count) in [("classic", wanted, of_histograms), ("converted", converting, HISTOGRAMS as u64)] {
        let mut lines = LineCache::default();
        assert_eq!(from_protobuf(&mut lines, &page, wanted), count);
        group.bench_function(format!("histograms, protobuf, {name}"), |bencher| {
            bencher.iter(|| from_protobuf(&mut lines, black_box(&page), wanted));
        });
    }
    group.finish();
}

criterion_group!(benches, exposition);
criterion_main!(benches);
