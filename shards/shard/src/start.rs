//! Starting and stopping the data plane: directory, backend, a thread per shard, the ingest listener.

use std::{io, net::SocketAddr, path::PathBuf, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_channel::oneshot;
use runtime::{DurableWay, RunningThread, Runtime, ThreadConfig, glommio, measure, placement::Placement, portable};
use wire::remote_write::DecodeLimits;

use crate::{
    directory::{DataDirectory, DirectoryError},
    handle::{Handle, Mailbox, Refusal},
    ingest::{Answer, Excess, IngestCounters, Receiver},
    limits::{INGEST_BODIES_BYTES_MAX, INGEST_BODY_BYTES_MAX, INGEST_CONNECTIONS_MAX, INGEST_IDLE, INGEST_PATIENCE},
    local::LocalAppender,
    metadata::MetadataStore,
    names::{LogDirectories, ShardFolders},
    read::ChunkFiles,
    recovery::OpenError,
    shard::{Shard, ShardConfig},
    shared::Shared,
};

/// Which backend shards run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// What serves best as measured: the portable backend, as long as glommio can lose wake-ups
    /// (docs/decisions/2026-11-22-backend.md).
    #[default]
    Auto,
    /// io_uring; where it can't be had, the portable backend, said aloud.
    Glommio,
    Portable,
}

/// What the data plane is started with.
#[derive(Clone, Debug)]
pub struct Config {
    pub directory: PathBuf,
    pub placement: Placement,
    /// Where logs are written, if not in the data directory; `former` is found there.
    pub logs: LogDirectories,
    pub backend: Backend,
    /// Off unless set. Served by the shards themselves; on the portable backend by whoever owns the API port.
    pub ingest_listen: Option<SocketAddr>,
    /// Series of the whole process.
    pub series_max: u64,
    /// Series that the whole process creates within a minute; 0: any number.
    pub new_series_per_minute_max: u32,
    /// Exemplars that the whole process keeps.
    pub exemplars_max: u64,
    /// How far behind the newest sample one may be that is out of order; 0: none may.
    pub out_of_order_window_ms: i64,
    /// Whether what is beyond a bound on series is counted and not told to the sender.
    pub excess: Excess,
    pub decode_limits: DecodeLimits,
    pub shard: ShardConfig,
}

/// What each of some shards allows of a bound on series. They fall to shards by their identities, so a share is a binomial number: with four
/// standard deviations more than its mean nothing is refused below the bound, and what all together allow is that much above it.
fn share_of(series_max: u64, shards: usize) -> u64 {
    if shards == 1 {
        return series_max;
    }
    let mean = series_max as f64 / shards as f64;
    (mean + 4.0 * mean.sqrt()).ceil() as u64
}

/// The running data plane.
pub struct DataPlane {
    handle: Handle,
    directory: DataDirectory,
    backend: BackendInUse,
    durable: DurableWay,
    counters: Arc<IngestCounters>,
    metadata: Arc<MetadataStore>,
    decode_limits: DecodeLimits,
    excess: Excess,
    ingest_address: Option<SocketAddr>,
    opened: Vec<oneshot::Receiver<Result<(), OpenError>>>,
    listeners: Vec<Listener>,
    threads: Vec<RunningThread<()>>,
}

/// How to stop a shard's listener, and how to know that it has stopped.
struct Listener {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

/// The backend that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendInUse {
    Glommio,
    /// With the reason why not the one that was asked for, if it was another.
    Portable {
        instead: Option<String>,
    },
}

impl BackendInUse {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Glommio => "glommio (io_uring)",
            Self::Portable { .. } => "portable",
        }
    }
}

/// Why the data plane can't start. Each text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("start the thread of shard {shard}: {source}")]
    Thread { shard: usize, source: io::Error },
    #[error("--ingest.listen-address {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("shard {shard} ended while it was starting; the log says why")]
    ShardEnded { shard: usize },
}

/// What a shard's thread needs.
struct ShardStart {
    number: usize,
    folders: ShardFolders,
    shared: Arc<Shared>,
    config: ShardConfig,
    mailbox: Mailbox,
    opened: oneshot::Sender<Result<(), OpenError>>,
}

/// What a shard's thread needs to listen itself.
struct ListenerStart {
    listener: std::net::TcpListener,
    handle: Handle,
    receiver: Receiver,
    stop: oneshot::Receiver<()>,
    stopped: oneshot::Sender<()>,
}

impl DataPlane {
    /// Opens the directory and starts the shards' threads. They replay their logs meanwhile; [`Self::opened`] waits for that. Requests
    /// are let in by [`Shared::admit`], once it is known what blocks hold.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let shards = config.placement.shards.len().max(1);
        let directory = DataDirectory::open(&config.directory, shards, &config.logs)?;
        let backend = choose_backend(config.backend);
        let log_directory = directory.logs.first.as_ref().unwrap_or(&directory.path);
        let durable = measure::durable_ways(log_directory).map_or_else(
            |error| {
                // A full disk must not keep its owner from the data.
                tracing::warn!(%error, "could not measure which durable writes are faster; taking synchronous ones");
                DurableWay::SyncedWrite
            },
            |measured| measured.faster(),
        );
        let shared = Arc::new(Shared::new(directory.key, shards, config.series_max, config.new_series_per_minute_max));
        shared.set_exemplars_max(config.exemplars_max);
        shared.set_out_of_order_window(config.out_of_order_window_ms);
        shared.hold_back();
        let (handle, mailboxes) = Handle::connect(shared);
        let mut this = Self {
            handle,
            directory,
            backend,
            durable,
            counters: Arc::default(),
            metadata: Arc::default(),
            decode_limits: config.decode_limits,
            excess: config.excess,
            ingest_address: config.ingest_listen,
            opened: Vec::new(),
            listeners: Vec::new(),
            threads: Vec::new(),
        };
        let mut sockets = this.listen(shards)?;
        let mut shard_config = config.shard;
        for share in &mut shard_config.limits.shares {
            share.series_max = share_of(share.series_max, shards);
        }
        for (number, mailbox) in mailboxes.into_iter().enumerate() {
            let cpu = config.placement.shards.get(number).copied();
            this.start_shard(number, cpu, shard_config.clone(), mailbox, sockets.pop())?;
        }
        Ok(this)
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn backend(&self) -> &BackendInUse {
        &self.backend
    }

    /// How log writes are made durable, as start-up measured to be faster.
    pub fn durable_way(&self) -> DurableWay {
        self.durable
    }

    /// Where the shards listen; with port 0 asked for, the port that was taken.
    pub fn ingest_address(&self) -> Option<SocketAddr> {
        self.ingest_address
    }

    /// Whether somebody else has to serve the ingest address, as this backend has no listener.
    pub fn leaves_ingest_to_caller(&self) -> bool {
        self.backend != BackendInUse::Glommio
    }

    /// What senders say of their metrics.
    pub fn metadata(&self) -> &Arc<MetadataStore> {
        &self.metadata
    }

    pub fn ingest_counters(&self) -> &Arc<IngestCounters> {
        &self.counters
    }

    /// A receiver of remote write for another port, with the same rules and counters.
    pub fn receiver(&self) -> Receiver {
        let (counters, metadata) = (self.counters.clone(), self.metadata.clone());
        Receiver::new(self.directory.key, self.decode_limits, self.excess, counters, metadata)
    }

    /// The data directory, locked as long as this lives.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// Reads sealed chunks.
    pub fn chunk_files(&self) -> ChunkFiles {
        ChunkFiles::new(&self.directory.path, self.handle.shared().clone())
    }

    /// Waits until every shard has replayed its log, or the first that can't.
    pub async fn opened(&mut self) -> Result<(), StartError> {
        for (shard, opened) in std::mem::take(&mut self.opened).into_iter().enumerate() {
            opened.await.unwrap_or_else(|_| {
                tracing::error!(shard, "the shard's thread ended while it was starting");
                Ok(())
            })?;
            if !self.handle.shared().is_ready(shard) {
                return Err(StartError::ShardEnded { shard });
            }
        }
        Ok(())
    }

    /// Stops listening, lets requests under way finish, makes everything durable, ends the threads. The directory stays locked as long as what
    /// is returned lives.
    pub async fn shutdown(self) -> Result<DataDirectory, Refusal> {
        for Listener { stop, stopped } in self.listeners {
            // A listener that has ended already has nobody to stop.
            if stop.send(()).is_ok() {
                stopped.await.ok();
            }
        }
        let stopped = self.handle.shutdown().await;
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked while it stopped");
            }
        }
        stopped.map(|()| self.directory)
    }

    fn listen(&mut self, shards: usize) -> Result<Vec<std::net::TcpListener>, StartError> {
        let Some(address) = self.ingest_address.filter(|_| self.backend == BackendInUse::Glommio) else {
            return Ok(Vec::new());
        };
        let listen_error = |source| StartError::Listen { address, source };
        let sockets = glommio::http::listen(address, shards).map_err(listen_error)?;
        if let Some(socket) = sockets.first() {
            self.ingest_address = Some(socket.local_addr().map_err(listen_error)?);
        }
        Ok(sockets)
    }

    fn start_shard(
        &mut self,
        number: usize,
        cpu: Option<usize>,
        config: ShardConfig,
        mailbox: Mailbox,
        socket: Option<std::net::TcpListener>,
    ) -> Result<(), StartError> {
        let (opened, when_opened) = oneshot::channel();
        let start = ShardStart {
            number,
            folders: self.directory.folders(number),
            shared: self.handle.shared().clone(),
            config,
            mailbox,
            opened,
        };
        let thread_config = ThreadConfig { name: format!("shard-{number}"), cpu, durable: self.durable, nice: 0 };
        let thread = match self.backend {
            BackendInUse::Glommio => {
                let listener = socket.map(|socket| self.listener(socket));
                glommio::run(thread_config, move |runtime| run_listening(runtime, start, listener))
            }
            BackendInUse::Portable { .. } => portable::run(thread_config, move |runtime| run_shard(runtime, start)),
        };
        self.threads.push(thread.map_err(|source| StartError::Thread { shard: number, source })?);
        self.opened.push(when_opened);
        Ok(())
    }

    fn listener(&mut self, listener: std::net::TcpListener) -> ListenerStart {
        let ((stop, stop_asked), (stopped, when_stopped)) = (oneshot::channel(), oneshot::channel());
        self.listeners.push(Listener { stop, stopped: when_stopped });
        let (handle, receiver) = (self.handle.clone(), self.receiver());
        ListenerStart { listener, handle, receiver, stop: stop_asked, stopped }
    }
}

fn choose_backend(wanted: Backend) -> BackendInUse {
    match wanted {
        Backend::Auto | Backend::Portable => BackendInUse::Portable { instead: None },
        Backend::Glommio => match glommio::available() {
            Ok(()) => BackendInUse::Glommio,
            Err(reason) => BackendInUse::Portable { instead: Some(reason.to_string()) },
        },
    }
}

async fn open_shard<R: Runtime>(runtime: R, start: ShardStart) -> Option<(Shard<R>, Mailbox)> {
    let ShardStart { number, folders, shared, config, mailbox, opened } = start;
    match Shard::open(number, runtime, folders, shared, config).await {
        Ok((shard, _)) => {
            // Nobody waits any more if the start was given up.
            drop(opened.send(Ok(())));
            Some((shard, mailbox))
        }
        Err(error) => {
            drop(opened.send(Err(error)));
            None
        }
    }
}

async fn run_shard<R: Runtime>(runtime: R, start: ShardStart) {
    if let Some((shard, mailbox)) = open_shard(runtime, start).await {
        shard.serve(mailbox).await;
    }
}

async fn run_listening(runtime: glommio::GlommioRuntime, start: ShardStart, listener: Option<ListenerStart>) {
    let Some((shard, mailbox)) = open_shard(runtime.clone(), start).await else { return };
    if let Some(listener) = listener {
        runtime.spawn(serve_ingest(runtime.clone(), shard.clone(), listener));
    }
    shard.serve(mailbox).await;
}

async fn serve_ingest(runtime: glommio::GlommioRuntime, shard: Shard<glommio::GlommioRuntime>, start: ListenerStart) {
    let ListenerStart { listener, handle, receiver, stop, stopped } = start;
    let service = Rc::new((receiver, LocalAppender::new(shard, handle)));
    let limits = glommio::http::Limits {
        connections_max: INGEST_CONNECTIONS_MAX,
        header_timeout: INGEST_PATIENCE,
        idle_timeout: INGEST_IDLE,
        body_bytes_max: INGEST_BODY_BYTES_MAX,
        bodies_bytes_max: INGEST_BODIES_BYTES_MAX,
        stop_timeout: INGEST_PATIENCE,
    };
    let handler = move |request| {
        let service = service.clone();
        async move { answer(&service.0, &service.1, request).await }
    };
    let until = async {
        stop.await.ok();
    };
    glommio::http::serve(&runtime, listener, limits, Rc::default(), handler, until).await;
    stopped.send(()).ok();
}

async fn answer<R: Runtime>(
    receiver: &Receiver,
    appender: &LocalAppender<R>,
    request: glommio::http::Request,
) -> http::Response<Bytes> {
    let glommio::http::Request { parts, body, .. } = request;
    match (parts.method.as_str(), parts.uri.path()) {
        ("POST", "/api/v1/write") => {
            let header = |name| parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
            let (content_type, encoding) = (header(http::header::CONTENT_TYPE), header(http::header::CONTENT_ENCODING));
            receiver.receive(appender, content_type, encoding, &body).await.into_response()
        }
        ("GET" | "HEAD", "/-/healthy") => plain(200, "Millrace's ingest listener is healthy.\n"),
        ("GET" | "HEAD", "/-/ready") => plain(200, "Millrace's ingest listener is ready.\n"),
        (_, "/api/v1/write") => plain(405, "send remote write by POST\n"),
        _ => plain(404, "this port takes remote write at /api/v1/write; everything else is on the API port\n"),
    }
}

fn plain(status: u16, text: &'static str) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a literal status");
    response
}

impl Answer {
    /// The answer as HTTP.
    pub fn into_response(self) -> http::Response<Bytes> {
        let mut response = http::Response::builder().status(self.status);
        for (name, count) in self.written.into_iter().flat_map(|written| written.headers()) {
            response = response.header(name, count);
        }
        if let Some(seconds) = self.retry_after_seconds {
            response = response.header(http::header::RETRY_AFTER, seconds);
        }
        if !self.text.is_empty() {
            response = response.header(http::header::CONTENT_TYPE, "text/plain; charset=utf-8");
        }
        response.body(Bytes::from(self.text)).expect("names and values above are valid")
    }
}
