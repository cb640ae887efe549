//! As a service: what systemd is told, and what its checker says of the unit.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    PATIENCE,
    server::{folder, millrace},
};

const UNIT: &str = "systemd/millrace.service";

#[test]
fn the_manager_is_told_ready_alive_and_stopping() {
    let folder = folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut server = millrace()
        .args(["serve", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
        .current_dir(folder.path())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let next = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let first = next();
    assert!(first.starts_with("EXTEND_TIMEOUT_USEC="), "{first}");
    while next() != "READY=1" {}
    assert_eq!((next(), next()), ("WATCHDOG=1".to_owned(), "WATCHDOG=1".to_owned()));
    kill_process(Pid::from_child(&server), Signal::TERM).expect("our own child");
    while next() != "STOPPING=1" {}
    assert!(server.wait().expect("an end").success());
}

/// The unit with the binary under test in the place of the installed one.
fn unit(folder: &Path) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT)).expect("the unit");
    let path = folder.join("millrace.service");
    fs::write(&path, text.replace("/usr/local/bin/millrace", env!("CARGO_BIN_EXE_millrace"))).expect("a file");
    path.display().to_string()
}

/// `None` where there is no systemd.
fn systemd_analyze(args: &[&str]) -> Option<(bool, String)> {
    let output = match Command::new("systemd-analyze").args(args).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("left out: systemd-analyze does not run here: {error}");
            return None;
        }
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let folder = folder();
    let unit = unit(folder.path());
    if let Some((is_right, text)) = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no", &unit]) {
        assert!(is_right && !text.contains("millrace.service:"), "{text}");
    }
    // In tenths: a service without any protection has 96.
    if let Some((is_below, text)) = systemd_analyze(&["security", "--offline=true", "--threshold=20", &unit]) {
        assert!(is_below, "{text}");
    }
}
