//! A head, its log and its chunk files in memory, beside a naive model.

use std::collections::BTreeMap;

use model::{IdentityKey, Matcher, OwnedBatch};
use tsdb::{
    AppendOutcome, Head, Limits, Members, SeriesRef,
    checkpoint::CheckpointEnd,
    chunk_file::{Extent, check_entry},
    select::{Progress, SelectedChunk, Selecting, Selection, TimeRange, Wanted},
    wal::{LogBatch, Records},
};

use crate::{OPEN, Quota};

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

/// A head with what a shard has around it: the log, the chunk files, and a model of what it should answer.
pub(crate) struct Bench {
    pub(crate) head: Head,
    pub(crate) batch: LogBatch,
    pub(crate) log: Vec<Vec<u8>>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) model: Model,
    /// Deletions so far.
    pub(crate) deletions: usize,
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
        }
    }

    pub(crate) fn append(&mut self, rows: &[(u8, Vec<(i64, u64)>)], reversed: bool) -> AppendOutcome {
        let mut batch = OwnedBatch::default();
        for (series, samples) in rows {
            let mut labels = labels_of(*series);
            if reversed {
                labels.reverse();
            }
            let labels = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            batch.push(&key(), labels, samples.iter().copied());
        }
        let outcome = self.head.append(&batch, Members::All, OPEN, &mut Quota(u64::MAX), &mut self.batch);
        self.commit();
        outcome
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
                let data = self.chunk_data(&selection, position, *chunk);
                codec::gorilla::decode_into(data, &mut times, &mut values).expect("a sound chunk");
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
    ) -> &'a [u8] {
        let tag = selection.tags[position];
        match chunk {
            SelectedChunk::Copied { start, length } => &selection.bytes[start as usize..(start + length) as usize],
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
