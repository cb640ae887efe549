//! The operators `</` and `>/`: a histogram without what was observed above, or below, a value.
//!
//! A bucket that the value cuts keeps the share of its observations that interpolation gives; the sum is estimated anew from the
//! middles of what is left.

use super::{
    Bucket, FloatHistogram,
    estimate::{clip_zero_bucket, linear_share, logarithmic_share},
};

/// Where to cut, and which side stays.
#[derive(Clone, Copy, Debug)]
struct Cut {
    at: f64,
    keeps_below: bool,
}

/// What is left of a bucket: how many observations, and where they lie on average.
type Part = (f64, f64);

const NOTHING: Part = (0.0, 0.0);

impl FloatHistogram {
    pub(crate) fn trimmed(&self, at: f64, keeps_below: bool) -> Self {
        let cut = Cut { at, keeps_below };
        let mut result = self.clone();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut keep = |held: &mut f64, (kept, middle): Part| {
            changed |= *held != kept;
            *held = kept;
            count += kept;
            if kept != 0.0 {
                sum += kept * middle;
            }
        };
        let is_custom = self.uses_custom_buckets();
        for (place, bucket) in result.positive.iter_mut().zip(&self.positive) {
            let bucket = self.positive_bucket(*bucket);
            keep(&mut place.1, if is_custom { cut.custom(&bucket) } else { cut.exponential(&bucket) });
        }
        for (place, bucket) in result.negative.iter_mut().zip(&self.negative) {
            keep(&mut place.1, cut.exponential(&self.negative_bucket(*bucket)));
        }
        if self.zero_count != 0.0 {
            let mut bucket = self.zero_bucket();
            clip_zero_bucket(self, &mut bucket);
            keep(&mut result.zero_count, cut.linear(&bucket));
        }
        if changed {
            (result.count, result.sum) = (count, sum);
            result.drop_empty_buckets();
        }
        result
    }
}

fn mean(lower: f64, upper: f64) -> f64 {
    (lower + upper) / 2.0
}

fn geometric_mean(lower: f64, upper: f64) -> f64 {
    (lower * upper).sqrt().copysign(if upper > 0.0 { 1.0 } else { -1.0 })
}

impl Cut {
    fn linear(self, bucket: &Bucket) -> Part {
        self.finite(bucket, mean, linear_share)
    }

    fn exponential(self, bucket: &Bucket) -> Part {
        self.finite(bucket, geometric_mean, logarithmic_share)
    }

    fn finite(
        self,
        &Bucket { lower, upper, count, .. }: &Bucket,
        middle: impl Fn(f64, f64) -> f64,
        share_below: impl Fn(f64, f64, f64) -> f64,
    ) -> Part {
        let at = self.at;
        let share = || share_below(at, lower, upper);
        let whole = (count, middle(lower, upper));
        match self.keeps_below {
            true if upper <= at => whole,
            true if lower < at => (count * share(), middle(lower, at)),
            false if lower >= at => whole,
            false if upper > at => (count * (1.0 - share()), middle(at, upper)),
            _ => NOTHING,
        }
    }

    fn custom(self, bucket: &Bucket) -> Part {
        let Bucket { lower, upper, count, .. } = *bucket;
        let at = self.at;
        match (lower == f64::NEG_INFINITY, upper == f64::INFINITY) {
            (false, false) => self.linear(bucket),
            (true, true) => {
                let keeps_all = if self.keeps_below { at == f64::INFINITY } else { at == f64::NEG_INFINITY };
                if keeps_all { (count, 0.0) } else { NOTHING }
            }
            // Without an upper end, what stays lies at the lower one.
            (false, true) => match self.keeps_below {
                true if at == f64::INFINITY => (count, lower),
                false if at < f64::INFINITY => (count, lower.max(at)),
                _ => NOTHING,
            },
            // The first bucket begins at 0 if it ends above that, and nowhere otherwise.
            (true, false) if upper > 0.0 => match self.keeps_below {
                false if at == f64::NEG_INFINITY => (count, mean(0.0, upper)),
                false if at < 0.0 => NOTHING,
                _ => self.linear(&Bucket { lower: 0.0, ..*bucket }),
            },
            (true, false) => match self.keeps_below {
                true if at > f64::NEG_INFINITY => (count, upper.min(at)),
                false if at == f64::NEG_INFINITY => (count, upper),
                _ => NOTHING,
            },
        }
    }
}
