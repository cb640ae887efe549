//! The toy's log: segments of frames, each frame at the start of a sector, with length and checksum before its bytes.

use model::{METRIC_NAME, Sample, Timestamp};

use super::*;
use crate::disk::{SimDisk, SimFile};

const SEGMENT_SECTORS: u64 = 64;
const HEADER_BYTES: usize = 8;

pub(super) struct Log {
    disk: SimDisk,
    directory: PathBuf,
    bug: Option<Bug>,
    segment: Option<(SimFile, u64)>,
    next_number: u64,
}

impl Log {
    /// Reads all segments in order, hands out what they hold, and goes on in a new one. The texts are repairs.
    pub(super) async fn recover(
        disk: SimDisk,
        directory: &Path,
        bug: Option<Bug>,
        take: &mut impl FnMut(Change, Part),
    ) -> io::Result<(Self, Vec<String>)> {
        let names = match disk.list(directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.create_directory(directory).await?;
                disk.sync_directory(Path::new("/data")).await?;
                Vec::new()
            }
            names => names?,
        };
        // What a process finds need not be durable: names and writes of a life that was cut short are settled first.
        disk.sync_directory(Path::new("/data")).await?;
        if bug != Some(Bug::UnsyncedNames) {
            disk.sync_directory(directory).await?;
        }
        let mut repairs = Vec::new();
        for name in &names {
            let path = directory.join(name);
            let file = disk.open(&path, OpenMode::Read).await?;
            if bug != Some(Bug::UnsyncedRecovery) {
                file.sync().await?;
            }
            let buffer = AlignedBuffer::zeroed(file.length().await? as usize);
            let (count, buffer) = file.read_at(buffer, 0).await;
            let bytes = match count {
                Err(_) if bug == Some(Bug::ReadErrorIsTheEnd) => continue,
                count => &buffer[..count?],
            };
            if let Some(offset) = replay(bytes, bug, take) {
                repairs.push(format!("{}: frame at {offset} is damaged, the rest was left out", path.display()));
            }
        }
        let next_number = names.last().and_then(|name| name.parse::<u64>().ok()).map_or(0, |last| last + 1);
        Ok((Self { disk, directory: directory.to_owned(), bug, segment: None, next_number }, repairs))
    }

    /// Returns when the frame is durable. A write that fails goes again, once, to a fresh segment. An error of the kind
    /// `StorageFull` says that nothing was written; after any other the frame may be on the disk.
    pub(super) async fn append(&mut self, change: Change, part: &[RequestSeries]) -> io::Result<()> {
        let mut frame = encode(change, part);
        for last_try in [false, true] {
            let sectors = (frame.len() / SECTOR_BYTES) as u64;
            let (file, end) = match self.segment.take() {
                Some((file, end)) if end + sectors <= SEGMENT_SECTORS => (file, end),
                _ => match self.new_segment(sectors).await {
                    Ok(file) => (file, 0),
                    Err(error) if last_try => return Err(io::Error::other(error)),
                    Err(error) => return Err(error),
                },
            };
            let (result, back) = file.write_at(frame, end * SECTOR_BYTES as u64).await;
            frame = back;
            match result {
                Ok(()) => {
                    self.segment = Some((file, end + sectors));
                    return Ok(());
                }
                Err(error) if last_try => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("the second try returns")
    }

    async fn new_segment(&mut self, sectors: u64) -> io::Result<SimFile> {
        let path = self.directory.join(format!("{:08}", self.next_number));
        self.next_number += 1;
        let file = self.disk.open(&path, OpenMode::CreateDurable).await?;
        file.allocate(sectors.max(SEGMENT_SECTORS) * SECTOR_BYTES as u64).await?;
        if self.bug != Some(Bug::UnsyncedNames) {
            self.disk.sync_directory(&self.directory).await?;
        }
        Ok(file)
    }
}

fn encode(change: Change, part: &[RequestSeries]) -> AlignedBuffer {
    let mut payload = vec![change as u8];
    for series in part {
        let labels: Vec<_> = series.labels.iter().collect();
        payload.push(labels.len() as u8);
        for label in labels {
            for text in [label.name, label.value] {
                payload.push(text.len() as u8);
                payload.extend_from_slice(text.as_bytes());
            }
        }
        payload.extend_from_slice(&(series.samples.len() as u32).to_le_bytes());
        for sample in &series.samples {
            payload.extend_from_slice(&sample.time.0.to_le_bytes());
            payload.extend_from_slice(&sample.value.to_bits().to_le_bytes());
        }
    }
    let mut frame = AlignedBuffer::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    frame.pad_to_sector();
    frame
}

/// Hands out the parts of a segment up to its end; the offset of a damaged frame, if one ends it.
fn replay(bytes: &[u8], bug: Option<Bug>, take: &mut impl FnMut(Change, Part)) -> Option<usize> {
    let mut at = 0;
    while at + SECTOR_BYTES <= bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let sum = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes"));
        if length == 0 && sum == 0 {
            // The end of what was written, or a first sector that was lost.
            return bytes[at..].iter().any(|&byte| byte != 0).then_some(at);
        }
        let payload = bytes.get(at + HEADER_BYTES..at + HEADER_BYTES + length);
        let sound = |payload: &&[u8]| crc32c::crc32c(payload) == sum || bug == Some(Bug::NoChecksum);
        let Some((change, part)) = payload.filter(sound).and_then(decode) else { return Some(at) };
        take(change, part);
        at += (HEADER_BYTES + length).next_multiple_of(SECTOR_BYTES);
    }
    None
}

fn decode(mut bytes: &[u8]) -> Option<(Change, Part)> {
    let change = match split(&mut bytes, 1)?[0] {
        0 => Change::Appended,
        1 => Change::Deleted,
        _ => return None,
    };
    let mut part = Part::new();
    while !bytes.is_empty() {
        let count = split(&mut bytes, 1)?[0];
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((text(&mut bytes)?, text(&mut bytes)?));
        }
        let samples = u32::from_le_bytes(split(&mut bytes, 4)?.try_into().ok()?);
        let samples = (0..samples).map(|_| sample(&mut bytes)).collect::<Option<Vec<Sample>>>()?;
        let labels = Labels::from_pairs(pairs);
        labels.get(METRIC_NAME)?;
        part.push(RequestSeries { index: 0, labels, samples });
    }
    Some((change, part))
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = split(bytes, 1)?[0];
    String::from_utf8(split(bytes, length.into())?.to_vec()).ok()
}

fn sample(bytes: &mut &[u8]) -> Option<Sample> {
    let time = i64::from_le_bytes(split(bytes, 8)?.try_into().ok()?);
    let bits = u64::from_le_bytes(split(bytes, 8)?.try_into().ok()?);
    Some(Sample { time: Timestamp(time), value: f64::from_bits(bits) })
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}
