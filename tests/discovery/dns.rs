//! Discovery by DNS, beside a real name server.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{addresses, discovering, failures, found};
use crate::harness::{eventually, free_port, server::folder};

const ZONE: &str = "\
$ORIGIN example.test.
$TTL 1
@          SOA   ns1 admin 1 3600 600 86400 1
@          NS    ns1
@          NS    ns2.example.test.
ns1        A     127.0.0.1
ns2        A     127.0.0.1
web        A     192.0.2.1
web        A     192.0.2.2
web        AAAA  2001:db8::1
alias      CNAME web
_api._tcp  SRV   10 5 9100 node1
_api._tcp  SRV   20 5 9200 node2.example.test.
@          MX    10 mail
many       A     192.0.2.1
";

/// Ended by force when dropped.
struct NameServer {
    child: Child,
    port: u16,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/name-server/usr/sbin/nsd");
    assert!(program.exists(), "{} is missing; run script/name-server", program.display());
    program
}

fn name_server(folder: &Path, port: u16, zone: &str) -> NameServer {
    // An answer beyond what fits a datagram comes by TCP.
    let many: String = (0..200).map(|last| format!("many A 198.51.100.{last}\n")).collect();
    fs::write(folder.join("zone"), format!("{zone}{many}")).expect("a zone");
    let config = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  zonesdir: \"{0}\"\n  database: \"\"\n  pidfile: \"\"\n  \
         xfrdir: \"{0}\"\n  xfrdfile: \"\"\n  zonelistfile: \"{0}/zone.list\"\n  username: \"\"\n  server-count: 1\n\
         remote-control:\n  control-enable: no\nzone:\n  name: example.test\n  zonefile: zone\n",
        folder.display()
    );
    let file = folder.join("nsd.conf");
    fs::write(&file, config).expect("a configuration");
    let libraries = program().parent().and_then(Path::parent).expect("a folder").join("lib/x86_64-linux-gnu");
    let child = Command::new(program())
        .args(["-d", "-c"])
        .arg(&file)
        .env("LD_LIBRARY_PATH", libraries)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("nsd.log")).expect("a log"))
        .spawn()
        .expect("the name server starts");
    let server = NameServer { child, port };
    eventually("the name server", || answers(&server).then_some(()));
    server
}

/// Whether it says anything about a name.
fn answers(server: &NameServer) -> bool {
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x06\x00\x01";
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a timeout");
    let sent = socket.send_to(question, ("127.0.0.1", server.port));
    sent.is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

#[test]
fn names_lead_to_targets() {
    let folder = folder();
    let port = free_port();
    let name_server = name_server(folder.path(), port, ZONE);
    let job = |name: &str, keys: &str| {
        format!(
            "- job_name: {name}\n  dns_sd_configs: [{{name_servers: ['127.0.0.1:{port}'], refresh_interval: 1s, {keys}}}]\n"
        )
    };
    let jobs = [
        job("srv", "names: [_api._tcp.example.test, _api._tcp.nowhere.test]"),
        job("a", "names: [web.example.test], type: a, port: 80"),
        job("alias", "names: [alias.example.test], type: A, port: 80"),
        job("aaaa", "names: [web.example.test], type: AAAA, port: 80"),
        job("mx", "names: [example.test], type: MX, port: 25"),
        job("ns", "names: [example.test.], type: NS, port: 53"),
        job("many", "names: [many.example.test], type: A, port: 1"),
        job("none", "names: [other.example.test], type: A, port: 1"),
    ];
    let server = discovering(folder.path(), &jobs.concat());
    let address = server.address;
    let shown = |job: &str| -> Vec<String> {
        let text = |labels: &std::collections::BTreeMap<String, String>| {
            let pairs =
                labels.iter().map(|(name, value)| format!("{}={value}", name.trim_start_matches("__meta_dns_")));
            pairs.collect::<Vec<_>>().join(" ")
        };
        found(address, job).iter().map(text).collect()
    };
    let until = |job: &str, expected: &[&str]| {
        eventually(&format!("{job}: {expected:#?}"), || (shown(job) == expected).then_some(()));
    };
    until(
        "srv",
        &[
            "__address__=node1.example.test:9100 name=_api._tcp.example.test srv_record_port=9100 srv_record_target=node1.example.test.",
            "__address__=node2.example.test:9200 name=_api._tcp.example.test srv_record_port=9200 srv_record_target=node2.example.test.",
        ],
    );
    until("a", &["__address__=192.0.2.1:80 name=web.example.test", "__address__=192.0.2.2:80 name=web.example.test"]);
    until(
        "alias",
        &["__address__=192.0.2.1:80 name=alias.example.test", "__address__=192.0.2.2:80 name=alias.example.test"],
    );
    until("aaaa", &["__address__=[2001:db8::1]:80 name=web.example.test"]);
    until("mx", &["__address__=mail.example.test:25 mx_record_target=mail.example.test. name=example.test"]);
    until(
        "ns",
        &[
            "__address__=ns1.example.test:53 name=example.test. ns_record_target=ns1.example.test.",
            "__address__=ns2.example.test:53 name=example.test. ns_record_target=ns2.example.test.",
        ],
    );
    assert_eq!(addresses(address, "many").len(), 201);
    assert!(addresses(address, "none").is_empty());
    assert_eq!(failures(address, "none", "dns"), 0.0, "that there is no such name is an answer");
    drop(name_server);
    eventually("failures", || (failures(address, "a", "dns") >= 2.0).then_some(()));
    assert_eq!(addresses(address, "a").len(), 2, "what was found last stands");
    let _again = self::name_server(folder.path(), port, &ZONE.replace("192.0.2.2", "192.0.2.3"));
    let expected = ["192.0.2.1:80", "192.0.2.3:80"];
    eventually("another address", || (addresses(address, "a") == expected).then_some(()));
    assert!(server.stop().success());
}
