//! The registry of targets: a file for each crate under test (two for tsdb), a line for each file in [`all`].

pub mod block;
pub mod codec;
pub mod prometheus;
pub mod templates;
pub mod tsdb;
pub mod wire;

/// One thing to fuzz.
pub struct Target {
    /// As on the command line.
    pub name: &'static str,
    /// Panics when a promise is broken; returns on input that is merely wrong.
    pub run: fn(&[u8]),
    /// Inputs to start from: valid ones of several kinds, so that mutation gets past the first check.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub fn all() -> impl Iterator<Item = &'static Target> {
    [block::TARGETS, codec::TARGETS, prometheus::TARGETS, templates::TARGETS, tsdb::TARGETS, wire::TARGETS]
        .into_iter()
        .flatten()
}

/// Panics if more was allocated than the input's length justifies.
#[track_caller]
pub fn assert_bounded(allocated_bytes: usize, input: &[u8], bytes_per_input_byte: usize) {
    let bound = 256 + input.len() * bytes_per_input_byte;
    assert!(allocated_bytes <= bound, "{allocated_bytes} bytes allocated for {} bytes of input", input.len());
}
