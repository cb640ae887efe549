//! Protocol 1.0: `WriteRequest { timeseries = 1, metadata = 3 }`, `TimeSeries { labels = 1, samples = 2, exemplars = 3,
//! histograms = 4 }`.

use model::{IdentityKey, SeriesId};

use super::{
    DecodeError, DecodeLimits, OTHER_PROTOCOL,
    columns::{Columns, LabelRange, OpenSeries, RejectReason},
    exemplar, histogram,
    label::{self, LABEL, Memo, Text},
    sample::{self, SAMPLE},
};
use crate::protobuf::{Reader, Tag, WIRE_LENGTH};

pub(super) const TIMESERIES: Tag = Tag::new(1, WIRE_LENGTH);
const METADATA: Tag = Tag::new(3, WIRE_LENGTH);
const EXEMPLAR: Tag = Tag::new(3, WIRE_LENGTH);
const HISTOGRAM: Tag = Tag::new(4, WIRE_LENGTH);

pub(super) fn walk(
    mut request: Reader<'_>,
    key: &IdentityKey,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let mut memo = Memo::default();
    let mut is_ours = request.is_empty();
    while !request.is_empty() {
        match request.tag()? {
            TIMESERIES => {
                is_ours = true;
                walk_series(request.message()?, key, &mut memo, limits, columns)?;
            }
            METADATA => {
                is_ours = true;
                columns.push_metadata(request.message()?, LabelRange::default());
            }
            other => request.skip_unknown(other, &[TIMESERIES, METADATA])?,
        }
    }
    if is_ours { Ok(()) } else { Err(OTHER_PROTOCOL) }
}

fn walk_series(
    mut message: Reader<'_>,
    key: &IdentityKey,
    memo: &mut Memo,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let mut series = columns.start_series();
    let mut sum = LabelSum::default();
    loop {
        take_plain_labels(&mut message, key, memo, &mut sum, &mut series, columns);
        while let Some((time, value)) = sample::take_plain(&mut message) {
            columns.push_sample(time, value, limits)?;
        }
        if message.is_empty() {
            break;
        }
        walk_field(&mut message, key, &mut sum, &mut series, limits, columns)?;
    }
    if sum.labels > limits.labels_per_series_max {
        columns.reject_series(series, RejectReason::TooManyLabels { bound: limits.labels_per_series_max });
        return Ok(());
    }
    columns.finish_series(series, sum.id, limits)
}

/// The identity so far.
#[derive(Default)]
struct LabelSum {
    id: SeriesId,
    labels: u32,
}

impl LabelSum {
    #[inline(always)]
    fn add(&mut self, part: SeriesId) {
        self.labels += 1;
        self.id += part;
    }
}

/// A label's part of the identity.
#[inline(always)]
fn hash(key: &IdentityKey, buffer: &[u8], name: Text, value: Text) -> SeriesId {
    if value.length == 0 {
        return SeriesId::default();
    }
    let name = key.symbol_within(buffer, name.start, name.length);
    key.pair(name, key.symbol_within(buffer, value.start, value.length))
}

#[inline(always)]
fn take_plain_labels(
    message: &mut Reader<'_>,
    key: &IdentityKey,
    memo: &mut Memo,
    sum: &mut LabelSum,
    series: &mut OpenSeries,
    columns: &mut Columns,
) {
    let start = message.at();
    loop {
        if let Some(part) = memo.take(message, sum.labels) {
            sum.add(part);
            continue;
        }
        let at = message.at();
        let Some((name, value)) = label::take_plain(message) else { break };
        let part = hash(key, message.buffer(), name, value);
        memo.keep(sum.labels, at, message.at(), part);
        sum.add(part);
    }
    if message.at() > start {
        series.labels = columns.join_labels(series.labels, message.buffer(), start, message.at());
    }
}

/// One field that the plain ways do not take.
fn walk_field(
    message: &mut Reader<'_>,
    key: &IdentityKey,
    sum: &mut LabelSum,
    series: &mut OpenSeries,
    limits: &DecodeLimits,
    columns: &mut Columns,
) -> Result<(), DecodeError> {
    let start = message.at();
    match message.tag()? {
        LABEL => {
            let (name, value) = label::read(message.message()?)?;
            sum.add(hash(key, message.buffer(), name, value));
            series.labels = columns.join_labels(series.labels, message.buffer(), start, message.at());
        }
        SAMPLE => {
            let ((time, value), _) = sample::read(message.message()?, sample::FIELDS_V1)?;
            columns.push_sample(time, value, limits)?;
        }
        EXEMPLAR => {
            let (sample, labels) = exemplar::read(message.message()?, exemplar::LABELS_V1, columns)?;
            columns.push_exemplar(sample, labels, limits)?;
        }
        HISTOGRAM => {
            let sample = histogram::read(message.message()?)?;
            columns.push_histogram(sample, limits)?;
        }
        other => message.skip_unknown(other, &[LABEL, SAMPLE, EXEMPLAR, HISTOGRAM])?,
    }
    Ok(())
}

/// Visits label fields that a walk has found to be sound.
pub(super) fn visit_labels<'a>(mut labels: Reader<'a>, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
    let buffer = labels.buffer();
    while !labels.is_empty() {
        let Ok((name, value)) = labels.tag().and_then(|_| labels.message()).and_then(label::read) else { return };
        visit(name.bytes(buffer), value.bytes(buffer));
    }
}
