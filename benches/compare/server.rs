//! The servers: how each is started, when it is ready, where it takes writes.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Prometheus,
    Victoriametrics,
    /// Millrace through its ingest port
    Millrace,
    /// Millrace through its API port
    MillraceApi,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Prometheus, Self::Victoriametrics, Self::Millrace, Self::MillraceApi];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::Victoriametrics => "VictoriaMetrics",
            Self::Millrace => "Millrace",
            Self::MillraceApi => "Millrace, API port",
        }
    }

    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Prometheus | Self::Victoriametrics)
    }

    pub(crate) fn speaks_v2(self) -> bool {
        self != Self::Victoriametrics
    }

    fn ready_path(self) -> &'static str {
        if self == Self::Victoriametrics { "/health" } else { "/-/ready" }
    }
}

/// Where programs and data are.
pub(crate) struct Programs {
    pub(crate) millrace: PathBuf,
    pub(crate) peers: PathBuf,
    pub(crate) data: PathBuf,
}

/// What can go wrong around a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("prepare {path}: {source}")]
    Prepare { path: String, source: io::Error },
    #[error("{name} has ended before it was ready; its log is {log}")]
    Ended { name: &'static str, log: String },
    #[error("{name} was not ready within {limit:?}; its log is {log}")]
    NotReady { name: &'static str, limit: Duration, log: String },
}

/// A server that runs, killed when it is dropped.
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    port: u16,
    ingest_port: u16,
    /// From start to the first answer that says it is ready.
    pub(crate) start_up: Duration,
}

const READY_WITHIN: Duration = Duration::from_secs(120);

impl Server {
    /// Starts with an empty data directory.
    pub(crate) fn start_empty(programs: &Programs, kind: Kind) -> Result<Self, ServerError> {
        let folder = folder(programs, kind);
        let prepare = |source| ServerError::Prepare { path: folder.display().to_string(), source };
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(prepare(error)),
            _ => {}
        }
        fs::create_dir_all(&folder).map_err(prepare)?;
        fs::write(folder.join("prometheus.yml"), "global: {}\n").map_err(prepare)?;
        Self::start(programs, kind)
    }

    /// Starts with the data that are there.
    pub(crate) fn start(programs: &Programs, kind: Kind) -> Result<Self, ServerError> {
        let folder = folder(programs, kind);
        let prepare = |source| ServerError::Prepare { path: folder.display().to_string(), source };
        let (port, ingest_port) = (free_port().map_err(prepare)?, free_port().map_err(prepare)?);
        let log = folder.join("log");
        let log_file = fs::File::options().create(true).append(true).open(&log).map_err(prepare)?;
        let mut command = command(programs, kind, port, ingest_port);
        let output = log_file.try_clone().map_err(prepare)?;
        command.stdin(Stdio::null()).stdout(output).stderr(log_file);
        let started = Instant::now();
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|source| ServerError::Start { program, source })?;
        let mut server = Self { kind, child, port, ingest_port, start_up: Duration::ZERO };
        server.wait_ready(started, log.display().to_string())?;
        server.start_up = started.elapsed();
        Ok(server)
    }

    fn wait_ready(&mut self, started: Instant, log: String) -> Result<(), ServerError> {
        let name = self.kind.name();
        while started.elapsed() < READY_WITHIN {
            if get(self.port, self.kind.ready_path()).is_ok_and(|head| head.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(ServerError::Ended { name, log });
            }
            thread::sleep(Duration::from_millis(2));
        }
        Err(ServerError::NotReady { name, limit: READY_WITHIN, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The whole answer to a GET, head included.
    pub(crate) fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn write_url(&self) -> String {
        let port = if self.kind == Kind::Millrace { self.ingest_port } else { self.port };
        format!("http://127.0.0.1:{port}/api/v1/write")
    }
}

impl Drop for Server {
    /// Kills without a chance to tidy up, as the rows about recovery want it, and waits until the process is gone.
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("{}: kill: {error}", self.kind.name());
        }
    }
}

fn folder(programs: &Programs, kind: Kind) -> PathBuf {
    programs.data.join(kind.name().to_lowercase().replace([',', ' '], "-"))
}

fn command(programs: &Programs, kind: Kind, port: u16, ingest_port: u16) -> Command {
    let folder = folder(programs, kind);
    let data = folder.join("data").display().to_string();
    let listen = format!("127.0.0.1:{port}");
    let (program, flags) = match kind {
        Kind::Prometheus => (
            programs.peers.join("prometheus"),
            vec![
                format!("--config.file={}", folder.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={listen}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest".to_owned(),
                "--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request".to_owned(),
            ],
        ),
        Kind::Victoriametrics => (
            programs.peers.join("victoria-metrics"),
            // It leaves out the newest data of a query by itself, and refuses more series than this.
            vec![
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr={listen}"),
                "-search.latencyOffset=0s".to_owned(),
                "-search.maxUniqueTimeseries=10000000".to_owned(),
            ],
        ),
        Kind::Millrace | Kind::MillraceApi => (
            programs.millrace.clone(),
            vec![
                "serve".to_owned(),
                format!("--config.file={}", folder.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={listen}"),
                format!("--ingest.listen-address=127.0.0.1:{ingest_port}"),
            ],
        ),
    };
    let mut command = Command::new(program);
    command.args(flags);
    command
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The beginning of the answer to a GET.
fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut head = String::new();
    stream.take(12).read_to_string(&mut head)?;
    Ok(head)
}
