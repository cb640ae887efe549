//! What one query may use: samples and bytes held at a time, and time. Everything that can grow takes from it first.
//!
//! The account can be read and canceled from other threads; the query itself runs on one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

/// Why a query was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    #[error(
        "query would hold more than its memory limit of {limit} bytes in query execution; narrow the selection or raise the limit"
    )]
    TooMuchMemory { limit: usize },
    #[error("query timed out in expression evaluation")]
    TimedOut,
    #[error("query was canceled in expression evaluation")]
    Canceled,
}

/// Stops a running query from another thread.
#[derive(Clone, Debug, Default)]
pub struct CancelHandle(Arc<AtomicBool>);

impl CancelHandle {
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }
}

/// The limits of a query.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Samples held at one time.
    pub max_samples: usize,
    /// Bytes held at one time.
    pub memory_bytes_max: usize,
    /// Monotonic time at which the query is stopped.
    pub deadline: Option<Instant>,
}

/// The account of one query.
#[derive(Debug)]
pub struct QueryBudget {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    limits: Limits,
    canceled: CancelHandle,
    samples: AtomicUsize,
    samples_peak: AtomicUsize,
    samples_read: AtomicUsize,
    bytes: AtomicUsize,
    bytes_peak: AtomicUsize,
}

impl QueryBudget {
    pub fn new(limits: Limits) -> Self {
        Self::with_cancel(limits, CancelHandle::default())
    }

    pub fn with_cancel(limits: Limits, canceled: CancelHandle) -> Self {
        let account = Account {
            limits,
            canceled,
            samples: AtomicUsize::new(0),
            samples_peak: AtomicUsize::new(0),
            samples_read: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bytes_peak: AtomicUsize::new(0),
        };
        Self { account: Arc::new(account) }
    }

    /// Refuses when the time is over or somebody canceled. Called per tile and per batch, never per sample.
    pub fn check(&self) -> Result<(), BudgetError> {
        if self.account.canceled.0.load(Relaxed) {
            return Err(BudgetError::Canceled);
        }
        match self.account.limits.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(BudgetError::TimedOut),
            _ => Ok(()),
        }
    }

    /// Most samples that were held at one time.
    pub fn samples_peak(&self) -> usize {
        self.account.samples_peak.load(Relaxed)
    }

    /// All samples that came from the source.
    pub fn samples_read(&self) -> usize {
        self.account.samples_read.load(Relaxed)
    }

    /// Most bytes that were held at one time.
    pub fn bytes_peak(&self) -> usize {
        self.account.bytes_peak.load(Relaxed)
    }

    pub(crate) fn count_read(&self, samples: usize) {
        self.account.samples_read.fetch_add(samples, Relaxed);
    }

    /// An empty reservation; what it takes is given back when it is dropped.
    pub fn reservation(&self) -> Reservation {
        Reservation { account: Arc::clone(&self.account), samples: 0, bytes: 0 }
    }
}

impl Account {
    fn take(&self, samples: usize, bytes: usize) -> Result<(), BudgetError> {
        let samples_now = self.samples.fetch_add(samples, Relaxed) + samples;
        let bytes_now = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        let refusal = if samples_now > self.limits.max_samples {
            BudgetError::TooManySamples
        } else if bytes_now > self.limits.memory_bytes_max {
            BudgetError::TooMuchMemory { limit: self.limits.memory_bytes_max }
        } else {
            self.samples_peak.fetch_max(samples_now, Relaxed);
            self.bytes_peak.fetch_max(bytes_now, Relaxed);
            return Ok(());
        };
        self.give_back(samples, bytes);
        Err(refusal)
    }

    fn give_back(&self, samples: usize, bytes: usize) {
        self.samples.fetch_sub(samples, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// What one operator holds of the budget.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<Account>,
    samples: usize,
    bytes: usize,
}

impl Reservation {
    /// Takes more; on refusal nothing has changed.
    pub fn grow(&mut self, samples: usize, bytes: usize) -> Result<(), BudgetError> {
        self.account.take(samples, bytes)?;
        self.samples += samples;
        self.bytes += bytes;
        Ok(())
    }

    /// Holds exactly this much from now on.
    pub fn set(&mut self, samples: usize, bytes: usize) -> Result<(), BudgetError> {
        self.account.take(samples.saturating_sub(self.samples), bytes.saturating_sub(self.bytes))?;
        self.account.give_back(self.samples.saturating_sub(samples), self.bytes.saturating_sub(bytes));
        (self.samples, self.bytes) = (samples, bytes);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.give_back(self.samples, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_samples: usize, memory_bytes_max: usize) -> QueryBudget {
        QueryBudget::new(Limits { max_samples, memory_bytes_max, deadline: None })
    }

    #[test]
    fn a_refused_reservation_changes_nothing() {
        let budget = budget(10, 100);
        let mut held = budget.reservation();
        held.grow(6, 50).expect("within both limits");
        assert_eq!(held.grow(5, 0), Err(BudgetError::TooManySamples));
        assert_eq!(held.grow(0, 51), Err(BudgetError::TooMuchMemory { limit: 100 }));
        held.set(10, 100).expect("exactly the limits");
        drop(held);
        budget.reservation().grow(10, 100).expect("everything was given back");
        assert_eq!((budget.samples_peak(), budget.bytes_peak()), (10, 100));
    }

    #[test]
    fn time_and_cancel_are_named() {
        let cancel = CancelHandle::default();
        let limits = Limits { max_samples: 1, memory_bytes_max: 1, deadline: Some(Instant::now()) };
        let budget = QueryBudget::with_cancel(limits, cancel.clone());
        assert_eq!(budget.check(), Err(BudgetError::TimedOut));
        cancel.cancel();
        assert_eq!(budget.check(), Err(BudgetError::Canceled));
    }
}
