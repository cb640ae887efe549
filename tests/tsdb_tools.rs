//! `millrace tsdb` on blocks prints what promtool prints, and names damage.

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use crate::harness::{
    days::{HOUR, MINUTE, copy_blocks, settled, write_hours},
    http, now_ms,
    peer::promtool,
    server::{Server, folder, run_to_end},
};

fn tsdb(args: &[&str]) -> Output {
    let args: Vec<&str> = ["tsdb"].iter().chain(args).copied().collect();
    run_to_end(&args)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Blocks of a day, some compacted, one series deleted in part.
fn written(folder: &Path) {
    let server = Server::start(folder, &["--web.enable-admin-api"]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    let start = end - 24 * HOUR;
    write_hours(server.address, start, 0..24);
    settled(&server, end - MINUTE);
    let (from, to) = (format!("{}", start / 1000 + 9_000), format!("{}", start / 1000 + 20_000));
    let pairs = [("match[]", "series_04"), ("start", &*from), ("end", &*to)];
    let answer = http::post_form(server.address, "/api/v1/admin/tsdb/delete_series", &pairs);
    assert_eq!(answer.code, 204, "{}", answer.text());
    assert!(server.stop().success());
    let blocks = folder.join("blocks");
    // promtool asks for a log, if only an empty one.
    fs::create_dir_all(blocks.join("wal")).expect("a folder");
    copy_blocks(&folder.join("data"), &blocks);
}

#[test]
fn blocks_are_listed_dumped_and_analyzed_as_promtool_does() {
    let folder = folder();
    written(folder.path());
    let path = folder.path().join("blocks").display().to_string();
    for args in [&["list", &path][..], &["list", "-r", &path]] {
        let theirs = promtool(&[&["tsdb"], args].concat());
        assert!(theirs.lines().count() > 3, "{theirs}");
        assert_eq!(text(&tsdb(args)), theirs);
    }
    let time = (now_ms() - 12 * HOUR).to_string();
    for options in [
        &[][..],
        &["--match={__name__=~\"series_0.*\"}", "--match=series_17"],
        &["--min-time", &time],
        &["--max-time", &time],
    ] {
        let args = [&["dump"], options, &[&*path]].concat();
        let theirs = promtool(&[&["tsdb"], &args[..]].concat());
        assert!(theirs.lines().count() > 1_000, "{options:?}");
        let ours = text(&tsdb(&args));
        let first = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
        assert_eq!((first, ours.len()), (None, theirs.len()), "{options:?}");
    }
    let oldest = text(&tsdb(&["list", &path])).lines().nth(1).expect("a block")[..26].to_owned();
    for args in [
        &["analyze", "--limit=1000", &path][..],
        &["analyze", "--limit=1000", &path, &oldest],
        &["analyze", "--limit=1000", "--match={__name__=~\"series_.[02]\"}", &path],
    ] {
        // Of equal numbers promtool's order is by chance.
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let theirs = promtool(&[&["tsdb"], args].concat());
        assert!(theirs.contains("series_02"), "{theirs}");
        assert_eq!(lines(&text(&tsdb(args))), lines(&theirs), "{args:?}");
    }
}

#[test]
fn damage_in_a_block_is_named_and_the_rest_checked() {
    let folder = folder();
    written(folder.path());
    let data = folder.path().join("data").display().to_string();
    let sound = tsdb(&["verify", &data]);
    assert!(text(&sound).contains("samples checked; 0 damaged"), "{sound:?}");
    let copy = folder.path().join("blocks");
    let name = text(&tsdb(&["list", &copy.display().to_string()])).lines().nth(2).expect("a block")[..26].to_owned();
    let segment = copy.join(&name).join("chunks/000001");
    let mut bytes = fs::read(&segment).expect("a segment");
    // The first chunk's data: behind the header, its length and its encoding.
    bytes[14] ^= 1;
    fs::write(&segment, bytes).expect("a changed segment");
    let found = tsdb(&["verify", &copy.display().to_string()]);
    let report = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{report}");
    let damaged: Vec<_> = report.lines().filter(|line| line.starts_with("damaged")).collect();
    assert!(matches!(damaged[..], [line] if line.contains(&name) && line.contains("chunks/000001")), "{report}");
    assert!(report.contains("1 damaged"), "{report}");
    // What can be read is printed, and what is missing said at the end.
    let path = copy.display().to_string();
    let dump = tsdb(&["dump", &path]);
    let printed = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let (before, after) = (text(&tsdb(&["dump", &data])).lines().count(), printed(&dump).lines().count());
    assert!(after < before && after > before / 2, "{after} of {before} samples");
    assert_eq!(dump.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&dump.stderr);
    assert!(errors.contains(&name) && errors.contains("1 damaged places"), "{errors}");
    fs::write(copy.join(&name).join("meta.json"), "{").expect("a broken description");
    let list = tsdb(&["list", &path]);
    assert_eq!(list.status.code(), Some(1), "{list:?}");
    assert!(!printed(&list).contains(&name) && printed(&list).lines().count() > 1, "the others are listed");
}

/// Goal: a dump of a directory whose server is gone has what a snapshot of it had a moment before, and leaves the directory as it is.
#[test]
fn a_dump_has_what_no_block_has_yet() {
    let folder = folder();
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let data = folder.path().join("data");
    let path = data.display().to_string();
    let server = Server::start(folder.path(), &["--web.enable-admin-api", "--tuning.file=tuning.toml"]);
    let end = now_ms().div_euclid(HOUR) * HOUR;
    write_hours(server.address, end - 5 * HOUR, 0..5);
    settled(&server, end - MINUTE);
    let pairs = [("match[]", "series_04"), ("start", &*format!("{}", end / 1000 - 1800))];
    assert_eq!(http::post_form(server.address, "/api/v1/admin/tsdb/delete_series", &pairs).code, 204);
    let answer = http::request(server.address, "POST", "/api/v1/admin/tsdb/snapshot", &[], b"").json();
    let snapshot = data.join("snapshots").join(answer["data"]["name"].as_str().expect("a name"));
    let running = tsdb(&["dump", &path]);
    assert!(String::from_utf8_lossy(&running.stderr).contains("a server runs here"), "{running:?}");
    server.kill();
    let files = || {
        let list = |folder: &str| fs::read_dir(data.join(folder)).expect("a folder").count();
        ["", "shard-000/wal", "shard-001/chunks"].map(list)
    };
    let before = files();
    let expected = text(&tsdb(&["dump", &snapshot.display().to_string()]));
    let dumped = text(&tsdb(&["dump", &path]));
    assert!(text(&running).lines().count() < expected.lines().count(), "some are in no block");
    let first = dumped.lines().zip(expected.lines()).find(|(dumped, expected)| dumped != expected);
    assert_eq!((first, dumped.len()), (None, expected.len()));
    assert_eq!(files(), before);
}
