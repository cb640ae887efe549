//! Scraping: targets are asked for their pages, and what these say becomes samples.
//!
//! Each target has a loop of its own ([`target_loop`]), each job a pool of them ([`pool`]), fed by what discovery finds. From a page to
//! samples it is one walk with the last page's lines beside it ([`page`]); a scrape is one batch, with the series that tell of it,
//! and it is durable before the next one begins.

mod appends;
mod batch;
mod batches;
mod failure_log;
mod format;
mod metadata;
mod metrics;
mod page;
mod pool;
mod report;
mod sample_labels;
mod schedule;
pub(crate) mod target;
mod target_loop;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use hyper::Uri;
use model::{IdentityKey, Labels};
use shard::metadata::MetadataStore;
use tokio::task::JoinHandle;

use crate::{
    config::prometheus::{FileConfig, scrape::ScrapeConfig},
    discovery::{self, Found},
    http_client::Client,
    query::storage::Storage,
    telemetry::exposition::{Exposition, Kind},
};
use appends::Appends;
use batches::Batches;
use failure_log::FailureLog;
use metrics::ScrapeMetrics;
use pool::Pool;

pub(crate) use metadata::Family;
pub(crate) use pool::PoolView;

/// Features of `--enable-feature` that scraping has a part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Native histograms are scraped where a configuration does not say.
    pub(crate) native_histograms: bool,
    /// Counters are said to have been 0 when they began to count.
    pub(crate) start_times: bool,
}

impl Features {
    fn scrapes_native_histograms(self, job: &ScrapeConfig) -> bool {
        job.native_histograms.scrape.unwrap_or(self.native_histograms)
    }
}

/// What all loops have in common.
struct Scraping {
    features: Features,
    appends: Arc<Appends>,
    key: IdentityKey,
    metadata: Arc<MetadataStore>,
    families: metadata::Families,
    batches: Batches,
    metrics: Arc<ScrapeMetrics>,
    /// Sets this server's places in the interval apart from those of others with the same targets.
    seed: AtomicU64,
    /// Of all jobs.
    targets: AtomicUsize,
}

impl Scraping {
    fn parts(&self) -> u64 {
        schedule::parts(self.targets.load(Ordering::Relaxed))
    }
}

/// A job as its loops see it.
struct Job {
    config: Arc<ScrapeConfig>,
    client: Arc<Client>,
    /// How many targets there are, if these are more than `target_limit`: then none is scraped.
    targets_above_limit: Option<usize>,
    failure_log: Option<Arc<FailureLog>>,
}

impl Job {
    fn log_failure(&self, target: &Uri, error: &dyn std::error::Error) {
        if let Some(log) = &self.failure_log {
            log.write(&self.config.job_name, &target.to_string(), &error.to_string());
        }
    }
}

/// Scrapes what a configuration says.
pub(crate) struct Scraper {
    scraping: Arc<Scraping>,
    jobs: Mutex<BTreeMap<String, Running>>,
    sending: JoinHandle<()>,
}

/// A job at work.
struct Running {
    config: Arc<ScrapeConfig>,
    folder: PathBuf,
    pool: Arc<Mutex<Pool>>,
    discovery: discovery::Running,
    /// Hands the pool what discovery finds.
    feeding: JoinHandle<()>,
}

impl Scraper {
    pub(crate) fn new(storage: &Storage, features: Features) -> Self {
        let appends = Appends::new(storage.handle().clone());
        let sending = appends.start();
        let scraping = Scraping {
            features,
            key: *storage.handle().identity_key(),
            appends,
            metadata: storage.metadata_store(),
            families: metadata::Families::default(),
            batches: Batches::default(),
            metrics: Arc::default(),
            seed: AtomicU64::new(0),
            targets: AtomicUsize::new(0),
        };
        Self { scraping: Arc::new(scraping), jobs: Mutex::default(), sending }
    }

    /// Does from now on what a configuration says, whose file is in a folder. What it says as before goes on undisturbed.
    pub(crate) fn apply(&self, config: &FileConfig, folder: &Path) {
        self.scraping.seed.store(seed(&config.global.external_labels), Ordering::Relaxed);
        let mut jobs = self.jobs();
        let mut before = std::mem::take(&mut *jobs);
        for job in &config.scrape_configs {
            let running = match before.remove(&job.job_name) {
                Some(running) => running.change(job, folder),
                None => Running::start(&self.scraping, job, folder),
            };
            jobs.insert(job.job_name.clone(), running);
        }
        before.into_values().for_each(Running::end);
    }

    /// Stops at once, without a word about series that are still there: the next start goes on with them. What was scraped is stored.
    pub(crate) fn stop(&self) {
        for running in std::mem::take(&mut *self.jobs()).into_values() {
            running.feeding.abort();
            lock(&running.pool).stop();
        }
        self.sending.abort();
        self.scraping.appends.send();
    }

    /// The pools in order of their names, with their targets in order of their URLs.
    pub(crate) fn pools(&self) -> Vec<PoolView> {
        let mut pools = self.views();
        for pool in &mut pools {
            pool.targets.sort_by_cached_key(|target| (target.url.to_string(), target.public.to_string()));
        }
        pools
    }

    fn views(&self) -> Vec<PoolView> {
        self.jobs().values().map(|running| lock(&running.pool).view()).collect()
    }

    pub(crate) fn write_metrics(&self, page: &mut Exposition) {
        self.scraping.metrics.write(page, &self.views());
        let name = "prometheus_sd_refresh_failures_total";
        page.family(name, Kind::Counter, "Number of refresh failures for the given SD mechanism.");
        for (job, running) in &*self.jobs() {
            for (mechanism, count) in running.discovery.failures() {
                page.sample(name, &[("config", job), ("mechanism", mechanism)], count as f64);
            }
        }
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        lock(&self.jobs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Servers with the same targets, as two of a pair, ask at different times.
fn seed(external_labels: &Labels) -> u64 {
    let host = rustix::system::uname();
    schedule::stable_hash([host.nodename().to_bytes(), external_labels.to_string().as_bytes()])
}

impl Running {
    fn start(scraping: &Arc<Scraping>, config: &ScrapeConfig, folder: &Path) -> Self {
        let config = Arc::new(config.clone());
        let pool = Arc::new(Mutex::new(Pool::new(scraping.clone(), job_of(&config, folder))));
        let discovery = discovery::start(&config.job_name, &config.discovery, folder, None);
        let feeding = feed(&pool, discovery.found());
        Self { config, folder: folder.to_owned(), pool, discovery, feeding }
    }

    /// Goes on with another configuration of the job.
    fn change(mut self, config: &ScrapeConfig, folder: &Path) -> Self {
        let is_elsewhere = self.folder != folder;
        if *self.config == *config && !is_elsewhere {
            return self;
        }
        let config = Arc::new(config.clone());
        lock(&self.pool).change(job_of(&config, folder));
        if self.config.discovery != config.discovery || is_elsewhere {
            self.feeding.abort();
            let before = (!is_elsewhere).then_some(&self.discovery);
            self.discovery = discovery::start(&config.job_name, &config.discovery, folder, before);
            self.feeding = feed(&self.pool, self.discovery.found());
        }
        Self { config, folder: folder.to_owned(), ..self }
    }

    /// The job is gone.
    fn end(self) {
        self.feeding.abort();
        lock(&self.pool).end();
    }
}

fn job_of(config: &Arc<ScrapeConfig>, folder: &Path) -> Job {
    let open = |file: &String| {
        let path = folder.join(file);
        FailureLog::open(&path)
            .inspect_err(|error| tracing::error!(file = %path.display(), %error, "open scrape_failure_log_file"))
            .ok()
            .map(Arc::new)
    };
    let failure_log = config.scrape_failure_log_file.as_ref().filter(|file| !file.is_empty()).and_then(open);
    let client = Arc::new(Client::new(&config.client.seen_from(folder)));
    Job { config: config.clone(), client, targets_above_limit: None, failure_log }
}

fn feed(pool: &Arc<Mutex<Pool>>, mut found: Found) -> JoinHandle<()> {
    let pool = pool.clone();
    tokio::spawn(async move {
        while let Some(groups) = found.next().await {
            lock(&pool).sync(&groups);
        }
    })
}
