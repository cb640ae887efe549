//! Samples of either kind, one by one: for what is made anew, checked or printed. Queries have columns.

use codec::{
    gorilla::{self, ChunkError},
    histogram::{HistogramChunk, HistogramSamples, is_histogram},
};
use model::Histogram;
use runtime::Runtime;
use tsdb::limits::SAMPLES_PER_CHUNK;

use crate::writer::{NewChunk, PendingBlock};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The bits of a float.
    Float(u64),
    Histogram(Box<Histogram>),
}

/// A time in milliseconds and what was then.
pub type Sample = (i64, Value);

/// Why a chunk gives no samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("its encoding {0} is not one that this program reads")]
    Encoding(u8),
}

/// The samples of a chunk.
pub fn decode(encoding: u8, data: &[u8]) -> Result<Vec<Sample>, DecodeError> {
    if encoding == gorilla::ENCODING {
        let floats = gorilla::Samples::new(data)?.map(|sample| sample.map(|(time, bits)| (time, Value::Float(bits))));
        return Ok(floats.collect::<Result<_, _>>()?);
    }
    if !is_histogram(encoding) {
        return Err(DecodeError::Encoding(encoding));
    }
    let histograms = HistogramSamples::new(encoding, data)?
        .map(|sample| sample.map(|(time, histogram)| (time, Value::Histogram(Box::new(histogram)))));
    Ok(histograms.collect::<Result<_, _>>()?)
}

impl<R: Runtime> PendingBlock<R> {
    /// Adds samples, as chunks of the usual size.
    pub(crate) fn push_samples(&mut self, mut samples: &[Sample]) {
        while let Some((_, first)) = samples.first() {
            let is_float = matches!(first, Value::Float(_));
            let end = samples.iter().position(|(_, value)| matches!(value, Value::Float(_)) != is_float);
            let (alike, rest) = samples.split_at(end.unwrap_or(samples.len()));
            if is_float {
                self.push_floats(alike)
            } else {
                self.push_histograms(alike)
            }
            samples = rest;
        }
    }

    fn push_floats(&mut self, samples: &[Sample]) {
        for samples in samples.chunks(usize::from(SAMPLES_PER_CHUNK)) {
            let floats = samples.iter().filter_map(|(time, value)| match value {
                Value::Float(bits) => Some((*time, *bits)),
                Value::Histogram(_) => None,
            });
            let data = gorilla::encode_chunk(&floats.collect::<Vec<_>>());
            let (min_time, max_time) = (samples[0].0, samples[samples.len() - 1].0);
            self.push_chunk(NewChunk { min_time, max_time, encoding: gorilla::ENCODING, data: &data });
        }
    }

    fn push_histograms(&mut self, samples: &[Sample]) {
        let mut open: Option<HistogramChunk> = None;
        for (time, value) in samples {
            let Value::Histogram(histogram) = value else { continue };
            if open.as_mut().is_some_and(|open| !open.is_full() && open.append(*time, histogram)) {
                continue;
            }
            let next = HistogramChunk::begin(*time, histogram, open.as_ref());
            if let Some(full) = open.replace(next) {
                self.push_histogram_chunk(&full);
            }
        }
        if let Some(last) = open {
            self.push_histogram_chunk(&last);
        }
    }

    fn push_histogram_chunk(&mut self, chunk: &HistogramChunk) {
        self.push_chunk(NewChunk {
            min_time: chunk.min_time(),
            max_time: chunk.max_time(),
            encoding: chunk.encoding(),
            data: &chunk.to_bytes(),
        });
    }
}
