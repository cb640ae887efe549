//! The control plane's processors, and how many threads work on them for queries: one for each query, and helpers while there are
//! fewer of those than processors.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use promql::help::{Helpers, Work};

use super::give_way;
use crate::telemetry::metrics::Metrics;

#[derive(Clone)]
pub(super) struct Processors(Arc<Inner>);

struct Inner {
    count: usize,
    busy: AtomicUsize,
    metrics: Arc<Metrics>,
    /// Its blocking threads stay on these processors.
    runtime: tokio::runtime::Handle,
}

impl Inner {
    /// Counts one more thread if it has a processor for itself.
    fn take_idle(&self) -> bool {
        let one_more = |busy| (busy < self.count).then_some(busy + 1);
        self.busy.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Counts one less if there are more threads than processors.
    fn leave_if_crowded(&self) -> bool {
        let one_less = |busy| (busy > self.count).then(|| busy - 1);
        self.busy.fetch_update(Relaxed, Relaxed, one_less).is_ok()
    }
}

/// A thread that is counted, until this goes.
pub(super) struct Busy {
    processors: Processors,
    is_counted: Cell<bool>,
}

impl Busy {
    fn is_wanted_back(&self) -> bool {
        let leaves = self.is_counted.get() && self.processors.0.leave_if_crowded();
        self.is_counted.set(self.is_counted.get() && !leaves);
        leaves
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.is_counted.get() {
            self.processors.0.busy.fetch_sub(1, Relaxed);
        }
    }
}

impl Processors {
    pub(super) fn new(count: usize, metrics: Arc<Metrics>, runtime: tokio::runtime::Handle) -> Self {
        Self(Arc::new(Inner { count, busy: AtomicUsize::new(0), metrics, runtime }))
    }

    /// For a query's own thread, which is not kept waiting: helpers leave instead.
    pub(super) fn occupy(&self) -> Busy {
        self.0.busy.fetch_add(1, Relaxed);
        self.counted()
    }

    fn counted(&self) -> Busy {
        Busy { processors: self.clone(), is_counted: Cell::new(true) }
    }
}

impl Helpers for Processors {
    fn lend(&self, work: Work) -> bool {
        if !self.0.take_idle() {
            return false;
        }
        let busy = self.counted();
        self.0.metrics.query_helpers.add(1);
        self.0.runtime.spawn_blocking(move || {
            give_way();
            work(&|| busy.is_wanted_back());
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn idle_processors_are_lent_and_wanted_back_one_by_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let processors = Processors::new(3, Arc::default(), runtime.handle().clone());
        let query = processors.occupy();
        let (asked, answers) = (mpsc::channel::<mpsc::Sender<bool>>(), mpsc::channel());
        let requests = Arc::new(std::sync::Mutex::new(asked.1));
        let helper = || -> Work {
            let (requests, ended) = (requests.clone(), answers.0.clone());
            Box::new(move |is_wanted_back| {
                while let Ok(answer) = requests.lock().expect("no panic").recv() {
                    let leaves = is_wanted_back();
                    answer.send(leaves).expect("somebody waits");
                    if leaves {
                        break;
                    }
                }
                ended.send(()).expect("somebody waits");
            })
        };
        let ask = || {
            let (answer, answers) = mpsc::channel();
            asked.0.send(answer).expect("a helper");
            answers.recv().expect("an answer")
        };
        assert!(processors.lend(helper()) && processors.lend(helper()));
        assert!(!processors.lend(helper()), "three threads are at work");
        assert!(!ask());
        let other = processors.occupy();
        assert!(ask(), "one helper makes room for the query");
        answers.1.recv().expect("it ends");
        assert!(!ask(), "the other one stays");
        drop((query, other));
        assert!(processors.lend(helper()));
        drop(asked.0);
        answers.1.recv().expect("it ends");
        answers.1.recv().expect("it ends");
        drop(runtime);
        assert_eq!(processors.0.busy.load(Relaxed), 0);
    }
}
