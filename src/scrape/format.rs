//! Which format a page is asked for in, and which one it came in.

use wire::exposition::Dialect;

use crate::config::prometheus::scrape::{NameEscaping, Protocol, ScrapeConfig};

/// What is asked for if nothing else is said, the best first.
const DEFAULT: [Protocol; 4] =
    [Protocol::OpenMetrics100, Protocol::OpenMetrics001, Protocol::Text100, Protocol::Text004];

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
pub(crate) fn accept(job: &ScrapeConfig) -> String {
    let asked = job.scrape_protocols.as_deref().unwrap_or(&DEFAULT);
    // Nobody here reads protobuf yet, so it is not asked for.
    let readable = asked.iter().copied().filter(|protocol| *protocol != Protocol::Protobuf);
    let mut all: Vec<String> = Vec::new();
    for protocol in readable {
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
    #[error("pages in protobuf are not read yet: leave PrometheusProto out of scrape_protocols")]
    Protobuf,
}

/// The format of a page, by its `Content-Type`, or by the job's word for targets that don't say.
pub(crate) fn dialect(content_type: Option<&str>, fallback: Option<Protocol>) -> Result<Dialect, FormatError> {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "text/plain" => Ok(Dialect::Text),
        "application/openmetrics-text" => Ok(Dialect::OpenMetrics),
        "application/vnd.google.protobuf" => Err(FormatError::Protobuf),
        _ => match fallback {
            Some(Protocol::Text004 | Protocol::Text100) => Ok(Dialect::Text),
            Some(Protocol::OpenMetrics001 | Protocol::OpenMetrics100) => Ok(Dialect::OpenMetrics),
            Some(Protocol::Protobuf) => Err(FormatError::Protobuf),
            None if media.is_empty() => Err(FormatError::Missing),
            None => Err(FormatError::Unsupported(content_type.unwrap_or_default().to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prometheus::parse_for_tests;

    fn accept_of(keys: &str) -> String {
        accept(&parse_for_tests(&format!("scrape_configs: [{{job_name: x, {keys}}}]")).scrape_configs[0])
    }

    #[test]
    fn formats_are_asked_for_as_prometheus_does() {
        assert_eq!(
            accept_of(""),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        let keys = "scrape_protocols: [PrometheusText1.0.0], metric_name_escaping_scheme: underscores";
        assert_eq!(accept_of(keys), "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn a_page_is_what_its_target_says() {
        let text = Ok(Dialect::Text);
        assert_eq!(dialect(Some("Text/Plain; version=0.0.4"), None), text);
        assert_eq!(dialect(Some("application/openmetrics-text"), Some(Protocol::Text004)), Ok(Dialect::OpenMetrics));
        assert_eq!(dialect(Some("text/html"), Some(Protocol::Text004)), text);
        assert_eq!(dialect(None, None), Err(FormatError::Missing));
        assert_eq!(dialect(Some("text/html"), None), Err(FormatError::Unsupported("text/html".to_owned())));
    }
}
