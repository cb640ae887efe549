//! Frames and the files that hold them: log segments, series logs, checkpoints.
//!
//! A file begins with one sector that says what it is. Behind it stand frames, each beginning at a sector, so that one that is
//! damaged does not hide the next. Frames of a shard's log are numbered without a gap across segments.

use codec::crc::{crc32c, extend};

/// Unit of alignment of frames.
pub const SECTOR: usize = 4096;
pub const FRAME_HEADER_BYTES: usize = 32;
/// Longest payload: four times the batch that a commit collects at most.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 << 20;

const FRAME_MAGIC: [u8; 4] = *b"MRF1";
const FILE_MAGIC: [u8; 8] = *b"MILLRACE";
const VERSION: u8 = 1;

/// What a file of frames is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    LogSegment = 1,
    SeriesLog = 2,
    Checkpoint = 3,
}

/// First sector of a file of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub kind: FileKind,
    pub shard: u16,
    /// Number of the file among its kind, as in its name.
    pub number: u64,
    /// Number of the first frame that belongs into the file.
    pub first_frame: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("the file is shorter than its header")]
    Short,
    #[error("not a file of Millrace")]
    Magic,
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    #[error("version {0} is newer than this program knows")]
    Version(u8),
    #[error("kind of file {0} is not known")]
    Kind(u8),
    #[error("the file's header names another kind, shard or number than its name")]
    Misplaced,
}

impl FileHeader {
    pub const BYTES: usize = SECTOR;

    pub fn encode(&self) -> Vec<u8> {
        let mut sector = vec![0; SECTOR];
        sector[..8].copy_from_slice(&FILE_MAGIC);
        sector[8] = VERSION;
        sector[9] = self.kind as u8;
        sector[10..12].copy_from_slice(&self.shard.to_le_bytes());
        sector[16..24].copy_from_slice(&self.number.to_le_bytes());
        sector[24..32].copy_from_slice(&self.first_frame.to_le_bytes());
        let sum = crc32c(&sector[..SECTOR - 4]);
        sector[SECTOR - 4..].copy_from_slice(&sum.to_le_bytes());
        sector
    }

    pub fn decode(sector: &[u8]) -> Result<Self, ScanError> {
        let sector = sector.get(..SECTOR).ok_or(ScanError::Short)?;
        if sector[..8] != FILE_MAGIC {
            return Err(ScanError::Magic);
        }
        if crc32c(&sector[..SECTOR - 4]).to_le_bytes() != sector[SECTOR - 4..] {
            return Err(ScanError::HeaderChecksum);
        }
        if sector[8] != VERSION {
            return Err(ScanError::Version(sector[8]));
        }
        let kind = match sector[9] {
            1 => FileKind::LogSegment,
            2 => FileKind::SeriesLog,
            3 => FileKind::Checkpoint,
            other => return Err(ScanError::Kind(other)),
        };
        Ok(Self { kind, shard: u16_at(sector, 10), number: u64_at(sector, 16), first_frame: u64_at(sector, 24) })
    }
}

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub number: u64,
    pub payload_bytes: u32,
    checksum: u32,
}

/// The header of a frame around `payload`.
pub fn frame_header(number: u64, payload: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    assert!(payload.len() <= FRAME_PAYLOAD_BYTES_MAX, "a frame of {} bytes is over the bound", payload.len());
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&FRAME_MAGIC);
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&number.to_le_bytes());
    let sum = extend(crc32c(&header[..28]), payload);
    header[28..].copy_from_slice(&sum.to_le_bytes());
    header
}

impl FrameHeader {
    /// Bytes of the frame in its file, padding included.
    pub fn sectors_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES as u64 + u64::from(self.payload_bytes)).next_multiple_of(SECTOR as u64)
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { number: u64_at(bytes, 8), payload_bytes: u32_at(bytes, 4), checksum: u32_at(bytes, 28) }
    }
}

/// What stands at a place in a file of frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Scan<'a> {
    Frame {
        header: FrameHeader,
        payload: &'a [u8],
    },
    /// The window ends inside a frame that may be whole: give at least this many bytes from the same place.
    NeedBytes(usize),
    /// No frame of this log begins here: zeros, or what an earlier use of the space left.
    Nothing,
    /// A frame begins here and its checksum does not match.
    Damaged,
}

/// Reads frames at sectors of a window of a file.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    /// Frames with a smaller number are leftovers.
    pub first_frame: u64,
}

impl Scanner {
    /// Looks at the start of `window`, which begins at a sector. `is_last` says that the file ends with the window.
    pub fn look<'a>(&self, window: &'a [u8], is_last: bool) -> Scan<'a> {
        if window.len() < FRAME_HEADER_BYTES {
            return if is_last { Scan::Nothing } else { Scan::NeedBytes(SECTOR) };
        }
        match (u32_at(window, 0) ^ u32::from_le_bytes(FRAME_MAGIC)).count_ones() {
            0 => {}
            // A bit of the magic changed: without a word of it the newest frame would be lost in silence.
            1 => return Scan::Damaged,
            _ => return Scan::Nothing,
        }
        let header = FrameHeader::decode(window);
        if header.number < self.first_frame {
            return Scan::Nothing;
        }
        if header.payload_bytes as usize > FRAME_PAYLOAD_BYTES_MAX {
            return Scan::Damaged;
        }
        let end = FRAME_HEADER_BYTES + header.payload_bytes as usize;
        let Some(payload) = window.get(FRAME_HEADER_BYTES..end) else {
            return if is_last { Scan::Damaged } else { Scan::NeedBytes(end.next_multiple_of(SECTOR)) };
        };
        if extend(crc32c(&window[..28]), payload) != header.checksum {
            return Scan::Damaged;
        }
        Scan::Frame { header, payload }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_header_comes_back_and_a_changed_bit_is_noticed() {
        let header = FileHeader { kind: FileKind::LogSegment, shard: 3, number: 77, first_frame: 1 << 40 };
        let mut sector = header.encode();
        assert_eq!(FileHeader::decode(&sector), Ok(header));
        sector[100] ^= 4;
        assert_eq!(FileHeader::decode(&sector), Err(ScanError::HeaderChecksum));
    }

    #[test]
    fn a_frame_is_read_whole_or_not_at_all() {
        let payload: Vec<u8> = (0..9000u32).map(|number| number as u8).collect();
        let mut file = frame_header(5, &payload).to_vec();
        file.extend_from_slice(&payload);
        file.resize(file.len().next_multiple_of(SECTOR), 0);
        let scanner = Scanner { first_frame: 5 };
        let Scan::Frame { header, payload: read } = scanner.look(&file, true) else { panic!("a whole frame") };
        assert_eq!((header.number, read), (5, &payload[..]));
        assert_eq!(header.sectors_bytes(), file.len() as u64);
        assert_eq!(scanner.look(&file[..SECTOR], false), Scan::NeedBytes(file.len()));
        assert_eq!(scanner.look(&file[..SECTOR], true), Scan::Damaged);
        assert_eq!(Scanner { first_frame: 6 }.look(&file, true), Scan::Nothing);
        for at in [5, 9, 28, 40, 9000] {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert!(!matches!(scanner.look(&damaged, true), Scan::Frame { .. }), "byte {at}");
        }
        for bit in 0..64 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length may ask for more of the file first; what the file does not have is damage.
            assert_eq!(scanner.look(&damaged, true), Scan::Damaged, "bit {bit}");
        }
    }
}
