//! Bits to histograms.

use model::histogram::{Counts, Histogram, ResetHint};

use super::{
    ENCODING_FLOAT, HEADER_BYTES, hint_of,
    layout::Layout,
    varbit::{take_bits, take_signed, take_unsigned},
};
use crate::{
    bits::BitReader,
    gorilla::{ChunkError, Damage, XorValue},
};

/// Walks through a chunk. After an error it ends.
#[derive(Clone, Debug)]
pub struct HistogramSamples<'a> {
    reader: BitReader<'a>,
    bits: usize,
    count: u16,
    returned: u16,
    header: ResetHint,
    layout: Layout,
    time: Dod,
    sum: XorValue,
    counts: State,
}

/// A number of which differences' differences come.
#[derive(Clone, Copy, Debug, Default)]
struct Dod {
    value: i64,
    delta: i64,
}

impl Dod {
    fn new(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    fn next(&mut self, reader: &mut BitReader<'_>) {
        self.delta = self.delta.wrapping_add(take_signed(reader));
        self.value = self.value.wrapping_add(self.delta);
    }
}

#[derive(Clone, Debug)]
enum State {
    Integer { count: Dod, zero_count: Dod, positive: Vec<Dod>, negative: Vec<Dod> },
    Float { count: XorValue, zero_count: XorValue, positive: Vec<XorValue>, negative: Vec<XorValue> },
}

impl<'a> HistogramSamples<'a> {
    /// Walks through a finished chunk of one of the two encodings.
    pub fn new(encoding: u8, chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let Some((&[high, low, flags], _)) = chunk.split_first_chunk::<HEADER_BYTES>() else {
            return Err(ChunkError { offset_bits: 0, what: Damage::Short });
        };
        let counts = match encoding {
            ENCODING_FLOAT => State::Float {
                count: XorValue::new(0),
                zero_count: XorValue::new(0),
                positive: Vec::new(),
                negative: Vec::new(),
            },
            _ => State::Integer {
                count: Dod::default(),
                zero_count: Dod::default(),
                positive: Vec::new(),
                negative: Vec::new(),
            },
        };
        Ok(Self {
            reader: BitReader::new(chunk, HEADER_BYTES),
            bits: chunk.len() * 8,
            count: u16::from_be_bytes([high, low]),
            returned: 0,
            header: hint_of(flags),
            layout: Layout::default(),
            time: Dod::default(),
            sum: XorValue::new(0),
            counts,
        })
    }

    /// Samples in the chunk, as it says itself.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// How the chunk follows the one before it. Its first histogram does not say so itself, as that chunk may be gone.
    pub fn header(&self) -> ResetHint {
        self.header
    }

    fn advance(&mut self) -> Result<(i64, Histogram), ChunkError> {
        if self.returned == 0 {
            self.first()?
        } else {
            self.later()?
        }
        if self.reader.position() > self.bits {
            return Err(ChunkError { offset_bits: self.bits, what: Damage::Truncated });
        }
        Ok((self.time.value, self.histogram()))
    }

    fn first(&mut self) -> Result<(), ChunkError> {
        let Self { reader, bits, .. } = self;
        let taken = Layout::take(reader, *bits);
        let (layout, positives, negatives) =
            taken.map_err(|what| ChunkError { offset_bits: reader.position().min(*bits), what })?;
        self.layout = layout;
        self.time = Dod::new(take_signed(reader));
        match &mut self.counts {
            State::Integer { count, zero_count, positive, negative } => {
                *count = Dod::new(take_unsigned(reader) as i64);
                *zero_count = Dod::new(take_unsigned(reader) as i64);
                self.sum = XorValue::new(take_bits(reader, 64));
                positive.extend((0..positives).map(|_| Dod::new(take_signed(reader))));
                negative.extend((0..negatives).map(|_| Dod::new(take_signed(reader))));
            }
            State::Float { count, zero_count, positive, negative } => {
                let mut value = || XorValue::new(take_bits(reader, 64));
                (*count, *zero_count, self.sum) = (value(), value(), value());
                // The layout has room for a bit each; they take 64.
                if positives.saturating_add(negatives).saturating_mul(64) > *bits {
                    return Err(ChunkError { offset_bits: *bits, what: Damage::Truncated });
                }
                positive.extend((0..positives).map(|_| value()));
                negative.extend((0..negatives).map(|_| value()));
            }
        }
        Ok(())
    }

    fn later(&mut self) -> Result<(), ChunkError> {
        let Self { reader, sum, .. } = self;
        self.time.next(reader);
        match &mut self.counts {
            State::Integer { count, zero_count, positive, negative } => {
                count.next(reader);
                zero_count.next(reader);
                next_value(sum, reader)?;
                if !model::sample::is_stale(f64::from_bits(sum.bits)) {
                    positive.iter_mut().chain(negative).for_each(|bucket| bucket.next(reader));
                }
            }
            State::Float { count, zero_count, positive, negative } => {
                next_value(count, reader)?;
                next_value(zero_count, reader)?;
                next_value(sum, reader)?;
                if !model::sample::is_stale(f64::from_bits(sum.bits)) {
                    positive.iter_mut().chain(negative).try_for_each(|bucket| next_value(bucket, reader))?;
                }
            }
        }
        Ok(())
    }

    fn histogram(&self) -> Histogram {
        let sum = f64::from_bits(self.sum.bits);
        if model::sample::is_stale(sum) {
            return Histogram::stale(matches!(self.counts, State::Float { .. }));
        }
        let counts = match &self.counts {
            State::Integer { count, zero_count, positive, negative } => {
                let values = |buckets: &[Dod]| buckets.iter().map(|bucket| bucket.value).collect();
                Counts::Integer {
                    count: count.value as u64,
                    zero_count: zero_count.value as u64,
                    positive: values(positive),
                    negative: values(negative),
                }
            }
            State::Float { count, zero_count, positive, negative } => {
                let values = |buckets: &[XorValue]| buckets.iter().map(|bucket| f64::from_bits(bucket.bits)).collect();
                Counts::Float {
                    count: f64::from_bits(count.bits),
                    zero_count: f64::from_bits(zero_count.bits),
                    positive: values(positive),
                    negative: values(negative),
                }
            }
        };
        let reset_hint = match self.header {
            ResetHint::Gauge => ResetHint::Gauge,
            _ if self.returned > 0 => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        };
        let Layout { schema, zero_threshold, positive_spans, negative_spans, custom_values } = self.layout.clone();
        Histogram { reset_hint, schema, zero_threshold, sum, counts, positive_spans, negative_spans, custom_values }
    }
}

fn next_value(value: &mut XorValue, reader: &mut BitReader<'_>) -> Result<(), ChunkError> {
    reader.refill();
    value.next(reader)
}

impl Iterator for HistogramSamples<'_> {
    /// Time in milliseconds and the histogram.
    type Item = Result<(i64, Histogram), ChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.returned == self.count {
            return None;
        }
        let sample = self.advance();
        match sample {
            Ok(_) => self.returned += 1,
            Err(_) => self.returned = self.count,
        }
        Some(sample)
    }
}
