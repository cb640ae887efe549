//! From a shard's folder to a head: series logs, the newest checkpoint, the log behind it.
//!
//! Damage is named by file and offset, contained to what depended on it, counted, and never stops the start. Only what the
//! operator has to settle first does: a folder that can't be read, or files of a newer version.

use std::path::PathBuf;

use runtime::{Disk, Runtime};
use tsdb::{
    Head, Limits,
    checkpoint::CheckpointEnd,
    head::ChunkAddress,
    wal::{Contents, FileKind, Record, Records, Replayed, ScanError, generation_of},
};

use crate::{
    checkpoint::CheckpointState,
    chunk_writer::ChunkWriter,
    frames::{Damage, DamageKind, FileError, Found, FrameReader, LogOrder},
    names::{Numbered, ShardFolders, log_segment, numbered, numbers},
    shared::Shared,
    stats::RecoveryStats,
};

/// Why a shard can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}; start it with the version that wrote it, or a newer one", path.display())]
    Newer { path: PathBuf, error: ScanError },
    #[error("{}: all {} chunk file numbers are used: start the version that wrote them and let it cut blocks first", path.display(), ChunkAddress::FILES_MAX)]
    ChunkFilesUsedUp { path: PathBuf },
}

/// What a recovery hands to the shard.
pub(crate) struct Recovered<R: Runtime> {
    pub(crate) head: Head,
    /// Has the chunk files that the recovery wrote, not synced.
    pub(crate) chunk_writer: ChunkWriter<R>,
    pub(crate) next_segment: u64,
    pub(crate) next_frame: u64,
    pub(crate) checkpoint: CheckpointState,
    pub(crate) stats: RecoveryStats,
    pub(crate) damage: Vec<Damage>,
}

struct Recovery<'a, R: Runtime> {
    runtime: &'a R,
    folders: &'a ShardFolders,
    shared: &'a Shared,
    head: Head,
    chunk_writer: ChunkWriter<R>,
    replayed: Replayed,
    damage: Vec<Damage>,
    bytes_read: u64,
    order: LogOrder,
    /// Bytes of log segments that were replayed.
    log_bytes: u64,
    /// The disk has refused a chunk file; not tried again before the shard runs.
    chunks_refused: bool,
}

/// Rebuilds a shard's head from its folder, which is made if it is not there.
pub(crate) async fn recover<R: Runtime>(
    runtime: &R,
    folders: &ShardFolders,
    shard: usize,
    shared: &Shared,
    limits: Limits,
) -> Result<Recovered<R>, OpenError> {
    let start = runtime.monotonic();
    make_folders(runtime, folders).await?;
    let root_names = list(runtime, &folders.root).await?;
    remove_drafts(runtime, folders, &root_names).await;
    let mut head = Head::new(shared.key, limits, first_chunk_file(runtime, folders).await?);
    head.set_exemplars_max(shared.shard_exemplars_max());
    let mut recovery = Recovery {
        runtime,
        folders,
        shared,
        head,
        chunk_writer: ChunkWriter::new(runtime.clone(), folders.clone(), shard),
        replayed: Replayed::default(),
        damage: Vec::new(),
        bytes_read: 0,
        order: LogOrder::new(0),
        log_bytes: 0,
        chunks_refused: false,
    };
    let checkpoints = numbered(&root_names, "checkpoint-");
    let generation = recovery.generation(&checkpoints).await?;
    for file in numbered(&root_names, "series-").into_iter().filter(|file| file.generation == generation) {
        recovery.read_whole(folders.series_log(file), FileKind::SeriesLog, file.number).await?;
    }
    let of_generation: Vec<_> = checkpoints.into_iter().filter(|file| file.generation == generation).collect();
    let end = recovery.read_checkpoints(&of_generation).await?;
    recovery.remove_orphans().await?;
    let next_segment = recovery.read_log(end).await?;
    Ok(recovery.finish(&root_names, generation, end, next_segment, (runtime.monotonic() - start).as_secs_f64()))
}

async fn make_folders<R: Runtime>(runtime: &R, folders: &ShardFolders) -> Result<(), FileError> {
    let disk = runtime.disk();
    let logs = folders.written_logs();
    for folder in [&folders.root, &folders.chunks].into_iter().chain(logs) {
        disk.create_directory(folder).await.map_err(FileError::new("create", folder))?;
    }
    // Names that a crash left in memory alone must not be relied on either.
    let own = [folders.root.as_path(), folders.chunks.as_path()];
    let of_logs = logs.iter().flat_map(|folder| [folder.parent(), Some(folder.as_path())]).flatten();
    for folder in folders.root.parent().into_iter().chain(own).chain(of_logs) {
        disk.sync_directory(folder).await.map_err(FileError::new("sync", folder))?;
    }
    Ok(())
}

/// The segments of all folders, by number.
pub(crate) async fn log_segments<R: Runtime>(
    runtime: &R,
    folders: &ShardFolders,
) -> Result<Vec<(u64, PathBuf)>, FileError> {
    let mut all = Vec::new();
    for folder in folders.logs() {
        match runtime.disk().list(folder).await {
            Ok(names) => {
                all.extend(numbers(&names, "").into_iter().map(|number| (number, log_segment(folder, number))))
            }
            // Nothing was ever written there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::new("list", folder)(error)),
        }
    }
    all.sort();
    Ok(all)
}

async fn list<R: Runtime>(runtime: &R, folder: &std::path::Path) -> Result<Vec<String>, FileError> {
    runtime.disk().list(folder).await.map_err(FileError::new("list", folder))
}

/// Drafts are checkpoints that a crash interrupted; nothing refers to them.
async fn remove_drafts<R: Runtime>(runtime: &R, folders: &ShardFolders, names: &[String]) {
    for name in names.iter().filter(|name| name.starts_with("checkpoint-") && name.ends_with(".tmp")) {
        let path = folders.root.join(name);
        if let Err(error) = runtime.disk().remove(&path).await {
            tracing::warn!(path = %path.display(), %error, "the draft of an interrupted checkpoint stays");
        }
    }
}

/// Chunk files are never written again after a restart: what a crash left at the end of one is unknown.
async fn first_chunk_file<R: Runtime>(runtime: &R, folders: &ShardFolders) -> Result<u32, OpenError> {
    let used = numbers(&list(runtime, &folders.chunks).await?, "");
    let behind_last = used.last().map_or(0, |last| last + 1);
    let mut free =
        (0..u64::from(ChunkAddress::FILES_MAX)).map(|step| (behind_last + step) % ChunkAddress::FILES_MAX as u64);
    let first = free.find(|number| !used.contains(number));
    first.map(|number| number as u32).ok_or_else(|| OpenError::ChunkFilesUsedUp { path: folders.chunks.clone() })
}

impl<R: Runtime> Recovery<'_, R> {
    /// Applies all sound frames of a series log or a checkpoint. Returns the end record, if there is one.
    async fn read_whole(
        &mut self,
        path: PathBuf,
        kind: FileKind,
        number: u64,
    ) -> Result<Option<CheckpointEnd>, OpenError> {
        let mut reader = FrameReader::open(self.runtime, path, kind, number).await?;
        self.shared.add_replay_total(reader.length);
        if let Err(error) = reader.header {
            self.refuse_newer(&reader.path, error)?;
            self.report(&reader.path, 0, error.into());
        }
        let (mut end, mut expected) = (None, 0);
        loop {
            match reader.next(expected).await {
                Found::Frame { number, offset } => {
                    if number > expected {
                        let missing = DamageKind::MissingFrames { first: expected, last: number - 1 };
                        self.report(&reader.path, offset, missing);
                    }
                    expected = number + 1;
                    end = self.apply(&reader, offset).await.or(end);
                }
                Found::Damaged { offset } => self.report(&reader.path, offset, DamageKind::Frame),
                Found::Unreadable { offset, error } => {
                    self.report(&reader.path, offset, DamageKind::Read(error.to_string()));
                }
                Found::End => break,
            }
        }
        self.account(&reader);
        Ok(end)
    }

    /// The generation to start from: the newest with a whole checkpoint, or the newest. More than one is there only if a crash came
    /// between the first checkpoint of a generation and the removal of what it replaces.
    async fn generation(&mut self, checkpoints: &[Numbered]) -> Result<u32, OpenError> {
        let newest = checkpoints.last().map_or(0, |file| file.generation);
        if checkpoints.iter().all(|file| file.generation == newest) {
            return Ok(newest);
        }
        for &file in checkpoints.iter().rev() {
            if self.is_whole(file).await? {
                return Ok(file.generation);
            }
        }
        Ok(newest)
    }

    async fn is_whole(&self, file: Numbered) -> Result<bool, OpenError> {
        let path = self.folders.checkpoint(file);
        let mut reader = FrameReader::open(self.runtime, path, FileKind::Checkpoint, file.number).await?;
        loop {
            match reader.next(0).await {
                Found::Frame { offset, .. } => {
                    let mut records = Records::of(reader.payload(offset)).flatten();
                    if records.any(|record| CheckpointEnd::decode(record).is_some()) {
                        return Ok(true);
                    }
                }
                Found::Damaged { .. } | Found::Unreadable { .. } => {}
                Found::End => return Ok(false),
            }
        }
    }

    /// Reads checkpoints from the newest on, until one is whole. What a damaged one still gives is kept; older ones fill up.
    async fn read_checkpoints(&mut self, files: &[Numbered]) -> Result<Option<CheckpointEnd>, OpenError> {
        for &file in files.iter().rev() {
            let path = self.folders.checkpoint(file);
            if let Some(end) = self.read_whole(path, FileKind::Checkpoint, file.number).await? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Replays the log from a checkpoint on. Returns the number of the next segment.
    async fn read_log(&mut self, end: Option<CheckpointEnd>) -> Result<u64, OpenError> {
        let all = log_segments(self.runtime, self.folders).await?;
        let first = end.map_or(0, |end| end.first_segment);
        let mut readers = Vec::new();
        for (number, path) in all.iter().filter(|(number, _)| *number >= first) {
            let (number, path) = (*number, path.clone());
            let reader = FrameReader::open(self.runtime, path, FileKind::LogSegment, number).await?;
            if let Err(error) = reader.header {
                self.refuse_newer(&reader.path, error)?;
            }
            self.shared.add_replay_total(reader.length);
            readers.push(reader);
        }
        // A later segment's first frame would say that everything before it is superfluous.
        let first_of_log = readers.first().and_then(|reader| reader.header.ok()).map(|header| header.first_frame);
        self.order = LogOrder::new(end.map(|end| end.first_frame).or(first_of_log).unwrap_or(0));
        let starts: Vec<_> = readers.iter().map(|reader| reader.header.ok().map(|header| header.first_frame)).collect();
        for (at, reader) in readers.into_iter().enumerate() {
            self.read_segment(reader, starts.get(at + 1).copied().flatten()).await;
        }
        if let Some(damage) = self.order.finish() {
            self.report(&damage.path, damage.offset, damage.what);
        }
        Ok(all.last().map_or(first, |(last, _)| last + 1))
    }

    async fn read_segment(&mut self, mut reader: FrameReader<R>, next_start: Option<u64>) {
        // A segment without a header is one that a crash interrupted while it was made, or damaged; frames tell which.
        let mut header_damage = reader.header.err();
        while next_start != Some(self.order.expected) {
            match reader.next(self.order.expected).await {
                Found::Frame { number, offset } => {
                    if let Some(error) = header_damage.take() {
                        self.report(&reader.path, 0, error.into());
                    }
                    for damage in self.order.frame(&reader.path, offset, number) {
                        self.report(&damage.path, damage.offset, damage.what);
                    }
                    self.log_bytes += reader.payload(offset).len() as u64;
                    self.apply(&reader, offset).await;
                }
                Found::Damaged { offset } => self.order.damaged(&reader.path, offset),
                Found::Unreadable { offset, error } => {
                    self.report(&reader.path, offset, DamageKind::Read(error.to_string()));
                }
                Found::End => break,
            }
        }
        self.account(&reader);
    }

    async fn apply(&mut self, reader: &FrameReader<R>, offset: u64) -> Option<CheckpointEnd> {
        let mut end = None;
        let payload = reader.payload(offset);
        let entered = self.head.enter_generation(generation_of(payload));
        if let Err(error) = entered {
            self.replayed.samples_lost += samples_in(payload);
            self.report(&reader.path, offset, error.into());
            return None;
        }
        for record in Records::of(payload) {
            let applied = record.and_then(|record| {
                end = CheckpointEnd::decode(record).or(end);
                self.head.replay(record)
            });
            match applied {
                Ok(replayed) => self.replayed.add(replayed),
                Err(error) => {
                    let is_end = error.ends_frame();
                    self.report(&reader.path, offset, error.into());
                    if is_end {
                        break;
                    }
                }
            }
        }
        self.write_extents().await;
        end
    }

    /// Removes chunk files that no checkpoint refers to: the log has their samples, and the replay seals them again. Kept where
    /// damage was found, as what refers to them may be what is damaged.
    async fn remove_orphans(&mut self) -> Result<(), OpenError> {
        let names = list(self.runtime, &self.folders.chunks).await?;
        for number in numbers(&names, "").into_iter().filter_map(|number| u32::try_from(number).ok()) {
            if self.damage.is_empty() && !self.head.refers_to_chunk_file(number) {
                let path = self.folders.chunk_file(number);
                match self.runtime.disk().remove(&path).await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!(path = %path.display(), %error, "a superfluous chunk file stays"),
                }
            }
            self.head.extent().occupy([number]);
        }
        Ok(())
    }

    /// Chunks that fill up during a replay go to disk, so that memory stays bounded. If the disk refuses, they wait for the
    /// shard's own writer, which tries again.
    async fn write_extents(&mut self) {
        if self.chunks_refused {
            return;
        }
        while let Some(extent) = self.head.extent().next_to_write() {
            match self.chunk_writer.write(&extent).await {
                Ok(()) => self.head.extent().written(&extent),
                Err(error) => {
                    tracing::warn!(%error, "sealed chunks wait for the disk");
                    self.head.extent().failed(&extent);
                    self.chunks_refused = true;
                    return;
                }
            }
        }
    }

    fn refuse_newer(&self, path: &std::path::Path, error: ScanError) -> Result<(), OpenError> {
        match error {
            ScanError::Version(_) => Err(OpenError::Newer { path: path.to_owned(), error }),
            _ => Ok(()),
        }
    }

    fn report(&mut self, path: &std::path::Path, offset: u64, what: DamageKind) {
        if what == DamageKind::TornTail {
            tracing::info!(file = %path.display(), offset, "{what}");
        } else {
            tracing::error!(file = %path.display(), offset, "damage found: {what}");
        }
        self.damage.push(Damage { path: path.to_owned(), offset, what });
    }

    fn account(&mut self, reader: &FrameReader<R>) {
        self.bytes_read += reader.offset.min(reader.length);
        self.shared.add_replayed(reader.length);
    }

    fn finish(
        self,
        root_names: &[String],
        generation: u32,
        end: Option<CheckpointEnd>,
        next_segment: u64,
        seconds: f64,
    ) -> Recovered<R> {
        let drafts = root_names.iter().filter_map(|name| name.strip_suffix(".tmp").map(str::to_owned));
        let drafts = numbered(&drafts.collect::<Vec<_>>(), "checkpoint-");
        let (checkpoints, series_logs) = (numbered(root_names, "checkpoint-"), numbered(root_names, "series-"));
        let used = checkpoints.iter().chain(&drafts).chain(&series_logs).map(|file| file.number).max();
        let frames_damaged = self.damage.iter().filter(|damage| damage.what != DamageKind::TornTail).count() as u64;
        let stats = RecoveryStats {
            seconds,
            samples: self.replayed.samples,
            series: self.replayed.series,
            samples_lost: self.replayed.samples_lost,
            series_lost: self.replayed.series_lost,
            frames_damaged,
            bytes_read: self.bytes_read,
        };
        self.shared.add_series(self.head.series_count() as u64);
        self.shared.widen_times(self.head.min_time(), self.head.max_time());
        self.shared.close_before(self.head.floor());
        Recovered {
            head: self.head,
            chunk_writer: self.chunk_writer,
            next_segment,
            next_frame: self.order.expected,
            checkpoint: CheckpointState {
                next_number: used.map_or(0, |used| used + 1),
                generation,
                definitions: end.map(|end| end.definitions).unwrap_or_default(),
                last_bytes: 0,
                replayed_log_bytes: self.log_bytes,
            },
            stats,
            damage: self.damage,
        }
    }
}

/// Samples in a payload that can't be applied.
fn samples_in(payload: &[u8]) -> u64 {
    let records = Records::of(payload).flatten().filter(|record| matches!(record, Record::Samples(_)));
    let contents = records.filter_map(|record| record.contents(&mut |_, _| ()).ok());
    contents.map(|contents| if let Contents::Samples { samples } = contents { samples } else { 0 }).sum()
}
