//! Which way of making a write durable is faster on a given disk: measured at start, as it differs a hundredfold between drives
//! and no drive says.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    AlignedBuffer, DurableWay, OpenMode,
    files::{self, BlockingFile},
};

/// Typical size of a group commit.
const WRITE_BYTES: usize = 32 << 10;
/// At most this many writes of each kind, after one to warm up ...
const WRITES: usize = 16;
/// ... and at most this long for each, so that a slow disk does not hold up the start.
const BUDGET: Duration = Duration::from_millis(40);

/// Medians of both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub synced_write: Duration,
    pub write_then_flush: Duration,
}

impl Measured {
    /// The faster way; the synchronous write if there is little between them, as it is one request instead of two.
    #[must_use]
    pub fn faster(&self) -> DurableWay {
        if self.synced_write <= self.write_then_flush + self.write_then_flush / 10 {
            DurableWay::SyncedWrite
        } else {
            DurableWay::WriteThenFlush
        }
    }
}

/// Writes a few dozen times to a file in `directory`, which is removed again; takes 10 to 100 ms on a disk worth the name. Blocks.
///
/// # Errors
/// As of the disk; the file's name is in the error.
pub fn durable_ways(directory: &Path) -> io::Result<Measured> {
    Ok(Measured {
        synced_write: median(directory, DurableWay::SyncedWrite)?,
        write_then_flush: median(directory, DurableWay::WriteThenFlush)?,
    })
}

fn median(directory: &Path, way: DurableWay) -> io::Result<Duration> {
    let path = directory.join(format!("durable-write-test.{}.tmp", std::process::id()));
    let file = BlockingFile::open(&path, OpenMode::CreateDurable, way)?;
    let measured = time_writes(&file).map_err(|error| files::named(error, "measuring durable writes to", &path));
    drop(file);
    files::remove(&path)?;
    let mut times = measured?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn time_writes(file: &BlockingFile) -> io::Result<Vec<Duration>> {
    file.allocate((WRITES * WRITE_BYTES) as u64)?;
    let buffer = AlignedBuffer::zeroed(WRITE_BYTES);
    file.write_at(&buffer, 0)?;
    let start = Instant::now();
    let mut times = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        let before = start.elapsed();
        if before > BUDGET && !times.is_empty() {
            break;
        }
        file.write_at(&buffer, (number * WRITE_BYTES) as u64)?;
        times.push(start.elapsed() - before);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(synced_us: u64, flushed_us: u64) -> Measured {
        Measured { synced_write: Duration::from_micros(synced_us), write_then_flush: Duration::from_micros(flushed_us) }
    }

    #[test]
    fn the_faster_way_wins_and_a_tie_goes_to_the_single_request() {
        assert_eq!(measured(90, 130).faster(), DurableWay::SyncedWrite);
        assert_eq!(measured(100, 100).faster(), DurableWay::SyncedWrite);
        assert_eq!(measured(105, 100).faster(), DurableWay::SyncedWrite);
        assert_eq!(measured(5000, 1200).faster(), DurableWay::WriteThenFlush);
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let folder = tempfile::tempdir_in(crate::tests::disk_folder()).unwrap();
        let measured = durable_ways(folder.path()).unwrap();
        assert!(measured.synced_write > Duration::ZERO && measured.write_then_flush > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = durable_ways(Path::new("/nonexistent/folder")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/folder/durable-write-test"), "{error}");
    }
}
