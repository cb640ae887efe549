//! Pages in protobuf: metric families, each behind its length.
//!
//! Messages that are there for each sample are walked where they lie; a library decodes the rare and large ones. What an odd message comes to
//! is what Prometheus makes of it: a missing value is 0, of fields that are there twice the last counts.

use std::{borrow::Cow, collections::HashMap};

use model::{Histogram, METRIC_NAME, value_text};
use prost::Message;

use super::{
    families::{CounterMessage, HistogramMessage, SummaryMessage, start_time},
    gathered::{Gathered, Gatherer, Wanted},
    reader::{Exemplar, LabelText, Metadata, MetricKind, ZERO_IN_NAME},
};
use crate::protobuf::{Malformed, Reader, Tag, WIRE_FIXED64, WIRE_LENGTH, WIRE_VARINT};

/// What is wrong with a page, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct ProtobufError {
    pub offset: usize,
    pub what: &'static str,
}

impl From<Malformed> for ProtobufError {
    fn from(Malformed { offset, what }: Malformed) -> Self {
        Self { offset, what }
    }
}

mod family {
    use super::{Tag, WIRE_LENGTH, WIRE_VARINT};

    pub(super) const NAME: Tag = Tag::new(1, WIRE_LENGTH);
    pub(super) const HELP: Tag = Tag::new(2, WIRE_LENGTH);
    pub(super) const TYPE: Tag = Tag::new(3, WIRE_VARINT);
    pub(super) const METRIC: Tag = Tag::new(4, WIRE_LENGTH);
    pub(super) const UNIT: Tag = Tag::new(5, WIRE_LENGTH);
    pub(super) const ALL: [Tag; 5] = [NAME, HELP, TYPE, METRIC, UNIT];
}

mod metric {
    use super::{Tag, WIRE_LENGTH, WIRE_VARINT};

    pub(super) const LABEL: Tag = Tag::new(1, WIRE_LENGTH);
    pub(super) const GAUGE: Tag = Tag::new(2, WIRE_LENGTH);
    pub(super) const COUNTER: Tag = Tag::new(3, WIRE_LENGTH);
    pub(super) const SUMMARY: Tag = Tag::new(4, WIRE_LENGTH);
    pub(super) const UNTYPED: Tag = Tag::new(5, WIRE_LENGTH);
    pub(super) const TIME: Tag = Tag::new(6, WIRE_VARINT);
    pub(super) const HISTOGRAM: Tag = Tag::new(7, WIRE_LENGTH);
    pub(super) const ALL: [Tag; 7] = [LABEL, GAUGE, COUNTER, SUMMARY, UNTYPED, TIME, HISTOGRAM];
}

const LABEL_NAME: Tag = Tag::new(1, WIRE_LENGTH);
const LABEL_VALUE: Tag = Tag::new(2, WIRE_LENGTH);
/// Of a gauge and of an untyped value; counters have it too.
const VALUE: Tag = Tag::new(1, WIRE_FIXED64);

/// Number of a type in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Counter,
    Gauge,
    Summary,
    Untyped,
    Histogram,
    GaugeHistogram,
}

const TYPES: [(Type, MetricKind); 6] = [
    (Type::Counter, MetricKind::Counter),
    (Type::Gauge, MetricKind::Gauge),
    (Type::Summary, MetricKind::Summary),
    (Type::Untyped, MetricKind::Unknown),
    (Type::Histogram, MetricKind::Histogram),
    (Type::GaugeHistogram, MetricKind::GaugeHistogram),
];

impl<'p> Gathered<'p> {
    /// Reads a page of metric families in protobuf.
    ///
    /// # Errors
    /// At the first family that is not as it has to be.
    pub fn from_protobuf(page: &'p [u8], wanted: Wanted) -> Result<Self, ProtobufError> {
        let mut reading =
            Reading { gatherer: Gatherer::new(wanted, false), wanted, bounds: HashMap::new(), labels: Vec::new() };
        let mut page = Reader::new(page, 0, page.len());
        while !page.is_empty() {
            let family = page.message()?;
            reading.family(family)?;
        }
        Ok(reading.gatherer.finish())
    }
}

struct Reading<'p> {
    gatherer: Gatherer<'p>,
    wanted: Wanted,
    /// Texts of bounds and quantiles by their bits: a page has the same few again and again.
    bounds: HashMap<u64, String>,
    /// Of the metric that is read; the first is its name.
    labels: Vec<LabelText<'p>>,
}

/// One metric of a family.
#[derive(Clone, Copy)]
struct Metric<'p> {
    value: Option<Reader<'p>>,
    time: Option<i64>,
}

impl<'p> Reading<'p> {
    fn family(&mut self, message: Reader<'p>) -> Result<(), ProtobufError> {
        let offset = message.at();
        let wrong = |what| ProtobufError { offset, what };
        let (mut name, mut help, mut unit) = (None, None, None);
        let mut kind = 0;
        let mut metrics: Vec<Reader<'p>> = Vec::new();
        let mut fields = message;
        while !fields.is_empty() {
            match fields.tag()? {
                family::NAME => name = Some(fields.message()?),
                family::HELP => help = Some(fields.message()?),
                family::TYPE => kind = fields.varint()?,
                family::METRIC => metrics.push(fields.message()?),
                family::UNIT => unit = Some(fields.message()?),
                other => fields.skip_unknown(other, &family::ALL)?,
            }
        }
        if metrics.is_empty() {
            return Ok(());
        }
        let name = text(name, "a metric's name must be UTF-8")?;
        if name.is_empty() {
            return Err(wrong("the metric has no name"));
        }
        if name.contains('\0') {
            return Err(wrong(ZERO_IN_NAME));
        }
        let help = text(help, "a help text must be UTF-8")?;
        let unit = text(unit, "a unit must be UTF-8")?;
        let kind = usize::try_from(kind).ok().and_then(|kind| TYPES.get(kind));
        let (of_type, kind) = *kind.ok_or_else(|| wrong("the metric's type is none of 0 to 5"))?;
        if !unit.is_empty() && !has_unit(name, unit, of_type) {
            return Err(wrong("the unit is not the end of the metric's name"));
        }
        let bytes = name.as_bytes();
        self.gatherer.metadata(Metadata::Type { name: bytes, kind });
        self.gatherer.metadata(Metadata::Help { name: bytes, text: help });
        if !unit.is_empty() {
            self.gatherer.metadata(Metadata::Unit { name: bytes, text: unit.as_bytes() });
        }
        let names = Names::of(name);
        for metric in metrics {
            self.metric(&names, of_type, metric)?;
            if let Some(what) = self.gatherer.excess() {
                return Err(ProtobufError { offset: metric.at(), what });
            }
        }
        Ok(())
    }

    fn metric(&mut self, names: &Names<'p>, of_type: Type, message: Reader<'p>) -> Result<(), ProtobufError> {
        let wanted = match of_type {
            Type::Counter => metric::COUNTER,
            Type::Gauge => metric::GAUGE,
            Type::Summary => metric::SUMMARY,
            Type::Untyped => metric::UNTYPED,
            Type::Histogram | Type::GaugeHistogram => metric::HISTOGRAM,
        };
        self.labels.clear();
        self.labels.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(names.plain)));
        let mut metric = Metric { value: None, time: None };
        let mut fields = message;
        while !fields.is_empty() {
            match fields.tag()? {
                metric::LABEL => {
                    let label = label(fields.message()?)?;
                    self.labels.push(label);
                }
                metric::TIME => metric.time = Some(fields.varint()? as i64).filter(|time| *time != 0),
                tag if tag == wanted => metric.value = Some(fields.message()?),
                other if metric::ALL.contains(&other) => drop(fields.message()?),
                other => fields.skip_unknown(other, &metric::ALL)?,
            }
        }
        match of_type {
            Type::Gauge | Type::Untyped => {
                let value = metric.value.map_or(Ok(0), plain_value)?;
                self.gatherer.float(&self.labels, value, (metric.time, 0), Vec::new());
                Ok(())
            }
            Type::Counter => self.counter(metric),
            Type::Summary => self.summary(names, metric),
            Type::Histogram | Type::GaugeHistogram => self.histogram(names, metric, of_type == Type::GaugeHistogram),
        }
    }

    fn counter(&mut self, Metric { value, time }: Metric<'p>) -> Result<(), ProtobufError> {
        let counter: CounterMessage = decoded(value, "a counter that does not decode")?;
        let exemplars = counter.exemplar.into_iter().map(Exemplar::from).collect();
        let times = (time, self.start_time(start_time(counter.created)));
        self.gatherer.float(&self.labels, counter.value.to_bits(), times, exemplars);
        Ok(())
    }

    fn summary(&mut self, names: &Names<'p>, Metric { value, time }: Metric<'p>) -> Result<(), ProtobufError> {
        let summary: SummaryMessage = decoded(value, "a summary that does not decode")?;
        let times = (time, self.start_time(start_time(summary.created)));
        self.push(&names.count, summary.sample_count as f64, times, Vec::new());
        self.push(&names.sum, summary.sample_sum, times, Vec::new());
        for quantile in &summary.quantile {
            // It does not count from anywhere.
            self.push_bound((names.plain, "quantile", quantile.quantile), quantile.value, (time, 0), Vec::new());
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        names: &Names<'p>,
        Metric { value, time }: Metric<'p>,
        is_gauge: bool,
    ) -> Result<(), ProtobufError> {
        let offset = value.map_or(0, |value| value.at());
        let message: HistogramMessage = decoded(value, "a histogram that does not decode")?;
        let times = (time, self.start_time(start_time(message.created)));
        let is_native = self.wanted.native && message.is_native();
        if is_native {
            let histogram = checked(message.native(is_gauge), offset)?;
            let mut exemplars: Vec<Exemplar<'p>> = native_exemplars(&message).collect();
            exemplars.sort_by_key(|exemplar| exemplar.time);
            self.gatherer.histogram(&self.labels, histogram, times, exemplars);
        }
        if !is_native || self.wanted.keep_classic && !message.bucket.is_empty() {
            self.classic(names, &message, times);
        }
        Ok(())
    }

    fn classic(&mut self, names: &Names<'p>, message: &HistogramMessage, times: (Option<i64>, i64)) {
        self.push(&names.count, message.count(), times, Vec::new());
        self.push(&names.sum, message.sample_sum, times, Vec::new());
        let mut has_end = false;
        for bucket in &message.bucket {
            has_end = bucket.upper_bound == f64::INFINITY;
            let exemplars = bucket.exemplar.clone().into_iter().map(Exemplar::from).collect();
            self.push_bound((&names.bucket, "le", bucket.upper_bound), bucket.count(), times, exemplars);
            if has_end {
                break;
            }
        }
        if !has_end {
            self.push_bound((&names.bucket, "le", f64::INFINITY), message.count(), times, Vec::new());
        }
    }

    /// A sample of the metric under a name that belongs to it.
    fn push(&mut self, name: &str, value: f64, times: (Option<i64>, i64), exemplars: Vec<Exemplar<'p>>) {
        let mut labels: Vec<LabelText<'_>> = vec![(Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name))];
        labels.extend(self.labels[1..].iter().map(borrowed));
        self.gatherer.float(&labels, value.to_bits(), times, exemplars);
    }

    /// The same with a bound among its labels.
    fn push_bound(
        &mut self,
        (name, label, bound): (&str, &str, f64),
        value: f64,
        times: (Option<i64>, i64),
        exemplars: Vec<Exemplar<'p>>,
    ) {
        let bound = self.bounds.entry(bound.to_bits()).or_insert_with(|| value_text::open_metrics(bound));
        let mut labels: Vec<LabelText<'_>> = vec![(Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name))];
        labels.extend(self.labels[1..].iter().map(borrowed));
        labels.push((Cow::Borrowed(label), Cow::Borrowed(bound)));
        self.gatherer.float(&labels, value.to_bits(), times, exemplars);
    }

    fn start_time(&self, start_time: i64) -> i64 {
        if self.wanted.start_times { start_time } else { 0 }
    }
}

/// The names of a family's series.
struct Names<'p> {
    plain: &'p str,
    count: String,
    sum: String,
    bucket: String,
}

impl<'p> Names<'p> {
    fn of(name: &'p str) -> Self {
        let with = |end: &str| format!("{name}{end}");
        Self { plain: name, count: with("_count"), sum: with("_sum"), bucket: with("_bucket") }
    }
}

fn borrowed<'a>((name, value): &'a LabelText<'_>) -> LabelText<'a> {
    (Cow::Borrowed(name), Cow::Borrowed(value))
}

/// Only those with a time: the others are worth something in a bucket of their own alone.
fn native_exemplars(message: &HistogramMessage) -> impl Iterator<Item = Exemplar<'static>> {
    let own = message.exemplars.iter();
    let of_buckets = message.bucket.iter().filter_map(|bucket| bucket.exemplar.as_ref());
    let of_buckets = of_buckets.filter(|_| message.exemplars.is_empty());
    own.chain(of_buckets).filter(|exemplar| exemplar.timestamp.is_some()).cloned().map(Exemplar::from)
}

fn checked(mut histogram: Histogram, offset: usize) -> Result<Histogram, ProtobufError> {
    if histogram.check().is_err() {
        return Err(ProtobufError { offset, what: "a native histogram whose numbers contradict each other" });
    }
    histogram.compact();
    Ok(histogram)
}

fn text<'p>(field: Option<Reader<'p>>, what: &'static str) -> Result<&'p str, ProtobufError> {
    let Some(field) = field else { return Ok("") };
    str::from_utf8(field.rest()).map_err(|_| ProtobufError { offset: field.at(), what })
}

fn label(message: Reader<'_>) -> Result<LabelText<'_>, ProtobufError> {
    let (mut name, mut value) = (None, None);
    let mut fields = message;
    while !fields.is_empty() {
        match fields.tag()? {
            LABEL_NAME => name = Some(fields.message()?),
            LABEL_VALUE => value = Some(fields.message()?),
            other => fields.skip_unknown(other, &[LABEL_NAME, LABEL_VALUE])?,
        }
    }
    let name = text(name, "a label's name must be UTF-8")?;
    if name.is_empty() {
        return Err(ProtobufError { offset: message.at(), what: "a label has no name" });
    }
    if name.contains('\0') {
        return Err(ProtobufError { offset: message.at(), what: ZERO_IN_NAME });
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(text(value, "a label's value must be UTF-8")?)))
}

fn plain_value(message: Reader<'_>) -> Result<u64, ProtobufError> {
    let mut value = 0;
    let mut fields = message;
    while !fields.is_empty() {
        match fields.tag()? {
            VALUE => value = fields.fixed64()?,
            other => fields.skip_unknown(other, &[VALUE])?,
        }
    }
    Ok(value)
}

fn decoded<M: Message + Default>(message: Option<Reader<'_>>, what: &'static str) -> Result<M, ProtobufError> {
    let Some(message) = message else { return Ok(M::default()) };
    M::decode(message.rest()).map_err(|_| ProtobufError { offset: message.at(), what })
}

/// Whether a name ends with `_` and the unit, before `_total` if it is a counter's.
fn has_unit(name: &str, unit: &str, of_type: Type) -> bool {
    let name = if of_type == Type::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
    name.strip_suffix(unit).is_some_and(|name| name.ends_with('_'))
}
