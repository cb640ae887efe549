//! The operator's guide does what it says: the shell commands of each page, in their order, in an empty folder.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{free_port, peer, server::folder};

/// The shell commands of a page.
fn commands(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().expect("a block"));
    blocks.collect::<Vec<_>>().join("\n")
}

fn follow(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/operations").join(name)).expect("a page");
    let mut script = commands(&page);
    assert!(script.contains("millrace "), "{name} has commands");
    for port in ["9090", "9091"] {
        script = script.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", free_port()));
    }
    // A mistake in a page must not leave a server behind.
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let folder = folder();
    let binaries = [Path::new(env!("CARGO_BIN_EXE_millrace")).parent().expect("a folder"), &peer::programs()];
    let known = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(binaries.into_iter().map(Path::to_owned).chain(env::split_paths(&known)));
    let output = Command::new("timeout")
        .args(["120", "bash", "-euxo", "pipefail", "-c", &script])
        .env("PATH", path.expect("a path"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name}: {}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn sizing() {
    follow("sizing.md");
}

#[test]
fn backup_and_restore() {
    follow("backup.md");
}

#[test]
fn a_full_disk() {
    follow("full-disk.md");
}

#[test]
fn damage() {
    follow("damage.md");
}

#[test]
fn too_many_series() {
    follow("cardinality.md");
}

#[test]
fn from_prometheus_and_back() {
    follow("prometheus.md");
}

#[test]
fn tuning() {
    follow("tuning.md");
}

#[test]
fn heavy_queries() {
    follow("queries.md");
}

#[test]
fn the_configuration_file() {
    follow("configuration.md");
}

#[test]
fn scraping() {
    follow("scraping.md");
}

#[test]
fn discovery() {
    follow("discovery.md");
}

#[test]
fn push_gateway() {
    follow("push-gateway.md");
}
