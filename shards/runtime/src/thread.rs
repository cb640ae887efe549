//! The thread that a backend's `run` starts.

use std::{any::Any, thread::JoinHandle};

/// What a shard's thread is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadConfig {
    /// At most 11 bytes, as the kernel shows 15 and helper threads append to it.
    pub name: String,
    /// The CPU to stay on, if any.
    pub cpu: Option<usize>,
    pub durable: crate::DurableWay,
    /// How far the thread and its helpers give way to others, 0 to 19 as in nice(2).
    pub nice: u8,
}

impl ThreadConfig {
    /// On the thread itself, before it starts others, which then are alike.
    pub(crate) fn give_way(&self) {
        if self.nice > 0 {
            // Of the calling thread alone, on Linux. One that does not give way costs latency, not correctness.
            rustix::process::setpriority_process(Some(rustix::thread::gettid()), i32::from(self.nice)).ok();
        }
    }
}

/// A running thread and, at its end, what its main future returned.
#[derive(Debug)]
pub struct RunningThread<T>(pub(crate) JoinHandle<T>);

impl<T> RunningThread<T> {
    /// Waits for the thread's end.
    ///
    /// # Errors
    /// With the payload of the panic that ended it.
    pub fn join(self) -> Result<T, Box<dyn Any + Send>> {
        self.0.join()
    }

    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}
