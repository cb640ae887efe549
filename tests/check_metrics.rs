//! `millrace check metrics` beside promtool's command.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use crate::harness::{peer, server::millrace};

/// Pages with something to be said of them, and without.
const PAGES: [&str; 4] = [
    "# HELP ok_total Fine.\n# TYPE ok_total counter\nok_total 1\n# HELP ok_seconds Fine.\n# TYPE ok_seconds gauge\nok_seconds 1\nok_seconds{a=\"b\"} 1\n",
    "no_help 1\n# TYPE c counter\nc 1\n# TYPE g_total gauge\ng_total 1\n# TYPE g_bucket gauge\ng_bucket{le=\"1\",quantile=\"2\"} 1\n\
     # TYPE a_count gauge\na_count 1\n# TYPE a_sum counter\na_sum 1\n# TYPE my_gauge gauge\nmy_gauge 1\n# TYPE rule:x gauge\n\
     rule:x 1\n# TYPE camelCase gauge\ncamelCase{someLabel=\"x\"} 1\n# TYPE wait_ms gauge\nwait_ms 1\n\
     # TYPE run_milliseconds_x gauge\nrun_milliseconds_x 1\n# TYPE size_kibibytes gauge\nsize_kibibytes 1\n\
     # TYPE age_hours_d gauge\nage_hours_d 1\n",
    "# TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 1\nh_bucket{a=\"b\",le=\"+Inf\"} 1\nh_sum{a=\"b\"} 1\nh_count{a=\"b\"} 1\n\
     # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n# TYPE twice gauge\ntwice{a=\"b\"} 1\ntwice{a=\"b\"} 2\n",
    "not a page\n",
];

fn run(mut command: Command, page: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn pages_are_checked_as_promtool_checks_them() {
    let promtool = peer::programs().join("promtool");
    for page in PAGES {
        for extended in [&[][..], &["--extended"]] {
            let (mut ours, mut theirs) = (millrace(), Command::new(&promtool));
            ours.args(["check", "metrics"]).args(extended);
            theirs.args(["check", "metrics"]).args(extended);
            let (ours, theirs) = (run(ours, page), run(theirs, page));
            assert_eq!(ours.status.code(), theirs.status.code(), "{page}");
            let lines = |output: &[u8]| -> Vec<String> {
                let text = String::from_utf8_lossy(output);
                let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
                let lines = text.lines().map(words).filter(|line| !line.starts_with("millrace: "));
                lines.filter(|line| !line.is_empty() && !line.starts_with("error while linting")).collect()
            };
            assert_eq!(lines(&ours.stderr), lines(&theirs.stderr), "{page}");
            assert_eq!(lines(&ours.stdout), lines(&theirs.stdout), "{page}");
        }
    }
}
