//! What a shard needs of the machine, as traits: disk, clock, tasks; and mailboxes between threads.
//!
//! Backends: `glommio` (io_uring, thread per core), `portable` (std only), and the simulator's, which lives with it. Shards
//! are generic over [`Runtime`], with static dispatch; nothing here needs to be `Send`, as a shard never leaves its thread.

pub mod buffer;
mod files;
#[cfg(feature = "glommio")]
pub mod glommio;
pub mod mailbox;
mod map;
pub mod measure;
pub mod placement;
pub mod portable;
#[cfg(test)]
mod tests;
mod thread;
mod worker;

use std::{
    future::Future,
    io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use buffer::AlignedBuffer;
pub use map::{FileMap, lost_pages};
pub use thread::{RunningThread, ThreadConfig};

/// Unit of direct writes and of the log's padding.
pub const SECTOR_BYTES: usize = 4096;

/// One thread's view of the machine.
pub trait Runtime: Clone + 'static {
    type Disk: Disk;

    fn disk(&self) -> &Self::Disk;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;

    /// Milliseconds since the Unix epoch; may jump.
    fn wall_clock_ms(&self) -> i64;

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Lets the other tasks of this thread run.
    fn yield_now(&self) -> impl Future<Output = ()>;

    /// Starts a task on this thread, detached.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    Read,
    /// Creates the file, which must not exist. Each completed write is durable.
    CreateDurable,
    /// Opens a file that exists, its content kept. Each completed write is durable.
    ReuseDurable,
    /// Creates the file, which must not exist. Writes are durable after [`File::sync`].
    Create,
}

impl OpenMode {
    /// Whether each completed write is durable.
    pub fn is_durable(self) -> bool {
        matches!(self, Self::CreateDurable | Self::ReuseDurable)
    }
}

/// Names are durable after [`Disk::sync_directory`] of the folder they stand in, not before.
pub trait Disk: Clone + 'static {
    type File: File;

    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>>;
    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Names in a folder, sorted.
    fn list(&self, path: &Path) -> impl Future<Output = io::Result<Vec<String>>>;
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    fn sync_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Gives a file a second name.
    fn link(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Removes a folder that is empty.
    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// A file's bytes, to be read on any thread. The file must not be changed any more.
    fn map(&self, path: &Path) -> impl Future<Output = io::Result<FileMap>>;
}

/// An open file. Offsets and lengths of writes are multiples of [`SECTOR_BYTES`]; buffers come back with the answer, so that
/// a failed write still holds its bytes.
pub trait File: 'static {
    fn write_at(&self, buffer: AlignedBuffer, offset: u64) -> impl Future<Output = (io::Result<()>, AlignedBuffer)>;

    /// Fills the buffer from `offset`; the count falls short only at the end of the file.
    fn read_at(&self, buffer: AlignedBuffer, offset: u64) -> impl Future<Output = (io::Result<usize>, AlignedBuffer)>;

    fn sync(&self) -> impl Future<Output = io::Result<()>>;

    /// Reserves space and sets the length, so that later writes change no metadata.
    fn allocate(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;

    /// Cuts off what is behind a length, or fills up with zeros.
    fn set_length(&self, bytes: u64) -> impl Future<Output = io::Result<()>>;

    fn length(&self) -> impl Future<Output = io::Result<u64>>;
}

/// How a write becomes durable; which is faster differs from disk to disk, see [`measure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableWay {
    /// The file is open for synchronous writes.
    SyncedWrite,
    /// Each write is followed by a flush.
    WriteThenFlush,
}

/// Milliseconds since the Unix epoch by the machine's clock; negative before it.
fn wall_clock_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}
