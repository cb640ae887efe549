//! The writing end of a shard's log: segments, rotation, and what happens when a write fails.

use std::{path::PathBuf, rc::Rc};

use runtime::{AlignedBuffer, Disk, File, Runtime, SECTOR_BYTES};
use tsdb::wal::{FRAME_HEADER_BYTES, FileHeader, FileKind};

use crate::{
    frames::{FileError, lay_frame},
    names::log_segment,
    spare::{Spare, Spares},
};

/// Bytes written to the device, by what they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogBytes {
    pub(crate) payload: u64,
    pub(crate) padding: u64,
    pub(crate) device: u64,
}

/// The log of a shard, open for appending. One write is under way at a time.
pub(crate) struct Log<R: Runtime> {
    runtime: R,
    shard: u16,
    /// Segments in waiting, of the folder that is written to first, and of the one for what it refuses.
    spares: Vec<Rc<Spares<R>>>,
    /// Which of them segments are taken from.
    at: usize,
    segment: Option<Segment<R>>,
    next_number: u64,
    next_frame: u64,
    buffer: AlignedBuffer,
    /// The last frame could not be written, not to a fresh segment either.
    is_refused: bool,
    pub(crate) bytes: LogBytes,
    pub(crate) write_failures: u64,
}

struct Segment<R: Runtime> {
    file: <R::Disk as Disk>::File,
    path: PathBuf,
    offset: u64,
    capacity: u64,
}

impl<R: Runtime> Log<R> {
    pub(crate) fn new(runtime: R, shard: usize, spares: Vec<Rc<Spares<R>>>, next_number: u64, next_frame: u64) -> Self {
        Self {
            runtime,
            shard: shard as u16,
            spares,
            at: 0,
            segment: None,
            next_number,
            next_frame,
            buffer: AlignedBuffer::default(),
            is_refused: false,
            bytes: LogBytes::default(),
            write_failures: 0,
        }
    }

    /// Number of the segment that is being written, or the last that was.
    pub(crate) fn segment_number(&self) -> u64 {
        self.next_number.saturating_sub(1)
    }

    pub(crate) fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// Writes a frame; it is durable when this returns. After a failure it goes to a fresh segment once more; if that fails
    /// too, the caller still has the payload and may try again later, under the same frame number.
    pub(crate) async fn write(&mut self, payload: &[u8]) -> Result<(), FileError> {
        let padding = lay_frame(self.next_frame, payload, &mut self.buffer);
        let written = match self.write_buffer().await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.write_failures += 1;
                // The same frame is tried again and again, and once is enough to say why.
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!(shard = self.shard, %error, "write of a log frame failed; trying a fresh segment");
                }
                let before = self.at;
                self.begin_elsewhere();
                let written = self.write_buffer().await?;
                if self.at != before {
                    let folder = self.spares[self.at].folder().display();
                    tracing::warn!(shard = self.shard, %folder, "the log goes on in another directory");
                }
                written
            }
        };
        self.is_refused = false;
        self.next_frame += 1;
        self.bytes.payload += payload.len() as u64;
        self.bytes.padding += padding as u64;
        self.bytes.device += written;
        Ok(())
    }

    /// Begins a new segment, so that those before it can be dropped once a checkpoint holds their samples. Returns its number.
    pub(crate) async fn rotate(&mut self) -> Result<u64, FileError> {
        self.segment = None;
        if let Err(error) = self.open_segment(0).await {
            if self.spares.len() == 1 {
                return Err(error);
            }
            self.begin_elsewhere();
            self.open_segment(0).await?;
        }
        Ok(self.segment_number())
    }

    /// Whether segments are taken from the second folder, as the first has refused a write.
    pub(crate) fn is_on_second(&self) -> bool {
        self.at > 0
    }

    /// The next segment is a fresh one, in the other folder if there are two.
    fn begin_elsewhere(&mut self) {
        self.segment = None;
        self.at = (self.at + 1) % self.spares.len();
    }

    async fn write_buffer(&mut self) -> Result<u64, FileError> {
        let length = self.buffer.len() as u64;
        if self.segment.as_ref().is_none_or(|segment| segment.offset + length > segment.capacity) {
            self.open_segment(length).await?;
        }
        let segment = self.segment.as_mut().expect("opened above");
        let buffer = std::mem::take(&mut self.buffer);
        let (written, buffer) = segment.file.write_at(buffer, segment.offset).await;
        self.buffer = buffer;
        written.map_err(FileError::new("write", &segment.path))?;
        segment.offset += length;
        if segment.offset > segment.capacity / 2 {
            self.spares[self.at].prepare();
        }
        Ok(length)
    }

    async fn open_segment(&mut self, frame_bytes: u64) -> Result<(), FileError> {
        let number = self.next_number;
        // A number is used once, even if what follows fails: what a failed attempt left behind is never written over.
        self.next_number += 1;
        let wanted = frame_bytes + FileHeader::BYTES as u64;
        let Spare { file, path: spare_path, bytes: capacity } = match self.spares[self.at].take().await? {
            spare if spare.bytes >= wanted => spare,
            small => self.enlarge(small, wanted).await?,
        };
        let folder = self.spares[self.at].folder().to_owned();
        let path = log_segment(&folder, number);
        let header = FileHeader { kind: FileKind::LogSegment, shard: self.shard, number, first_frame: self.next_frame };
        let disk = self.runtime.disk();
        let named = async {
            let (written, _) = file.write_at(AlignedBuffer::from(&header.encode()[..]), 0).await;
            written.map_err(FileError::new("write", &spare_path))?;
            disk.rename(&spare_path, &path).await.map_err(FileError::new("rename", &spare_path))?;
            disk.sync_directory(&folder).await.map_err(FileError::new("sync", &folder))
        };
        named.await?;
        self.bytes.device += SECTOR_BYTES as u64;
        self.segment = Some(Segment { file, path, offset: FileHeader::BYTES as u64, capacity });
        Ok(())
    }

    /// For a frame that is larger than a segment: a batch may be.
    async fn enlarge(&self, spare: Spare<R>, bytes: u64) -> Result<Spare<R>, FileError> {
        match spare.file.allocate(bytes).await {
            Ok(()) => Ok(Spare { bytes, ..spare }),
            Err(error) => {
                self.spares[self.at].remove(&spare.path).await;
                Err(FileError::new("allocate space for", &spare.path)(error))
            }
        }
    }
}

const _: () = assert!(FileHeader::BYTES == SECTOR_BYTES && FRAME_HEADER_BYTES < SECTOR_BYTES);
