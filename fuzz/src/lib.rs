//! Fuzz targets and what runs them on stable Rust: see README.md.
//!
//! A target takes any bytes and panics when a promise is broken. The same functions serve the driver of this crate (mutation of
//! known inputs, no coverage, runs anywhere) and libFuzzer (`libfuzzer/`, coverage-guided, nightly).

pub mod driver;
pub mod mutation;
pub mod targets;
