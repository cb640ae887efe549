//! Writing and reading files of frames: log segments, series logs, checkpoints.

use std::{
    io,
    path::{Path, PathBuf},
};

use runtime::{AlignedBuffer, Disk, File, OpenMode, Runtime, SECTOR_BYTES};
use tsdb::wal::{FileHeader, FileKind, Scan, ScanError, Scanner, frame_header};

/// An I/O error with what was being done, to which file.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct FileError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    pub fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Whether the disk, or what the file system grants us of it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// Lays a frame into a buffer, padded to whole sectors. Returns how many bytes are padding.
pub(crate) fn lay_frame(number: u64, payload: &[u8], buffer: &mut AlignedBuffer) -> usize {
    buffer.clear();
    buffer.extend_from_slice(&frame_header(number, payload));
    buffer.extend_from_slice(payload);
    buffer.pad_to_sector()
}

/// A file of frames being written from front to back, durable after [`Self::sync`].
pub(crate) struct FrameFile<R: Runtime> {
    file: <R::Disk as Disk>::File,
    path: PathBuf,
    offset: u64,
    next_frame: u64,
}

impl<R: Runtime> FrameFile<R> {
    pub(crate) async fn create(runtime: &R, path: PathBuf, header: FileHeader) -> Result<Self, FileError> {
        let file = runtime.disk().open(&path, OpenMode::Create).await.map_err(FileError::new("create", &path))?;
        let mut this = Self { file, path, offset: 0, next_frame: header.first_frame };
        let sector = AlignedBuffer::from(&header.encode()[..]);
        this.write(sector).await?;
        Ok(this)
    }

    pub(crate) async fn push(&mut self, payload: &[u8]) -> Result<(), FileError> {
        let mut buffer = AlignedBuffer::with_capacity(payload.len() + 2 * SECTOR_BYTES);
        lay_frame(self.next_frame, payload, &mut buffer);
        self.next_frame += 1;
        self.write(buffer).await
    }

    pub(crate) async fn sync(&self) -> Result<(), FileError> {
        self.file.sync().await.map_err(FileError::new("sync", &self.path))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.offset
    }

    async fn write(&mut self, buffer: AlignedBuffer) -> Result<(), FileError> {
        let length = buffer.len() as u64;
        let (written, _) = self.file.write_at(buffer, self.offset).await;
        written.map_err(FileError::new("write", &self.path))?;
        self.offset += length;
        Ok(())
    }
}

/// Something in a file of frames that should not be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub what: DamageKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    #[error("the file's first sector: {0}")]
    Header(#[from] ScanError),
    #[error("a frame whose checksum does not match, with sound frames behind it")]
    Frame,
    #[error(
        "an incomplete frame at the end of the log: a write that was never acknowledged, unless the disk lost it since"
    )]
    TornTail,
    #[error("frames {first} to {last} are missing")]
    MissingFrames { first: u64, last: u64 },
    #[error("{0}")]
    Record(#[from] tsdb::wal::RecordError),
    #[error("sectors that can't be read: {0}")]
    Read(String),
}

/// Tells damage in a log from the traces of failed and interrupted writes, by the frames' numbers.
pub(crate) struct LogOrder {
    /// Number of the next frame of the log.
    pub(crate) expected: u64,
    /// A damaged place that is harmless if no frame turns out to be missing.
    suspect: Option<(PathBuf, u64)>,
}

impl LogOrder {
    pub(crate) fn new(expected: u64) -> Self {
        Self { expected, suspect: None }
    }

    /// A frame fails its checksum.
    pub(crate) fn damaged(&mut self, path: &Path, offset: u64) {
        self.suspect.get_or_insert((path.to_owned(), offset));
    }

    /// A sound frame follows. A damaged one before it is a loss only if its number does not come up again: a failed write is
    /// repeated in a fresh segment.
    pub(crate) fn frame(&mut self, path: &Path, offset: u64, number: u64) -> Vec<Damage> {
        let suspect = self.suspect.take();
        let (first, last) = (self.expected, number.wrapping_sub(1));
        self.expected = number + 1;
        if number == first {
            return Vec::new();
        }
        let frame = suspect.map(|(path, offset)| Damage { path, offset, what: DamageKind::Frame });
        let missing = Damage { path: path.to_owned(), offset, what: DamageKind::MissingFrames { first, last } };
        frame.into_iter().chain([missing]).collect()
    }

    /// The log ends: what is damaged now was never acknowledged.
    pub(crate) fn finish(&mut self) -> Option<Damage> {
        self.suspect.take().map(|(path, offset)| Damage { path, offset, what: DamageKind::TornTail })
    }
}

/// Reads a file of frames through a window.
pub(crate) struct FrameReader<R: Runtime> {
    file: <R::Disk as Disk>::File,
    pub(crate) path: PathBuf,
    /// An error does not keep the frames behind it from being read.
    pub(crate) header: Result<FileHeader, ScanError>,
    pub(crate) length: u64,
    window: Vec<u8>,
    /// Where in the file the window begins.
    window_start: u64,
    /// Where the next look is.
    pub(crate) offset: u64,
}

/// What the reader came upon.
pub(crate) enum Found {
    Frame { number: u64, offset: u64 },
    Damaged { offset: u64 },
    Unreadable { offset: u64, error: io::Error },
    End,
}

const WINDOW_BYTES: usize = 1 << 20;

/// Reads that are tried before a place counts as unreadable.
const READ_ATTEMPTS: usize = 4;

async fn read_patiently<R: Runtime>(
    file: &<R::Disk as Disk>::File,
    bytes: usize,
    offset: u64,
) -> (io::Result<usize>, AlignedBuffer) {
    let mut answer = file.read_at(AlignedBuffer::zeroed(bytes), offset).await;
    for _ in 1..READ_ATTEMPTS {
        if answer.0.is_ok() {
            break;
        }
        answer = file.read_at(AlignedBuffer::zeroed(bytes), offset).await;
    }
    answer
}

impl<R: Runtime> FrameReader<R> {
    /// Opens a file and looks at its first sector.
    pub(crate) async fn open(runtime: &R, path: PathBuf, kind: FileKind, number: u64) -> Result<Self, FileError> {
        let file = runtime.disk().open(&path, OpenMode::Read).await.map_err(FileError::new("open", &path))?;
        let length = file.length().await.map_err(FileError::new("look at", &path))?;
        // What is read now will be acknowledged when it is sent again, so it must not be in the page cache alone.
        file.sync().await.map_err(FileError::new("sync", &path))?;
        let (count, sector) = read_patiently::<R>(&file, SECTOR_BYTES, 0).await;
        // An unreadable first sector is damage like any other.
        let count = count.unwrap_or(0);
        let header = FileHeader::decode(&sector[..count]).and_then(|header| {
            let fits = header.kind == kind && header.number == number;
            fits.then_some(header).ok_or(ScanError::Misplaced)
        });
        let start = FileHeader::BYTES as u64;
        Ok(Self { file, path, header, length, window: Vec::new(), window_start: start, offset: start })
    }

    /// Finds the next frame numbered `first_frame` or later; its payload is then [`Self::payload`].
    pub(crate) async fn next(&mut self, first_frame: u64) -> Found {
        let scanner = Scanner { first_frame };
        loop {
            if self.offset >= self.length {
                return Found::End;
            }
            let is_last = self.window_end() >= self.length;
            let step = match scanner.look(self.rest(), is_last) {
                Scan::Frame { header, .. } => {
                    let offset = self.offset;
                    self.offset += header.sectors_bytes();
                    return Found::Frame { number: header.number, offset };
                }
                Scan::NeedBytes(bytes) => Err(bytes),
                Scan::Nothing => Ok(None),
                Scan::Damaged => Ok(Some(self.offset)),
            };
            match step {
                Err(bytes) => {
                    if let Err(error) = self.fill(bytes.max(WINDOW_BYTES)).await {
                        let offset = self.offset;
                        self.skip_sector();
                        return Found::Unreadable { offset, error };
                    }
                }
                Ok(damaged) => {
                    self.skip_sector();
                    if let Some(offset) = damaged {
                        return Found::Damaged { offset };
                    }
                }
            }
        }
    }

    /// Payload of the frame that [`Self::next`] found at `offset`.
    pub(crate) fn payload(&self, offset: u64) -> &[u8] {
        let at = (offset - self.window_start) as usize;
        let frame = &self.window[at..];
        match (Scanner { first_frame: 0 }).look(frame, true) {
            Scan::Frame { payload, .. } => payload,
            _ => unreachable!("found by the last look"),
        }
    }

    fn rest(&self) -> &[u8] {
        &self.window[((self.offset - self.window_start) as usize).min(self.window.len())..]
    }

    fn window_end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    fn skip_sector(&mut self) {
        self.offset += SECTOR_BYTES as u64;
    }

    /// Reads so that the window begins at the current place and holds `bytes`, or reaches the end of the file.
    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = (bytes as u64).min((self.length - self.offset).next_multiple_of(SECTOR_BYTES as u64)) as usize;
        self.window.clear();
        self.window_start = self.offset;
        let (count, buffer) = read_patiently::<R>(&self.file, bytes, self.offset).await;
        let count = count?;
        self.window.extend_from_slice(&buffer[..count]);
        if count < bytes {
            // The file is shorter than its length said; what is there is all that there is.
            self.length = self.window_end();
        }
        Ok(())
    }
}
