//! Protocol 2.0: `Request { symbols = 4, timeseries = 5 }`, `TimeSeries { labels_refs = 1, samples = 2, histograms = 3,
//! exemplars = 4, metadata = 5 }`. Drafts of it had a start timestamp of the whole series, `created_timestamp = 6`, which senders of that time write.
//!
//! Each symbol is hashed once per request, each label then costs one step that joins two hashes. Senders write the symbols
//! before the series, so one walk does; a message that has them elsewhere, which is legal, is walked twice.

use model::IdentityKey;

use super::{
    DecodeError, DecodeLimits, Limit,
    columns::{Columns, OpenSeries, RejectReason, Symbol},
    exemplar, histogram,
    references::{PreviousSeries, SymbolHashes},
    sample::{self, SAMPLE},
};
use crate::protobuf::{Reader, Tag, WIRE_LENGTH, WIRE_VARINT};

pub(super) const SYMBOL: Tag = Tag::new(4, WIRE_LENGTH);
pub(super) const TIMESERIES: Tag = Tag::new(5, WIRE_LENGTH);
pub(super) const REFERENCES: Tag = Tag::new(1, WIRE_LENGTH);
/// A reference by itself, as a writer without packing puts it.
const REFERENCE: Tag = Tag::new(1, WIRE_VARINT);
const HISTOGRAM: Tag = Tag::new(3, WIRE_LENGTH);
const EXEMPLAR: Tag = Tag::new(4, WIRE_LENGTH);
const METADATA: Tag = Tag::new(5, WIRE_LENGTH);
pub(super) const CREATED: Tag = Tag::new(6, WIRE_VARINT);

pub(super) fn walk(
    request: Reader<'_>,
    key: &IdentityKey,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let rest = read_symbols(request, key, limits, columns, Symbols::BeforeSeries)?;
    if walk_all_series(rest, key, limits, columns, Symbols::BeforeSeries)? == Walked::SymbolsBehind {
        let message_bytes = columns.message_bytes();
        columns.clear();
        columns.begin(message_bytes);
        read_symbols(request, key, limits, columns, Symbols::Anywhere)?;
        walk_all_series(request, key, limits, columns, Symbols::Anywhere)?;
    }
    Ok(())
}

/// Where the symbols are taken to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Symbols {
    BeforeSeries,
    Anywhere,
}

/// How a walk over the series ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walked {
    Whole,
    /// There are symbols behind a series: the table was not complete, and what was filled is worth nothing.
    SymbolsBehind,
}

/// Fills the symbol table; answers what is left of the message.
fn read_symbols<'a>(
    mut request: Reader<'a>,
    key: &IdentityKey,
    limits: &DecodeLimits,
    columns: &mut Columns,
    symbols: Symbols,
) -> Result<Reader<'a>, DecodeError> {
    loop {
        let here = request;
        if here.is_empty() {
            return Ok(here);
        }
        match request.tag()? {
            SYMBOL => push_symbol(request.message()?, key, limits, columns)?,
            TIMESERIES if symbols == Symbols::BeforeSeries => return Ok(here),
            TIMESERIES => drop(request.message()?),
            other => request.skip_unknown(other, &[SYMBOL, TIMESERIES])?,
        }
    }
}

#[inline]
fn push_symbol(
    text: Reader<'_>,
    key: &IdentityKey,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let (start, length) = (text.at(), text.end() - text.at());
    if columns.symbols.is_empty() && length > 0 {
        return Err(DecodeError::FirstSymbol { length });
    }
    if columns.symbols.len() >= limits.symbols_max as usize {
        return Err(DecodeError::LimitReached { which: Limit::Symbols, bound: limits.symbols_max.into() });
    }
    let hash = key.symbol_within(text.buffer(), start, length);
    columns.symbols.push(Symbol { hash, start: start as u32, length: length as u32 });
    Ok(())
}

fn walk_all_series(
    mut request: Reader<'_>,
    key: &IdentityKey,
    limits: &DecodeLimits,
    columns: &mut Columns,
    symbols: Symbols,
) -> Result<Walked, DecodeError> {
    let mut previous = PreviousSeries::default();
    while !request.is_empty() {
        match request.tag()? {
            TIMESERIES => walk_series(request.message()?, key, &mut previous, limits, columns)?,
            SYMBOL if symbols == Symbols::BeforeSeries => return Ok(Walked::SymbolsBehind),
            SYMBOL => drop(request.message()?),
            other => request.skip_unknown(other, &[SYMBOL, TIMESERIES])?,
        }
    }
    Ok(Walked::Whole)
}

fn walk_series(
    mut message: Reader<'_>,
    key: &IdentityKey,
    previous: &mut PreviousSeries,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let mut series = columns.start_series();
    loop {
        while let Some((time, value)) = sample::take_plain(&mut message) {
            columns.push_sample(time, value, limits)?;
        }
        if message.is_empty() {
            break;
        }
        walk_field(&mut message, &mut series, limits, columns)?;
    }
    let mut references = columns.label_bytes(message.buffer(), series.labels);
    let symbols = SymbolHashes { key, symbols: &columns.symbols };
    match previous.sum(&mut references, symbols, limits.labels_per_series_max)? {
        Ok(id) => {
            columns.set_created(series, limits);
            if series.metadata.1 > 0 {
                let (start, end) = series.metadata;
                columns.push_metadata(Reader::new(message.buffer(), start, end), series.labels);
            }
            columns.finish_series(series, id, limits)
        }
        Err(reason) => {
            // Behind a bad reference there may be bytes that are none, which is the request's fault and not the series'.
            while !references.is_empty() {
                references.varint()?;
            }
            columns.reject_series(series, reason);
            Ok(())
        }
    }
}

#[inline(always)]
fn walk_field(
    message: &mut Reader<'_>,
    series: &mut OpenSeries,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    match message.tag()? {
        REFERENCES => {
            let packed = message.message()?;
            // Pieces of a list are joined: a reference must not begin in one and end in the next.
            if packed.rest().last().is_some_and(|&last| last >= 0x80) {
                return Err(packed.malformed("a reference that does not end").into());
            }
            series.labels = columns.join_labels(series.labels, packed.buffer(), packed.at(), packed.end());
        }
        METADATA => {
            let metadata = message.message()?;
            series.metadata = (metadata.at(), metadata.end());
        }
        SAMPLE => {
            let ((time, value), start_time) = sample::read(message.message()?, sample::FIELDS_V2)?;
            columns.push_sample(time, value, limits)?;
            columns.set_start_time(start_time, limits);
        }
        HISTOGRAM => {
            let sample = histogram::read(message.message()?)?;
            columns.push_histogram(sample, limits)?;
        }
        EXEMPLAR => {
            let (sample, labels) = exemplar::read(message.message()?, exemplar::LABELS_V2, columns)?;
            match check_references(columns.label_bytes(message.buffer(), labels), &columns.symbols)? {
                Ok(()) => columns.push_exemplar(sample, labels, limits)?,
                Err(reason) => columns.reject_exemplar(reason),
            }
        }
        REFERENCE => {
            let start = message.at();
            message.varint()?;
            series.labels = columns.join_labels(series.labels, message.buffer(), start, message.at());
        }
        CREATED => series.created = message.varint()? as i64,
        other => message.skip_unknown(other, &[REFERENCES, METADATA, SAMPLE, HISTOGRAM, EXEMPLAR, CREATED])?,
    }
    Ok(())
}

/// Looks whether the references of an exemplar lead to symbols.
fn check_references(mut references: Reader<'_>, symbols: &[Symbol]) -> Result<Result<(), RejectReason>, DecodeError> {
    let mut fault = None;
    while !references.is_empty() {
        let name = references.varint()?;
        if references.is_empty() {
            fault.get_or_insert(RejectReason::OddReferences);
            break;
        }
        for reference in [name, references.varint()?] {
            if reference >= symbols.len() as u64 {
                fault.get_or_insert(RejectReason::ReferenceOutOfRange { reference, symbols: symbols.len() as u32 });
            }
        }
    }
    Ok(fault.map_or(Ok(()), Err))
}

/// Visits the labels behind references that a walk has found to be sound.
pub(super) fn visit_labels<'a>(
    mut references: Reader<'_>,
    arena: &'a [u8],
    symbols: &[Symbol],
    visit: &mut dyn FnMut(&'a [u8], &'a [u8]),
) {
    while let (Ok(name), Ok(value)) = (references.varint(), references.varint()) {
        let text = |reference: u64| {
            let symbol = symbols.get(usize::try_from(reference).ok()?)?;
            Some(&arena[symbol.start as usize..][..symbol.length as usize])
        };
        let (Some(name), Some(value)) = (text(name), text(value)) else { return };
        visit(name, value);
    }
}
