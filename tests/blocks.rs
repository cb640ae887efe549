//! Windows become blocks: cut, compacted, queried beside the head, read by Prometheus and promtool.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::{
    days::{HOUR, MINUTE, Model, assert_equal, before, blocks, copy_blocks, idle, read, settled, write_hours},
    eventually, http, now_ms,
    peer::{self, promtool},
    server::{Server, folder},
};

/// Goal: blocks of a day and a half, with churn, answer as what was written, here, after ends of every kind, and in Prometheus.
#[test]
fn windows_become_blocks_that_everybody_reads() {
    let folder = folder();
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let args = ["--tuning.file=tuning.toml"];
    let server = Server::start(folder.path(), &args);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 36 * HOUR;
    let mut model = write_hours(server.address, start, 0..30);
    settled(&server, start + 30 * HOUR - MINUTE);
    assert_equal(&read(server.address, end), &model, "head and blocks");
    server.kill();
    let server = Server::start(folder.path(), &args);
    assert_equal(&read(server.address, end), &model, "after kill -9");
    for (name, samples) in write_hours(server.address, start, 30..36) {
        model.entry(name).or_default().extend(samples);
    }
    let cut = settled(&server, end - MINUTE);
    assert_equal(&read(server.address, end), &model, "more of both");
    let levels: Vec<_> = blocks(&server).iter().map(|block| block["compaction"]["level"].as_i64()).collect();
    assert!(levels.contains(&Some(2)), "{levels:?}");
    check_links(&server, &folder.path().join("data"));
    check_names(&server, &model, start, cut);
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    assert!(server.stop().success());

    let listed = promtool(&["tsdb", "list", &folder.path().join("data").display().to_string()]);
    assert!(listed.lines().count() > levels.len(), "{listed}");
    let data = folder.path().join("prometheus-data");
    fs::create_dir(&data).expect("a folder");
    copy_blocks(&folder.path().join("data"), &data);
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

/// The first compaction takes over the segments of its windows; nothing else is in the new block's folder.
fn check_links(server: &Server, data: &Path) {
    let blocks = blocks(server);
    let second = blocks.iter().find(|block| block["compaction"]["level"] == 2).expect("a compacted block");
    let windows = second["compaction"]["sources"].as_array().expect("sources").len();
    let chunks = data.join(second["ulid"].as_str().expect("a name")).join("chunks");
    let names: BTreeSet<_> =
        fs::read_dir(chunks).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names, (1..=windows).map(|number| format!("{number:06}").into()).collect());
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
    let config = |retention: &str| {
        let text = format!("storage: {{tsdb: {{retention: {retention}}}}}\n");
        fs::write(folder.path().join("prometheus.yml"), text).expect("a configuration");
    };
    config("{}");
    let server = Server::start(folder.path(), &["--storage.tsdb.retention.time=8h", "--web.enable-lifecycle"]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 20 * HOUR;
    let model = write_hours(server.address, start, 0..20);
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
    idle(&server);
    let folders = fs::read_dir(folder.path().join("data")).expect("a folder");
    let names = folders.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    assert_eq!(names.filter(|name| name.len() >= 26).count(), blocks(&server).len(), "nothing is left of the others");

    // A reload takes over what the file says, and that goes before the flag.
    let text = || http::get(server.address, "/api/v1/status/runtimeinfo").json()["data"]["storageRetention"].clone();
    assert_eq!(text(), "8h");
    config("{time: 3h, size: 1TB}");
    assert_eq!(http::request(server.address, "POST", "/-/reload", &[], b"").code, 200);
    assert_eq!(text(), "3h or 1TB");
    eventually("the shorter retention", || {
        let ends: Vec<_> = blocks(&server).iter().map(|block| block["maxTime"].as_i64().expect("a time")).collect();
        (!ends.is_empty() && ends.iter().all(|end| cut - end < 3 * HOUR)).then_some(())
    });
    // What shards have counts too, and is more than this alone.
    config("{size: 1MB}");
    assert_eq!(http::request(server.address, "POST", "/-/reload", &[], b"").code, 200);
    eventually("the smaller size", || blocks(&server).is_empty().then_some(()));
    config("{percentage: 101}");
    assert_eq!(http::request(server.address, "POST", "/-/reload", &[], b"").code, 500);
    assert_eq!(text(), "8h or 1MB", "as before");
}
