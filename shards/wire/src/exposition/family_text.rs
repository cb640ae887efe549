//! Metric families as text, there and back: what pushes bring, and what is shown of them.
//!
//! A family's lines go together to metrics, a histogram's buckets to one, as client_golang's `expfmt` has it for version 0.0.4.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use model::value_text;

use super::{
    families::{
        BucketMessage, CounterMessage, FamilyMessage, LabelPairMessage, MetricMessage, QuantileMessage, ValueMessage,
        kind,
    },
    label_text::unescaped_help,
    reader::{Dialect, Item, LabelText, Metadata, MetricKind, ParseError, Reader},
};

/// Reads a page of text as families, in the order in which they come.
///
/// # Errors
/// At the first line that is not of the format, or contradicts what was said of its family before.
pub fn read(page: &[u8]) -> Result<Vec<FamilyMessage>, ParseError> {
    if page.last().is_some_and(|byte| *byte != b'\n') {
        // It may be cut off anywhere.
        let line = 1 + page.iter().filter(|byte| **byte == b'\n').count() as u64;
        return Err(ParseError { line, what: "the last line does not end" });
    }
    let mut families = Families::default();
    let mut reader = Reader::new(Dialect::Text, page);
    while let Some(item) = reader.next(&mut ())? {
        let taken = match item {
            Item::Metadata(item) => families.tell(&item),
            Item::Sample(sample) => families.add(reader.labels(), f64::from_bits(sample.value), sample.time),
        };
        taken.map_err(|what| reader.error(what))?;
    }
    Ok(families.all.into_iter().map(|reading| reading.family).filter(|family| !family.metric.is_empty()).collect())
}

#[derive(Default)]
struct Families {
    all: Vec<Reading>,
    places: HashMap<String, usize>,
}

/// A family that is read.
#[derive(Default)]
struct Reading {
    family: FamilyMessage,
    has_type: bool,
    has_help: bool,
    /// Metrics by their labels, without those that are bounds.
    metrics: HashMap<Vec<(String, String)>, usize>,
}

/// What a line is of a family.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Value,
    Count,
    Sum,
    Bound,
}

impl Families {
    fn family(&mut self, name: &str) -> &mut Reading {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            let family = FamilyMessage { name: name.to_owned(), kind: kind::UNTYPED, ..FamilyMessage::default() };
            self.all.push(Reading { family, ..Reading::default() });
            self.all.len() - 1
        });
        &mut self.all[place]
    }

    fn tell(&mut self, item: &Metadata<'_>) -> Result<(), &'static str> {
        let (Metadata::Type { name, .. } | Metadata::Help { name, .. } | Metadata::Unit { name, .. }) = item;
        let name = str::from_utf8(name).map_err(|_| "a metric's name must be UTF-8")?;
        let reading = self.family(name);
        match item {
            Metadata::Type { kind, .. } => {
                if std::mem::replace(&mut reading.has_type, true) {
                    return Err("the metric has a second line with its type");
                }
                if !reading.family.metric.is_empty() {
                    return Err("the metric's type has to stand before its first sample");
                }
                reading.family.kind = kind_of(*kind);
            }
            Metadata::Help { text, .. } => {
                if std::mem::replace(&mut reading.has_help, true) {
                    return Err("the metric has a second line of help");
                }
                reading.family.help = unescaped_help(text).into_owned();
            }
            Metadata::Unit { .. } => {}
        }
        Ok(())
    }

    fn add(&mut self, labels: &[LabelText<'_>], value: f64, time: Option<i64>) -> Result<(), &'static str> {
        let name = labels.first().map(|(_, name)| name.as_ref()).unwrap_or_default();
        if name.is_empty() {
            return Err("the metric has no name");
        }
        let (family, part) = self.owner_of(name);
        let reading = self.family(&family);
        let bound_label = match reading.family.kind {
            kind::SUMMARY => "quantile",
            kind::HISTOGRAM => "le",
            _ => "",
        };
        let (mut own, mut bound) = (Vec::new(), None);
        for (at, (label, text)) in labels.iter().enumerate().skip(1) {
            if labels[1..at].iter().any(|(other, _)| other == label) {
                return Err("a label is there twice");
            }
            if label == bound_label {
                bound = Some(value_text::parse(text).ok_or("a bound is no number")?);
            } else {
                own.push((label.clone().into_owned(), text.clone().into_owned()));
            }
        }
        own.sort();
        let part = if part == Part::Value && bound.is_some() { Part::Bound } else { part };
        reading.put((own, bound), part, value, time)
    }

    /// Whose a name is: a summary's and a histogram's parts have names of their own.
    fn owner_of(&self, name: &str) -> (String, Part) {
        if self.places.contains_key(name) {
            return (name.to_owned(), Part::Value);
        }
        let parts = [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Bound)];
        for (end, part) in parts {
            let Some(base) = name.strip_suffix(end) else { continue };
            let of_base = self.places.get(base).map(|place| self.all[*place].family.kind);
            match of_base {
                Some(kind::HISTOGRAM) => return (base.to_owned(), part),
                Some(kind::SUMMARY) if part != Part::Bound => return (base.to_owned(), part),
                _ => {}
            }
        }
        (name.to_owned(), Part::Value)
    }
}

impl Reading {
    fn put(
        &mut self,
        (labels, bound): (Vec<(String, String)>, Option<f64>),
        part: Part,
        value: f64,
        time: Option<i64>,
    ) -> Result<(), &'static str> {
        let is_grouped = matches!(self.family.kind, kind::SUMMARY | kind::HISTOGRAM);
        // Whether a series may be there twice is not for who reads to say.
        let place = match self.metrics.get(&labels).filter(|_| is_grouped) {
            Some(place) => *place,
            None => {
                let pair =
                    |(name, value): &(String, String)| LabelPairMessage { name: name.clone(), value: value.clone() };
                let label = labels.iter().map(pair).collect();
                self.family.metric.push(MetricMessage { label, ..MetricMessage::default() });
                self.metrics.insert(labels, self.family.metric.len() - 1);
                self.family.metric.len() - 1
            }
        };
        let metric = &mut self.family.metric[place];
        metric.timestamp_ms = time.unwrap_or(metric.timestamp_ms);
        match self.family.kind {
            kind::COUNTER => metric.counter = Some(CounterMessage { value, ..CounterMessage::default() }),
            kind::GAUGE => metric.gauge = Some(ValueMessage { value }),
            kind::SUMMARY => {
                let summary = metric.summary.get_or_insert_default();
                match (part, bound) {
                    (Part::Count, _) => summary.sample_count = value as u64,
                    (Part::Sum, _) => summary.sample_sum = value,
                    (_, Some(quantile)) => summary.quantile.push(QuantileMessage { quantile, value }),
                    (_, None) => return Err("a value of a summary has no quantile"),
                }
            }
            kind::HISTOGRAM => {
                let histogram = metric.histogram.get_or_insert_default();
                match (part, bound) {
                    (Part::Count, _) => histogram.sample_count = value as u64,
                    (Part::Sum, _) => histogram.sample_sum = value,
                    (_, Some(upper_bound)) => histogram.bucket.push(BucketMessage {
                        upper_bound,
                        cumulative_count: value as u64,
                        ..BucketMessage::default()
                    }),
                    (_, None) => return Err("a bucket of a histogram has no bound"),
                }
            }
            _ => metric.untyped = Some(ValueMessage { value }),
        }
        Ok(())
    }
}

fn kind_of(kind: MetricKind) -> i32 {
    match kind {
        MetricKind::Counter => kind::COUNTER,
        MetricKind::Gauge => kind::GAUGE,
        MetricKind::Summary => kind::SUMMARY,
        MetricKind::Histogram => kind::HISTOGRAM,
        MetricKind::GaugeHistogram => kind::GAUGE_HISTOGRAM,
        MetricKind::Info | MetricKind::StateSet | MetricKind::Unknown => kind::UNTYPED,
    }
}

/// The name of a type in a page of text.
pub fn kind_text(kind: i32) -> &'static str {
    match kind {
        kind::COUNTER => "counter",
        kind::GAUGE => "gauge",
        kind::SUMMARY => "summary",
        kind::HISTOGRAM => "histogram",
        kind::GAUGE_HISTOGRAM => "gaugehistogram",
        _ => "untyped",
    }
}

/// How names are written that older readers don't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// In quotes.
    Quoted,
    /// With underscores in place of what they don't know.
    Underscores,
}

impl Names {
    /// Gives a family and its labels the names that whoever reads them knows.
    pub fn apply(self, family: &mut FamilyMessage) {
        if self == Self::Quoted {
            return;
        }
        family.name = underscored(&family.name, true);
        for label in family.metric.iter_mut().flat_map(|metric| &mut metric.label) {
            label.name = underscored(&label.name, false);
        }
    }
}

/// Writes a family as text.
pub fn write(page: &mut String, family: &FamilyMessage, names: Names) {
    let name = Written { name: &family.name, names };
    let shown = name.with("");
    if !family.help.is_empty() {
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(page, "# HELP {shown} {help}").expect("writing to memory");
    }
    writeln!(page, "# TYPE {shown} {}", kind_text(family.kind)).expect("writing to memory");
    for metric in &family.metric {
        name.metric(page, metric);
    }
}

struct Written<'a> {
    name: &'a str,
    names: Names,
}

impl Written<'_> {
    fn with(&self, end: &str) -> String {
        let name = format!("{}{end}", self.name);
        match self.names {
            _ if model::labels::is_plain_metric_name(&name) => name,
            Names::Quoted => quoted(&name),
            Names::Underscores => underscored(&name, true),
        }
    }

    fn metric(&self, page: &mut String, metric: &MetricMessage) {
        let mut line = |end: &str, bound: Option<(&str, f64)>, value: f64| self.line(page, metric, (end, bound), value);
        if let Some(summary) = &metric.summary {
            for quantile in &summary.quantile {
                line("", Some(("quantile", quantile.quantile)), quantile.value);
            }
            line("_sum", None, summary.sample_sum);
            line("_count", None, summary.sample_count as f64);
        } else if let Some(histogram) = &metric.histogram {
            let mut has_end = false;
            for bucket in &histogram.bucket {
                has_end |= bucket.upper_bound == f64::INFINITY;
                line("_bucket", Some(("le", bucket.upper_bound)), bucket.count());
            }
            if !has_end {
                line("_bucket", Some(("le", f64::INFINITY)), histogram.count());
            }
            line("_sum", None, histogram.sample_sum);
            line("_count", None, histogram.count());
        } else {
            line("", None, metric.value());
        }
    }

    fn line(&self, page: &mut String, metric: &MetricMessage, (end, bound): (&str, Option<(&str, f64)>), value: f64) {
        let mut pieces = Vec::new();
        let name = self.with(end);
        let is_quoted = name.starts_with('"');
        if is_quoted {
            pieces.push(name);
        } else {
            page.push_str(&name);
        }
        for LabelPairMessage { name, value } in &metric.label {
            let name = match self.names {
                _ if model::labels::is_plain_label_name(name) => name.clone(),
                Names::Quoted => quoted(name),
                Names::Underscores => underscored(name, false),
            };
            pieces.push(format!("{name}={}", quoted(value)));
        }
        pieces.extend(bound.map(|(name, bound)| format!("{name}=\"{}\"", value_text::general(bound))));
        if !pieces.is_empty() {
            write!(page, "{{{}}}", pieces.join(",")).expect("writing to memory");
        }
        write!(page, " {}", value_text::general(value)).expect("writing to memory");
        if metric.timestamp_ms != 0 {
            write!(page, " {}", metric.timestamp_ms).expect("writing to memory");
        }
        page.push('\n');
    }
}

impl MetricMessage {
    /// Of one that is neither a summary nor a histogram.
    pub fn value(&self) -> f64 {
        let plain = self.gauge.or(self.untyped).map(|message| message.value);
        self.counter.as_ref().map(|counter| counter.value).or(plain).unwrap_or_default()
    }

    pub fn labels(&self) -> BTreeMap<&str, &str> {
        self.label.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())).collect()
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""))
}

/// What is no letter, digit or underscore is an underscore.
fn underscored(name: &str, with_colons: bool) -> String {
    let letter = |(at, letter): (usize, char)| match letter {
        'a'..='z' | 'A'..='Z' | '_' => letter,
        '0'..='9' if at > 0 => letter,
        ':' if with_colons => letter,
        _ => '_',
    };
    name.chars().enumerate().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP c What\\nit\\\\nis.\n# TYPE c counter\nc{a=\"b\\\"\\n\\\\\"} 3\nc 4\n# TYPE g gauge\ng -Inf\n\
        # TYPE h histogram\nh_bucket{x=\"y\",le=\"0.5\"} 1\nh_bucket{x=\"y\",le=\"+Inf\"} 2\nh_sum{x=\"y\"} 1e+21\nh_count{x=\"y\"} 2\n\
        # TYPE s summary\ns{quantile=\"0.5\"} 7\ns_sum 8\ns_count 9\n# TYPE u untyped\nu 1 1000\n# TYPE other_count untyped\n\
        other_count 5\n# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"e\"} 1\n";

    #[test]
    fn what_is_read_is_written_again() {
        let families = read(PAGE.as_bytes()).expect("a good page");
        let mut page = String::new();
        families.iter().for_each(|family| write(&mut page, family, Names::Quoted));
        assert_eq!(page, PAGE);
        let mut old = String::new();
        write(&mut old, families.last().expect("a family"), Names::Underscores);
        assert_eq!(old, "# TYPE a_b untyped\na_b{c_d=\"e\"} 1\n");
    }

    #[test]
    fn contradictions_are_named_with_their_line() {
        let error = |page: &str| read(page.as_bytes()).expect_err("a contradiction").to_string();
        assert_eq!(error("a 1\n# TYPE a gauge\n"), "line 2: the metric's type has to stand before its first sample");
        assert_eq!(error("# TYPE a gauge\n# TYPE a gauge\n"), "line 2: the metric has a second line with its type");
        assert_eq!(error("# HELP a b\n# HELP a b\n"), "line 2: the metric has a second line of help");
        assert_eq!(error("a{b=\"c\",b=\"d\"} 1\n"), "line 1: a label is there twice");
        assert_eq!(error("# TYPE h histogram\nh_bucket 1\n"), "line 2: a bucket of a histogram has no bound");
        assert_eq!(error("a\n"), "line 1: a value must follow the metric");
        assert_eq!(error("a 1\nb 1"), "line 2: the last line does not end");
    }
}
