//! `global`: what jobs, rules and everything that leaves this server have in common.

use std::{collections::BTreeMap, env};

use model::Labels;

use super::scrape::{Limits, NameScheme, Protocol, protocols};
use crate::config::{
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

const DEFAULT_INTERVAL: &str = "1m";
const DEFAULT_TIMEOUT: PromDuration = PromDuration::from_ms(10_000);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Global {
    pub(crate) scrape_interval: PromDuration,
    pub(crate) scrape_timeout: PromDuration,
    pub(crate) scrape_protocols: Option<Vec<Protocol>>,
    /// Between evaluations of rules; the step of subqueries that name none.
    pub(crate) evaluation_interval: PromDuration,
    pub(crate) rule_query_offset: PromDuration,
    /// Added to what leaves this server; variables of the environment are in their places.
    pub(crate) external_labels: Labels,
    pub(crate) query_log_file: Option<String>,
    pub(crate) scrape_failure_log_file: Option<String>,
    pub(crate) limits: Limits,
    /// Series of one target; 0 is no limit.
    pub(crate) series_limit: u64,
    pub(crate) name_scheme: NameScheme,
    pub(crate) native_histograms: NativeHistograms,
    pub(crate) extra_scrape_metrics: bool,
}

/// What is done with histograms of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NativeHistograms {
    /// `None`: nobody says.
    pub(crate) scrape: Option<bool>,
    pub(crate) convert_classic: bool,
    pub(crate) always_scrape_classic: bool,
}

impl NativeHistograms {
    /// Takes its keys, which jobs may have too.
    pub(super) fn take(keys: &mut Keys<'_>, inherited: Self) -> Result<Self, Fault> {
        Ok(Self {
            scrape: keys.get("scrape_native_histograms")?.or(inherited.scrape),
            convert_classic: keys.or("convert_classic_histograms_to_nhcb", &inherited.convert_classic.to_string())?,
            always_scrape_classic: keys
                .or("always_scrape_classic_histograms", &inherited.always_scrape_classic.to_string())?,
        })
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape_interval: PromDuration::from_ms(60_000),
            scrape_timeout: DEFAULT_TIMEOUT,
            scrape_protocols: None,
            evaluation_interval: PromDuration::from_ms(60_000),
            rule_query_offset: PromDuration::from_ms(0),
            external_labels: Labels::empty(),
            query_log_file: None,
            scrape_failure_log_file: None,
            limits: Limits::default(),
            series_limit: 0,
            name_scheme: NameScheme::default(),
            native_histograms: NativeHistograms::default(),
            extra_scrape_metrics: false,
        }
    }
}

impl Section for Global {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let scrape_interval = interval(keys, "scrape_interval")?;
        let timeout = scrape_interval.ms().min(DEFAULT_TIMEOUT.ms());
        let scrape_timeout: PromDuration = keys.or("scrape_timeout", &PromDuration::from_ms(timeout).to_string())?;
        if scrape_timeout.ms() > scrape_interval.ms() {
            let text = format!("{scrape_timeout} is longer than the scrape interval of {scrape_interval}");
            return Err(keys.fault("scrape_timeout", text));
        }
        Ok(Self {
            scrape_interval,
            scrape_timeout,
            scrape_protocols: protocols(keys)?,
            evaluation_interval: interval(keys, "evaluation_interval")?,
            rule_query_offset: keys.get("rule_query_offset")?.unwrap_or(PromDuration::from_ms(0)),
            external_labels: external_labels(keys)?,
            query_log_file: keys.get("query_log_file")?,
            scrape_failure_log_file: keys.get("scrape_failure_log_file")?,
            limits: Limits::take(keys, &Limits::default())?,
            series_limit: keys.or_default("series_limit")?,
            name_scheme: NameScheme::take(keys, None)?,
            native_histograms: NativeHistograms::take(keys, NativeHistograms::default())?,
            extra_scrape_metrics: keys.or("extra_scrape_metrics", "false")?,
        })
    }
}

/// Zero is no interval: it means the default.
fn interval(keys: &mut Keys<'_>, name: &'static str) -> Result<PromDuration, Fault> {
    let interval: PromDuration = keys.or(name, DEFAULT_INTERVAL)?;
    Ok(if interval.ms() == 0 { PromDuration::from_ms(60_000) } else { interval })
}

fn external_labels(keys: &mut Keys<'_>) -> Result<Labels, Fault> {
    let pairs: BTreeMap<String, String> = keys.or_default("external_labels")?;
    if pairs.keys().any(String::is_empty) {
        return Err(keys.fault("external_labels", "\"\" is not a valid label name"));
    }
    let variable = |name: &str| {
        let value = env::var(name);
        if value.is_err() {
            tracing::warn!(name, "an external label names a variable that the environment does not have: it is empty");
        }
        value.unwrap_or_default()
    };
    Ok(Labels::from_pairs(pairs.iter().map(|(name, value)| (name, expand(value, variable)))))
}

/// Puts variables in their places: `$NAME` and `${NAME}`; `$$` is a dollar.
fn expand(text: &str, variable: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            out.push_str(&variable(name));
            rest = after;
        } else {
            let name = &after[..after.find(|c| !is_name(c)).unwrap_or(after.len())];
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(&variable(name));
            }
            rest = &after[name.len()..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_their_places() {
        let variable = |name: &str| format!("<{name}>");
        for (text, expected) in [
            ("plain", "plain"),
            ("$A", "<A>"),
            ("${A}b", "<A>b"),
            ("x$A-$B_1", "x<A>-<B_1>"),
            ("$$A", "$A"),
            ("cost: 5$", "cost: 5$"),
            ("${open", "${open"),
        ] {
            assert_eq!(expand(text, variable), expected, "{text}");
        }
    }
}
