//! Pages that targets expose: the text format (0.0.4 and 1.0.0), OpenMetrics text, and protobuf.
//!
//! A [`Reader`] goes through a page of text line by line. Scraped again and again, nearly all lines are the same but for their values, so the
//! reader first asks whether a line's series is known by its text ([`LineCache`]) and parses labels only where it is not. Pages whose samples
//! don't stand in lines are [`Gathered`] first.
//!
//! Formats: prometheus.io/docs/instrumenting/exposition_formats and github.com/prometheus/OpenMetrics, read as strictly, and as leniently,
//! as Prometheus 3 does.

mod classic;
pub mod families;
pub mod family_text;
pub mod gathered;
mod label_text;
pub mod lines;
mod number;
mod open_metrics;
mod protobuf_page;
pub mod reader;
mod text;

pub use gathered::{Gathered, GatheredSample, SampleValue, Wanted};
pub use label_text::unescaped_help;
pub use lines::{Found, LineCache, SeriesKey, Walk};
pub use protobuf_page::ProtobufError;
pub use reader::{Bounds, Dialect, Exemplar, Item, Metadata, MetricKind, ParseError, PlainSample, Reader, Sample};
