//! The naive decoder the walks are compared with: `prost` builds the whole message, and a loop makes of it what a batch must hold.
//!
//! Parts that the walks only count are plain bytes here, and strings too, as their encoding is not the walk's business.

use std::fmt;

use prost::Message;

use super::super::{RejectReason, RejectedSeries};

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
pub(super) struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) histograms: Vec<Vec<u8>>,
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
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) histograms: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(super) metadata: Vec<Vec<u8>>,
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

/// What a batch must hold.
#[derive(Default, PartialEq)]
pub(super) struct Decoded {
    /// Labels as they came, and samples; series without samples are not among them.
    pub(super) series: Vec<(Vec<Pair>, Vec<Point>)>,
    pub(super) histograms: usize,
    pub(super) exemplars: usize,
    pub(super) metadata: usize,
    pub(super) first_histogram: Option<Vec<Pair>>,
    pub(super) first_exemplar: Option<Vec<Pair>>,
    pub(super) rejected_series: usize,
    pub(super) rejected_samples: usize,
    pub(super) first_rejected: Option<RejectedSeries>,
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (labels, samples) in &self.series {
            writeln!(f, "{labels:?} {samples:?}")?;
        }
        writeln!(f, "unstored {} {} {}", self.histograms, self.exemplars, self.metadata)?;
        writeln!(f, "offenders {:?} {:?}", self.first_histogram, self.first_exemplar)?;
        write!(f, "rejected {} {} {:?}", self.rejected_series, self.rejected_samples, self.first_rejected)
    }
}

impl Decoded {
    fn push(&mut self, labels: Vec<Pair>, samples: Vec<Point>, histograms: usize, exemplars: usize) {
        self.histograms += histograms;
        self.exemplars += exemplars;
        if histograms > 0 {
            self.first_histogram.get_or_insert_with(|| labels.clone());
        }
        if exemplars > 0 {
            self.first_exemplar.get_or_insert_with(|| labels.clone());
        }
        if !samples.is_empty() {
            self.series.push((labels, samples));
        }
    }

    fn reject(&mut self, index: usize, reason: RejectReason, series: &SeriesV2) {
        self.histograms += series.histograms.len();
        self.exemplars += series.exemplars.len();
        self.rejected_series += 1;
        self.rejected_samples += series.samples.len();
        self.first_rejected.get_or_insert(RejectedSeries { index: index as u64, reason });
    }
}

pub(super) fn decode_v1(message: &[u8]) -> Option<Decoded> {
    let request = RequestV1::decode(message).ok()?;
    let mut decoded = Decoded { metadata: request.metadata.len(), ..Decoded::default() };
    for series in request.series {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        let samples = series.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
        decoded.push(labels, samples, series.histograms.len(), series.exemplars.len());
    }
    Some(decoded)
}

pub(super) fn decode_v2(message: &[u8]) -> Option<Decoded> {
    let request = RequestV2::decode(message).ok()?;
    if request.symbols.first().is_some_and(|first| !first.is_empty()) {
        return None;
    }
    let mut decoded = Decoded::default();
    for (index, series) in request.series.iter().enumerate() {
        decoded.metadata += series.metadata.len();
        match resolve(&series.references, &request.symbols) {
            Ok(labels) => {
                let samples = series.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
                decoded.push(labels, samples, series.histograms.len(), series.exemplars.len());
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
