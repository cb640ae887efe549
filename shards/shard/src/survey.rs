//! A look at everything in a shard's folder that changes nothing: for tools, on the folder of a server that does not run.
//!
//! Every byte that is under a checksum and that a start could need is read, and every record decoded. What a crash leaves behind
//! is told apart from damage: by the order of the log's frames, by what the newest whole checkpoint refers to, and by whether
//! the series logs still define everything that it counts on.

use std::{ops::Range, path::PathBuf};

use runtime::{AlignedBuffer, Disk, File, OpenMode, Runtime};
use tsdb::{
    SeriesRef,
    checkpoint::CheckpointEnd,
    chunk_file::{self, Chunk, EntryError, check_any_entry, check_file_header},
    head::ChunkAddress,
    wal::{Contents, FRAME_HEADER_BYTES, FileKind, Records},
};

use crate::{
    frames::{DamageKind, FileError, Found, FrameReader, LogOrder},
    names::{Numbered, ShardFolders, log_segment, numbered, numbers, spare_segment},
    recovery::log_segments,
};

/// What stands in a shard's folder.
#[derive(Debug, Default)]
pub struct ShardSurvey {
    pub checkpoints: Vec<FrameFile>,
    /// Number of the checkpoint that a start would use.
    pub checkpoint_in_use: Option<u64>,
    pub series_logs: Vec<FrameFile>,
    /// Log segments that a start would read.
    pub segments: Vec<FrameFile>,
    pub chunk_files: Vec<ChunkFile>,
    /// Spare and superfluous log segments, interrupted checkpoints: what nothing depends on.
    pub leftovers: Vec<Leftover>,
    pub findings: Vec<Finding>,
}

/// A log segment, series log or checkpoint; counts are of sound frames.
#[derive(Debug, Default)]
pub struct FrameFile {
    pub path: PathBuf,
    pub number: u64,
    pub bytes: u64,
    /// Number of the first frame, and one more than that of the last.
    pub frames: Range<u64>,
    pub frame_count: u64,
    pub records: u64,
    pub payload_bytes: u64,
    pub padding_bytes: u64,
    pub pairs: u64,
    pub series: u64,
    /// Samples of a log, or in the open chunks of a checkpoint's images.
    pub samples: u64,
    pub images: u64,
    pub end: Option<CheckpointEnd>,
    /// Latest floor of the head that a record tells of: what is before it is in blocks.
    pub floor: Option<i64>,
}

#[derive(Debug, Default)]
pub struct ChunkFile {
    pub path: PathBuf,
    pub bytes: u64,
    /// Sound chunks, and how many of them the checkpoint in use refers to.
    pub chunks: u64,
    pub chunks_referenced: u64,
    pub samples: u64,
    /// Bytes of the chunks' data.
    pub data_bytes: u64,
}

#[derive(Debug)]
pub struct Leftover {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Something that should not be so, or that looks so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    pub offset: u64,
    pub what: Fault,
}

impl Finding {
    /// Whether something that a start needs is gone. The rest is what a crash or a failed write leaves behind.
    pub fn is_damage(&self) -> bool {
        !matches!(self.what, Fault::Frames(DamageKind::TornTail) | Fault::NotNeeded(_) | Fault::ChunkLeftover)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Frames(DamageKind),
    #[error("{0}; nothing depends on it")]
    NotNeeded(DamageKind),
    #[error("the checkpoint has no end record, so it does not count")]
    NoEnd,
    #[error("the log segment where the replay begins is missing")]
    SegmentMissing,
    #[error("definitions of {pairs} label pairs and {series} series are in no series log")]
    DefinitionsMissing { pairs: u64, series: u64 },
    #[error("the chunk file's first sector: {0}")]
    ChunkHeader(&'static str),
    #[error("{0}")]
    Chunk(#[from] EntryError),
    #[error("the chunk's bits do not decode: {0}")]
    ChunkBits(codec::gorilla::ChunkError),
    #[error("a chunk of series {0} should begin here")]
    ChunkMissing(u32),
    #[error("bytes behind the last chunk that the checkpoint refers to; a start seals those chunks again from the log")]
    ChunkLeftover,
}

/// What the checkpoint in use says.
#[derive(Default)]
struct InUse {
    end: Option<CheckpointEnd>,
    generation: u32,
    /// Sealed chunks that it refers to, ascending.
    chunks: Vec<Referenced>,
}

/// A chunk that a checkpoint refers to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Referenced {
    address: ChunkAddress,
    series: SeriesRef,
    max_time: i64,
}

struct Survey<'a, R: Runtime> {
    runtime: &'a R,
    folders: &'a ShardFolders,
    found: ShardSurvey,
}

/// Surveys a shard's folder.
///
/// # Errors
/// If a folder or file can't be opened. What can't be read inside a file is a finding.
pub async fn survey<R: Runtime>(runtime: &R, folders: &ShardFolders) -> Result<ShardSurvey, FileError> {
    let mut survey = Survey { runtime, folders, found: ShardSurvey::default() };
    let names = survey.list(&folders.root).await?;
    let mut in_use = survey.checkpoints(&names).await?;
    survey.series_logs(&names, &in_use).await?;
    survey.log(in_use.end.as_ref()).await?;
    // What a block has may be gone.
    let floors = survey.found.segments.iter().filter_map(|segment| segment.floor);
    let floor = floors.chain(in_use.end.map(|end| end.floor)).max().unwrap_or(i64::MIN);
    in_use.chunks.retain(|chunk| chunk.max_time >= floor);
    survey.chunk_files(&in_use.chunks).await?;
    for name in names.iter().filter(|name| name.starts_with("checkpoint-") && name.ends_with(".tmp")) {
        survey.leftover(folders.root.join(name)).await?;
    }
    Ok(survey.found)
}

impl<R: Runtime> Survey<'_, R> {
    async fn list(&self, folder: &std::path::Path) -> Result<Vec<String>, FileError> {
        self.runtime.disk().list(folder).await.map_err(FileError::new("list", folder))
    }

    fn report(&mut self, path: &std::path::Path, offset: u64, what: Fault) {
        self.found.findings.push(Finding { path: path.to_owned(), offset, what });
    }

    async fn leftover(&mut self, path: PathBuf) -> Result<(), FileError> {
        let file = self.runtime.disk().open(&path, OpenMode::Read).await.map_err(FileError::new("open", &path))?;
        let bytes = file.length().await.map_err(FileError::new("look at", &path))?;
        self.found.leftovers.push(Leftover { path, bytes });
        Ok(())
    }

    /// All checkpoints, the newest first: the first that is whole counts, and what is wrong with older ones does not matter.
    async fn checkpoints(&mut self, names: &[String]) -> Result<InUse, FileError> {
        let mut in_use = InUse::default();
        for &Numbered { generation, number } in numbered(names, "checkpoint-").iter().rev() {
            let mut chunks = Vec::new();
            let path = self.folders.checkpoint(Numbered { generation, number });
            let (file, faults) = self
                .whole_file(path, FileKind::Checkpoint, number, &mut |contents, _| match contents {
                    Seen::Chunk(chunk) => chunks.push(chunk),
                    Seen::Definitions { .. } => {}
                })
                .await?;
            let is_needed = in_use.end.is_none();
            for (offset, fault) in faults {
                self.report(&file.path, offset, if is_needed { Fault::Frames(fault) } else { Fault::NotNeeded(fault) });
            }
            match file.end {
                None if is_needed => self.report(&file.path, file.bytes, Fault::NoEnd),
                Some(end) if is_needed => {
                    chunks.sort_unstable();
                    in_use = InUse { end: Some(end), generation, chunks };
                    self.found.checkpoint_in_use = Some(number);
                }
                _ => {}
            }
            self.found.checkpoints.push(file);
        }
        self.found.checkpoints.reverse();
        Ok(in_use)
    }

    /// Series logs matter as long as they define what the checkpoint counts on. One that a checkpoint did not live to use may be
    /// broken.
    async fn series_logs(&mut self, names: &[String], in_use: &InUse) -> Result<(), FileError> {
        let (mut pairs, mut series) = (Vec::new(), Vec::new());
        let mut all_faults = Vec::new();
        for log in numbered(names, "series-") {
            let path = self.folders.series_log(log);
            if log.generation != in_use.generation {
                self.leftover(path).await?;
                continue;
            }
            let number = log.number;
            let (file, faults) = self
                .whole_file(path, FileKind::SeriesLog, number, &mut |seen, _| {
                    if let Seen::Definitions { pairs: more_pairs, series: more_series } = seen {
                        pairs.push(more_pairs);
                        series.push(more_series);
                    }
                })
                .await?;
            all_faults.extend(faults.into_iter().map(|(offset, fault)| (file.path.clone(), offset, fault)));
            self.found.series_logs.push(file);
        }
        let mark = in_use.end.map(|end| end.definitions).unwrap_or_default();
        let missing = (uncovered(&mut pairs, mark.next_pair), uncovered(&mut series, mark.next_series));
        let is_needed = missing != (0, 0);
        for (path, offset, fault) in all_faults {
            self.report(&path, offset, if is_needed { Fault::Frames(fault) } else { Fault::NotNeeded(fault) });
        }
        if is_needed {
            let root = self.folders.root.clone();
            self.report(&root, 0, Fault::DefinitionsMissing { pairs: missing.0, series: missing.1 });
        }
        Ok(())
    }

    /// The log from the checkpoint on, in the order of its frames.
    async fn log(&mut self, end: Option<&CheckpointEnd>) -> Result<(), FileError> {
        let first = end.map_or(0, |end| end.first_segment);
        let (mut readers, mut present) = (Vec::new(), Vec::new());
        for (number, path) in log_segments(self.runtime, self.folders).await? {
            if number < first {
                self.leftover(path).await?;
                continue;
            }
            present.push(number);
            readers.push(FrameReader::open(self.runtime, path, FileKind::LogSegment, number).await?);
        }
        for folder in self.folders.logs() {
            let names = self.runtime.disk().list(folder).await.unwrap_or_default();
            for number in numbers(&names, "spare-") {
                self.leftover(spare_segment(folder, number)).await?;
            }
        }
        if end.is_some() && present.first() != Some(&first) {
            let path = log_segment(&self.folders.written_logs()[0], first);
            self.report(&path, 0, Fault::SegmentMissing);
        }
        let first_of_log = readers.iter().find_map(|reader| reader.header.ok()).map(|header| header.first_frame);
        let mut order = LogOrder::new(end.map(|end| end.first_frame).or(first_of_log).unwrap_or(0));
        let starts: Vec<_> = readers.iter().map(|reader| reader.header.ok().map(|header| header.first_frame)).collect();
        for (at, (reader, number)) in readers.into_iter().zip(present).enumerate() {
            let file = self.segment(reader, number, starts.get(at + 1).copied().flatten(), &mut order).await;
            self.found.segments.push(file);
        }
        if let Some(damage) = order.finish() {
            self.report(&damage.path, damage.offset, Fault::Frames(damage.what));
        }
        Ok(())
    }

    async fn segment(
        &mut self,
        mut reader: FrameReader<R>,
        number: u64,
        next_start: Option<u64>,
        order: &mut LogOrder,
    ) -> FrameFile {
        let mut file = FrameFile { path: reader.path.clone(), number, bytes: reader.length, ..FrameFile::default() };
        let mut header_fault = reader.header.err();
        while next_start != Some(order.expected) {
            match reader.next(order.expected).await {
                Found::Frame { number, offset } => {
                    if let Some(error) = header_fault.take() {
                        self.report(&file.path, 0, Fault::Frames(error.into()));
                    }
                    for damage in order.frame(&file.path, offset, number) {
                        self.report(&damage.path, damage.offset, Fault::Frames(damage.what));
                    }
                    for fault in file.add_frame(number, reader.payload(offset), &mut |_, _| {}) {
                        self.report(&reader.path, offset, Fault::Frames(fault));
                    }
                }
                Found::Damaged { offset } => order.damaged(&file.path, offset),
                Found::Unreadable { offset, error } => {
                    self.report(&file.path, offset, Fault::Frames(DamageKind::Read(error.to_string())));
                }
                Found::End => break,
            }
        }
        file
    }

    /// Reads a file whose frames count from 0. `see` is told of what its records hold.
    async fn whole_file(
        &self,
        path: PathBuf,
        kind: FileKind,
        number: u64,
        see: &mut dyn FnMut(Seen, u64),
    ) -> Result<(FrameFile, Vec<(u64, DamageKind)>), FileError> {
        let mut reader = FrameReader::open(self.runtime, path, kind, number).await?;
        let mut file = FrameFile { path: reader.path.clone(), number, bytes: reader.length, ..FrameFile::default() };
        let mut faults: Vec<_> = reader.header.err().map(|error| (0, error.into())).into_iter().collect();
        let mut expected = 0;
        loop {
            match reader.next(expected).await {
                Found::Frame { number, offset } => {
                    if number > expected {
                        faults.push((offset, DamageKind::MissingFrames { first: expected, last: number - 1 }));
                    }
                    expected = number + 1;
                    let of_frame = file.add_frame(number, reader.payload(offset), see);
                    faults.extend(of_frame.into_iter().map(|fault| (offset, fault)));
                }
                Found::Damaged { offset } => faults.push((offset, DamageKind::Frame)),
                Found::Unreadable { offset, error } => faults.push((offset, DamageKind::Read(error.to_string()))),
                Found::End => return Ok((file, faults)),
            }
        }
    }

    async fn chunk_files(&mut self, referenced: &[Referenced]) -> Result<(), FileError> {
        let names = self.list(&self.folders.chunks).await?;
        let present = numbers(&names, "");
        for group in referenced.chunk_by(|a, b| a.address.file() == b.address.file()) {
            let Referenced { address, series, .. } = group[0];
            if !present.contains(&u64::from(address.file())) {
                let path = self.folders.chunk_file(address.file());
                self.report(&path, address.offset(), Fault::ChunkMissing(series.0));
            }
        }
        for number in present.into_iter().filter_map(|number| u32::try_from(number).ok()) {
            let start = referenced.partition_point(|chunk| chunk.address.file() < number);
            let end = referenced.partition_point(|chunk| chunk.address.file() <= number);
            self.chunk_file(number, &referenced[start..end]).await?;
        }
        Ok(())
    }

    async fn chunk_file(&mut self, number: u32, referenced: &[Referenced]) -> Result<(), FileError> {
        let path = self.folders.chunk_file(number);
        let bytes = self.read_chunk_file(&path, !referenced.is_empty()).await?;
        if let Err(what) = check_file_header(&bytes, number)
            && !referenced.is_empty()
        {
            self.report(&path, 0, Fault::ChunkHeader(what));
        }
        let mut file = ChunkFile { path, bytes: bytes.len() as u64, ..ChunkFile::default() };
        let mut expected = referenced.iter().map(|chunk| (chunk.address.offset() as usize, chunk.series)).peekable();
        let mut offset = chunk_file::HEADER_BYTES;
        while offset < bytes.len() {
            // What the walk has passed without meeting it is not there.
            while let Some((passed, series)) = expected.next_if(|(passed, _)| *passed < offset) {
                self.report(&file.path, passed as u64, Fault::ChunkMissing(series.0));
            }
            let wanted = expected.next_if(|(at, _)| *at == offset);
            file.chunks_referenced += u64::from(wanted.is_some());
            match file.add_chunk(&bytes[offset..], wanted.is_some()) {
                Ok(length) => offset += length,
                Err(fault) => {
                    let next = expected.peek().map(|(at, _)| *at);
                    if wanted.is_none() && next.is_none() {
                        self.report(&file.path, offset as u64, Fault::ChunkLeftover);
                        break;
                    }
                    self.report(&file.path, offset as u64, fault);
                    // The next place of which it is known that a chunk begins there.
                    offset = next.unwrap_or(bytes.len());
                }
            }
        }
        for (missing, series) in expected {
            self.report(&file.path, missing as u64, Fault::ChunkMissing(series.0));
        }
        self.found.chunk_files.push(file);
        Ok(())
    }

    /// A chunk file, which is 64 MiB long at most. What can't be read is a finding, and zeros.
    async fn read_chunk_file(&mut self, path: &std::path::Path, is_needed: bool) -> Result<Vec<u8>, FileError> {
        let file = self.runtime.disk().open(path, OpenMode::Read).await.map_err(FileError::new("open", path))?;
        let length = file.length().await.map_err(FileError::new("look at", path))?.min(ChunkAddress::FILE_BYTES);
        let mut bytes = Vec::with_capacity(length as usize);
        while (bytes.len() as u64) < length {
            let offset = bytes.len() as u64;
            let piece = (length - offset).min(chunk_file::EXTENT_BYTES as u64) as usize;
            let sectors = piece.next_multiple_of(runtime::SECTOR_BYTES);
            let (count, buffer) = file.read_at(AlignedBuffer::zeroed(sectors), offset).await;
            match count {
                Ok(count) => bytes.extend_from_slice(&buffer[..count.min(piece)]),
                Err(error) => {
                    let fault = DamageKind::Read(error.to_string());
                    self.report(path, offset, if is_needed { Fault::Frames(fault) } else { Fault::NotNeeded(fault) });
                }
            }
            bytes.resize(offset as usize + piece, 0);
        }
        Ok(bytes)
    }
}

/// What a record tells a survey beside its counts.
enum Seen {
    Definitions { pairs: Range<u32>, series: Range<u32> },
    Chunk(Referenced),
}

impl FrameFile {
    /// Counts a sound frame; returns what is wrong with its records.
    fn add_frame(&mut self, number: u64, payload: &[u8], see: &mut dyn FnMut(Seen, u64)) -> Vec<DamageKind> {
        let first = if self.frame_count == 0 { number } else { self.frames.start };
        self.frames = first..number + 1;
        self.frame_count += 1;
        let length = FRAME_HEADER_BYTES + payload.len();
        self.payload_bytes += payload.len() as u64;
        self.padding_bytes += (length.next_multiple_of(runtime::SECTOR_BYTES) - length) as u64;
        let mut faults = Vec::new();
        for record in Records::of(payload) {
            self.records += 1;
            let mut chunk_of = |series, chunk: tsdb::head::SealedChunk| {
                let (address, max_time) = (chunk.address, chunk.max_time);
                see(Seen::Chunk(Referenced { address, series, max_time }), number);
            };
            match record.and_then(|record| record.contents(&mut chunk_of)) {
                Ok(contents) => self.add_contents(contents, &mut |seen| see(seen, number)),
                Err(error) => faults.push(error.into()),
            }
        }
        faults
    }

    fn add_contents(&mut self, contents: Contents, see: &mut dyn FnMut(Seen)) {
        match contents {
            Contents::Definitions { pairs, series } => {
                self.pairs += pairs.len() as u64;
                self.series += series.len() as u64;
                see(Seen::Definitions { pairs, series });
            }
            Contents::Samples { samples } | Contents::OutOfOrder { samples } => self.samples += samples,
            Contents::Histograms { histograms } | Contents::OpenHistograms { histograms } => self.samples += histograms,
            Contents::Images { series, open_samples } => {
                self.images += series.len() as u64;
                self.samples += open_samples;
            }
            Contents::CheckpointEnd(end) => self.end = Some(end),
            Contents::Truncation { floor } => self.floor = self.floor.max(Some(floor)),
            Contents::Renumbering { .. } | Contents::Generation(_) | Contents::Deletions { .. } => {}
            // Samples are counted, and these are none.
            Contents::Exemplars { .. } => {}
        }
    }
}

impl ChunkFile {
    /// Checks what stands at a place where a chunk or padding begins; returns how many bytes it takes.
    fn add_chunk(&mut self, rest: &[u8], is_wanted: bool) -> Result<usize, Fault> {
        const UNIT: usize = ChunkAddress::UNIT as usize;
        if !is_wanted && rest[..rest.len().min(UNIT)].iter().all(|&byte| byte == 0) {
            return Ok(UNIT);
        }
        let (_, Chunk { encoding, data }) = check_any_entry(rest)?;
        let samples = codec::count_samples(encoding, data).map_err(Fault::ChunkBits)?;
        self.chunks += 1;
        self.samples += samples as u64;
        self.data_bytes += data.len() as u64;
        Ok((chunk_file::ENTRY_HEADER_BYTES + data.len()).next_multiple_of(UNIT))
    }
}

/// How many of the numbers below `end` are in none of the ranges.
fn uncovered(ranges: &mut [Range<u32>], end: u32) -> u64 {
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut missing, mut next) = (0, 0);
    for range in ranges.iter() {
        missing += u64::from(range.start.min(end).saturating_sub(next));
        next = next.max(range.end);
    }
    missing + u64::from(end.saturating_sub(next))
}
