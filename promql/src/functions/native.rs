//! histogram_count, histogram_sum, histogram_avg, histogram_stddev, histogram_stdvar: one number of each native histogram.

use crate::histogram::{self, FloatHistogram};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NativeMeasure {
    Average,
    Count,
    StandardDeviation,
    Sum,
    Variance,
}

impl NativeMeasure {
    pub(crate) fn of(self, histogram: &FloatHistogram) -> f64 {
        match self {
            Self::Average => histogram.sum / histogram.count,
            Self::Count => histogram.count,
            Self::StandardDeviation => histogram::variance(histogram).sqrt(),
            Self::Sum => histogram.sum,
            Self::Variance => histogram::variance(histogram),
        }
    }
}
