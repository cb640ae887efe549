//! Pages of targets, read beside a real Prometheus: what it takes is taken, with the same labels and values, and what it refuses is refused.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message;
use serde_json::Value;
use wire::exposition::families::{
    BucketMessage, CounterMessage, FamilyMessage, HistogramMessage, LabelPairMessage, MetricMessage, QuantileMessage,
    SpanMessage, SummaryMessage, ValueMessage, kind,
};

use crate::harness::{
    eventually,
    exposer::{Exposer, page},
    http, peer,
    server::{Server, folder},
};

const TEXT: &str = "text/plain; version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// Pages of the text format.
const TEXT_PAGES: [&str; 74] = [
    "a 1\n",
    "a 1",
    "a 1\nb 2",
    "",
    "\n\n  \n",
    "a{} 1\n",
    "a{b=\"c\"} 1\n",
    "a{b=\"c\",} 1\n",
    "a{,} 1\n",
    "a{b=\"c\",,} 1\n",
    "a{b=\"c\" d=\"e\"} 1\n",
    " \ta \t{ b\t= \"c\" , d =\"e\" \t} \t1 \t\n",
    "a{b=\"c\"}1\n",
    "a{b=\"c\"}1 1000x\n",
    "a1\n",
    "a\n",
    "a \n",
    "a{b=\"c\"}\n",
    "a 1 {\n",
    "a 1{\n",
    "a {b=\"c\"} 1\n",
    "1a 1\n",
    ":a 1\n",
    "a:b_c 1\n",
    "a-b 1\n",
    "a.b 1\n",
    "é 1\n",
    "{\"a.b\"} 1\n",
    "{\"a.b\",c=\"d\"} 1\n",
    "{c=\"d\",\"a.b\"} 1\n",
    "{\"a.b\",\"c.d\"=\"e\"} 1\n",
    "{\"a\" , \"b\"} 1\n",
    "a{\"b\"} 1\n",
    "{c=\"d\"} 1\n",
    "{} 1\n",
    "{\"\"} 1\n",
    "{\"a\\\"b\"} 1\n",
    "{\"a\",\"\"=\"x\"} 1\n",
    "a{b:c=\"d\"} 1\n",
    "a{1b=\"d\"} 1\n",
    "a{b=c} 1\n",
    "a{b} 1\n",
    "a{b=\"c} 1\n",
    "a{b=\"c\\\"\\\\\\n\\x\"} 1\n",
    "a{b=\"c\nd\"} 1\n",
    "a{b=\"c\\\nd\"} 1\n",
    "a{b=\"\"} 1\n",
    "a{b=\"c\",b=\"d\"} 1\n",
    "a{b=\"c\",b=\"c\"} 1\n",
    "a{__name__=\"b\"} 1\n",
    "a{job=\"mine\",instance=\"\"} 1\n",
    "a{job=\"mine\",exported_job=\"older\"} 1\n",
    "a 0x10\n",
    "a 1_0\n",
    "a 1e3\na2 -1.5E-3\na3 +Inf\na4 -inf\na5 .5\na6 5.\na7 +7\n",
    "a 1e999\n",
    "a -1e999\n",
    "a 1e-999\n",
    "a -NaN\n",
    "a inf\nb Infinity\nc -INFINITY\n",
    "a 1 2 3\n",
    "a 1 -1\n",
    "a 1 1.5\n",
    "a 1 99999999999999999999\n",
    "a 1 # {b=\"c\"} 1\n",
    "#\n#comment\n# comment\n#HELP a b\n# HELPER a\na 1\n",
    "# HELP a\na 1\n",
    "# HELP\n# HELP \na 1\n",
    "# TYPE a\na 1\n",
    "# TYPE a counter\n# TYPE a-counter\na 1\n",
    "# TYPE a thing\na 1\n",
    "# TYPE a counter \na 1\n",
    "# HELP \"a.b\" text\n# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n",
    "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1000000\"} 2\nh_bucket{le=\"1e-7\"} 2\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n# TYPE s summary\ns{quantile=\"0.50\"} 1\ns{quantile=\"1\"} 1\ns{le=\"1\"} 3\n# TYPE c counter\nc{le=\"1\",quantile=\"1\"} 1\n",
];

/// Pages of OpenMetrics, without what ends them.
const OPEN_METRICS_PAGES: [&str; 36] = [
    "a 1\n",
    "",
    "a  1\n",
    "a 1 \n",
    "a\t1\n",
    "a{b=\"c\"} 1\n",
    "a{b=\"c\",} 1\n",
    "a{b=\"c\" ,d=\"e\"} 1\n",
    "a{b=\"c\"d=\"e\"} 1\n",
    "a{b=\"c\nd\"} 1\n",
    "{\"a.b\"} 1\n",
    "{\"a\nb\"} 1\n",
    "\n",
    "# comment\n",
    "#\n",
    "# HELP a\na 1\n",
    "# HELP a \na 1\n",
    "# HELP a b\\nc\na 1\n",
    "# TYPE a unknown\n# TYPE b info\n# TYPE c stateset\n# TYPE d gaugehistogram\nd_bucket{le=\"1\"} 1\n",
    "# TYPE a untyped\na 1\n",
    "# UNIT a_seconds seconds\n# UNIT b \na_seconds 1\n",
    "# UNIT a seconds\na 1\n",
    "# UNIT seconds seconds\nseconds 1\n",
    "a 1 # {b=\"c\"} 0.5\n",
    "a 1 # {} 0.5 1\n",
    "a 1 # {b=\"c\"}\n",
    "a 1 # {b=\"c\"} 1 \n",
    "a 1 #\n",
    "a 1 # {\"b\"} 1\n",
    "a 1 # {b=\"c\" } 1\n",
    "a 1 NaN\n",
    "a 1 x\n",
    "# EOF\na 1\n",
    "# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {t=\"x\"} 0.5\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 1\nh_created 1\n",
    "# TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 1 # {t=\"x\"} 0.5\nh_bucket{le=\"2.5\",a=\"b\"} 1\nh_bucket{a=\"b\",le=\"+Inf\"} 2\nh_count{a=\"b\"} 2\nh_sum{a=\"b\"} 1\nh_bucket{a=\"c\",le=\"0\"} 0.5\nh_bucket{a=\"c\",le=\"+Inf\"} 2\nh_count{a=\"c\"} 2\n# TYPE g gauge\ng 1\n",
    "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"1\"} 5\nh_sum 7\nh_count 4\n# TYPE i histogram\ni_count 1\ni_sum NaN\ni 3\n# TYPE j gaugehistogram\nj_bucket{le=\"1\"} 1\nj_gcount 1\n",
];

const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Metric families as a library of other make writes them.
fn protobuf_pages() -> Vec<Vec<u8>> {
    let pair = |name: &str, value: &str| LabelPairMessage { name: name.into(), value: value.into() };
    let metric = |labels: &[(&str, &str)]| MetricMessage {
        label: labels.iter().map(|(name, value)| pair(name, value)).collect(),
        ..MetricMessage::default()
    };
    let gauge =
        |labels: &[(&str, &str)], value| MetricMessage { gauge: Some(ValueMessage { value }), ..metric(labels) };
    let histogram = |histogram| MetricMessage { histogram: Some(histogram), ..metric(&[("a", "b")]) };
    let bucket = |upper_bound, cumulative_count| BucketMessage { upper_bound, cumulative_count, ..Default::default() };
    let classic = HistogramMessage {
        sample_count: 3,
        sample_sum: 4.5,
        bucket: vec![bucket(0.1, 1), bucket(1.0, 2), bucket(1e6, 3)],
        ..HistogramMessage::default()
    };
    let native = HistogramMessage {
        schema: 2,
        zero_threshold: 1e-3,
        zero_count: 1,
        positive_span: vec![SpanMessage { offset: -3, length: 2 }, SpanMessage { offset: 1, length: 2 }],
        positive_delta: vec![1, -1, 1, -1],
        ..classic.clone()
    };
    let floats = HistogramMessage {
        sample_count_float: 3.5,
        zero_count_float: 0.5,
        zero_count: 0,
        negative_span: native.positive_span.clone(),
        positive_span: Vec::new(),
        positive_delta: Vec::new(),
        negative_count: vec![1.0, 0.0, 2.0, 0.0],
        ..native.clone()
    };
    let no_observations = HistogramMessage { zero_threshold: 1e-3, ..HistogramMessage::default() };
    let wrong_count = HistogramMessage { sample_count: 4, ..native.clone() };
    let too_few_deltas = HistogramMessage { positive_delta: vec![2], ..native.clone() };
    let family = |name: &str, kind, metric: Vec<MetricMessage>| FamilyMessage {
        name: name.into(),
        kind,
        metric,
        help: "What.".into(),
        unit: String::new(),
    };
    let summary = SummaryMessage {
        sample_count: 7,
        sample_sum: 3.0,
        quantile: vec![QuantileMessage { quantile: 0.5, value: 1.0 }, QuantileMessage { quantile: 1.0, value: 2.0 }],
        created: None,
    };
    let counter = CounterMessage { value: 2.0, ..CounterMessage::default() };
    let with_unit = |name: &str, kind, unit: &str| FamilyMessage {
        unit: unit.into(),
        ..family(name, kind, vec![MetricMessage { counter: Some(counter.clone()), ..gauge(&[], 1.0) }])
    };
    let families: Vec<Vec<FamilyMessage>> = vec![
        vec![],
        vec![family("g", kind::GAUGE, vec![gauge(&[], 1.0), gauge(&[("a", "b\"\n\\")], f64::NEG_INFINITY)])],
        vec![family("g", kind::GAUGE, vec![gauge(&[("a", "b"), ("a", "b")], 1.0)])],
        vec![family("g", kind::GAUGE, vec![gauge(&[("job", "own"), ("empty", "")], 1.0)])],
        vec![family("é ü", kind::GAUGE, vec![gauge(&[("a b", "c")], 1.0)])],
        vec![family("", kind::GAUGE, vec![gauge(&[], 1.0)])],
        vec![family("g", kind::GAUGE, vec![])],
        vec![family("g", kind::GAUGE, vec![metric(&[])])],
        vec![family("g", kind::GAUGE, vec![MetricMessage { timestamp_ms: 1, ..gauge(&[], 1.0) }])],
        vec![family("g", kind::GAUGE, vec![gauge(&[("", "x")], 1.0)])],
        vec![
            family("c_total", kind::COUNTER, vec![MetricMessage { counter: Some(counter.clone()), ..metric(&[]) }]),
            family(
                "u",
                kind::UNTYPED,
                vec![MetricMessage { untyped: Some(ValueMessage { value: 3.0 }), ..metric(&[]) }],
            ),
            family("s", kind::SUMMARY, vec![MetricMessage { summary: Some(summary), ..metric(&[("a", "b")]) }]),
        ],
        vec![with_unit("c_seconds_total", kind::COUNTER, "seconds")],
        vec![with_unit("g_seconds", kind::GAUGE, "seconds")],
        vec![with_unit("seconds", kind::GAUGE, "seconds")],
        vec![with_unit("g_bytes", kind::GAUGE, "seconds")],
        vec![family("h", kind::HISTOGRAM, vec![histogram(classic)])],
        vec![family("h", kind::HISTOGRAM, vec![histogram(native.clone())])],
        vec![family("h", kind::GAUGE_HISTOGRAM, vec![histogram(native)])],
        vec![family("h", kind::HISTOGRAM, vec![histogram(floats)])],
        vec![family("h", kind::HISTOGRAM, vec![histogram(no_observations)])],
        vec![family("h", kind::HISTOGRAM, vec![histogram(wrong_count)])],
        vec![family("h", kind::HISTOGRAM, vec![histogram(too_few_deltas)])],
    ];
    let page =
        |families: &Vec<FamilyMessage>| families.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    let mut pages: Vec<Vec<u8>> = families.iter().map(page).collect();
    let last = pages[1].len() - 1;
    pages.push(pages[1][..last].to_vec());
    pages
}

/// A few bytes of pages changed at random, by a seed.
fn mutated(seed: &str, state: &mut u64) -> Vec<u8> {
    const BYTES: &[u8] = b"{}\",= \t\n\\#_:.-+0123456789eEinfNaTYPEHELPOF\xff\0ab";
    let mut random = |below: usize| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % below
    };
    let mut page = seed.as_bytes().to_vec();
    for _ in 0..1 + random(3) / 2 {
        let at = random(page.len() + 1);
        match random(3) {
            0 => page.insert(at, BYTES[random(BYTES.len())]),
            1 if at < page.len() => drop(page.remove(at)),
            2 if at < page.len() => page[at] = BYTES[random(BYTES.len())],
            _ => {}
        }
    }
    page
}

const MUTATED: usize = 300;

/// All pages with their format.
fn pages() -> Vec<(&'static str, Vec<u8>)> {
    let text = TEXT_PAGES.iter().map(|page| (TEXT, page.as_bytes().to_vec()));
    let open = OPEN_METRICS_PAGES.iter().map(|page| (OPEN_METRICS, format!("{page}# EOF\n").into_bytes()));
    let others = [(OPEN_METRICS, &b"a 1\n"[..]), (OPEN_METRICS, b"a 1\n# EOF"), (OPEN_METRICS, b"a 1\n# EOF\n\n")];
    let upstream =
        ["alltypes.237mfs.prom.txt", "alltypes.237mfs.nometa.prom.txt", "1histogram.om.txt", "alltypes.5mfs.om.txt"];
    let upstream = upstream.map(|name| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/exposition");
        let kind = if name.ends_with(".om.txt") { OPEN_METRICS } else { TEXT };
        (kind, fs::read(folder.join(name)).expect("conformance data"))
    });
    let mut all: Vec<_> =
        text.chain(open).chain(upstream).chain(others.map(|(kind, page)| (kind, page.to_vec()))).collect();
    let mut state = 7;
    all.extend(protobuf_pages().into_iter().map(|page| (PROTOBUF, page)));
    for number in 0..MUTATED {
        if number % 2 == 0 {
            let seed = TEXT_PAGES[number / 2 % TEXT_PAGES.len()];
            all.push((TEXT, mutated(&format!("x 1\n{seed}"), &mut state)));
        } else {
            let seed = OPEN_METRICS_PAGES[number / 2 % OPEN_METRICS_PAGES.len()];
            all.push((OPEN_METRICS, mutated(&format!("x 1\n{seed}# EOF\n"), &mut state)));
        }
    }
    // A zero byte ends a page for Prometheus' lexer wherever it stands; here something is wrong with such a page.
    all.retain(|(_, page)| !page.ends_with(b"# EOF\0"));
    all
}

type Choice = fn(&[u8]) -> bool;

/// Jobs that scrape pages: their names and keys, and which pages they scrape.
const JOBS: [(&str, &str, Choice); 3] = [
    ("plain", "", |_| true),
    ("converted", "convert_classic_histograms_to_nhcb: true", has_histogram),
    (
        "both",
        "convert_classic_histograms_to_nhcb: true\n  always_scrape_classic_histograms: true\n  native_histogram_bucket_limit: 3",
        has_histogram,
    ),
];

/// Three things are left out that Prometheus 3.5 does and nobody can want. It loses lines of histograms whose counts contradict each other, and
/// lines that say when counters began, of other metrics too, once it has found one of a histogram. And it makes two histograms of
/// one that has a line of another name in between, as mutated pages have.
fn has_histogram(page: &[u8]) -> bool {
    let has = |word: &[u8]| page.windows(word.len()).any(|other| other == word);
    (has(b"histogram") || has(b"\x01h\x12\x05What."))
        && !has(b"_created")
        && !has(b"1e-7")
        && !page.starts_with(b"x 1\n")
}

type Found = BTreeMap<String, Vec<String>>;

/// What a server makes of each page: its samples but for how long it took. Two differences are left out. Prometheus takes blanks before a
/// line for a part of the metric's name. And of an OpenMetrics page that both refuse it counts a line with a value and something wrong behind it,
/// as it sees the mistake only when it looks for the next line.
fn samples(address: std::net::SocketAddr) -> Found {
    let query = http::encode(&[("query", "{page!=\"\",__name__!=\"scrape_duration_seconds\"}")]);
    let answer = http::get(address, &format!("/api/v1/query?{query}")).json();
    let mut found = Found::new();
    for sample in answer["data"]["result"].as_array().expect("a vector") {
        let page = sample["metric"]["page"].as_str().expect("a page's number").to_owned();
        let mut labels: BTreeMap<String, Value> = serde_json::from_value(sample["metric"].clone()).expect("labels");
        let name = labels["__name__"].as_str().expect("a name").trim_start_matches([' ', '\t']).to_owned();
        labels.insert("__name__".to_owned(), Value::String(name));
        let value = sample.get("histogram").unwrap_or(&sample["value"]);
        found.entry(page).or_default().push(format!("{labels:?} {}", value[1]));
    }
    for samples in found.values_mut() {
        samples.sort();
        if samples.iter().any(|sample| sample.contains("\"up\"") && sample.ends_with("\"0\"")) {
            samples.retain(|sample| !sample.contains("scrape_samples_"));
        }
    }
    found
}

#[test]
fn pages_are_read_as_prometheus_reads_them() {
    let (pages, exposer, folder) = (pages(), Exposer::start(), folder());
    for (number, (kind, body)) in pages.iter().enumerate() {
        exposer.set(&format!("/{number}"), page(kind, body));
    }
    let mut config = "global: {scrape_interval: 2s}\nscrape_configs:\n".to_owned();
    let mut scraped = Vec::new();
    for (job, keys, is_for) in JOBS {
        config += &format!("- job_name: {job}\n  {keys}\n  static_configs:\n");
        for (number, (kind, body)) in pages.iter().enumerate().filter(|(_, (_, body))| is_for(body)) {
            let name = format!("{job} {number}");
            let labels = format!("__metrics_path__: /{number}, page: '{name}'");
            config += &format!("  - {{targets: ['{}'], labels: {{{labels}}}}}\n", exposer.address);
            scraped.push((name, kind, body));
        }
    }
    eprintln!("{} pages, {} targets", pages.len(), scraped.len());
    let feature = "--enable-feature=native-histograms";
    let prometheus = peer::prometheus_with(folder.path(), &config, &[feature]);
    let file = folder.path().join("prometheus.yml");
    let server = Server::start(folder.path(), &[&format!("--config.file={}", file.display()), feature]);
    // The second scrape is of known lines.
    let asked_thrice = || exposer.asked().len() >= 2 * 4 * scraped.len();
    eventually("four scrapes by both", || asked_thrice().then_some(()));
    let (ours, theirs) = (samples(server.address), samples(prometheus.address));
    let mut differences = Vec::new();
    let of_page = |found: &Found, name: &str| found.get(name).cloned().unwrap_or_default();
    for (name, kind, body) in &scraped {
        let (ours, theirs) = (of_page(&ours, name), of_page(&theirs, name));
        if ours != theirs {
            let text = String::from_utf8_lossy(body);
            differences.push(format!("{name} {kind} {text:?}\n  ours {ours:#?}\n  theirs {theirs:#?}"));
        }
    }
    assert!(differences.is_empty(), "{} of {}\n{}", differences.len(), scraped.len(), differences.join("\n"));
    let is_up = |sample: &String| sample.contains("\"up\"") && sample.ends_with("\"1\"");
    let up = (0..pages.len()).filter(|number| of_page(&ours, &format!("plain {number}")).iter().any(is_up)).count();
    assert!((80..320).contains(&up), "{up} pages are taken");
}
