//! Days of data in minutes, with series that come and go: written, read back from a server or a peer, compared.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use serde_json::Value;
use wire::remote_write::Protocol;

use super::{
    body::{self, Series},
    eventually, http,
    server::Server,
};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const WINDOW: i64 = 2 * HOUR;
const SERIES: i64 = 40;

/// Samples by series' name.
pub(crate) type Model = BTreeMap<String, Vec<(i64, f64)>>;

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
pub(crate) fn write_hours(address: SocketAddr, start: i64, hours: std::ops::Range<i64>) -> Model {
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
        let answer = body::write(address, protocol, &all);
        assert_eq!(answer.code, 204, "{}", answer.text());
        for (name, samples) in names {
            model.entry(name).or_default().extend(samples);
        }
    }
    model
}

/// Everything that a server has of the job up to a time.
pub(crate) fn read(address: SocketAddr, until: i64) -> Model {
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

pub(crate) fn before(model: &Model, time: i64) -> Model {
    let kept = |samples: &[(i64, f64)]| samples.iter().copied().filter(|sample| sample.0 < time).collect::<Vec<_>>();
    let all = model.iter().map(|(name, samples)| (name.clone(), kept(samples)));
    all.filter(|(_, samples)| !samples.is_empty()).collect()
}

pub(crate) fn assert_equal(found: &Model, expected: &Model, what: &str) {
    let names = |model: &Model| model.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, samples) in expected {
        let first = found[name].iter().zip(samples).position(|(a, b)| a != b);
        assert_eq!((found[name].len(), first), (samples.len(), None), "{what}: {name}");
    }
}

pub(crate) fn blocks(server: &Server) -> Vec<Value> {
    let answer = http::get(server.address, "/api/v1/status/tsdb/blocks");
    answer.json()["data"]["blocks"].as_array().expect("blocks").clone()
}

/// Waits until everything that is due is cut and compacted; returns the end of the newest block.
pub(crate) fn settled(server: &Server, newest: i64) -> i64 {
    let end = (newest - WINDOW / 2).div_euclid(WINDOW) * WINDOW;
    eventually("blocks", || {
        let answer = http::get(server.address, "/api/v1/status/tsdb/blocks").json();
        let last = answer["data"]["blocks"].as_array().and_then(|blocks| blocks.last()?["maxTime"].as_i64());
        (last == Some(end) && answer["data"]["idle"] == true).then_some(())
    });
    end
}

/// Waits until nothing is left to do that is due.
pub(crate) fn idle(server: &Server) {
    eventually("idleness", || {
        (http::get(server.address, "/api/v1/status/tsdb/blocks").json()["data"]["idle"] == true).then_some(())
    });
}

pub(crate) fn copy_blocks(from: &Path, to: &Path) {
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
