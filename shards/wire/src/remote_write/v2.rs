//! Protocol 2.0: `Request { symbols = 4, timeseries = 5 }`, `TimeSeries { labels_refs = 1, samples = 2, histograms = 3,
//! exemplars = 4, metadata = 5 }`.
//!
//! Each symbol is hashed once per request, each label then costs one step that joins two hashes. Senders write the symbols
//! before the series, so one walk does; a message that has them elsewhere, which is legal, is walked twice.

use model::{IdentityKey, SeriesId};

use super::{
    DecodeError, DecodeLimits, Limit,
    columns::{Columns, OpenSeries, RejectReason, Symbol},
    sample::{self, SAMPLE},
};
use crate::protobuf::{Malformed, Reader, Tag, WIRE_LENGTH, WIRE_VARINT};

pub(super) const SYMBOL: Tag = Tag::new(4, WIRE_LENGTH);
pub(super) const TIMESERIES: Tag = Tag::new(5, WIRE_LENGTH);
pub(super) const REFERENCES: Tag = Tag::new(1, WIRE_LENGTH);
/// A reference by itself, as a writer without packing puts it.
const REFERENCE: Tag = Tag::new(1, WIRE_VARINT);
const HISTOGRAM: Tag = Tag::new(3, WIRE_LENGTH);
const EXEMPLAR: Tag = Tag::new(4, WIRE_LENGTH);
const METADATA: Tag = Tag::new(5, WIRE_LENGTH);

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
    let mut memo = Memo::default();
    while !request.is_empty() {
        match request.tag()? {
            TIMESERIES => walk_series(request.message()?, key, &mut memo, limits, columns)?,
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
    memo: &mut Memo,
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
    match sum_references(&mut references, key, memo, &columns.symbols, limits)? {
        Ok(id) => columns.finish_series(series, id, limits),
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
            message.message()?;
            columns.unstored.metadata += 1;
        }
        SAMPLE => {
            let (time, value) = sample::read(message.message()?, sample::FIELDS_V2)?;
            columns.push_sample(time, value, limits)?;
        }
        HISTOGRAM => {
            message.message()?;
            series.histograms += 1;
        }
        EXEMPLAR => {
            message.message()?;
            series.exemplars += 1;
        }
        REFERENCE => {
            let start = message.at();
            message.varint()?;
            series.labels = columns.join_labels(series.labels, message.buffer(), start, message.at());
        }
        other => message.skip_unknown(other, &[REFERENCES, METADATA, SAMPLE, HISTOGRAM, EXEMPLAR])?,
    }
    Ok(())
}

/// The last label seen at each place of a series, as it is encoded, with its part of the identity: neighbours share most of them, and
/// comparing a word takes less than decoding two varints.
struct Memo {
    places: [Remembered; PLACES],
}

/// Labels beyond these are joined each time.
const PLACES: usize = 32;

#[derive(Clone, Copy)]
struct Remembered {
    /// Both references, zero bytes behind them.
    bytes: u64,
    /// Which of the eight bytes are theirs.
    mask: u64,
    length: usize,
    part: SeriesId,
}

impl Default for Memo {
    fn default() -> Self {
        // Equal to no masked word.
        let nothing = Remembered { bytes: u64::MAX, mask: 0, length: 0, part: SeriesId::default() };
        Self { places: [nothing; PLACES] }
    }
}

impl Memo {
    /// Takes a label that is, byte by byte, the one remembered for its place.
    #[inline(always)]
    fn take(&self, references: &mut Reader<'_>, place: usize) -> Option<SeriesId> {
        let known = self.places.get(place)?;
        let word = u64::from_le_bytes(*references.buffer().get(references.at()..)?.first_chunk()?);
        if word & known.mask != known.bytes || known.length > references.end() - references.at() {
            return None;
        }
        references.advance_to(references.at() + known.length);
        Some(known.part)
    }

    /// Remembers the label between two positions.
    #[inline(always)]
    fn keep(&mut self, place: usize, references: &Reader<'_>, start: usize, part: SeriesId) {
        let length = references.at() - start;
        let window = references.buffer().get(start..).and_then(<[u8]>::first_chunk);
        if let (Some(known), Some(window), 1..=8) = (self.places.get_mut(place), window, length) {
            let mask = u64::MAX >> (64 - 8 * length);
            *known = Remembered { bytes: u64::from_le_bytes(*window) & mask, mask, length, part };
        }
    }
}

/// The identity behind a run of references. The outer error is about bytes, the inner about this series alone.
#[inline(always)]
fn sum_references(
    references: &mut Reader<'_>,
    key: &IdentityKey,
    memo: &mut Memo,
    symbols: &[Symbol],
    limits: &DecodeLimits,
) -> Result<Result<SeriesId, RejectReason>, Malformed> {
    let mut id = SeriesId::default();
    let mut labels = 0;
    while !references.is_empty() {
        let part = match memo.take(references, labels) {
            Some(part) => part,
            None => match take_label(references, key, memo, labels, symbols)? {
                Ok(part) => part,
                Err(reason) => return Ok(Err(reason)),
            },
        };
        id += part;
        labels += 1;
    }
    let bound = limits.labels_per_series_max;
    Ok(if labels > bound as usize { Err(RejectReason::TooManyLabels { bound }) } else { Ok(id) })
}

/// A label that is not the remembered one.
#[inline(always)]
fn take_label(
    references: &mut Reader<'_>,
    key: &IdentityKey,
    memo: &mut Memo,
    place: usize,
    symbols: &[Symbol],
) -> Result<Result<SeriesId, RejectReason>, Malformed> {
    let start = references.at();
    let name = references.varint()?;
    if references.is_empty() {
        return Ok(Err(RejectReason::OddReferences));
    }
    let value = references.varint()?;
    let part = join(key, symbols, name, value);
    if let Ok(part) = part {
        memo.keep(place, references, start, part);
    }
    Ok(part)
}

/// A label's part of the identity.
#[inline(always)]
fn join(key: &IdentityKey, symbols: &[Symbol], name: u64, value: u64) -> Result<SeriesId, RejectReason> {
    let symbol = |reference: u64| {
        let out_of_range = RejectReason::ReferenceOutOfRange { reference, symbols: symbols.len() as u32 };
        usize::try_from(reference).ok().and_then(|position| symbols.get(position)).ok_or(out_of_range)
    };
    let (name, value) = (symbol(name)?, symbol(value)?);
    Ok(if value.length == 0 { SeriesId::default() } else { key.pair(name.hash, value.hash) })
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
