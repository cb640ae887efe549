//! A head, its log and its chunk files in memory, beside a naive model.

use std::collections::{BTreeMap, BTreeSet};

use codec::histogram::HistogramSamples;
use model::{
    Histogram, IdentityKey, Matcher, OwnedBatch,
    histogram::{Counts, ResetHint, spans_of},
};
use tsdb::{
    AppendOutcome, Head, Limits, SeriesRef, ShardPart,
    checkpoint::CheckpointEnd,
    chunk_file::{Chunk, Extent, check_entry},
    select::{Progress, SelectedChunk, Selecting, Selection, TimeRange, Wanted},
    wal::{LogBatch, Records},
};

use crate::{OPEN, Quota, sender::Sender};

/// Samples by series text; the last one of a series is its newest.
pub(crate) type Model = BTreeMap<String, Vec<(i64, u64)>>;

/// Series and their samples, in the order of one batch.
pub(crate) type Rows = Vec<(u8, Vec<(i64, u64)>)>;

pub(crate) fn key() -> IdentityKey {
    IdentityKey::from_bytes(&std::array::from_fn(|at| (at * 37 + 11) as u8))
}

pub(crate) fn labels_of(series: u8) -> Vec<(String, String)> {
    let mut labels = vec![
        ("__name__".to_owned(), format!("metric_{}", series % 3)),
        ("instance".to_owned(), format!("host-{series}:9100")),
        ("job".to_owned(), "node".to_owned()),
    ];
    if series.is_multiple_of(2) {
        labels.push(("zone".to_owned(), format!("z{}", series % 5)));
    }
    labels
}

/// Some series have histograms, at some times; the model knows them by their sums.
fn has_histograms(series: u8) -> bool {
    series % 4 == 3
}

fn comes_as_histogram(series: u8, time: i64) -> bool {
    has_histograms(series) && time.div_euclid(2_000_000) % 2 == 0
}

/// A histogram that is told by its sum.
fn histogram_of(series: u8, sum: u64) -> Histogram {
    let mixed = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let numbers: Vec<i32> = (0..8).filter(|bit| mixed >> (40 + bit) & 1 == 1).collect();
    let counts: Vec<i64> = numbers.iter().map(|&number| (mixed >> (number * 3)) as i64 & 7).collect();
    let deltas = counts.iter().scan(0, |before, &count| Some(count - std::mem::replace(before, count))).collect();
    let hint = if series.is_multiple_of(3) { ResetHint::Gauge } else { ResetHint::Unknown };
    let histogram = Histogram {
        reset_hint: hint,
        sum: f64::from_bits(sum),
        counts: Counts::Integer {
            count: counts.iter().sum::<i64>() as u64,
            zero_count: 0,
            positive: deltas,
            negative: Vec::new(),
        },
        positive_spans: spans_of(&numbers),
        ..Histogram::default()
    };
    if !series.is_multiple_of(7) || histogram.is_stale() {
        return histogram;
    }
    let counts = Counts::Float {
        count: counts.iter().sum::<i64>() as f64,
        zero_count: 0.5,
        positive: counts.iter().map(|&count| count as f64).collect(),
        negative: Vec::new(),
    };
    Histogram { counts, ..histogram }
}

/// Decodes a chunk of either kind; histograms are checked and told by their sums.
pub(crate) fn decode_into(chunk: Chunk<'_>, times: &mut Vec<i64>, values: &mut Vec<u64>) {
    if codec::is_float(chunk.encoding) {
        codec::decode_floats_into(chunk.encoding, chunk.data, times, values).expect("a sound chunk");
        return;
    }
    for sample in HistogramSamples::new(chunk.encoding, chunk.data).expect("a sound chunk") {
        let (time, histogram) = sample.expect("a sound chunk");
        let sum = histogram.sum.to_bits();
        let is_as_sent = [1, 7].into_iter().any(|series| histogram.says_the_same(&histogram_of(series, sum)));
        assert!(is_as_sent, "{histogram:?}");
        times.push(time);
        values.push(sum);
    }
}

/// A head with what a shard has around it: the log, the chunk files, and a model of what it should answer.
pub(crate) struct Bench {
    pub(crate) head: Head,
    pub(crate) batch: LogBatch,
    pub(crate) log: Vec<Vec<u8>>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) model: Model,
    /// Deletions so far.
    pub(crate) deletions: usize,
    pub(crate) sender: Sender,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            head: Head::new(key(), Limits::default(), 0),
            batch: LogBatch::default(),
            log: Vec::new(),
            extents: Vec::new(),
            model: Model::new(),
            deletions: 0,
            sender: Sender::default(),
        }
    }

    pub(crate) fn append(&mut self, rows: &[(u8, Vec<(i64, u64)>)], reversed: bool) -> AppendOutcome {
        let mut outcome = AppendOutcome::default();
        let mut rest: Vec<(u8, &[(i64, u64)])> = rows.iter().map(|(series, samples)| (*series, &samples[..])).collect();
        while !rest.is_empty() {
            let mut batch = OwnedBatch::default();
            let (mut seen, mut entries) = (BTreeSet::new(), Vec::new());
            for (series, samples) in &mut rest {
                if has_histograms(*series) && !seen.insert(*series) {
                    continue;
                }
                let mut labels = labels_of(*series);
                if reversed {
                    labels.reverse();
                }
                let labels = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                // A request stores a series' floats before its histograms; what follows them goes into another request.
                let is_histogram = samples.first().is_some_and(|sample| comes_as_histogram(*series, sample.0));
                let is_other = |sample: &(i64, u64)| comes_as_histogram(*series, sample.0) != is_histogram;
                let end = samples.iter().position(is_other).unwrap_or(samples.len());
                let (now, later) = samples.split_at(end);
                *samples = later;
                entries.push(*series);
                match is_histogram {
                    true => {
                        let histograms = now.iter().map(|&(time, value)| (time, histogram_of(*series, value)));
                        batch.push_histograms(&key(), labels, histograms);
                    }
                    false => batch.push(&key(), labels, now.iter().copied()),
                }
            }
            rest.retain(|(_, samples)| !samples.is_empty());
            let batch = self.sender.with_places(batch, &entries);
            let appended = self.head.append(&batch, ShardPart::WHOLE, OPEN, &mut Quota(u64::MAX), &mut self.batch);
            self.sender.learn(&batch, &appended, &entries);
            outcome.merge(&appended);
        }
        self.commit();
        outcome.stored += outcome.histograms_stored;
        outcome.repeated += outcome.histograms_repeated;
        outcome
    }

    /// Appends a request as it is, and nothing to the model.
    pub(crate) fn append_batch(&mut self, batch: &OwnedBatch) {
        self.head.append(batch, ShardPart::WHOLE, OPEN, &mut Quota(u64::MAX), &mut self.batch);
        self.commit();
    }

    /// Writes what was collected as a frame of the log.
    pub(crate) fn commit(&mut self) {
        let mut payload = Vec::new();
        self.batch.encode(&mut payload);
        self.log.push(payload);
        self.write_extents();
    }

    fn write_extents(&mut self) {
        while let Some(extent) = self.head.extent().next_to_write() {
            self.head.extent().written(&extent);
            let Extent { file, offset, ref bytes } = *extent;
            self.extents.push(Extent { file, offset, bytes: bytes.clone() });
        }
    }

    /// Replays into a new head, which writes its own chunk files from a later number on.
    pub(crate) fn replayed(&self, checkpoint: &[Vec<u8>], from: usize) -> Self {
        let mut other = Self { head: Head::new(key(), Limits::default(), 100), ..Self::new() };
        for payload in checkpoint.iter().chain(&self.log[from..]) {
            for record in Records::of(payload) {
                other.head.replay(record.expect("a record")).expect("a record that makes sense");
            }
            other.write_extents();
        }
        for extent in &self.extents {
            other.extents.push(Extent { file: extent.file, offset: extent.offset, bytes: extent.bytes.clone() });
        }
        other
    }

    pub(crate) fn checkpoint(&mut self) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        let (mut mark, end) = (Default::default(), self.head.definitions_mark());
        while mark != end {
            let mut payload = Vec::new();
            mark = self.head.put_definitions(mark, end, &mut payload);
            payloads.push(payload);
        }
        let (mut next, end) = (SeriesRef(0), SeriesRef(end.next_series));
        while next < end {
            let mut payload = Vec::new();
            next = self.head.put_slice(next, end, &mut payload);
            payloads.push(payload);
        }
        self.head.extent().finish_extent();
        self.write_extents();
        let end = CheckpointEnd {
            first_segment: 0,
            first_frame: 0,
            definitions: self.head.definitions_mark(),
            min_time: self.head.min_time(),
            max_time: self.head.max_time(),
            floor: self.head.floor(),
        };
        let mut payload = Vec::new();
        self.head.put_end(&end, &mut payload);
        payloads.push(payload);
        payloads
    }

    pub(crate) fn select(&self, matchers: &[Matcher], range: TimeRange, wanted: Wanted) -> Selection {
        let mut selecting = Selecting::new(matchers, range, wanted);
        loop {
            if let Progress::Done(selection) = selecting.advance(&self.head) {
                return *selection;
            }
        }
    }

    pub(crate) fn samples(&self, matchers: &[Matcher], range: TimeRange) -> Model {
        let selection = self.select(matchers, range, Wanted::Samples);
        let mut found = Model::new();
        for (position, &series) in selection.series.iter().enumerate() {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for chunk in selection.chunks_of(position) {
                decode_into(self.chunk_data(&selection, position, *chunk), &mut times, &mut values);
            }
            let samples = times.into_iter().zip(values);
            let deleted = selection.deleted_of(position);
            let samples = samples
                .filter(|(time, _)| (range.min_time..=range.max_time).contains(time))
                .filter(|(time, _)| deleted.is_none_or(|deleted| !deleted.contains(*time)))
                .collect();
            found.insert(selection.labels.labels(series).to_string(), samples);
        }
        found.retain(|_, samples: &mut Vec<_>| !samples.is_empty());
        found
    }

    pub(crate) fn chunk_data<'a>(
        &'a self,
        selection: &'a Selection,
        position: usize,
        chunk: SelectedChunk,
    ) -> Chunk<'a> {
        let tag = selection.tags[position];
        match chunk {
            SelectedChunk::Copied { encoding, start, length } => selection.copied(encoding, start, length),
            SelectedChunk::Sealed(chunk) => {
                let (file, offset) = (chunk.address.file(), chunk.address.offset());
                let extent = self
                    .extents
                    .iter()
                    .find(|extent| {
                        extent.file == file
                            && (extent.offset..extent.offset + extent.bytes.len() as u64).contains(&offset)
                    })
                    .expect("a written extent");
                check_entry(&extent.bytes[(offset - extent.offset) as usize..], tag).expect("a sound entry")
            }
        }
    }
}
