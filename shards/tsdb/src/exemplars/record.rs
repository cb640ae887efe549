//! Exemplars as they stand in a record, of a log frame or of a checkpoint: see `docs/format/wal.md`.

use codec::varint::{put_signed, put_unsigned, take_signed};
use model::{Label, Labels};

use super::Exemplar;
use crate::{
    SeriesRef,
    wal::{put_bytes, take_text, take_u32},
};

/// How a record names the series of an exemplar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoggedSeries {
    InHead(SeriesRef),
    Labels(Labels),
    /// A series that the record has named by its labels before, by its place among those.
    Again(u32),
}

const IN_HEAD: u64 = 0;
const BY_LABELS: u64 = 1;
/// What a place is counted from.
const AGAIN: u64 = 2;

/// Appends an exemplar to a record.
pub(crate) fn put_exemplar(body: &mut Vec<u8>, series: &LoggedSeries, exemplar: &Exemplar) {
    match series {
        LoggedSeries::InHead(series) => {
            put_unsigned(body, IN_HEAD);
            put_unsigned(body, u64::from(series.0));
        }
        LoggedSeries::Labels(labels) => {
            put_unsigned(body, BY_LABELS);
            put_labels(body, labels);
        }
        LoggedSeries::Again(place) => put_unsigned(body, AGAIN + u64::from(*place)),
    }
    put_signed(body, exemplar.time);
    body.extend_from_slice(&exemplar.value.to_le_bytes());
    put_labels(body, &exemplar.labels);
}

fn put_labels(body: &mut Vec<u8>, labels: &Labels) {
    put_unsigned(body, labels.len() as u64);
    for Label { name, value } in labels.iter() {
        put_bytes(body, name.as_bytes());
        put_bytes(body, value.as_bytes());
    }
}

/// Visits the exemplars of a record; a series comes as [`LoggedSeries::InHead`] or [`LoggedSeries::Labels`]. `None`: it does not decode.
pub(super) fn each_exemplar(mut body: &[u8], visit: &mut dyn FnMut(LoggedSeries, Exemplar)) -> Option<()> {
    let mut named: Vec<Labels> = Vec::new();
    while !body.is_empty() {
        let series = match u64::from(take_u32(&mut body)?) {
            IN_HEAD => LoggedSeries::InHead(SeriesRef(take_u32(&mut body)?)),
            BY_LABELS => {
                named.push(take_labels(&mut body)?);
                LoggedSeries::Labels(named.last()?.clone())
            }
            place => LoggedSeries::Labels(named.get((place - AGAIN) as usize)?.clone()),
        };
        let time = take_signed(&mut body).ok()?;
        let (value, rest) = body.split_first_chunk()?;
        body = rest;
        visit(series, Exemplar { time, value: u64::from_le_bytes(*value), labels: take_labels(&mut body)? });
    }
    Some(())
}

/// Counts the exemplars of a record. `None`: it does not decode.
pub(crate) fn check_exemplars(body: &[u8]) -> Option<u64> {
    let mut count = 0;
    each_exemplar(body, &mut |_, _| count += 1)?;
    Some(count)
}

fn take_labels(body: &mut &[u8]) -> Option<Labels> {
    let count = take_u32(body)?;
    let mut labels = Vec::new();
    for _ in 0..count {
        labels.push(Label { name: take_text(body)?, value: take_text(body)? });
    }
    let is_sorted = labels.windows(2).all(|two| two[0].name < two[1].name);
    is_sorted.then(|| Labels::from_sorted(labels))
}
