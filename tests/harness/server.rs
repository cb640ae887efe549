//! `millrace serve` as a child process.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use tempfile::TempDir;

use super::{eventually, http};

/// A running server. Ended by force when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

/// The binary under test.
pub(crate) fn millrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace"))
}

/// Runs a command line that is expected to end by itself.
pub(crate) fn run_to_end(args: &[&str]) -> Output {
    millrace().args(args).stdin(Stdio::null()).output().expect("the binary starts")
}

impl Server {
    /// Starts on a port of its choice and waits until it is ready.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_with(folder, args, &[])
    }

    /// The same with variables of the environment.
    pub(crate) fn start_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut server = Self::launch_with(folder, args, variables);
        eventually("readiness", || {
            if let Some(status) = server.child.try_wait().expect("a child") {
                panic!("ended with {status}: {}", server.log());
            }
            http::try_request(server.address, "GET", "/-/ready", &[], b"").ok().filter(|answer| answer.code == 200)
        });
        server
    }

    /// Starts and waits until it listens.
    pub(crate) fn launch(folder: &Path, args: &[&str]) -> Self {
        Self::launch_with(folder, args, &[])
    }

    fn launch_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = folder.join("log");
        let file = fs::File::create(&log).expect("a log file");
        let mut child = millrace()
            .arg("serve")
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(args)
            .envs(variables.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let address = eventually("a line that says where it listens", || {
            if let Some(status) = child.try_wait().expect("a child") {
                panic!("ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            let log = fs::read_to_string(&log).unwrap_or_default();
            listening(&log, "msg=listening ").or_else(|| listening(&log, "\"msg\":\"listening\""))
        });
        Self { child, address, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log file")
    }

    /// Where the listener for remote write only is.
    pub(crate) fn ingest_address(&self) -> SocketAddr {
        eventually("the ingest listener", || listening(&self.log(), "remote write only"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes, and CPU time so far in clock ticks.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a running process");
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .expect("a name in parentheses")
            .1
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        (fields[21] * rustix::param::page_size() as u64, fields[11] + fields[12])
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our own child");
    }

    /// Asks for a clean stop and waits for it.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().expect("our own child"))
    }

    /// Lines of the log that are warnings or errors.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_complaint = |line: &&str| line.contains("level=WARN") || line.contains("level=ERROR");
        // Where io_uring can't be had the other backend serves, and says so; and tests ask for more shards than a machine may have cores.
        let is_expected = |line: &&str| line.contains("portable backend") || line.contains("\"tuning: ");
        self.log().lines().filter(is_complaint).filter(|line| !is_expected(line)).map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn listening(log: &str, mark: &str) -> Option<SocketAddr> {
    // A line may be read while it is being written; only a whole one counts.
    let line = log.split_inclusive('\n').find(|line| line.contains(mark) && line.ends_with('\n'))?;
    let rest = line.split_once("address=").or_else(|| line.split_once("\"address\":\""))?.1;
    rest.split([' ', '"', '\n']).next()?.parse().ok()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
