//! What is deleted is shown no more: by the head, by blocks, after a crash, after compaction, in a snapshot that Prometheus reads.

use std::{fs, net::SocketAddr, path::Path};

use crate::harness::{
    days::{HOUR, MINUTE, Model, assert_equal, blocks, copy_blocks, read, settled, write_hours},
    http, now_ms,
    peer::{self, promtool},
    server::{Server, folder},
};

const ADMIN: &str = "--web.enable-admin-api";

/// What one request deletes: the selectors as they are sent, the names that they stand for, and the times if there are any.
struct Deleted {
    selectors: &'static [&'static str],
    names: &'static [&'static str],
    from: Option<i64>,
    to: Option<i64>,
}

impl Deleted {
    fn ask(&self, address: SocketAddr) {
        let time = |time: i64| format!("{}", time as f64 / 1000.0);
        let (from, to) = (self.from.map(time), self.to.map(time));
        let mut pairs: Vec<(&str, &str)> = self.selectors.iter().map(|selector| ("match[]", *selector)).collect();
        pairs.extend(from.iter().map(|from| ("start", from.as_str())));
        pairs.extend(to.iter().map(|to| ("end", to.as_str())));
        let answer = http::post_form(address, "/api/v1/admin/tsdb/delete_series", &pairs);
        assert_eq!(answer.code, 204, "{}", answer.text());
    }

    fn apply(&self, model: &mut Model) {
        let range = self.from.unwrap_or(i64::MIN)..=self.to.unwrap_or(i64::MAX);
        for name in self.names {
            if let Some(samples) = model.get_mut(*name) {
                samples.retain(|sample| !range.contains(&sample.0));
            }
        }
        model.retain(|_, samples| !samples.is_empty());
    }
}

fn deletions(start: i64) -> [Deleted; 5] {
    let hour = |hour: i64| Some(start + hour * HOUR);
    [
        Deleted { selectors: &["series_00"], names: &["series_00"], from: None, to: None },
        // From the middle of a block into the head.
        Deleted {
            selectors: &["series_04"],
            names: &["series_04"],
            from: hour(11),
            to: Some(start + 29 * HOUR + 30 * MINUTE),
        },
        Deleted {
            selectors: &["{__name__=~\"series_1[0-3]\", job=\"blocks\"}"],
            names: &["series_10", "series_11", "series_12", "series_13"],
            from: hour(2),
            to: hour(3),
        },
        Deleted {
            selectors: &["series_20", "{__name__=\"series_23\"}"],
            names: &["series_20", "series_23"],
            from: hour(25),
            to: None,
        },
        Deleted { selectors: &["series_08"], names: &["series_08"], from: None, to: Some(start + 20 * HOUR) },
    ]
}

fn add(model: &mut Model, more: Model) {
    for (name, samples) in more {
        model.entry(name).or_default().extend(samples);
    }
}

/// Goal: a deletion reaches head and blocks, as in a Prometheus that was sent the same, and stays through whatever comes after it.
#[test]
fn what_is_deleted_stays_away() {
    let (folder, beside) = (folder(), folder());
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let args = ["--tuning.file=tuning.toml", ADMIN];
    let server = Server::start(folder.path(), &args);
    let prometheus = peer::prometheus_with(beside.path(), "global: {}\n", &[ADMIN]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 36 * HOUR;
    let mut model = write_hours(server.address, start, 0..30);
    write_hours(prometheus.address, start, 0..30);
    settled(&server, start + 30 * HOUR - MINUTE);
    for deleted in deletions(start) {
        deleted.ask(server.address);
        deleted.ask(prometheus.address);
        deleted.apply(&mut model);
    }
    assert_equal(&read(server.address, end), &model, "after the deletions");
    assert_equal(&read(prometheus.address, end), &model, "a Prometheus after the same deletions");
    assert_eq!(named(server.address, "series_00"), 0, "a series without samples has no name");
    assert_eq!(named(server.address, "series_04"), 1);
    server.kill();
    let server = Server::start(folder.path(), &args);
    assert_equal(&read(server.address, end), &model, "after kill -9");

    // Those that were deleted as a whole come back with what is written from then on.
    add(&mut model, write_hours(server.address, start, 30..36));
    write_hours(prometheus.address, start, 30..36);
    settled(&server, end - MINUTE);
    assert_equal(&read(server.address, end), &model, "after more was written, cut and compacted");
    assert_equal(&read(prometheus.address, end), &model, "a Prometheus after more was written");
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    drop(prometheus);
    // Compaction may have left out all that was deleted so far: which windows are whole depends on the hour of the day. This one lives all the time.
    let late = Deleted {
        selectors: &["series_16"],
        names: &["series_16"],
        from: Some(start + 12 * HOUR),
        to: Some(start + 13 * HOUR),
    };
    late.ask(server.address);
    late.apply(&mut model);
    check_snapshot(&server, folder.path(), beside.path(), &model, end);
    clean(&server, &model, end);
    check_dump(folder.path(), start);
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &args);
    assert_equal(&read(server.address, end), &model, "after a stop");
    assert_eq!(tombstones(&server), 0);
}

/// How many series of a name there are.
fn named(address: SocketAddr, name: &str) -> usize {
    let answer = http::get(address, &format!("/api/v1/series?match[]={name}&start=0")).json();
    answer["data"].as_array().expect("series").len()
}

fn tombstones(server: &Server) -> u64 {
    blocks(server).iter().map(|block| block["stats"]["numTombstones"].as_u64().unwrap_or_default()).sum()
}

/// A Prometheus on a snapshot has everything, from blocks and head, without what was deleted.
fn check_snapshot(server: &Server, folder: &Path, beside: &Path, model: &Model, end: i64) {
    assert!(tombstones(server) > 0);
    let names: Vec<String> = ["", "?skip_head=true"].map(|query| snapshot(server.address, query)).into();
    let snapshots = folder.join("data/snapshots");
    let count = |name: &str| fs::read_dir(snapshots.join(name)).expect("a snapshot").count();
    assert_eq!(count(&names[1]), blocks(server).len(), "only the blocks");
    assert!(count(&names[0]) > count(&names[1]));
    let restored = beside.join("restored");
    fs::create_dir_all(restored.join("prometheus-data")).expect("a folder");
    copy_blocks(&snapshots.join(&names[0]), &restored.join("prometheus-data"));
    let prometheus = peer::prometheus(&restored, "global: {}\n");
    assert_equal(&read(prometheus.address, end), model, "Prometheus on the snapshot");
    for name in names {
        fs::remove_dir_all(snapshots.join(name)).expect("a snapshot is removed");
    }
    assert_equal(&read(server.address, end), model, "after the snapshots were removed");
}

fn snapshot(address: SocketAddr, query: &str) -> String {
    let path = format!("/api/v1/admin/tsdb/snapshot{query}");
    let answer = http::request(address, "POST", &path, &[], b"");
    assert_eq!(answer.code, 200, "{}", answer.text());
    answer.json()["data"]["name"].as_str().expect("a name").to_owned()
}

fn clean(server: &Server, model: &Model, end: i64) {
    let answer = http::request(server.address, "POST", "/api/v1/admin/tsdb/clean_tombstones", &[], b"");
    assert_eq!(answer.code, 204, "{}", answer.text());
    assert_eq!(tombstones(server), 0);
    assert_equal(&read(server.address, end), model, "after the tombstones were cleaned");
}

/// What was deleted is not in the files any more.
fn check_dump(folder: &Path, start: i64) {
    let copy = folder.join("copy");
    // promtool asks for a log, if only an empty one.
    fs::create_dir_all(copy.join("wal")).expect("a folder");
    copy_blocks(&folder.join("data"), &copy);
    for entry in fs::read_dir(&copy).expect("a folder").map(|entry| entry.expect("an entry")) {
        let tombstones = entry.path().join("tombstones");
        assert!(
            entry.file_name() == "wal" || fs::metadata(&tombstones).is_ok_and(|file| file.len() <= 9),
            "{}",
            tombstones.display()
        );
    }
    let dump = promtool(&["tsdb", "dump", "--match={__name__=~\"series_0[048]\"}", &copy.display().to_string()]);
    let times = |name: &str| -> Vec<i64> {
        let lines = dump.lines().filter(|line| line.contains(&format!("\"{name}\"")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    };
    assert_eq!(times("series_00").first(), Some(&(start + 30 * HOUR)));
    assert_eq!(times("series_08").first(), Some(&(start + 20 * HOUR + MINUTE)));
    let gap = start + 11 * HOUR..=start + 29 * HOUR + 30 * MINUTE;
    assert!(times("series_04").len() > 600 && !times("series_04").iter().any(|time| gap.contains(time)));
}

/// Without the flag nothing can be deleted.
#[test]
fn the_admin_api_has_to_be_switched_on() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let model = write_hours(server.address, end - 2 * HOUR, 0..1);
    for (path, query) in [("delete_series", "match[]=series_00"), ("clean_tombstones", ""), ("snapshot", "")] {
        let path = format!("/api/v1/admin/tsdb/{path}?{query}");
        let answer = http::request(server.address, "POST", &path, &[], b"");
        assert_eq!(answer.code, 500, "{}", answer.text());
        assert!(answer.text().contains("admin APIs disabled"), "{}", answer.text());
    }
    assert_equal(&read(server.address, end), &model, "nothing was deleted");
}
