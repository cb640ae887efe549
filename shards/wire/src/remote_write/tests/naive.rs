//! The naive decoder the walks are compared with: `prost` builds the whole message, and a loop makes of it what a batch must hold.
//!
//! Histograms are what the same library makes of them, strings are bytes, as their encoding is not the walk's business, and metadata is bytes that
//! are decoded apart, as what is wrong with it harms nobody.

use std::fmt;

use model::Histogram;
use prost::Message;

use super::super::{RejectReason, RejectedSeries, histogram::HistogramMessage};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExemplarV1 {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExemplarV2 {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) references: Vec<u64>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataV1 {
    #[prost(uint64, tag = "1")]
    pub(super) kind: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) help: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) unit: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetadataV2 {
    #[prost(uint64, tag = "1")]
    pub(super) kind: u64,
    #[prost(uint64, tag = "3")]
    pub(super) help: u64,
    #[prost(uint64, tag = "4")]
    pub(super) unit: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) exemplars: Vec<ExemplarV1>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<HistogramMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestV1 {
    #[prost(message, repeated, tag = "1")]
    pub(super) series: Vec<SeriesV1>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) metadata: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SampleV2 {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) time: i64,
    #[prost(int64, tag = "3")]
    pub(super) start_time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SeriesV2 {
    /// 32 bits in the protocol; the same bytes with 64, which shows references that don't fit.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) references: Vec<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<SampleV2>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<HistogramMessage>,
    #[prost(message, repeated, tag = "4")]
    pub(super) exemplars: Vec<ExemplarV2>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(super) metadata: Vec<Vec<u8>>,
    #[prost(int64, tag = "6")]
    pub(super) created: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestV2 {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub(super) series: Vec<SeriesV2>,
}

/// Name and value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Time and value bits.
pub(super) type Point = (i64, u64);

/// Labels, time and value bits of an exemplar.
pub(super) type Exemplar = (Vec<Pair>, Point);

pub(super) type DecodedSeries = (Vec<Pair>, Vec<Point>, Vec<(i64, Histogram)>, Vec<Exemplar>);

/// Name, number of the type, help and unit.
pub(super) type Metadata = (Vec<u8>, &'static str, Vec<u8>, Vec<u8>);

/// What a batch must hold.
#[derive(Default, PartialEq)]
pub(super) struct Decoded {
    /// Labels as they came, samples, histograms and exemplars; series without any are not among them.
    pub(super) series: Vec<DecodedSeries>,
    pub(super) metadata: Vec<Metadata>,
    /// Start timestamps of all samples that are not 0, each with its sample's position; and those of histograms.
    pub(super) start_times: Vec<(usize, i64)>,
    pub(super) histogram_start_times: Vec<i64>,
    /// Messages, whether they decode or not.
    pub(super) metadata_count: usize,
    pub(super) rejected_exemplars: usize,
    pub(super) rejected_series: usize,
    pub(super) rejected_samples: usize,
    pub(super) first_rejected: Option<RejectedSeries>,
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (labels, samples, histograms, exemplars) in &self.series {
            writeln!(f, "{labels:?} {samples:?} {histograms:?} {exemplars:?}")?;
        }
        writeln!(f, "metadata {} {:?}", self.metadata_count, self.metadata)?;
        writeln!(f, "start times {:?} {:?}", self.start_times, self.histogram_start_times)?;
        let (series, samples, exemplars) = (self.rejected_series, self.rejected_samples, self.rejected_exemplars);
        write!(f, "rejected {series} {samples} {exemplars} {:?}", self.first_rejected)
    }
}

impl Decoded {
    fn push(
        &mut self,
        labels: Vec<Pair>,
        samples: Vec<Point>,
        histograms: &[HistogramMessage],
        exemplars: Vec<Exemplar>,
    ) {
        if !samples.is_empty() || !histograms.is_empty() || !exemplars.is_empty() {
            let histograms = histograms.iter().map(|message| (message.time, message.clone().into())).collect();
            self.series.push((labels, samples, histograms, exemplars));
        }
    }

    /// Before the series itself is added.
    fn push_start_times(&mut self, series: &SeriesV2) {
        let first = self.series.iter().map(|(_, samples, ..)| samples.len()).sum::<usize>();
        for (at, sample) in series.samples.iter().enumerate() {
            let own = sample.start_time;
            let start_time = if own == 0 && at == 0 { series.created } else { own };
            if start_time != 0 {
                self.start_times.push((first + at, start_time));
            }
        }
        for (at, histogram) in series.histograms.iter().enumerate() {
            let own = histogram.start_time;
            self.histogram_start_times.push(if own == 0 && at == 0 { series.created } else { own });
        }
    }

    fn reject_exemplar(&mut self, index: usize, reason: RejectReason) {
        self.rejected_exemplars += 1;
        self.first_rejected.get_or_insert(RejectedSeries { index: index as u64, reason });
    }

    fn reject(&mut self, index: usize, reason: RejectReason, series: &SeriesV2) {
        self.rejected_series += 1;
        self.rejected_samples += series.samples.len() + series.histograms.len();
        self.first_rejected.get_or_insert(RejectedSeries { index: index as u64, reason });
    }
}

pub(super) fn decode_v1(message: &[u8]) -> Option<Decoded> {
    let request = RequestV1::decode(message).ok()?;
    let mut decoded = Decoded { metadata_count: request.metadata.len(), ..Decoded::default() };
    let metadata = request.metadata.iter().filter_map(|message| MetadataV1::decode(&**message).ok());
    decoded.metadata = metadata.map(|of| (of.name, kind(of.kind), of.help, of.unit)).collect();
    let pairs = |labels: Vec<Label>| labels.into_iter().map(|label| (label.name, label.value)).collect();
    for series in request.series {
        let labels = pairs(series.labels);
        let exemplars = series.exemplars.into_iter();
        let exemplars = exemplars.map(|exemplar| (pairs(exemplar.labels), (exemplar.time, exemplar.value.to_bits())));
        let samples = series.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
        decoded.histogram_start_times.extend(series.histograms.iter().map(|histogram| histogram.start_time));
        decoded.push(labels, samples, &series.histograms, exemplars.collect());
    }
    Some(decoded)
}

fn kind(number: u64) -> &'static str {
    const KINDS: [&str; 8] =
        ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    KINDS.get(usize::try_from(number).unwrap_or(usize::MAX)).copied().unwrap_or("unknown")
}

/// What the last message of a series says; they have one at most.
fn metadata_v2(series: &SeriesV2, labels: &[Pair], symbols: &[Vec<u8>]) -> Option<Metadata> {
    let message = MetadataV2::decode(&**series.metadata.last()?).ok()?;
    let text = |reference: u64| u32::try_from(reference).ok().and_then(|at| symbols.get(at as usize)).cloned();
    let name = labels.iter().rev().find(|(name, _)| name == b"__name__").map(|(_, value)| value.clone());
    let (help, unit) = (text(message.help).unwrap_or_default(), text(message.unit).unwrap_or_default());
    Some((name.unwrap_or_default(), kind(message.kind), help, unit))
}

pub(super) fn decode_v2(message: &[u8]) -> Option<Decoded> {
    let request = RequestV2::decode(message).ok()?;
    if request.symbols.first().is_some_and(|first| !first.is_empty()) {
        return None;
    }
    let mut decoded = Decoded::default();
    for (index, series) in request.series.iter().enumerate() {
        // Exemplars come before the labels are looked at as a whole.
        let mut exemplars = Vec::new();
        for exemplar in &series.exemplars {
            match resolve(&exemplar.references, &request.symbols) {
                Ok(labels) => exemplars.push((labels, (exemplar.time, exemplar.value.to_bits()))),
                Err(reason) => decoded.reject_exemplar(index, reason),
            }
        }
        match resolve(&series.references, &request.symbols) {
            Ok(labels) => {
                decoded.metadata_count += usize::from(!series.metadata.is_empty());
                decoded.metadata.extend(metadata_v2(series, &labels, &request.symbols));
                let samples = series.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
                decoded.push_start_times(series);
                decoded.push(labels, samples, &series.histograms, exemplars);
            }
            Err(reason) => decoded.reject(index, reason, series),
        }
    }
    Some(decoded)
}

fn resolve(references: &[u64], symbols: &[Vec<u8>]) -> Result<Vec<Pair>, RejectReason> {
    let text = |reference: u64| {
        let out_of_range = RejectReason::ReferenceOutOfRange { reference, symbols: symbols.len() as u32 };
        symbols.get(reference as usize).cloned().ok_or(out_of_range)
    };
    let pair = |pair: &[u64]| match *pair {
        [name, value] => Ok((text(name)?, text(value)?)),
        _ => Err(RejectReason::OddReferences),
    };
    references.chunks(2).map(pair).collect()
}
