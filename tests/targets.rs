//! What relabelling makes of targets, beside a real Prometheus with the same file.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::harness::{
    http, peer,
    server::{folder, run_to_end},
};

const JOBS: [&str; 5] = ["plain", "sharded", "rewritten", "timed", "equal"];
/// Nobody listens there, so that each scrape fails at once.
const CONFIG: &str = r#"
global: {scrape_interval: 30s}
scrape_configs:
  - job_name: plain
    params: {module: [tcp, udp], empty: []}
    static_configs:
      - targets: ['127.0.0.1:1', '127.0.0.2:1']
        labels: {env: prod, team: a}
      - targets: ['127.0.0.3:1']
    file_sd_configs: [{files: ['targets*.json', targets.yml]}]
    relabel_configs:
      - {source_labels: [__address__], regex: '127\.0\.0\.2.*', action: drop}
      - {source_labels: [env, team], separator: '/', target_label: owner}
      - {source_labels: [__meta_filepath], regex: '.*(json|yml)', target_label: kind}
      - {source_labels: [team], regex: a, target_label: team, replacement: ''}
  - job_name: sharded
    static_configs:
      - targets: ['127.0.0.1:1', '127.0.0.2:1', '127.0.0.3:1', '127.0.0.4:1', '127.0.0.5:1', '127.0.0.6:1', '127.0.0.7:1']
    relabel_configs:
      - {source_labels: [__address__], modulus: 3, target_label: __tmp_hash, action: hashmod}
      - {source_labels: [__tmp_hash], regex: '[01]', action: keep}
      - {source_labels: [__tmp_hash], target_label: shard}
  - job_name: rewritten
    scheme: https
    static_configs:
      - targets: ['127.0.0.9:9', 'Upper:1']
        labels: {__meta_zone_name: West, __meta_zone_code: '7', job: other, __param_target: x, instance: mine}
    relabel_configs:
      - {regex: __meta_zone_(.+), action: labelmap, replacement: zone_$1}
      - {source_labels: [zone_name], target_label: zone_name, action: lowercase}
      - {source_labels: [__address__], target_label: shouted, action: uppercase}
      - {source_labels: [__address__], regex: '(.*):.*', target_label: __address__, replacement: '127.0.0.1:2'}
      - {target_label: __metrics_path__, replacement: /other}
      - {regex: zone_code, action: labeldrop}
      - {source_labels: [zone_name, job], regex: '(w)(.*);(.*)', target_label: '${1}_$3', replacement: '$2'}
  - job_name: timed
    static_configs:
      - {targets: ['127.0.0.1:1'], labels: {__scrape_interval__: 1m, __scrape_timeout__: 20s}}
      - {targets: ['127.0.0.2:1'], labels: {__scrape_interval__: 5s}}
      - {targets: ['127.0.0.3:1'], labels: {__scrape_timeout__: 0s}}
      - {targets: ['127.0.0.4:1'], labels: {__scrape_interval__: often}}
      - {targets: ['127.0.0.5:1'], labels: {lose: me}}
    relabel_configs:
      - {source_labels: [lose], regex: me, target_label: __address__, replacement: ''}
  - job_name: equal
    static_configs:
      - {targets: ['127.0.0.1:1'], labels: {a: x, b: x}}
      - {targets: ['127.0.0.2:1'], labels: {a: x, b: y}}
      - {targets: ['127.0.0.3:1']}
    relabel_configs:
      - {source_labels: [a], target_label: b, action: keepequal}
      - {source_labels: [a], target_label: c, action: dropequal}
"#;

/// Job, labels before relabelling, and after it without those that are not stored; none of a target that was dropped.
type Seen = (String, Value, Option<Value>);

fn without_folder(discovered: &Value) -> Value {
    let mut labels = discovered.clone();
    if let Some(Value::String(path)) = labels.get_mut("__meta_filepath") {
        *path = path.rsplit('/').next().unwrap_or_default().to_owned();
    }
    labels
}

fn stored(labels: &Value) -> Value {
    let labels = labels.as_object().expect("labels");
    Value::Object(
        labels.iter().filter(|(name, _)| !name.starts_with("__")).map(|(n, v)| (n.clone(), v.clone())).collect(),
    )
}

fn of_prometheus(targets: &Value) -> Vec<Seen> {
    let list = |name: &str| targets["data"][name].as_array().expect("targets").clone();
    let active = list("activeTargets").into_iter().map(|target| {
        let pool = target["scrapePool"].as_str().expect("a job").to_owned();
        (pool, without_folder(&target["discoveredLabels"]), Some(target["labels"].clone()))
    });
    let dropped = list("droppedTargets").into_iter().map(|target| {
        let pool = target["scrapePool"].as_str().expect("a job").to_owned();
        (pool, without_folder(&target["discoveredLabels"]), None)
    });
    active.chain(dropped).collect()
}

fn of_millrace(config: &str) -> (Vec<Seen>, BTreeSet<String>) {
    let (mut seen, mut errors) = (Vec::new(), BTreeSet::new());
    for job in JOBS {
        let output = run_to_end(&["check", "service-discovery", config, job]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let targets: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        for target in targets {
            if let Some(error) = target["error"].as_str() {
                errors.insert(error.to_owned());
                continue;
            }
            let labels = stored(&target["labels"]);
            let labels = (labels != Value::Object(serde_json::Map::new())).then_some(labels);
            seen.push((job.to_owned(), without_folder(&target["discoveredLabels"]), labels));
        }
    }
    (seen, errors)
}

fn sorted(mut all: Vec<Seen>) -> Vec<Seen> {
    all.sort_by_key(|seen| format!("{seen:?}"));
    all
}

#[test]
fn targets_are_those_of_prometheus() {
    let folder = folder();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    file("targets1.json", r#"[{"targets": ["127.0.1.1:1"], "labels": {"env": "json", "__meta_x": "y"}}]"#);
    file("targets.yml", "- targets: ['127.0.1.2:1', '127.0.1.3:1']\n  labels: {team: b}\n");
    let prometheus = peer::prometheus(folder.path(), CONFIG);
    let config = folder.path().join("prometheus.yml");
    let (ours, errors) = of_millrace(config.to_str().expect("a plain path"));
    let ours = sorted(ours);
    let mut theirs = Vec::new();
    // It takes discovery over every five seconds.
    for _ in 0..300 {
        theirs = sorted(of_prometheus(&http::get(prometheus.address, "/api/v1/targets").json()));
        if theirs == ours {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(ours, theirs);
    assert!(ours.len() > 15 && ours.iter().any(|seen| seen.2.is_none()), "{} targets", ours.len());
    let expected = [
        "error parsing scrape interval: not a valid duration string: \"often\" (like 30s, 5m, 1h30m; units y w d h m s ms, each once, largest first)",
        "no address",
        "scrape timeout cannot be 0",
        "scrape timeout cannot be greater than scrape interval (\"10s\" > \"5s\")",
    ];
    assert_eq!(errors.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
