//! What all histograms of a chunk have in common: schema, zero threshold, which buckets there are.

use model::histogram::{BUCKETS_MAX, CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

use super::varbit::{put_signed, put_unsigned, take_bits, take_signed, take_unsigned};
use crate::{
    bits::{BitReader, BitSink},
    gorilla::Damage,
};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive_spans: Vec<Span>,
    pub(super) negative_spans: Vec<Span>,
    pub(super) custom_values: Vec<f64>,
}

impl Layout {
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            positive_spans: histogram.positive_spans.clone(),
            negative_spans: histogram.negative_spans.clone(),
            custom_values: histogram.custom_values.clone(),
        }
    }

    /// Whether buckets of the same numbers have the same bounds.
    pub(super) fn has_bounds_of(&self, histogram: &Histogram) -> bool {
        self.schema == histogram.schema
            && self.zero_threshold.to_bits() == histogram.zero_threshold.to_bits()
            && self.custom_values.len() == histogram.custom_values.len()
            && self.custom_values.iter().zip(&histogram.custom_values).all(|(a, b)| a.to_bits() == b.to_bits())
    }

    pub(super) fn put(&self, sink: &mut impl BitSink) {
        put_zero_threshold(self.zero_threshold, sink);
        put_signed(self.schema.into(), sink);
        for spans in [&self.positive_spans, &self.negative_spans] {
            put_unsigned(spans.len() as u64, sink);
            for span in spans {
                put_unsigned(span.length.into(), sink);
                put_signed(span.offset.into(), sink);
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            put_unsigned(self.custom_values.len() as u64, sink);
            self.custom_values.iter().for_each(|&bound| put_custom_bound(bound, sink));
        }
    }

    /// Reads a layout; returns it and the number of positive and of negative buckets. `bits_left` bounds what is allocated.
    pub(super) fn take(reader: &mut BitReader<'_>, bits: usize) -> Result<(Self, usize, usize), Damage> {
        let zero_threshold = take_zero_threshold(reader);
        let schema = take_signed(reader);
        let schema = i32::try_from(schema).map_err(|_| Damage::Layout("schema"))?;
        let (positive_spans, positive) = take_spans(reader, bits)?;
        let (negative_spans, negative) = take_spans(reader, bits)?;
        let mut custom_values = Vec::new();
        if schema == CUSTOM_BUCKETS_SCHEMA {
            let count = take_unsigned(reader) as usize;
            if count > left(reader, bits) {
                return Err(Damage::Layout("more custom bounds than there is room for"));
            }
            custom_values.extend((0..count).map(|_| take_custom_bound(reader)));
        }
        let layout = Self { schema, zero_threshold, positive_spans, negative_spans, custom_values };
        Ok((layout, positive, negative))
    }
}

fn left(reader: &BitReader<'_>, bits: usize) -> usize {
    bits.saturating_sub(reader.position())
}

/// Powers of two from 2^-243 to 2^10 and zero take a byte, anything else nine.
fn put_zero_threshold(threshold: f64, sink: &mut impl BitSink) {
    if threshold == 0.0 {
        return sink.put(0, 8);
    }
    let bits = threshold.to_bits();
    let (sign, exponent, fraction) = (bits >> 63, (bits >> 52 & 0x7ff) as i64 - 1022, bits & ((1 << 52) - 1));
    if sign == 0 && fraction == 0 && (-242..=11).contains(&exponent) {
        return sink.put((exponent + 243) as u64, 8);
    }
    sink.put(255, 8);
    sink.put(bits, 64);
}

fn take_zero_threshold(reader: &mut BitReader<'_>) -> f64 {
    match take_bits(reader, 8) {
        0 => 0.0,
        255 => f64::from_bits(take_bits(reader, 64)),
        // Half of two to the exponent.
        code => f64::from_bits((code + 1022 - 243) << 52),
    }
}

fn take_spans(reader: &mut BitReader<'_>, bits: usize) -> Result<(Vec<Span>, usize), Damage> {
    let count = take_unsigned(reader) as usize;
    if count > left(reader, bits) {
        return Err(Damage::Layout("more spans than there is room for"));
    }
    let mut spans = Vec::with_capacity(count);
    let (mut buckets, mut end) = (0usize, 0i64);
    for _ in 0..count {
        let length = u32::try_from(take_unsigned(reader)).map_err(|_| Damage::Layout("length of a span"))?;
        let offset = i32::try_from(take_signed(reader)).map_err(|_| Damage::Layout("offset of a span"))?;
        if offset < 0 && !spans.is_empty() {
            return Err(Damage::Layout("a span before the one in front of it"));
        }
        buckets = buckets.saturating_add(length as usize);
        end += i64::from(offset) + i64::from(length);
        spans.push(Span { offset, length });
    }
    // Each has at least a bit in the first sample.
    if buckets > left(reader, bits).min(BUCKETS_MAX) || i32::try_from(end).is_err() {
        return Err(Damage::Layout("more buckets than there is room for"));
    }
    Ok((spans, buckets))
}

/// Up to 33554.43 in whole thousandths in few bits, as bounds mostly are; others as they are behind a zero bit.
fn put_custom_bound(bound: f64, sink: &mut impl BitSink) {
    let thousandths = bound * 1000.0;
    let rounded = thousandths.round();
    if (0.0..=33_554_430.0).contains(&thousandths) && bound.is_sign_positive() && rounded / 1000.0 == bound {
        return put_unsigned(rounded as u64 + 1, sink);
    }
    sink.put(0, 1);
    sink.put(bound.to_bits(), 64);
}

fn take_custom_bound(reader: &mut BitReader<'_>) -> f64 {
    match take_unsigned(reader) {
        0 => f64::from_bits(take_bits(reader, 64)),
        code => (code - 1) as f64 / 1000.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bits::BitWriter;

    fn read_back(layout: &Layout) -> Layout {
        let mut writer = BitWriter::new(Vec::new());
        layout.put(&mut writer);
        // Room for the first sample, which a layout may count on.
        let bytes = [writer.finish(), vec![0; 1000]].concat();
        Layout::take(&mut BitReader::new(&bytes, 0), bytes.len() * 8).expect("sound").0
    }

    #[test]
    fn thresholds_and_bounds_keep_their_bits() {
        let powers = (-1074..=1023)
            .map(|power: i32| if power < -1022 { f64::from_bits(1 << (power + 1074)) } else { 2f64.powi(power) });
        for zero_threshold in powers.chain([0.0, 0.001, f64::MAX, f64::INFINITY, 3.0]) {
            let layout = Layout { zero_threshold, ..Layout::default() };
            assert_eq!(read_back(&layout).zero_threshold.to_bits(), zero_threshold.to_bits(), "{zero_threshold}");
        }
        let custom_values = vec![-0.5, -0.0, 0.0, 0.005, 0.25, 1.0, 33_554.43, 33_554.431, 1e9, 0.123_456, f64::MAX];
        let layout = Layout { schema: CUSTOM_BUCKETS_SCHEMA, custom_values, ..Layout::default() };
        let read: Vec<u64> = read_back(&layout).custom_values.iter().map(|bound| bound.to_bits()).collect();
        assert_eq!(read, layout.custom_values.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn layouts_read_back(spans in prop::collection::vec((0i32..1000, 0u32..40), 0..20), first in -5000i32..5000, schema in -4i32..9) {
            let mut positive_spans: Vec<Span> = spans.iter().map(|&(offset, length)| Span { offset, length }).collect();
            if let Some(span) = positive_spans.first_mut() {
                span.offset = first;
            }
            let layout = Layout { schema, positive_spans, ..Layout::default() };
            prop_assert_eq!(read_back(&layout), layout);
        }
    }
}
