//! What is written down of queries that have ended: a warning for each slow one, and in the file of `global.query_log_file` a line
//! for each, in Prometheus' shape.

use std::{
    fs::File,
    io::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Steps, Timings, running::RunningQuery};
use crate::{
    calendar,
    json::{Json, number},
};

pub(crate) struct QueryLog {
    /// From which time on a query is slow.
    slow_after: Option<Duration>,
    file: Mutex<Option<File>>,
    /// Whether the last line could not be written: said once, not for each query.
    failing: AtomicBool,
}

impl QueryLog {
    pub(crate) fn new(slow_after: Option<Duration>) -> Self {
        Self { slow_after, file: Mutex::default(), failing: AtomicBool::new(false) }
    }

    /// Writes to this file from now on.
    pub(crate) fn set_file(&self, file: Option<File>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Whether the query was slow. `error`: why it has no result.
    pub(crate) fn ended(&self, query: &RunningQuery, timings: &Timings, error: Option<&str>) -> bool {
        self.write_line(query, timings, error);
        let took = query.age();
        let slow = self.slow_after.is_some_and(|limit| took >= limit);
        if slow {
            warn(query, timings, took, error);
        }
        slow
    }

    fn write_line(&self, query: &RunningQuery, timings: &Timings, error: Option<&str>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.as_mut() else { return };
        let failed = file.write_all(&line(query, timings, error));
        if !self.failing.swap(failed.is_err(), Relaxed)
            && let Err(error) = failed
        {
            tracing::error!(%error, "write to the file of global.query_log_file; queries go on without it");
        }
    }
}

fn warn(query: &RunningQuery, timings: &Timings, took: Duration, error: Option<&str>) {
    let (start, end, step_ms) = query.steps.bounds();
    // What is left is the time that the client took for reading.
    let answering = took.saturating_sub(timings.queue + timings.preparation + timings.evaluation);
    tracing::warn!(
        query = query.text,
        start = calendar::rfc3339_ms(start),
        end = calendar::rfc3339_ms(end),
        step_ms,
        took = seconds(took),
        waiting = seconds(timings.queue),
        evaluating = seconds(timings.evaluation),
        answering = seconds(answering),
        samples_read = query.monitor.samples_read(),
        memory_bytes_peak = query.monitor.bytes_peak(),
        stage = query.stage().name(),
        client = %query.origin.client,
        path = query.origin.path,
        error = error.unwrap_or("none"),
        "slow query"
    );
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}s", duration.as_secs_f64())
}

fn line(query: &RunningQuery, timings: &Timings, error: Option<&str>) -> Vec<u8> {
    let mut json = Json::default();
    json.object().key("time").string(&calendar::rfc3339_ms(calendar::now_ms()));
    json.key("level").string("INFO").key("msg").string("promql query logged");
    let (start, end, step_ms) = query.steps.bounds();
    json.key("params").object();
    json.key("end").string(&calendar::rfc3339_ms(end));
    json.key("query").string(&query.text);
    json.key("start").string(&calendar::rfc3339_ms(start));
    json.key("step").integer(step_ms / 1000).end_object();
    if let Some(error) = error {
        json.key("error").string(error);
    }
    timings.write(json.key("stats").object().key("timings"));
    json.key("samples").object();
    json.key("totalQueryableSamples").integer(query.monitor.samples_read() as u64);
    json.key("peakSamples").integer(query.monitor.samples_peak() as u64).end_object();
    json.key("memory").object();
    json.key("peakBytes").integer(query.monitor.bytes_peak() as u64).end_object().end_object();
    json.key("httpRequest").object();
    json.key("clientIP").string(&query.origin.client.to_string());
    json.key("method").string(&query.origin.method);
    json.key("path").string(&query.origin.path).end_object();
    json.end_object();
    let mut line = json.take();
    line.push(b'\n');
    line
}

impl Steps {
    /// First and last time, and what lies between two, in milliseconds.
    pub(crate) fn bounds(self) -> (i64, i64, i64) {
        match self {
            Self::Instant(time) => (time, time, 0),
            Self::Range(range) => (range.start, range.end, range.step),
        }
    }
}

impl Timings {
    /// As an object with Prometheus' names, in seconds.
    pub(crate) fn write(&self, json: &mut Json) {
        let eval = self.preparation + self.evaluation;
        json.object();
        for (name, duration) in [
            ("evalTotalTime", eval),
            ("resultSortTime", Duration::ZERO),
            ("queryPreparationTime", self.preparation),
            ("innerEvalTime", self.evaluation),
            ("execQueueTime", self.queue),
            ("execTotalTime", self.queue + eval),
        ] {
            json.key(name).raw(number::value_text(duration.as_secs_f64()).as_bytes());
        }
        json.end_object();
    }
}
