//! The wiring of `millrace serve`: what starts, in which order, and what stops first.
//!
//! Start: flags, configuration, listeners (a port in use is found before any data is touched), then the data plane, whose
//! recovery shows on `/-/ready`. Stop: no new connections, open requests to their end, then the data plane, so that whatever
//! was accepted is answered and durable.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use runtime::placement::pin_current_thread;
use shard::{BackendInUse, DataPlane, Refusal, StartError, directory::DirectoryError, frames::FileError};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    api::{
        self, Inner, PushedMetrics, Shared,
        server::{self, ListenError},
    },
    calendar,
    config::{
        flags::{ServeCommand, ServeFlags},
        prometheus::{self, ConfigFileError, FileConfig},
        tuning::{self, Finding, Tuning, TuningError},
    },
    push_gateway::{self, PushGateway},
    query::{QueryService, storage::Storage},
    resharding,
    scrape::{Features, Scraper},
    service_manager::ServiceManager,
    telemetry::{logging, metrics::Metrics},
    version,
};

/// Stacks of the runtime's threads; the deepest tree of the PromQL parser fits several times over.
const STACK_BYTES: usize = 2 << 20;
/// Threads that idle this long end.
const IDLE_THREAD: Duration = Duration::from_secs(10);
/// Blocking threads beside those of queries and their helpers: reload, lists of labels.
const BLOCKING_THREADS_EXTRA: usize = 16;
const INGEST_FLAG: &str = "ingest.listen-address";
const PUSH_FLAG: &str = "push.listen-address";
/// Folder of pushed metrics in the data directory.
const PUSH_FOLDER: &str = "pushed";

/// What the outside may ask of a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Quit,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("--config.file: {0}")]
    Config(#[from] ConfigFileError),
    #[error(transparent)]
    Tuning(#[from] TuningError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("--storage.tsdb.path: {0}; give this user write permission there, or another folder")]
    NotWritable(FileError),
    #[error("--storage.tsdb.path: {0}; make room there, or name a folder on another disk")]
    NoRoom(FileError),
    #[error("start the data plane: {0}")]
    DataPlane(StartError),
    #[error("open the blocks: {0}")]
    Blocks(blocks::BlocksError),
    #[error("open the push gateway: {0}")]
    PushGateway(#[from] push_gateway::StoreError),
    #[error("end the shards as they were: {0}")]
    Stop(Refusal),
    #[error("start the threads of the control plane: {0}")]
    Runtime(io::Error),
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Directory(DirectoryError::File(error)) if error.is_disk_full() => Self::NoRoom(error),
            StartError::Directory(DirectoryError::File(error)) => Self::NotWritable(error),
            other => Self::DataPlane(other),
        }
    }
}

pub(crate) fn serve(command: ServeCommand) -> Result<(), ServeError> {
    use_small_pages();
    logging::start(command.flags.log_level, command.flags.log_format);
    tracing::info!(version = version::VERSION, revision = version::REVISION, "Millrace starts");
    warn_of_flags(&command);
    let config = prometheus::read(&command.flags.config_file, command.config_file_named)?;
    if let Some(config) = &config {
        warn_of_sections(&command.flags.config_file, config);
    }
    let tuning = tuning::load(&command.flags)?;
    for Finding { what, remedy } in &tuning.findings {
        tracing::warn!(remedy, "tuning: {what}");
    }
    let control = tuning.data_plane.placement.control.clone();
    let blocking_threads = command.flags.query_concurrency as usize + control.len() + BLOCKING_THREADS_EXTRA;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(tuning::control_threads(&tuning.data_plane.placement))
        .max_blocking_threads(blocking_threads)
        .thread_name("control")
        .thread_stack_size(STACK_BYTES)
        .thread_keep_alive(IDLE_THREAD)
        .on_thread_start(move || stay_on(&control))
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let served = runtime.block_on(run(command, config.unwrap_or_default(), tuning));
    // What is still running by now had its time; a query that hangs must not keep the process.
    runtime.shutdown_background();
    served
}

/// A shard that touches a huge page for the first time stands still until two megabytes are zeroed, which requests feel, and the
/// heads of the allocator's pages are spread so thinly that huge ones hold a third more memory. A kernel that refuses costs that.
fn use_small_pages() {
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
}

/// A CPU that is gone costs speed, not correctness.
fn stay_on(cpus: &[usize]) {
    if let Err(error) = pin_current_thread(cpus) {
        tracing::debug!(%error, "a thread of the control plane is not kept on its CPUs");
    }
}

fn warn_of_flags(command: &ServeCommand) {
    if !command.ignored.is_empty() {
        let open = command.ignored.iter().any(|name| name == "--web.config.file");
        let remark = if open { "; without --web.config.file the listeners have neither TLS nor passwords" } else { "" };
        tracing::warn!(flags = command.ignored.join(" "), "flags of Prometheus without effect in this release{remark}");
    }
    let features: Vec<_> = command.flags.features_without_effect().collect();
    if !features.is_empty() {
        tracing::warn!(features = features.join(","), "features of --enable-feature without effect in this release");
    }
}

pub(crate) fn warn_of_sections(path: &Path, config: &FileConfig) {
    if !config.without_effect.is_empty() {
        let (file, sections) = (path.display(), config.without_effect.join(" "));
        tracing::warn!(%file, sections, "sections of the configuration without effect in this release");
    }
}

async fn run(command: ServeCommand, config: FileConfig, tuning: Tuning) -> Result<(), ServeError> {
    let Tuning { mut data_plane, summary, .. } = tuning;
    data_plane.exemplars_max = config.storage.exemplars_max;
    data_plane.out_of_order_window_ms = config.out_of_order_window_ms();
    let mut signals = Signals::listen().map_err(ServeError::Runtime)?;
    let manager = ServiceManager::of_environment();
    let listeners = listen(&command.flags).await?;
    if let Some(address) = &command.flags.ingest_listen_address {
        data_plane.ingest_listen = Some(server::resolve(INGEST_FLAG, address)?);
    }
    let (orders, mut received) = mpsc::unbounded_channel();
    let query_log = config.open_query_log()?;
    let processors = data_plane.placement.control.len();
    let push_listener = match &command.flags.push_listen_address {
        Some(address) => Some(server::listen(PUSH_FLAG, address).await?),
        None => None,
    };
    let shared = shared(command, config, &listeners, (summary, processors), orders);
    shared.queries.log.set_file(query_log);
    let mut servers = Servers::new(shared.clone());
    for listener in listeners {
        servers.start(listener, api::router(&shared));
    }
    start_push_listener(&shared, &mut servers, push_listener);
    announce(&shared);
    if let Some(from) = resharding::other_number(&data_plane) {
        tokio::select! {
            resharded = resharding::reshard(&shared, &data_plane, from) => resharded?,
            () = manager.starting() => unreachable!("it has no end"),
            () = until_the_end(&shared, &mut signals, &mut received) => {
                tracing::info!("stopped while the data was given to another number of shards; the next start begins with that again");
                return Ok(());
            }
        }
    }
    let mut data_plane = resharding::start(data_plane).await?;
    servers.start_ingest(&data_plane).await?;
    let mut blocks = start_blocks(&shared, &data_plane)?;
    let storage = Storage::new(&data_plane, blocks.service().clone(), shared.flags.query_memory_bytes_max());
    storage.tidy_up();
    assert!(shared.storage.set(storage).is_ok(), "set once, here");
    tokio::select! {
        opened = open_all(&mut data_plane, &mut blocks) => opened?,
        () = manager.starting() => unreachable!("it has no end"),
        () = until_the_end(&shared, &mut signals, &mut received) => {
            tracing::info!("stopped while the data was being recovered");
            return Ok(());
        }
    }
    let _expiring = open_push_gateway(&shared).await?;
    start_scraping(&shared);
    announce_ready(&shared, &data_plane);
    manager.ready();
    let handle = data_plane.handle();
    tokio::select! {
        () = until_the_end(&shared, &mut signals, &mut received) => {}
        () = manager.watch(&handle) => unreachable!("it has no end"),
    }
    manager.stopping();
    tracing::info!("stopping");
    shared.stopping.store(true, Ordering::Relaxed);
    if let Some(scraper) = shared.scraper.get() {
        scraper.stop();
    }
    servers.stop().await;
    // Before the shards, which it asks for what a block needs. A job under way ends at its next step.
    drop(tokio::task::spawn_blocking(move || blocks.stop()).await);
    if let Err(error) = data_plane.shutdown().await {
        tracing::error!(%error, "the data plane did not stop cleanly");
    }
    tracing::info!("stopped");
    Ok(())
}

pub(crate) fn start_blocks(shared: &Shared, data_plane: &DataPlane) -> Result<blocks::service::Running, ServeError> {
    let directory = data_plane.directory();
    let config = blocks::service::Config {
        data: directory.path.clone(),
        key: directory.key,
        retention: shared.retention().0,
        look: blocks::service::LOOK,
        series_per_piece: blocks::service::SERIES_PER_PIECE,
    };
    blocks::service::start(config, data_plane.handle()).map_err(ServeError::Runtime)
}

pub(crate) async fn open_all(
    data_plane: &mut DataPlane,
    blocks: &mut blocks::service::Running,
) -> Result<(), ServeError> {
    blocks.opened().await.map_err(ServeError::Blocks)?;
    Ok(data_plane.opened().await?)
}

/// The listeners that are being served.
struct Servers {
    shared: Shared,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Servers {
    fn new(shared: Shared) -> Self {
        Self { shared, stop: watch::Sender::new(false), tasks: JoinSet::new() }
    }

    fn start(&mut self, listener: TcpListener, router: Router) {
        self.tasks.spawn(server::serve(listener, router, self.shared.clone(), self.stop.subscribe()));
    }

    /// The ingest address, where the shards don't serve it themselves.
    async fn start_ingest(&mut self, data_plane: &DataPlane) -> Result<(), ServeError> {
        let Some(mut address) = data_plane.ingest_address() else { return Ok(()) };
        if data_plane.leaves_ingest_to_caller() {
            let listener = server::listen(INGEST_FLAG, &address.to_string()).await?;
            address = listener.local_addr().unwrap_or(address);
            self.start(listener, api::ingest_router(&self.shared));
        }
        tracing::info!(%address, "listening for remote write only");
        assert!(self.shared.ingest_address.set(address).is_ok(), "set once, here");
        Ok(())
    }

    async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn listen(flags: &ServeFlags) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    for address in &flags.listen_addresses {
        listeners.push(server::listen("web.listen-address", address).await?);
    }
    Ok(listeners)
}

fn shared(
    command: ServeCommand,
    config: FileConfig,
    listeners: &[TcpListener],
    (placement, processors): (String, usize),
    orders: mpsc::UnboundedSender<Order>,
) -> Shared {
    let metrics = Arc::new(Metrics::default());
    metrics.config_loaded(Ok(calendar::now_ms()));
    Arc::new(Inner {
        route_prefix: route_prefix(&command.flags),
        addresses: listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
        ingest_address: OnceLock::new(),
        placement,
        started_at_ms: calendar::now_ms(),
        queries: QueryService::new(&command.flags, processors, metrics.clone()),
        metrics,
        flag_texts: command.texts,
        config_file_named: command.config_file_named,
        flags: command.flags,
        storage: OnceLock::new(),
        scraper: OnceLock::new(),
        push_gateway: OnceLock::new(),
        pushed_metrics: OnceLock::new(),
        config: Mutex::new(Arc::new(config)),
        stopping: AtomicBool::new(false),
        orders,
    })
}

/// Empty, or with a slash in front and none behind.
fn route_prefix(flags: &ServeFlags) -> String {
    let url_path = || {
        let after_scheme = flags.external_url.split_once("://").map_or(flags.external_url.as_str(), |(_, rest)| rest);
        after_scheme.split_once('/').map_or("", |(_, path)| path).to_owned()
    };
    let path = flags.route_prefix.clone().unwrap_or_else(url_path);
    match path.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

fn start_scraping(shared: &Shared) {
    let Some(storage) = shared.storage.get() else { return };
    let features = Features {
        native_histograms: shared.flags.has_feature("native-histograms"),
        start_times: shared.flags.has_feature("created-timestamp-zero-ingestion"),
    };
    shared.scraper.get_or_init(|| Scraper::new(storage, features));
    shared.apply_scraping();
}

fn start_push_listener(shared: &Shared, servers: &mut Servers, listener: Option<TcpListener>) {
    if let Some(listener) = listener {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, url = format!("http://{}/", reachable(address)), "listening for pushed metrics");
            scrape_pushed_metrics(shared, reachable(address).to_string(), "/metrics".to_owned());
        }
        servers.start(listener, api::push_gateway::router(shared));
    }
    if let (Some(prefix), Some(address)) = (&shared.flags.push_route_prefix, shared.addresses.first()) {
        let path = format!("{}{prefix}/metrics", shared.route_prefix);
        scrape_pushed_metrics(shared, reachable(*address).to_string(), path);
    }
}

fn scrape_pushed_metrics(shared: &Shared, address: String, path: String) {
    // With both, they show the same.
    let _set = shared.pushed_metrics.set(PushedMetrics { address, path });
}

/// Opens the push gateway, if there is to be one; what it returns lets groups go when their time is over.
async fn open_push_gateway(shared: &Shared) -> Result<JoinSet<()>, ServeError> {
    let mut expiring = JoinSet::new();
    if shared.pushed_metrics.get().is_none() {
        return Ok(expiring);
    }
    let flags = &shared.flags;
    let settings = push_gateway::Settings {
        folder: flags.storage_path.join(PUSH_FOLDER),
        is_unchecked: flags.push_unchecked,
        has_utf8_names: flags.push_utf8_names,
        time_to_live: Some(flags.push_time_to_live.get()).filter(|life| !life.is_zero()),
    };
    let opened = tokio::task::spawn_blocking(move || PushGateway::open(settings)).await;
    let gateway = opened.map_err(|error| ServeError::Runtime(io::Error::other(error)))??;
    expiring.spawn(gateway.clone().expire());
    assert!(shared.push_gateway.set(gateway).is_ok(), "set once, here");
    Ok(expiring)
}

fn announce(shared: &Shared) {
    for address in &shared.addresses {
        let url = format!("http://{}{}/", reachable(*address), shared.route_prefix);
        tracing::info!(%address, url, "listening");
    }
}

fn announce_ready(shared: &Shared, data_plane: &DataPlane) {
    let backend = data_plane.backend();
    if let BackendInUse::Portable { instead: Some(reason) } = backend {
        tracing::warn!(reason, "the portable backend serves instead of glommio, with the same promises");
    }
    let data = shared.flags.storage_path.display();
    tracing::info!(placement = shared.placement, backend = backend.name(), %data, "ready");
}

/// An address that a browser on this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        _ => address,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

async fn until_the_end(shared: &Shared, signals: &mut Signals, orders: &mut mpsc::UnboundedReceiver<Order>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            Some(Order::Quit) = orders.recv() => return,
            _ = signals.hang_up.recv() => {
                let shared = shared.clone();
                // What went wrong is in the log; the old configuration stays.
                drop(tokio::task::spawn_blocking(move || shared.reload().is_ok()));
            }
        }
    }
}
