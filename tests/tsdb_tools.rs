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
