//! `millrace load --check`: asks a server for every sample that a verify log says was acknowledged.
//!
//! Labels and values are computed again from the load's signature, so a check needs the log and the server, nothing else. A
//! sample that was sent but never acknowledged may be there or not; if it is there it must be the one that was sent. Loads whose times overlap
//! must not share series, as one sample can't be told from the other then.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::SendRequest;
use serde::{Deserialize, Serialize};

use super::{
    args::LoadArgs,
    client::{Endpoint, EndpointError, TransportError, connect},
    fleet::{self, SERIES_PER_HOST, SeriesLabels},
    plan::generation,
    verify_log::{self, Acknowledged, LogError, Signature},
};

/// Samples asked for in one query: answers of some megabytes.
const QUERY_SAMPLES: u64 = 400_000;
/// Machines named in one query, so that the expression stays short.
const QUERY_HOSTS: u64 = 100;
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Offenders of each kind that are named.
const OFFENDERS_MAX: usize = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the verify log names no acknowledged request, so there is nothing to check")]
    Empty,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("start the runtime of the check: {0}")]
    Runtime(std::io::Error),
    #[error("ask {url} for {query}: {reason}")]
    Query { url: String, query: String, reason: String },
}

/// What was found, in samples.
#[derive(Debug, Default, Serialize)]
pub(super) struct CheckReport {
    acknowledged: u64,
    found: u64,
    missing: u64,
    /// There, with other bits.
    different: u64,
    /// Further ones of a time that the series has a sample of already.
    duplicates: u64,
    /// Samples that no load has sent, within the times of the loads.
    invented: u64,
    /// Samples that were sent but not acknowledged, and are there: no fault.
    unacknowledged: u64,
    queries: u64,
    seconds: f64,
    /// The first few samples of each kind of fault.
    offenders: BTreeMap<&'static str, Vec<Offender>>,
}

#[derive(Debug, Serialize)]
struct Offender {
    series: String,
    time_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<f64>,
}

impl CheckReport {
    pub(super) fn is_sound(&self) -> bool {
        self.missing + self.different + self.duplicates + self.invented == 0
    }

    pub(super) fn summary(&self) -> String {
        let Self { acknowledged, missing, different, duplicates, invented, .. } = self;
        format!(
            "of {acknowledged} samples {missing} missing, {different} different; {duplicates} twice, {invented} invented"
        )
    }

    fn blame(&mut self, fault: &'static str, offender: impl FnOnce() -> Offender) {
        match fault {
            "missing" => self.missing += 1,
            "different" => self.different += 1,
            "duplicate" => self.duplicates += 1,
            _ => self.invented += 1,
        }
        let offenders = self.offenders.entry(fault).or_default();
        if offenders.len() < OFFENDERS_MAX {
            offenders.push(offender());
        }
    }
}

/// Checks a whole log; progress goes to stderr.
pub(super) fn check(log: &Path, args: &LoadArgs) -> Result<CheckReport, CheckError> {
    let loads = verify_log::read(log)?;
    let endpoint = Endpoint::parse(&args.query_url, &args.headers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CheckError::Runtime)?;
    let started = Instant::now();
    let mut asker = Asker { url: args.query_url.clone(), endpoint, timeout: args.timeout, connection: None };
    let mut report =
        CheckReport { acknowledged: loads.iter().map(Acknowledged::samples).sum(), ..CheckReport::default() };
    if report.acknowledged == 0 {
        return Err(CheckError::Empty);
    }
    runtime.block_on(async {
        for load in &loads {
            check_load(load, &mut asker, &mut report).await?;
        }
        Ok::<(), CheckError>(())
    })?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Takes a load in pieces: so many machines and passes a query that the answer is of a fair size.
async fn check_load(load: &Acknowledged, asker: &mut Asker, report: &mut CheckReport) -> Result<(), CheckError> {
    let Some((first, last)) = load.passes() else { return Ok(()) };
    let host_passes = (QUERY_SAMPLES / u64::from(SERIES_PER_HOST)) as u32;
    let passes = (last - first + 1).min(host_passes);
    let hosts = u64::from(host_passes / passes).clamp(1, QUERY_HOSTS) as u32;
    let mut reported = Instant::now();
    for piece in pieces(load.signature.series, first..last + 1, hosts, passes) {
        let query = piece.query(&load.signature);
        let answer = asker.ask(&query, load.signature.time_ms(piece.passes.end - 1)).await?;
        report.queries += 1;
        let failed = |reason: serde_json::Error| asker.failed(&query, reason.to_string());
        let answer: QueryAnswer<'_> = serde_json::from_slice(&answer).map_err(failed)?;
        compare(load, &piece, &answer, report);
        if reported.elapsed() > Duration::from_secs(1) {
            eprintln!("{} of {} samples found", report.found, report.acknowledged);
            reported = Instant::now();
        }
    }
    Ok(())
}

/// Some machines' series and some passes.
struct Piece {
    series: Range<u32>,
    passes: Range<u32>,
}

fn pieces(series: u32, passes: Range<u32>, hosts_a_piece: u32, passes_a_piece: u32) -> impl Iterator<Item = Piece> {
    let width = hosts_a_piece * SERIES_PER_HOST;
    (0..series).step_by(width as usize).flat_map(move |start| {
        let series = start..start.saturating_add(width).min(series);
        passes.clone().step_by(passes_a_piece as usize).map({
            let last = passes.end;
            move |first| Piece { series: series.clone(), passes: first..first.saturating_add(passes_a_piece).min(last) }
        })
    })
}

impl Piece {
    /// A range selector that is to be evaluated at the last pass. Its range is open at its old end, hence the millisecond more.
    fn query(&self, signature: &Signature) -> String {
        let hosts = self.series.start / SERIES_PER_HOST..=(self.series.end - 1) / SERIES_PER_HOST;
        let hosts: Vec<String> = hosts.map(|host| format!("{host:06}")).collect();
        let range_ms = signature.time_ms(self.passes.end - 1) - signature.time_ms(self.passes.start) + 1;
        format!(r#"{{instance=~"host-({})(-[0-9]+)?[.]example[.]net:9100"}}[{range_ms}ms]"#, hosts.join("|"))
    }

    /// The series that this piece must or may have, with the generation of each.
    fn expected(&self, signature: &Signature) -> HashMap<SeriesLabels, (u32, u32)> {
        let mut expected = HashMap::new();
        for series in self.series.clone() {
            let of = |pass| generation(series, signature.series, signature.churn_per_pass, pass);
            for generation in of(self.passes.start)..=of(self.passes.end - 1) {
                expected.insert(fleet::labels(series, generation, signature.labels), (series, generation));
            }
        }
        expected
    }
}

#[derive(Deserialize)]
struct QueryAnswer<'a> {
    #[serde(borrow)]
    data: Matrix<'a>,
}

#[derive(Deserialize)]
struct Matrix<'a> {
    #[serde(borrow)]
    result: Vec<Found<'a>>,
}

#[derive(Deserialize)]
struct Found<'a> {
    metric: BTreeMap<String, String>,
    #[serde(borrow)]
    values: Vec<(f64, &'a str)>,
}

fn compare(load: &Acknowledged, piece: &Piece, answer: &QueryAnswer<'_>, report: &mut CheckReport) {
    let expected = piece.expected(&load.signature);
    // By series and pass: a sample may be found under one generation of a series only.
    let mut seen = HashSet::new();
    for found in &answer.data.result {
        let labels: SeriesLabels = found.metric.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let known = expected.get(&labels).copied();
        for &(seconds, text) in &found.values {
            let sample = FoundSample { time_ms: (seconds * 1e3).round() as i64, value: text.parse().ok() };
            judge(load, piece, (&labels, known), sample, &mut seen, report);
        }
    }
    for series in piece.series.clone() {
        let Some(passes) = load.passes_of(series) else { continue };
        for &pass in passes.range(piece.passes.clone()).filter(|pass| !seen.contains(&(series, **pass))) {
            let Signature { series: all, churn_per_pass, labels, values, .. } = load.signature;
            report.blame("missing", || Offender {
                series: name(&fleet::labels(series, generation(series, all, churn_per_pass, pass), labels)),
                time_ms: load.signature.time_ms(pass),
                expected: Some(values.value(series, pass)),
                found: None,
            });
        }
    }
}

struct FoundSample {
    time_ms: i64,
    /// `None`: no number at all.
    value: Option<f64>,
}

/// Counts one sample of an answer as what it is.
fn judge(
    load: &Acknowledged,
    piece: &Piece,
    (labels, known): (&SeriesLabels, Option<(u32, u32)>),
    sample: FoundSample,
    seen: &mut HashSet<(u32, u32)>,
    report: &mut CheckReport,
) {
    let signature = &load.signature;
    let offender = |expected| Offender { series: name(labels), time_ms: sample.time_ms, expected, found: sample.value };
    let pass = signature.pass_at(sample.time_ms).filter(|pass| piece.passes.contains(pass));
    let sent = known
        .zip(pass)
        .filter(|&((series, born), pass)| generation(series, signature.series, signature.churn_per_pass, pass) == born);
    let Some(((series, _), pass)) = sent else {
        return report.blame("invented", || offender(None));
    };
    let expected = signature.values.value(series, pass);
    if !seen.insert((series, pass)) {
        return report.blame("duplicate", || offender(Some(expected)));
    }
    if sample.value.map(f64::to_bits) != Some(expected.to_bits()) {
        return report.blame("different", || offender(Some(expected)));
    }
    match load.passes_of(series).is_some_and(|passes| passes.contains(&pass)) {
        true => report.found += 1,
        false => report.unacknowledged += 1,
    }
}

fn name(labels: &SeriesLabels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A kept connection to the query endpoint.
struct Asker {
    url: String,
    endpoint: Endpoint,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Asker {
    fn failed(&self, query: &str, reason: String) -> CheckError {
        CheckError::Query { url: self.url.clone(), query: query.to_owned(), reason }
    }

    /// The body of a successful answer.
    async fn ask(&mut self, query: &str, time_ms: i64) -> Result<Bytes, CheckError> {
        let time = format!("{}.{:03}", time_ms.div_euclid(1000), time_ms.rem_euclid(1000));
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .append_pair("time", &time)
            .finish();
        let timeout = self.timeout;
        let answer = tokio::time::timeout(timeout, self.exchange(form)).await;
        let answer = answer.unwrap_or_else(|_| Err(TransportError::Timeout(timeout).to_string()));
        answer.map_err(|reason| self.failed(query, reason))
    }

    async fn exchange(&mut self, form: String) -> Result<Bytes, String> {
        let request = self.endpoint.form(form).map_err(|error| error.to_string())?;
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(&self.endpoint).await.map_err(|error| error.to_string())?,
        };
        connection.ready().await.map_err(|error| error.to_string())?;
        let response = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| match error
                .is::<LengthLimitError>(
            ) {
                true => format!("an answer of more than {ANSWER_BYTES_MAX} bytes"),
                false => error.to_string(),
            })?;
        self.connection = Some(connection);
        let body = body.to_bytes();
        match status.is_success() {
            true => Ok(body),
            false => {
                let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
                Err(format!("{status}: {text}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::values::Shape;

    /// Two machines' series for four passes, of which all but the last pass were acknowledged; some series are replaced.
    fn load() -> Acknowledged {
        let signature = Signature {
            version: verify_log::SIGNATURE_VERSION,
            series: 150,
            labels: 4,
            values: Shape::Random,
            churn_per_pass: 0.3,
            start_ms: 1_000_000,
            step_ms: 250,
        };
        let blocks = [(0, (100, (0..3).collect())), (100, (150, (0..3).collect()))].into();
        Acknowledged { signature, blocks }
    }

    type Values = Vec<(f64, String)>;

    /// What a server without a fault gives for the first passes.
    fn stored(load: &Acknowledged, passes: Range<u32>) -> Vec<(SeriesLabels, Values)> {
        let Signature { series: all, labels, churn_per_pass, values, .. } = load.signature;
        let mut stored: BTreeMap<SeriesLabels, Values> = BTreeMap::new();
        for (series, pass) in (0..all).flat_map(|series| passes.clone().map(move |pass| (series, pass))) {
            let labels = fleet::labels(series, generation(series, all, churn_per_pass, pass), labels);
            let sample = (load.signature.time_ms(pass) as f64 / 1e3, values.value(series, pass).to_string());
            stored.entry(labels).or_default().push(sample);
        }
        stored.into_iter().collect()
    }

    fn judged(load: &Acknowledged, stored: &[(SeriesLabels, Values)]) -> CheckReport {
        let result: Vec<_> = stored
            .iter()
            .map(|(labels, values)| {
                let metric: BTreeMap<_, _> = labels.iter().cloned().collect();
                serde_json::json!({ "metric": metric, "values": values })
            })
            .collect();
        let text = serde_json::json!({ "status": "success", "data": { "resultType": "matrix", "result": result } });
        let text = text.to_string();
        let answer = serde_json::from_str(&text).expect("an answer as servers give it");
        let mut report = CheckReport::default();
        compare(load, &Piece { series: 0..150, passes: 0..4 }, &answer, &mut report);
        report
    }

    #[test]
    fn what_was_acknowledged_is_found_and_the_rest_is_no_fault() {
        let load = load();
        let report = judged(&load, &stored(&load, 0..3));
        assert!(report.is_sound(), "{}", report.summary());
        assert_eq!((report.found, report.unacknowledged), (450, 0));
        let report = judged(&load, &stored(&load, 0..4));
        assert!(report.is_sound(), "{}", report.summary());
        assert_eq!((report.found, report.unacknowledged), (450, 150));
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let load = load();
        let with = |spoil: fn(&mut Vec<(SeriesLabels, Values)>)| {
            let mut stored = stored(&load, 0..3);
            spoil(&mut stored);
            let report = judged(&load, &stored);
            (report.missing, report.different, report.duplicates, report.invented)
        };
        assert_eq!(with(|stored| drop(stored[7].1.pop())), (1, 0, 0, 0));
        assert_eq!(with(|stored| stored[7].1[0].1 = "1.5".to_owned()), (0, 1, 0, 0));
        assert_eq!(with(|stored| stored[7].1[0].1 = "?".to_owned()), (0, 1, 0, 0));
        assert_eq!(with(|stored| stored[7].1.extend_from_within(..1)), (0, 0, 1, 0));
        assert_eq!(with(|stored| stored.push(stored[7].clone())).2, stored(&load, 0..3)[7].1.len() as u64);
        assert_eq!(with(|stored| stored[7].1.push((1000.1, "1".to_owned()))), (0, 0, 0, 1));
        assert_eq!(with(|stored| stored[7].1.push((1001.0, "1".to_owned()))), (0, 0, 0, 1));
        assert_eq!(with(|stored| stored[7].0[0].1 = "other".to_owned()).3, stored(&load, 0..3)[7].1.len() as u64);
    }

    #[test]
    fn pieces_cover_everything_once() {
        let mut covered = HashSet::new();
        for Piece { series, passes } in pieces(450, 3..10, 2, 3) {
            assert!(series.len() <= 200 && passes.len() <= 3);
            for sample in series.flat_map(|series| passes.clone().map(move |pass| (series, pass))) {
                assert!(covered.insert(sample), "{sample:?}");
            }
        }
        assert_eq!(covered.len(), 450 * 7);
    }

    #[test]
    fn a_query_takes_in_its_first_and_last_pass() {
        let piece = Piece { series: 100..250, passes: 2..5 };
        let expected = r#"{instance=~"host-(000001|000002)(-[0-9]+)?[.]example[.]net:9100"}[501ms]"#;
        assert_eq!(piece.query(&load().signature), expected);
    }
}
