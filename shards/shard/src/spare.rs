//! Log segments in waiting.
//!
//! Writing to space that was never written costs several times as much per commit, and filling a segment takes longer than a
//! commit may. So the next segment is filled in the background, and segments that a checkpoint has made superfluous are used
//! again under a new name: frames in them carry old numbers, which a replay passes over.
//!
//! On a disk without room for a whole segment a small one does: the commits that it takes keep the shard going until a checkpoint
//! gives back the room of all segments before it.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
};

use runtime::{Disk, File, OpenMode, Runtime, SECTOR_BYTES};

use crate::{
    frames::FileError,
    names::{numbers, spare_segment},
    signal::Waiters,
};

/// A small segment is this part of a whole one.
const SMALL_PART: u64 = 8;

/// At most one segment waits.
pub(crate) struct Spares<R: Runtime> {
    runtime: R,
    folder: PathBuf,
    bytes: u64,
    state: RefCell<State<R>>,
    changed: Waiters,
}

enum State<R: Runtime> {
    Empty { next_number: u64 },
    Preparing,
    Ready { number: u64, spare: Spare<R> },
    Failed { number: u64, error: FileError },
}

/// A file of the full length whose space has been written.
pub(crate) struct Spare<R: Runtime> {
    pub(crate) file: <R::Disk as Disk>::File,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl<R: Runtime> Spares<R> {
    /// Takes over what an earlier run left; at most one of them is kept.
    pub(crate) async fn adopt(runtime: R, folder: PathBuf, bytes: u64) -> Rc<Self> {
        let names = runtime.disk().list(&folder).await.unwrap_or_default();
        let left = numbers(&names, "spare-");
        let next_number = left.last().map_or(0, |last| last + 1);
        let state = RefCell::new(State::Empty { next_number });
        let this = Rc::new(Self { runtime, folder, bytes, state, changed: Waiters::default() });
        for number in left {
            let path = spare_segment(&this.folder, number);
            if !this.reopen(path.clone()).await {
                this.remove(&path).await;
            }
        }
        this
    }

    /// Begins to fill a segment unless one waits or is being filled.
    pub(crate) fn prepare(self: &Rc<Self>) {
        let Some(number) = self.claim() else { return };
        let this = self.clone();
        self.runtime.spawn(async move {
            let made = this.make(number).await;
            this.settle(number, made);
        });
    }

    /// The waiting segment, or the one that will be when it is filled.
    pub(crate) async fn take(self: &Rc<Self>) -> Result<Spare<R>, FileError> {
        // Again at each change: a segment that was to be used again, and can't be, leaves nothing behind to wait for.
        let next = || {
            self.prepare();
            self.try_take()
        };
        self.changed.until(next).await
    }

    /// Keeps a superfluous segment for later use, or removes it if it is a small one. `false` if one waits already.
    pub(crate) async fn recycle(&self, segment: PathBuf) -> bool {
        let Some(number) = self.claim() else { return false };
        let path = spare_segment(&self.folder, number);
        let renamed = self.runtime.disk().rename(&segment, &path).await.map_err(FileError::new("rename", &segment));
        let opened = match renamed {
            Ok(()) => self.open(path).await,
            Err(error) => Err(error),
        };
        match &opened {
            Ok(small) if small.bytes < self.bytes => {
                self.remove(&small.path).await;
                self.give_up(number);
                return true;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a log segment can't be used again"),
        }
        let kept = opened.is_ok();
        self.settle(number, opened);
        if !kept {
            // Not worth failing a commit for: the next one is made anew.
            drop(self.try_take());
        }
        kept
    }

    fn claim(&self) -> Option<u64> {
        let mut state = self.state.borrow_mut();
        let State::Empty { next_number: number } = *state else { return None };
        *state = State::Preparing;
        Some(number)
    }

    fn settle(&self, number: u64, made: Result<Spare<R>, FileError>) {
        self.state.replace(match made {
            Ok(spare) => State::Ready { number, spare },
            Err(error) => State::Failed { number, error },
        });
        self.changed.wake_all();
    }

    fn try_take(&self) -> Option<Result<Spare<R>, FileError>> {
        let mut state = self.state.borrow_mut();
        let (State::Ready { number, .. } | State::Failed { number, .. }) = *state else { return None };
        match std::mem::replace(&mut *state, State::Empty { next_number: number + 1 }) {
            State::Ready { spare, .. } => Some(Ok(spare)),
            State::Failed { error, .. } => Some(Err(error)),
            State::Empty { .. } | State::Preparing => None,
        }
    }

    async fn make(&self, number: u64) -> Result<Spare<R>, FileError> {
        let path = spare_segment(&self.folder, number);
        let disk = self.runtime.disk();
        let mut bytes = self.bytes;
        loop {
            let file = disk.open(&path, OpenMode::CreateDurable).await.map_err(FileError::new("create", &path))?;
            let Err(error) = file.allocate(bytes).await else { return Ok(Spare { file, path, bytes }) };
            // A half-filled segment would take up room that a full disk lacks.
            self.remove(&path).await;
            let error = FileError::new("allocate space for", &path)(error);
            if !error.is_disk_full() || bytes < self.bytes {
                return Err(error);
            }
            bytes = (self.bytes / SMALL_PART).next_multiple_of(SECTOR_BYTES as u64);
        }
    }

    async fn open(&self, path: PathBuf) -> Result<Spare<R>, FileError> {
        let disk = self.runtime.disk();
        let file = disk.open(&path, OpenMode::ReuseDurable).await.map_err(FileError::new("open", &path))?;
        let bytes = file.length().await.map_err(FileError::new("look at", &path))?;
        Ok(Spare { file, path, bytes })
    }

    /// Takes over a file under its present name, if it is of use.
    async fn reopen(&self, path: PathBuf) -> bool {
        let Some(number) = self.claim() else { return false };
        match self.open(path).await {
            Ok(spare) if spare.bytes == self.bytes => {
                self.settle(number, Ok(spare));
                true
            }
            _ => {
                self.give_up(number);
                false
            }
        }
    }

    /// Takes back a claim.
    fn give_up(&self, number: u64) {
        self.state.replace(State::Empty { next_number: number });
        self.changed.wake_all();
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) async fn remove(&self, path: &Path) {
        if let Err(error) = self.runtime.disk().remove(path).await {
            tracing::warn!(path = %path.display(), %error, "a superfluous log segment stays");
        }
    }
}
