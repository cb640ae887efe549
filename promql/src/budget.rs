//! What one query may use: samples and bytes held at a time, and time. Everything that can grow takes from it first.
//!
//! The account is shared by the threads of a query, and can be read and canceled from any other.

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

/// A query as others see it: what it uses, and a way to cancel it, from any thread.
#[derive(Clone, Debug, Default)]
pub struct QueryMonitor(Arc<Usage>);

#[derive(Debug, Default)]
struct Usage {
    canceled: AtomicBool,
    samples: AtomicUsize,
    samples_peak: AtomicUsize,
    samples_read: AtomicUsize,
    bytes: AtomicUsize,
    bytes_peak: AtomicUsize,
}

impl QueryMonitor {
    /// Stops the query at its next look at its budget.
    pub fn cancel(&self) {
        self.0.canceled.store(true, Relaxed);
    }

    /// Most samples that were held at one time.
    pub fn samples_peak(&self) -> usize {
        self.0.samples_peak.load(Relaxed)
    }

    /// All samples that came from the source so far.
    pub fn samples_read(&self) -> usize {
        self.0.samples_read.load(Relaxed)
    }

    /// Bytes that are held now.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Most bytes that were held at one time.
    pub fn bytes_peak(&self) -> usize {
        self.0.bytes_peak.load(Relaxed)
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

/// The account of one query, and a way to it for each of its threads.
#[derive(Clone, Debug)]
pub struct QueryBudget {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    limits: Limits,
    usage: Arc<Usage>,
}

impl QueryBudget {
    pub fn new(limits: Limits) -> Self {
        Self::monitored(limits, &QueryMonitor::default())
    }

    pub fn monitored(limits: Limits, monitor: &QueryMonitor) -> Self {
        Self { account: Arc::new(Account { limits, usage: Arc::clone(&monitor.0) }) }
    }

    /// Refuses when the time is over or somebody canceled. Called per tile and per batch, never per sample.
    pub fn check(&self) -> Result<(), BudgetError> {
        if self.account.usage.canceled.load(Relaxed) {
            return Err(BudgetError::Canceled);
        }
        match self.account.limits.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(BudgetError::TimedOut),
            _ => Ok(()),
        }
    }

    pub(crate) fn count_read(&self, samples: usize) {
        self.account.usage.samples_read.fetch_add(samples, Relaxed);
    }

    /// An empty reservation; what it takes is given back when it is dropped.
    pub fn reservation(&self) -> Reservation {
        Reservation { account: Arc::clone(&self.account), samples: 0, bytes: 0 }
    }
}

impl Account {
    fn take(&self, samples: usize, bytes: usize) -> Result<(), BudgetError> {
        let samples_now = self.usage.samples.fetch_add(samples, Relaxed) + samples;
        let bytes_now = self.usage.bytes.fetch_add(bytes, Relaxed) + bytes;
        let refusal = if samples_now > self.limits.max_samples {
            BudgetError::TooManySamples
        } else if bytes_now > self.limits.memory_bytes_max {
            BudgetError::TooMuchMemory { limit: self.limits.memory_bytes_max }
        } else {
            self.usage.samples_peak.fetch_max(samples_now, Relaxed);
            self.usage.bytes_peak.fetch_max(bytes_now, Relaxed);
            return Ok(());
        };
        self.give_back(samples, bytes);
        Err(refusal)
    }

    fn give_back(&self, samples: usize, bytes: usize) {
        self.usage.samples.fetch_sub(samples, Relaxed);
        self.usage.bytes.fetch_sub(bytes, Relaxed);
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

    #[test]
    fn a_refused_reservation_changes_nothing() {
        let monitor = QueryMonitor::default();
        let limits = Limits { max_samples: 10, memory_bytes_max: 100, deadline: None };
        let budget = QueryBudget::monitored(limits, &monitor);
        let mut held = budget.reservation();
        held.grow(6, 50).expect("within both limits");
        assert_eq!(held.grow(5, 0), Err(BudgetError::TooManySamples));
        assert_eq!(held.grow(0, 51), Err(BudgetError::TooMuchMemory { limit: 100 }));
        held.set(10, 100).expect("exactly the limits");
        assert_eq!(monitor.bytes(), 100);
        drop(held);
        assert_eq!(monitor.bytes(), 0);
        budget.reservation().grow(10, 100).expect("everything was given back");
        assert_eq!((monitor.samples_peak(), monitor.bytes_peak()), (10, 100));
    }

    #[test]
    fn time_and_cancel_are_named() {
        let monitor = QueryMonitor::default();
        let limits = Limits { max_samples: 1, memory_bytes_max: 1, deadline: Some(Instant::now()) };
        let budget = QueryBudget::monitored(limits, &monitor);
        assert_eq!(budget.check(), Err(BudgetError::TimedOut));
        monitor.cancel();
        assert_eq!(budget.check(), Err(BudgetError::Canceled));
    }
}
