//! Real peers: Prometheus, vmagent, node exporter, unpacked by `../shared/tools/peers target/peers`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use super::{eventually, free_port, http};

/// A peer as a child process. Ended by force when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The folder with the peers' programs.
pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/usr/bin")
}

/// The path of a peer's program.
fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    let command = "../shared/tools/peers target/peers";
    assert!(path.exists(), "{} is missing; run `{command}` in {}", path.display(), env!("CARGO_MANIFEST_DIR"));
    path
}

fn launch(name: &str, folder: &Path, args: &[String], address: SocketAddr) -> Peer {
    let file = fs::File::create(folder.join(format!("{name}.log"))).expect("a log file");
    let child = Command::new(program(name))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("the peer starts");
    Peer { child, address }
}

fn start(name: &str, folder: &Path, args: &[String], address: SocketAddr, health: &str) -> Peer {
    let mut peer = launch(name, folder, args, address);
    eventually(name, || {
        if let Some(status) = peer.child.try_wait().expect("a child") {
            let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            panic!("{name} ended with {status}: {log}");
        }
        http::try_request(address, "GET", health, &[], b"").ok().filter(|answer| answer.code == 200)
    });
    peer
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

pub(crate) fn node_exporter(folder: &Path) -> Peer {
    let address = loopback();
    start("prometheus-node-exporter", folder, &[format!("--web.listen-address={address}")], address, "/metrics")
}

/// A Pushgateway that keeps nothing on disk.
pub(crate) fn pushgateway(folder: &Path) -> Peer {
    let address = loopback();
    start("prometheus-pushgateway", folder, &[format!("--web.listen-address={address}")], address, "/-/ready")
}

/// A Prometheus with this configuration.
pub(crate) fn prometheus(folder: &Path, config: &str) -> Peer {
    prometheus_with(folder, config, &[])
}

pub(crate) fn prometheus_with(folder: &Path, config: &str, more: &[&str]) -> Peer {
    let address = loopback();
    start("prometheus", folder, &prometheus_args(folder, config, more, address), address, "/-/ready")
}

/// A Prometheus that may not be ready yet, and speaks nothing but TLS: `web` is its configuration of that.
pub(crate) fn prometheus_behind_tls(folder: &Path, web: &str) -> Peer {
    let address = loopback();
    fs::write(folder.join("web.yml"), web).expect("a configuration file");
    let args = prometheus_args(folder, "global: {}\n", &["--web.config.file=web.yml"], address);
    launch("prometheus", folder, &args, address)
}

fn prometheus_args(folder: &Path, config: &str, more: &[&str], address: SocketAddr) -> Vec<String> {
    fs::write(folder.join("prometheus.yml"), config).expect("a configuration file");
    let args = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=prometheus-data",
        "--web.enable-remote-write-receiver",
        "--web.console.templates=none",
        "--web.console.libraries=none",
    ];
    let listen = format!("--web.listen-address={address}");
    args.iter().chain(more).map(|&arg| arg.to_owned()).chain([listen]).collect()
}

/// A VictoriaMetrics that shows at once what it has been given.
pub(crate) fn victoria_metrics(folder: &Path) -> Peer {
    let address = loopback();
    let args = [
        "-storageDataPath=victoria-data".to_owned(),
        "-search.latencyOffset=0".to_owned(),
        format!("-httpListenAddr={address}"),
    ];
    start("victoria-metrics", folder, &args, address, "/health")
}

/// A vmagent that scrapes by this configuration and writes to `url`.
pub(crate) fn vmagent(folder: &Path, config: &str, url: &str) -> Peer {
    let address = loopback();
    fs::write(folder.join("vmagent.yml"), config).expect("a configuration file");
    let args = [
        "-promscrape.config=vmagent.yml".to_owned(),
        format!("-remoteWrite.url={url}"),
        "-remoteWrite.tmpDataPath=vmagent-data".to_owned(),
        "-remoteWrite.forcePromProto".to_owned(),
        format!("-httpListenAddr={address}"),
    ];
    start("vmagent", folder, &args, address, "/health")
}

/// Runs promtool to its end, however that is.
pub(crate) fn try_promtool(args: &[&str]) -> Output {
    Command::new(program("promtool")).args(args).output().expect("promtool runs")
}

/// Runs promtool to its end; returns what it prints.
pub(crate) fn promtool(args: &[&str]) -> String {
    let output = try_promtool(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
