//! Metadata messages: `MetricMetadata { type = 1, metric_family_name = 2, help = 4, unit = 5 }` of protocol 1.0, and
//! `Metadata { type = 1, help_ref = 3, unit_ref = 4 }` of 2.0. They count the types alike.

use crate::protobuf::{Malformed, Reader, Tag, WIRE_LENGTH, WIRE_VARINT};

/// What a sender says of a metric. Texts are as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricMetadata<'a> {
    /// The metric family's in protocol 1.0, the series' own in 2.0: `latency_bucket` for a histogram `latency`.
    pub name: &'a [u8],
    /// Its name in the API: `counter`, `gauge`, ...
    pub kind: &'static str,
    pub help: &'a [u8],
    pub unit: &'a [u8],
}

const KIND: Tag = Tag::new(1, WIRE_VARINT);
const NAME: Tag = Tag::new(2, WIRE_LENGTH);
const HELP: Tag = Tag::new(4, WIRE_LENGTH);
const UNIT: Tag = Tag::new(5, WIRE_LENGTH);
const HELP_REFERENCE: Tag = Tag::new(3, WIRE_VARINT);
const UNIT_REFERENCE: Tag = Tag::new(4, WIRE_VARINT);

fn kind_of(number: u64) -> &'static str {
    match number {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}

pub(super) fn read_v1(mut message: Reader<'_>) -> Result<MetricMetadata<'_>, Malformed> {
    let mut metadata = MetricMetadata { name: &[], kind: kind_of(0), help: &[], unit: &[] };
    while !message.is_empty() {
        match message.tag()? {
            KIND => metadata.kind = kind_of(message.varint()?),
            NAME => metadata.name = message.message()?.rest(),
            HELP => metadata.help = message.message()?.rest(),
            UNIT => metadata.unit = message.message()?.rest(),
            other => message.skip_unknown(other, &[KIND, NAME, HELP, UNIT])?,
        }
    }
    Ok(metadata)
}

/// `symbol` looks up a reference; one that leads nowhere stands for nothing.
pub(super) fn read_v2<'a>(
    mut message: Reader<'_>,
    name: &'a [u8],
    symbol: impl Fn(u32) -> Option<&'a [u8]>,
) -> Result<MetricMetadata<'a>, Malformed> {
    let mut metadata = MetricMetadata { name, kind: kind_of(0), help: &[], unit: &[] };
    let text = |reference: u64| u32::try_from(reference).ok().and_then(&symbol).unwrap_or_default();
    while !message.is_empty() {
        match message.tag()? {
            KIND => metadata.kind = kind_of(message.varint()?),
            HELP_REFERENCE => metadata.help = text(message.varint()?),
            UNIT_REFERENCE => metadata.unit = text(message.varint()?),
            other => message.skip_unknown(other, &[KIND, HELP_REFERENCE, UNIT_REFERENCE])?,
        }
    }
    Ok(metadata)
}
