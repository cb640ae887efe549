//! Several processors work for one query while they are idle.

use std::{fs, path::Path, thread};

use serde_json::Value;
use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    eventually, http, now_ms,
    server::{Server, folder},
};

const SERIES: usize = 2000;
const SAMPLES: i64 = 120;

fn write(server: &Server, newest: i64) {
    for first in (0..SERIES).step_by(500) {
        let numbers: Vec<String> = (first..first + 500).map(|number| number.to_string()).collect();
        let labels: Vec<_> = numbers.iter().map(|number| [("__name__", "m_total"), ("number", number)]).collect();
        let samples: Vec<(i64, f64)> =
            (0..SAMPLES).map(|at| (newest - (SAMPLES - at) * 15_000, (at * 7 % 50) as f64 / 3.0)).collect();
        let series: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
        let answer = body::write(server.address, Protocol::V1, &series);
        assert_eq!(answer.code / 100, 2, "{}", answer.text());
    }
}

fn start(folder: &Path, control: &str) -> Server {
    let text = format!("version = 1\nshards = 1\nshard_cpus = [0]\ncontrol_cpus = {control}\nbackend = \"portable\"\n");
    fs::write(folder.join("tuning.toml"), text).expect("a file");
    Server::start(folder, &["--tuning.file=tuning.toml"])
}

fn ask(server: &Server, newest: i64) -> Value {
    let (start, end) = ((newest - 1_800_000) / 1000, newest / 1000);
    let pairs = [
        ("query", "sum(rate(m_total[5m])) / count(m_total)".to_owned()),
        ("start", start.to_string()),
        ("end", end.to_string()),
        ("step", "5".to_owned()),
    ];
    let pairs = pairs.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = http::post_form(server.address, "/api/v1/query_range", &pairs).json();
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"].clone()
}

fn helpers(server: &Server) -> u64 {
    let page = http::get(server.address, "/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix("millrace_query_helpers_total "));
    line.expect("the counter").parse().expect("a count")
}

/// Goal: with two processors a large query gets a helper, and its answer is that of one.
#[test]
fn a_large_query_is_helped_and_answers_the_same() {
    if thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
        eprintln!("left out: it needs two processors");
        return;
    }
    let folder = folder();
    let newest = now_ms();
    let alone = start(folder.path(), "[0]");
    write(&alone, newest);
    let expected = ask(&alone, newest);
    assert!(expected["result"][0]["values"].as_array().is_some_and(|values| values.len() > 300), "{expected}");
    assert_eq!(helpers(&alone), 0, "its only processor is the query's own");
    assert!(alone.stop().success());
    let helped = start(folder.path(), "[0, 1]");
    eventually("a query with a helper", || {
        assert_eq!(ask(&helped, newest), expected);
        (helpers(&helped) > 0).then_some(())
    });
}
