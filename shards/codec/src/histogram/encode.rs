//! Histograms to bits.

use model::histogram::{Counts, Histogram, ResetHint};

use super::{
    ENCODING_FLOAT, ENCODING_INTEGER, HEADER_BYTES, HistogramSamples, flags_of,
    layout::Layout,
    spread::{Numbers, has_shrunk, spread},
    varbit::{put_signed, put_unsigned},
};
use crate::{
    bits::{BitSink, BitWriter},
    gorilla::{ChunkError, Damage, XorState},
};

/// Samples from which on a chunk is full, whatever its size (Prometheus' number).
const SAMPLES_MAX: u16 = 120;
/// Bytes from which on a chunk with at least [`SAMPLES_MIN`] samples is full (Prometheus' numbers).
const BYTES_MAX: usize = 1024;
const SAMPLES_MIN: u16 = 10;
/// Bytes that no chunk goes beyond, unless with its first sample: a chunk file keeps a length in 16 bits.
const BYTES_CAP: usize = 60_000;
/// Most bytes that a number takes.
const NUMBER_BYTES_MAX: usize = 10;

/// A chunk that grows. What it holds can be read at any time.
#[derive(Clone, Debug)]
pub struct HistogramChunk {
    header: ResetHint,
    layout: Layout,
    numbers: Numbers,
    writer: BitWriter<Vec<u8>>,
    samples: u16,
    min_time: i64,
    time: Dod,
    sum: XorState,
    state: State,
    /// The newest sample, with the buckets of the layout.
    newest: Histogram,
}

#[derive(Clone, Copy, Debug, Default)]
struct Dod {
    value: i64,
    delta: i64,
}

impl Dod {
    fn put(&mut self, value: i64, sink: &mut impl BitSink) {
        let delta = value.wrapping_sub(self.value);
        put_signed(delta.wrapping_sub(self.delta), sink);
        *self = Self { value, delta };
    }

    fn first(value: i64) -> Self {
        Self { value, delta: 0 }
    }
}

#[derive(Clone, Debug)]
enum State {
    Integer { count: Dod, zero_count: Dod, positive: Vec<Dod>, negative: Vec<Dod> },
    Float { count: XorState, zero_count: XorState, positive: Vec<XorState>, negative: Vec<XorState> },
}

impl HistogramChunk {
    /// Begins a chunk, behind another one of the same series if there is one.
    pub fn begin(time: i64, histogram: &Histogram, before: Option<&Self>) -> Self {
        let header = match histogram.reset_hint {
            ResetHint::Gauge => ResetHint::Gauge,
            ResetHint::Reset => ResetHint::Reset,
            _ => before.map_or(ResetHint::Unknown, |before| before.hint_for(histogram)),
        };
        Self::begin_with(time, histogram, header)
    }

    fn begin_with(time: i64, histogram: &Histogram, header: ResetHint) -> Self {
        let state = match &histogram.counts {
            Counts::Integer { .. } => State::Integer {
                count: Dod::default(),
                zero_count: Dod::default(),
                positive: Vec::new(),
                negative: Vec::new(),
            },
            Counts::Float { .. } => State::Float {
                count: XorState::default(),
                zero_count: XorState::default(),
                positive: Vec::new(),
                negative: Vec::new(),
            },
        };
        let stale = histogram.is_stale().then(|| Histogram::stale(histogram.is_float()));
        let histogram = stale.as_ref().unwrap_or(histogram);
        let layout = Layout::of(histogram);
        let mut writer = BitWriter::new(vec![0; HEADER_BYTES]);
        layout.put(&mut writer);
        let mut chunk = Self {
            header,
            layout,
            numbers: Numbers::of(histogram),
            writer,
            samples: 0,
            min_time: time,
            time: Dod::default(),
            sum: XorState::default(),
            state,
            newest: Histogram::default(),
        };
        chunk.put_first(time, histogram);
        chunk
    }

    /// A chunk that goes on from where a finished one ends; `None` if there is no sample in that one.
    pub fn resume(encoding: u8, data: &[u8]) -> Result<Option<Self>, ChunkError> {
        let samples = HistogramSamples::new(encoding, data)?;
        let header = samples.header();
        let mut chunk: Option<Self> = None;
        for sample in samples {
            let (time, histogram) = sample?;
            match &mut chunk {
                Some(chunk) if chunk.max_time() >= time => {
                    return Err(ChunkError { offset_bits: data.len() * 8, what: Damage::Times });
                }
                Some(chunk) => chunk.put_later(time, &histogram),
                None => chunk = Some(Self::begin_with(time, &histogram, header)),
            }
        }
        Ok(chunk)
    }

    pub fn encoding(&self) -> u8 {
        match self.state {
            State::Integer { .. } => ENCODING_INTEGER,
            State::Float { .. } => ENCODING_FLOAT,
        }
    }

    pub fn samples(&self) -> u16 {
        self.samples
    }

    pub fn min_time(&self) -> i64 {
        self.min_time
    }

    pub fn max_time(&self) -> i64 {
        self.time.value
    }

    /// The newest sample; it may have empty buckets that it did not come with.
    pub fn newest(&self) -> &Histogram {
        &self.newest
    }

    /// Whether the next sample should begin another chunk.
    pub fn is_full(&self) -> bool {
        let bytes = self.writer.byte_len();
        self.samples >= SAMPLES_MAX || bytes >= BYTES_MAX && self.samples >= SAMPLES_MIN
    }

    /// Bytes of the finished chunk.
    pub fn byte_len(&self) -> usize {
        self.writer.byte_len()
    }

    /// Whether another sample with these buckets surely fits, those of the others included that are new to the chunk.
    fn has_room_for(&self, numbers: &Numbers) -> bool {
        let buckets = numbers.positive.len() + numbers.negative.len();
        let new = buckets.saturating_sub(self.numbers.positive.len() + self.numbers.negative.len());
        // An empty bucket is 8 bytes in the first sample at most, bits in the others; a span takes some more in the layout.
        let widening = new * (2 * NUMBER_BYTES_MAX + 8) + usize::from(self.samples) * new / 4;
        self.writer.byte_len() + widening + (buckets + 4) * NUMBER_BYTES_MAX <= BYTES_CAP
    }

    /// The finished chunk, as it is in a block.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.writer.clone().finish();
        bytes[..2].copy_from_slice(&self.samples.to_be_bytes());
        bytes[2] = flags_of(self.header);
        bytes
    }

    /// Memory besides the structure itself.
    pub fn heap_bytes(&self) -> usize {
        let buckets = self.numbers.positive.len() + self.numbers.negative.len();
        let state = match self.state {
            State::Integer { .. } => size_of::<Dod>(),
            State::Float { .. } => size_of::<XorState>(),
        };
        self.writer.byte_len() + buckets * (state + size_of::<i32>() + 8)
    }

    /// Appends a sample; `false` if it needs another chunk, which [`Self::begin`] begins.
    pub fn append(&mut self, time: i64, histogram: &Histogram) -> bool {
        if histogram.is_stale() {
            self.put_later(time, &Histogram::stale(self.newest.is_float()));
            return true;
        }
        if self.newest.is_stale() || histogram.reset_hint == ResetHint::Reset || !self.is_alike(histogram) {
            return false;
        }
        let numbers = Numbers::of(histogram);
        if numbers == self.numbers {
            if !self.has_room_for(&numbers) || self.shrinks_to(&histogram.counts, &self.newest.counts) {
                return false;
            }
            self.put_later(time, histogram);
            return true;
        }
        let all = self.numbers.union(&numbers);
        if !self.has_room_for(&all) {
            return false;
        }
        let (newest, spread_out) = (spread(&self.newest, &all), spread(histogram, &all));
        if self.shrinks_to(&spread_out.counts, &newest.counts) {
            return false;
        }
        if all != self.numbers {
            self.widen(&all);
        }
        self.put_later(time, &spread_out);
        true
    }

    fn is_alike(&self, histogram: &Histogram) -> bool {
        let is_gauge = |hint| hint == ResetHint::Gauge;
        histogram.is_float() == matches!(self.state, State::Float { .. })
            && is_gauge(histogram.reset_hint) == is_gauge(self.header)
            && self.layout.has_bounds_of(histogram)
    }

    fn shrinks_to(&self, after: &Counts, before: &Counts) -> bool {
        self.header != ResetHint::Gauge && has_shrunk(before, after)
    }

    /// What a chunk that begins with a histogram says of how it follows this one.
    fn hint_for(&self, histogram: &Histogram) -> ResetHint {
        let is_float = matches!(self.state, State::Float { .. });
        let is_unknown = self.newest.is_stale()
            || histogram.is_stale()
            || self.header == ResetHint::Gauge
            || histogram.is_float() != is_float;
        if is_unknown {
            return ResetHint::Unknown;
        }
        let all = self.numbers.union(&Numbers::of(histogram));
        let has_shrunk = || has_shrunk(&spread(&self.newest, &all).counts, &spread(histogram, &all).counts);
        if !self.layout.has_bounds_of(histogram) || has_shrunk() { ResetHint::Reset } else { ResetHint::NotReset }
    }

    /// Gives all samples more buckets, empty ones.
    fn widen(&mut self, to: &Numbers) {
        let bytes = self.to_bytes();
        let samples = HistogramSamples::new(self.encoding(), &bytes).expect("encoded here");
        let mut wide: Option<Self> = None;
        for sample in samples {
            let (time, histogram) = sample.expect("encoded here");
            let histogram = spread(&histogram, to);
            match &mut wide {
                Some(wide) => wide.put_later(time, &histogram),
                None => wide = Some(Self::begin_with(time, &histogram, self.header)),
            }
        }
        *self = wide.expect("a chunk has a sample at least");
    }

    fn put_first(&mut self, time: i64, histogram: &Histogram) {
        let Self { writer, sum, .. } = self;
        put_signed(time, writer);
        self.time = Dod::first(time);
        match (&mut self.state, &histogram.counts) {
            (
                State::Integer { count, zero_count, positive, negative },
                Counts::Integer { count: c, zero_count: z, positive: p, negative: n },
            ) => {
                put_unsigned(*c, writer);
                put_unsigned(*z, writer);
                (*count, *zero_count) = (Dod::first(*c as i64), Dod::first(*z as i64));
                sum.append_number(histogram.sum.to_bits(), writer);
                for (states, buckets) in [(positive, p), (negative, n)] {
                    for &bucket in buckets {
                        put_signed(bucket, writer);
                        states.push(Dod::first(bucket));
                    }
                }
            }
            (
                State::Float { count, zero_count, positive, negative },
                Counts::Float { count: c, zero_count: z, positive: p, negative: n },
            ) => {
                count.append_number(c.to_bits(), writer);
                zero_count.append_number(z.to_bits(), writer);
                sum.append_number(histogram.sum.to_bits(), writer);
                for (states, buckets) in [(positive, p), (negative, n)] {
                    for &bucket in buckets {
                        let mut state = XorState::default();
                        state.append_number(bucket.to_bits(), writer);
                        states.push(state);
                    }
                }
            }
            _ => unreachable!("the state was made for these counts"),
        }
        self.finish_sample(histogram);
    }

    /// Appends a sample with the buckets of the layout, or a stale marker.
    fn put_later(&mut self, time: i64, histogram: &Histogram) {
        let Self { writer, sum, .. } = self;
        self.time.put(time, writer);
        let is_stale = histogram.is_stale();
        match (&mut self.state, &histogram.counts) {
            (State::Integer { .. }, _) if is_stale => {
                // Differences' differences of zero, whatever they lead to: nobody looks at them.
                writer.put(0, 1);
                writer.put(0, 1);
                sum.append_number(histogram.sum.to_bits(), writer);
            }
            (State::Float { count, zero_count, .. }, _) if is_stale => {
                count.append_number(0, writer);
                zero_count.append_number(0, writer);
                sum.append_number(histogram.sum.to_bits(), writer);
            }
            (
                State::Integer { count, zero_count, positive, negative },
                Counts::Integer { count: c, zero_count: z, positive: p, negative: n },
            ) => {
                count.put(*c as i64, writer);
                zero_count.put(*z as i64, writer);
                sum.append_number(histogram.sum.to_bits(), writer);
                positive
                    .iter_mut()
                    .zip(p)
                    .chain(negative.iter_mut().zip(n))
                    .for_each(|(state, &bucket)| state.put(bucket, writer));
            }
            (
                State::Float { count, zero_count, positive, negative },
                Counts::Float { count: c, zero_count: z, positive: p, negative: n },
            ) => {
                count.append_number(c.to_bits(), writer);
                zero_count.append_number(z.to_bits(), writer);
                sum.append_number(histogram.sum.to_bits(), writer);
                positive
                    .iter_mut()
                    .zip(p)
                    .chain(negative.iter_mut().zip(n))
                    .for_each(|(state, bucket)| state.append_number(bucket.to_bits(), writer));
            }
            _ => unreachable!("asked before whether the histogram is like those of the chunk"),
        }
        self.finish_sample(histogram);
    }

    fn finish_sample(&mut self, histogram: &Histogram) {
        self.samples += 1;
        self.newest.clone_from(histogram);
    }
}
