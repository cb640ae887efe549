//! The times at which an expression is evaluated.

/// Bound on the evaluation steps of a query or a subquery. The HTTP API's own is far lower; this one keeps arithmetic and
/// memory sane for every other caller.
pub(crate) const STEPS_MAX: usize = 10_000_000;

/// `count` times from `start` on, `step` apart; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) count: usize,
}

impl Grid {
    pub(crate) fn instant(time: i64) -> Self {
        Self { start: time, step: 0, count: 1 }
    }

    /// All times from `start` to `end`, inclusive; empty when `end` is before `start`.
    pub(crate) fn range(start: i64, end: i64, step: i64) -> Self {
        let count = if end < start { 0 } else { (end.abs_diff(start) / step.unsigned_abs().max(1)) as usize + 1 };
        Self { start, step, count }
    }

    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(step as i64))
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        let grid = *self;
        (0..grid.count).map(move |step| grid.time(step))
    }
}

/// Where a selector looks at each step: `@` fixes the time, `offset` moves it afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) grid: Grid,
    pub(crate) at: Option<i64>,
    pub(crate) offset: i64,
    /// Width in milliseconds; a window is open on the left and closed on the right.
    pub(crate) range: i64,
}

impl Windows {
    pub(crate) fn len(&self) -> usize {
        self.grid.count
    }

    /// Last time of the window of a step, inclusive.
    pub(crate) fn end(&self, step: usize) -> i64 {
        self.at.unwrap_or_else(|| self.grid.time(step)).saturating_sub(self.offset)
    }

    /// First time of the window of a step, exclusive.
    pub(crate) fn start(&self, step: usize) -> i64 {
        self.end(step).saturating_sub(self.range)
    }

    /// All ends, in order of steps: what `end` gives, by one addition each.
    pub(crate) fn ends(&self) -> impl Iterator<Item = i64> + use<> {
        let stride = if self.at.is_some() { 0 } else { self.grid.step };
        let mut next = self.end(0);
        (0..self.len()).map(move |_| {
            let end = next;
            next = next.saturating_add(stride);
            end
        })
    }

    /// Last time of the last window, inclusive.
    pub(crate) fn last_end(&self) -> i64 {
        self.end(self.len().saturating_sub(1))
    }
}
