//! The flags of `millrace load`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use wire::remote_write::Protocol;

use super::{scrape_targets::ScrapeTargetsArgs, values::Shape};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LoadCommand {
    ScrapeTargets(ScrapeTargetsArgs),
}

/// Write made-up metrics to a remote-write endpoint and report what was acknowledged
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LoadCommand>,
    /// Where to write: an http address with its path
    #[arg(long, default_value = "http://127.0.0.1:9090/api/v1/write")]
    pub(crate) url: String,
    /// A header to send with each request; may be given again
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Protocol of remote write
    #[arg(long, value_enum, default_value = "1.0")]
    pub(crate) protocol: ProtocolArg,
    /// Series written to at a time
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) series: u32,
    /// Labels of each series, the metric's name among them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=100))]
    pub(crate) labels: u32,
    /// Share of the series that are replaced by new ones, per minute of sample time (0.05, 0.05/minute) or per pass (0.01/pass)
    #[arg(long, default_value = "0")]
    pub(crate) churn: Churn,
    /// Samples to write to each series
    #[arg(long)]
    pub(crate) samples_per_series: Option<u32>,
    /// Stop after this time, if not done earlier
    #[arg(long, value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Samples per second over all connections; as many as the server takes unless given
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// Connections, each with its own part of the series and one request at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Samples in each request
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) samples_per_request: u32,
    /// How values go on from sample to sample
    #[arg(long, value_enum, default_value = "mixed")]
    pub(crate) values: Shape,
    /// Time between two samples of a series
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub(crate) step: Duration,
    /// Time of the first sample, in milliseconds since 1970; unless given, such that the last sample is of now, at most two hours ago
    #[arg(long, value_name = "MS")]
    pub(crate) start: Option<i64>,
    /// How often a request is sent again that was answered with a status of 500 or above, or not at all; Retry-After is honoured
    #[arg(long, default_value_t = 0)]
    pub(crate) retries: u32,
    /// How long to wait for an answer
    #[arg(long, value_parser = parse_duration, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Process of the server, whose processor time and memory to report
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Wait before the server's processor time is read at the end, for the work it has put off
    #[arg(long, value_parser = parse_duration)]
    pub(crate) settle: Option<Duration>,
    /// Append to this file what --check needs: the load's arguments, and a line for each acknowledged request (first series, one
    /// past the last, first and last time in milliseconds)
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_log: Option<PathBuf>,
    /// Write nothing, but ask the server of --query-url for every sample that this verify log says was acknowledged
    #[arg(long, value_name = "FILE", conflicts_with = "verify_log")]
    pub(crate) check: Option<PathBuf>,
    /// Where --check asks: the http address of instant queries
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090/api/v1/query")]
    pub(crate) query_url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    #[value(name = "1.0")]
    V1,
    #[value(name = "2.0")]
    V2,
}

impl From<ProtocolArg> for Protocol {
    fn from(arg: ProtocolArg) -> Self {
        match arg {
            ProtocolArg::V1 => Self::V1,
            ProtocolArg::V2 => Self::V2,
        }
    }
}

/// How many series are replaced over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Churn {
    PerMinute(f64),
    PerPass(f64),
}

impl Churn {
    /// The share of series replaced from one pass over all series to the next.
    pub(super) fn per_pass(self, step: Duration) -> f64 {
        match self {
            Self::PerMinute(share) => share * step.as_secs_f64() / 60.0,
            Self::PerPass(share) => share,
        }
    }
}

impl FromStr for Churn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "minute"));
        let share: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("{share} is not a share from 0 to 1"));
        }
        match unit {
            "minute" => Ok(Self::PerMinute(share)),
            "pass" => Ok(Self::PerPass(share)),
            _ => Err(format!("{unit:?} is neither \"minute\" nor \"pass\"")),
        }
    }
}

/// A whole number with its unit: ms, s, m or h.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "expected a number with its unit, as in 10s".to_owned())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is none of the units ms, s, m and h")),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| "a time too long".to_owned())
}
