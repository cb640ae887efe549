//! Moving from Prometheus: what it has is imported, by its snapshot, its data directory as a kill left it, or text, and answers the same.

use std::{fs, path::Path, process::Output};

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    days::{HOUR, MINUTE, Model, assert_equal, idle, read, settled, write_hours},
    eventually, http, now_ms,
    peer::{self, Peer, promtool},
    server::{Server, folder, run_to_end},
};

fn import(from: &str, to: &str) -> Output {
    run_to_end(&["tsdb", "import", from, to])
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn dump(path: &str) -> String {
    text(&run_to_end(&["tsdb", "dump", path]))
}

fn delete(prometheus: &Peer, series: &str) {
    let answer = http::post_form(prometheus.address, "/api/v1/admin/tsdb/delete_series", &[("match[]", series)]);
    assert_eq!(answer.code, 204, "{}", answer.text());
}

/// Samples of one series that come hours late, newest first.
fn write_late(prometheus: &Peer, start: i64) {
    for hour in [17, 16, 3] {
        let samples: Vec<_> = (0..60).map(|minute| (start + hour * HOUR + minute * MINUTE, minute as f64)).collect();
        let labels = [("__name__", "late"), ("job", "blocks")];
        let answer = body::write(prometheus.address, Protocol::V1, &[Series { labels: &labels, samples: &samples }]);
        assert!(answer.code / 100 == 2, "{}", answer.text());
    }
}

/// Goal: nothing is lost that was in the logs alone. Method: a Prometheus with blocks, a checkpoint, samples out of order and deletions is killed;
/// what Millrace answers on its imported directory is what it answered.
#[test]
fn the_directory_of_a_killed_prometheus_is_imported_with_its_logs() {
    for compression in ["snappy", "zstd"] {
        let folder = folder();
        let config = "global: {}\nstorage: {tsdb: {out_of_order_time_window: 30h}}\n";
        let option = format!("--storage.tsdb.wal-compression-type={compression}");
        let end = now_ms().div_euclid(HOUR) * HOUR;
        let start = end - 24 * HOUR;
        let run = || peer::prometheus_with(folder.path(), config, &["--web.enable-admin-api", &option]);
        // Each start begins a segment, and it takes three to have a checkpoint made of some.
        for hours in [0..5, 5..9, 9..14] {
            write_hours(run().address, start, hours);
        }
        let prometheus = run();
        write_hours(prometheus.address, start, 14..18);
        let wal = folder.path().join("prometheus-data/wal");
        eventually("a checkpoint", || {
            let mut names =
                fs::read_dir(&wal).expect("a log").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.any(|name| name.starts_with("checkpoint.") && !name.ends_with(".tmp")).then_some(())
        });
        write_late(&prometheus, start);
        delete(&prometheus, "series_04");
        let model: Model = read(prometheus.address, end);
        assert!(model.len() > 30 && model["late"].len() == 180 && !model.contains_key("series_04"));
        let from = folder.path().join("prometheus-data").display().to_string();
        let data = folder.path().join("data").display().to_string();
        let refused = import(&from, &data);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("a Prometheus runs on"), "{refused:?}");
        drop(prometheus);
        let report = text(&import(&from, &data));
        assert!(report.contains("made of the write-ahead log"), "{report}");
        let again = text(&import(&from, &data));
        assert!(again.lines().all(|line| line.ends_with(": there already") || line.starts_with("left out")), "{again}");
        let verified = run_to_end(&["tsdb", "verify", &data]);
        assert!(text(&verified).contains("; 0 damaged"), "{verified:?}");
        // Its window for what comes late has no effect here, which a start complains of.
        fs::write(folder.path().join("prometheus.yml"), "global: {}\n").expect("a configuration");
        let server = Server::start(folder.path(), &[]);
        assert_equal(&read(server.address, end), &model, compression);
        idle(&server);
        assert_equal(&read(server.address, end), &model, "after overlaps were merged");
        assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    }
}

/// Goal: moving from Prometheus. Method: its snapshot, with a deletion and a head, is imported, answers the same, and is added to.
#[test]
fn what_a_prometheus_has_is_imported_and_added_to() {
    let folder = folder();
    let prometheus = peer::prometheus_with(folder.path(), "global: {}\n", &["--web.enable-admin-api"]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 24 * HOUR;
    let mut model = write_hours(prometheus.address, start, 0..18);
    delete(&prometheus, "series_04");
    model.remove("series_04");
    let snapshot = http::request(prometheus.address, "POST", "/api/v1/admin/tsdb/snapshot", &[], b"");
    let name = snapshot.json()["data"]["name"].as_str().expect("a name").to_owned();
    assert_equal(&read(prometheus.address, end), &model, "the Prometheus");
    drop(prometheus);
    let snapshot = folder.path().join("prometheus-data/snapshots").join(name).display().to_string();
    let data = folder.path().join("data").display().to_string();
    let report = text(&import(&snapshot, &data));
    assert!(report.lines().count() > 0 && report.lines().all(|line| line.ends_with(": imported")), "{report}");
    let again = text(&import(&snapshot, &data));
    assert!(again.lines().all(|line| line.ends_with(": there already")), "{again}");

    // In memory, where it can't be linked to.
    if let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") {
        let path = elsewhere.path().join("data").display().to_string();
        assert_eq!(text(&import(&snapshot, &path)), report, "copied");
        assert_eq!(dump(&path), dump(&snapshot));
    }

    let server = Server::start(folder.path(), &[]);
    assert_equal(&read(server.address, end), &model, "Millrace on what was imported");
    for (name, samples) in write_hours(server.address, start, 18..24) {
        model.entry(name).or_default().extend(samples);
    }
    settled(&server, end - MINUTE);
    assert_equal(&read(server.address, end), &model, "after more was written, cut and compacted");
    let refused = import(&snapshot, &data);
    assert!(!refused.status.success(), "a server runs there");
    assert!(server.stop().success());
}

/// Days of samples as text, with what is hard to write.
fn openmetrics(start: i64) -> String {
    let mut text = String::from("# HELP t_total Some \"text\".\n# TYPE t_total counter\n");
    for minute in 0..2_000 {
        let time = start + minute * MINUTE;
        let seconds = format!("{}.{:03}", time / 1000, time % 1000);
        let value = minute as f64 * 0.1;
        text.push_str(&format!("t_total{{path=\"a\\\"b\\\\c\\nd\",n=\"{}\"}} {value} {seconds}\n", minute % 3));
        if minute % 7 == 0 {
            text.push_str(&format!(
                "g NaN {seconds} # {{trace_id=\"x\"}} 1\ng:h{{}} -1e-9 {seconds}\ninf +Inf {seconds}\n"
            ));
        }
    }
    text + "# EOF\n"
}

fn blocks_by_promtool(file: &Path, folder: &Path) -> String {
    let path = folder.display().to_string();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", "-q", &file.display().to_string(), &path]);
    fs::create_dir_all(folder.join("wal")).expect("a folder");
    path
}

/// Goal: text in and out. Method: promtool makes blocks of the same text; both have the same samples, and both write the same text of them.
#[test]
fn openmetrics_text_becomes_blocks_and_blocks_text_as_with_promtool() {
    let folder = folder();
    let file = folder.path().join("text.om");
    fs::write(&file, openmetrics(now_ms() - 48 * HOUR)).expect("a file");
    let theirs = blocks_by_promtool(&file, &folder.path().join("theirs"));
    let data = folder.path().join("data").display().to_string();
    let from = file.display().to_string();
    let create = |from: &str| run_to_end(&["tsdb", "create-blocks-from", "openmetrics", from, &data]);
    let report = text(&create(&from));
    assert!(report.lines().count() > 15 && report.contains(": made of "), "{report}");
    assert!(text(&create(&from)).lines().all(|line| line.ends_with(": there already")));
    assert_eq!(dump(&data), dump(&theirs));
    let ours = text(&run_to_end(&["tsdb", "dump-openmetrics", &data]));
    assert_eq!(ours, promtool(&["tsdb", "dump-openmetrics", &theirs]));

    // And round again, with a name that promtool writes without its quotes.
    let utf8 = ours.replace("g:h{}", "{\"utf8 name\",\"a.b\"=\"x\"}");
    fs::write(&file, &utf8).expect("a file");
    let again = folder.path().join("again").display().to_string();
    text(&run_to_end(&["tsdb", "create-blocks-from", "openmetrics", "--label=replica=a", &from, &again]));
    let mut expected: Vec<String> = dump(&data).lines().map(str::to_owned).collect();
    expected.iter_mut().for_each(|line| {
        *line = line.replace("{__name__=\"g:h\"}", "{__name__=\"utf8 name\", \"a.b\"=\"x\"}").replacen(
            "} ",
            ", replica=\"a\"} ",
            1,
        );
    });
    let mut found: Vec<String> = dump(&again).lines().map(str::to_owned).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    // What has an error is refused whole.
    fs::write(&file, utf8.replace("# EOF", "g 1\n# EOF")).expect("a file");
    let none = folder.path().join("none");
    let refused = run_to_end(&["tsdb", "create-blocks-from", "openmetrics", &from, &none.display().to_string()]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("text.om: line ") && error.contains("no timestamp"), "{error}");
    assert!(!none.exists(), "nothing is written");

    let server = Server::start(folder.path(), &[]);
    let answer = http::get(server.address, "/api/v1/query?query=count_over_time(t_total%5B60h%5D)").json();
    let counts = answer["data"]["result"].as_array().expect("a vector");
    let count = |sample: &serde_json::Value| sample["value"][1].as_str().and_then(|text| text.parse::<u32>().ok());
    assert_eq!(counts.iter().filter_map(count).sum::<u32>(), 2_000);
}
