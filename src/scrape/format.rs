//! Which format a page is asked for in, and which one it came in.

use wire::exposition::Dialect;

use super::Features;
use crate::config::prometheus::scrape::{NameEscaping, Protocol, ScrapeConfig};

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text(Dialect),
    Protobuf,
}

/// What is asked for if nothing else is said, the best first.
const DEFAULT: [Protocol; 4] =
    [Protocol::OpenMetrics100, Protocol::OpenMetrics001, Protocol::Text100, Protocol::Text004];
/// The same for who wants what text does not say.
const PROTOBUF_FIRST: [Protocol; 5] =
    [Protocol::Protobuf, Protocol::OpenMetrics100, Protocol::OpenMetrics001, Protocol::Text100, Protocol::Text004];

/// Weight of the first, in tenths.
const FIRST_WEIGHT: usize = 6;

fn media(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Protobuf => {
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
        }
        Protocol::Text004 => "text/plain;version=0.0.4",
        Protocol::Text100 => "text/plain;version=1.0.0",
        Protocol::OpenMetrics001 => "application/openmetrics-text;version=0.0.1",
        Protocol::OpenMetrics100 => "application/openmetrics-text;version=1.0.0",
    }
}

fn escaping(escaping: NameEscaping) -> &'static str {
    match escaping {
        NameEscaping::AllowUtf8 => "allow-utf-8",
        NameEscaping::Underscores => "underscores",
        NameEscaping::Dots => "dots",
        NameEscaping::Values => "values",
    }
}

/// The `Accept` header of a job.
pub(crate) fn accept(job: &ScrapeConfig, features: Features) -> String {
    let needs_protobuf = features.scrapes_native_histograms(job) || features.start_times;
    let by_default: &[Protocol] = if needs_protobuf { &PROTOBUF_FIRST } else { &DEFAULT };
    let asked = job.scrape_protocols.as_deref().unwrap_or(by_default);
    let mut all: Vec<String> = Vec::new();
    for &protocol in asked {
        let has_escaping = matches!(protocol, Protocol::Text100 | Protocol::OpenMetrics100);
        let escaping =
            if has_escaping { format!(";escaping={}", escaping(job.name_scheme.escaping)) } else { String::new() };
        all.push(format!("{}{escaping};q=0.{}", media(protocol), FIRST_WEIGHT - all.len()));
    }
    all.push(format!("*/*;q=0.{}", FIRST_WEIGHT - all.len()));
    all.join(",")
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    Missing,
    #[error("received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for target")]
    Unsupported(String),
    #[error("protobuf of another kind than delimited io.prometheus.client.MetricFamily: {0:?}")]
    Protobuf(String),
}

/// The format of a page, by its `Content-Type`, or by the job's word for targets that don't say.
pub(crate) fn of_page(content_type: Option<&str>, fallback: Option<Protocol>) -> Result<Format, FormatError> {
    let mut parts = content_type.unwrap_or_default().split(';').map(|part| part.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    match media.as_str() {
        "text/plain" => Ok(Format::Text(Dialect::Text)),
        "application/openmetrics-text" => Ok(Format::Text(Dialect::OpenMetrics)),
        "application/vnd.google.protobuf" if parts.all(|parameter| is_of_families(&parameter)) => Ok(Format::Protobuf),
        "application/vnd.google.protobuf" => Err(FormatError::Protobuf(content_type.unwrap_or_default().to_owned())),
        _ => match fallback {
            Some(Protocol::Text004 | Protocol::Text100) => Ok(Format::Text(Dialect::Text)),
            Some(Protocol::OpenMetrics001 | Protocol::OpenMetrics100) => Ok(Format::Text(Dialect::OpenMetrics)),
            Some(Protocol::Protobuf) => Ok(Format::Protobuf),
            None if media.is_empty() => Err(FormatError::Missing),
            None => Err(FormatError::Unsupported(content_type.unwrap_or_default().to_owned())),
        },
    }
}

/// Whether a parameter of the media type is one of metric families behind their lengths.
fn is_of_families(parameter: &str) -> bool {
    match parameter.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
        Some(("proto", value)) => value == "io.prometheus.client.metricfamily",
        Some(("encoding", value)) => value == "delimited",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prometheus::parse_for_tests;

    fn accept_of(keys: &str) -> String {
        let config = parse_for_tests(&format!("scrape_configs: [{{job_name: x, {keys}}}]"));
        accept(&config.scrape_configs[0], Features::default())
    }

    #[test]
    fn formats_are_asked_for_as_prometheus_does() {
        assert_eq!(
            accept_of(""),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        let with_protobuf = accept_of("scrape_native_histograms: true");
        let first = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,";
        assert!(with_protobuf.starts_with(first) && with_protobuf.ends_with(",*/*;q=0.1"), "{with_protobuf}");
        let keys = "scrape_protocols: [PrometheusText1.0.0], metric_name_escaping_scheme: underscores";
        assert_eq!(accept_of(keys), "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn a_page_is_what_its_target_says() {
        let (text, open_metrics) = (Ok(Format::Text(Dialect::Text)), Ok(Format::Text(Dialect::OpenMetrics)));
        assert_eq!(of_page(Some("Text/Plain; version=0.0.4"), None), text);
        assert_eq!(of_page(Some("application/openmetrics-text"), Some(Protocol::Text004)), open_metrics);
        assert_eq!(of_page(Some("text/html"), Some(Protocol::Text004)), text);
        assert_eq!(of_page(None, Some(Protocol::Protobuf)), Ok(Format::Protobuf));
        assert_eq!(of_page(None, None), Err(FormatError::Missing));
        assert_eq!(of_page(Some("text/html"), None), Err(FormatError::Unsupported("text/html".to_owned())));
        let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=";
        assert_eq!(of_page(Some(&format!("{protobuf}delimited")), None), Ok(Format::Protobuf));
        let other = format!("{protobuf}text");
        assert_eq!(of_page(Some(&other), None), Err(FormatError::Protobuf(other.clone())));
    }
}
