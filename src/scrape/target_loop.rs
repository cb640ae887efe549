//! One target, scraped again and again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use shard::{Refusal, handle::RETRY_AFTER};
use tokio::sync::watch;
use tsdb::{AppendOutcome, Rejection};
use wire::exposition::{LineCache, Wanted};

use super::{
    Features, Job, Scraping,
    batch::ScrapeBatch,
    format::{self, Format, FormatError},
    metadata::MetadataSum,
    page::{PageCounts, PageError, PageReader},
    report::{Report, ReportSeries},
    sample_labels::SampleLabels,
    schedule::Schedule,
    target::{Health, Target},
};
use crate::{
    calendar,
    config::prometheus::scrape::ScrapeConfig,
    http_client::{BodyError, RequestError, Session},
    version,
};

/// Where nobody says what a page may have.
const PAGE_BYTES_MAX: usize = 256 << 20;

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What a loop is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Scrape,
    /// The target is gone.
    Leave,
}

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("server returned HTTP status {0}")]
    Status(hyper::StatusCode),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("body size limit exceeded")]
    BodySizeLimit,
    #[error("{0}; set body_size_limit if it has to be so large")]
    PageTooLarge(BodyError),
    #[error(transparent)]
    Body(BodyError),
    #[error("context deadline exceeded: the target did not answer within the scrape timeout of {0:?}")]
    Timeout(Duration),
    #[error("target_limit exceeded (number of targets: {count}, limit: {limit})")]
    TargetLimit { count: usize, limit: u64 },
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("{0}")]
    NotStored(Refusal),
}

pub(super) struct TargetLoop {
    scraping: Arc<Scraping>,
    target: Arc<Target>,
    jobs: watch::Receiver<Arc<Job>>,
    orders: watch::Receiver<Order>,
    /// What is in use of the job.
    job: Arc<Job>,
    labels: Arc<SampleLabels>,
    headers: HeaderMap,
    session: Session,
    lines: LineCache,
    /// All series have a marker already, since the last scrape failed.
    are_marked: bool,
    report: ReportSeries,
    metadata: MetadataSum,
    last_start: Option<Instant>,
}

impl TargetLoop {
    pub(super) fn new(
        scraping: Arc<Scraping>,
        target: Arc<Target>,
        jobs: watch::Receiver<Arc<Job>>,
        orders: watch::Receiver<Order>,
    ) -> Self {
        let job = jobs.borrow().clone();
        Self {
            labels: Arc::new(SampleLabels { target: target.public.clone(), job: job.config.clone() }),
            headers: headers(&job.config, target.timeout, scraping.features),
            session: Session::new(job.client.clone()),
            report: ReportSeries::new(&target.public),
            lines: LineCache::default(),
            are_marked: false,
            metadata: MetadataSum::default(),
            last_start: None,
            scraping,
            target,
            jobs,
            orders,
            job,
        }
    }

    /// Scrapes until the target is gone.
    pub(super) async fn run(mut self) {
        let hash = self.target.hash() ^ self.scraping.seed.load(Ordering::Relaxed);
        let mut schedule = Schedule::new(self.target.interval, hash, self.scraping.parts(), now_nanos());
        while self.waits_for(&schedule).await {
            let time = schedule.begin(now_nanos(), self.scraping.parts());
            self.use_job();
            self.scrape(time, &schedule).await;
        }
        if self.last_start.is_some() {
            self.end(&mut schedule).await;
        }
    }

    /// False: the target is gone.
    async fn waits_for(&mut self, schedule: &Schedule) -> bool {
        tokio::select! {
            biased;
            left = self.orders.wait_for(|order| *order == Order::Leave) => {
                drop(left);
                false
            }
            () = tokio::time::sleep(schedule.wait(now_nanos())) => true,
        }
    }

    /// Takes over what a reload has changed.
    fn use_job(&mut self) {
        let job = self.jobs.borrow_and_update().clone();
        if Arc::ptr_eq(&job, &self.job) {
            return;
        }
        if !Arc::ptr_eq(&job.client, &self.job.client) {
            self.session = Session::new(job.client.clone());
        }
        if makes_other_labels(&job.config, &self.job.config) {
            self.lines.forget_texts();
        }
        self.headers = headers(&job.config, self.target.timeout, self.scraping.features);
        self.labels = Arc::new(SampleLabels { target: self.target.public.clone(), job: job.config.clone() });
        self.job = job;
    }

    async fn scrape(&mut self, time: i64, schedule: &Schedule) {
        let (start, start_ms) = (Instant::now(), calendar::now_ms());
        if let Some(last) = self.last_start.replace(start) {
            self.scraping.metrics.interval_lengths.observe(self.target.interval, start - last);
        }
        let mut batch = self.scraping.batches.take();
        let mut page = batch.clear();
        let mut report = Report {
            timeout_seconds: self.target.timeout.as_secs_f64(),
            sample_limit: self.job.config.limits.sample,
            ..Report::default()
        };
        let fetched = self.fetch(&mut page).await;
        report.body_bytes = match &fetched {
            Ok(_) => page.len() as i64,
            Err(ScrapeError::BodySizeLimit | ScrapeError::PageTooLarge(_)) => {
                self.scraping.metrics.above_body_size_limit.add(1);
                -1
            }
            Err(_) => 0,
        };
        let (counts, taken) = match fetched {
            Ok(format) => self.take_page(format, page, time, &mut batch),
            Err(error) => (PageCounts::default(), Err(error)),
        };
        if taken.is_err() {
            batch.clear();
            self.mark_all(&mut batch, time);
        }
        let duration = start.elapsed();
        report.is_up = taken.is_ok();
        report.duration_seconds = duration.as_secs_f64();
        (report.scraped, report.kept, report.new_series) = (counts.scraped, counts.kept, counts.new_series);
        let with_extra = self.job.config.extra_scrape_metrics;
        self.report.push(&self.scraping.key, &mut batch, time, &report, with_extra);
        let stored = store(&self.scraping, &self.target, batch, &mut self.lines, schedule).await;
        self.tell(start_ms, duration, taken.and(stored));
    }

    async fn fetch(&mut self, page: &mut Vec<u8>) -> Result<Option<Format>, ScrapeError> {
        if let Some(count) = self.job.targets_above_limit {
            self.scraping.metrics.above_target_limit.add(1);
            return Err(ScrapeError::TargetLimit { count, limit: self.job.config.limits.target });
        }
        let timeout = self.target.timeout;
        let exchange = exchange(&mut self.session, &self.target, &self.headers, &self.job.config, page);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(fetched) => fetched,
            Err(_) => Err(ScrapeError::Timeout(timeout)),
        }
    }

    fn take_page(
        &mut self,
        format: Option<Format>,
        page: Vec<u8>,
        time: i64,
        batch: &mut ScrapeBatch,
    ) -> (PageCounts, Result<(), ScrapeError>) {
        let Some(format) = format else {
            // An empty page is no mistake.
            self.mark_all(batch, time);
            return (PageCounts::default(), Ok(()));
        };
        let key = &self.scraping.key;
        let limit = self.job.config.series_limit;
        let series_left = if limit == 0 { u64::MAX } else { limit.saturating_sub(self.lines.series_count() as u64) };
        let (wanted, metadata) = (self.wanted(), self.metadata);
        let reader = PageReader { labels: &self.labels, key, now: time, series_left, wanted, metadata };
        // Series that have a marker get none again when they don't come back.
        if self.are_marked {
            self.lines.untrack();
        }
        let (mut counts, read) = reader.read(&mut self.lines, (format, page), batch);
        self.scraping.metrics.count_page(&counts, read.as_ref().err());
        let news = match read {
            Ok(news) => news,
            Err(error) => {
                counts.new_series = 0;
                return (counts, Err(error.into()));
            }
        };
        self.are_marked = false;
        if let Some((sum, families)) = news {
            self.metadata = sum;
            let families = self.scraping.families.share(families);
            for family in &families {
                self.scraping.metadata.take(&family.name, family.kind, &family.help, &family.unit);
            }
            self.target.state().families = families;
        }
        (counts, Ok(()))
    }

    fn wanted(&self) -> Wanted {
        let (features, job, of_target) = (self.scraping.features, &self.job.config, self.target.histograms);
        let of_job = job.native_histograms;
        Wanted {
            native: of_target.scrape_native.unwrap_or_else(|| features.scrapes_native_histograms(job)),
            convert_classic: of_target.convert_classic.unwrap_or(of_job.convert_classic),
            keep_classic: of_target.keep_classic.unwrap_or(of_job.always_scrape_classic),
            start_times: features.start_times,
        }
    }

    /// A target that does not answer has no series.
    fn mark_all(&mut self, batch: &mut ScrapeBatch, time: i64) {
        if !std::mem::replace(&mut self.are_marked, true) {
            self.lines.tracked().for_each(|series| batch.end_series(series, time));
            batch.places_are_of(&self.lines);
        }
    }

    fn tell(&self, start_ms: i64, duration: Duration, result: Result<(), ScrapeError>) {
        let mut state = self.target.state();
        state.last_scrape = Some(start_ms);
        state.last_duration = duration;
        state.health = if result.is_ok() { Health::Up } else { Health::Down };
        state.last_error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        (state.series, state.heap_bytes) = (self.lines.series_count(), self.lines.heap_bytes());
        if let Err(error) = &result {
            tracing::debug!(target = %self.target.url, %error, "scrape failed");
            self.job.log_failure(&self.target.url, error);
        }
    }

    /// The target is gone: its series end at the time of the scrape that does not come. If another target goes on with them, it has
    /// told by then, and these markers come too late to be stored.
    async fn end(mut self, schedule: &mut Schedule) {
        let time = schedule.due_ms();
        let wait = schedule.wait(now_nanos()) + self.target.interval + self.target.interval / 10;
        tokio::time::sleep(wait).await;
        let mut batch = self.scraping.batches.take();
        batch.clear();
        batch.discard_out_of_order();
        self.mark_all(&mut batch, time);
        self.report.push_markers(&mut batch, time);
        schedule.begin(now_nanos(), self.scraping.parts());
        if let Err(error) = store(&self.scraping, &self.target, batch, &mut self.lines, schedule).await {
            tracing::debug!(target = %self.target.url, %error, "no markers for a target that is gone");
        }
    }
}

/// Makes a batch durable, and has the lines learn where their series are. A refusal is one for now: what is acknowledged twice is stored
/// once, so it is tried until the next scrape.
async fn store(
    scraping: &Scraping,
    target: &Target,
    batch: ScrapeBatch,
    lines: &mut LineCache,
    schedule: &Schedule,
) -> Result<(), ScrapeError> {
    let batch = Arc::new(batch);
    let stored = loop {
        match scraping.appends.append(batch.clone()).await {
            Ok(outcome) => {
                count(scraping, target, &outcome);
                outcome.places.iter().for_each(|places| lines.take_places(places, |entry| batch.line_of(entry)));
                break Ok(());
            }
            Err(refusal) if refusal == Refusal::Stopping || schedule.wait(now_nanos()) < 2 * RETRY_AFTER => {
                scraping.metrics.not_stored.add(1);
                tracing::warn!(target = %target.url, %refusal, "a scrape could not be stored");
                break Err(ScrapeError::NotStored(refusal));
            }
            Err(_) => tokio::time::sleep(RETRY_AFTER).await,
        }
    };
    if let Some(batch) = Arc::into_inner(batch) {
        scraping.batches.give_back(batch);
    }
    stored
}

fn count(scraping: &Scraping, target: &Target, outcome: &AppendOutcome) {
    if outcome.rejected_total() == 0 {
        return;
    }
    let metrics = &scraping.metrics;
    metrics.out_of_order.add(outcome.rejected(Rejection::OutOfOrder) + outcome.rejected(Rejection::TooOld));
    metrics.duplicate.add(outcome.rejected(Rejection::Duplicate));
    metrics.out_of_bounds.add(outcome.rejected(Rejection::OutOfBounds) + outcome.rejected(Rejection::TooFarInFuture));
    let count = outcome.rejected_total();
    let reason = outcome.first_offender.map_or("", |offender| offender.reason.message());
    tracing::debug!(target = %target.url, count, reason, "samples of a scrape were refused");
}

/// What relabelling and names come to depends on these alone.
fn makes_other_labels(new: &ScrapeConfig, old: &ScrapeConfig) -> bool {
    new.honor_labels != old.honor_labels
        || new.metric_relabel_configs != old.metric_relabel_configs
        || new.name_scheme != old.name_scheme
        || new.limits != old.limits
}

/// `None`: the page is empty.
async fn exchange(
    session: &mut Session,
    target: &Target,
    headers: &HeaderMap,
    job: &ScrapeConfig,
    page: &mut Vec<u8>,
) -> Result<Option<Format>, ScrapeError> {
    let response = session.get(&target.url, headers).await?;
    if response.status() != hyper::StatusCode::OK {
        return Err(ScrapeError::Status(response.status()));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = format::of_page(content_type, job.fallback_scrape_protocol);
    let limit = job.limits.body_size.map(|size| usize::try_from(size.bytes()).unwrap_or(usize::MAX));
    // A page of just the limit's size is too large.
    let bytes_max = limit.map_or(PAGE_BYTES_MAX, |limit| limit.saturating_sub(1).min(u32::MAX as usize));
    session.read_body(response, bytes_max, page).await.map_err(|error| match error {
        BodyError::TooLarge(_) if limit.is_some() => ScrapeError::BodySizeLimit,
        error @ BodyError::TooLarge(_) => ScrapeError::PageTooLarge(error),
        error => ScrapeError::Body(error),
    })?;
    if page.is_empty() { Ok(None) } else { Ok(Some(format?)) }
}

fn headers(job: &ScrapeConfig, timeout: Duration, features: Features) -> HeaderMap {
    // Unpacking zstd takes a third of the time of gzip. Who knows only gzip finds it.
    let encoding = if job.enable_compression { "zstd,gzip;q=0.9" } else { "identity" };
    let timeout = timeout.as_secs_f64().to_string();
    let all = [
        (ACCEPT, format::accept(job, features)),
        (ACCEPT_ENCODING, encoding.to_owned()),
        (USER_AGENT, format!("Millrace/{}", version::VERSION)),
        (TIMEOUT_HEADER, timeout),
    ];
    let value = |text: String| HeaderValue::try_from(text).expect("ASCII without control characters");
    all.into_iter().map(|(name, text)| (name, value(text))).collect()
}

fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
