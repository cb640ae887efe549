//! `prometheus.yml`: every key known, typed and checked, whatever its part does in this release.
//!
//! A part that has no effect yet is named once at start, so that a file that serves Prometheus starts here and nobody believes that
//! something is scraped which is not.

pub(crate) mod alerting;
pub(crate) mod discovery;
pub(crate) mod global;
pub(crate) mod http_client;
pub(crate) mod otlp;
mod references;
pub(crate) mod relabel;
pub(crate) mod remote;
pub(crate) mod scrape;
pub(crate) mod storage;
pub(crate) mod tracing_config;
pub(crate) mod url;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::yaml::{self, Fault, Keys, Node, Place, Read as _, Section, Shown, Value};
use alerting::Alerting;
use global::Global;
use otlp::Otlp;
use remote::{RemoteRead, RemoteWrite};
use scrape::ScrapeConfig;
use storage::Storage;
use tracing_config::TracingConfig;

/// Larger than any real configuration, small enough that a wrong path can't fill the memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a configuration says, its files of scrape configurations included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileConfig {
    pub(crate) global: Global,
    pub(crate) alerting: Option<Alerting>,
    /// Paths with globs, seen from the configuration's folder.
    pub(crate) rule_files: Vec<PathBuf>,
    pub(crate) scrape_configs: Vec<ScrapeConfig>,
    pub(crate) storage: Storage,
    pub(crate) tracing: Option<TracingConfig>,
    pub(crate) remote_write: Vec<RemoteWrite>,
    pub(crate) remote_read: Vec<RemoteRead>,
    pub(crate) otlp: Option<Otlp>,
    /// `global.query_log_file`; seen from the configuration's folder.
    pub(crate) query_log_file: Option<PathBuf>,
    /// Sections and keys that are there and have no effect in this release. Of jobs see [`ScrapeConfig::without_effect`].
    pub(crate) without_effect: Vec<&'static str>,
    scrape_config_files: Vec<PathBuf>,
    shown: String,
    /// The same of each job, by its name.
    shown_jobs: BTreeMap<String, String>,
}

/// What a server without a configuration does.
impl Default for FileConfig {
    fn default() -> Self {
        parse(Path::new(""), "").expect("the defaults go together")
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigFileError {
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has {bytes} bytes, more than {FILE_BYTES_MAX}: is it a configuration file?")]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("open {path} (global.query_log_file): {source}")]
    QueryLog { path: PathBuf, source: io::Error },
    #[error("{path}:{line}:{column}: {what}")]
    Invalid { path: PathBuf, line: u64, column: u64, what: String },
}

impl ConfigFileError {
    pub(crate) fn invalid(path: &Path, Fault { place: Place { line, column }, what }: Fault) -> Self {
        Self::Invalid { path: path.to_owned(), line: line.max(1), column: column.max(1), what }
    }
}

/// Reads the file. A file that is not there and was not asked for by name is `Ok(None)`.
pub(crate) fn read(path: &Path, named: bool) -> Result<Option<FileConfig>, ConfigFileError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(None),
        _ => {}
    }
    parse(path, &text_of(path)?).map(Some)
}

/// The text of a file, which must not be as large as none of these would be.
pub(crate) fn text_of(path: &Path) -> Result<String, ConfigFileError> {
    let failed = |source| ConfigFileError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigFileError::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read_to_string(path).map_err(failed)
}

/// The document of a file; one without any has no keys.
fn document(path: &Path, text: &str) -> Result<Node, ConfigFileError> {
    let loaded = yaml::load(text).map_err(|fault| ConfigFileError::invalid(path, fault))?;
    Ok(loaded.unwrap_or(Node { place: Place { line: 1, column: 1 }, value: Value::Null }))
}

fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigFileError> {
    let (mut config, shown) =
        FileConfig::read(&document(path, text)?, "").map_err(|fault| ConfigFileError::invalid(path, fault))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    config.query_log_file =
        config.global.query_log_file.as_ref().filter(|file| !file.is_empty()).map(|file| folder.join(file));
    config.rule_files.iter_mut().for_each(|file| *file = folder.join(&*file));
    config.shown = shown.to_yaml();
    config.remember_jobs(&shown);
    for pattern in std::mem::take(&mut config.scrape_config_files) {
        config.add_scrape_config_files(&folder.join(pattern))?;
    }
    let of_jobs: BTreeSet<&str> = config.scrape_configs.iter().flat_map(ScrapeConfig::without_effect).collect();
    config.without_effect.extend(of_jobs);
    Ok(config)
}

impl Section for FileConfig {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let global: Global = keys.section_or_defaults("global")?;
        let names = global.name_scheme;
        let _runtime: Option<Runtime> = keys.get("runtime")?;
        let alerting = keys.section_by("alerting", |keys| Alerting::take(keys, names))?;
        let rule_files = patterns(keys, "rule_files")?;
        let scrape_config_files = patterns(keys, "scrape_config_files")?;
        let scrape_configs = keys.sections("scrape_configs", |keys| ScrapeConfig::take(keys, &global))?;
        if let Some(name) = repeated(scrape_configs.iter().map(|job| job.job_name.as_str())) {
            return Err(keys.fault("scrape_configs", format!("two jobs have the name {name:?}")));
        }
        let storage: Storage = keys.section_or_defaults("storage")?;
        let tracing = keys.get("tracing")?;
        let remote_write = keys.sections("remote_write", |keys| RemoteWrite::take(keys, names))?;
        let remote_read = keys.sections("remote_read", RemoteRead::take)?;
        for (key, found) in [
            ("remote_write", repeated(remote_write.iter().filter_map(|remote| remote.name.as_deref()))),
            ("remote_read", repeated(remote_read.iter().filter_map(|remote| remote.name.as_deref()))),
        ] {
            if let Some(name) = found {
                return Err(keys.fault(key, format!("two of them have the name {name:?}")));
            }
        }
        let otlp = keys.section_by("otlp", |keys| Otlp::take(keys, names))?;
        let sections = ["runtime", "rule_files", "alerting", "remote_write", "remote_read", "otlp", "tracing"];
        let mut without_effect = storage.tsdb.without_effect.clone();
        without_effect.extend(sections.into_iter().filter(|name| keys.has(name)));
        Ok(Self {
            global,
            alerting,
            rule_files,
            scrape_configs,
            storage,
            tracing,
            remote_write,
            remote_read,
            otlp,
            query_log_file: None,
            without_effect,
            scrape_config_files,
            shown: String::new(),
            shown_jobs: BTreeMap::new(),
        })
    }
}

fn repeated<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut known = HashSet::new();
    names.filter(|name| !name.is_empty()).find(|name| !known.insert(*name))
}

/// Paths, with `*` in their last part alone.
fn patterns(keys: &mut Keys<'_>, name: &'static str) -> Result<Vec<PathBuf>, Fault> {
    let paths: Vec<String> = keys.or_default(name)?;
    let is_fine = |path: &str| path.find('*').is_none_or(|star| !path[star..].contains('/'));
    match paths.iter().find(|path| !is_fine(path)) {
        Some(path) => Err(keys.fault(name, format!("{path:?} has a * before its last part"))),
        None => Ok(paths.into_iter().map(PathBuf::from).collect()),
    }
}

/// Go's runtime is not here.
struct Runtime;

impl Section for Runtime {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        keys.get::<i64>("gogc")?;
        Ok(Self)
    }
}

/// What a file of `scrape_config_files` holds.
struct ScrapeConfigFile(Vec<ScrapeConfig>);

impl FileConfig {
    fn add_scrape_config_files(&mut self, pattern: &Path) -> Result<(), ConfigFileError> {
        for path in files_of(pattern) {
            let take = |keys: &mut Keys<'_>| {
                keys.sections("scrape_configs", |keys| ScrapeConfig::take(keys, &self.global)).map(ScrapeConfigFile)
            };
            let node = document(&path, &text_of(&path)?)?;
            let read = yaml::section_by(&node, "", take);
            let (ScrapeConfigFile(jobs), shown) = read.map_err(|fault| ConfigFileError::invalid(&path, fault))?;
            self.scrape_configs.extend(jobs);
            self.remember_jobs(&shown);
            if let Some(name) = repeated(self.scrape_configs.iter().map(|job| job.job_name.as_str())) {
                let what = format!("scrape_configs: another job has the name {name:?} already");
                return Err(ConfigFileError::invalid(&path, Fault::new(node.place, what)));
            }
        }
        Ok(())
    }

    fn remember_jobs(&mut self, shown: &Shown) {
        for job in shown.get("scrape_configs").into_iter().flat_map(Shown::items) {
            if let Some(name) = job.get("job_name").and_then(Shown::text) {
                self.shown_jobs.insert(name.to_owned(), job.to_yaml());
            }
        }
    }

    /// What is in effect of a job, as YAML; without secrets.
    pub(crate) fn job_yaml(&self, name: &str) -> Option<&str> {
        self.shown_jobs.get(name).map(String::as_str)
    }

    /// The same with a job that scrapes what was pushed to this server, unless a job has its name already.
    pub(crate) fn with_pushed_metrics(mut self, address: &str, path: &str) -> Self {
        const JOB: &str = "pushgateway";
        if self.scrape_configs.iter().any(|job| job.job_name == JOB) {
            return self;
        }
        // JSON is YAML.
        let job = serde_json::json!({
            "job_name": JOB,
            "honor_labels": true,
            "metrics_path": path,
            "static_configs": [{"targets": [address]}],
        });
        let text = serde_json::json!({"scrape_configs": [job]}).to_string();
        let take = |keys: &mut Keys<'_>| {
            keys.sections("scrape_configs", |keys| ScrapeConfig::take(keys, &self.global)).map(ScrapeConfigFile)
        };
        let node = document(Path::new(JOB), &text).expect("YAML as it stands here");
        let (ScrapeConfigFile(jobs), shown) = yaml::section_by(&node, "", take).expect("keys as they stand here");
        self.scrape_configs.extend(jobs);
        self.remember_jobs(&shown);
        self
    }

    /// How far behind the newest sample one may be that is out of order, in milliseconds; 0: none may.
    pub(crate) fn out_of_order_window_ms(&self) -> i64 {
        let window = self.storage.tsdb.out_of_order_time_window;
        window.map_or(0, |window| i64::try_from(window.ms()).unwrap_or(i64::MAX))
    }

    /// The file that gets a line for each query, opened for writing at its end; created if it is not there.
    pub(crate) fn open_query_log(&self) -> Result<Option<fs::File>, ConfigFileError> {
        let open = |path: &PathBuf| {
            let opened = fs::OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|source| ConfigFileError::QueryLog { path: path.clone(), source })
        };
        self.query_log_file.as_ref().map(open).transpose()
    }

    /// What the file says and what it leaves to defaults, as YAML, for `/api/v1/status/config`; without secrets.
    pub(crate) fn to_yaml(&self) -> &str {
        &self.shown
    }
}

/// The files that a path with globs means, in order; that there is none is no mistake.
pub(crate) fn files_of(pattern: &Path) -> Vec<PathBuf> {
    let Some(text) = pattern.to_str() else { return Vec::new() };
    if !text.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    glob::glob(text).into_iter().flatten().filter_map(Result::ok).filter(|path| path.is_file()).collect()
}

/// A configuration that has to be a good one.
#[cfg(test)]
pub(crate) fn parse_for_tests(text: &str) -> FileConfig {
    parse(Path::new("p.yml"), text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[cfg(test)]
mod tests;
