//! Log lines in Prometheus' two formats, on standard error: logfmt (`time=... level=INFO msg="..." key=value`) and JSON with
//! the same keys.

use std::{fmt, io::IsTerminal as _};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    registry::LookupSpan,
};

use crate::{
    calendar,
    config::flags::{LogFormat, LogLevel},
    json::Json,
};

/// Makes the process log. Called once, before anything is worth logging.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .event_format(Lines { format })
        .init();
}

struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        line.push("time", calendar::rfc3339_ms(calendar::now_ms()));
        line.push("level", level_name(*event.metadata().level()).to_owned());
        line.push("source", event.metadata().target().to_owned());
        event.record(&mut line);
        match self.format {
            LogFormat::Logfmt => line.write_logfmt(&mut out),
            LogFormat::Json => line.write_json(&mut out),
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// Keys and values of one line, in order; the message comes fourth, as Prometheus writes it.
#[derive(Default)]
struct Line {
    pairs: Vec<(&'static str, String)>,
}

impl Line {
    /// Behind time, level and source.
    const MESSAGE_AT: usize = 3;

    fn push(&mut self, key: &'static str, value: String) {
        self.pairs.push((key, value));
    }

    fn write_logfmt(&self, out: &mut Writer<'_>) -> fmt::Result {
        for (index, (key, value)) in self.pairs.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            if needs_quotes(value) {
                write!(out, "{separator}{key}={value:?}")?;
            } else {
                write!(out, "{separator}{key}={value}")?;
            }
        }
        writeln!(out)
    }

    fn write_json(&self, out: &mut Writer<'_>) -> fmt::Result {
        let mut json = Json::default();
        json.string_map(self.pairs.iter().map(|(key, value)| (*key, value.as_str())));
        writeln!(out, "{}", String::from_utf8_lossy(&json.take()))
    }
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.chars().any(|c| c <= ' ' || c == '"' || c == '=' || c == '\\' || c.is_control())
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.pairs.insert(Self::MESSAGE_AT.min(self.pairs.len()), ("msg", value.to_owned()));
        } else {
            self.push(field.name(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logfmt_or_json() {
        let line = Line {
            pairs: vec![("level", "INFO".to_owned()), ("msg", "it \"works\"".to_owned()), ("n", "1".to_owned())],
        };
        let mut text = String::new();
        line.write_logfmt(&mut Writer::new(&mut text)).expect("writing to memory");
        line.write_json(&mut Writer::new(&mut text)).expect("writing to memory");
        let json = "{\"level\":\"INFO\",\"msg\":\"it \\\"works\\\"\",\"n\":\"1\"}\n";
        assert_eq!(text, format!("level=INFO msg=\"it \\\"works\\\"\" n=1\n{json}"));
    }
}
