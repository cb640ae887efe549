//! Writing remote-write messages: what the load generator sends and tests decode.
//!
//! Bytes come out as a Prometheus sender's: fields in order, default values left out. The label part of a series is rendered
//! once and given again with each message, since it does not change while the samples do.

use std::collections::HashMap;

use model::Sample;

use super::{label, sample, v1, v2};
use crate::protobuf::{put_bytes, put_varint, varint_len};

/// Appends the label fields of a series of protocol 1.0, in the order given (senders sort by name).
pub fn labels_v1<'a>(out: &mut Vec<u8>, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        let length = text_len(name) + text_len(value);
        put_varint(out, label::LABEL.0.into());
        put_varint(out, length as u64);
        put_text(out, label::NAME, name);
        put_text(out, label::VALUE, value);
    }
}

/// Bytes of a string field whose tag takes one byte; an empty one is left out.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + varint_len(text.len() as u64) + text.len() }
}

fn put_text(out: &mut Vec<u8>, tag: crate::protobuf::Tag, text: &str) {
    if !text.is_empty() {
        put_bytes(out, tag, text.as_bytes());
    }
}

/// Appends a series of protocol 1.0 to a `WriteRequest`. `labels` come from [`labels_v1`].
pub fn series_v1(out: &mut Vec<u8>, labels: &[u8], samples: &[Sample]) {
    put_varint(out, v1::TIMESERIES.0.into());
    put_varint(out, (labels.len() + samples_len(samples)) as u64);
    out.extend_from_slice(labels);
    put_samples(out, samples);
}

/// The symbol table of one request of protocol 2.0, rendered as it grows.
#[derive(Clone, Debug)]
pub struct SymbolTable {
    positions: HashMap<String, u32>,
    message: Vec<u8>,
}

impl SymbolTable {
    /// A table with the empty string, which the protocol wants in first place.
    pub fn new() -> Self {
        let mut table = Self { positions: HashMap::new(), message: Vec::new() };
        table.intern("");
        table
    }

    /// The reference of a string.
    pub fn intern(&mut self, text: &str) -> u32 {
        if let Some(&position) = self.positions.get(text) {
            return position;
        }
        let position = u32::try_from(self.positions.len()).expect("a request has fewer than 2^32 symbols");
        self.positions.insert(text.to_owned(), position);
        put_bytes(&mut self.message, v2::SYMBOL, text.as_bytes());
        position
    }

    /// The table as the fields of a `Request`; the series go behind it.
    pub fn message(&self) -> &[u8] {
        &self.message
    }
}

impl Default for SymbolTable {
    fn default() -> Self {
        Self::new()
    }
}

/// Appends the label references of a series of protocol 2.0, interning what they refer to.
pub fn labels_v2<'a>(
    out: &mut Vec<u8>,
    symbols: &mut SymbolTable,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let mut packed = Vec::new();
    for text in labels.into_iter().flat_map(|(name, value)| [name, value]) {
        put_varint(&mut packed, symbols.intern(text).into());
    }
    put_bytes(out, v2::REFERENCES, &packed);
}

/// Appends a series of protocol 2.0 to a `Request`. `labels` come from [`labels_v2`].
pub fn series_v2(out: &mut Vec<u8>, labels: &[u8], samples: &[Sample]) {
    put_varint(out, v2::TIMESERIES.0.into());
    put_varint(out, (labels.len() + samples_len(samples)) as u64);
    out.extend_from_slice(labels);
    put_samples(out, samples);
}

fn samples_len(samples: &[Sample]) -> usize {
    samples.iter().map(|sample| 2 + sample_len(sample)).sum()
}

/// At most 20, so that its own length always takes one byte.
fn sample_len(sample: &Sample) -> usize {
    let value = if sample.value.to_bits() == 0 { 0 } else { 9 };
    let time = if sample.time.0 == 0 { 0 } else { 1 + varint_len(sample.time.0 as u64) };
    value + time
}

fn put_samples(out: &mut Vec<u8>, samples: &[Sample]) {
    for sample in samples {
        put_varint(out, sample::SAMPLE.0.into());
        out.push(sample_len(sample) as u8);
        if sample.value.to_bits() != 0 {
            put_varint(out, sample::VALUE.0.into());
            out.extend_from_slice(&sample.value.to_le_bytes());
        }
        if sample.time.0 != 0 {
            put_varint(out, sample::TIME.0.into());
            put_varint(out, sample.time.0 as u64);
        }
    }
}

/// Compresses a message into snappy's block format, as the body of a request.
pub struct Compressor {
    encoder: snap::raw::Encoder,
    body: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), body: Vec::new() }
    }
}

impl Compressor {
    /// The compressed message, until the next one. A message is far below the 4 GiB that the format can hold.
    pub fn compress(&mut self, message: &[u8]) -> &[u8] {
        let room = snap::raw::max_compress_len(message.len());
        if self.body.len() < room {
            self.body.resize(room, 0);
        }
        let length = self.encoder.compress(message, &mut self.body).expect("room for the longest result");
        &self.body[..length]
    }
}
