//! A start with another number of shards takes along what the directory has.

use std::fs;

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    days::{HOUR, MINUTE, Model, assert_equal, blocks, idle, read, write_hours},
    http, now_ms,
    server::{Server, folder, run_to_end},
};

fn numbered(shards: usize) -> String {
    format!("version = 1\nshards = {shards}\nbackend = \"portable\"\n")
}

fn write_late(server: &Server, times: std::ops::Range<i64>, start: i64) -> Vec<(i64, f64)> {
    let samples: Vec<_> = times.map(|minute| (start + minute * MINUTE, minute as f64)).collect();
    let labels = [("__name__", "behind"), ("job", "blocks")];
    let answer = body::write(server.address, Protocol::V1, &[Series { labels: &labels, samples: &samples }]);
    assert_eq!(answer.code, 204, "{}", answer.text());
    samples
}

/// Goal: nothing is lost or twice, whichever way the number goes, after a crash too; a sender that is hours behind is still heard, as it is without.
#[test]
fn another_number_of_shards_reads_the_same_data() {
    let folder = folder();
    let data = folder.path().join("data").display().to_string();
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 24 * HOUR;
    let run = |shards: usize| {
        fs::write(folder.path().join("tuning.toml"), numbered(shards)).expect("a file");
        let server = Server::start(folder.path(), &["--tuning.file=tuning.toml", "--web.enable-admin-api"]);
        assert!(server.log().contains(&format!("placement=\"{shards} shard")), "{}", server.log());
        server
    };
    let extend = |model: &mut Model, more: Model| {
        more.into_iter().for_each(|(name, samples)| model.entry(name).or_default().extend(samples));
    };
    let server = run(1);
    let mut model = write_hours(server.address, start, 0..17);
    let mut behind = write_late(&server, 16 * 60 + 10..16 * 60 + 30, start);
    let answer = http::post_form(server.address, "/api/v1/admin/tsdb/delete_series", &[("match[]", "series_04")]);
    assert_eq!(answer.code, 204, "{}", answer.text());
    model.remove("series_04");
    idle(&server);
    server.kill();

    for (shards, hours) in [(3, 17..20), (2, 20..24)] {
        let server = run(shards);
        model.insert("behind".to_owned(), behind.clone());
        assert_equal(&read(server.address, end), &model, &format!("{shards} shards"));
        assert!(blocks(&server).len() > 1);
        if shards == 3 {
            // What is repeated counts once; what is older than the newest of all is taken.
            write_late(&server, 16 * 60 + 10..16 * 60 + 30, start);
            behind.extend(write_late(&server, 16 * 60 + 30..17 * 60, start));
        }
        extend(&mut model, write_hours(server.address, start, hours));
        model.insert("behind".to_owned(), behind.clone());
        assert_equal(&read(server.address, end), &model, &format!("{shards} shards and more samples"));
        idle(&server);
        assert_equal(&read(server.address, end), &model, &format!("{shards} shards, compacted"));
        assert!(server.complaints().is_empty(), "{:?}", server.complaints());
        assert!(server.stop().success());
        let verified = run_to_end(&["tsdb", "verify", &data]);
        assert!(String::from_utf8_lossy(&verified.stdout).contains("; 0 damaged"), "{verified:?}");
    }
    // Without the file the directory's own number counts.
    let server = Server::start(folder.path(), &[]);
    assert!(server.log().contains("placement=\"2 shards"), "{}", server.log());
    assert_equal(&read(server.address, end), &model, "the number kept");
}
