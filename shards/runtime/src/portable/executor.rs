//! Runs the tasks of one thread, which parks while nothing is ready. Wakers may be used from any thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Instant,
};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A task's place in the table; the main future has none.
type TaskId = Option<usize>;

pub(super) struct Executor {
    /// A task is taken out of its place while it runs.
    tasks: RefCell<Vec<Place>>,
    free: RefCell<Vec<usize>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_timer: Cell<u64>,
    ready: Arc<Ready>,
}

struct Place {
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

/// Tasks to run, in the order in which they were woken.
struct Ready {
    queue: Mutex<Vec<Arc<TaskWaker>>>,
    thread: Thread,
}

struct TaskWaker {
    id: TaskId,
    /// In `Ready::queue` already, so that a task woken many times runs once.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    fn push(&self, waker: Arc<TaskWaker>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        // No system call unless the thread has parked itself.
        self.thread.unpark();
    }

    /// Moves what is ready into `into`, which is empty.
    fn take(&self, into: &mut Vec<Arc<TaskWaker>>) {
        std::mem::swap(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let ready = Arc::clone(&self.ready);
            ready.push(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(Arc::clone(self));
        }
    }
}

impl Executor {
    /// For the current thread, which is the one to call [`Executor::block_on`].
    pub(super) fn new() -> Self {
        Self {
            tasks: RefCell::default(),
            free: RefCell::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            ready: Arc::new(Ready { queue: Mutex::default(), thread: thread::current() }),
        }
    }

    /// Runs `main` to its end, and the spawned tasks beside it; those left over are dropped.
    pub(super) fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let main_waker = self.waker(None);
        Arc::clone(&main_waker).wake();
        let mut batch = Vec::new();
        let output = loop {
            self.wake_expired();
            self.ready.take(&mut batch);
            if batch.is_empty() {
                self.park();
                continue;
            }
            if let Some(output) = self.run_batch(&mut batch, main.as_mut()) {
                break output;
            }
        };
        self.drop_tasks();
        output
    }

    pub(super) fn spawn(&self, task: Task) {
        let free = self.free.borrow_mut().pop();
        let mut tasks = self.tasks.borrow_mut();
        let id = free.unwrap_or(tasks.len());
        let waker = self.waker(Some(id));
        let place = Place { task: Some(task), waker: Arc::clone(&waker) };
        if id == tasks.len() {
            tasks.push(place);
        } else {
            tasks[id] = place;
        }
        drop(tasks);
        waker.wake();
    }

    pub(super) fn sleep_until(&self, deadline: Instant) -> Sleep<'_> {
        let id = self.next_timer.get();
        self.next_timer.set(id + 1);
        Sleep { executor: self, key: (deadline, id) }
    }

    fn waker(&self, id: TaskId) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { id, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) })
    }

    fn run_batch<T>(&self, batch: &mut Vec<Arc<TaskWaker>>, mut main: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        for woken in batch.drain(..) {
            // Before the poll, so that a wake-up during it counts.
            woken.queued.store(false, Ordering::Release);
            if let Some(id) = woken.id {
                self.run_task(id, &woken);
            } else if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&Waker::from(woken))) {
                return Some(output);
            }
        }
        None
    }

    fn run_task(&self, id: usize, woken: &Arc<TaskWaker>) {
        let task = match self.tasks.borrow_mut().get_mut(id) {
            // A late wake-up of a task that is done must not run the next one in its place.
            Some(place) if Arc::ptr_eq(&place.waker, woken) => place.task.take(),
            _ => None,
        };
        let Some(mut task) = task else { return };
        let waker = Waker::from(Arc::clone(woken));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[id].task = Some(task);
        } else {
            self.free.borrow_mut().push(id);
        }
    }

    fn wake_expired(&self) {
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some(timer) = timers.first_entry().filter(|timer| timer.key().0 <= now) else { break };
            let waker = timer.remove();
            drop(timers);
            waker.wake();
        }
    }

    fn park(&self) {
        let next = self.timers.borrow().first_key_value().map(|(key, _)| key.0);
        match next {
            Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }

    /// Tasks hold clones of the runtime and so of this executor: dropping them here breaks that ring. A dropped task may spawn.
    fn drop_tasks(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            self.free.borrow_mut().clear();
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
    }
}

/// Done at its deadline; takes its timer along when dropped earlier.
pub(super) struct Sleep<'a> {
    executor: &'a Executor,
    key: (Instant, u64),
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.executor.timers.borrow_mut();
        if self.key.0 <= Instant::now() {
            timers.remove(&self.key);
            return Poll::Ready(());
        }
        timers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.executor.timers.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, time::Duration};

    use super::*;

    #[test]
    fn a_dropped_sleep_leaves_no_timer() {
        let executor = Executor::new();
        executor.block_on(async {
            let mut sleep = Box::pin(executor.sleep_until(Instant::now() + Duration::from_secs(60)));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(executor.timers.borrow().len(), 1);
        });
        assert!(executor.timers.borrow().is_empty());
    }

    #[test]
    fn places_of_done_tasks_are_used_again_and_their_wakers_do_nothing() {
        let executor = Executor::new();
        let runs = Rc::new(Cell::new(0));
        executor.block_on(async {
            let mut stale = Vec::new();
            for _ in 0..100 {
                let runs = Rc::clone(&runs);
                executor.spawn(Box::pin(async move { runs.set(runs.get() + 1) }));
                stale.push(Arc::clone(&executor.tasks.borrow()[0].waker));
                crate::worker::yield_once().await;
                stale.iter().for_each(Wake::wake_by_ref);
            }
        });
        assert_eq!(runs.get(), 100);
        assert!(executor.tasks.borrow().is_empty());
    }

    #[test]
    fn tasks_left_over_are_dropped() {
        let executor = Executor::new();
        let held = Rc::new(());
        let copy = Rc::clone(&held);
        executor.block_on(async {
            executor.spawn(Box::pin(async move {
                std::future::pending::<()>().await;
                drop(copy);
            }));
        });
        assert_eq!(Rc::strong_count(&held), 1);
    }
}
