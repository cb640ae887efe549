//! `scrape_configs`: jobs, with what they inherit from `global`.

use std::collections::BTreeMap;

use super::{
    discovery::{self, Discovery},
    global::{Global, NativeHistograms},
    http_client::HttpClient,
    relabel::RelabelConfig,
};
use crate::config::{
    units::{PromDuration, Size},
    yaml::{Fault, Keys},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScrapeConfig {
    pub(crate) job_name: String,
    pub(crate) honor_labels: bool,
    pub(crate) honor_timestamps: bool,
    pub(crate) track_timestamps_staleness: bool,
    pub(crate) params: BTreeMap<String, Vec<String>>,
    pub(crate) scrape_interval: PromDuration,
    pub(crate) scrape_timeout: PromDuration,
    pub(crate) scrape_protocols: Option<Vec<Protocol>>,
    pub(crate) fallback_scrape_protocol: Option<Protocol>,
    pub(crate) metrics_path: String,
    pub(crate) scheme: String,
    pub(crate) enable_compression: bool,
    pub(crate) scrape_failure_log_file: Option<String>,
    pub(crate) limits: Limits,
    /// Series of a target beyond which new ones are left out; 0 is none. Prometheus does not have it.
    pub(crate) series_limit: u64,
    pub(crate) native_histogram_bucket_limit: u64,
    pub(crate) native_histogram_min_bucket_factor: f64,
    pub(crate) native_histograms: NativeHistograms,
    pub(crate) extra_scrape_metrics: bool,
    pub(crate) name_scheme: NameScheme,
    pub(crate) client: HttpClient,
    pub(crate) relabel_configs: Vec<RelabelConfig>,
    pub(crate) metric_relabel_configs: Vec<RelabelConfig>,
    pub(crate) discovery: Vec<Discovery>,
}

/// A format of pages that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Protobuf,
    Text004,
    Text100,
    OpenMetrics001,
    OpenMetrics100,
}

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("OpenMetricsText0.0.1", Protocol::OpenMetrics001),
    ("OpenMetricsText1.0.0", Protocol::OpenMetrics100),
    ("PrometheusProto", Protocol::Protobuf),
    ("PrometheusText0.0.4", Protocol::Text004),
    ("PrometheusText1.0.0", Protocol::Text100),
];

/// Bounds on what a page, or a job, may bring; 0 is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) body_size: Option<Size>,
    pub(crate) sample: u64,
    pub(crate) target: u64,
    pub(crate) label: u64,
    pub(crate) label_name_length: u64,
    pub(crate) label_value_length: u64,
    pub(crate) keep_dropped_targets: u64,
}

/// Which names are valid, and how they are escaped for whom that does not know all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameScheme {
    pub(crate) validation: NameValidation,
    pub(crate) escaping: NameEscaping,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameValidation {
    #[default]
    Utf8,
    Legacy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameEscaping {
    #[default]
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

const ESCAPINGS: [(&str, NameEscaping); 4] = [
    ("allow-utf-8", NameEscaping::AllowUtf8),
    ("underscores", NameEscaping::Underscores),
    ("dots", NameEscaping::Dots),
    ("values", NameEscaping::Values),
];

impl NameScheme {
    /// Takes its keys; what they leave open is inherited, or follows from the validation.
    pub(super) fn take(keys: &mut Keys<'_>, inherited: Option<Self>) -> Result<Self, Fault> {
        let validation_text: String = keys.or_default("metric_name_validation_scheme")?;
        let validation = match validation_text.as_str() {
            "" => inherited.unwrap_or_default().validation,
            "utf8" => NameValidation::Utf8,
            "legacy" => NameValidation::Legacy,
            other => {
                let text = format!("{other:?} is none of utf8, legacy");
                return Err(keys.fault("metric_name_validation_scheme", text));
            }
        };
        let escaping_text: String = keys.or_default("metric_name_escaping_scheme")?;
        let by_validation = match validation {
            NameValidation::Utf8 => NameEscaping::AllowUtf8,
            NameValidation::Legacy => NameEscaping::Underscores,
        };
        let known = ESCAPINGS.iter().find(|(name, _)| *name == escaping_text).map(|(_, escaping)| *escaping);
        let escaping = match (escaping_text.as_str(), known, inherited) {
            (_, Some(escaping), _) => escaping,
            ("", _, Some(inherited)) if inherited.validation == validation => inherited.escaping,
            ("", ..) => by_validation,
            (other, ..) => {
                let text = format!("{other:?} is none of {}", ESCAPINGS.map(|(name, _)| name).join(", "));
                return Err(keys.fault("metric_name_escaping_scheme", text));
            }
        };
        // What jobs have in common need not go together before there is a job.
        if inherited.is_some() && validation == NameValidation::Legacy && escaping == NameEscaping::AllowUtf8 {
            let text = "allow-utf-8 asks for names that metric_name_validation_scheme: legacy does not let pass";
            return Err(keys.fault("metric_name_escaping_scheme", text));
        }
        Ok(Self { validation, escaping })
    }
}

impl Limits {
    pub(super) fn take(keys: &mut Keys<'_>, inherited: &Self) -> Result<Self, Fault> {
        let or = |keys: &mut Keys<'_>, name: &'static str, inherited: u64| -> Result<u64, Fault> {
            let own: Option<u64> = keys.get(name)?;
            Ok(own.filter(|own| *own > 0).unwrap_or(inherited))
        };
        let body_size: Option<Size> = keys.get("body_size_limit")?;
        Ok(Self {
            body_size: body_size.filter(|size| size.bytes() > 0).or(inherited.body_size),
            sample: or(keys, "sample_limit", inherited.sample)?,
            target: or(keys, "target_limit", inherited.target)?,
            label: or(keys, "label_limit", inherited.label)?,
            label_name_length: or(keys, "label_name_length_limit", inherited.label_name_length)?,
            label_value_length: or(keys, "label_value_length_limit", inherited.label_value_length)?,
            keep_dropped_targets: or(keys, "keep_dropped_targets", inherited.keep_dropped_targets)?,
        })
    }
}

fn protocol(keys: &Keys<'_>, key: &'static str, text: &str) -> Result<Protocol, Fault> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
    let names = || PROTOCOLS.map(|(name, _)| name).join(", ");
    known.map(|(_, protocol)| *protocol).ok_or_else(|| keys.fault(key, format!("{text:?} is none of {}", names())))
}

/// `scrape_protocols`, in the order in which they are asked for.
pub(super) fn protocols(keys: &mut Keys<'_>) -> Result<Option<Vec<Protocol>>, Fault> {
    const KEY: &str = "scrape_protocols";
    let Some(texts) = keys.get::<Vec<String>>(KEY)? else { return Ok(None) };
    let mut all = Vec::new();
    for text in &texts {
        let protocol = protocol(keys, KEY, text)?;
        if all.contains(&protocol) {
            return Err(keys.fault(KEY, format!("{text} is there twice")));
        }
        all.push(protocol);
    }
    if all.is_empty() { Err(keys.fault(KEY, "is empty: leave it out to ask for all")) } else { Ok(Some(all)) }
}

impl ScrapeConfig {
    /// Takes the keys of a job.
    pub(super) fn take(keys: &mut Keys<'_>, global: &Global) -> Result<Self, Fault> {
        if keys.is_empty() {
            return Err(keys.fault("job_name", "an empty entry: it needs job_name"));
        }
        let job_name: String = keys.or_default("job_name")?;
        if job_name.is_empty() {
            return Err(keys.fault("job_name", "job_name is missing"));
        }
        let (scrape_interval, scrape_timeout) = schedule(keys, global)?;
        let native_histograms = NativeHistograms::take(keys, global.native_histograms)?;
        let fallback: Option<String> = keys.get("fallback_scrape_protocol")?;
        let fallback = fallback.filter(|text| !text.is_empty());
        let fallback = fallback.map(|text| protocol(keys, "fallback_scrape_protocol", &text)).transpose()?;
        let own_protocols = protocols(keys)?;
        let name_scheme = NameScheme::take(keys, Some(global.name_scheme))?;
        let job = Self {
            job_name,
            honor_labels: keys.or("honor_labels", "false")?,
            honor_timestamps: keys.or("honor_timestamps", "true")?,
            track_timestamps_staleness: keys.or("track_timestamps_staleness", "false")?,
            params: keys.or_default("params")?,
            scrape_interval,
            scrape_timeout,
            scrape_protocols: own_protocols.or_else(|| global.scrape_protocols.clone()),
            fallback_scrape_protocol: fallback,
            metrics_path: keys.or("metrics_path", "/metrics")?,
            scheme: keys.or("scheme", "http")?,
            enable_compression: keys.or("enable_compression", "true")?,
            scrape_failure_log_file: keys
                .get("scrape_failure_log_file")?
                .or_else(|| global.scrape_failure_log_file.clone()),
            limits: Limits::take(keys, &global.limits)?,
            series_limit: keys.get("series_limit")?.unwrap_or(global.series_limit),
            native_histogram_bucket_limit: keys.or_default("native_histogram_bucket_limit")?,
            native_histogram_min_bucket_factor: keys.or_default("native_histogram_min_bucket_factor")?,
            native_histograms,
            extra_scrape_metrics: keys.or("extra_scrape_metrics", &global.extra_scrape_metrics.to_string())?,
            name_scheme,
            client: HttpClient::take(keys)?,
            relabel_configs: relabeling(keys, "relabel_configs", name_scheme)?,
            metric_relabel_configs: relabeling(keys, "metric_relabel_configs", name_scheme)?,
            discovery: discovery::take(keys)?,
        };
        if job.relabel_configs.is_empty() {
            discovery::must_be_hosts(keys, &job.discovery)?;
        }
        Ok(job)
    }
}

impl ScrapeConfig {
    /// Keys that are there and have no effect in this release.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        self.discovery.iter().filter(|mechanism| !mechanism.has_effect()).map(Discovery::key).collect()
    }
}

fn schedule(keys: &mut Keys<'_>, global: &Global) -> Result<(PromDuration, PromDuration), Fault> {
    let or = |own: PromDuration, other: PromDuration| if own.ms() == 0 { other } else { own };
    let interval = or(keys.or("scrape_interval", &global.scrape_interval.to_string())?, global.scrape_interval);
    let inherited = PromDuration::from_ms(global.scrape_timeout.ms().min(interval.ms()));
    let timeout = or(keys.or("scrape_timeout", &inherited.to_string())?, inherited);
    if timeout.ms() > interval.ms() {
        let text = format!("{timeout} is longer than the scrape interval of {interval}");
        return Err(keys.fault("scrape_timeout", text));
    }
    Ok((interval, timeout))
}

/// Rules of relabelling, none of them empty.
pub(super) fn relabeling(
    keys: &mut Keys<'_>,
    name: &'static str,
    names: NameScheme,
) -> Result<Vec<RelabelConfig>, Fault> {
    keys.no_empty_entries(name)?;
    let rules: Vec<RelabelConfig> = keys.or_default(name)?;
    let is_fine = |rule: &RelabelConfig| rule.is_valid_under_legacy_names();
    if names.validation == NameValidation::Legacy && !rules.iter().all(is_fine) {
        return Err(
            keys.fault(name, "a rule makes a label whose name metric_name_validation_scheme: legacy does not let pass")
        );
    }
    Ok(rules)
}
