//! Sums and means of many histograms, compensated.

use model::histogram::ResetHint;

use super::{FloatHistogram, Incompatible};
use crate::functions::kahan::Sum;

/// A running sum or mean.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    is_mean: bool,
    /// The sum; of a mean, from the histogram on that would have made the sum infinite, the mean.
    state: FloatHistogram<Sum>,
    count: f64,
    is_incremental: bool,
    bounds_reconciled: bool,
    /// Whether histograms that follow a reset were among them, and such that don't.
    resets: bool,
    no_resets: bool,
}

/// An amount that may become infinite by some more additions of its like.
const LARGE: f64 = f64::MAX / 4.0;

impl HistogramSum {
    pub(crate) fn of(first: &FloatHistogram, is_mean: bool) -> Self {
        let mut sum = Self {
            is_mean,
            state: first.compensated(),
            count: 1.0,
            is_incremental: false,
            bounds_reconciled: false,
            resets: false,
            no_resets: false,
        };
        sum.note_reset(first);
        sum
    }

    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<(), Incompatible> {
        self.note_reset(histogram);
        self.count += 1.0;
        if self.is_mean && !self.is_incremental && !self.add_unless_infinite(histogram)? {
            self.is_incremental = true;
            self.state.scale(1.0 / (self.count - 1.0));
        }
        if !self.is_mean {
            self.bounds_reconciled |= self.state.add(histogram)?.bounds_reconciled;
        } else if self.is_incremental {
            self.state.scale((self.count - 1.0) / self.count);
            self.bounds_reconciled |= self.state.add(&histogram.divided_by(self.count))?.bounds_reconciled;
        }
        Ok(())
    }

    /// Whether the sum has taken the histogram and stayed finite.
    fn add_unless_infinite(&mut self, histogram: &FloatHistogram) -> Result<bool, Incompatible> {
        if self.state.largest() < LARGE && histogram.largest() < LARGE {
            self.bounds_reconciled |= self.state.add(histogram)?.bounds_reconciled;
            return Ok(true);
        }
        let mut next = self.state.clone();
        let combined = next.add(histogram)?;
        if next.largest().is_infinite() && !self.state.largest().is_infinite() {
            return Ok(false);
        }
        self.bounds_reconciled |= combined.bounds_reconciled;
        self.state = next;
        Ok(true)
    }

    fn note_reset(&mut self, histogram: &FloatHistogram) {
        self.resets |= histogram.reset_hint == ResetHint::Reset;
        self.no_resets |= histogram.reset_hint == ResetHint::NotReset;
    }

    pub(crate) fn resets_conflict(&self) -> bool {
        self.resets && self.no_resets
    }

    pub(crate) fn bounds_reconciled(&self) -> bool {
        self.bounds_reconciled
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.bytes()
    }

    pub(crate) fn value(&self) -> FloatHistogram {
        let value = self.state.rounded();
        if self.is_mean && !self.is_incremental { value.divided_by(self.count) } else { value }
    }
}
