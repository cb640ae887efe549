//! What a record says.
//!
//! Numbers called `ref` name series within one log. Versions 1 of samples begin with a `ref` and a time, in eight bytes each, and give differences to
//! them; versions 2 give a `ref`'s difference to the one before, a time's to the first one, and a start time.

use model::{
    Histogram, Labels, LabelsBuilder,
    histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, ResetHint, Span},
};

use crate::{
    block::{BlockError, bytes::Cursor},
    select::TimeRange,
};

/// One thing that a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Series {
        series: u64,
        labels: Labels,
    },
    Float {
        series: u64,
        time: i64,
        bits: u64,
    },
    Histogram {
        series: u64,
        time: i64,
        histogram: Box<Histogram>,
    },
    Deletion {
        series: u64,
        range: TimeRange,
    },
    /// Something of which a block has no place, named in the plural.
    LeftOut(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a record of type {0}, which this program does not know: a newer Prometheus wrote it")]
    Type(u8),
    #[error("a record's content: {0}")]
    Content(#[from] BlockError),
}

/// How samples name their series and times, and what says when they started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Base,
    StartTimes,
}

/// Tells `each` what a record says, in its order. On an error what came before it was told.
pub fn decode(record: &[u8], each: impl FnMut(Entry)) -> Result<(), RecordError> {
    let Some((&kind, _)) = record.split_first() else { return Err(RecordError::Type(0)) };
    let mut rest = Cursor::at(record, 1)?;
    match kind {
        1 => series(&mut rest, each),
        2 => samples(&mut rest, Version::Base, float, each),
        3 => deletions(&mut rest, each),
        4 => left_out(rest, "records of exemplars", each),
        // Where chunks of the out-of-order log's samples were put; the samples are here as well.
        5 => Ok(()),
        6 => left_out(rest, "records of metadata", each),
        7 | 9 => samples(&mut rest, Version::Base, integer_histogram, each),
        8 | 10 => samples(&mut rest, Version::Base, float_histogram, each),
        11 => samples(&mut rest, Version::StartTimes, float, each),
        12 => samples(&mut rest, Version::StartTimes, integer_histogram, each),
        13 => samples(&mut rest, Version::StartTimes, float_histogram, each),
        // What a checkpoint was cut at.
        14 => Ok(()),
        kind => return Err(RecordError::Type(kind)),
    }
    .map_err(RecordError::from)
}

fn left_out(rest: Cursor<'_>, what: &'static str, mut each: impl FnMut(Entry)) -> Result<(), BlockError> {
    if !rest.is_empty() {
        each(Entry::LeftOut(what));
    }
    Ok(())
}

fn series(rest: &mut Cursor<'_>, mut each: impl FnMut(Entry)) -> Result<(), BlockError> {
    while !rest.is_empty() {
        let series = rest.be_u64()?;
        let mut labels = LabelsBuilder::default();
        for _ in 0..rest.unsigned()? {
            let (name, value) = (rest.text()?, rest.text()?);
            labels.set(name, value);
        }
        each(Entry::Series { series, labels: labels.build() });
    }
    Ok(())
}

fn deletions(rest: &mut Cursor<'_>, mut each: impl FnMut(Entry)) -> Result<(), BlockError> {
    while !rest.is_empty() {
        let series = rest.be_u64()?;
        let range = TimeRange { min_time: rest.signed()?, max_time: rest.signed()? };
        each(Entry::Deletion { series, range });
    }
    Ok(())
}

fn samples(
    rest: &mut Cursor<'_>,
    version: Version,
    value: fn(u64, i64, &mut Cursor<'_>) -> Result<Entry, BlockError>,
    mut each: impl FnMut(Entry),
) -> Result<(), BlockError> {
    if rest.is_empty() {
        return Ok(());
    }
    let (mut base, base_time) = match version {
        Version::Base => (rest.be_u64()?, rest.be_u64()? as i64),
        Version::StartTimes => (rest.signed()? as u64, rest.signed()?),
    };
    if version == Version::StartTimes {
        let _start = rest.signed()?;
        each(value(base, base_time, rest)?);
    }
    while !rest.is_empty() {
        let series = base.wrapping_add(rest.signed()? as u64);
        let time = base_time.wrapping_add(rest.signed()?);
        if version == Version::StartTimes {
            base = series;
            skip_start_time(rest)?;
        }
        each(value(series, time, rest)?);
    }
    Ok(())
}

/// A start time: 0 for none, 1 for the one before, anything else before its difference to the first one.
fn skip_start_time(rest: &mut Cursor<'_>) -> Result<(), BlockError> {
    if rest.take(1)?[0] > 1 {
        rest.signed()?;
    }
    Ok(())
}

fn float(series: u64, time: i64, rest: &mut Cursor<'_>) -> Result<Entry, BlockError> {
    Ok(Entry::Float { series, time, bits: rest.be_u64()? })
}

fn integer_histogram(series: u64, time: i64, rest: &mut Cursor<'_>) -> Result<Entry, BlockError> {
    let (reset_hint, schema, zero_threshold) = beginning(rest)?;
    let (zero_count, count) = (rest.unsigned()?, rest.unsigned()?);
    let sum = double(rest)?;
    let (positive_spans, negative_spans) = (spans(rest)?, spans(rest)?);
    let (positive, negative) = (list(rest, Cursor::signed)?, list(rest, Cursor::signed)?);
    let counts = Counts::Integer { count, zero_count, positive, negative };
    let custom_values = custom_values(schema, rest)?;
    let histogram =
        Histogram { reset_hint, schema, zero_threshold, sum, counts, positive_spans, negative_spans, custom_values };
    Ok(Entry::Histogram { series, time, histogram: Box::new(histogram) })
}

fn float_histogram(series: u64, time: i64, rest: &mut Cursor<'_>) -> Result<Entry, BlockError> {
    let (reset_hint, schema, zero_threshold) = beginning(rest)?;
    let (zero_count, count, sum) = (double(rest)?, double(rest)?, double(rest)?);
    let (positive_spans, negative_spans) = (spans(rest)?, spans(rest)?);
    let (positive, negative) = (list(rest, double)?, list(rest, double)?);
    let counts = Counts::Float { count, zero_count, positive, negative };
    let custom_values = custom_values(schema, rest)?;
    let histogram =
        Histogram { reset_hint, schema, zero_threshold, sum, counts, positive_spans, negative_spans, custom_values };
    Ok(Entry::Histogram { series, time, histogram: Box::new(histogram) })
}

fn beginning(rest: &mut Cursor<'_>) -> Result<(ResetHint, i32, f64), BlockError> {
    let reset_hint = match rest.take(1)?[0] {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    // What no schema is stays none when it is cut off.
    let schema = i32::try_from(rest.signed()?).unwrap_or(i32::MAX);
    Ok((reset_hint, schema, double(rest)?))
}

fn spans(rest: &mut Cursor<'_>) -> Result<Vec<Span>, BlockError> {
    list(rest, |rest| Ok(Span { offset: rest.signed()? as i32, length: rest.unsigned_u32()? }))
}

fn custom_values(schema: i32, rest: &mut Cursor<'_>) -> Result<Vec<f64>, BlockError> {
    if schema == CUSTOM_BUCKETS_SCHEMA { list(rest, double) } else { Ok(Vec::new()) }
}

fn double(rest: &mut Cursor<'_>) -> Result<f64, BlockError> {
    Ok(f64::from_bits(rest.be_u64()?))
}

/// Things behind their count. It is not believed before they are there.
fn list<'a, T>(
    rest: &mut Cursor<'a>,
    mut take: impl FnMut(&mut Cursor<'a>) -> Result<T, BlockError>,
) -> Result<Vec<T>, BlockError> {
    let count = rest.unsigned()?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(take(rest)?);
    }
    Ok(all)
}
