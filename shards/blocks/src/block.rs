//! A block that is open for reading, on any thread.

use std::{future::Future, io, path::Path, sync::Arc, time::Duration};

use codec::{
    gorilla,
    histogram::{self, HistogramSamples},
};
use model::{Histogram, Labels, Matcher};
use runtime::{Disk, FileMap, Runtime};
use shard::frames::FileError;
use tsdb::{
    block::{
        BlockError, ChunkMeta, ChunkReference, Intervals, Tombstones,
        index::{IndexReader, SeriesEntry, SymbolPair},
        segment,
    },
    select::{TimeRange, has_any},
};

use crate::{
    error::{BlocksError, Damage, DamageKind},
    folder,
    meta::Meta,
    samples::{self, DecodeError, Sample},
    ulid::Ulid,
};

/// An open block. Its files may lose their names meanwhile.
#[derive(Clone, Debug)]
pub struct Block {
    pub ulid: Ulid,
    pub meta: Meta,
    /// Bytes of all its files.
    pub bytes: u64,
    files: Arc<Files>,
    tombstones: Arc<Tombstones>,
}

#[derive(Debug)]
struct Files {
    folder: std::path::PathBuf,
    index: IndexReader<FileMap>,
    segments: Vec<FileMap>,
}

impl Block {
    /// Opens a block's folder. What is checked now are the small tables that everything else depends on.
    pub(crate) async fn open<R: Runtime>(runtime: &R, data: &Path, ulid: Ulid) -> Result<Self, BlocksError> {
        let path = folder::block(data, ulid);
        let meta_path = path.join("meta.json");
        let meta = map(runtime, &meta_path).await?;
        let mut bytes = meta.len() as u64;
        let mut meta = Meta::decode(&meta).map_err(|what| Damage { path: meta_path, what: DamageKind::Meta(what) })?;
        let index_path = path.join("index");
        let index = map(runtime, &index_path).await?;
        bytes += index.len() as u64;
        let index = IndexReader::open(index).map_err(|what| Damage { path: index_path, what: what.into() })?;
        let segments = open_segments(runtime, &path).await?;
        bytes += segments.iter().map(|segment| segment.len() as u64).sum::<u64>();
        let (tombstones, length) = read_tombstones(runtime, &path).await?;
        bytes += length;
        // A crash may have come between the two files.
        meta.stats.num_tombstones = tombstones.count() as u64;
        let files = Arc::new(Files { folder: path, index, segments });
        Ok(Self { ulid, meta, bytes, files, tombstones: Arc::new(tombstones) })
    }

    /// Opens a block that has its name already: an attempt that failed may have come that far. `None`: it has not.
    pub(crate) async fn adopt<R: Runtime>(runtime: &R, data: &Path, ulid: Ulid) -> Result<Option<Self>, BlocksError> {
        if !list(runtime, data).await?.contains(&ulid.to_string()) {
            return Ok(None);
        }
        // What was to make the name durable may be what failed.
        runtime.disk().sync_directory(data).await.map_err(FileError::new("sync", data))?;
        Self::open(runtime, data, ulid).await.map(Some)
    }

    /// The same block after a deletion.
    pub(crate) fn with_tombstones(&self, meta: Meta, tombstones: Tombstones) -> Self {
        Self { meta, tombstones: Arc::new(tombstones), ..self.clone() }
    }

    /// Times of its samples; the end is exclusive.
    pub fn times(&self) -> (i64, i64) {
        (self.meta.min_time, self.meta.max_time)
    }

    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.meta.min_time <= range.max_time && self.meta.max_time > range.min_time
    }

    pub fn folder(&self) -> &Path {
        &self.files.folder
    }

    pub(crate) fn segment_count(&self) -> u32 {
        self.files.segments.len() as u32
    }

    pub fn index(&self) -> &IndexReader<FileMap> {
        &self.files.index
    }

    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// References of the series that satisfy all matchers, in label order.
    pub fn select(&self, matchers: &[Matcher]) -> Result<Vec<u32>, Damage> {
        self.index().select(matchers).map_err(|what| self.index_damage(what))
    }

    pub fn series(&self, reference: u32, entry: &mut SeriesEntry) -> Result<(), Damage> {
        self.index().series(reference, entry).map_err(|what| self.index_damage(what))
    }

    pub fn labels(&self, pairs: &[SymbolPair]) -> Result<Labels, Damage> {
        self.index().labels(pairs).map_err(|what| self.index_damage(what))
    }

    pub fn symbol(&self, number: u32) -> Result<&str, Damage> {
        self.index().symbol(number).map_err(|what| self.index_damage(what))
    }

    /// The names that series have, in order.
    pub fn label_names(&self) -> Result<Vec<&str>, Damage> {
        self.index().label_names().map_err(|what| self.index_damage(what))
    }

    /// Visits the values of a name in order.
    pub fn each_label_value<E: From<Damage>>(
        &self,
        name: &str,
        visit: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let values = self.index().label_values(name).map_err(|what| self.index_damage(what))?;
        for value in values {
            visit(value.map_err(|what| self.index_damage(what))?)?;
        }
        Ok(())
    }

    /// Times of a series that were deleted.
    pub fn deleted(&self, reference: u32) -> Option<&Intervals> {
        self.tombstones.get(u64::from(reference))
    }

    /// Whether a series, whose entry this is, has chunks in a range that are not deleted there.
    pub fn has_any(&self, reference: u32, entry: &SeriesEntry, range: TimeRange) -> bool {
        let deleted = self.deleted(reference);
        entry
            .chunks
            .iter()
            .any(|chunk| has_any(TimeRange { min_time: chunk.min_time, max_time: chunk.max_time }, range, deleted))
    }

    /// A chunk's encoding and data, its checksum checked.
    pub fn chunk(&self, reference: ChunkReference) -> Result<(u8, &[u8]), Damage> {
        let number = reference.segment();
        let Some(bytes) = self.files.segments.get(number as usize) else {
            let path = self.files.folder.join("chunks");
            return Err(Damage { path, what: DamageKind::SegmentMissing(number) });
        };
        segment::chunk(bytes, reference.offset())
            .map_err(|what| Damage { path: self.segment_path(reference), what: what.into() })
    }

    /// The samples of a chunk, those included that were deleted.
    pub fn samples(&self, chunk: &ChunkMeta) -> Result<Vec<Sample>, Damage> {
        let (encoding, data) = self.chunk(chunk.reference)?;
        samples::decode(encoding, data).map_err(|error| self.chunk_damage(chunk, &error.to_string()))
    }

    pub(crate) fn chunk_damage(&self, chunk: &ChunkMeta, what: &str) -> Damage {
        let offset = u64::from(chunk.reference.offset());
        Damage { path: self.segment_path(chunk.reference), what: DamageKind::Chunk { offset, what: what.to_owned() } }
    }

    /// Appends the samples of a chunk that lie in a range and were not deleted.
    pub fn append_samples(
        &self,
        chunk: &ChunkMeta,
        range: TimeRange,
        deleted: Option<&Intervals>,
        into: &mut Columns,
    ) -> Result<(), Damage> {
        let (encoding, data) = self.chunk(chunk.reference)?;
        let damage = |error: DecodeError| self.chunk_damage(chunk, &error.to_string());
        if histogram::is_histogram(encoding) {
            let in_range = range.min_time..=range.max_time;
            let mut behind_deleted = false;
            for sample in HistogramSamples::new(encoding, data).map_err(|error| damage(error.into()))? {
                let (time, mut histogram) = sample.map_err(|error| damage(error.into()))?;
                if deleted.is_some_and(|deleted| deleted.contains(time)) {
                    behind_deleted = true;
                } else if in_range.contains(&time) {
                    if std::mem::take(&mut behind_deleted) {
                        histogram.forget_reset();
                    }
                    into.histograms.push((time, histogram));
                }
            }
            return Ok(());
        }
        if encoding != gorilla::ENCODING {
            return Err(damage(DecodeError::Encoding(encoding)));
        }
        let first = into.times.len();
        gorilla::decode_into(data, &mut into.times, &mut into.values).map_err(|error| damage(error.into()))?;
        let chunk_range = TimeRange { min_time: chunk.min_time, max_time: chunk.max_time };
        into.keep(first, range, deleted.filter(|deleted| deleted.overlaps(chunk_range)));
        Ok(())
    }

    /// Says that the bytes will not be read soon, so that they do not count as this process' memory.
    pub(crate) fn release_pages(&self) {
        self.index().bytes().release_pages();
        self.files.segments.iter().for_each(FileMap::release_pages);
    }

    pub(crate) fn segment_path(&self, reference: ChunkReference) -> std::path::PathBuf {
        self.files.folder.join("chunks").join(segment::file_name(reference.segment()))
    }

    fn index_damage(&self, what: BlockError) -> Damage {
        Damage { path: self.files.folder.join("index"), what: what.into() }
    }
}

/// Samples as columns: times and bits of floats, and histograms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    pub times: Vec<i64>,
    pub values: Vec<u64>,
    pub histograms: Vec<(i64, Histogram)>,
}

impl Columns {
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }

    /// Of the floats from `first` on, which are in order of time, leaves those that lie in a range and were not deleted.
    fn keep(&mut self, first: usize, range: TimeRange, deleted: Option<&Intervals>) {
        let start = self.times[first..].partition_point(|time| *time < range.min_time);
        let end = self.times[first..].partition_point(|time| *time <= range.max_time);
        self.times.truncate(first + end.max(start));
        self.values.truncate(first + end.max(start));
        self.times.drain(first..first + start);
        self.values.drain(first..first + start);
        let Some(deleted) = deleted else { return };
        let mut kept = first;
        for at in first..self.times.len() {
            if !deleted.contains(self.times[at]) {
                self.times[kept] = self.times[at];
                self.values[kept] = self.values[at];
                kept += 1;
            }
        }
        self.times.truncate(kept);
        self.values.truncate(kept);
    }
}

/// Attempts at a file that can't be read, as that may be a bad moment of a sound disk, and the pause between two.
const READ_ATTEMPTS: usize = 8;
const READ_PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn map<R: Runtime>(runtime: &R, path: &Path) -> Result<FileMap, FileError> {
    patiently(runtime, || runtime.disk().map(path)).await.map_err(FileError::new("map", path))
}

async fn list<R: Runtime>(runtime: &R, path: &Path) -> Result<Vec<String>, FileError> {
    patiently(runtime, || runtime.disk().list(path)).await.map_err(FileError::new("list", path))
}

async fn patiently<R: Runtime, T, F: Future<Output = io::Result<T>>>(
    runtime: &R,
    mut read: impl FnMut() -> F,
) -> io::Result<T> {
    let mut answer = read().await;
    for _ in 1..READ_ATTEMPTS {
        match &answer {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                runtime.sleep(READ_PAUSE).await;
                answer = read().await;
            }
            _ => break,
        }
    }
    answer
}

async fn open_segments<R: Runtime>(runtime: &R, folder: &Path) -> Result<Vec<FileMap>, BlocksError> {
    let chunks = folder.join("chunks");
    let names = match list(runtime, &chunks).await {
        // A block all of whose samples were deleted.
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut segments = Vec::new();
    for number in 0..names.len() as u32 {
        let name = segment::file_name(number);
        if !names.contains(&name) {
            return Err(Damage { path: chunks, what: DamageKind::SegmentMissing(number) }.into());
        }
        let path = chunks.join(name);
        let bytes = map(runtime, &path).await?;
        segment::check_header(&bytes).map_err(|what| Damage { path, what: what.into() })?;
        segments.push(bytes);
    }
    Ok(segments)
}

/// A block without the file has no deletions.
/// The tombstones, and the length of their file.
async fn read_tombstones<R: Runtime>(runtime: &R, folder: &Path) -> Result<(Tombstones, u64), BlocksError> {
    let path = folder.join("tombstones");
    match map(runtime, &path).await {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok((Tombstones::default(), 0)),
        Err(error) => Err(error.into()),
        Ok(bytes) => {
            let tombstones = Tombstones::decode(&bytes).map_err(|what| Damage { path, what: what.into() })?;
            Ok((tombstones, bytes.len() as u64))
        }
    }
}
