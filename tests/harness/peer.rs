//! Real peers: Prometheus, vmagent, node exporter, unpacked by `../shared/tools/peers target/peers`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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

fn start(name: &str, folder: &Path, args: &[String], address: SocketAddr, health: &str) -> Peer {
    let log = folder.join(format!("{name}.log"));
    let file = fs::File::create(&log).expect("a log file");
    let child = Command::new(program(name))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("the peer starts");
    let mut peer = Peer { child, address };
    eventually(name, || {
        if let Some(status) = peer.child.try_wait().expect("a child") {
            panic!("{name} ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
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

/// A Prometheus with this configuration.
pub(crate) fn prometheus(folder: &Path, config: &str) -> Peer {
    prometheus_with(folder, config, &[])
}

pub(crate) fn prometheus_with(folder: &Path, config: &str, more: &[&str]) -> Peer {
    let address = loopback();
    fs::write(folder.join("prometheus.yml"), config).expect("a configuration file");
    let mut args = vec![
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=prometheus-data".to_owned(),
        "--web.enable-remote-write-receiver".to_owned(),
        "--web.console.templates=none".to_owned(),
        "--web.console.libraries=none".to_owned(),
        format!("--web.listen-address={address}"),
    ];
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    start("prometheus", folder, &args, address, "/-/ready")
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

/// Runs promtool to its end; returns what it prints.
pub(crate) fn promtool(args: &[&str]) -> String {
    let output = Command::new(program("promtool")).args(args).output().expect("promtool runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
