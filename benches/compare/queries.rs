//! What is measured: queries over data that was just written.

use std::time::{Duration, Instant};

use crate::{
    rows::{Bench, BenchError, Figure, Unit, Work, short, start_ms},
    server::{Kind, Server},
};

/// Runs of each query, of which the median counts, behind one that is not counted.
const RUNS: usize = 5;

const HOST: &str = "instance=\"host-000007.example.net:9100\"";

/// A query as a client sends it.
struct Asked {
    name: &'static str,
    text: String,
    /// Seconds back from the end, and step; an instant query without.
    range: Option<(i64, i64)>,
}

fn instant(name: &'static str, text: impl Into<String>) -> Asked {
    Asked { name, text: text.into(), range: None }
}

fn range(name: &'static str, text: impl Into<String>, seconds: i64, step: i64) -> Asked {
    Asked { name, text: text.into(), range: Some((seconds, step)) }
}

/// What a dashboard of a fleet asks: single series and whole metrics, now and over an hour.
fn mixed() -> [Asked; 10] {
    [
        instant("one series", format!("node_network_up{{{HOST},device=\"dev1\"}}")),
        instant("sum of a metric", "sum by (rack) (node_network_up)"),
        instant("topk of rates", "topk(5, rate(node_network_receive_bytes_total[5m]))"),
        range("rates of a host", format!("rate(node_disk_read_bytes_total{{{HOST}}}[5m])"), 3600, 15),
        range(
            "rates of some racks",
            "sum by (rack) (rate(node_network_receive_bytes_total{rack=~\"r00[0-4]\"}[5m]))",
            3600,
            60,
        ),
        range("maxima of a rack", "max_over_time(node_filesystem_avail_bytes{rack=\"r003\"}[10m])", 3600, 60),
        instant("count by device", "count by (device) (node_disk_io_now > 0)"),
        instant(
            "two metrics of a rack",
            "node_disk_read_bytes_total{rack=\"r001\"} / on (instance, device) node_disk_reads_completed_total{rack=\"r001\"}",
        ),
        instant("quantile of rates", "quantile(0.95, rate(node_disk_io_time_seconds_total[5m]))"),
        range("averages of ten racks", "avg by (instance) (node_filesystem_files_free{rack=~\"r01.*\"})", 900, 15),
    ]
}

impl Bench {
    /// The query rows of one server.
    pub(crate) fn measure_queries(&self, kind: Kind) -> Result<Vec<Figure>, BenchError> {
        let mut figures = Vec::new();
        let work = self.sizes.many();
        let name = format!("instant sum by (job), {} series", short(work.series));
        self.on(kind, work, &mut |server, end| {
            let all = instant("", "sum by (job) ({job=\"node\"})");
            figures.push(figure(name.clone(), median(server, &all, end)?));
            Ok(())
        })?;
        let work = self.sizes.hour();
        self.on(kind, work, &mut |server, end| {
            let series = short(work.series);
            let hour = range("", "sum by (job) ({job=\"node\"})", 3600, 15);
            figures.push(figure(format!("range sum by (job), {series} series, 1 h"), median(server, &hour, end)?));
            let rates = range("", "sum by (job) (rate(node_network_receive_bytes_total[5m]))", 3600, 15);
            figures.push(figure(
                "range sum by (job) (rate) of a twentieth of them".to_owned(),
                median(server, &rates, end)?,
            ));
            let mut logarithms = 0.0;
            let mixed = mixed();
            for asked in &mixed {
                let took = median(server, asked, end)?;
                logarithms += took.as_secs_f64().ln();
                figures.push(figure(format!("{}, {series} series", asked.name), took));
            }
            let mean = Duration::from_secs_f64((logarithms / mixed.len() as f64).exp());
            figures.push(figure("these ten, geometric mean".to_owned(), mean));
            Ok(())
        })?;
        Ok(figures)
    }

    fn on(
        &self,
        kind: Kind,
        work: Work,
        ask: &mut dyn FnMut(&Server, i64) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let server = Server::start_empty(&self.programs, kind)?;
        let start = start_ms(work);
        self.write(&server, "1.0", work, start)?;
        // Of whole seconds the first that is not before the newest sample.
        ask(&server, (start + i64::from(work.samples - 1) * crate::rows::STEP_MS) / 1000 + 1)
    }
}

fn figure(row: String, took: Duration) -> Figure {
    Figure { row, unit: Unit::Milliseconds, value: Some(took.as_secs_f64() * 1000.0) }
}

fn median(server: &Server, asked: &Asked, end: i64) -> Result<Duration, BenchError> {
    let query = percent_encoded(&asked.text);
    let path = match asked.range {
        None => format!("/api/v1/query?query={query}&time={end}"),
        // One of the peers would answer from what it remembers of the run before.
        Some((seconds, step)) => {
            format!("/api/v1/query_range?query={query}&start={}&end={end}&step={step}&nocache=1", end - seconds)
        }
    };
    let mut took = Vec::new();
    for run in 0..=RUNS {
        let started = Instant::now();
        let answer = server.get(&path).map_err(|error| BenchError::Query(asked.text.clone(), error.to_string()))?;
        if run > 0 {
            took.push(started.elapsed());
        }
        if !answer.contains("\"status\":\"success\"") || answer.contains("\"result\":[]") {
            return Err(BenchError::Query(asked.text.clone(), answer.chars().take(300).collect()));
        }
    }
    took.sort();
    Ok(took[RUNS / 2])
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
