//! Bytes and bits: Prometheus' float chunks, varints, checksums, the packing of log columns, prefetching.
//!
//! Everything here is a function of its input. Decoders take hostile bytes: they return an error that says where and what, never
//! panic, and never allocate more than the input's length justifies. The scalar code is the specification of each format; a
//! faster kernel has to give the same bytes and the same bits.

pub mod columns;
pub mod crc;
pub mod gorilla;
pub mod prefetch;
pub mod varint;
