//! Bytes from outside to samples, and back: remote write 1.0 and 2.0, pages of targets, OpenMetrics text.
//!
//! Pure: bytes in, columns out, no I/O and no clock. Whatever comes in, the answer is a decoded batch or an error that names the
//! byte; nothing here panics on input, and nothing grows past its [`DecodeLimits`](remote_write::DecodeLimits).

pub mod exposition;
pub mod openmetrics;
mod protobuf;
pub mod remote_write;
