//! Native histograms: a count per bucket, of which only those that something fell into are written down.
//!
//! Buckets are numbered; a schema says where each ends (see [`buckets`]). Spans name the numbers that are there, as runs with the gap before
//! each. The model is Prometheus' (`model/histogram`), as are the rules of [`Histogram::check`].

pub mod bounds;
pub mod buckets;
mod resolution;
#[cfg(test)]
mod tests;

pub use buckets::{Bucket, bucket_numbers, spans_of};

/// The schema whose bounds are in [`Histogram::custom_values`].
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
pub const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// Buckets that one histogram may have on each side. Prometheus has no such bound beyond a message's size; ten schemas of the whole range of
/// a double have fewer.
pub const BUCKETS_MAX: usize = 1 << 20;

/// A run of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Of the first span the number of its first bucket; of others the buckets left out since the one before.
    pub offset: i32,
    pub length: u32,
}

/// What is known of the histogram before this one of the same series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    #[default]
    Unknown,
    /// Something was counted down, or the counter began anew.
    Reset,
    NotReset,
    /// Its counts go up and down.
    Gauge,
}

/// The counts of a histogram, in the order of its spans.
#[derive(Clone, Debug)]
pub enum Counts {
    /// Buckets as each one's difference to the one before, the first to zero.
    Integer {
        count: u64,
        zero_count: u64,
        positive: Vec<i64>,
        negative: Vec<i64>,
    },
    Float {
        count: f64,
        zero_count: f64,
        positive: Vec<f64>,
        negative: Vec<f64>,
    },
}

/// One histogram sample without its time. Equality is by bits.
#[derive(Clone, Debug)]
pub struct Histogram {
    pub reset_hint: ResetHint,
    pub schema: i32,
    /// Observations of at most this size are in the zero bucket.
    pub zero_threshold: f64,
    pub sum: f64,
    pub counts: Counts,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    /// Upper bounds of the buckets of [`CUSTOM_BUCKETS_SCHEMA`], ascending; the last bucket is beyond them.
    pub custom_values: Vec<f64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self::Integer { count: 0, zero_count: 0, positive: Vec::new(), negative: Vec::new() }
    }
}

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Integer { count, zero_count, positive, negative },
                Self::Integer { count: c, zero_count: z, positive: p, negative: n },
            ) => (count, zero_count, positive, negative) == (c, z, p, n),
            (
                Self::Float { count, zero_count, positive, negative },
                Self::Float { count: c, zero_count: z, positive: p, negative: n },
            ) => same(*count, *c) && same(*zero_count, *z) && all_same(positive, p) && all_same(negative, n),
            _ => false,
        }
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.reset_hint == other.reset_hint
            && self.schema == other.schema
            && same(self.zero_threshold, other.zero_threshold)
            && same(self.sum, other.sum)
            && self.counts == other.counts
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && all_same(&self.custom_values, &other.custom_values)
    }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

fn all_same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| same(a, b))
}

/// Why a histogram is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    #[error("the schema is not one of -4 to 8 or -53")]
    Schema,
    #[error("the zero threshold is negative or not a number")]
    ZeroThreshold,
    #[error("a span has a negative offset behind another one")]
    SpanOffset,
    #[error("its spans name another number of buckets than it has")]
    SpansDiffer,
    #[error("it has more than {BUCKETS_MAX} buckets")]
    TooManyBuckets,
    #[error("a bucket's count is negative")]
    NegativeBucket,
    #[error("the count or a bucket's count is negative or not a number")]
    NegativeCount,
    #[error("the sum of its buckets is not its count")]
    CountMismatch,
    #[error("the sum of its buckets is more than its count, though the sum of observations is not a number")]
    CountBelowBuckets,
    #[error("custom bounds are not ascending, or one of them is not finite")]
    CustomBounds,
    #[error("it has custom bounds, which its schema does not know")]
    CustomWithExponential,
    #[error("a schema of custom bounds knows no zero bucket and no negative buckets")]
    CustomWithZeroOrNegative,
    #[error("a bucket lies beyond the custom bounds")]
    BeyondCustomBounds,
}

impl Histogram {
    /// Whether it marks the end of its series.
    pub fn is_stale(&self) -> bool {
        crate::sample::is_stale(self.sum)
    }

    /// The marker that ends a series of histograms.
    pub fn stale(is_float: bool) -> Self {
        let counts = match is_float {
            true => Counts::Float { count: 0.0, zero_count: 0.0, positive: Vec::new(), negative: Vec::new() },
            false => Counts::default(),
        };
        Self { sum: crate::sample::STALE_NAN, counts, ..Self::default() }
    }

    /// Forgets what is known of the histogram before it, as when that one is there no more.
    pub fn forget_reset(&mut self) {
        if self.reset_hint != ResetHint::Gauge {
            self.reset_hint = ResetHint::Unknown;
        }
    }

    /// What it was before anything was counted.
    pub fn before_it_began(&self) -> Self {
        Self {
            reset_hint: ResetHint::Reset,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            custom_values: self.custom_values.clone(),
            counts: Self::stale(self.is_float()).counts,
            ..Self::default()
        }
    }

    pub fn is_float(&self) -> bool {
        matches!(self.counts, Counts::Float { .. })
    }

    /// Buckets written down, on both sides.
    pub fn bucket_count(&self) -> usize {
        match &self.counts {
            Counts::Integer { positive, negative, .. } => positive.len() + negative.len(),
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        }
    }

    /// Checks what a receiver must not take on trust.
    pub fn check(&self) -> Result<(), HistogramError> {
        self.check_schema()?;
        let (positive, negative) = match &self.counts {
            Counts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        check_spans(&self.positive_spans, positive)?;
        check_spans(&self.negative_spans, negative)?;
        match &self.counts {
            Counts::Integer { count, zero_count, positive, negative } => {
                let buckets = sum_of_deltas(positive)?.checked_add(sum_of_deltas(negative)?);
                let all = buckets.and_then(|buckets| buckets.checked_add(*zero_count));
                // Observations that are not a number are in no bucket; they make the sum NaN.
                match all {
                    Some(all) if all == *count || self.sum.is_nan() && all < *count => Ok(()),
                    _ if self.sum.is_nan() => Err(HistogramError::CountBelowBuckets),
                    _ => Err(HistogramError::CountMismatch),
                }
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let mut all = [*count, *zero_count].into_iter().chain(positive.iter().chain(negative).copied());
                // A sum of floats need not be exact, so it is not compared.
                if all.any(|count| count.is_nan() || count < 0.0) && !self.is_stale() {
                    return Err(HistogramError::NegativeCount);
                }
                Ok(())
            }
        }
    }

    fn check_schema(&self) -> Result<(), HistogramError> {
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            return self.check_custom();
        }
        if !EXPONENTIAL_SCHEMAS.contains(&self.schema) {
            return Err(HistogramError::Schema);
        }
        if !self.custom_values.is_empty() {
            return Err(HistogramError::CustomWithExponential);
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(HistogramError::ZeroThreshold);
        }
        Ok(())
    }

    fn check_custom(&self) -> Result<(), HistogramError> {
        let finite = self.custom_values.iter().all(|bound| bound.is_finite());
        if !finite || self.custom_values.windows(2).any(|two| two[0] >= two[1]) {
            return Err(HistogramError::CustomBounds);
        }
        let zero_count = match self.counts {
            Counts::Integer { zero_count, .. } => zero_count as f64,
            Counts::Float { zero_count, .. } => zero_count,
        };
        if zero_count != 0.0 || self.zero_threshold != 0.0 || !self.negative_spans.is_empty() {
            return Err(HistogramError::CustomWithZeroOrNegative);
        }
        let mut end = 0i64;
        for span in &self.positive_spans {
            end += i64::from(span.offset);
            if end < 0 {
                return Err(HistogramError::SpanOffset);
            }
            end += i64::from(span.length);
        }
        if end > self.custom_values.len() as i64 + 1 {
            return Err(HistogramError::BeyondCustomBounds);
        }
        Ok(())
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            counts: Counts::default(),
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
        }
    }
}

fn check_spans(spans: &[Span], buckets: usize) -> Result<(), HistogramError> {
    if spans.iter().skip(1).any(|span| span.offset < 0) {
        return Err(HistogramError::SpanOffset);
    }
    if buckets > BUCKETS_MAX {
        return Err(HistogramError::TooManyBuckets);
    }
    let named: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    // The numbers of all buckets fit 32 bits, or nobody can compute with them.
    let end: i64 = spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
    if named != buckets as u64 || i32::try_from(end).is_err() {
        return Err(HistogramError::SpansDiffer);
    }
    Ok(())
}

fn sum_of_deltas(deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut bucket, mut sum) = (0i64, 0u64);
    for &delta in deltas {
        bucket = bucket.checked_add(delta).filter(|&bucket| bucket >= 0).ok_or(HistogramError::NegativeBucket)?;
        sum = sum.checked_add(bucket as u64).ok_or(HistogramError::CountMismatch)?;
    }
    Ok(sum)
}
