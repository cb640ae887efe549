//! Remote write, protocol 1.0 (`prometheus.WriteRequest`) and 2.0 (`io.prometheus.write.v2.Request`).
//!
//! Decoding is one walk over the uncompressed message that delimits each series' label bytes, moves its samples into columns and
//! sums the hashes of its labels; labels are parsed only when [`WriteBatch::visit_labels`] asks for them, metadata when
//! [`Batch::visit_metadata`] does. Series whose references do not resolve are counted in [`Rejections`]: the neighbours of a bad
//! series go on.

mod columns;
pub mod encode;
mod exemplar;
mod histogram;
mod label;
mod metadata;
mod references;
mod sample;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use model::{ExemplarSample, HistogramSample, IdentityKey, LabelSpan, SeriesEntry, WriteBatch};

use self::columns::Columns;
pub use self::{
    columns::{RejectReason, RejectedSeries, Rejections},
    metadata::MetricMetadata,
};
use crate::protobuf::{Malformed, Reader};

/// Which message a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `prometheus.WriteRequest`
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Protocol {
    /// The value of `Content-Type` in full.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf;proto=prometheus.WriteRequest",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The value of `X-Prometheus-Remote-Write-Version`.
    pub fn version_header(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// What one request may hold.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Bytes after decompression, checked before memory is taken for them. Capped at 1 GiB, which positions can hold.
    pub decoded_bytes_max: usize,
    pub series_max: u32,
    pub samples_max: u32,
    /// More than these make one rejected series, not a refused request.
    pub labels_per_series_max: u32,
    /// Strings in the symbol table of protocol 2.0.
    pub symbols_max: u32,
    /// Whether the start timestamps of protocol 2.0 are kept; else they are checked and passed over.
    pub keeps_start_times: bool,
}

impl Default for DecodeLimits {
    /// Far above what agents send (2,000 to 10,000 samples, 1 MiB), and in the worst case about 150 MiB of memory a request.
    fn default() -> Self {
        Self {
            decoded_bytes_max: 32 << 20,
            series_max: 500_000,
            samples_max: 2_000_000,
            labels_per_series_max: 256,
            symbols_max: 1_000_000,
            keeps_start_times: false,
        }
    }
}

const DECODED_BYTES_CAP: usize = 1 << 30;

/// Which of the [`DecodeLimits`] was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    DecodedBytes,
    Series,
    Samples,
    Histograms,
    Exemplars,
    Symbols,
}

impl Limit {
    fn noun(self) -> &'static str {
        match self {
            Self::DecodedBytes => "uncompressed bytes",
            Self::Series => "series",
            Self::Samples => "samples",
            Self::Histograms => "native histograms",
            Self::Exemplars => "exemplars",
            Self::Symbols => "symbols",
        }
    }
}

/// Why a request as a whole could not be decoded. The sender must not send it again as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is not in snappy block format: {0}")]
    Snappy(snap::Error),
    #[error("the request holds more than {bound} {} (send smaller requests or raise the limit)", .which.noun())]
    LimitReached { which: Limit, bound: u64 },
    #[error("the message is malformed at byte {offset} of the uncompressed body: {what}")]
    Malformed { offset: usize, what: &'static str },
    #[error("the first symbol must be the empty string, found {length} bytes")]
    FirstSymbol { length: usize },
}

/// A message of unknown fields alone decodes to nothing, and a success would lose what the sender meant.
const OTHER_PROTOCOL: DecodeError = DecodeError::Malformed {
    offset: 0,
    what: "no field of the message that the Content-Type names; is it the other protocol's?",
};

impl From<Malformed> for DecodeError {
    fn from(error: Malformed) -> Self {
        Self::Malformed { offset: error.offset, what: error.what }
    }
}

/// Memory that a batch keeps between requests; a larger request gives the rest back.
const ARENA_BYTES_KEPT: usize = 4 << 20;

/// Bytes behind the message that hashing may look at, so that the last label is as fast as the others.
const SLACK: usize = 32;

/// A decoded request and the memory it lives in; meant to be decoded into again and again.
#[derive(Default)]
pub struct Batch {
    /// The uncompressed message, then at least [`SLACK`] bytes of anything. Its length is a high-water mark: clearing it would
    /// mean zeroing it for each request.
    arena: Vec<u8>,
    protocol: Protocol,
    columns: Columns,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes a compressed body in place of what the batch held. After an error the batch is empty.
    pub fn decode(
        &mut self,
        protocol: Protocol,
        compressed: &[u8],
        key: &IdentityKey,
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        self.clear();
        self.protocol = protocol;
        let result = self.uncompress(compressed, limits).and_then(|length| self.walk(length, key, limits));
        if result.is_err() {
            self.columns.clear();
        }
        result
    }

    /// Forgets the request and gives back memory that only an unusually large one needs.
    pub fn clear(&mut self) {
        self.columns.clear();
        if self.arena.len() > ARENA_BYTES_KEPT {
            self.arena = Vec::new();
        }
    }

    /// Checks the declared length before a byte is allocated for it.
    fn uncompress(&mut self, compressed: &[u8], limits: &DecodeLimits) -> Result<usize, DecodeError> {
        let length = snap::raw::decompress_len(compressed).map_err(DecodeError::Snappy)?;
        let bound = limits.decoded_bytes_max.min(DECODED_BYTES_CAP);
        if length > bound {
            return Err(DecodeError::LimitReached { which: Limit::DecodedBytes, bound: bound as u64 });
        }
        if self.arena.len() < length + SLACK {
            self.arena.resize(length + SLACK, 0);
        }
        snap::raw::Decoder::new().decompress(compressed, &mut self.arena[..length]).map_err(DecodeError::Snappy)
    }

    fn walk(&mut self, length: usize, key: &IdentityKey, limits: &DecodeLimits) -> Result<(), DecodeError> {
        let message = Reader::new(&self.arena, 0, length);
        self.columns.begin(length);
        match self.protocol {
            Protocol::V1 => v1::walk(message, key, limits, &mut self.columns),
            Protocol::V2 => {
                v2::walk(message, key, limits, &mut self.columns)?;
                let columns = &self.columns;
                let found = columns.symbols.len() + columns.entries.len() + columns.rejections.series as usize;
                let is_ours = length == 0 || found + columns.metadata.len() > 0;
                if is_ours { Ok(()) } else { Err(OTHER_PROTOCOL) }
            }
        }
    }

    /// Messages of metadata in the request.
    pub fn metadata_count(&self) -> usize {
        self.columns.metadata.len()
    }

    /// Visits metadata of the request, every `stride`th from the one at `first` on. What does not decode is passed over.
    pub fn visit_metadata(&self, first: usize, stride: usize, visit: &mut dyn FnMut(MetricMetadata<'_>)) {
        for entry in self.columns.metadata.iter().skip(first).step_by(stride.max(1)) {
            let message = Reader::new(&self.arena, entry.start as usize, entry.end as usize);
            match self.protocol {
                Protocol::V1 => metadata::read_v1(message).ok().map(&mut *visit),
                Protocol::V2 => {
                    let mut name: &[u8] = &[];
                    self.visit_labels(entry.labels, &mut |label, value| {
                        if label == model::METRIC_NAME.as_bytes() {
                            name = value;
                        }
                    });
                    let symbol = |reference: u32| {
                        let symbol = self.columns.symbols.get(reference as usize)?;
                        Some(&self.arena[symbol.start as usize..][..symbol.length as usize])
                    };
                    metadata::read_v2(message, name, symbol).ok().map(&mut *visit)
                }
            };
        }
    }

    /// Series that were left out, and why.
    pub fn rejections(&self) -> &Rejections {
        &self.columns.rejections
    }
}

impl WriteBatch for Batch {
    /// Series with at least one sample, histogram or exemplar.
    fn series(&self) -> &[SeriesEntry] {
        &self.columns.entries
    }

    fn times(&self) -> &[i64] {
        &self.columns.times
    }

    fn values(&self) -> &[u64] {
        &self.columns.values
    }

    fn start_times(&self) -> &[i64] {
        &self.columns.start_times
    }

    fn histograms(&self) -> &[HistogramSample] {
        &self.columns.histograms
    }

    fn exemplars(&self) -> &[ExemplarSample] {
        &self.columns.exemplars
    }

    fn visit_labels<'a>(&'a self, labels: LabelSpan, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        let labels = self.columns.label_reader(&self.arena, labels);
        match self.protocol {
            Protocol::V1 => v1::visit_labels(labels, visit),
            Protocol::V2 => v2::visit_labels(labels, &self.arena, &self.columns.symbols, visit),
        }
    }
}
