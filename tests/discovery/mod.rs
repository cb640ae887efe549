//! Discovery, end to end: what each mechanism finds, beside the real thing where there is one.

mod consul;
mod dns;
mod docker;
mod ec2;
mod kubernetes;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use serde_json::Value;

use crate::harness::{http, server::Server};

/// A server whose jobs are discovered; nobody scrapes what is found more often than once an hour.
fn discovering(folder: &Path, jobs: &str) -> Server {
    discovering_with(folder, jobs, &[])
}

/// The same with variables of the environment.
fn discovering_with(folder: &Path, jobs: &str, variables: &[(&str, &str)]) -> Server {
    let file = folder.join("millrace.yml");
    fs::write(&file, format!("global: {{scrape_interval: 1h}}\nscrape_configs:\n{jobs}")).expect("a file");
    let args = [&format!("--config.file={}", file.display()), "--web.enable-lifecycle"];
    Server::start_with(folder, &args, variables)
}

/// Labels of a job's targets before relabelling, without those that the job itself gives them.
fn found(address: SocketAddr, job: &str) -> Vec<BTreeMap<String, String>> {
    let answer = http::get(address, &format!("/api/v1/targets?scrapePool={job}")).json();
    let targets = answer["data"]["activeTargets"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let labels = |target: &Value| -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> =
            serde_json::from_value(target["discoveredLabels"].clone()).expect("labels");
        labels.retain(|name, _| name == "__address__" || name.starts_with("__meta_"));
        labels
    };
    let mut all: Vec<_> = targets.iter().map(labels).collect();
    all.sort();
    all
}

fn addresses(address: SocketAddr, job: &str) -> Vec<String> {
    found(address, job).iter().map(|labels| labels["__address__"].clone()).collect()
}

/// How often a mechanism could not say anything.
fn failures(address: SocketAddr, job: &str, mechanism: &str) -> f64 {
    let metrics = http::get(address, "/metrics").text();
    let name = format!("prometheus_sd_refresh_failures_total{{config=\"{job}\",mechanism=\"{mechanism}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
}
