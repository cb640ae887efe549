//! Pages of targets, read beside a real Prometheus: what it takes is taken, with the same labels and values, and what it refuses is refused.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

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
const OPEN_METRICS_PAGES: [&str; 34] = [
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
];

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
    for number in 0..MUTATED {
        if number % 2 == 0 {
            let seed = TEXT_PAGES[number / 2 % TEXT_PAGES.len()];
            all.push((TEXT, mutated(&format!("x 1\n{seed}"), &mut state)));
        } else {
            let seed = OPEN_METRICS_PAGES[number / 2 % OPEN_METRICS_PAGES.len()];
            all.push((OPEN_METRICS, mutated(&format!("x 1\n{seed}# EOF\n"), &mut state)));
        }
    }
    all
}

/// What a server makes of each page: its samples but for how long it took. Two differences are left out. Prometheus takes blanks before a
/// line for a part of the metric's name. And of an OpenMetrics page that both refuse it counts a line with a value and something wrong behind it,
/// as it sees the mistake only when it looks for the next line.
fn samples(address: std::net::SocketAddr) -> BTreeMap<usize, Vec<String>> {
    let query = http::encode(&[("query", "{page!=\"\",__name__!=\"scrape_duration_seconds\"}")]);
    let answer = http::get(address, &format!("/api/v1/query?{query}")).json();
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for sample in answer["data"]["result"].as_array().expect("a vector") {
        let page = sample["metric"]["page"].as_str().and_then(|page| page.parse().ok()).expect("a page's number");
        let mut labels: BTreeMap<String, Value> = serde_json::from_value(sample["metric"].clone()).expect("labels");
        let name = labels["__name__"].as_str().expect("a name").trim_start_matches([' ', '\t']).to_owned();
        labels.insert("__name__".to_owned(), Value::String(name));
        found.entry(page).or_default().push(format!("{labels:?} {}", sample["value"][1]));
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
    let mut config =
        "global: {scrape_interval: 2s}\nscrape_configs:\n- job_name: pages\n  static_configs:\n".to_owned();
    for (number, (kind, body)) in pages.iter().enumerate() {
        exposer.set(&format!("/{number}"), page(kind, body));
        let target =
            format!("targets: ['{}'], labels: {{__metrics_path__: /{number}, page: '{number}'}}", exposer.address);
        config += &format!("  - {{{target}}}\n");
    }
    let prometheus = peer::prometheus(folder.path(), &config);
    let file = folder.path().join("prometheus.yml");
    let server = Server::start(folder.path(), &[&format!("--config.file={}", file.display())]);
    let of_page = |found: &BTreeMap<usize, Vec<String>>, number: usize| found.get(&number).cloned().unwrap_or_default();
    // The second scrape is of known lines.
    let asked_thrice = || exposer.asked().len() >= 2 * 4 * pages.len();
    eventually("four scrapes by both", || asked_thrice().then_some(()));
    let (ours, theirs) = (samples(server.address), samples(prometheus.address));
    let mut differences = Vec::new();
    for (number, (kind, body)) in pages.iter().enumerate() {
        let (ours, theirs) = (of_page(&ours, number), of_page(&theirs, number));
        if ours != theirs {
            let text = String::from_utf8_lossy(body);
            differences.push(format!("{number} {kind} {text:?}\n  ours {ours:#?}\n  theirs {theirs:#?}"));
        }
    }
    assert!(differences.is_empty(), "{} of {}\n{}", differences.len(), pages.len(), differences.join("\n"));
    let is_up = |sample: &String| sample.contains("\"up\"") && sample.ends_with("\"1\"");
    let up = (0..pages.len()).filter(|number| of_page(&ours, *number).iter().any(is_up)).count();
    assert!((60..300).contains(&up), "{up} pages are taken");
}
