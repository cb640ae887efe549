//! Logs beside the data directory: written there, read from where they were, and elsewhere when a disk refuses.

use std::{fs, path::Path};

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    days::{MINUTE, assert_equal, read},
    http, now_ms,
    server::{Server, folder, millrace, run_to_end},
};

fn configure(folder: &Path, first: &str, second: Option<&str>) {
    let second = second.map_or(String::new(), |second| format!("second_wal_directory = \"{second}\"\n"));
    let text = format!("version = 1\nshards = 2\nbackend = \"portable\"\nwal_directory = \"{first}\"\n{second}");
    fs::write(folder.join("tuning.toml"), text).expect("a file");
}

fn run(folder: &Path) -> Server {
    Server::start(folder, &["--tuning.file=tuning.toml"])
}

fn segments(folder: &Path, directory: &str) -> usize {
    let shards = (0..2).map(|shard| folder.join(directory).join(format!("shard-00{shard}")));
    let files = shards.flat_map(|shard| fs::read_dir(shard).into_iter().flatten().flatten());
    files.filter(|file| !file.file_name().to_string_lossy().starts_with("spare-")).count()
}

fn write(server: &Server, start: i64, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        let names: Vec<String> = (0..20).map(|series| format!("series_{series:02}")).collect();
        let labels: Vec<_> = names.iter().map(|name| [("__name__", name.as_str()), ("job", "blocks")]).collect();
        let samples = [(start + minute * MINUTE, minute as f64)];
        let all: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
        assert_eq!(body::write(server.address, Protocol::V1, &all).code, 204);
    }
}

/// Goal: whichever directories a start names, what the others have is there; one that is missing is not taken for empty.
#[test]
fn logs_are_found_where_they_were() {
    let folder = folder();
    let folder = folder.path();
    let start = now_ms() - 60 * MINUTE;
    let end = now_ms();
    let server = run_without(folder);
    write(&server, start, 0..5);
    server.kill();
    configure(folder, "a", Some("b"));
    let server = run(folder);
    write(&server, start, 5..10);
    assert!(segments(folder, "a") > 0 && segments(folder, "b") == 0);
    server.kill();
    configure(folder, "c", None);
    let server = run(folder);
    write(&server, start, 10..15);
    let model = read(server.address, end);
    assert!(model.len() == 20 && model.values().all(|samples| samples.len() == 15));
    server.kill();
    let verified = run_to_end(&["tsdb", "verify", &folder.join("data").display().to_string()]);
    assert!(verified.status.success(), "{verified:?}");

    fs::rename(folder.join("a"), folder.join("unmounted")).expect("renamed");
    let refused = millrace()
        .args(["serve", "--tuning.file=tuning.toml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
        .current_dir(folder)
        .output()
        .expect("it ends");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("is its disk mounted?"), "{text}");
    fs::rename(folder.join("unmounted"), folder.join("a")).expect("renamed");
    // Another number of shards empties all of them.
    configure(folder, "c", None);
    let text = fs::read_to_string(folder.join("tuning.toml")).expect("a file").replace("shards = 2", "shards = 3");
    fs::write(folder.join("tuning.toml"), text).expect("a file");
    let server = run(folder);
    assert_equal(&read(server.address, end), &model, "with three shards");
    assert!(server.stop().success());
    let server = run(folder);
    assert_equal(&read(server.address, end), &model, "and again");
    let known = fs::read_to_string(folder.join("data/LOG-DIRECTORIES")).expect("a list");
    assert!(known.lines().count() == 1 && known.trim_end().ends_with("/c"), "{known}");
}

fn run_without(folder: &Path) -> Server {
    fs::write(folder.join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    run(folder)
}

/// Goal: a log directory that takes no segments any more costs no sender a request. Method: it is moved away below a running server, which finds out when its
/// segment is full.
#[test]
fn what_the_first_directory_refuses_goes_to_the_second() {
    let folder = folder();
    let folder = folder.path();
    configure(folder, "first", Some("second"));
    let text = fs::read_to_string(folder.join("tuning.toml")).expect("a file").replace("shards = 2", "shards = 1");
    fs::write(folder.join("tuning.toml"), text).expect("a file");
    let server = run(folder);
    write(&server, now_ms() - 60 * MINUTE, 0..5);
    fs::rename(folder.join("first"), folder.join("gone")).expect("renamed");
    let url = format!("http://{}/api/v1/write", server.address);
    let report = run_to_end(&[
        "load",
        "--url",
        &url,
        "--series",
        "20000",
        "--samples-per-series",
        "700",
        "--step",
        "1s",
        "--values",
        "gauge",
    ]);
    assert!(report.status.success(), "{report:?}");
    let page = http::get(server.address, "/metrics").text();
    let on_second =
        page.lines().filter(|line| line.starts_with("millrace_shard_log_on_second_directory{") && line.ends_with(" 1"));
    assert!(on_second.count() > 0, "{}", server.log());
    assert!(segments(folder, "second") > 0 && server.log().contains("the log goes on in another directory"));
}
