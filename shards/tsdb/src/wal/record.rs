//! What stands in a frame: definitions of label pairs and series, and columns of samples.

use std::ops::Range;

use codec::{
    columns,
    varint::{put_signed, put_unsigned, take_signed, take_unsigned},
};
use model::{Histogram, SeriesId};

use crate::{
    SeriesRef,
    exemplars::{Exemplar, LoggedSeries, put_exemplar},
    head::{Departures, put_deletion, put_histogram},
    index::{PairRef, Pairs},
    out_of_order::OutOfOrderLog,
    select::TimeRange,
};

const KIND_DEFINITIONS: u8 = 1;
const KIND_SAMPLES: u8 = 2;
const KIND_SERIES_IMAGES: u8 = 3;
const KIND_CHECKPOINT_END: u8 = 4;
const KIND_TRUNCATION: u8 = 5;
const KIND_RENUMBERING: u8 = 6;
const KIND_GENERATION: u8 = 7;
const KIND_DELETIONS: u8 = 8;
const KIND_HISTOGRAMS: u8 = 9;
const KIND_OPEN_HISTOGRAMS: u8 = 10;
const KIND_EXEMPLARS: u8 = 11;
const KIND_OUT_OF_ORDER: u8 = 12;
const RECORD_HEADER_BYTES: usize = 5;

/// Collects what one commit makes durable.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// Records that come before what is collected below, encoded.
    earlier: Vec<u8>,
    /// In which positions and pair numbers mean what is collected.
    generation: u32,
    definitions: Definitions,
    series: Vec<u32>,
    times: Vec<i64>,
    values: Vec<u64>,
    /// Encoded. They come behind the samples.
    histograms: Vec<u8>,
    /// Encoded.
    exemplars: Vec<u8>,
    /// Samples out of order, and what becomes of them, in a numbering of their own.
    out_of_order: OutOfOrderLog,
    /// Encoded. They name times, so where they stand among the samples does not matter.
    deletions: Vec<u8>,
}

/// Pairs and series in order of creation, encoded as they come.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    first_pair: u32,
    pair_count: u32,
    first_series: u32,
    series_count: u32,
    pairs: Vec<u8>,
    series: Vec<u8>,
}

impl LogBatch {
    /// A batch of a head of this generation.
    pub fn new(generation: u32) -> Self {
        Self { generation, ..Self::default() }
    }

    pub fn sample_count(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.earlier.is_empty() && self.has_nothing_new()
    }

    /// Roughly how long the frame will be, to decide when to commit.
    pub fn approximate_bytes(&self) -> usize {
        self.earlier.len()
            + self.series.len() * 5
            + self.definitions.len()
            + self.deletions.len()
            + self.histograms.len()
            + self.exemplars.len()
            + self.out_of_order.len()
    }

    fn has_nothing_new(&self) -> bool {
        let encoded = [&self.deletions, &self.histograms, &self.exemplars];
        let has_no_samples = self.series.is_empty() && self.out_of_order.is_empty();
        has_no_samples && self.definitions.is_empty() && encoded.iter().all(|records| records.is_empty())
    }

    pub(crate) fn out_of_order(&mut self) -> &mut OutOfOrderLog {
        &mut self.out_of_order
    }

    /// Makes room for the samples of another request.
    #[inline]
    pub(crate) fn reserve(&mut self, samples: usize) {
        if !self.histograms.is_empty() {
            // A series may have had histograms in an earlier request and samples in this one.
            self.settle_samples();
        }
        self.series.reserve(samples);
        self.times.reserve(samples);
        self.values.reserve(samples);
    }

    /// What is collected from now on comes behind what is, histograms included.
    pub(crate) fn settle_samples(&mut self) {
        self.settle(|_| ());
    }

    #[inline]
    pub(crate) fn push_sample(&mut self, series: SeriesRef, time: i64, value: u64) {
        self.series.push(series.0);
        self.times.push(time);
        self.values.push(value);
    }

    pub(crate) fn push_histogram(&mut self, series: SeriesRef, time: i64, histogram: &Histogram) {
        put_histogram(&mut self.histograms, series, time, histogram);
    }

    pub(crate) fn push_exemplar(&mut self, series: &LoggedSeries, exemplar: &Exemplar) {
        put_exemplar(&mut self.exemplars, series, exemplar);
    }

    pub(crate) fn push_pair(&mut self, pairs: &Pairs, pair: PairRef) {
        self.definitions.push_pair(pairs, pair);
    }

    pub(crate) fn push_series(&mut self, series: SeriesRef, id: SeriesId, pairs: &[PairRef]) {
        self.definitions.push_series(series, id, pairs.iter().copied());
    }

    /// The head forgets what is before a time.
    pub(crate) fn push_truncation(&mut self, floor: i64) {
        self.settle(|earlier| put_record(earlier, KIND_TRUNCATION, |body| put_signed(body, floor)));
    }

    /// What is collected from now on means the positions after a renumbering.
    pub(crate) fn push_renumbering(&mut self, departures: &Departures) {
        self.settle(|earlier| put_record(earlier, KIND_RENUMBERING, |body| departures.encode(body)));
        self.generation = departures.generation;
    }

    /// What a series has in a range is deleted, and nothing that it gets later.
    pub(crate) fn push_deletion(&mut self, series: SeriesRef, range: TimeRange) {
        put_deletion(&mut self.deletions, series, range);
    }

    /// Puts a record behind what is collected, and before what will be.
    fn settle(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let mut earlier = std::mem::take(&mut self.earlier);
        self.encode(&mut earlier);
        if earlier.is_empty() {
            put_generation(&mut earlier, self.generation);
        }
        put(&mut earlier);
        self.earlier = earlier;
    }

    /// Appends the records to a frame's payload and empties the batch.
    pub fn encode(&mut self, payload: &mut Vec<u8>) {
        payload.append(&mut self.earlier);
        if self.has_nothing_new() {
            return;
        }
        if payload.is_empty() {
            put_generation(payload, self.generation);
        }
        self.definitions.encode(payload);
        if !self.series.is_empty() {
            put_record(payload, KIND_SAMPLES, |payload| {
                columns::encode(&self.series, &self.times, &self.values, payload);
            });
            self.series.clear();
            self.times.clear();
            self.values.clear();
        }
        if !self.histograms.is_empty() {
            put_record(payload, KIND_HISTOGRAMS, |payload| payload.append(&mut self.histograms));
        }
        if !self.exemplars.is_empty() {
            put_record(payload, KIND_EXEMPLARS, |payload| payload.append(&mut self.exemplars));
        }
        self.out_of_order.put_record(payload);
        if !self.deletions.is_empty() {
            put_record(payload, KIND_DELETIONS, |payload| payload.append(&mut self.deletions));
        }
    }
}

impl Definitions {
    fn is_empty(&self) -> bool {
        self.pair_count == 0 && self.series_count == 0
    }

    fn len(&self) -> usize {
        self.pairs.len() + self.series.len()
    }

    fn push_pair(&mut self, pairs: &Pairs, pair: PairRef) {
        if self.pair_count == 0 {
            self.first_pair = pair.0;
        }
        debug_assert_eq!(self.first_pair + self.pair_count, pair.0, "pairs are logged as they are made");
        self.pair_count += 1;
        if pairs.is_lost(pair) {
            // Neither a name nor a value is ever empty: this is how a place that damage emptied is kept.
            self.pairs.extend_from_slice(&[0, 0, 0]);
            return;
        }
        match pairs.earliest_of_same_name(pair) {
            earliest if earliest == pair => {
                put_unsigned(&mut self.pairs, 0);
                put_bytes(&mut self.pairs, pairs.name_of(pair).as_bytes());
            }
            earliest => put_unsigned(&mut self.pairs, u64::from(earliest.0) + 1),
        }
        put_bytes(&mut self.pairs, pairs.value_of(pair).as_bytes());
    }

    fn push_series(&mut self, series: SeriesRef, id: SeriesId, pairs: impl ExactSizeIterator<Item = PairRef>) {
        if self.series_count == 0 {
            self.first_series = series.0;
        }
        debug_assert_eq!(self.first_series + self.series_count, series.0, "series are logged as they are made");
        self.series_count += 1;
        self.series.extend_from_slice(&id.low.to_le_bytes());
        self.series.extend_from_slice(&id.high.to_le_bytes());
        put_unsigned(&mut self.series, pairs.len() as u64);
        for pair in pairs {
            put_unsigned(&mut self.series, u64::from(pair.0));
        }
    }

    fn encode(&mut self, payload: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        put_record(payload, KIND_DEFINITIONS, |payload| {
            for number in [self.first_pair, self.pair_count, self.first_series, self.series_count] {
                put_unsigned(payload, u64::from(number));
            }
            payload.extend_from_slice(&self.pairs);
            payload.extend_from_slice(&self.series);
        });
        self.pairs.clear();
        self.series.clear();
        self.pair_count = 0;
        self.series_count = 0;
    }
}

/// Appends definitions of a range of pairs and series that exist already, stopping once `bytes_max` is passed. Returns how far
/// it came: the first pair and the first series that are not in the record.
pub(crate) fn put_definitions_of<I>(
    payload: &mut Vec<u8>,
    pairs: &Pairs,
    pair_range: Range<u32>,
    series_range: Range<u32>,
    bytes_max: usize,
    series_of: impl Fn(SeriesRef) -> (SeriesId, I),
) -> (u32, u32)
where
    I: ExactSizeIterator<Item = PairRef>,
{
    let mut definitions = Definitions::default();
    let (mut next_pair, mut next_series) = (pair_range.start, series_range.start);
    while next_pair < pair_range.end && definitions.len() < bytes_max {
        definitions.push_pair(pairs, PairRef(next_pair));
        next_pair += 1;
    }
    // A series follows all pairs that it can name.
    while next_pair == pair_range.end && next_series < series_range.end && definitions.len() < bytes_max {
        let (id, series_pairs) = series_of(SeriesRef(next_series));
        definitions.push_series(SeriesRef(next_series), id, series_pairs);
        next_series += 1;
    }
    definitions.encode(payload);
    (next_pair, next_series)
}

/// Says which generation the following records of a payload are of; the first one is not worth a word.
pub(crate) fn put_generation(payload: &mut Vec<u8>, generation: u32) {
    if generation > 0 {
        put_record(payload, KIND_GENERATION, |body| put_unsigned(body, u64::from(generation)));
    }
}

/// Appends a record of checkpoint images.
pub(crate) fn put_images(payload: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    put_record(payload, KIND_SERIES_IMAGES, body);
}

/// Appends a record of deletions.
pub(crate) fn put_deletions(payload: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    put_record(payload, KIND_DELETIONS, body);
}

/// Appends a record of open chunks of histograms, which go behind the images of their series.
pub(crate) fn put_open_histograms(payload: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    put_record(payload, KIND_OPEN_HISTOGRAMS, body);
}

/// Appends a record of exemplars.
pub(crate) fn put_exemplars(payload: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    put_record(payload, KIND_EXEMPLARS, body);
}

/// Appends a record of samples out of order.
pub(crate) fn put_out_of_order(payload: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    put_record(payload, KIND_OUT_OF_ORDER, body);
}

/// Appends the record that makes a checkpoint whole.
pub(crate) fn put_checkpoint_end(payload: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    put_record(payload, KIND_CHECKPOINT_END, body);
}

fn put_record(payload: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = payload.len();
    payload.extend_from_slice(&[kind, 0, 0, 0, 0]);
    body(payload);
    let length = (payload.len() - start - RECORD_HEADER_BYTES) as u32;
    payload[start + 1..start + RECORD_HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A record as it stands in a payload.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    Definitions(&'a [u8]),
    Samples(&'a [u8]),
    SeriesImages(&'a [u8]),
    CheckpointEnd(&'a [u8]),
    Truncation(&'a [u8]),
    Renumbering(&'a [u8]),
    Generation(&'a [u8]),
    Deletions(&'a [u8]),
    Histograms(&'a [u8]),
    OpenHistograms(&'a [u8]),
    Exemplars(&'a [u8]),
    OutOfOrder(&'a [u8]),
}

impl Record<'_> {
    /// Where a truncation has put the floor.
    pub fn floor(&self) -> Option<i64> {
        let Self::Truncation(mut body) = *self else { return None };
        take_signed(&mut body).ok()
    }

    pub(crate) fn generation(&self) -> Option<u32> {
        let Self::Generation(mut body) = *self else { return None };
        take_u32(&mut body)
    }
}

/// A frame passed its checksum and still makes no sense: written by another version, or by a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record kind {0} is not known")]
    Kind(u8),
    #[error("a record is cut off")]
    Truncated,
    #[error("a record's {0} do not decode")]
    Malformed(&'static str),
    #[error(
        "records of generation {found} where the head is at generation {expected}: the frame that leads there is lost"
    )]
    Generation { found: u32, expected: u32 },
    #[error("the record of who left the head does not decode, or does not fit the head")]
    Renumbering,
    #[error("a record's definitions lie {missing} places behind those that are known, more than damage can have taken")]
    Gap { missing: u64 },
}

impl RecordError {
    /// Whether what follows in the frame would be given another meaning.
    pub fn ends_frame(&self) -> bool {
        matches!(self, Self::Generation { .. } | Self::Renumbering)
    }
}

/// The generation that a payload begins in.
pub fn generation_of(payload: &[u8]) -> u32 {
    let first = Records::of(payload).next();
    first.and_then(|record| record.ok()?.generation()).unwrap_or(0)
}

/// The records of a payload.
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub fn of(payload: &'a [u8]) -> Self {
        Self(payload)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = take_record(&mut self.0);
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, RecordError> {
    let (header, behind) = rest.split_at_checked(RECORD_HEADER_BYTES).ok_or(RecordError::Truncated)?;
    let length = u32::from_le_bytes(header[1..].try_into().expect("four bytes")) as usize;
    let (body, behind) = behind.split_at_checked(length).ok_or(RecordError::Truncated)?;
    *rest = behind;
    match header[0] {
        KIND_DEFINITIONS => Ok(Record::Definitions(body)),
        KIND_SAMPLES => Ok(Record::Samples(body)),
        KIND_SERIES_IMAGES => Ok(Record::SeriesImages(body)),
        KIND_CHECKPOINT_END => Ok(Record::CheckpointEnd(body)),
        KIND_TRUNCATION => Ok(Record::Truncation(body)),
        KIND_RENUMBERING => Ok(Record::Renumbering(body)),
        KIND_GENERATION => Ok(Record::Generation(body)),
        KIND_DELETIONS => Ok(Record::Deletions(body)),
        KIND_HISTOGRAMS => Ok(Record::Histograms(body)),
        KIND_OPEN_HISTOGRAMS => Ok(Record::OpenHistograms(body)),
        KIND_EXEMPLARS => Ok(Record::Exemplars(body)),
        KIND_OUT_OF_ORDER => Ok(Record::OutOfOrder(body)),
        other => Err(RecordError::Kind(other)),
    }
}

/// Header of a definitions record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefinitionRange {
    pub(crate) first_pair: u32,
    pub(crate) pair_count: u32,
    pub(crate) first_series: u32,
    pub(crate) series_count: u32,
}

impl DefinitionRange {
    pub(crate) fn pairs(&self) -> Range<u32> {
        self.first_pair..self.first_pair + self.pair_count
    }

    pub(crate) fn series(&self) -> Range<u32> {
        self.first_series..self.first_series + self.series_count
    }

    pub(crate) fn take(body: &mut &[u8]) -> Option<Self> {
        let range = Self {
            first_pair: take_u32(body)?,
            pair_count: take_u32(body)?,
            first_series: take_u32(body)?,
            series_count: take_u32(body)?,
        };
        range.first_pair.checked_add(range.pair_count)?;
        range.first_series.checked_add(range.series_count)?;
        Some(range)
    }
}

/// A pair as logged.
pub(crate) struct LoggedPair<'a> {
    pub(crate) name: LoggedName<'a>,
    pub(crate) value: &'a str,
}

pub(crate) enum LoggedName<'a> {
    New(&'a str),
    SameAs(PairRef),
}

impl<'a> LoggedPair<'a> {
    /// Whether this keeps the place of a pair that damage took.
    pub(crate) fn is_lost(&self) -> bool {
        self.value.is_empty() && matches!(self.name, LoggedName::New(""))
    }

    pub(crate) fn take(body: &mut &'a [u8]) -> Option<Self> {
        let name = match take_u32(body)? {
            0 => LoggedName::New(take_text(body)?),
            same => LoggedName::SameAs(PairRef(same - 1)),
        };
        Some(Self { name, value: take_text(body)? })
    }
}

pub(crate) fn take_series_definition(body: &mut &[u8], pairs: &mut Vec<PairRef>) -> Option<SeriesId> {
    let (id, rest) = body.split_at_checked(16)?;
    *body = rest;
    let count = take_u32(body)? as usize;
    // Each pair takes a byte at least.
    if count > body.len() {
        return None;
    }
    pairs.clear();
    for _ in 0..count {
        pairs.push(PairRef(take_u32(body)?));
    }
    let word = |at: usize| u64::from_le_bytes(id[at..at + 8].try_into().expect("eight bytes"));
    Some(SeriesId { low: word(0), high: word(8) })
}

pub(crate) fn take_u32(body: &mut &[u8]) -> Option<u32> {
    take_unsigned(body).ok().and_then(|number| u32::try_from(number).ok())
}

pub(crate) fn take_text<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    let length = take_u32(body)? as usize;
    let (text, rest) = body.split_at_checked(length)?;
    *body = rest;
    std::str::from_utf8(text).ok()
}
