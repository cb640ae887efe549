//! A page that was read as a whole, because its samples are not lines that could be taken as they stand: one in protobuf, or one whose
//! lines go together to others.
//!
//! The series of each sample is written down in the text format, so that whoever keeps the lines of a page keeps those of any page.

use std::{borrow::Cow, collections::HashMap};

use model::{
    Histogram, METRIC_NAME,
    labels::{is_plain_label_name, is_plain_metric_name},
    sample::NORMAL_NAN_BITS,
    value_text,
};

use super::{
    classic::ClassicHistogram,
    reader::{Dialect, Exemplar, Item, LabelText, Metadata, MetricKind, ParseError, Reader},
};

/// Bytes that the series of a page may take as text: what a page of text may have altogether. In protobuf a name stands once for many
/// metrics, so that a small page could else become a large one.
const TEXT_BYTES_MAX: usize = 256 << 20;
/// Samples of a page; of the smallest ones so many take a gigabyte.
const SAMPLES_MAX: usize = 10_000_000;

/// What is made of a page beyond its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Native histograms; without, their classic buckets if there are any.
    pub native: bool,
    /// Native histograms with custom buckets in place of classic ones.
    pub convert_classic: bool,
    /// Classic histograms also where they come as native ones or become such.
    pub keep_classic: bool,
    /// When counters began to count, which lines of OpenMetrics say that then are no samples.
    pub start_times: bool,
}

/// A page's samples and what it says of them.
#[derive(Debug, Default)]
pub struct Gathered<'p> {
    /// The series of all samples.
    text: Vec<u8>,
    pub samples: Vec<GatheredSample<'p>>,
    pub metadata: Vec<Metadata<'p>>,
    /// Backslashes of help texts stand for others.
    pub help_is_escaped: bool,
}

#[derive(Debug)]
pub struct GatheredSample<'p> {
    start: u32,
    end: u32,
    pub value: SampleValue,
    /// Milliseconds since 1970.
    pub time: Option<i64>,
    /// When it began to count; 0 if nobody knows.
    pub start_time: i64,
    pub exemplars: Vec<Exemplar<'p>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// Bits of the value.
    Float(u64),
    Histogram(Box<Histogram>),
}

impl<'p> Gathered<'p> {
    /// Reads a page of text.
    ///
    /// # Errors
    /// At the first line that is not of the format.
    pub fn from_text(dialect: Dialect, page: &'p [u8], wanted: Wanted) -> Result<Self, ParseError> {
        let mut gatherer = Gatherer::new(wanted, dialect == Dialect::OpenMetrics);
        gatherer.gathered.help_is_escaped = true;
        let mut reader = Reader::new(dialect, page);
        while let Some(item) = reader.next(&mut ())? {
            match item {
                Item::Metadata(item) => gatherer.metadata(item),
                Item::Sample(sample) => {
                    let exemplars = sample.exemplar.into_iter().map(|exemplar| *exemplar).collect();
                    gatherer.float(reader.labels(), sample.value, (sample.time, 0), exemplars);
                    if let Some(what) = gatherer.excess() {
                        return Err(reader.error(what));
                    }
                }
            }
        }
        Ok(gatherer.finish())
    }

    /// Where the series of a sample stands in the text.
    pub fn place(&self, sample: &GatheredSample<'p>) -> (usize, usize) {
        (sample.start as usize, sample.end as usize)
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn into_text(self) -> Vec<u8> {
        self.text
    }
}

/// The metric family that is read.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: MetricKind,
    /// Its first sample.
    first: usize,
    /// By sample from the first on: who goes with whom. Kept only where start times stand in lines of their own.
    keys: Vec<String>,
    /// Start times by key.
    created: HashMap<String, i64>,
}

/// A classic histogram whose lines come one after the other.
#[derive(Debug)]
struct Collecting<'p> {
    key: String,
    /// Of the native histogram.
    labels: Vec<(String, String)>,
    classic: ClassicHistogram,
    time: Option<i64>,
    start_time: i64,
    exemplars: Vec<Exemplar<'p>>,
    /// The samples that it stands for.
    samples: Vec<usize>,
}

/// Who writes down what a page has.
#[derive(Debug)]
pub(super) struct Gatherer<'p> {
    wanted: Wanted,
    /// Start times stand in lines of their own.
    has_created_lines: bool,
    gathered: Gathered<'p>,
    family: Family,
    collecting: Option<Collecting<'p>>,
    /// Key of the native histogram that came last: its classic lines follow.
    native: Option<String>,
    /// Samples that others stand for.
    replaced: Vec<usize>,
}

impl<'p> Gatherer<'p> {
    pub(super) fn new(wanted: Wanted, has_created_lines: bool) -> Self {
        Self {
            wanted,
            has_created_lines,
            gathered: Gathered::default(),
            family: Family::default(),
            collecting: None,
            native: None,
            replaced: Vec::new(),
        }
    }

    pub(super) fn metadata(&mut self, item: Metadata<'p>) {
        if let Metadata::Type { name, kind } = &item {
            self.begin_family(&String::from_utf8_lossy(name), *kind);
        }
        self.gathered.metadata.push(item);
    }

    fn begin_family(&mut self, name: &str, kind: MetricKind) {
        self.end_family();
        self.family = Family { name: name.to_owned(), kind, first: self.gathered.samples.len(), ..Family::default() };
    }

    fn end_family(&mut self) {
        self.convert_collected();
        self.native = None;
        let samples = &mut self.gathered.samples[self.family.first..];
        for (sample, key) in samples.iter_mut().zip(&self.family.keys) {
            if let Some(start_time) = self.family.created.get(key) {
                sample.start_time = *start_time;
            }
        }
    }

    /// A sample with its labels, the name first, and its own and its start time.
    pub(super) fn float(
        &mut self,
        labels: &[LabelText<'_>],
        bits: u64,
        (time, start_time): (Option<i64>, i64),
        exemplars: Vec<Exemplar<'p>>,
    ) {
        if self.takes_created(labels, f64::from_bits(bits)) {
            return;
        }
        if self.wanted.convert_classic && self.family.kind == MetricKind::Histogram {
            self.collect(labels, f64::from_bits(bits), (time, start_time), &exemplars);
        } else {
            self.convert_collected();
        }
        // Nobody but a server says that a series has ended.
        let bits = if f64::from_bits(bits).is_nan() { NORMAL_NAN_BITS } else { bits };
        self.push(labels, SampleValue::Float(bits), (time, start_time), exemplars);
    }

    pub(super) fn histogram(
        &mut self,
        labels: &[LabelText<'_>],
        mut histogram: Histogram,
        times: (Option<i64>, i64),
        exemplars: Vec<Exemplar<'p>>,
    ) {
        self.convert_collected();
        if histogram.sum.is_nan() {
            histogram.sum = f64::from_bits(NORMAL_NAN_BITS);
        }
        if self.wanted.convert_classic {
            self.native = Some(key(labels));
        }
        self.push(labels, SampleValue::Histogram(Box::new(histogram)), times, exemplars);
    }

    fn push<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        labels: &[(N, V)],
        value: SampleValue,
        (time, start_time): (Option<i64>, i64),
        exemplars: Vec<Exemplar<'p>>,
    ) {
        if self.excess().is_some() {
            // One metric alone can be too much; who reads the page ends behind it.
            return;
        }
        if self.wanted.start_times && self.has_created_lines {
            // A quantile does not count from anywhere.
            let is_quantile = self.family.kind == MetricKind::Summary && has(labels, "quantile");
            self.family.keys.push(if is_quantile { String::new() } else { key(labels) });
        }
        let text = &mut self.gathered.text;
        let start = text.len() as u32;
        write_series(text, labels);
        let sample = GatheredSample { start, end: text.len() as u32, value, time, start_time, exemplars };
        self.gathered.samples.push(sample);
    }

    /// What there is too much of to go on.
    pub(super) fn excess(&self) -> Option<&'static str> {
        if self.gathered.text.len() > TEXT_BYTES_MAX {
            Some("the series up to here take more than 256 MiB as text")
        } else if self.gathered.samples.len() > SAMPLES_MAX {
            Some("there are more than ten million samples up to here")
        } else {
            None
        }
    }

    /// Whether it is a line that says when a counter began.
    fn takes_created(&mut self, labels: &[LabelText<'_>], value: f64) -> bool {
        let counts = matches!(self.family.kind, MetricKind::Counter | MetricKind::Summary | MetricKind::Histogram);
        let is_created = || labels[0].1.strip_suffix("_created") == Some(&*self.family.name);
        if !self.wanted.start_times || !self.has_created_lines || !counts || !is_created() {
            return false;
        }
        self.family.created.insert(key(labels), (value * 1000.0) as i64);
        true
    }

    /// Adds a line to the histogram that it is of, if it is of one.
    fn collect(
        &mut self,
        labels: &[LabelText<'_>],
        value: f64,
        (time, start_time): (Option<i64>, i64),
        exemplars: &[Exemplar<'p>],
    ) {
        let key = key(labels);
        if self.collecting.as_ref().is_some_and(|collecting| collecting.key != key) {
            self.convert_collected();
        }
        let part = part_of(&self.family.name, labels);
        let Some(part) = part.filter(|_| self.native.as_ref() != Some(&key)) else { return };
        let collecting = self.collecting.get_or_insert_with(|| Collecting {
            key,
            labels: labels_of_base(&self.family.name, labels),
            classic: ClassicHistogram::default(),
            time,
            start_time,
            exemplars: Vec::new(),
            samples: Vec::new(),
        });
        match part {
            Part::Bucket(bound) => collecting.classic.add_bucket(bound, value),
            Part::Count => collecting.classic.set_count(value),
            Part::Sum => collecting.classic.set_sum(value),
        }
        collecting.exemplars.extend_from_slice(exemplars);
        // It is pushed next.
        collecting.samples.push(self.gathered.samples.len());
    }

    /// Makes a native histogram of the classic one whose lines came last. Where that can't be, they stay what they are.
    fn convert_collected(&mut self) {
        let Some(mut collected) = self.collecting.take() else { return };
        let Some(histogram) = collected.classic.convert() else { return };
        let value = SampleValue::Histogram(Box::new(histogram));
        collected.exemplars.sort_by_key(|exemplar| exemplar.time);
        self.push(&collected.labels, value, (collected.time, collected.start_time), collected.exemplars);
        if !self.wanted.keep_classic {
            self.replaced.extend(collected.samples);
        }
    }

    pub(super) fn finish(mut self) -> Gathered<'p> {
        self.end_family();
        if !self.replaced.is_empty() {
            let mut replaced = self.replaced.into_iter().peekable();
            let mut at = 0..;
            self.gathered.samples.retain(|_| replaced.next_if(|replaced| Some(*replaced) == at.next()).is_none());
        }
        self.gathered
    }
}

/// What a line says of a classic histogram.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

fn part_of(family: &str, labels: &[LabelText<'_>]) -> Option<Part> {
    match labels[0].1.strip_prefix(family)? {
        "_count" => Some(Part::Count),
        "_sum" => Some(Part::Sum),
        "_bucket" => {
            let (_, bound) = labels.iter().find(|(name, _)| name == "le")?;
            value_text::parse(bound).filter(|bound| !bound.is_nan()).map(Part::Bucket)
        }
        _ => None,
    }
}

fn labels_of_base(family: &str, labels: &[LabelText<'_>]) -> Vec<(String, String)> {
    let name = (METRIC_NAME.to_owned(), family.to_owned());
    let others = labels[1..].iter().filter(|(name, _)| name != "le");
    let others = others.map(|(name, value)| (name.clone().into_owned(), value.clone().into_owned()));
    std::iter::once(name).chain(others).collect()
}

fn has<N: AsRef<str>, V>(labels: &[(N, V)], name: &str) -> bool {
    labels.iter().any(|(other, _)| other.as_ref() == name)
}

/// What the series of one histogram, summary or counter have in common.
fn key<N: AsRef<str>, V: AsRef<str>>(labels: &[(N, V)]) -> String {
    let common = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let mut common: Vec<(&str, &str)> =
        common.filter(|(name, _)| !matches!(*name, METRIC_NAME | "le" | "quantile")).collect();
    common.sort_unstable();
    let mut text = vec![b'='];
    write_labels(&mut text, common.into_iter());
    String::from_utf8(text).expect("texts")
}

/// Writes a series as the text format has it.
fn write_series<N: AsRef<str>, V: AsRef<str>>(text: &mut Vec<u8>, labels: &[(N, V)]) {
    let mut labels = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let name = labels.next().map_or("", |(_, name)| name);
    if is_plain_metric_name(name) {
        text.extend_from_slice(name.as_bytes());
        if labels.len() > 0 {
            text.push(b'{');
            write_labels(text, labels);
            text.push(b'}');
        }
        return;
    }
    text.push(b'{');
    write_quoted(text, name);
    if labels.len() > 0 {
        text.push(b',');
        write_labels(text, labels);
    }
    text.push(b'}');
}

fn write_labels<'a>(text: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (at, (name, value)) in labels.enumerate() {
        if at > 0 {
            text.push(b',');
        }
        if is_plain_label_name(name) {
            text.extend_from_slice(name.as_bytes());
        } else {
            write_quoted(text, name);
        }
        text.push(b'=');
        write_quoted(text, value);
    }
}

fn write_quoted(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    if value.bytes().any(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
        let escaped: Cow<'_, str> = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into();
        text.extend_from_slice(escaped.as_bytes());
    } else {
        text.extend_from_slice(value.as_bytes());
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests;
