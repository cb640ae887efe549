//! The command line.
//!
//! `serve` takes Prometheus' flags by their names. Three kinds of names reach us: ours (clap knows them), Prometheus' flags
//! whose feature is not here (taken, and named in one warning), and the rest (refused, with the nearest known name). Kingpin's
//! way of writing switches is accepted too: `--name` and `--no-name`.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use promql::parser::ParseOptions;
use regex::Regex;
use tsdb::limits::ShareLimit;

use super::{
    foreign::{self, Takes},
    nearest,
    retention::RetentionSettings,
    units::{PromDuration, Size},
};
use crate::{
    check_command::CheckArgs, load::LoadArgs, promql_command::PromqlArgs, query_command::QueryArgs,
    tsdb_command::TsdbArgs, tune::TuneArgs,
};

/// Listens here unless told otherwise, like Prometheus.
pub(crate) const DEFAULT_LISTEN_ADDRESS: &str = "0.0.0.0:9090";
/// Read if present; missing is an error only if named on the command line.
pub(crate) const DEFAULT_CONFIG_FILE: &str = "prometheus.yml";

#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    about,
    max_term_width = 120,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the server
    Serve(Box<ServeFlags>),
    /// Write made-up metrics to a remote-write endpoint and measure it
    Load(Box<LoadArgs>),
    /// Look at a data directory whose server does not run
    Tsdb(TsdbArgs),
    /// Check files before a server gets them
    Check(CheckArgs),
    /// Try out the query language
    Promql(PromqlArgs),
    Query(QueryArgs),
    /// Measure this machine and write a tuning file for it
    Tune(TuneArgs),
}

/// A command line, understood.
#[derive(Debug)]
pub(crate) enum Command {
    Serve(Box<ServeCommand>),
    Load(Box<LoadArgs>),
    Tsdb(TsdbArgs),
    Check(CheckArgs),
    Promql(PromqlArgs),
    Query(QueryArgs),
    Tune(TuneArgs),
}

#[derive(Debug)]
pub(crate) struct ServeCommand {
    pub(crate) flags: ServeFlags,
    /// Whether `--config.file` was given, so that its absence is an error.
    pub(crate) config_file_named: bool,
    /// Every flag of ours with its value in text, for `/api/v1/status/flags`.
    pub(crate) texts: BTreeMap<String, String>,
    /// Prometheus' flags that were given and change nothing here.
    pub(crate) ignored: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Logfmt,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Excess {
    /// 400, with the reason and the first of them; what else the request has is stored
    Refuse,
    /// Nothing: they are counted in millrace_samples_rejected_total
    Drop,
}

/// `LABEL=COUNT`
fn share_limit(text: &str) -> Result<ShareLimit, String> {
    let parts = text.rsplit_once('=').filter(|(label, _)| !label.is_empty());
    let (label, count) = parts.ok_or("write it as LABEL=COUNT, such as job=100000")?;
    let series_max = count.parse().ok().filter(|&count| count > 0);
    let series_max = series_max.ok_or_else(|| format!("{count:?} is not a number of series, at least 1"))?;
    Ok(ShareLimit { label: label.to_owned(), series_max })
}

/// A regular expression for origins, anchored at both ends.
#[derive(Clone, Debug)]
pub(crate) struct OriginPattern {
    /// `None` for `.*`, which matches whatever comes, also what is no text.
    pub(crate) regex: Option<Regex>,
}

impl std::str::FromStr for OriginPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ".*" {
            return Ok(Self { regex: None });
        }
        let regex =
            Regex::new(&format!("^(?:{text})$")).map_err(|error| format!("not a regular expression: {error}"))?;
        Ok(Self { regex: Some(regex) })
    }
}

/// Flags of `millrace serve`. Where Prometheus has a flag of the same name, name, meaning and default are its own.
#[derive(Clone, Debug, Args)]
#[command(next_line_help = true)]
pub(crate) struct ServeFlags {
    /// Prometheus configuration file; read if it is there, must be there if named
    #[arg(long = "config.file", value_name = "PATH", default_value = DEFAULT_CONFIG_FILE)]
    pub(crate) config_file: PathBuf,

    /// Placement and sizes of the data plane (TOML); without it they are chosen for this machine
    #[arg(long = "tuning.file", value_name = "PATH")]
    pub(crate) tuning_file: Option<PathBuf>,

    /// Where the data lives
    #[arg(long = "storage.tsdb.path", value_name = "PATH", default_value = "data/")]
    pub(crate) storage_path: PathBuf,

    /// How long samples are kept, seen from the newest block; 15d if no size is given either, 0s: without end
    #[arg(long = "storage.tsdb.retention.time", value_name = "DURATION")]
    pub(crate) retention_time: Option<PromDuration>,

    /// Size that blocks and the shards' files together may have; the oldest blocks go first. 0: without end
    #[arg(long = "storage.tsdb.retention.size", value_name = "SIZE", default_value = "0")]
    pub(crate) retention_size: Size,

    /// Address of the API, the status page and remote write; repeatable
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", default_value = DEFAULT_LISTEN_ADDRESS)]
    pub(crate) listen_addresses: Vec<String>,

    /// Address of the data plane's own listener, which takes remote write only and at the least cost; off unless set
    #[arg(long = "ingest.listen-address", value_name = "HOST:PORT")]
    pub(crate) ingest_listen_address: Option<String>,

    /// Address of a push gateway for jobs that end before they are scraped; off unless set
    #[arg(long = "push.listen-address", value_name = "HOST:PORT")]
    pub(crate) push_listen_address: Option<String>,

    /// Path of the push gateway on the web address, such as /pushgateway; off unless set
    #[arg(long = "push.route-prefix", value_name = "PATH", value_parser = route_path)]
    pub(crate) push_route_prefix: Option<String>,

    /// How long a group of pushed metrics stays after its last push, if the push itself does not say; 0s: until it is deleted
    #[arg(long = "push.time-to-live", value_name = "DURATION", default_value = "0s")]
    pub(crate) push_time_to_live: PromDuration,

    /// Take pushed metrics without looking whether they contradict those that are there
    #[arg(long = "push.disable-consistency-check", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub(crate) push_unchecked: bool,

    /// Let names of labels in the paths of pushes stand for any letters, in their escaped form U__...
    #[arg(long = "push.enable-utf8-names", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub(crate) push_utf8_names: bool,

    /// How long a request may take to arrive, and how long an idle connection is kept
    #[arg(long = "web.read-timeout", value_name = "DURATION", default_value = "5m")]
    pub(crate) read_timeout: PromDuration,

    /// Connections to one listen address at a time; the next ones wait
    #[arg(long = "web.max-connections", value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections_max: u32,

    /// URL under which the server is reached from outside; its path is the default of --web.route-prefix
    #[arg(long = "web.external-url", value_name = "URL", default_value = "")]
    pub(crate) external_url: String,

    /// Path before all routes
    #[arg(long = "web.route-prefix", value_name = "PATH")]
    pub(crate) route_prefix: Option<String>,

    /// Regular expression for origins that browsers may call from, fully anchored
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*")]
    pub(crate) cors_origin: OriginPattern,

    /// Allow reload and shutdown by HTTP
    #[arg(long = "web.enable-lifecycle", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub(crate) enable_lifecycle: bool,

    /// Allow administrative requests by HTTP
    #[arg(long = "web.enable-admin-api", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub(crate) enable_admin_api: bool,

    /// Accepted for Prometheus' sake: remote write is always taken
    #[arg(long = "web.enable-remote-write-receiver", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = ArgAction::Set)]
    pub(crate) enable_remote_write_receiver: bool,

    /// How far an instant query looks back for a sample
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m")]
    pub(crate) lookback_delta: PromDuration,

    /// How long a query may take
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m")]
    pub(crate) query_timeout: PromDuration,

    /// Queries that run at a time; the next ones wait
    #[arg(long = "query.max-concurrency", value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) query_concurrency: u32,

    /// Samples that one query may hold in memory
    #[arg(long = "query.max-samples", value_name = "COUNT", default_value_t = 50_000_000)]
    pub(crate) query_samples_max: u64,

    /// Memory that one query may hold
    #[arg(long = "query.max-memory", value_name = "SIZE", default_value = "1GB")]
    pub(crate) query_memory_max: Size,

    /// Queries that take this long, waiting and answering included, get a line in the log; 0s: none does
    #[arg(long = "query.slow-threshold", value_name = "DURATION", default_value = "10s")]
    pub(crate) query_slow_threshold: PromDuration,

    /// Features of Prometheus to switch on, separated by commas; repeatable
    #[arg(
        long = "enable-feature",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) features: Vec<String>,

    /// Series that the server may hold; 0: as many as fit into the memory
    #[arg(long = "limits.max-series", value_name = "COUNT", default_value_t = 0)]
    pub(crate) series_max: u64,

    /// Labels of a series, the metric's name included
    #[arg(long = "limits.max-labels-per-series", value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) series_labels_max: u32,

    /// Series that one metric may have; 0: any number
    #[arg(long = "limits.max-series-per-metric", value_name = "COUNT", default_value_t = 0)]
    pub(crate) metric_series_max: u64,

    /// Series that each value of a label may have, such as job=100000; repeatable, one label each
    #[arg(long = "limits.max-series-per-label", value_name = "LABEL=COUNT", value_parser = share_limit)]
    pub(crate) label_series_max: Vec<ShareLimit>,

    /// Series that may be created within a minute; 0: any number
    #[arg(long = "limits.max-new-series-per-minute", value_name = "COUNT", default_value_t = 0)]
    pub(crate) new_series_per_minute_max: u32,

    /// What a sender is told of series beyond one of these limits
    #[arg(long = "limits.excess", value_name = "WAY", default_value = "refuse")]
    pub(crate) excess: Excess,

    /// The least important messages that are logged
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,

    /// How messages are written
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    pub(crate) log_format: LogFormat,
}

/// Features of Prometheus that have an effect here.
const FEATURES: [&str; 8] = [
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "type-and-unit-labels",
    "created-timestamp-zero-ingestion",
    // Always on.
    "native-histograms",
    // Always on; `storage.exemplars.max_exemplars: 0` switches it off.
    "exemplar-storage",
];

/// First parts of paths that the web address has already.
const TAKEN_PATHS: [&str; 8] =
    ["api", "metrics", "federate", "status", "cardinality", "targets", "service-discovery", "-"];

/// A path with a slash in front and none behind, of names alone.
fn route_path(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if path.split('/').next().is_some_and(|first| TAKEN_PATHS.contains(&first)) {
        return Err(format!("{text:?} is a path of the server itself: choose another, such as /pushgateway"));
    }
    if path.split('/').all(is_part) {
        Ok(format!("/{path}"))
    } else {
        Err(format!("{text:?} is no path such as /pushgateway"))
    }
}

impl ServeFlags {
    pub(crate) fn parse_options(&self) -> ParseOptions {
        parse_options(&self.features)
    }

    pub(crate) fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    /// What the flags say of it.
    pub(crate) fn retention(&self) -> RetentionSettings {
        RetentionSettings { time: self.retention_time, size: Some(self.retention_size), percentage: None }
    }

    pub(crate) fn slow_query_threshold(&self) -> Option<Duration> {
        Some(self.query_slow_threshold.get()).filter(|threshold| !threshold.is_zero())
    }

    pub(crate) fn query_memory_bytes_max(&self) -> usize {
        usize::try_from(self.query_memory_max.bytes()).unwrap_or(usize::MAX)
    }

    /// Features asked for that change nothing here.
    pub(crate) fn features_without_effect(&self) -> impl Iterator<Item = &str> {
        let features = self.features.iter().map(String::as_str);
        features.filter(|feature| !feature.is_empty() && !FEATURES.contains(feature))
    }
}

/// A command line that can't be used, or that asked for text and nothing else.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// Help, version, or clap's own complaint; knows by itself where it is printed and with which exit code.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    #[error("unknown flag {name}{hint} (millrace serve --help lists all)")]
    UnknownFlag { name: String, hint: String },
    #[error("flag {name} of Prometheus needs a value")]
    NoValue { name: String },
}

/// What expressions may use with these features.
pub(crate) fn parse_options(features: &[String]) -> ParseOptions {
    let has = |name: &str| features.iter().any(|feature| feature == name);
    ParseOptions {
        experimental_functions: has("promql-experimental-functions"),
        extended_range_selectors: has("promql-extended-range-selectors"),
        binop_fill_modifiers: has("promql-binop-fill-modifiers"),
    }
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args: Vec<_> = args.into_iter().collect();
    let mut ignored = Vec::new();
    if args.get(1).is_some_and(|name| name == "serve") {
        (args, ignored) = set_foreign_flags_aside(args)?;
    }
    let matches = Cli::command().try_get_matches_from(args)?;
    match Cli::from_arg_matches(&matches)?.command {
        CliCommand::Load(args) => Ok(Command::Load(args)),
        CliCommand::Check(args) => Ok(Command::Check(args)),
        CliCommand::Promql(args) => Ok(Command::Promql(args)),
        CliCommand::Query(args) => Ok(Command::Query(args)),
        CliCommand::Tsdb(args) => Ok(Command::Tsdb(args)),
        CliCommand::Tune(args) => Ok(Command::Tune(args)),
        CliCommand::Serve(flags) => {
            let matches = matches.subcommand_matches("serve").expect("the subcommand that was just parsed");
            let named = matches.value_source("config_file") == Some(clap::parser::ValueSource::CommandLine);
            let texts = flag_texts(matches);
            Ok(Command::Serve(Box::new(ServeCommand { flags: *flags, config_file_named: named, texts, ignored })))
        }
    }
}

/// Takes Prometheus' flags that are not ours out of the arguments, together with their values, and checks all other names.
fn set_foreign_flags_aside(args: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>), UsageError> {
    let serve = ServeFlags::augment_args(clap::Command::new("serve"));
    let ours: Vec<&Arg> = serve.get_arguments().collect();
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(long) = arg.to_str().and_then(|text| text.strip_prefix("--")).filter(|text| !text.is_empty()) else {
            kept.push(arg);
            continue;
        };
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        if let Some(own) = find_own(&ours, name) {
            kept.push(own.negated.map_or_else(|| arg.clone(), OsString::from));
            continue;
        }
        let Some(takes) = foreign::find(name) else {
            return Err(unknown(name, &ours));
        };
        if takes == Takes::Value && value.is_none() && args.next().is_none() {
            return Err(UsageError::NoValue { name: format!("--{name}") });
        }
        ignored.push(format!("--{name}"));
    }
    Ok((kept, ignored))
}

struct Own {
    /// What to hand to clap instead of `--no-name`.
    negated: Option<String>,
}

fn find_own(ours: &[&Arg], name: &str) -> Option<Own> {
    if matches!(name, "help" | "version") || ours.iter().any(|arg| arg.get_long() == Some(name)) {
        return Some(Own { negated: None });
    }
    let positive = name.strip_prefix("no-")?;
    let switch = ours.iter().find(|arg| arg.get_long() == Some(positive))?;
    switch.is_require_equals_set().then(|| Own { negated: Some(format!("--{positive}=false")) })
}

fn unknown(name: &str, ours: &[&Arg]) -> UsageError {
    let mut known: Vec<&str> = ours.iter().filter_map(|arg| arg.get_long()).collect();
    known.extend(foreign::names());
    let hint = nearest::nearest(name, known).map_or_else(String::new, |near| format!(", did you mean --{near}?"));
    UsageError::UnknownFlag { name: format!("--{name}"), hint }
}

/// Every flag with the text of its value, given or default; several values are joined by commas.
fn flag_texts(matches: &clap::ArgMatches) -> BTreeMap<String, String> {
    let serve = ServeFlags::augment_args(clap::Command::new("serve"));
    let text = |arg: &Arg| {
        let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
        values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
    };
    let own = serve.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    own.map(|(name, arg)| (name.to_owned(), text(arg))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> Result<ServeCommand, UsageError> {
        let args = ["millrace", "serve"].iter().chain(args).map(OsString::from);
        match parse(args)? {
            Command::Serve(command) => Ok(*command),
            Command::Load(_)
            | Command::Check(_)
            | Command::Tsdb(_)
            | Command::Promql(_)
            | Command::Query(_)
            | Command::Tune(_) => {
                unreachable!("the arguments say serve")
            }
        }
    }

    #[test]
    fn defaults_are_prometheus_own() {
        let command = serve(&[]).expect("no flag is needed");
        assert_eq!(command.flags.listen_addresses, [DEFAULT_LISTEN_ADDRESS]);
        assert_eq!(command.flags.lookback_delta.ms(), 300_000);
        assert_eq!(command.texts["query.timeout"], "2m");
        assert_eq!(command.texts["web.enable-lifecycle"], "false");
        assert!(!command.config_file_named && command.ignored.is_empty());
    }

    #[test]
    fn the_push_gateway_has_a_path_of_its_own() {
        let prefix = |text: &str| {
            let parsed = serve(&[&format!("--push.route-prefix={text}")]);
            parsed.map(|command| command.flags.push_route_prefix).map_err(|error| error.to_string())
        };
        for text in ["/pushgateway", "pushgateway/"] {
            assert_eq!(prefix(text), Ok(Some("/pushgateway".to_owned())));
        }
        for taken in ["/metrics", "/api/push", "-"] {
            assert!(prefix(taken).is_err_and(|error| error.contains("is a path of the server itself")), "{taken}");
        }
        for odd in ["", "/", "/a//b", "/{a}", "/ä"] {
            assert!(prefix(odd).is_err_and(|error| error.contains("is no path")), "{odd}");
        }
    }

    #[test]
    fn switches_are_written_kingpins_way_and_ours() {
        assert!(serve(&["--web.enable-lifecycle"]).expect("a switch").flags.enable_lifecycle);
        assert!(!serve(&["--no-web.enable-lifecycle"]).expect("its opposite").flags.enable_lifecycle);
        assert!(!serve(&["--web.enable-lifecycle=false"]).expect("with a value").flags.enable_lifecycle);
        let listen = serve(&["--web.listen-address", "a:1", "--web.listen-address=b:2"]).expect("repeatable");
        assert_eq!(listen.flags.listen_addresses, ["a:1", "b:2"]);
    }

    #[test]
    fn prometheus_other_flags_are_set_aside_with_their_values() {
        let args = ["--storage.remote.flush-deadline", "30s", "--web.page-title=x", "--agent", "--no-auto-gomaxprocs"];
        let command = serve(&[&args[..], &["--query.timeout=1m"]].concat()).expect("all known");
        let names = ["--storage.remote.flush-deadline", "--web.page-title", "--agent", "--no-auto-gomaxprocs"];
        assert_eq!(command.ignored, names);
        assert_eq!(command.flags.query_timeout.ms(), 60_000);
    }

    #[test]
    fn an_unknown_flag_names_the_nearest_known() {
        let error = serve(&["--storage.tsdb.pth=x"]).expect_err("a slip").to_string();
        assert!(error.contains("--storage.tsdb.pth") && error.contains("--storage.tsdb.path"), "{error}");
        let error = serve(&["--storage.tsdb.retention.tme=x"]).expect_err("a slip").to_string();
        assert!(error.contains("--storage.tsdb.retention.time"), "{error}");
        let error = serve(&["--web.page-title"]).expect_err("no value").to_string();
        assert!(error.contains("--web.page-title"), "{error}");
    }
}
