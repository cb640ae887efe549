//! Windows become blocks: cut, compacted, queried beside the head, read by Prometheus and promtool.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use serde_json::Value;
use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    eventually, http, now_ms,
    peer::{self, promtool},
    server::{Server, folder},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const WINDOW: i64 = 2 * HOUR;
const SERIES: i64 = 40;

/// Samples by series' name.
type Model = BTreeMap<String, Vec<(i64, f64)>>;

/// Series that come and go: each lives for some hours, some come back.
fn is_alive(series: i64, minute: i64) -> bool {
    let hour = minute / 60;
    match series % 4 {
        0 => true,
        1 => (series / 2..series / 2 + 9).contains(&hour),
        2 => hour % 7 < 3,
        _ => hour >= series / 2,
    }
}

fn value(series: i64, minute: i64) -> f64 {
    match series % 3 {
        0 => (series * 1000 + minute) as f64,
        1 => (minute as f64 / 10.0).sin() * series as f64,
        _ => series as f64,
    }
}

/// Writes a minute's samples hour by hour from `start` on, and returns what was written.
fn write_hours(server: &Server, start: i64, hours: std::ops::Range<i64>) -> Model {
    let mut model = Model::new();
    for hour in hours {
        let mut names = Vec::new();
        for series in 0..SERIES {
            let minutes = (hour * 60..hour * 60 + 60).filter(|&minute| is_alive(series, minute));
            let samples: Vec<_> = minutes.map(|minute| (start + minute * MINUTE, value(series, minute))).collect();
            if !samples.is_empty() {
                names.push((format!("series_{series:02}"), samples));
            }
        }
        let labels: Vec<_> = names.iter().map(|(name, _)| [("__name__", name.as_str()), ("job", "blocks")]).collect();
        let all: Vec<_> = labels.iter().zip(&names).map(|(labels, (_, samples))| Series { labels, samples }).collect();
        let protocol = if hour % 2 == 0 { Protocol::V1 } else { Protocol::V2 };
        let answer = body::write(server.address, protocol, &all);
        assert_eq!(answer.code, 204, "{}", answer.text());
        for (name, samples) in names {
            model.entry(name).or_default().extend(samples);
        }
    }
    model
}

/// Everything that a server has of the job up to a time.
fn read(address: SocketAddr, until: i64) -> Model {
    let time = format!("{}", until as f64 / 1000.0);
    let answer = http::post_form(address, "/api/v1/query", &[("query", "{job=\"blocks\"}[60h]"), ("time", &time)]);
    assert_eq!(answer.code, 200, "{}", answer.text());
    let sample = |sample: &Value| {
        let time = (sample[0].as_f64().expect("a time") * 1000.0).round() as i64;
        (time, sample[1].as_str().and_then(|text| text.parse().ok()).expect("a value"))
    };
    let of_series = |series: &Value| {
        let name = series["metric"]["__name__"].as_str().expect("a name").to_owned();
        (name, series["values"].as_array().expect("samples").iter().map(sample).collect())
    };
    answer.json()["data"]["result"].as_array().expect("a matrix").iter().map(of_series).collect()
}

fn before(model: &Model, time: i64) -> Model {
    let kept = |samples: &[(i64, f64)]| samples.iter().copied().filter(|sample| sample.0 < time).collect::<Vec<_>>();
    let all = model.iter().map(|(name, samples)| (name.clone(), kept(samples)));
    all.filter(|(_, samples)| !samples.is_empty()).collect()
}

fn assert_equal(found: &Model, expected: &Model, what: &str) {
    let names = |model: &Model| model.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, samples) in expected {
        let first = found[name].iter().zip(samples).position(|(a, b)| a != b);
        assert_eq!((found[name].len(), first), (samples.len(), None), "{what}: {name}");
    }
}

fn blocks(server: &Server) -> Vec<Value> {
    let answer = http::get(server.address, "/api/v1/status/tsdb/blocks");
    answer.json()["data"]["blocks"].as_array().expect("blocks").clone()
}

/// Waits until everything that is due is cut and compacted; returns the end of the newest block.
fn settled(server: &Server, newest: i64) -> i64 {
    let end = (newest - WINDOW / 2).div_euclid(WINDOW) * WINDOW;
    eventually("blocks", || {
        let of_last = blocks(server).last().map(|block| block["maxTime"].as_i64());
        let answer = http::get(server.address, "/api/v1/status/tsdb/blocks").json();
        (of_last == Some(Some(end)) && answer["data"]["job"].is_null()).then_some(())
    });
    end
}

fn link_blocks(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("text");
        if name.len() != 26 {
            continue;
        }
        let target = to.join(&name);
        fs::create_dir_all(target.join("chunks")).expect("a folder");
        for inner in ["meta.json", "index", "tombstones"] {
            fs::copy(entry.path().join(inner), target.join(inner)).expect("a copy");
        }
        for chunk in fs::read_dir(entry.path().join("chunks")).expect("a folder").map(|chunk| chunk.expect("one")) {
            fs::copy(chunk.path(), target.join("chunks").join(chunk.file_name())).expect("a copy");
        }
    }
}

/// Goal: blocks of a day and a half, with churn, answer as what was written, here, after ends of every kind, and in Prometheus.
#[test]
fn windows_become_blocks_that_everybody_reads() {
    let folder = folder();
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let args = ["--tuning.file=tuning.toml"];
    let server = Server::start(folder.path(), &args);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 36 * HOUR;
    let mut model = write_hours(&server, start, 0..30);
    settled(&server, start + 30 * HOUR - MINUTE);
    assert_equal(&read(server.address, end), &model, "head and blocks");
    server.kill();
    let server = Server::start(folder.path(), &args);
    assert_equal(&read(server.address, end), &model, "after kill -9");
    for (name, samples) in write_hours(&server, start, 30..36) {
        model.entry(name).or_default().extend(samples);
    }
    let cut = settled(&server, end - MINUTE);
    assert_equal(&read(server.address, end), &model, "more of both");
    let levels: Vec<_> = blocks(&server).iter().map(|block| block["compaction"]["level"].as_i64()).collect();
    assert!(levels.contains(&Some(2)), "{levels:?}");
    check_names(&server, &model, start, cut);
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    assert!(server.stop().success());

    let listed = promtool(&["tsdb", "list", &folder.path().join("data").display().to_string()]);
    assert!(listed.lines().count() > levels.len(), "{listed}");
    let data = folder.path().join("prometheus-data");
    fs::create_dir(&data).expect("a folder");
    link_blocks(&folder.path().join("data"), &data);
    let prometheus = peer::prometheus(folder.path(), "global: {}\n");
    assert_equal(&read(prometheus.address, end), &before(&model, cut), "Prometheus on the blocks");
    let server = Server::start(folder.path(), &args);
    assert_equal(&read(server.address, end), &model, "after a stop");
    for query in [
        "sum by (job) ({job=\"blocks\"})",
        "rate(series_00[10m])",
        "count by (__name__) ({job=\"blocks\"})",
        "max_over_time(series_01[5h])",
        "topk(3, {job=\"blocks\"})",
    ] {
        for hours in [3, 12, 20] {
            let time = format!("{}", (start + hours * HOUR + 7 * MINUTE) as f64 / 1000.0);
            let ask = |address| {
                let answer = http::post_form(address, "/api/v1/query", &[("query", query), ("time", &time)]).json();
                let result = answer["data"]["result"].as_array();
                let mut result = result.unwrap_or_else(|| panic!("{query}: {answer}")).clone();
                result.sort_by_key(|one| one["metric"].to_string());
                result
            };
            assert_eq!(ask(server.address), ask(prometheus.address), "{query} at {time}");
        }
    }
}

/// Names and values come from blocks and head alike, by time.
fn check_names(server: &Server, model: &Model, start: i64, cut: i64) {
    let times = |from: i64, to: i64| format!("start={}&end={}", from as f64 / 1000.0, to as f64 / 1000.0);
    let ask = |path: &str| -> Vec<String> {
        let answer = http::get(server.address, path).json();
        let texts = answer["data"].as_array().unwrap_or_else(|| panic!("{path}: {answer}"));
        texts.iter().map(|text| text.as_str().map_or_else(|| text["__name__"].to_string(), str::to_owned)).collect()
    };
    let named = |from: i64, to: i64| -> Vec<String> {
        let lives = |samples: &Vec<(i64, f64)>| samples.iter().any(|sample| (from..=to).contains(&sample.0));
        model.iter().filter(|(_, samples)| lives(samples)).map(|(name, _)| name.clone()).collect()
    };
    let (from, to) = (start + 5 * HOUR, start + 7 * HOUR);
    let values = ask(&format!("/api/v1/label/__name__/values?match[]=%7Bjob%3D%22blocks%22%7D&{}", times(from, to)));
    assert_eq!(values, named(from, to), "values between {from} and {to}");
    let series = ask(&format!("/api/v1/series?match[]=%7Bjob%3D%22blocks%22%7D&{}", times(from, to)));
    assert_eq!(series.len(), named(from, to).len());
    let all = ask(&format!("/api/v1/label/__name__/values?{}", times(start, cut + 12 * HOUR)));
    assert_eq!(all, model.keys().cloned().collect::<Vec<_>>());
    assert_eq!(ask("/api/v1/labels"), ["__name__", "job"]);
}

/// Goal: what is over the retention goes, and nothing else. Method: a retention shorter than what is written.
#[test]
fn old_blocks_go_and_new_ones_stay() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--storage.tsdb.retention.time=8h"]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 20 * HOUR;
    let model = write_hours(&server, start, 0..20);
    let cut = settled(&server, end - MINUTE);
    let oldest = eventually("the retention", || {
        let oldest = blocks(&server).first().and_then(|block| block["maxTime"].as_i64());
        oldest.filter(|&oldest| cut - oldest < 8 * HOUR)
    });
    let kept = blocks(&server).first().and_then(|block| block["minTime"].as_i64()).expect("a block");
    assert!(oldest > cut - 8 * HOUR && kept >= cut - 10 * HOUR, "{kept}");
    let mut expected = model.clone();
    expected.values_mut().for_each(|samples| samples.retain(|sample| sample.0 >= kept));
    expected.retain(|_, samples| !samples.is_empty());
    assert_equal(&read(server.address, end), &expected, "what is kept");
    let folders = fs::read_dir(folder.path().join("data")).expect("a folder");
    let names = folders.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    assert_eq!(names.filter(|name| name.len() >= 26).count(), blocks(&server).len(), "nothing is left of the others");
}
