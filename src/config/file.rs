//! `prometheus.yml`.
//!
//! The top level, `global` and `storage.tsdb` are read strictly: an unknown key is refused with its line and the nearest known
//! key. Sections whose feature is not in this release are recognised, not read, and named in one warning, so that a file
//! that serves Prometheus starts here and nobody believes that something is scraped which is not.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs, io,
    path::{Path, PathBuf},
};

use model::{Labels, labels::is_plain_label_name};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use shard::shared::EXEMPLARS_MAX;

use super::{
    nearest,
    retention::RetentionSettings,
    units::{PromDuration, Size},
};

/// Larger than any real configuration, small enough that a wrong path can't fill the memory.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Prometheus' default of `evaluation_interval` and `scrape_interval`.
const DEFAULT_INTERVAL: PromDuration = PromDuration::from_ms(60_000);

/// What a configuration file says that has an effect here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileConfig {
    /// Step of subqueries that name none.
    pub(crate) evaluation_interval: PromDuration,
    /// Added to what leaves this server.
    pub(crate) external_labels: Labels,
    /// `storage.tsdb.out_of_order_time_window`.
    pub(crate) out_of_order_window: Option<PromDuration>,
    /// `storage.tsdb.retention`.
    pub(crate) retention: RetentionSettings,
    /// `storage.exemplars.max_exemplars`; 0 keeps none.
    pub(crate) exemplars_max: u64,
    /// `global.query_log_file`; seen from the configuration's folder.
    pub(crate) query_log_file: Option<PathBuf>,
    /// Sections and keys that are there and have no effect in this release.
    pub(crate) without_effect: Vec<&'static str>,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            evaluation_interval: DEFAULT_INTERVAL,
            external_labels: Labels::empty(),
            out_of_order_window: None,
            retention: RetentionSettings::default(),
            exemplars_max: EXEMPLARS_MAX,
            query_log_file: None,
            without_effect: Vec::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigFileError {
    #[error("read {path} (--config.file): {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} (--config.file) has {bytes} bytes, more than {FILE_BYTES_MAX}: is it a configuration file?")]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("open {path} (global.query_log_file): {source}")]
    QueryLog { path: PathBuf, source: io::Error },
    #[error("{path}:{line}:{column}: {what}")]
    Invalid { path: PathBuf, line: u64, column: u64, what: String },
}

/// Reads the file. A file that is not there and was not asked for by name is `Ok(None)`.
pub(crate) fn read(path: &Path, named: bool) -> Result<Option<FileConfig>, ConfigFileError> {
    let failed = |source| ConfigFileError::Read { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > FILE_BYTES_MAX => {
            return Err(ConfigFileError::TooLarge { path: path.to_owned(), bytes: meta.len() });
        }
        Ok(_) => {}
    }
    parse(path, &fs::read_to_string(path).map_err(failed)?).map(Some)
}

fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigFileError> {
    let document: Option<Document> = serde_saphyr::from_str(text).map_err(|error| located(path, &error))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    Ok(document.unwrap_or_default().into_config(folder))
}

fn located(path: &Path, error: &serde_saphyr::Error) -> ConfigFileError {
    let location = error.location();
    let line = location.map_or(1, |location| location.line());
    let column = location.map_or(1, |location| location.column());
    let what = match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let hint = nearest::nearest(field, expected.iter().copied());
            let hint = hint.map_or_else(
                || format!(", known here: {}", expected.join(", ")),
                |name| format!(", did you mean {name}?"),
            );
            format!("unknown key {field}{hint}")
        }
        other => plain_text(other),
    };
    ConfigFileError::Invalid { path: path.to_owned(), line, column, what }
}

/// The first line of the parser's message, without the place that `located` puts in front.
fn plain_text(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let text = text.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(text, |(_, tail)| tail);
    text.to_owned()
}

/// The document as it is written. Order of the fields is the order in which sections are named in the warning.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    global: Option<Global>,
    storage: Option<Storage>,
    runtime: Unread,
    rule_files: Unread,
    scrape_config_files: Unread,
    scrape_configs: Unread,
    alerting: Unread,
    remote_write: Unread,
    remote_read: Unread,
    otlp: Unread,
    tracing: Unread,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Global {
    evaluation_interval: Option<DurationText>,
    external_labels: Option<LabelPairs>,
    query_log_file: Option<String>,
    // What follows concerns scraping and rules: read for its form where it has a simple one, without effect so far.
    scrape_interval: Option<DurationText>,
    scrape_timeout: Option<DurationText>,
    rule_query_offset: Option<DurationText>,
    scrape_protocols: Unread,
    scrape_failure_log_file: Unread,
    body_size_limit: Unread,
    sample_limit: Unread,
    target_limit: Unread,
    label_limit: Unread,
    label_name_length_limit: Unread,
    label_value_length_limit: Unread,
    keep_dropped_targets: Unread,
    metric_name_validation_scheme: Unread,
    metric_name_escaping_scheme: Unread,
    scrape_native_histograms: Unread,
    convert_classic_histograms_to_nhcb: Unread,
    always_scrape_classic_histograms: Unread,
    extra_scrape_metrics: Unread,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Storage {
    tsdb: Option<Tsdb>,
    exemplars: Option<Exemplars>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Exemplars {
    max_exemplars: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tsdb {
    out_of_order_time_window: Option<DurationText>,
    stale_series_compaction_threshold: Unread,
    chunk_encoding: Unread,
    retention: Option<RetentionSection>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionSection {
    time: Option<DurationText>,
    size: Option<SizeText>,
    percentage: Option<Percentage>,
}

impl Document {
    fn into_config(self, folder: &Path) -> FileConfig {
        let without_effect = self.without_effect();
        let global = self.global.unwrap_or_default();
        let Storage { tsdb, exemplars } = self.storage.unwrap_or_default();
        let mut tsdb = tsdb.unwrap_or_default();
        let retention = tsdb.retention.take().unwrap_or_default();
        let exemplars_max = exemplars.and_then(|exemplars| exemplars.max_exemplars);
        FileConfig {
            evaluation_interval: global.evaluation_interval.map_or(DEFAULT_INTERVAL, |text| text.0),
            external_labels: global.external_labels.map_or_else(Labels::empty, |pairs| pairs.0),
            out_of_order_window: tsdb.out_of_order_time_window.map(|text| text.0),
            retention: RetentionSettings {
                time: retention.time.map(|text| text.0),
                size: retention.size.map(|text| text.0),
                percentage: retention.percentage.map(|percentage| percentage.0),
            },
            // As in Prometheus, none is kept where the number is not positive.
            exemplars_max: exemplars_max.map_or(EXEMPLARS_MAX, |max| u64::try_from(max).unwrap_or(0)),
            query_log_file: global.query_log_file.filter(|file| !file.is_empty()).map(|file| folder.join(file)),
            without_effect,
        }
    }

    fn without_effect(&self) -> Vec<&'static str> {
        let storage = self.storage.as_ref();
        let tsdb = storage.and_then(|storage| storage.tsdb.as_ref());
        let sections = [
            ("storage.tsdb.chunk_encoding", tsdb.is_some_and(|tsdb| tsdb.chunk_encoding.present)),
            (
                "storage.tsdb.stale_series_compaction_threshold",
                tsdb.is_some_and(|tsdb| tsdb.stale_series_compaction_threshold.present),
            ),
            ("runtime", self.runtime.present),
            ("rule_files", self.rule_files.present),
            ("scrape_config_files", self.scrape_config_files.present),
            ("scrape_configs", self.scrape_configs.present),
            ("alerting", self.alerting.present),
            ("remote_write", self.remote_write.present),
            ("remote_read", self.remote_read.present),
            ("otlp", self.otlp.present),
            ("tracing", self.tracing.present),
        ];
        sections.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
    }
}

impl FileConfig {
    /// How far behind the newest sample one may be that is out of order, in milliseconds; 0: none may.
    pub(crate) fn out_of_order_window_ms(&self) -> i64 {
        self.out_of_order_window.map_or(0, |window| i64::try_from(window.ms()).unwrap_or(i64::MAX))
    }

    /// The file that gets a line for each query, opened for writing at its end; created if it is not there.
    pub(crate) fn open_query_log(&self) -> Result<Option<fs::File>, ConfigFileError> {
        let open = |path: &PathBuf| {
            let opened = fs::OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|source| ConfigFileError::QueryLog { path: path.clone(), source })
        };
        self.query_log_file.as_ref().map(open).transpose()
    }

    /// What is in effect, as YAML, for `/api/v1/status/config`. Holds no secret, since nothing that is in effect has one.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = format!("global:\n  evaluation_interval: {}\n", self.evaluation_interval);
        if !self.external_labels.is_empty() {
            out.push_str("  external_labels:\n");
            for label in self.external_labels.iter() {
                // A JSON string is a YAML string.
                writeln!(out, "    {}: {}", label.name, quoted(label.value)).expect("writing to memory");
            }
        }
        if let Some(file) = &self.query_log_file {
            writeln!(out, "  query_log_file: {}", quoted(&file.to_string_lossy())).expect("writing to memory");
        }
        writeln!(out, "storage:\n  exemplars:\n    max_exemplars: {}", self.exemplars_max).expect("writing to memory");
        let mut tsdb = String::new();
        if let Some(window) = self.out_of_order_window {
            writeln!(tsdb, "    out_of_order_time_window: {window}").expect("writing to memory");
        }
        let RetentionSettings { time, size, percentage } = self.retention;
        let lines = [
            time.map(|time| format!("      time: {time}\n")),
            size.map(|size| format!("      size: {size}\n")),
            percentage.map(|percentage| format!("      percentage: {percentage}\n")),
        ];
        let lines: String = lines.into_iter().flatten().collect();
        if !lines.is_empty() {
            write!(tsdb, "    retention:\n{lines}").expect("writing to memory");
        }
        if !tsdb.is_empty() {
            write!(out, "  tsdb:\n{tsdb}").expect("writing to memory");
        }
        out
    }
}

fn quoted(text: &str) -> String {
    let mut json = crate::json::Json::default();
    json.string(text);
    String::from_utf8(json.take()).expect("JSON of text is text")
}

/// A part of the document that is there, whatever it says.
#[derive(Default)]
struct Unread {
    present: bool,
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self { present: true })
    }
}

struct DurationText(PromDuration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

struct SizeText(Size);

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// Of a whole.
struct Percentage(f64);

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percentage = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&percentage) {
            return Ok(Self(percentage));
        }
        Err(de::Error::custom(format!("{percentage} is not a percentage between 0 and 100")))
    }
}

struct LabelPairs(Labels);

impl<'de> Deserialize<'de> for LabelPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        if let Some(name) = pairs.keys().find(|name| !is_plain_label_name(name)) {
            return Err(de::Error::custom(format!("{name:?} is not a valid label name")));
        }
        Ok(Self(Labels::from_pairs(pairs.iter().map(|(name, value)| (name, &value.0)))))
    }
}

/// Any scalar as the text it was written in: `shard: 1` is the label value "1".
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<FileConfig, String> {
        parse(Path::new("p.yml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_exists_is_applied_and_the_rest_is_named() {
        let text = "global:\n  evaluation_interval: 30s\n  external_labels: {shard: 1, region: eu}\nstorage:\n  tsdb:\n    \
                    out_of_order_time_window: 10m\n    retention: {time: 1d, size: 512MB, percentage: 0.5}\n  exemplars: {max_exemplars: 7}\nscrape_configs:\n  - job_name: x\n    anything: [1]\nrule_files: []\n";
        let config = parsed(text).expect("a good file");
        assert_eq!(config.evaluation_interval.ms(), 30_000);
        assert_eq!(config.external_labels, Labels::from_pairs([("shard", "1"), ("region", "eu")]));
        assert_eq!(config.out_of_order_window.map(PromDuration::ms), Some(600_000));
        assert_eq!(config.exemplars_max, 7);
        assert_eq!(config.retention.time.map(PromDuration::ms), Some(86_400_000));
        assert_eq!(config.retention.size.map(Size::bytes), Some(512 << 20));
        assert_eq!(config.retention.percentage, Some(0.5));
        assert_eq!(parsed(&config.to_yaml()).map(|again| again.retention), Ok(config.retention));
        assert_eq!(parsed("storage: {exemplars: {max_exemplars: -1}}").map(|config| config.exemplars_max), Ok(0));
        assert_eq!(config.without_effect, ["rule_files", "scrape_configs"]);
        assert_eq!(parsed(&config.to_yaml()).map(|again| again.external_labels), Ok(config.external_labels));
    }

    #[test]
    fn an_empty_file_is_the_default() {
        for text in ["", "# only words\n", "global:\n", "{}"] {
            assert_eq!(parsed(text), Ok(FileConfig::default()), "{text:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let check = |text: &str, parts: &[&str]| {
            let error = parsed(text).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        check("global:\n  scrape_intervall: 15s\n", &["p.yml:2:", "scrape_intervall", "did you mean scrape_interval?"]);
        check("scrape_config: []\n", &["p.yml:1:", "did you mean scrape_configs?"]);
        check("global:\n  evaluation_interval: soon\n", &["p.yml:2:", "not a valid duration"]);
        check("global: {}\nglobal: {}\n", &["p.yml:2:"]);
        check("global: [\n", &["p.yml:"]);
        check("global:\n  external_labels: {a-b: x}\n", &["p.yml:2", "a-b"]);
    }

    /// Prometheus' own good files must load; those it refuses for what stands in a section read here must be refused.
    #[test]
    fn conformance_files_get_prometheus_verdict() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/config");
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
        let mut good = 0;
        for file in files.map(|file| file.expect("a readable folder").path()) {
            if file.to_string_lossy().ends_with(".good.yml") {
                read(&file, true).unwrap_or_else(|error| panic!("a good file is refused: {error}"));
                good += 1;
            }
        }
        assert!(good > 30, "only {good} files found in {}", folder.display());
        let retention = ["tsdb_retention_time", "tsdb_retention_percentage", "tsdb_retention_percentage_negative"];
        for bad in ["unknown_global_attr", "section_key_dup", "labelname", "labelvalue"].into_iter().chain(retention) {
            read(&folder.join(format!("{bad}.bad.yml")), true).expect_err(bad);
        }
    }
}
