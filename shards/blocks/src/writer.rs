//! A block in the making: a folder under another name, files that grow from front to back, and the rename that makes it count.

use std::path::{Path, PathBuf};

use codec::gorilla;
use runtime::{Disk, Runtime};
use shard::frames::FileError;
use tsdb::block::{
    ChunkMeta, ChunkReference, Tombstones,
    index::{IndexReader, IndexWriter, SymbolPair, SymbolTable},
    segment::{self, SegmentWriter},
};

use crate::{
    block::{Block, map},
    deletion::{Deletion, tombstones_of},
    error::{BlocksError, Damage, DamageKind},
    folder,
    meta::{Meta, Stats},
    stream_file::{StreamFile, write_file},
    ulid::Ulid,
};

/// Bytes of chunks or index that are collected before they go to their file.
const COLLECT_BYTES: usize = 256 << 10;

/// A block that is being written. Dropped before [`Self::publish`] it leaves a folder that does not count.
pub(crate) struct PendingBlock<R: Runtime> {
    runtime: R,
    data: PathBuf,
    ulid: Ulid,
    folder: PathBuf,
    index: IndexWriter,
    index_file: StreamFile<R>,
    /// Segments of other blocks that are this one's as well, before its own.
    linked_segments: u32,
    segments: SegmentWriter,
    segment_file: Option<(u32, StreamFile<R>)>,
    collected: Vec<u8>,
    chunks: Vec<ChunkMeta>,
    stats: Stats,
    /// Written so far.
    bytes: u64,
}

/// A chunk as it goes into a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewChunk<'a> {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) encoding: u8,
    pub(crate) data: &'a [u8],
}

impl<R: Runtime> PendingBlock<R> {
    pub(crate) async fn create(
        runtime: &R,
        data: &Path,
        ulid: Ulid,
        symbols: SymbolTable,
    ) -> Result<Self, BlocksError> {
        let folder = folder::in_creation(data, ulid);
        // An attempt before this one may have failed, and the removal of what it wrote too.
        folder::remove_folder(runtime, &folder).await?;
        let disk = runtime.disk();
        for path in [folder.clone(), folder.join("chunks")] {
            disk.create_directory(&path).await.map_err(FileError::new("create", &path))?;
        }
        Ok(Self {
            runtime: runtime.clone(),
            data: data.to_owned(),
            ulid,
            index: IndexWriter::new(symbols),
            index_file: StreamFile::create(runtime, folder.join("index")).await?,
            folder,
            linked_segments: 0,
            segments: SegmentWriter::default(),
            segment_file: None,
            collected: Vec::new(),
            chunks: Vec::new(),
            stats: Stats::default(),
            bytes: 0,
        })
    }

    /// Takes over the segments of another block, by hard links: what a disk holds already is not written again. Returns the number of
    /// the first of them; `None` where nothing can be linked. Goes before any chunk.
    pub(crate) async fn link_segments(&mut self, block: &Block) -> Result<Option<u32>, BlocksError> {
        let first = self.linked_segments;
        let (from, to) = (block.folder().join("chunks"), self.folder.join("chunks"));
        for segment in 0..block.segment_count() {
            let from = from.join(segment::file_name(segment));
            let to = to.join(segment::file_name(first + segment));
            match self.runtime.disk().link(&from, &to).await {
                Err(error) if segment == 0 && folder::knows_no_link(&error) => return Ok(None),
                linked => linked.map_err(FileError::new("link", &from))?,
            }
        }
        self.linked_segments += block.segment_count();
        self.segments = SegmentWriter::starting_at(self.linked_segments);
        Ok(Some(first))
    }

    /// Adds a chunk that is in a linked segment.
    pub(crate) fn push_linked(&mut self, chunk: NewChunk<'_>, reference: ChunkReference) {
        self.count(&chunk);
        self.chunks.push(ChunkMeta { min_time: chunk.min_time, max_time: chunk.max_time, reference });
    }

    /// Adds a chunk of the series that [`Self::finish_series`] will name. Chunks come in order of time, without an overlap.
    pub(crate) fn push_chunk(&mut self, chunk: NewChunk<'_>) {
        self.count(&chunk);
        let reference = self.segments.push(chunk.encoding, chunk.data);
        self.chunks.push(ChunkMeta { min_time: chunk.min_time, max_time: chunk.max_time, reference });
    }

    fn count(&mut self, chunk: &NewChunk<'_>) {
        let samples = samples_of(chunk.data);
        self.stats.num_samples += samples;
        match chunk.encoding {
            gorilla::ENCODING => self.stats.num_float_samples += samples,
            _ => self.stats.num_histogram_samples += samples,
        }
        self.stats.num_chunks += 1;
    }

    /// Ends a series; one without chunks is not written. Series come in label order.
    pub(crate) async fn finish_series(&mut self, labels: &[SymbolPair]) -> Result<(), BlocksError> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        if self.chunks.windows(2).any(|two| two[0].max_time >= two[1].min_time) {
            return Err(Damage { path: self.folder.clone(), what: DamageKind::Times }.into());
        }
        let added = self.index.push(labels, &self.chunks);
        added.map_err(|limit| BlocksError::Limit { path: self.folder.clone(), limit })?;
        self.chunks.clear();
        self.stats.num_series += 1;
        if self.segments.ready_bytes() >= COLLECT_BYTES {
            self.write_chunks().await?;
        }
        if self.stats.num_series.is_multiple_of(1024) {
            self.write_index().await?;
        }
        Ok(())
    }

    pub(crate) fn has_series(&self) -> bool {
        self.stats.num_series > 0
    }

    /// Removes what was written.
    pub(crate) async fn discard(self) -> Result<(), BlocksError> {
        Ok(folder::remove_folder(&self.runtime, &self.folder).await?)
    }

    /// Completes the files, makes everything durable, and gives the folder its name. `deletions` are taken out of what it shows.
    /// Returns how many bytes were written for it.
    pub(crate) async fn publish(mut self, mut meta: Meta, deletions: &[Deletion]) -> Result<u64, BlocksError> {
        self.write_chunks().await?;
        if let Some((_, file)) = self.segment_file.take() {
            self.bytes += file.finish().await?;
        }
        self.write_index().await?;
        let limit = |limit| BlocksError::Limit { path: self.folder.clone(), limit };
        let mut index = self.index.finish().map_err(limit)?;
        while index.take_ready(&mut self.collected) {
            self.index_file.push(&self.collected).await?;
            self.collected.clear();
        }
        drop(index);
        self.bytes += self.index_file.finish().await?;
        let tombstones = tombstones(&self.runtime, &self.folder, deletions).await?;
        meta.stats = Stats { num_tombstones: tombstones.count() as u64, ..self.stats };
        let runtime = &self.runtime;
        self.bytes += write_file(runtime, self.folder.join("tombstones"), &tombstones.encode()).await?;
        self.bytes += write_file(runtime, self.folder.join("meta.json"), &meta.encode()).await?;
        let disk = runtime.disk();
        for path in [self.folder.join("chunks"), self.folder.clone()] {
            disk.sync_directory(&path).await.map_err(FileError::new("sync", &path))?;
        }
        let path = folder::block(&self.data, self.ulid);
        disk.rename(&self.folder, &path).await.map_err(FileError::new("rename", &self.folder))?;
        disk.sync_directory(&self.data).await.map_err(FileError::new("sync", &self.data))?;
        Ok(self.bytes)
    }

    async fn write_index(&mut self) -> Result<(), BlocksError> {
        while self.index.take_ready(&mut self.collected) {
            self.index_file.push(&self.collected).await?;
            self.collected.clear();
        }
        Ok(())
    }

    async fn write_chunks(&mut self) -> Result<(), BlocksError> {
        while let Some(piece) = self.segments.take_ready() {
            if self.segment_file.as_ref().is_none_or(|(segment, _)| *segment != piece.segment) {
                if let Some((_, complete)) = self.segment_file.take() {
                    self.bytes += complete.finish().await?;
                }
                let path = self.folder.join("chunks").join(segment::file_name(piece.segment));
                self.segment_file = Some((piece.segment, StreamFile::create(&self.runtime, path).await?));
            }
            let (_, file) = self.segment_file.as_mut().expect("made above");
            file.push(&piece.bytes).await?;
        }
        Ok(())
    }
}

/// What deletions take from a block whose index is complete.
async fn tombstones<R: Runtime>(runtime: &R, folder: &Path, deletions: &[Deletion]) -> Result<Tombstones, BlocksError> {
    if deletions.is_empty() {
        return Ok(Tombstones::default());
    }
    let path = folder.join("index");
    let index = IndexReader::open(map(runtime, &path).await?);
    let index = index.map_err(|what| Damage { path: path.clone(), what: what.into() })?;
    tombstones_of(deletions, &index, &path)
}

/// Every encoding begins with its number of samples.
fn samples_of(data: &[u8]) -> u64 {
    data.first_chunk().map_or(0, |count| u64::from(u16::from_be_bytes(*count)))
}
