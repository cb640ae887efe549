//! Bodies of requests: the part that stays is rendered once per block of series.

use std::ops::Range;

use model::{Sample, Timestamp};
use wire::remote_write::{
    Protocol,
    encode::{Compressor, SymbolTable, labels_v1, labels_v2, series_v1, series_v2},
};

use super::{args::LoadArgs, fleet, plan::Plan, values::Shape};

/// The series of one request, pass after pass.
pub(super) struct Block {
    pub(super) series: Range<u32>,
    protocol: Protocol,
    labels_count: u32,
    generations: Vec<u32>,
    /// Label parts of all series, one after the other, and where each ends.
    labels: Vec<u8>,
    ends: Vec<usize>,
    /// The symbol table's fields; nothing in protocol 1.0.
    symbols: Vec<u8>,
}

impl Block {
    pub(super) fn new(args: &LoadArgs, series: Range<u32>) -> Self {
        Self {
            series,
            protocol: args.protocol.into(),
            labels_count: args.labels,
            generations: Vec::new(),
            labels: Vec::new(),
            ends: Vec::new(),
            symbols: Vec::new(),
        }
    }

    /// Renders the labels again if churn has replaced a series.
    fn refresh(&mut self, plan: &Plan, pass: u32) {
        let generations = self.series.clone().map(|series| plan.generation(series, pass));
        if !self.generations.is_empty() && generations.clone().eq(self.generations.iter().copied()) {
            return;
        }
        self.generations = generations.collect();
        self.labels.clear();
        self.ends.clear();
        let mut symbols = SymbolTable::new();
        for (series, &generation) in self.series.clone().zip(&self.generations) {
            let labels = fleet::labels(series, generation, self.labels_count);
            let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            match self.protocol {
                Protocol::V1 => labels_v1(&mut self.labels, labels),
                Protocol::V2 => labels_v2(&mut self.labels, &mut symbols, labels),
            }
            self.ends.push(self.labels.len());
        }
        if self.protocol == Protocol::V2 {
            symbols.message().clone_into(&mut self.symbols);
        }
    }
}

/// Builds messages and compresses them; one for each connection.
#[derive(Default)]
pub(super) struct BodyWriter {
    message: Vec<u8>,
    compressor: Compressor,
}

impl BodyWriter {
    /// The body that carries one sample to each series of a block.
    pub(super) fn write(&mut self, block: &mut Block, plan: &Plan, shape: Shape, pass: u32) -> &[u8] {
        block.refresh(plan, pass);
        self.message.clear();
        self.message.extend_from_slice(&block.symbols);
        let time = Timestamp(plan.time_ms(pass));
        let mut start = 0;
        for (series, &end) in block.series.clone().zip(&block.ends) {
            let samples = [Sample { time, value: shape.value(series, pass) }];
            let labels = &block.labels[start..end];
            match block.protocol {
                Protocol::V1 => series_v1(&mut self.message, labels, &samples),
                Protocol::V2 => series_v2(&mut self.message, labels, &samples),
            }
            start = end;
        }
        self.compressor.compress(&self.message)
    }
}
