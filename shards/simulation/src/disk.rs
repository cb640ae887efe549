//! The simulated disk, and its fault model.
//!
//! A disk is what survives for certain, plus, in order, everything later that the running system sees and a crash may take away.
//!
//! What is promised to the code under test, and nothing beyond:
//! - a completed write through a `CreateDurable` handle is durable: its sectors and a file length that covers them. Not durable by
//!   it: the file's name, space reserved beyond the write, other writes;
//! - a completed `sync` makes all earlier completed writes of the file and its length durable; not its name;
//! - a completed `sync_directory` makes earlier changes of names in that folder durable; not the content behind the names. A rename
//!   between two folders is durable with either;
//! - reads see all completed writes of the running system, durable or not; of several writes in flight to one place, any order;
//! - 512 bytes are written whole or not at all.
//!
//! What happens at a power cut, all by the seed:
//! - each sector with pending versions keeps its durable one, any pending one, or pieces of 512 bytes of several;
//! - the length of each file is its durable one or any later one, whatever happened to its sectors; new length without data is zeros;
//! - each unsynced create, rename and remove is kept or lost by itself, whatever happened to the others and to the content;
//! - a write in flight, durable or not, has reached the disk not at all, wholly, or in any of its pieces;
//! - often all or nothing of the above survives, since these are the commonest cases.
//!
//! A kill -9 keeps what the running system saw; operations in flight complete, do not happen, or (writes) happen in part. What a
//! process finds when it starts is therefore *not* known to be durable: a write that was cut off or failed in the life before may
//! be seen, and be gone after the next power cut. Recovery that believes a file has to sync it, and its folder, first.
//!
//! Faults while running, at the rates of [`Faults`]:
//! - a write, sync, change of names or reservation answers EIO. A failed write may have happened in part. After a failed sync what
//!   waited for it may be lost at a power cut *even if a later sync succeeds*, as Linux forgets that pages were dirty; cut-off
//!   durable writes are spared this, as no page was dirty;
//! - the disk is full for a while: whatever needs new space answers ENOSPC; writes into reserved space go on;
//! - a read of a file answers EIO, and the next read of that file succeeds: the bad moment of a sound disk, not a bad sector;
//! - any operation takes up to seconds;
//! - between two runs one bit of one file rots.
//!
//! Not simulated: misdirected writes, reads that lie and then don't, loss of synced data (save by rot and by the canary's lies),
//! several disks with fates of their own.

mod content;
mod tree;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    task::{Poll, Waker},
};

use runtime::{AlignedBuffer, Disk, File, FileMap, OpenMode, SECTOR_BYTES};

use self::{
    content::{Origin, Reach},
    tree::{EIO, ENOSPC, NodeId, Tree, os_error},
};
use crate::{
    random::Random,
    world::{MICROSECOND, MILLISECOND, Nanos, SECOND, World},
};

/// How often operations fail or crawl, by a million operations of the kind; all zero is a healthy disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub write_errors: u64,
    pub sync_errors: u64,
    pub read_errors: u64,
    /// Create, rename, remove, list, `sync_directory`, `allocate`.
    pub metadata_errors: u64,
    /// Operations that take up to ten seconds.
    pub slow: u64,
    /// The operation that changes something and has this number, counted from 0 since the disk was made, answers EIO.
    pub fail_change: Option<u64>,
}

/// Broken promises, for canaries: an oracle that doesn't notice these is blind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// Durable writes complete before they are durable.
    pub durable_writes: bool,
    /// `sync` does nothing.
    pub sync: bool,
    /// `sync_directory` does nothing.
    pub directory_sync: bool,
}

/// What the disk went through, for checks of bounds and for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    pub operations: u64,
    pub changes: u64,
    pub errors_injected: u64,
    pub refused_for_space: u64,
    pub in_flight_most: usize,
    pub files_most: usize,
    pub bytes_most: u64,
}

/// A place that rotted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RottenSector {
    pub path: PathBuf,
    pub offset: u64,
}

#[derive(Clone)]
pub struct SimDisk {
    world: World,
    state: Rc<RefCell<State>>,
}

struct State {
    tree: Tree,
    random: Random,
    faults: Faults,
    lies: Lies,
    /// Space that exists; growth beyond it is refused.
    capacity: u64,
    in_flight: BTreeMap<u64, InFlight>,
    /// Files whose last read failed.
    read_failed: BTreeSet<NodeId>,
    next: u64,
    counts: DiskCounts,
}

struct InFlight {
    operation: Operation,
    verdict: Verdict,
    reply: Rc<RefCell<ReplySlot>>,
}

#[derive(Debug)]
enum Operation {
    Open { path: PathBuf },
    CreateFile { path: PathBuf },
    CreateDirectory { path: PathBuf },
    List { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    Link { from: PathBuf, to: PathBuf },
    RemoveDirectory { path: PathBuf },
    SyncDirectory { path: PathBuf },
    Write { file: NodeId, offset: u64, bytes: Rc<[u8]>, origin: Origin },
    Read { file: NodeId, offset: u64, bytes: usize },
    Sync { file: NodeId },
    Allocate { file: NodeId, bytes: u64 },
    SetLength { file: NodeId, bytes: u64 },
    Length { file: NodeId },
}

/// Decided when the operation is submitted, so that its cause stands in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Succeed,
    Fail,
}

enum Reply {
    Done,
    Opened(NodeId),
    Names(Vec<String>),
    Bytes(Vec<u8>),
    Length(u64),
}

#[derive(Default)]
struct ReplySlot {
    reply: Option<io::Result<Reply>>,
    waker: Option<Waker>,
}

impl SimDisk {
    pub fn new(world: &World) -> Self {
        let state = State {
            tree: Tree::new(),
            random: world.fork_random(),
            faults: Faults::default(),
            lies: Lies::default(),
            capacity: u64::MAX,
            in_flight: BTreeMap::new(),
            read_failed: BTreeSet::new(),
            next: 0,
            counts: DiskCounts::default(),
        };
        Self { world: world.clone(), state: Rc::new(RefCell::new(state)) }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    pub fn faults(&self) -> Faults {
        self.state.borrow().faults
    }

    pub fn set_lies(&self, lies: Lies) {
        self.state.borrow_mut().lies = lies;
    }

    /// Leaves room for so many more bytes; `None` is plenty.
    pub fn set_space_left(&self, bytes: Option<u64>) {
        let mut state = self.state.borrow_mut();
        state.capacity = bytes.map_or(u64::MAX, |bytes| state.tree.used_bytes() + bytes);
    }

    pub fn counts(&self) -> DiskCounts {
        self.state.borrow().counts
    }

    /// All files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.borrow().tree.paths()
    }

    /// The process that used the disk was killed; the machine runs on.
    pub fn process_killed(&self) {
        self.world.say(|| "the process is killed".to_owned());
        let mut state = self.state.borrow_mut();
        for flight in state.take_in_flight() {
            match state.random.below(10) {
                0..7 => drop(state.complete(&flight.operation, flight.verdict)),
                7..9 => {}
                _ => state.happen_in_part(&flight.operation),
            }
        }
        self.world.note(state.in_flight.len() as u64);
    }

    /// The machine lost power. Processes that use the disk must have been killed before.
    pub fn power_cut(&self) {
        self.world.say(|| "power is cut".to_owned());
        let mut state = self.state.borrow_mut();
        let mut flights = state.take_in_flight();
        state.random.shuffle(&mut flights);
        for flight in flights {
            state.happen_in_part(&flight.operation);
        }
        let State { tree, random, .. } = &mut *state;
        tree.crash(random);
    }

    /// Flips a bit in a file that holds data; `None` if none does.
    pub fn rot(&self) -> Option<RottenSector> {
        let mut state = self.state.borrow_mut();
        let State { tree, random, .. } = &mut *state;
        let mut paths = tree.paths();
        random.shuffle(&mut paths);
        paths.into_iter().find_map(|path| {
            let file = tree.open(&path).ok()?;
            let offset = tree.content(file).ok()?.rot(random)?;
            Some(RottenSector { path, offset })
        })
    }

    async fn submit(&self, operation: Operation) -> io::Result<Reply> {
        let reply = Rc::new(RefCell::new(ReplySlot::default()));
        let (number, latency) = self.enter(operation, Rc::clone(&reply));
        let disk = self.clone();
        self.world.at(self.world.now() + latency, move || disk.leave(number));
        poll_fn(|context| {
            let mut slot = reply.borrow_mut();
            match slot.reply.take() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    slot.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn enter(&self, operation: Operation, reply: Rc<RefCell<ReplySlot>>) -> (u64, Nanos) {
        let mut state = self.state.borrow_mut();
        self.world.note(operation.fingerprint());
        let verdict = state.judge(&operation);
        self.world.say(|| format!("#{} {operation} {verdict:?}", state.next));
        let latency = state.latency(&operation);
        let number = state.next;
        state.next += 1;
        state.in_flight.insert(number, InFlight { operation, verdict, reply });
        state.counts.in_flight_most = state.counts.in_flight_most.max(state.in_flight.len());
        (number, latency)
    }

    /// The moment at which an operation takes effect. A crash has taken those that are not there any more.
    fn leave(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        let Some(flight) = state.in_flight.remove(&number) else { return };
        let result = state.complete(&flight.operation, flight.verdict);
        drop(state);
        self.world.note(result.is_ok().into());
        self.world
            .say(|| format!("#{number} {}", result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned())));
        let mut slot = flight.reply.borrow_mut();
        slot.reply = Some(result);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn done(&self, operation: Operation) -> io::Result<()> {
        self.submit(operation).await.map(|_| ())
    }
}

impl State {
    fn take_in_flight(&mut self) -> Vec<InFlight> {
        std::mem::take(&mut self.in_flight).into_values().collect()
    }

    fn judge(&mut self, operation: &Operation) -> Verdict {
        self.counts.operations += 1;
        let mut fails = self.random.per_million(operation.error_rate(&self.faults));
        if let Operation::Read { file, .. } = operation {
            fails &= !self.read_failed.remove(file);
            if fails {
                self.read_failed.insert(*file);
            }
        }
        if operation.is_change() {
            fails |= self.faults.fail_change == Some(self.counts.changes);
            self.counts.changes += 1;
        }
        self.counts.errors_injected += u64::from(fails);
        if fails { Verdict::Fail } else { Verdict::Succeed }
    }

    fn latency(&mut self, operation: &Operation) -> Nanos {
        if self.random.per_million(self.faults.slow) {
            return self.random.range(10 * MILLISECOND..10 * SECOND);
        }
        let base = match operation {
            Operation::Write { bytes, .. } => 20 * MICROSECOND + bytes.len() as u64 / 4,
            Operation::Read { bytes, .. } => 20 * MICROSECOND + *bytes as u64 / 4,
            Operation::Sync { .. } | Operation::SyncDirectory { .. } => 200 * MICROSECOND,
            _ => 5 * MICROSECOND,
        };
        base + self.random.skewed(19)
    }

    fn complete(&mut self, operation: &Operation, verdict: Verdict) -> io::Result<Reply> {
        if verdict == Verdict::Fail {
            return self.fail(operation);
        }
        let growth = self.growth(operation);
        if growth > 0 && self.tree.used_bytes() + growth > self.capacity {
            self.counts.refused_for_space += 1;
            return Err(os_error(ENOSPC));
        }
        let reply = self.perform(operation);
        self.counts.files_most = self.counts.files_most.max(self.tree.file_count());
        self.counts.bytes_most = self.counts.bytes_most.max(self.tree.used_bytes());
        reply
    }

    fn perform(&mut self, operation: &Operation) -> io::Result<Reply> {
        match operation {
            Operation::Open { path } => self.tree.open(path).map(Reply::Opened),
            Operation::CreateFile { path } => self.tree.create_file(path).map(Reply::Opened),
            Operation::CreateDirectory { path } => self.tree.create_directory(path).map(|()| Reply::Done),
            Operation::List { path } => self.tree.list(path).map(Reply::Names),
            Operation::Rename { from, to } => self.tree.rename(from, to).map(|()| Reply::Done),
            Operation::Remove { path } => self.tree.remove(path).map(|()| Reply::Done),
            Operation::Link { from, to } => self.tree.link(from, to).map(|()| Reply::Done),
            Operation::RemoveDirectory { path } => self.tree.remove_directory(path).map(|()| Reply::Done),
            Operation::SyncDirectory { .. } if self.lies.directory_sync => Ok(Reply::Done),
            Operation::SyncDirectory { path } => self.tree.sync_directory(path).map(|()| Reply::Done),
            Operation::Write { file, offset, bytes, origin } => {
                let content = self.tree.content(*file)?;
                content.write(bytes, *offset, *origin, &Reach::Whole);
                if *origin == Origin::Durable && !self.lies.durable_writes {
                    content.make_range_durable(*offset, bytes.len() as u64);
                }
                Ok(Reply::Done)
            }
            Operation::Read { file, offset, bytes } => {
                let mut read = vec![0; *bytes];
                let count = self.tree.content(*file)?.read(&mut read, *offset);
                read.truncate(count);
                Ok(Reply::Bytes(read))
            }
            Operation::Sync { file } => {
                let content = self.tree.content(*file)?;
                if !self.lies.sync {
                    content.sync();
                }
                Ok(Reply::Done)
            }
            Operation::Allocate { file, bytes } => {
                self.tree.content(*file)?.grow(*bytes);
                Ok(Reply::Done)
            }
            Operation::SetLength { file, bytes } => {
                self.tree.content(*file)?.set_length(*bytes);
                Ok(Reply::Done)
            }
            Operation::Length { file } => self.tree.content(*file).map(|content| Reply::Length(content.length())),
        }
    }

    fn fail(&mut self, operation: &Operation) -> io::Result<Reply> {
        match operation {
            Operation::Write { .. } => self.happen_in_part(operation),
            Operation::Sync { file } => self.tree.content(*file)?.fail_sync(),
            _ => {}
        }
        Err(os_error(EIO))
    }

    /// What became of an operation that nobody got an answer for, or a bad one: all of it, nothing, or part of a write.
    fn happen_in_part(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { file, offset, bytes, origin } => {
                let reach = Reach::cut(&mut self.random, bytes.len());
                let fits = self.tree.used_bytes() + self.growth(operation) <= self.capacity;
                if let (Ok(content), true) = (self.tree.content(*file), fits) {
                    content.write(bytes, *offset, *origin, &reach);
                }
            }
            _ if operation.is_change() && self.random.percent(50) => drop(self.perform(operation)),
            _ => {}
        }
    }

    /// New space that the operation takes. Names cost a sector, so that a full disk refuses new files too.
    fn growth(&mut self, operation: &Operation) -> u64 {
        match operation {
            Operation::Write { file, offset, bytes, .. } => self.file_growth(*file, offset + bytes.len() as u64),
            Operation::Allocate { file, bytes } => self.file_growth(*file, *bytes),
            Operation::CreateFile { .. } | Operation::CreateDirectory { .. } | Operation::Link { .. } => {
                SECTOR_BYTES as u64
            }
            _ => 0,
        }
    }

    fn file_growth(&mut self, file: NodeId, end: u64) -> u64 {
        self.tree.content(file).map_or(0, |content| content.growth(end))
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write { file, offset, bytes, origin } => {
                write!(f, "{origin:?} write of {} bytes to file {file} at {offset}", bytes.len())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

impl Operation {
    fn is_change(&self) -> bool {
        !matches!(self, Self::Open { .. } | Self::List { .. } | Self::Read { .. } | Self::Length { .. })
    }

    fn error_rate(&self, faults: &Faults) -> u64 {
        match self {
            Self::Write { .. } => faults.write_errors,
            Self::Sync { .. } => faults.sync_errors,
            Self::Read { .. } | Self::Open { .. } | Self::Length { .. } => faults.read_errors,
            _ => faults.metadata_errors,
        }
    }

    /// A number for the trace; equal operations have equal ones.
    fn fingerprint(&self) -> u64 {
        match self {
            Self::Write { file, offset, bytes, .. } => (u64::from(crc32c::crc32c(bytes)) << 32) ^ (file << 24) ^ offset,
            other => crc32c::crc32c(format!("{other:?}").as_bytes()).into(),
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let path = path.to_owned();
        let operation = match mode {
            OpenMode::Read | OpenMode::ReuseDurable => Operation::Open { path },
            OpenMode::Create | OpenMode::CreateDurable => Operation::CreateFile { path },
        };
        let Reply::Opened(node) = self.submit(operation).await? else { unreachable!("an open answers with a file") };
        Ok(SimFile { disk: self.clone(), node, mode })
    }

    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> {
        self.done(Operation::CreateDirectory { path: path.to_owned() })
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let operation = Operation::List { path: path.to_owned() };
        let Reply::Names(names) = self.submit(operation).await? else { unreachable!("a list answers with names") };
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> {
        self.done(Operation::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>> {
        self.done(Operation::Remove { path: path.to_owned() })
    }

    fn sync_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> {
        self.done(Operation::SyncDirectory { path: path.to_owned() })
    }

    fn link(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> {
        self.done(Operation::Link { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> {
        self.done(Operation::RemoveDirectory { path: path.to_owned() })
    }

    async fn map(&self, path: &Path) -> io::Result<FileMap> {
        let file = self.open(path, OpenMode::Read).await?;
        let length = usize::try_from(file.length().await?).map_err(io::Error::other)?;
        let (count, buffer) = file.read_at(AlignedBuffer::zeroed(length), 0).await;
        Ok(FileMap::from(buffer[..count?].to_vec()))
    }
}

pub struct SimFile {
    disk: SimDisk,
    node: NodeId,
    mode: OpenMode,
}

impl File for SimFile {
    async fn write_at(&self, buffer: AlignedBuffer, offset: u64) -> (io::Result<()>, AlignedBuffer) {
        assert!(self.mode != OpenMode::Read, "a write through a handle that was opened for reading");
        assert!(
            buffer.len().is_multiple_of(SECTOR_BYTES) && offset.is_multiple_of(SECTOR_BYTES as u64),
            "a direct write of {} bytes at {offset} is not aligned to sectors",
            buffer.len()
        );
        let durable = self.mode.is_durable();
        let origin = if durable { Origin::Durable } else { Origin::Ordinary };
        let bytes = Rc::from(&buffer[..]);
        let result = self.disk.done(Operation::Write { file: self.node, offset, bytes, origin }).await;
        (result, buffer)
    }

    async fn read_at(&self, mut buffer: AlignedBuffer, offset: u64) -> (io::Result<usize>, AlignedBuffer) {
        let operation = Operation::Read { file: self.node, offset, bytes: buffer.len() };
        match self.disk.submit(operation).await {
            Ok(Reply::Bytes(bytes)) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                (Ok(bytes.len()), buffer)
            }
            Ok(_) => unreachable!("a read answers with bytes"),
            Err(error) => (Err(error), buffer),
        }
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> {
        self.disk.done(Operation::Sync { file: self.node })
    }

    fn allocate(&self, bytes: u64) -> impl Future<Output = io::Result<()>> {
        self.disk.done(Operation::Allocate { file: self.node, bytes })
    }

    fn set_length(&self, bytes: u64) -> impl Future<Output = io::Result<()>> {
        self.disk.done(Operation::SetLength { file: self.node, bytes })
    }

    async fn length(&self) -> io::Result<u64> {
        let operation = Operation::Length { file: self.node };
        let Reply::Length(length) = self.disk.submit(operation).await? else {
            unreachable!("it answers with a length")
        };
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
