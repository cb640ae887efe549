//! What a query gives.

use std::sync::Arc;

use model::Labels;

use crate::{annotations::Annotation, budget::Reservation, histogram::FloatHistogram, source::HistogramPoint};

/// The answer to a query, with what the engine wants to say about it.
#[derive(Debug)]
pub struct QueryOutput {
    pub value: Value,
    /// Warnings and infos, each text once.
    pub annotations: Vec<Annotation>,
    pub statistics: Statistics,
    /// What the value takes of the query's budget, given back with it.
    pub held: Reservation,
}

/// What the query used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Samples read from the source.
    pub samples_read: usize,
    /// Most samples held at one time.
    pub samples_peak: usize,
    /// Most bytes held at one time.
    pub bytes_peak: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Time in milliseconds.
    Scalar { time: i64, value: f64 },
    /// Time in milliseconds.
    String { time: i64, text: String },
    /// In the engine's order, which is only meaningful after `sort` and its like, `topk` and `bottomk`.
    Vector { time: i64, samples: Vec<VectorSample> },
    /// Sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    pub value: SampleValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl SampleValue {
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }
}

/// A series of a range query, or of a range selector: floats as columns of equal length, and histograms. Never empty, times
/// ascending, none in both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    /// Milliseconds.
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    pub histograms: Vec<HistogramPoint>,
}

impl MatrixSeries {
    /// The floats.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (i64, f64)> {
        self.times.iter().copied().zip(self.values.iter().copied())
    }
}
