//! Other threads that lend a hand to a query, and when they are asked to.
//!
//! The engine is synchronous and starts no threads. Whoever runs queries decides how many processors they may use together, and
//! lends those that are idle.

use std::{fmt, sync::Arc, time::Duration};

/// Something to do on another thread. It is told how to find out that its processor is wanted back.
pub type Work = Box<dyn FnOnce(&dyn Fn() -> bool) + Send>;

/// Lends processors.
pub trait Helpers: Send + Sync {
    /// Has another thread do the work soon, if a processor is idle; else drops it and returns false.
    fn lend(&self, work: Work) -> bool;
}

/// When and how others help a query.
#[derive(Clone)]
pub struct Help {
    pub helpers: Arc<dyn Helpers>,
    /// How long an operator works alone: most are done by then, and waking a thread costs tens of microseconds.
    pub after: Duration,
    /// How many series a thread takes at once, at most.
    pub series_max: usize,
}

impl Help {
    pub fn new(helpers: Arc<dyn Helpers>) -> Self {
        Self { helpers, after: Duration::from_micros(500), series_max: SERIES_MAX }
    }
}

impl fmt::Debug for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Help").field("after", &self.after).field("series_max", &self.series_max).finish_non_exhaustive()
    }
}

/// So many rows make good use of a core's caches; more would gain nothing.
pub(crate) const SERIES_MAX: usize = 256;
