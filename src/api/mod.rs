//! The HTTP surface: Prometheus' API, health, metrics and the status page.
//!
//! Handlers translate and nothing more: parameters to requests of the layers below, their answers to bytes.

mod accept;
mod cors;
mod error;
mod federate;
pub(crate) mod lifecycle;
mod metrics_page;
mod origin;
mod params;
pub(crate) mod push_gateway;
pub(crate) mod server;
mod stream;
mod v1;
mod write;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use blocks::Retention;
use tokio::sync::mpsc;
use tower_http::compression::{CompressionLayer, Predicate as _, predicate::SizeAbove};

use crate::{
    app::Order,
    config::{
        flags::ServeFlags,
        prometheus::{self, ConfigFileError, FileConfig},
    },
    push_gateway::PushGateway,
    query::{QueryService, storage::Storage},
    scrape::Scraper,
    telemetry::metrics::Metrics,
    ui,
};

/// Answers below this are sent as they are: a packet is a packet.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// What every handler can see.
pub(crate) type Shared = Arc<Inner>;

pub(crate) struct Inner {
    pub(crate) flags: ServeFlags,
    pub(crate) flag_texts: BTreeMap<String, String>,
    pub(crate) config_file_named: bool,
    /// Path before all routes: empty, or with a slash in front and none behind.
    pub(crate) route_prefix: String,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Set once the ingest listener is open.
    pub(crate) ingest_address: OnceLock<SocketAddr>,
    /// Which cores and backend the shards have, in words.
    pub(crate) placement: String,
    pub(crate) started_at_ms: i64,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) queries: QueryService,
    /// Set once recovery is done.
    pub(crate) storage: OnceLock<Storage>,
    /// Set once recovery is done.
    pub(crate) scraper: OnceLock<Scraper>,
    /// Set once it is open, if there is to be one, and where its page is.
    pub(crate) push_gateway: OnceLock<Arc<PushGateway>>,
    pub(crate) pushed_metrics: OnceLock<PushedMetrics>,
    pub(crate) config: Mutex<Arc<FileConfig>>,
    pub(crate) stopping: AtomicBool,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
}

/// Where pushed metrics are scraped.
pub(crate) struct PushedMetrics {
    pub(crate) address: String,
    pub(crate) path: String,
}

impl Inner {
    pub(crate) fn config(&self) -> Arc<FileConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether recovery is done and no stop has begun.
    pub(crate) fn is_ready(&self) -> bool {
        self.storage.get().is_some_and(Storage::is_ready) && !self.is_stopping()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Reads the configuration again; on any error everything stays as it is.
    pub(crate) fn reload(&self) -> Result<(), ConfigFileError> {
        let config = prometheus::read(&self.flags.config_file, self.config_file_named).map(Option::unwrap_or_default);
        let result = config.and_then(|config| config.open_query_log().map(|log| (config, log)));
        self.metrics.config_loaded(result.as_ref().map(|_| crate::calendar::now_ms()).map_err(|_| ()));
        let (config, query_log) =
            result.inspect_err(|error| tracing::error!(%error, "reload of the configuration failed"))?;
        self.queries.log.set_file(query_log);
        crate::app::warn_of_sections(&self.flags.config_file, &config);
        if let Some(storage) = self.storage.get() {
            let shared = storage.handle().shared();
            shared.set_exemplars_max(config.storage.exemplars_max);
            shared.set_out_of_order_window(config.out_of_order_window_ms());
            storage.blocks().set_retention(self.retention_of(&config));
        }
        let config = Arc::new(config);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.apply_scraping();
        tracing::info!(file = %self.flags.config_file.display(), "configuration loaded");
        Ok(())
    }

    /// Scrapes what the configuration says, and what was pushed.
    pub(crate) fn apply_scraping(&self) {
        if let Some(scraper) = self.scraper.get() {
            scraper.apply(&self.scraped(), self.config_folder());
        }
    }

    /// The configuration with all that is scraped.
    pub(crate) fn scraped(&self) -> Arc<FileConfig> {
        let config = self.config();
        match self.pushed_metrics.get() {
            Some(PushedMetrics { address, path }) => {
                Arc::new(FileConfig::clone(&config).with_pushed_metrics(address, path))
            }
            None => config,
        }
    }

    /// Where paths in the configuration are seen from.
    pub(crate) fn config_folder(&self) -> &Path {
        self.flags.config_file.parent().unwrap_or(Path::new(""))
    }

    /// What blocks are kept by the flags and a configuration.
    fn retention_of(&self, config: &FileConfig) -> Retention {
        config.storage.tsdb.retention.or(self.flags.retention()).resolve(&self.flags.storage_path)
    }

    /// The same by the configuration in effect, and in words.
    pub(crate) fn retention(&self) -> (Retention, String) {
        let config = self.config();
        let resolved = self.retention_of(&config);
        (resolved, config.storage.tsdb.retention.or(self.flags.retention()).text(resolved))
    }

    pub(crate) fn order(&self, order: Order) {
        // Nobody listens only when the server is stopping already.
        if self.orders.send(order).is_err() {
            tracing::debug!("already stopping");
        }
    }

    fn storage(&self) -> Result<&Storage, error::ApiError> {
        self.storage.get().ok_or_else(|| error::ApiError::new(error::ErrorKind::Unavailable, "TSDB not ready"))
    }
}

pub(crate) fn router(shared: &Shared) -> Router {
    let routes = Router::new()
        .nest("/api/v1", v1::routes())
        .route("/api/v1/write", post(write::receive))
        .route("/metrics", get(metrics_page::show))
        .route("/federate", get(federate::federate))
        .route("/", get(ui::status_page))
        .route("/status", get(ui::status_page))
        .route("/cardinality", get(ui::cardinality::page))
        .route("/targets", get(ui::targets::page))
        .route("/service-discovery", get(ui::service_discovery::page))
        .route_layer(middleware::from_fn_with_state(shared.clone(), refuse_unless_ready))
        .route("/-/healthy", get(lifecycle::healthy))
        .route("/-/ready", get(lifecycle::ready))
        .route("/-/reload", post(lifecycle::reload).put(lifecycle::reload).fallback(lifecycle::post_only))
        .route("/-/quit", post(lifecycle::quit).put(lifecycle::quit).fallback(lifecycle::post_only))
        .route_layer(middleware::from_fn_with_state(shared.clone(), count));
    let routes = match &shared.flags.push_route_prefix {
        Some(prefix) => routes.nest(prefix, push_gateway::routes(shared)),
        None => routes,
    };
    let routes = routes.method_not_allowed_fallback(method_not_allowed);
    let routes = match shared.route_prefix.as_str() {
        "" => routes,
        prefix => {
            let home = format!("{prefix}/");
            // Nesting leaves the prefix with a slash behind it to us.
            let routes = Router::new().nest(prefix, routes).route(&home, get(ui::status_page));
            routes.route("/", get(async move || Redirect::to(&home)))
        }
    };
    let compression = CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN).and(NotAnError));
    routes
        .fallback(not_found)
        .layer(compression)
        .layer(middleware::from_fn(answer_options))
        .layer(middleware::from_fn_with_state(shared.clone(), cors::add_headers))
        .with_state(shared.clone())
}

/// What the ingest address serves where the shards can't: the same paths as theirs.
pub(crate) fn ingest_router(shared: &Shared) -> Router {
    Router::new()
        .route("/api/v1/write", post(write::receive))
        .route_layer(middleware::from_fn_with_state(shared.clone(), refuse_unless_ready))
        .route("/-/healthy", get(lifecycle::healthy))
        .route("/-/ready", get(lifecycle::ready))
        .route_layer(middleware::from_fn_with_state(shared.clone(), count))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(shared.clone())
}

/// Errors stay readable in a packet dump.
#[derive(Clone, Copy)]
struct NotAnError;

impl tower_http::compression::predicate::Predicate for NotAnError {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &axum::http::Response<B>) -> bool {
        response.status().is_success()
    }
}

pub(crate) fn plain(code: StatusCode, text: impl Into<Body>) -> Response {
    (code, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.into()).into_response()
}

async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn method_not_allowed() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// Browsers ask before they call; the answer has no body, whatever the path.
async fn answer_options(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    next.run(request).await
}

async fn refuse_unless_ready(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let is_metrics = request.uri().path().ends_with("/metrics");
    if is_metrics || shared.is_ready() {
        return next.run(request).await;
    }
    lifecycle::unavailable(&shared)
}

/// Counts requests by route and code, and keeps their time.
async fn count(State(shared): State<Shared>, route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    shared.metrics.count_request(route, response.status().as_u16(), start.elapsed());
    response
}

/// How long connections get to finish what they are doing when the server stops.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(10);
