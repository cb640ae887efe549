//! What is measured: the remote-write rows.

use std::{
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::server::{Kind, Programs, Server, ServerError};

/// Series and samples of each of them.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) series: u32,
    pub(crate) samples: u32,
}

/// How much each row writes.
pub(crate) struct Sizes {
    short: Work,
    new: Work,
    long: Work,
    v2: Work,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        short: Work { series: 100_000, samples: 60 },
        new: Work { series: 1_000_000, samples: 12 },
        long: Work { series: 100_000, samples: 360 },
        v2: Work { series: 100_000, samples: 60 },
    };
    pub(crate) const QUICK: Self = Self {
        short: Work { series: 10_000, samples: 60 },
        new: Work { series: 100_000, samples: 12 },
        long: Work { series: 10_000, samples: 360 },
        v2: Work { series: 10_000, samples: 60 },
    };
}

impl Sizes {
    pub(crate) fn many(&self) -> Work {
        self.new
    }

    pub(crate) fn hour(&self) -> Work {
        self.long
    }
}

/// In which direction a figure is better, and how it is written.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    SamplesPerCpuSecond,
    BytesPerSeries,
    Seconds,
    Milliseconds,
}

impl Unit {
    pub(crate) fn more_is_better(self) -> bool {
        self == Self::SamplesPerCpuSecond
    }
}

/// One figure of one server.
pub(crate) struct Figure {
    pub(crate) row: String,
    pub(crate) unit: Unit,
    /// `None`: the server doesn't support it.
    pub(crate) value: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("run the load with {program}: {source}")]
    Load { program: String, source: std::io::Error },
    #[error("the load failed: {0}")]
    LoadFailed(String),
    #[error("{refused} samples were refused: {detail}")]
    Refused { refused: u64, detail: String },
    #[error("query {0}: {1}")]
    Query(String, String),
    #[error("the load's report has no {0}")]
    Report(&'static str),
}

pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) load: PathBuf,
    pub(crate) sizes: Sizes,
}

pub(crate) const STEP_MS: i64 = 10_000;

impl Bench {
    /// All rows of one server.
    pub(crate) fn measure(&self, kind: Kind) -> Result<Vec<Figure>, BenchError> {
        let mut figures = vec![self.remote_write(kind, self.sizes.short)?];
        figures.extend(self.new_series(kind, self.sizes.new)?);
        figures.push(self.remote_write(kind, self.sizes.long)?);
        figures.push(self.remote_write_v2(kind, self.sizes.v2)?);
        Ok(figures)
    }

    fn remote_write(&self, kind: Kind, work: Work) -> Result<Figure, BenchError> {
        let server = Server::start_empty(&self.programs, kind)?;
        let report = self.write(&server, "1.0", work, start_ms(work))?;
        let row = format!("samples/CPU-s, {} series x {}", short(work.series), work.samples);
        Ok(Figure { row, unit: Unit::SamplesPerCpuSecond, value: Some(report.samples_per_cpu_second) })
    }

    /// Many new series: speed, memory, and how long a start takes after a kill.
    fn new_series(&self, kind: Kind, work: Work) -> Result<[Figure; 3], BenchError> {
        let name = format!("{} new series x {}", short(work.series), work.samples);
        let server = Server::start_empty(&self.programs, kind)?;
        let report = self.write(&server, "1.0", work, start_ms(work))?;
        drop(server);
        let again = Server::start(&self.programs, kind)?;
        let start_up = again.start_up.as_secs_f64();
        let figure = |what: &str, unit, value| Figure { row: format!("{what}, {name}"), unit, value: Some(value) };
        Ok([
            figure("samples/CPU-s", Unit::SamplesPerCpuSecond, report.samples_per_cpu_second),
            figure("resident bytes/series", Unit::BytesPerSeries, report.resident_bytes / f64::from(work.series)),
            figure("start to ready after kill -9", Unit::Seconds, start_up),
        ])
    }

    /// Protocol 2.0 once every series is known.
    fn remote_write_v2(&self, kind: Kind, work: Work) -> Result<Figure, BenchError> {
        let row = format!("remote write 2.0, samples/CPU-s, {} known series x {}", short(work.series), work.samples);
        let unit = Unit::SamplesPerCpuSecond;
        if !kind.speaks_v2() {
            return Ok(Figure { row, unit, value: None });
        }
        let server = Server::start_empty(&self.programs, kind)?;
        let start = start_ms(work);
        self.write(&server, "2.0", Work { samples: 1, ..work }, start - STEP_MS)?;
        let report = self.write(&server, "2.0", work, start)?;
        Ok(Figure { row, unit, value: Some(report.samples_per_cpu_second) })
    }

    pub(crate) fn write(
        &self,
        server: &Server,
        protocol: &str,
        work: Work,
        start_ms: i64,
    ) -> Result<LoadReport, BenchError> {
        let mut command = Command::new(&self.load);
        command.arg("load").args(["--connections", "4", "--samples-per-request", "2000", "--labels", "10"]);
        command.args(["--retries", "100", "--step", "10s", "--settle", "3s", "--protocol", protocol]);
        command.args(["--url".to_owned(), server.write_url(), "--server-pid".to_owned(), server.pid().to_string()]);
        command.args(["--series".to_owned(), work.series.to_string(), "--start".to_owned(), start_ms.to_string()]);
        command.args(["--samples-per-series".to_owned(), work.samples.to_string()]);
        let program = self.load.display().to_string();
        let output = command.stderr(std::process::Stdio::null()).output();
        let output = output.map_err(|source| BenchError::Load { program, source })?;
        LoadReport::parse(&output.stdout)
    }
}

/// What a row needs of the load's report.
pub(crate) struct LoadReport {
    samples_per_cpu_second: f64,
    resident_bytes: f64,
}

impl LoadReport {
    fn parse(stdout: &[u8]) -> Result<Self, BenchError> {
        let json: Value = serde_json::from_slice(stdout).map_err(|_| {
            BenchError::LoadFailed(format!("its output is no report: {:?}", String::from_utf8_lossy(stdout)))
        })?;
        let refused = json["refused_samples"].as_u64().ok_or(BenchError::Report("refused_samples"))?;
        if refused > 0 {
            return Err(BenchError::Refused { refused, detail: json["refusals"].to_string() });
        }
        let server = |name: &'static str| json["server"][name].as_f64().ok_or(BenchError::Report(name));
        Ok(Self {
            samples_per_cpu_second: server("samples_per_cpu_second")?,
            resident_bytes: server("resident_bytes")?,
        })
    }
}

/// Such that the last sample is of now: none lies in the future, and none is too old for a peer.
pub(crate) fn start_ms(work: Work) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as i64 - i64::from(work.samples) * STEP_MS
}

pub(crate) fn short(count: u32) -> String {
    match count {
        1_000_000.. => format!("{} M", count / 1_000_000),
        _ => format!("{} k", count / 1_000),
    }
}
