//! `millrace query`: the language from the command line, asked of any server that speaks Prometheus' API.
//!
//! Commands, arguments and their order are those of `promtool query`; the formats are more.

mod answer;
mod client;
mod csv;
mod plot;
mod promql;
mod table;
mod time;

use std::io::{self, IsTerminal as _, Write};

use clap::{Args, Subcommand, ValueEnum};

use self::{
    answer::{AnswerError, Data},
    client::{Api, ApiError},
    time::{StepText, TimeText},
};
use crate::calendar;

/// Steps of a range query that names no step.
const STEPS: i64 = 250;
/// What a range query covers that names no start; as promtool.
const RANGE_MS: i64 = 5 * 60_000;

/// Ask a server: millrace, Prometheus, or any that speaks its API
#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    #[command(subcommand)]
    command: QueryCommand,
}

#[derive(Debug, Subcommand)]
enum QueryCommand {
    /// An expression at one time
    Instant(InstantArgs),
    /// An expression at many times
    Range(RangeArgs),
    /// Series by selectors
    Series(SeriesArgs),
    /// Names of labels, or the values of one
    Labels(LabelsArgs),
}

#[derive(Args, Debug)]
struct Common {
    /// How the answer is written
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    format: Format,
    /// Sent with each request, such as "Authorization: Bearer TOKEN"; repeatable
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// URL of the server, with the user and the password in it if it asks for some: http://localhost:9090
    #[arg(value_name = "SERVER")]
    server: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for eyes
    Table,
    /// What the server said, as it said it
    Json,
    /// RFC 4180, a line for each sample
    Csv,
    /// Curves in the terminal
    Plot,
    /// As promtool writes it
    Promql,
}

#[derive(Args, Debug)]
struct InstantArgs {
    /// RFC 3339, seconds since 1970, now, or a duration before now: -1h
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    time: TimeText,
    #[command(flatten)]
    common: Common,
    #[arg(value_name = "EXPR")]
    expr: String,
}

#[derive(Args, Debug)]
struct RangeArgs {
    /// RFC 3339, seconds since 1970, now, or a duration before now: -1h; five minutes before the end unless given
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<TimeText>,
    /// As the start
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    end: TimeText,
    /// Seconds or a duration; a 250th of the range, in whole seconds, unless given
    #[arg(long, value_name = "DURATION")]
    step: Option<StepText>,
    #[command(flatten)]
    common: Common,
    #[arg(value_name = "EXPR")]
    expr: String,
}

#[derive(Args, Debug)]
struct Selection {
    /// Selector of series; repeatable
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// With samples from this time on; RFC 3339, seconds since 1970, now, or a duration before now: -1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<TimeText>,
    /// With samples up to this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: Option<TimeText>,
    /// How many at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

#[derive(Args, Debug)]
struct SeriesArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct LabelsArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
    /// Of this label the values; without it the names of all
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryCommandError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("--step: the range from {start} to {end} ms has no step; is its end before its start?")]
    NoStep { start: i64, end: i64 },
    #[error("--format plot: only expressions can be drawn")]
    NotDrawn,
    #[error("write the answer: {0}")]
    Output(#[from] io::Error),
}

type Pairs = Vec<(&'static str, String)>;

pub(crate) fn run(args: QueryArgs) -> Result<(), QueryCommandError> {
    let now = calendar::now_ms();
    match args.command {
        QueryCommand::Instant(args) => {
            let pairs = vec![("query", args.expr), ("time", time::seconds(args.time.at(now)))];
            show(&args.common, "query", pairs)
        }
        QueryCommand::Range(args) => {
            let pairs = range_pairs(&args, now)?;
            show(&args.common, "query_range", pairs)
        }
        QueryCommand::Series(args) => {
            // The server's own refusal says what is missing if there is none.
            show(&args.common, "series", args.selection.pairs(now))
        }
        QueryCommand::Labels(args) => {
            let pairs = args.selection.pairs(now);
            match &args.name {
                Some(name) => show(&args.common, &format!("label/{}/values", client::label_in_path(name)), pairs),
                None => show(&args.common, "labels", pairs),
            }
        }
    }
}

fn range_pairs(args: &RangeArgs, now: i64) -> Result<Pairs, QueryCommandError> {
    let end = args.end.at(now);
    let start = args.start.map_or(end.saturating_sub(RANGE_MS), |start| start.at(now));
    let span = end.checked_sub(start).filter(|span| *span >= 0);
    let span = span.ok_or(QueryCommandError::NoStep { start, end })?;
    let step = args.step.map_or((span / STEPS / 1000 * 1000).max(1000), |step| step.ms());
    Ok(vec![
        ("query", args.expr.clone()),
        ("start", time::seconds(start)),
        ("end", time::seconds(end)),
        ("step", time::seconds(step)),
    ])
}

impl Selection {
    fn pairs(&self, now: i64) -> Pairs {
        let mut pairs: Pairs = self.matches.iter().map(|one| ("match[]", one.clone())).collect();
        pairs.extend(self.start.map(|start| ("start", time::seconds(start.at(now)))));
        pairs.extend(self.end.map(|end| ("end", time::seconds(end.at(now)))));
        pairs.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        pairs
    }
}

fn show(common: &Common, path: &str, pairs: Pairs) -> Result<(), QueryCommandError> {
    let (code, body) = Api::new(&common.server, &common.headers)?.ask(path, &pairs)?;
    let answer = answer::read(code, &body)?;
    for (kind, texts) in [("warning", &answer.warnings), ("info", &answer.infos)] {
        texts.iter().for_each(|text| eprintln!("{kind}: {text}"));
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out, common.format, answer.data).and_then(|()| Ok(out.flush()?)) {
        // Whoever read has seen enough.
        Err(QueryCommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write(out: &mut dyn Write, format: Format, data: &serde_json::value::RawValue) -> Result<(), QueryCommandError> {
    if format == Format::Json {
        return Ok(writeln!(out, "{}", answer::result(data)?)?);
    }
    let data = answer::data(data)?;
    match format {
        Format::Json => unreachable!("written above"),
        Format::Table => table::write(out, &data)?,
        Format::Csv => csv::write(out, &data)?,
        Format::Promql => promql::write(out, &data)?,
        Format::Plot => match &data {
            Data::Series(_) | Data::Names(_) => return Err(QueryCommandError::NotDrawn),
            Data::Vector(_) | Data::Matrix(_) | Data::Scalar(_) | Data::Text(_) => {
                plot::write(out, &data, plot::Canvas::of_terminal(io::stdout().is_terminal()))?;
            }
        },
    }
    Ok(())
}
