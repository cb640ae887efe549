//! The nouns of the house: timestamps, samples, labels, matchers, series identity and the shape of a write request.
//!
//! Imports nothing of ours and does nothing: no I/O, no clock, no storage. Everything above agrees on these types.

pub mod histogram;
pub mod identity;
pub mod labels;
pub mod matcher;
pub mod sample;
pub mod value_text;
pub mod write;

pub use histogram::Histogram;
pub use identity::{IdentityKey, SeriesId};
pub use labels::{Label, Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use sample::{Sample, Timestamp};
pub use write::{ExemplarSample, HistogramSample, LabelSpan, OwnedBatch, Places, SeriesEntry, SeriesPlace, WriteBatch};
