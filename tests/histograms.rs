//! Native histograms: a real Prometheus scrapes them and sends them by both protocols; what is then in blocks reads as it does there.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, thread, time::Duration};

use crate::harness::{
    eventually, http,
    peer::{self, promtool},
    server::{Server, folder, run_to_end},
};

const ADMIN: &str = "--web.enable-admin-api";

/// Scrapes `source` each second and sends everything twice, by either protocol, told apart by a label.
fn config(source: SocketAddr, millrace: SocketAddr) -> String {
    let way = |via: &str, message: &str| {
        format!(
            "- url: http://{millrace}/api/v1/write\n  protobuf_message: {message}\n  send_native_histograms: true\n  \
             metadata_config: {{send: false}}\n  \
             write_relabel_configs: [{{target_label: via, replacement: \"{via}\"}}]\n"
        )
    };
    format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n- job_name: source\n  static_configs: [{{targets: [\"{source}\"]}}]\n\
         remote_write:\n{}{}",
        way("1", "prometheus.WriteRequest"),
        way("2", "io.prometheus.write.v2.Request")
    )
}

/// The folder of a new snapshot.
fn snapshot(address: SocketAddr, snapshots: &Path) -> std::path::PathBuf {
    let answer = http::request(address, "POST", "/api/v1/admin/tsdb/snapshot", &[], b"");
    assert_eq!(answer.code, 200, "{}", answer.text());
    let path = snapshots.join(answer.json()["data"]["name"].as_str().expect("a name"));
    // promtool wants one, and a snapshot has none.
    fs::create_dir_all(path.join("wal")).expect("a folder");
    path
}

/// The histograms of a folder's blocks: series, histogram, time. What promtool prints is among them; it leaves out the first two of each
/// series, as its loop over floats and the one over float histograms take one each to find out that it is none of theirs.
fn histograms(path: &Path) -> BTreeSet<String> {
    let path = path.to_str().expect("text");
    let ours = String::from_utf8(run_to_end(&["tsdb", "dump", path]).stdout).expect("text");
    let lines = |dump: &str| dump.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (theirs, mut ours) = (lines(&promtool(&["tsdb", "dump", path])), lines(&ours));
    let missing: Vec<_> = theirs.difference(&ours).take(3).collect();
    assert!(missing.is_empty(), "promtool dumps {missing:?}");
    ours.retain(|line| line.contains("} {count:"));
    ours
}

/// Goal: nothing of a histogram is lost or changed by the wire, the log, a crash, a cut.
#[test]
fn histograms_of_a_prometheus_come_back_as_it_has_them() {
    let (folder, source_folder, beside) = (folder(), folder(), folder());
    fs::write(folder.path().join("tuning.toml"), "version = 1\nshards = 2\nbackend = \"portable\"\n").expect("a file");
    let args = ["--tuning.file=tuning.toml", ADMIN];
    let server = Server::start(folder.path(), &args);
    let source = peer::prometheus(source_folder.path(), "global: {}\n");
    let config = config(source.address, server.address);
    let prometheus = peer::prometheus_with(beside.path(), &config, &[ADMIN, "--enable-feature=native-histograms"]);
    // Latencies of requests are what the source has histograms of; some come with new buckets.
    for round in 0..150 {
        let query = ["1", "up", "count({__name__=~\".%2B\"})"][round % 3];
        http::get(source.address, &format!("/api/v1/query?query={query}"));
        thread::sleep(Duration::from_millis(80));
    }
    let sent = histograms(&snapshot(prometheus.address, &beside.path().join("prometheus-data/snapshots")));
    assert!(sent.len() > 20, "{} histograms", sent.len());
    let via = |line: &String, via: &str| line.replacen('}', &format!(", via=\"{via}\"}}"), 1);
    let expected: BTreeSet<String> = sent.iter().flat_map(|line| [via(line, "1"), via(line, "2")]).collect();

    let snapshots = folder.path().join("data/snapshots");
    let kept = |server: &Server| {
        let path = snapshot(server.address, &snapshots);
        let histograms = histograms(&path);
        let verified = run_to_end(&["tsdb", "verify", path.to_str().expect("text")]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        fs::remove_dir_all(&path).expect("a snapshot is removed");
        histograms
    };
    eventually("all histograms", || expected.is_subset(&kept(&server)).then_some(()));
    drop(prometheus);
    let imported = beside.path().join("imported");
    fs::create_dir_all(imported.join("wal")).expect("a folder");
    let from = beside.path().join("prometheus-data");
    let import = run_to_end(&["tsdb", "import", from.to_str().expect("text"), imported.to_str().expect("text")]);
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    assert!(sent.is_subset(&histograms(&imported)), "the log of the Prometheus has them all");
    server.kill();
    let server = Server::start(folder.path(), &args);
    let after = kept(&server);
    let lost: Vec<_> = expected.difference(&after).take(3).collect();
    assert!(lost.is_empty(), "after kill -9: {lost:?}");
    assert!(server.complaints().is_empty(), "{:?}", server.complaints());
}
