//! What happens to samples out of order as a record says it, in order: see `docs/format/wal.md`.

use codec::{
    columns,
    varint::{put_signed, put_unsigned, take_signed, take_unsigned},
};
use model::{Histogram, Label, Labels};

use super::Value;
use crate::{
    SeriesRef,
    head::{put_histogram, take_histogram},
    select::TimeRange,
    wal::{put_bytes, put_out_of_order, take_text, take_u32},
};

const ENTER: u8 = 0;
const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const DELETION: u8 = 3;
const DROPPED: u8 = 4;
const HISTOGRAM: u8 = 5;

/// Collects the operations of a record.
#[derive(Debug, Default)]
pub(crate) struct OutOfOrderLog {
    /// Encoded.
    operations: Vec<u8>,
    /// Which epoch series and samples are of.
    epoch: Option<u32>,
    /// Samples that come behind the operations.
    series: Vec<u32>,
    times: Vec<i64>,
    values: Vec<u64>,
}

impl OutOfOrderLog {
    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Roughly.
    pub(crate) fn len(&self) -> usize {
        self.operations.len() + self.series.len() * 5
    }

    pub(crate) fn enter(&mut self, epoch: u32) {
        if self.epoch != Some(epoch) {
            self.settle();
            self.epoch = Some(epoch);
            self.operations.push(ENTER);
            put_unsigned(&mut self.operations, u64::from(epoch));
        }
    }

    /// Names a series, before any sample of it. What is collected does not concern it.
    pub(crate) fn push_series(&mut self, epoch: u32, number: u32, labels: &Labels) {
        self.enter(epoch);
        self.operations.push(SERIES);
        put_unsigned(&mut self.operations, u64::from(number));
        put_unsigned(&mut self.operations, labels.len() as u64);
        for Label { name, value } in labels.iter() {
            put_bytes(&mut self.operations, name.as_bytes());
            put_bytes(&mut self.operations, value.as_bytes());
        }
    }

    pub(crate) fn push_sample(&mut self, epoch: u32, number: u32, time: i64, value: &Value) {
        self.enter(epoch);
        match value {
            Value::Float(bits) => {
                self.series.push(number);
                self.times.push(time);
                self.values.push(*bits);
            }
            Value::Histogram(histogram) => {
                self.settle();
                self.operations.push(HISTOGRAM);
                put_histogram(&mut self.operations, SeriesRef(number), time, histogram);
            }
        }
    }

    pub(crate) fn push_deletion(&mut self, epoch: u32, number: u32, range: TimeRange) {
        self.settle();
        self.operations.push(DELETION);
        put_unsigned(&mut self.operations, u64::from(epoch));
        put_unsigned(&mut self.operations, u64::from(number));
        put_signed(&mut self.operations, range.min_time);
        put_signed(&mut self.operations, range.max_time);
    }

    pub(crate) fn push_dropped(&mut self, epoch: u32) {
        self.settle();
        self.operations.push(DROPPED);
        put_unsigned(&mut self.operations, u64::from(epoch));
    }

    fn settle(&mut self) {
        if self.series.is_empty() {
            return;
        }
        self.operations.push(SAMPLES);
        columns::encode(&self.series, &self.times, &self.values, &mut self.operations);
        self.series.clear();
        self.times.clear();
        self.values.clear();
    }

    /// Appends the record to a payload, if there is something in it, and begins another.
    pub(crate) fn put_record(&mut self, payload: &mut Vec<u8>) {
        self.settle();
        self.epoch = None;
        if !self.operations.is_empty() {
            put_out_of_order(payload, |body| body.append(&mut self.operations));
        }
    }
}

/// What a record says happened.
pub(super) enum Operation<'a> {
    /// What follows is of this epoch.
    Enter(u32),
    Series {
        epoch: u32,
        number: u32,
        labels: Labels,
    },
    Samples {
        epoch: u32,
        series: &'a [u32],
        times: &'a [i64],
        values: &'a [u64],
    },
    Histogram {
        epoch: u32,
        number: u32,
        time: i64,
        histogram: Histogram,
    },
    Deletion {
        epoch: u32,
        number: u32,
        range: TimeRange,
    },
    /// This epoch, and those before it, are in blocks.
    Dropped(u32),
}

/// Visits the operations of a record. `None`: it does not decode, or the visitor refuses it.
pub(super) fn each_operation(mut body: &[u8], visit: &mut dyn FnMut(Operation<'_>) -> Option<()>) -> Option<()> {
    let mut epoch = None;
    let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((&operation, rest)) = body.split_first() {
        body = rest;
        match operation {
            ENTER => {
                let number = take_epoch(&mut body)?;
                epoch = Some(number);
                visit(Operation::Enter(number))?;
            }
            SERIES => {
                let (epoch, number) = (epoch?, take_u32(&mut body)?);
                visit(Operation::Series { epoch, number, labels: take_labels(&mut body)? })?;
            }
            SAMPLES => {
                series.clear();
                times.clear();
                values.clear();
                let decoded = columns::decode(body, &mut series, &mut times, &mut values).ok()?;
                body = &body[decoded.bytes..];
                visit(Operation::Samples { epoch: epoch?, series: &series, times: &times, values: &values })?;
            }
            HISTOGRAM => {
                let (SeriesRef(number), histograms) = take_histogram(&mut body)?;
                for (time, histogram) in histograms {
                    visit(Operation::Histogram { epoch: epoch?, number, time, histogram })?;
                }
            }
            DELETION => {
                let (epoch, number) = (take_epoch(&mut body)?, take_u32(&mut body)?);
                let (min_time, max_time) = (take_signed(&mut body).ok()?, take_signed(&mut body).ok()?);
                visit(Operation::Deletion { epoch, number, range: TimeRange { min_time, max_time } })?;
            }
            DROPPED => visit(Operation::Dropped(take_epoch(&mut body)?))?,
            _ => return None,
        }
    }
    Some(())
}

/// There is always one behind it.
fn take_epoch(body: &mut &[u8]) -> Option<u32> {
    take_u32(body).filter(|epoch| *epoch < u32::MAX / 2)
}

fn take_labels(body: &mut &[u8]) -> Option<Labels> {
    let count = take_unsigned(body).ok()?;
    let mut labels = Vec::new();
    for _ in 0..count {
        labels.push(Label { name: take_text(body)?, value: take_text(body)? });
    }
    let is_sorted = labels.windows(2).all(|two| two[0].name < two[1].name);
    is_sorted.then(|| Labels::from_sorted(labels))
}

/// Counts the samples of a record. `None`: it does not decode.
pub(crate) fn check_out_of_order(body: &[u8]) -> Option<u64> {
    let mut samples = 0;
    each_operation(body, &mut |operation| {
        samples += match operation {
            Operation::Samples { series, .. } => series.len() as u64,
            Operation::Histogram { .. } => 1,
            _ => 0,
        };
        Some(())
    })?;
    Some(samples)
}
