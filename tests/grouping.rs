//! Groups of many series beside a naive count, while series come and go: what is kept of their labels from query to query must follow.

use std::collections::BTreeMap;

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    http, now_ms,
    server::{Server, folder},
};

type LabelSet = Vec<(&'static str, String)>;

/// Some labels are missing here and there.
fn label_set(number: usize) -> LabelSet {
    let all = [
        ("__name__", "m".to_owned()),
        ("fixed", "one".to_owned()),
        ("instance", format!("i{}", number / 7)),
        ("job", format!("j{}", number % 3)),
        ("number", number.to_string()),
        ("zone", format!("z{}", number % 11)),
    ];
    let is_there =
        |name: &str| !(name == "zone" && number.is_multiple_of(5) || name == "job" && number.is_multiple_of(13));
    all.into_iter().filter(|(name, _)| is_there(name)).collect()
}

fn write(server: &Server, sets: &[LabelSet]) {
    let samples = [(now_ms(), 1.0)];
    let labels: Vec<Vec<(&str, &str)>> =
        sets.iter().map(|set| set.iter().map(|(name, value)| (*name, value.as_str())).collect()).collect();
    let series: Vec<_> = labels.iter().map(|labels| Series { labels, samples: &samples }).collect();
    let answer = body::write(server.address, Protocol::V1, &series);
    assert_eq!(answer.code / 100, 2, "{}", answer.text());
}

/// Sizes of groups by their labels, as the server counts them.
fn counted(server: &Server, query: &str) -> BTreeMap<String, u64> {
    let answer = http::post_form(server.address, "/api/v1/query", &[("query", query)]).json();
    let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone();
    let group = |one: &serde_json::Value| {
        let count = one["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a count");
        (one["metric"].to_string(), count)
    };
    let groups: BTreeMap<_, _> = result.iter().map(group).collect();
    assert_eq!(groups.len(), result.len(), "{query}: a group is there twice");
    groups
}

fn naive<'s>(sets: impl Iterator<Item = &'s LabelSet>, is_kept: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
    let mut groups = BTreeMap::new();
    for set in sets {
        let kept: BTreeMap<_, _> = set.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        *groups.entry(serde_json::json!(kept).to_string()).or_default() += 1;
    }
    groups
}

#[test]
fn groups_are_what_their_labels_say() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut sets: Vec<LabelSet> = Vec::new();
    for round in [0..700, 700..705, 705..3000] {
        sets.extend(round.clone().map(label_set));
        write(&server, &sets[round]);
        for by in [
            &["job"][..],
            &["zone"],
            &["instance"],
            &["fixed"],
            &["nowhere"],
            &["__name__"],
            &["fixed", "job"],
            &["job", "zone"],
        ] {
            let list = by.join(",");
            let expected = naive(sets.iter(), |name| by.contains(&name));
            assert_eq!(counted(&server, &format!("count by ({list}) (m)")), expected, "by {list}");
            let fixed = format!("count by ({list}) ({{fixed=\"one\",__name__=\"m\"}})");
            assert_eq!(counted(&server, &fixed), expected, "{fixed}");
            let of_job = |set: &&LabelSet| set.contains(&("job", "j1".to_owned()));
            let expected = naive(sets.iter().filter(of_job), |name| by.contains(&name));
            assert_eq!(
                counted(&server, &format!("count by ({list}) (m{{job=\"j1\"}})")),
                expected,
                "by {list} of a job"
            );
            let without = naive(sets.iter(), |name| name != "__name__" && !by.contains(&name));
            assert_eq!(counted(&server, &format!("count without ({list}) (m)")), without, "without {list}");
        }
    }
}
