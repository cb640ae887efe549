//! What the machine does: durable writes, memory, waking a thread. A second or two in all; figures of a busy machine are those of a
//! busy machine.

use std::{
    fs, io,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use runtime::measure::{Measured, durable_ways};

/// Durable writes of one disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    /// Of a commit's size.
    pub(super) ways: Measured,
    /// Bytes a second of one large file, synced at its end.
    pub(super) bytes_per_second: f64,
}

/// The memory that a thread reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Of one read that no cache has.
    pub(super) latency: Duration,
    /// Bytes a second, copied.
    pub(super) copied_per_second: f64,
}

const FILE_BYTES: usize = 64 << 20;
const WRITE_BYTES: usize = 1 << 20;

/// # Errors
/// As of the disk.
pub(super) fn disk(directory: &Path) -> io::Result<Disk> {
    let ways = durable_ways(directory)?;
    let path = directory.join(format!("sequential-write-test.{}.tmp", std::process::id()));
    let written = write_file(&path);
    fs::remove_file(&path)?;
    Ok(Disk { ways, bytes_per_second: FILE_BYTES as f64 / written?.as_secs_f64() })
}

fn write_file(path: &Path) -> io::Result<Duration> {
    let block = vec![0x5a; WRITE_BYTES];
    let mut file = fs::File::create(path)?;
    let start = Instant::now();
    for _ in 0..FILE_BYTES / WRITE_BYTES {
        io::Write::write_all(&mut file, &block)?;
    }
    file.sync_data()?;
    Ok(start.elapsed())
}

/// Far more than any cache of a core holds.
const MEMORY_BYTES: usize = 128 << 20;
const STEPS: usize = 1 << 20;
const COPIES: usize = 4;

pub(super) fn memory() -> Memory {
    let places = cycle(MEMORY_BYTES / size_of::<u32>());
    let start = Instant::now();
    let mut at = 0;
    for _ in 0..STEPS {
        at = places[at as usize];
    }
    let latency = start.elapsed() / STEPS as u32;
    std::hint::black_box(at);
    // Not zeros: the kernel would find pages for them only while they are timed.
    let mut copy = places.clone();
    let start = Instant::now();
    for _ in 0..COPIES {
        std::hint::black_box(&mut copy).copy_from_slice(std::hint::black_box(&places));
    }
    Memory { latency, copied_per_second: (COPIES * MEMORY_BYTES) as f64 / start.elapsed().as_secs_f64() }
}

/// Places of which each names the next one, so that all are on one way round in an order that nothing can foresee (Sattolo's
/// algorithm).
fn cycle(count: usize) -> Vec<u32> {
    let mut places: Vec<u32> = (0..count as u32).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..count).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        places.swap(last, (random % last as u64) as usize);
    }
    places
}

const WAKE_UPS: usize = 1000;

/// How long it takes until a thread that sleeps has a message; the median.
pub(super) fn wake_up() -> Duration {
    let (ask, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let other = thread::spawn(move || asked.into_iter().for_each(|()| answer.send(()).unwrap_or_default()));
    let mut times: Vec<Duration> = (0..WAKE_UPS)
        .map(|_| {
            let start = Instant::now();
            ask.send(()).expect("the other thread listens");
            answered.recv().expect("the other thread answers");
            // There and back.
            start.elapsed() / 2
        })
        .collect();
    drop(ask);
    other.join().expect("the other thread ends");
    times.sort_unstable();
    times[WAKE_UPS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_comes_by_every_place() {
        let places = cycle(1000);
        let (mut at, mut steps) = (0, 0);
        loop {
            (at, steps) = (places[at as usize], steps + 1);
            if at == 0 {
                break;
            }
        }
        assert_eq!(steps, 1000);
    }
}
