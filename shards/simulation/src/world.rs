//! A deterministic world: one real thread, virtual time, many simulated processes of many simulated threads.
//!
//! Promised: everything that happens follows from the seed. At each step one thread that has something to run and is not busy is
//! drawn, then one of its ready tasks, in any order; the poll costs that thread some virtual time, now and then a long stall.
//! When nobody can run, time jumps to the next event. Every choice goes into a trace hash, so that two runs can be compared.
//!
//! Not simulated: data races within a step, as a poll is atomic here; memory orderings are the business of loom-like tools.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::random::Random;

/// Nanoseconds since the world began.
pub type Nanos = u64;

pub const MICROSECOND: Nanos = 1_000;
pub const MILLISECOND: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000_000_000;

/// Where the wall clock stands when the world begins: 2026-01-01, in milliseconds.
pub const WALL_START_MS: i64 = 1_767_225_600_000;

/// How often a poll stalls its thread for up to seconds, by a million polls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stalls {
    pub per_million: u64,
    pub longest: Nanos,
}

/// Handle of the world; clones are the same world.
#[derive(Clone)]
pub struct World {
    state: Rc<RefCell<State>>,
    woken: Arc<Woken>,
    /// What tasks see between steps without borrowing the state.
    now: Rc<Cell<Nanos>>,
    /// Whether the story is told aloud.
    aloud: Rc<Cell<bool>>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Action = Box<dyn FnOnce()>;

struct State {
    random: Random,
    wall_offset_ms: i64,
    stalls: Stalls,
    tasks: BTreeMap<u64, TaskSlot>,
    threads: Vec<Thread>,
    processes: u64,
    events: BinaryHeap<Reverse<Event>>,
    next_number: u64,
    steps: u64,
    trace: Trace,
    tasks_most: usize,
}

struct TaskSlot {
    thread: usize,
    process: ProcessId,
    /// Absent while the task is being polled.
    future: Option<Task>,
    waker: Arc<TaskWaker>,
}

struct Thread {
    process: ProcessId,
    ready: Vec<u64>,
    busy_until: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId(usize);

struct Event {
    at: Nanos,
    number: u64,
    action: Action,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Tasks woken since the last step. A mutex only because wakers must be `Send`; there is one thread.
#[derive(Default)]
struct Woken {
    tasks: Mutex<Vec<u64>>,
}

impl Woken {
    fn take_into(&self, into: &mut Vec<u64>) {
        into.append(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct TaskWaker {
    task: u64,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.woken.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
        }
    }
}

/// Order-sensitive hash of everything that happened.
#[derive(Clone, Copy, Debug, Default)]
struct Trace(u64);

impl Trace {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ran,
    /// Nothing is ready and nothing will be: everybody waits for somebody.
    Idle,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            wall_offset_ms: WALL_START_MS,
            stalls: Stalls::default(),
            tasks: BTreeMap::new(),
            threads: Vec::new(),
            processes: 0,
            events: BinaryHeap::new(),
            next_number: 0,
            steps: 0,
            trace: Trace::default(),
            tasks_most: 0,
        };
        Self { state: Rc::new(RefCell::new(state)), woken: Arc::default(), now: Rc::default(), aloud: Rc::default() }
    }

    pub fn now(&self) -> Nanos {
        self.now.get()
    }

    pub fn wall_clock_ms(&self) -> i64 {
        self.state.borrow().wall_offset_ms + (self.now() / MILLISECOND) as i64
    }

    /// Moves the wall clock, either way.
    pub fn jump_wall_clock(&self, by_ms: i64) {
        self.state.borrow_mut().wall_offset_ms += by_ms;
        self.note(by_ms as u64);
    }

    pub fn set_stalls(&self, stalls: Stalls) {
        self.state.borrow_mut().stalls = stalls;
    }

    pub fn fork_random(&self) -> Random {
        self.state.borrow_mut().random.fork()
    }

    /// From now on [`World::say`] speaks, on standard error.
    pub fn tell_aloud(&self) {
        self.aloud.set(true);
    }

    /// A line of the story, for whoever repeats a seed to see why it fails.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.aloud.get() {
            eprintln!("{:>14} {}", self.now(), line());
        }
    }

    /// Puts a fact into the trace.
    pub fn note(&self, fact: u64) {
        self.state.borrow_mut().trace.add(fact);
    }

    /// Hash of everything that happened so far.
    pub fn trace(&self) -> u64 {
        self.state.borrow().trace.0
    }

    /// Polls so far.
    pub fn steps(&self) -> u64 {
        self.state.borrow().steps
    }

    /// The most tasks that were alive at one time.
    pub fn tasks_most(&self) -> usize {
        self.state.borrow().tasks_most
    }

    pub fn new_process(&self) -> ProcessId {
        let mut state = self.state.borrow_mut();
        state.processes += 1;
        ProcessId(state.processes)
    }

    pub fn new_thread(&self, process: ProcessId) -> ThreadId {
        let mut state = self.state.borrow_mut();
        state.threads.push(Thread { process, ready: Vec::new(), busy_until: 0 });
        ThreadId(state.threads.len() - 1)
    }

    /// Starts a task. On a thread of a killed process it is dropped at once.
    pub fn spawn(&self, thread: ThreadId, future: impl Future<Output = ()> + 'static) {
        let mut state = self.state.borrow_mut();
        let process = state.threads[thread.0].process;
        if process == DEAD {
            drop(state);
            drop(future);
            return;
        }
        let task = state.number();
        let waker = Arc::new(TaskWaker { task, queued: AtomicBool::new(true), woken: Arc::clone(&self.woken) });
        let future: Task = Box::pin(future);
        state.tasks.insert(task, TaskSlot { thread: thread.0, process, future: Some(future), waker });
        state.threads[thread.0].ready.push(task);
        state.tasks_most = state.tasks_most.max(state.tasks.len());
    }

    /// Runs an action at a time, or as soon after it as the world gets there.
    pub fn at(&self, at: Nanos, action: impl FnOnce() + 'static) {
        let mut state = self.state.borrow_mut();
        let number = state.number();
        state.events.push(Reverse(Event { at, number, action: Box::new(action) }));
    }

    /// Completes after the given time and a little more, as timers do.
    pub async fn sleep(&self, duration: Duration) {
        let slack = self.state.borrow_mut().random.skewed(17);
        let wake_at = self.now() + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4) + slack;
        let mut armed = false;
        std::future::poll_fn(|context| {
            if self.now() >= wake_at {
                return Poll::Ready(());
            }
            if !armed {
                armed = true;
                let waker = context.waker().clone();
                self.at(wake_at, move || waker.wake());
            }
            Poll::Pending
        })
        .await;
    }

    /// Ends a process between two steps: its tasks are dropped, and it will never run again.
    pub fn kill(&self, process: ProcessId) {
        let mut state = self.state.borrow_mut();
        let doomed: Vec<u64> =
            state.tasks.iter().filter(|(_, slot)| slot.process == process).map(|(&task, _)| task).collect();
        let slots: Vec<_> = doomed.iter().filter_map(|task| state.tasks.remove(task)).collect();
        for thread in state.threads.iter_mut().filter(|thread| thread.process == process) {
            thread.process = DEAD;
            thread.ready.clear();
        }
        // Destructors may wake, send and even spawn, so the state must be free.
        drop(state);
        drop(slots);
    }

    /// Runs one poll, or moves time to the next event.
    pub fn step(&self) -> Step {
        self.collect_woken();
        self.fire_due();
        loop {
            if let Some((task, thread)) = self.draw() {
                self.poll(task, thread);
                return Step::Ran;
            }
            let Some(next) = self.next_moment() else { return Step::Idle };
            self.now.set(next.max(self.now()));
            self.fire_due();
        }
    }

    /// Runs the world until the future is done; `None` if everybody waits for ever before that.
    pub fn block_on<T: 'static>(&self, thread: ThreadId, future: impl Future<Output = T> + 'static) -> Option<T> {
        let slot: Rc<RefCell<Option<T>>> = Rc::default();
        let result = Rc::clone(&slot);
        self.spawn(thread, async move {
            let value = future.await;
            *result.borrow_mut() = Some(value);
        });
        while slot.borrow().is_none() {
            if self.step() == Step::Idle {
                return None;
            }
        }
        slot.take()
    }

    /// Ends everything. Tasks and events hold the world they live in, so a world that is not ended is never freed.
    pub fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.threads.iter_mut().for_each(|thread| thread.process = DEAD);
        let tasks = std::mem::take(&mut state.tasks);
        let events = std::mem::take(&mut state.events);
        drop(state);
        drop(tasks);
        drop(events);
    }

    fn collect_woken(&self) {
        let mut woken = Vec::new();
        self.woken.take_into(&mut woken);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        for task in woken {
            if let Some(slot) = state.tasks.get(&task) {
                state.threads[slot.thread].ready.push(task);
            }
        }
    }

    fn fire_due(&self) {
        loop {
            let mut state = self.state.borrow_mut();
            let now = self.now();
            if state.events.peek().is_none_or(|Reverse(event)| event.at > now) {
                break;
            }
            let Some(Reverse(event)) = state.events.pop() else { break };
            drop(state);
            (event.action)();
        }
        self.collect_woken();
    }

    /// A thread that can run, and one of its tasks, by chance.
    fn draw(&self) -> Option<(u64, usize)> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let now = self.now();
        let can_run = |thread: &Thread| !thread.ready.is_empty() && thread.busy_until <= now;
        let count = state.threads.iter().filter(|thread| can_run(thread)).count();
        if count == 0 {
            return None;
        }
        let nth = state.random.index(count);
        let (number, thread) = state.threads.iter_mut().enumerate().filter(|(_, t)| can_run(t)).nth(nth)?;
        let at = state.random.index(thread.ready.len());
        Some((thread.ready.swap_remove(at), number))
    }

    fn poll(&self, task: u64, thread: usize) {
        let mut state = self.state.borrow_mut();
        state.steps += 1;
        state.trace.add(task);
        state.trace.add(self.now());
        let cost = state.poll_cost();
        state.threads[thread].busy_until = self.now() + cost;
        let Some(slot) = state.tasks.get_mut(&task) else { return };
        let waker = Arc::clone(&slot.waker);
        let Some(mut future) = slot.future.take() else { return };
        drop(state);

        waker.queued.store(false, Ordering::Relaxed);
        let outcome = future.as_mut().poll(&mut Context::from_waker(&Waker::from(waker)));

        let mut state = self.state.borrow_mut();
        if outcome.is_ready() {
            state.tasks.remove(&task);
        } else if let Some(slot) = state.tasks.get_mut(&task) {
            slot.future = Some(future);
            return;
        }
        drop(state);
        drop(future);
    }

    fn next_moment(&self) -> Option<Nanos> {
        let state = self.state.borrow();
        let event = state.events.peek().map(|Reverse(event)| event.at);
        let threads = state.threads.iter().filter(|thread| !thread.ready.is_empty()).map(|thread| thread.busy_until);
        threads.chain(event).min()
    }
}

/// The process of threads whose process was killed.
const DEAD: ProcessId = ProcessId(0);

impl State {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn poll_cost(&mut self) -> Nanos {
        if self.random.per_million(self.stalls.per_million) {
            return self.random.range(MILLISECOND..self.stalls.longest.max(2 * MILLISECOND));
        }
        100 + self.random.skewed(13)
    }
}

#[cfg(test)]
mod tests;
