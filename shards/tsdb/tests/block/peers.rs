//! Blocks between us and promtool, both ways. It is found as the end-to-end tests find their peers.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use model::{Labels, MatchOp, Matcher};
use tsdb::{
    block::{
        Tombstones,
        index::{IndexReader, SeriesEntry},
    },
    select::TimeRange,
};

use crate::folder::{self, Series, ULID};

/// Beginning of a two-hour window.
const START: i64 = 1_700_006_400_000;

fn promtool(args: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = root.join("target/peers/usr/bin/promtool");
    let command = "../shared/tools/peers target/peers";
    assert!(program.exists(), "{} is missing; run `{command}` in {}", program.display(), root.display());
    let output = Command::new(program).args(args).output().expect("promtool starts");
    let text = |bytes| String::from_utf8(bytes).expect("promtool prints UTF-8");
    let (out, complaints) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{complaints}");
    out
}

/// What promtool finds in a folder of blocks.
fn dump(folder: &Path, selectors: &[&str]) -> Series {
    // It takes a folder for a database only if there is a log in it.
    fs::create_dir_all(folder.join("wal")).expect("a folder");
    let selectors = selectors.iter().map(|selector| format!("--match={selector}"));
    let folder = folder.to_str().expect("a plain path");
    let args: Vec<String> = ["tsdb".to_owned(), "dump".to_owned()].into_iter().chain(selectors).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).chain([folder]).collect();
    let mut series = Series::new();
    for line in promtool(&args).lines() {
        let (labels, sample) = line.rsplit_once("} ").expect("labels and sample");
        let (value, time) = sample.split_once(' ').expect("value and time");
        let value: f64 = value.parse().expect("a value");
        let samples = series.entry(parse_labels(labels)).or_default();
        samples.push((time.parse().expect("a time"), value.to_bits()));
    }
    series
}

/// Labels as they are printed, without the closing brace; no value here holds a quote or a comma.
fn parse_labels(text: &str) -> Labels {
    let pairs = text.trim_start_matches('{').split(", ").filter(|pair| !pair.is_empty());
    Labels::from_pairs(pairs.map(|pair| {
        let (name, value) = pair.split_once('=').expect("name and value");
        (name, value.trim_matches('"'))
    }))
}

fn sample_series(instances: i64, samples: i64) -> Series {
    let mut series = Series::new();
    for instance in 0..instances {
        for (name, zone) in [("up", "a"), ("load1", "é-b"), ("requests_total", "")] {
            let host = format!("host-{instance:03}:9100");
            let labels = Labels::from_pairs([("__name__", name), ("instance", &host), ("job", "node"), ("zone", zone)]);
            let value = |at: i64| match name {
                "up" => 1.0,
                "load1" => ((at * 7 + instance) % 13) as f64 * 0.1,
                _ => (at * 1_000_003 + instance) as f64,
            };
            let time = |at: i64| START + at * 15_000 + instance;
            series.insert(labels, (0..samples).map(|at| (time(at), value(at).to_bits())).collect());
        }
    }
    series
}

/// The matchers of a selector, for both sides.
fn selectors() -> Vec<(&'static str, Vec<Matcher>)> {
    let matcher = |op, name, value| Matcher::new(op, name, value).expect("a sound pattern");
    vec![
        (r#"{__name__="up"}"#, vec![matcher(MatchOp::Equal, "__name__", "up")]),
        (r#"{job="node",zone=""}"#, vec![Matcher::equal("job", "node"), Matcher::equal("zone", "")]),
        (
            r#"{__name__=~"up|load1",instance!~"host-0[0-2].*"}"#,
            vec![
                matcher(MatchOp::Regex, "__name__", "up|load1"),
                matcher(MatchOp::NotRegex, "instance", "host-0[0-2].*"),
            ],
        ),
        (
            r#"{job="node",zone!="a",instance=~".*7:9100"}"#,
            vec![
                Matcher::equal("job", "node"),
                matcher(MatchOp::NotEqual, "zone", "a"),
                matcher(MatchOp::Regex, "instance", ".*7:9100"),
            ],
        ),
        (r#"{zone=~".+"}"#, vec![matcher(MatchOp::Regex, "zone", ".+")]),
        (r#"{job="other"}"#, vec![Matcher::equal("job", "other")]),
    ]
}

fn check_selectors(blocks: &Path, block: &Path) {
    let index = IndexReader::open(fs::read(block.join("index")).expect("an index")).expect("a sound index");
    let mut entry = SeriesEntry::default();
    for (selector, matchers) in selectors() {
        let references = index.select(&matchers).expect("sound postings");
        let found: Vec<Labels> = references
            .into_iter()
            .map(|reference| {
                index.series(reference, &mut entry).expect("a sound series");
                index.labels(&entry.labels).expect("sound labels")
            })
            .collect();
        let expected: Vec<Labels> = dump(blocks, &[selector]).into_keys().collect();
        assert_eq!(found, expected, "{selector}");
    }
}

/// Goal: promtool sees in our block the samples that were put in, by every way that leads to them.
#[test]
fn promtool_reads_our_block() {
    let blocks = tempfile::tempdir().expect("a folder");
    let block = blocks.path().join(ULID);
    let series = sample_series(40, 300);
    folder::write(&block, &series, 16 << 10, &[]);
    assert!(folder::segments(&block).len() > 3, "several segments");
    assert!(dump(blocks.path(), &[]) == series, "the same samples");
    assert!(folder::read(&block) == series, "and for us");
    check_selectors(blocks.path(), &block);
    let path = blocks.path().to_str().expect("a plain path");
    let list = promtool(&["tsdb", "list", path]);
    assert!(list.contains(ULID) && list.contains("36000"), "{list}");
    let analysis = promtool(&["tsdb", "analyze", path]);
    for expected in ["Total Series: 120\n", "Label names: 4\n", "Postings (unique label pairs): 46\n", "120 job=node\n"]
    {
        assert!(analysis.contains(expected), "{expected} in {analysis}");
    }
}

#[test]
fn promtool_leaves_out_what_our_tombstones_delete() {
    let blocks = tempfile::tempdir().expect("a folder");
    let block = blocks.path().join(ULID);
    let mut series = sample_series(3, 300);
    let deleted = TimeRange { min_time: START + 15_000, max_time: START + 150 * 15_000 };
    folder::write(&block, &series, 1 << 20, &[(4, deleted)]);
    let samples = series.values_mut().nth(4).expect("nine series");
    samples.retain(|sample| !(deleted.min_time..=deleted.max_time).contains(&sample.0));
    assert!((100..200).contains(&samples.len()), "{}", samples.len());
    assert!(dump(blocks.path(), &[]) == series && folder::read(&block) == series);
}

fn openmetrics(series: &Series) -> String {
    let mut text = String::new();
    let mut family = "";
    for (labels, samples) in series {
        let name = labels.metric_name().expect("a name");
        if name != family {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(text, "# TYPE {} {kind}", name.trim_end_matches("_total")).expect("a string takes everything");
            family = name;
        }
        for &(time, value) in samples {
            let labels: Vec<String> =
                labels.iter().skip(1).map(|label| format!("{}={:?}", label.name, label.value)).collect();
            let (labels, time, value) = (labels.join(","), time as f64 / 1000.0, f64::from_bits(value));
            writeln!(text, "{name}{{{labels}}} {value} {time:.3}").expect("a string takes everything");
        }
    }
    text + "# EOF\n"
}

/// Goal: what promtool wrote reads as what was put in, and written again it is the same files, byte for byte.
#[test]
fn we_read_promtools_blocks_and_write_the_same_bytes() {
    let blocks = tempfile::tempdir().expect("a folder");
    // Over two windows, so that there are two blocks.
    let series = sample_series(40, 600);
    let (input, output) = (blocks.path().join("input.txt"), blocks.path().join("blocks"));
    fs::write(&input, openmetrics(&series)).expect("a file");
    let path = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
    promtool(&["tsdb", "create-blocks-from", "openmetrics", "--quiet", &path(&input), &path(&output)]);
    let mut read = Series::new();
    let mut folders: Vec<_> =
        fs::read_dir(&output).expect("blocks").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert_eq!(folders.len(), 2);
    for block in &folders {
        for (labels, samples) in folder::read(block) {
            read.entry(labels).or_default().extend(samples);
        }
        let (index, segments) = (fs::read(block.join("index")).expect("an index"), folder::segments(block));
        assert!(folder::rewritten(&index, &segments) == (index, segments), "{}", block.display());
        let tombstones = fs::read(block.join("tombstones")).expect("tombstones");
        assert_eq!(Tombstones::decode(&tombstones).expect("sound tombstones").encode(), tombstones);
    }
    read.values_mut().for_each(|samples| samples.sort_unstable());
    assert!(read == series, "the same samples");
    check_selectors(&output, &folders[0]);
}
