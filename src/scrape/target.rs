//! A target: where it is, which labels it has, and what came of its last scrape.

use std::{
    collections::BTreeMap,
    net::Ipv6Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use form_urlencoded::Serializer;
use hyper::Uri;
use model::{Labels, LabelsBuilder};

use super::{Family, schedule::stable_hash};
use crate::{
    config::{prometheus::scrape::ScrapeConfig, units::PromDuration},
    targets::{ADDRESS, RESERVED_PREFIX},
};

const PARAM_PREFIX: &str = "__param_";

pub(crate) struct Target {
    /// With those that begin with `__`.
    labels: Labels,
    /// Those that its samples get.
    pub(crate) public: Labels,
    pub(crate) url: Uri,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// What relabelling says of its histograms, in place of the job.
    pub(crate) histograms: HistogramLabels,
    state: Mutex<State>,
}

/// `None`: as the job has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistogramLabels {
    pub(crate) scrape_native: Option<bool>,
    pub(crate) convert_classic: Option<bool>,
    pub(crate) keep_classic: Option<bool>,
}

impl HistogramLabels {
    fn of(labels: &Labels) -> Self {
        let choice = |name: &str| labels.get(name).and_then(|text| text.parse().ok());
        Self {
            scrape_native: choice("__scrape_native_histograms__"),
            convert_classic: choice("__convert_classic_histograms_to_nhcb__"),
            keep_classic: choice("__always_scrape_classic_histograms__"),
        }
    }
}

/// What tells targets of a job apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TargetKey {
    labels: Labels,
    url: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What came of the last scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// As discovery found it, the last time.
    pub(crate) discovered: Labels,
    pub(crate) health: Health,
    /// Empty: none.
    pub(crate) last_error: String,
    /// When it began, in milliseconds since 1970; `None`: there was none yet.
    pub(crate) last_scrape: Option<i64>,
    pub(crate) last_duration: Duration,
    pub(crate) series: usize,
    pub(crate) heap_bytes: usize,
    /// What its page says of its metrics.
    pub(crate) families: Vec<Arc<Family>>,
}

impl Target {
    /// A target with the labels that relabelling left.
    ///
    /// # Errors
    /// If they make no URL.
    pub(crate) fn new(job: &ScrapeConfig, discovered: Labels, labels: Labels) -> Result<Self, String> {
        let text = url_text(job, &labels);
        let url = text.parse().map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let mut public = LabelsBuilder::from_labels(&labels);
        for label in labels.iter().filter(|label| label.name.starts_with(RESERVED_PREFIX)) {
            public.remove(label.name);
        }
        let duration = |name: &str, default: PromDuration| {
            labels.get(name).and_then(|text| text.parse().ok()).unwrap_or(default).get()
        };
        Ok(Self {
            interval: duration("__scrape_interval__", job.scrape_interval),
            timeout: duration("__scrape_timeout__", job.scrape_timeout),
            histograms: HistogramLabels::of(&labels),
            public: public.build(),
            labels,
            url,
            state: Mutex::new(State { discovered, ..State::default() }),
        })
    }

    pub(crate) fn key(&self) -> TargetKey {
        TargetKey { labels: self.labels.clone(), url: self.url.to_string() }
    }

    /// The same over restarts.
    pub(crate) fn hash(&self) -> u64 {
        let labels = self.labels.to_string();
        stable_hash([labels.as_bytes(), self.url.to_string().as_bytes()])
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `scheme://address/path?parameters`, the parameters in order of their names.
fn url_text(job: &ScrapeConfig, labels: &Labels) -> String {
    let mut params: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, values) in &job.params {
        params.insert(name, values.iter().map(String::as_str).collect());
    }
    for label in labels.iter() {
        if let Some(name) = label.name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = label.value,
                None => values.push(label.value),
            }
        }
    }
    let get = |name: &str| labels.get(name).unwrap_or_default();
    let path = escaped_path(get("__metrics_path__"));
    let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
    let scheme = if get("__scheme__").is_empty() { "http" } else { get("__scheme__") };
    // Discovery may find an address of IPv6 alone, which a URL has in brackets.
    let address = match get(ADDRESS).parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => get(ADDRESS).to_owned(),
    };
    let mut url = format!("{scheme}://{address}{slash}{path}");
    let mut query = Serializer::new(String::new());
    for (name, values) in &params {
        query.extend_pairs(values.iter().map(|value| (name, value)));
    }
    let query = query.finish();
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query);
    }
    url
}

/// What can't stand in a path stands behind percent signs.
fn escaped_path(path: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'@'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prometheus::parse_for_tests;

    #[test]
    fn a_url_is_made_of_labels_and_parameters() {
        let config = parse_for_tests("scrape_configs: [{job_name: x, params: {b: ['1', '2'], a: ['&']}}]");
        let url = |pairs: &[(&str, &str)]| {
            let target =
                Target::new(&config.scrape_configs[0], Labels::empty(), Labels::from_pairs(pairs.iter().copied()));
            target.map(|target| target.url.to_string())
        };
        assert_eq!(
            url(&[("__address__", "h:1"), ("__metrics_path__", "/a b?c"), ("__param_b", "3"), ("__param_c", "4")])
                .as_deref(),
            Ok("http://h:1/a%20b%3Fc?a=%26&b=3&b=2&c=4")
        );
        assert_eq!(
            url(&[("__address__", "[::1]"), ("__scheme__", "https")]).as_deref(),
            Ok("https://[::1]/?a=%26&b=1&b=2")
        );
        assert_eq!(url(&[("__address__", "fd00::1")]).as_deref(), Ok("http://[fd00::1]/?a=%26&b=1&b=2"));
        assert!(url(&[("__address__", "a b")]).is_err());
    }

    #[test]
    fn samples_get_the_public_labels() {
        let config = parse_for_tests("scrape_configs: [{job_name: x}]");
        let labels =
            Labels::from_pairs([("__address__", "h"), ("job", "x"), ("__tmp", "t"), ("__scrape_interval__", "3s")]);
        let labels = LabelsBuilder::from_labels(&labels).set("__scrape_native_histograms__", "true").build();
        let target = Target::new(&config.scrape_configs[0], Labels::empty(), labels).expect("a target");
        assert_eq!((target.histograms.scrape_native, target.histograms.keep_classic), (Some(true), None));
        assert_eq!(target.public.to_string(), r#"{job="x"}"#);
        assert_eq!((target.interval, target.timeout), (Duration::from_secs(3), Duration::from_secs(10)));
    }
}
