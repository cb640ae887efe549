//! Work on the series of a selection in morsels, which the query's own thread and its helpers claim one after the other
//! (morsel-driven parallelism: Leis et al., SIGMOD 2014).
//!
//! Results are handed on in the order of the series, whoever made them, so that an answer does not depend on how many helped.
//! A thread gets ahead of what has been handed on by a few morsels at most, which bounds the memory.

use std::{
    collections::VecDeque,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    exec::Result,
    help::{Help, SERIES_MAX},
};

/// What a morsel should take: long beside handing it over, short beside what a query takes that is worth helping.
const MORSEL_TIME: Duration = Duration::from_micros(500);
/// Values that the rows of a morsel have at most, unless it is of one series: they wait in memory.
const MORSEL_VALUES: usize = 64 << 10;
/// Morsels for each thread that may be claimed and not yet handed on.
const AHEAD: usize = 2;
/// Between two looks of a waiting helper at whether it is wanted elsewhere.
const LOOK: Duration = Duration::from_millis(5);

/// What is done with a morsel. Each thread has a worker of its own.
pub(crate) trait Worker: Send + Sized + 'static {
    type Output: Send + 'static;

    /// An empty output.
    fn output(&self) -> Self::Output;

    /// Puts the result for some series in place of what the output holds.
    fn work(&mut self, series: Range<usize>, output: &mut Self::Output) -> Result<()>;

    /// Another worker for the same series.
    fn twin(&self) -> Self;
}

/// The results for all series of a selection.
pub(crate) struct Morsels<W: Worker> {
    own: W,
    shared: Arc<Shared<W>>,
    help: Option<Help>,
    /// How long this thread has worked since it last asked for help.
    worked: Duration,
}

struct Shared<W: Worker> {
    state: Mutex<State<W>>,
    /// Notified when there is something for the query's thread: the next result, or the end of a helper.
    made: Condvar,
    /// Notified when helpers may go on.
    room: Condvar,
}

struct State<W: Worker> {
    /// As many as are thought to take [`MORSEL_TIME`]; what a series takes is known only once some have been worked on.
    series_at_once: usize,
    series_max: usize,
    unclaimed: Range<usize>,
    /// Results of the morsels that have been claimed and not been handed on, in order; `None` while one is worked on.
    claimed: VecDeque<Option<Result<W::Output>>>,
    /// The number of the first of them.
    first: usize,
    /// Outputs to be used again.
    spare: Vec<W::Output>,
    /// For helpers that have been asked for and have not begun. Not with the helpers themselves: what a worker holds has to go with the
    /// query, even if a thread that was to help it comes late.
    workers: Vec<W>,
    /// Helpers that have begun and not ended.
    helpers: usize,
    is_closed: bool,
    has_panicked: bool,
}

struct Claim<T> {
    number: usize,
    series: Range<usize>,
    output: Option<T>,
}

impl<W: Worker> State<W> {
    /// Whether as much has been claimed as may be.
    fn is_ahead(&self) -> bool {
        self.claimed.len() >= AHEAD * (self.helpers + 1)
    }

    fn claim(&mut self) -> Option<Claim<W::Output>> {
        if self.unclaimed.is_empty() {
            return None;
        }
        let series = self.unclaimed.start..self.unclaimed.end.min(self.unclaimed.start + self.series_at_once);
        self.unclaimed.start = series.end;
        self.claimed.push_back(None);
        Some(Claim { number: self.first + self.claimed.len() - 1, series, output: self.spare.pop() })
    }

    /// Learns from what some series took; a little at a time, as the thread may only have been interrupted.
    fn learn(&mut self, series: usize, took: Duration) {
        let fitting = MORSEL_TIME.as_nanos() / (took.as_nanos() / series as u128).max(1);
        let most = (2 * self.series_at_once).min(self.series_max);
        let least = (self.series_at_once / 4).max(1);
        self.series_at_once = usize::try_from(fitting).unwrap_or(usize::MAX).clamp(least, most);
    }

    fn finish(&mut self, number: usize, result: Result<W::Output>) {
        if result.is_err() {
            self.give_up();
        }
        self.claimed[number - self.first] = Some(result);
    }

    fn give_up(&mut self) {
        self.unclaimed.start = self.unclaimed.end;
    }

    /// The next result, if it is there.
    fn take(&mut self) -> Option<Result<W::Output>> {
        self.claimed.front()?.as_ref()?;
        self.first += 1;
        self.claimed.pop_front()?
    }
}

impl<W: Worker> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Worker> Morsels<W> {
    /// For series numbered from 0, whose results have so many values each.
    pub(crate) fn new(own: W, series: usize, values_each: usize, help: Option<Help>) -> Self {
        let series_max = help.as_ref().map_or(SERIES_MAX, |help| help.series_max);
        let state = State {
            series_at_once: 1,
            series_max: (MORSEL_VALUES / values_each.max(1)).clamp(1, series_max),
            unclaimed: 0..series,
            claimed: VecDeque::new(),
            first: 0,
            spare: Vec::new(),
            workers: Vec::new(),
            helpers: 0,
            is_closed: false,
            has_panicked: false,
        };
        let shared = Shared { state: Mutex::new(state), made: Condvar::new(), room: Condvar::new() };
        Self { own, shared: Arc::new(shared), help, worked: Duration::ZERO }
    }

    pub(crate) fn output(&self) -> W::Output {
        self.own.output()
    }

    /// Puts the result of the next morsel in place of `output`, which is used again; false when there is none left.
    pub(crate) fn next(&mut self, output: &mut W::Output) -> Result<bool> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            if let Some(result) = state.take() {
                state.spare.push(std::mem::replace(output, result?));
                if !state.is_ahead() {
                    shared.room.notify_all();
                }
                return Ok(true);
            }
            assert!(!state.has_panicked, "a helper of the query met a mistake of the program");
            let claim = if state.is_ahead() { None } else { state.claim() };
            if let Some(Claim { number, series, output }) = claim {
                drop(state);
                let (count, start) = (series.len(), Instant::now());
                let result = work(&mut self.own, series, output);
                let took = start.elapsed();
                if self.wants_help(took) {
                    self.ask();
                }
                state = shared.lock();
                state.learn(count, took);
                state.finish(number, result);
            } else if state.claimed.is_empty() {
                return Ok(false);
            } else {
                state = shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Whether this thread has worked long enough again.
    fn wants_help(&mut self, took: Duration) -> bool {
        self.worked += took;
        let wants = self.help.as_ref().is_some_and(|help| self.worked >= help.after);
        if wants {
            self.worked = Duration::ZERO;
        }
        wants
    }

    /// Asks for as many helpers as there are morsels left for.
    fn ask(&self) {
        let Some(help) = &self.help else { return };
        let (left, present) = {
            let state = self.shared.lock();
            (state.unclaimed.len().div_ceil(state.series_at_once), state.helpers)
        };
        for _ in present + 1..left {
            self.shared.lock().workers.push(self.own.twin());
            let shared = self.shared.clone();
            if !help.helpers.lend(Box::new(move |is_wanted_back| lend_a_hand(&shared, is_wanted_back))) {
                self.shared.lock().workers.pop();
                return;
            }
        }
    }
}

impl<W: Worker> Drop for Morsels<W> {
    /// Once a query has ended nothing works for it.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.give_up();
        self.shared.room.notify_all();
        while state.helpers > 0 {
            state = self.shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.claimed.clear();
        state.spare.clear();
        state.workers.clear();
    }
}

fn work<W: Worker>(worker: &mut W, series: Range<usize>, output: Option<W::Output>) -> Result<W::Output> {
    let mut output = output.unwrap_or_else(|| worker.output());
    worker.work(series, &mut output)?;
    Ok(output)
}

/// What a helper does.
fn lend_a_hand<W: Worker>(shared: &Shared<W>, is_wanted_back: &dyn Fn() -> bool) {
    let mut state = shared.lock();
    if state.is_closed {
        return;
    }
    let Some(mut worker) = state.workers.pop() else { return };
    state.helpers += 1;
    while !state.unclaimed.is_empty() && !is_wanted_back() {
        let claim = if state.is_ahead() { None } else { state.claim() };
        let Some(Claim { number, series, output }) = claim else {
            state = shared.room.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        };
        drop(state);
        let result = panic::catch_unwind(AssertUnwindSafe(|| work(&mut worker, series, output)));
        state = shared.lock();
        match result {
            Ok(result) => state.finish(number, result),
            Err(_) => {
                state.has_panicked = true;
                state.give_up();
            }
        }
        if number == state.first || state.has_panicked {
            shared.made.notify_one();
        }
    }
    // Before the query's thread hears of it, which may end the query then.
    drop(worker);
    state.helpers -= 1;
    shared.made.notify_one();
}
