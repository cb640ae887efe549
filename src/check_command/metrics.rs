//! `millrace check metrics`: what is unusual about the metrics of a page, by the conventions that promtool's command goes by.
//!
//! The conventions: prometheus.io/docs/practices/naming; the checks: client_golang's `promlint`.

use std::{
    collections::{BTreeSet, HashSet},
    io::{self, Read, Write},
};

use clap::Args;
use wire::exposition::{
    ParseError,
    families::{FamilyMessage, kind},
    family_text,
};

#[derive(Args, Debug)]
pub(super) struct MetricsArgs {
    /// Show also how many series each metric has, if there is nothing to remark
    #[arg(long)]
    extended: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsError {
    #[error("read the page from standard input: {0}")]
    Input(io::Error),
    #[error("error while linting: text format parsing error in {0}")]
    Parse(#[from] ParseError),
    #[error("write the report: {0}")]
    Output(#[from] io::Error),
    #[error("{0} remarks on the metrics")]
    Remarks(usize),
}

/// Units, and the base units to be used in their place.
const UNITS: [(&str, &str); 25] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
    ("watts", "watts"),
];

const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi", "giga", "gibi",
    "tera", "tebi", "peta", "pebi",
];

const ABBREVIATIONS: [&str; 14] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];
const TYPES: [&str; 5] = ["counter", "gauge", "summary", "histogram", "gauge_histogram"];

/// Reads a page from standard input; remarks go to standard error, as scripts expect them there.
pub(super) fn run(args: &MetricsArgs, out: &mut dyn Write, remarks: &mut dyn Write) -> Result<(), MetricsError> {
    let mut page = Vec::new();
    io::stdin().lock().read_to_end(&mut page).map_err(MetricsError::Input)?;
    let families = family_text::read(&page)?;
    let found = remarks_on(&families);
    found.iter().try_for_each(|(metric, text)| writeln!(remarks, "{metric} {text}"))?;
    if !found.is_empty() {
        return Err(MetricsError::Remarks(found.len()));
    }
    if args.extended {
        write_counts(&families, out)?;
    }
    Ok(())
}

/// Metrics and what is said of them, in their order.
fn remarks_on(families: &[FamilyMessage]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for family in families {
        let checks =
            [help, units, counter, parts_of_others, type_in_name, reserved_signs, camel_case, abbreviations, repeated];
        let texts = checks.iter().flat_map(|check| check(family));
        all.extend(texts.map(|text| (family.name.clone(), text)));
    }
    all.sort();
    all
}

type Texts = Vec<String>;

fn help(family: &FamilyMessage) -> Texts {
    if family.help.is_empty() { vec!["no help text".to_owned()] } else { Vec::new() }
}

fn units(family: &FamilyMessage) -> Texts {
    let base = |unit: &str| UNITS.iter().find(|(known, _)| *known == unit).map(|(_, base)| *base);
    let with_prefix = |part: &str| PREFIXES.iter().find_map(|prefix| base(part.strip_prefix(prefix)?));
    let found = family.name.split('_').find_map(|part| Some((part, base(part).or_else(|| with_prefix(part))?)));
    match found {
        Some((unit, base)) if unit != base => vec![format!("use base unit {base:?} instead of {unit:?}")],
        _ => Vec::new(),
    }
}

fn counter(family: &FamilyMessage) -> Texts {
    let has_total = family.name.ends_with("_total");
    match family.kind {
        kind::COUNTER if !has_total => vec!["counter metrics should have \"_total\" suffix".to_owned()],
        kind::COUNTER | kind::UNTYPED => Vec::new(),
        _ if has_total => vec!["non-counter metrics should not have \"_total\" suffix".to_owned()],
        _ => Vec::new(),
    }
}

fn parts_of_others(family: &FamilyMessage) -> Texts {
    let (is_histogram, is_summary) = (family.kind == kind::HISTOGRAM, family.kind == kind::SUMMARY);
    if family.kind == kind::UNTYPED {
        return Vec::new();
    }
    let ends = |end: &str| family.name.ends_with(end);
    let mut texts = Vec::new();
    let mut say = |is_so: bool, text: &str| texts.extend(is_so.then(|| text.to_owned()));
    say(!is_histogram && ends("_bucket"), "non-histogram metrics should not have \"_bucket\" suffix");
    for end in ["_count", "_sum"] {
        let text = format!("non-histogram and non-summary metrics should not have {end:?} suffix");
        say(!is_histogram && !is_summary && ends(end), &text);
    }
    for label in family.metric.iter().flat_map(|metric| &metric.label) {
        say(!is_histogram && label.name == "le", "non-histogram metrics should not have \"le\" label");
        say(!is_summary && label.name == "quantile", "non-summary metrics should not have \"quantile\" label");
    }
    texts
}

fn type_in_name(family: &FamilyMessage) -> Texts {
    let name = family.name.to_lowercase();
    let found = TYPES.iter().filter(|of_type| has_word(&name, of_type));
    found.map(|of_type| format!("metric name should not include type '{of_type}'")).collect()
}

fn has_word(name: &str, word: &str) -> bool {
    name.contains(&format!("_{word}_")) || name.ends_with(&format!("_{word}"))
}

fn reserved_signs(family: &FamilyMessage) -> Texts {
    if family.name.contains(':') { vec!["metric names should not contain ':'".to_owned()] } else { Vec::new() }
}

fn camel_case(family: &FamilyMessage) -> Texts {
    let is_camel =
        |name: &str| name.as_bytes().windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    let text = |whose: &str| format!("{whose} names should be written in 'snake_case' not 'camelCase'");
    let of_labels = family.metric.iter().flat_map(|metric| &metric.label).filter(|label| is_camel(&label.name));
    is_camel(&family.name).then(|| text("metric")).into_iter().chain(of_labels.map(|_| text("label"))).collect()
}

fn abbreviations(family: &FamilyMessage) -> Texts {
    let name = family.name.to_lowercase();
    let found = ABBREVIATIONS.iter().filter(|unit| has_word(&name, unit));
    found.map(|_| "metric names should not contain abbreviated units".to_owned()).collect()
}

fn repeated(family: &FamilyMessage) -> Texts {
    let mut seen = HashSet::new();
    let labels = family.metric.iter().map(|metric| metric.labels().into_iter().collect::<BTreeSet<_>>());
    labels.filter(|labels| !seen.insert(labels.clone())).map(|_| "metric not unique".to_owned()).collect()
}

fn write_counts(families: &[FamilyMessage], out: &mut dyn Write) -> io::Result<()> {
    let mut counts: Vec<(&str, usize)> = families.iter().map(|family| (family.name.as_str(), series(family))).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let width = counts.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("Metric".len()) + 4;
    writeln!(out, "{:width$}Cardinality    Percentage", "Metric")?;
    for (name, count) in counts {
        writeln!(out, "{name:width$}{count:<15}{:.2}%", count as f64 / total as f64 * 100.0)?;
    }
    writeln!(out, "{:width$}{total:<15}100%", "Total")
}

/// Series of a family; those of its first metric are those of all.
fn series(family: &FamilyMessage) -> usize {
    let first = family.metric.first();
    let histogram = first.and_then(|metric| metric.histogram.as_ref()).map(|histogram| histogram.bucket.len() + 2);
    let summary = first.and_then(|metric| metric.summary.as_ref()).map(|summary| summary.quantile.len() + 2);
    family.metric.len() * histogram.or(summary).unwrap_or(1)
}
