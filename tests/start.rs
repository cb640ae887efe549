//! Starting, stopping, and what the command line says.

use std::fs;

use crate::harness::{
    http,
    server::{Server, folder, run_to_end},
};

/// Ends at once with this exit code and one line on standard error that has all of `parts`.
fn check_refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = run_to_end(&[&["serve"], args].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("millrace: ")).collect();
    assert_eq!(lines.len(), 1, "{args:?}: {text}");
    for part in parts {
        assert!(lines[0].contains(part), "{args:?}: {part:?} is not in {}", lines[0]);
    }
}

#[test]
fn bad_flags_are_refused_with_the_nearest_name() {
    check_refused(&["--web.listen-adress=:1"], 2, &["--web.listen-adress", "--web.listen-address"]);
    check_refused(&["--storage.tsdb.retention.tiem=1d"], 2, &["--storage.tsdb.retention.time"]);
    check_refused(&["--query.timeout=soon"], 2, &["--query.timeout", "soon", "5m"]);
    check_refused(&["--query.max-concurrency=0"], 2, &["--query.max-concurrency"]);
    check_refused(&["--web.listen-address=nonsense"], 1, &["--web.listen-address=nonsense", "HOST:PORT"]);
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let folder = folder();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let listen = "--web.listen-address=127.0.0.1:0";
    let missing = format!("--config.file={}/none.yml", folder.path().display());
    check_refused(&[listen, &missing], 1, &["none.yml", "--config.file"]);
    let config = path("bad.yml", "global:\n  scrape_intervall: 1s\n");
    check_refused(&[listen, &format!("--config.file={config}")], 1, &["bad.yml:2:", "did you mean scrape_interval"]);
    let tuning = path("bad.toml", "version = 1\nshrads = 1\n");
    check_refused(&[listen, &format!("--tuning.file={tuning}")], 1, &["bad.toml:2", "did you mean shards"]);
}

#[test]
fn a_port_in_use_and_a_folder_in_use_are_named() {
    let (first, second) = (folder(), folder());
    let server = Server::start(first.path(), &[]);
    let listen = format!("--web.listen-address={}", server.address);
    let data = format!("--storage.tsdb.path={}", second.path().join("data").display());
    check_refused(&[&listen, &data], 1, &["--web.listen-address", "in use"]);
    let data = format!("--storage.tsdb.path={}", first.path().join("data").display());
    check_refused(
        &["--web.listen-address=127.0.0.1:0", &data],
        1,
        &["in use by another process", "--storage.tsdb.path"],
    );
}

#[test]
fn a_data_folder_without_permission_is_named() {
    let folder = folder();
    // A file where a folder is needed fails for every user, also for one who may write everywhere.
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let data = format!("--storage.tsdb.path={}/data", file.display());
    check_refused(&["--web.listen-address=127.0.0.1:0", &data], 1, &["file", "--storage.tsdb.path"]);
}

#[test]
fn prometheus_other_flags_make_one_warning() {
    let folder = folder();
    let args = ["--storage.remote.flush-deadline=30s", "--web.page-title", "x", "--agent", "--log.format=json"];
    let server = Server::start(folder.path(), &args);
    let warnings: Vec<_> =
        server.log().lines().filter(|line| line.contains("\"level\":\"WARN\"")).map(str::to_owned).collect();
    let flags: Vec<_> = warnings.iter().filter(|line| line.contains("flags of Prometheus")).collect();
    assert_eq!(flags.len(), 1, "{warnings:?}");
    assert!(flags[0].contains("--storage.remote.flush-deadline --web.page-title --agent"), "{flags:?}");
    let line: serde_json::Value = serde_json::from_str(flags[0]).expect("a line of JSON");
    assert_eq!(line["level"], "WARN");
}

#[test]
fn signals_stop_and_reload() {
    let folder = folder();
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "global: {evaluation_interval: 30s}\nrule_files: []\n").expect("a file");
    let server = Server::start(folder.path(), &["--config.file=prometheus.yml", "--web.enable-lifecycle"]);
    assert!(server.log().contains("sections=rule_files"), "{}", server.log());
    fs::write(&config, "global: {evaluation_interval: 45s}\n").expect("a file");
    server.signal(rustix::process::Signal::HUP);
    crate::harness::eventually("the new configuration", || {
        http::get(server.address, "/api/v1/status/config").text().contains("45s").then_some(())
    });
    fs::write(&config, "nonsense: 1\n").expect("a file");
    let reload = http::request(server.address, "POST", "/-/reload", &[], b"");
    assert_eq!(reload.code, 500);
    assert!(reload.text().contains("prometheus.yml:1:"), "{}", reload.text());
    let metrics = http::get(server.address, "/metrics").text();
    assert!(metrics.contains("\nprometheus_config_last_reload_successful 0\n"), "{metrics}");
    assert!(http::get(server.address, "/api/v1/status/config").text().contains("45s"), "the old one stays");
    assert!(server.stop().success());
}

#[test]
fn quit_by_http_needs_the_flag() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let refused = http::request(server.address, "POST", "/-/quit", &[], b"");
    assert_eq!((refused.code, refused.text().as_str()), (403, "Lifecycle API is not enabled."));
    assert_eq!(http::get(server.address, "/-/quit").code, 405);
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
    assert!(server.stop().success());
    let mut server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    assert_eq!(http::request(server.address, "PUT", "/-/quit", &[], b"").code, 200);
    assert!(server.wait().success());
}

/// Goal: an idle, empty server is nearly free. Method: resident memory, and CPU ticks over some seconds.
#[test]
fn an_idle_server_costs_next_to_nothing() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let (bytes, before) = server.usage();
    assert!(bytes < 80 << 20, "{bytes} bytes resident");
    std::thread::sleep(std::time::Duration::from_secs(5));
    let (_, after) = server.usage();
    // 500 ticks in five seconds are one core.
    assert!(after - before <= 5, "{} ticks in 5 s", after - before);
}
