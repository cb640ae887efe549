//! Remote write's receiving end, the same on every port: what a request must look like, and what each outcome is answered with.
//!
//! Prometheus drops what is answered with any 4xx and tries again after 5xx. So everything that time or room can mend is 503 with
//! Retry-After, a request that will never fit is 400 or 415, and a partial write is 400 after its good samples are stored: there
//! is no use in sending them again.

use std::{
    fmt::Write as _,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use model::{HistogramSample, IdentityKey, SeriesEntry, WriteBatch};
use tsdb::{AppendOutcome, Offender};
use wire::remote_write::{Batch, DecodeLimits, Protocol};

use crate::{
    handle::{Handle, RETRY_AFTER, Refusal},
    metadata::MetadataStore,
};

/// Somebody who stores batches durably.
pub trait Appender {
    fn append(&self, batch: Arc<Batch>) -> impl Future<Output = Result<AppendOutcome, Refusal>>;
}

impl Appender for Handle {
    async fn append(&self, batch: Arc<Batch>) -> Result<AppendOutcome, Refusal> {
        Handle::append(self, batch).await
    }
}

/// What an answer says; the port turns it into HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Empty for 204.
    pub text: String,
    /// For the headers `X-Prometheus-Remote-Write-{Samples,Histograms,Exemplars}-Written` of protocol 2.0.
    pub written: Option<Written>,
    pub retry_after_seconds: Option<u64>,
}

/// What of a request is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

impl Written {
    /// Names and values of the headers.
    pub fn headers(self) -> [(&'static str, u64); 3] {
        [
            ("x-prometheus-remote-write-samples-written", self.samples),
            ("x-prometheus-remote-write-histograms-written", self.histograms),
            ("x-prometheus-remote-write-exemplars-written", self.exemplars),
        ]
    }
}

/// Counts of the requests of all ports.
#[derive(Debug, Default)]
pub struct IngestCounters {
    pub accepted: AtomicU64,
    pub partial: AtomicU64,
    pub malformed: AtomicU64,
    pub unsupported: AtomicU64,
    pub unavailable: AtomicU64,
    pub exemplars_unresolved: AtomicU64,
    pub series_unresolved: AtomicU64,
    pub body_bytes: AtomicU64,
}

/// What a sender is told of series beyond a bound that the operator has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Excess {
    /// They are refused, as a partial write.
    #[default]
    Refuse,
    /// Nothing; they are counted.
    Drop,
}

/// Receives requests of one port. Decoded batches are used again.
pub struct Receiver {
    key: IdentityKey,
    limits: DecodeLimits,
    excess: Excess,
    pool: Mutex<Vec<Batch>>,
    counters: Arc<IngestCounters>,
    metadata: Arc<MetadataStore>,
}

/// Batches kept for the next requests; each holds a few hundred kilobytes.
const POOLED_BATCHES_MAX: usize = 8;

impl Receiver {
    pub fn new(
        key: IdentityKey,
        limits: DecodeLimits,
        excess: Excess,
        counters: Arc<IngestCounters>,
        metadata: Arc<MetadataStore>,
    ) -> Self {
        Self { key, limits, excess, pool: Mutex::default(), counters, metadata }
    }

    /// Decodes and stores a request. The answer says success only when all of it is durable.
    pub async fn receive(
        &self,
        appender: &impl Appender,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        body: &[u8],
    ) -> Answer {
        self.counters.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        let protocol = match protocol_of(content_type, content_encoding) {
            Ok(protocol) => protocol,
            Err(text) => return self.answer(&self.counters.unsupported, 415, text),
        };
        let mut batch = self.pooled();
        if let Err(error) = batch.decode(protocol, body, &self.key, &self.limits) {
            return self.answer(&self.counters.malformed, 400, error.to_string());
        }
        let batch = Arc::new(batch);
        let appended = appender.append(batch.clone()).await;
        match (&appended, protocol) {
            _ if batch.metadata_count() == 0 => {}
            (_, Protocol::V1) => self.metadata.take_all(&batch),
            (Ok(outcome), Protocol::V2) => self.metadata.take_some(&batch, outcome.series_created > 0),
            (Err(_), Protocol::V2) => {}
        }
        let answer = match appended {
            Ok(outcome) => self.outcome(protocol, &batch, &outcome),
            Err(refusal) => self.refused(protocol, &refusal),
        };
        self.give_back(batch);
        answer
    }

    fn outcome(&self, protocol: Protocol, batch: &Batch, outcome: &AppendOutcome) -> Answer {
        let written = Written {
            samples: outcome.stored + outcome.repeated,
            histograms: outcome.histograms_stored + outcome.histograms_repeated,
            exemplars: outcome.exemplars_stored + outcome.exemplars_repeated,
        };
        let written = (protocol == Protocol::V2).then_some(written);
        let rejections = batch.rejections();
        let is_told = |reason: &tsdb::Rejection| self.excess == Excess::Refuse || !reason.is_cardinality();
        let told: u64 =
            tsdb::Rejection::ALL.iter().filter(|reason| is_told(reason)).map(|&reason| outcome.rejected(reason)).sum();
        if told == 0 && rejections.series + rejections.exemplars == 0 {
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            return Answer { status: 204, text: String::new(), written, retry_after_seconds: None };
        }
        self.counters.exemplars_unresolved.fetch_add(rejections.exemplars, Ordering::Relaxed);
        self.counters.series_unresolved.fetch_add(rejections.series, Ordering::Relaxed);
        Answer { written, ..self.answer(&self.counters.partial, 400, partial_text(batch, outcome)) }
    }

    fn refused(&self, protocol: Protocol, refusal: &Refusal) -> Answer {
        let written = (protocol == Protocol::V2).then(Written::default);
        let retry_after_seconds = Some(RETRY_AFTER.as_secs());
        Answer { written, retry_after_seconds, ..self.answer(&self.counters.unavailable, 503, refusal.to_string()) }
    }

    fn answer(&self, counter: &AtomicU64, status: u16, text: String) -> Answer {
        counter.fetch_add(1, Ordering::Relaxed);
        Answer { status, text: text + "\n", written: None, retry_after_seconds: None }
    }

    fn pooled(&self) -> Batch {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, batch: Arc<Batch>) {
        if let Some(mut batch) = Arc::into_inner(batch) {
            batch.clear();
            let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            if pool.len() < POOLED_BATCHES_MAX {
                pool.push(batch);
            }
        }
    }
}

/// Missing headers mean what the oldest senders mean: protocol 1.0, snappy.
fn protocol_of(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<Protocol, String> {
    if let Some(encoding) = content_encoding.filter(|encoding| !encoding.trim().eq_ignore_ascii_case("snappy")) {
        return Err(format!("unsupported Content-Encoding {encoding:?}: send snappy (block format)"));
    }
    let Some(content_type) = content_type else { return Ok(Protocol::V1) };
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let message = parts.find_map(|part| part.strip_prefix("proto=")).map(|message| message.trim_matches('"'));
    match (is_protobuf, message) {
        (true, None | Some("prometheus.WriteRequest")) => Ok(Protocol::V1),
        (true, Some("io.prometheus.write.v2.Request")) => Ok(Protocol::V2),
        _ => Err(format!(
            "unsupported Content-Type {content_type:?}: send application/x-protobuf;proto=prometheus.WriteRequest or \
             application/x-protobuf;proto=io.prometheus.write.v2.Request"
        )),
    }
}

/// Says what was not stored, by reason, and who was first.
fn partial_text(batch: &Batch, outcome: &AppendOutcome) -> String {
    let mut text = format!("partial write: {} samples", outcome.stored + outcome.repeated);
    if !batch.histograms().is_empty() {
        let histograms = outcome.histograms_stored + outcome.histograms_repeated;
        put(&mut text, format_args!(" and {histograms} native histograms"));
    }
    text.push_str(" stored");
    for reason in tsdb::Rejection::ALL.into_iter().filter(|&reason| outcome.rejected(reason) > 0) {
        put(&mut text, format_args!("; {} refused: {}", outcome.rejected(reason), reason.message()));
    }
    if let Some(offender) = outcome.first_offender {
        let entry = &batch.series()[offender.entry as usize];
        put(&mut text, format_args!("; the first: {}", labels_text(batch, entry)));
        if !offender.reason.is_of_series() {
            put_offending_sample(&mut text, batch, offender);
        }
    }
    let rejections = batch.rejections();
    if let Some(first) = &rejections.first {
        let (index, reason) = (first.index, first.reason);
        put(&mut text, format_args!("; {} series", rejections.series));
        if rejections.exemplars > 0 {
            put(&mut text, format_args!(" and {} exemplars of others", rejections.exemplars));
        }
        put(&mut text, format_args!(" refused, the first in series number {index}: {reason}"));
    }
    text
}

fn put_offending_sample(text: &mut String, batch: &Batch, offender: Offender) {
    let place = offender.sample as usize;
    let message = offender.reason.message();
    if !offender.is_histogram {
        if let Some(time) = batch.times().get(place) {
            put(text, format_args!(" at {time} ms ({message})"));
        }
    } else if let Some(HistogramSample { time, histogram, .. }) = batch.histograms().get(place) {
        match histogram.check() {
            Ok(()) => put(text, format_args!(" at {time} ms ({message})")),
            Err(error) => put(text, format_args!(" at {time} ms ({message}: {error})")),
        }
    }
}

fn put(text: &mut String, piece: std::fmt::Arguments<'_>) {
    text.write_fmt(piece).expect("writing to a string does not fail");
}

/// Longest label set in an answer.
const LABELS_TEXT_MAX: usize = 1024;

fn labels_text(batch: &Batch, entry: &SeriesEntry) -> String {
    let mut text = String::from("{");
    batch.visit_labels(entry.labels, &mut |name, value| {
        if text.len() < LABELS_TEXT_MAX {
            let separator = if text.len() == 1 { "" } else { ", " };
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            put(&mut text, format_args!("{separator}{name}={value:?}"));
        }
    });
    if text.len() > LABELS_TEXT_MAX {
        let end = (0..=LABELS_TEXT_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text + "}"
}
