//! Whether a counter has started again between two histograms.

use model::histogram::ResetHint;

use super::{
    FloatHistogram,
    arithmetic::{common_bounds, mapped, reduced},
};

impl FloatHistogram {
    /// Whether anything has fallen since the one before, or cannot be told from a fall.
    pub(crate) fn is_reset_after(&self, before: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < before.count || self.uses_custom_buckets() != before.uses_custom_buckets() {
            return true;
        }
        if self.uses_custom_buckets() {
            if self.has_bounds_of(&before.custom_values) {
                return has_fallen(&self.positive, &before.positive);
            }
            let common = common_bounds(&self.custom_values, &before.custom_values);
            let now = mapped(&self.positive, &self.custom_values, &common);
            return has_fallen(&now, &mapped(&before.positive, &before.custom_values, &common));
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = before.zero_bucket_reaching(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let outside = |side: &[(i32, f64)]| -> Vec<(i32, f64)> {
            let mut side = side.to_vec();
            side.retain(|bucket| before.positive_bucket(*bucket).upper > threshold);
            reduced(&side, before.schema, self.schema)
        };
        has_fallen(&self.positive, &outside(&before.positive)) || has_fallen(&self.negative, &outside(&before.negative))
    }
}

/// Whether any bucket holds less than it did, or is gone, whatever it held: differences of histograms can hold less than nothing.
fn has_fallen(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    before.iter().any(|(number, count)| {
        let at = now.binary_search_by_key(number, |bucket| bucket.0);
        at.map_or(*count != 0.0, |at| now[at].1 < *count)
    })
}
