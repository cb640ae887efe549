//! Bounds on series: who makes too many hurts only itself, and everybody sees who it is.

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    http::{self, Answer},
    now_ms,
    server::{Server, folder},
};

/// Writes a sample of each of some series of a metric and a job, told apart by a request's id.
fn write(server: &Server, metric: &str, job: &str, ids: std::ops::Range<u32>) -> Answer {
    let samples = [(now_ms(), 1.0)];
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    let labels: Vec<_> = ids.iter().map(|id| [("__name__", metric), ("job", job), ("request_id", id)]).collect();
    let series: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
    body::write(server.address, Protocol::V2, &series)
}

fn count(server: &Server, selector: &str) -> u64 {
    let path =
        format!("/api/v1/query?query=count({})", selector.replace('"', "%22").replace('{', "%7B").replace('}', "%7D"));
    let answer = http::get(server.address, &path).json();
    answer["data"]["result"][0]["value"][1].as_str().map_or(0, |text| text.parse().expect("a number"))
}

#[test]
fn a_sender_that_adds_request_ids_hurts_only_itself() {
    let folder = folder();
    let limits = ["--limits.max-series-per-metric=300", "--limits.max-series-per-label=job=200"];
    let server = Server::start(folder.path(), &limits);
    let answer = write(&server, "requests", "api", 0..250);
    assert_eq!(answer.code, 400, "{}", answer.text());
    let text = answer.text();
    assert!(
        text.contains("200 samples stored; 50 refused") && text.contains("--limits.max-series-per-label"),
        "{text}"
    );
    assert!(text.contains("request_id=\"200\""), "{text}");
    let answer = write(&server, "requests", "other", 0..150);
    assert!(answer.text().contains("100 samples stored; 50 refused: its metric has"), "{}", answer.text());
    assert_eq!(write(&server, "other", "other", 0..50).code, 204, "another metric has room");
    assert_eq!(write(&server, "requests", "api", 0..200).code, 204, "what is there goes on");
    assert_eq!((count(&server, "requests"), count(&server, "{job=\"other\"}")), (300, 150));
    let metrics = http::get(server.address, "/metrics").text();
    assert!(metrics.contains("millrace_samples_rejected_total{reason=\"label_series_limit\"} 50"), "{metrics}");

    // What a restart brings back counts, and is not new.
    server.kill();
    let server = Server::start(folder.path(), &limits);
    assert_eq!(write(&server, "requests", "third", 0..1).code, 400);
    assert_eq!(write(&server, "third", "third", 0..7).code, 204);
    let status = http::get(server.address, "/api/v1/status/tsdb").json();
    let first = |list: &str| {
        let first = &status["data"][list][0];
        format!("{} {}", first["name"].as_str().expect("a name"), first["value"])
    };
    assert_eq!(first("seriesCountByMetricName"), "requests 300");
    assert_eq!(first("newSeriesCountByMetricName"), "third 7");
    assert_eq!(first("newSeriesCountByLabelValuePair"), "__name__=third 7");
    assert_eq!(first("newLabelValueCountByLabelName"), "__name__ 1");
    let page = http::get(server.address, "/cardinality").text();
    assert!(page.contains("<th>requests</th><td class=\"n\">300</td>"), "{page}");
}

#[test]
fn new_series_are_let_in_at_a_rate_and_dropped_in_silence_if_told_so() {
    let folder = folder();
    let limits = ["--limits.max-new-series-per-minute=100", "--limits.excess=drop"];
    let server = Server::start(folder.path(), &limits);
    // A minute may end in between.
    for _ in 0..3 {
        assert_eq!(write(&server, "requests", "api", 0..400).code, 204);
    }
    let found = count(&server, "requests");
    assert!((100..=200).contains(&found), "{found}");
    let metrics = http::get(server.address, "/metrics").text();
    let refused = "millrace_samples_rejected_total{reason=\"series_creation_rate\"} ";
    let dropped = metrics.lines().find_map(|line| line.strip_prefix(refused)).expect("a count");
    assert!(dropped.parse::<f64>().expect("a number") >= 600.0, "{dropped}");
}
