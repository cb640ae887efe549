//! What was acknowledged is there after any end of the process.

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    http, now_ms,
    server::{Server, folder},
};

/// Writes until told otherwise, one sample to each of some series a request; returns how many samples of each were acknowledged.
fn write_rounds(server: &Server, start: i64, rounds: std::ops::Range<i64>) {
    let names: Vec<String> = (0..20).map(|number| format!("series_{number}")).collect();
    for round in rounds {
        let samples = [(start + round * 100, round as f64)];
        let labels: Vec<_> = names.iter().map(|name| [("__name__", name.as_str()), ("job", "restart")]).collect();
        let series: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
        let protocol = if round % 2 == 0 { Protocol::V1 } else { Protocol::V2 };
        let answer = body::write(server.address, protocol, &series);
        assert_eq!(answer.code, 204, "{}", answer.text());
    }
}

/// Every series has exactly the samples of rounds 0 to `rounds`, each once.
fn check_rounds(server: &Server, start: i64, rounds: i64) {
    let time = format!("{}", (start + rounds * 100) as f64 / 1000.0);
    let answer =
        http::post_form(server.address, "/api/v1/query", &[("query", "{job=\"restart\"}[1h]"), ("time", &time)]);
    assert_eq!(answer.code, 200, "{}", answer.text());
    let json = answer.json();
    let result = json["data"]["result"].as_array().expect("a matrix");
    assert_eq!(result.len(), 20);
    let expected: Vec<String> = (0..rounds).map(|round| round.to_string()).collect();
    for series in result {
        let values: Vec<_> = series["values"]
            .as_array()
            .expect("samples")
            .iter()
            .map(|sample| sample[1].as_str().unwrap_or_default())
            .collect();
        assert_eq!(values, expected, "{}", series["metric"]);
    }
}

#[test]
fn a_clean_stop_keeps_everything() {
    let folder = folder();
    let start = now_ms() - 60_000;
    let server = Server::start(folder.path(), &[]);
    write_rounds(&server, start, 0..50);
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &[]);
    check_rounds(&server, start, 50);
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
}

/// Goal: kill -9 right after an answer loses nothing and doubles nothing. Method: three lives, more chunks than one each.
#[test]
fn kill_9_keeps_everything_that_was_acknowledged() {
    let folder = folder();
    let start = now_ms() - 60_000;
    for life in 0..3 {
        let server = Server::start(folder.path(), &[]);
        check_life(&server, start, life);
        write_rounds(&server, start, life * 100..(life + 1) * 100);
        server.kill();
    }
    let server = Server::start(folder.path(), &[]);
    check_rounds(&server, start, 300);
}

fn check_life(server: &Server, start: i64, life: i64) {
    if life > 0 {
        check_rounds(server, start, life * 100);
    }
}

#[test]
fn two_shards_by_the_tuning_file_keep_their_number() {
    let folder = folder();
    let start = now_ms() - 60_000;
    let tuning = folder.path().join("tuning.toml");
    std::fs::write(&tuning, "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let server = Server::start(folder.path(), &["--tuning.file=tuning.toml"]);
    assert!(server.log().contains("placement=\"2 shards"), "{}", server.log());
    write_rounds(&server, start, 0..50);
    check_rounds(&server, start, 50);
    server.kill();
    // Without the file the directory's own number counts.
    let server = Server::start(folder.path(), &[]);
    assert!(server.log().contains("placement=\"2 shards"), "{}", server.log());
    check_rounds(&server, start, 50);
}
