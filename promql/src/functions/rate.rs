//! rate, increase, delta, irate, idelta: differences of counters and gauges.

use crate::{
    exec::{batch::RowMut, grid::Windows},
    functions::{Kernel, each_window},
    source::Samples,
};

/// What `rate`, `increase` and `delta` do with the difference of a window's ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    /// A value below the one before is a reset, not a fall.
    pub(crate) is_counter: bool,
    /// Per second.
    pub(crate) is_rate: bool,
}

/// Extrapolated to the window's ends.
pub(crate) struct Extrapolated {
    pub(crate) difference: Difference,
    /// Positions of samples that are below the one before.
    resets: Vec<usize>,
}

impl Extrapolated {
    pub(crate) fn new(difference: Difference) -> Self {
        Self { difference, resets: Vec::new() }
    }

    fn find_resets(&mut self, values: &[f64]) {
        self.resets.clear();
        if self.difference.is_counter {
            let falls = values.windows(2).enumerate().filter(|(_, pair)| pair[1] < pair[0]);
            self.resets.extend(falls.map(|(at, _)| at + 1));
        }
    }
}

impl Kernel for Extrapolated {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        let Samples { times, values, .. } = samples;
        self.find_resets(values);
        let range = windows.range;
        let mut first_reset = 0;
        let mut lanes = Lanes::default();
        let mut word = 0;
        each_window(samples, windows, |step, end, window| {
            let (first, last) = (window.start, window.end - 1);
            if first == last {
                return;
            }
            if step / LANES != word {
                lanes.finish(self.difference, range, word, row);
                word = step / LANES;
            }
            let mut result = values[last] - values[first];
            while self.resets.get(first_reset).is_some_and(|at| *at <= first) {
                first_reset += 1;
            }
            for at in self.resets[first_reset..].iter().take_while(|at| **at <= last) {
                result += values[*at - 1];
            }
            let lane = step % LANES;
            lanes.used |= 1 << lane;
            lanes.result[lane] = result;
            lanes.first[lane] = values[first];
            lanes.intervals[lane] = (last - first) as f64;
            lanes.sampled[lane] = (times[last] - times[first]) as f64;
            lanes.to_start[lane] = (times[first] - end.saturating_sub(range)) as f64;
            lanes.to_end[lane] = (end - times[last]) as f64;
        });
        lanes.finish(self.difference, range, word, row);
    }
}

/// Steps that are extrapolated together, as many as a word of the row's bits has.
const LANES: usize = 64;

/// What extrapolation needs of each window, as columns: the divisions, which are most of its cost, become vector code.
struct Lanes {
    /// Bit per lane that holds a window.
    used: u64,
    /// Difference of the last and the first value, resets made good.
    result: [f64; LANES],
    first: [f64; LANES],
    /// Samples less one.
    intervals: [f64; LANES],
    /// The three spans of time in milliseconds.
    sampled: [f64; LANES],
    to_start: [f64; LANES],
    to_end: [f64; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        let zeros = [0.0; LANES];
        Self { used: 0, result: zeros, first: zeros, intervals: zeros, sampled: zeros, to_start: zeros, to_end: zeros }
    }
}

impl Lanes {
    /// Extrapolates all lanes, puts the used ones in the row and makes room.
    fn finish(&mut self, difference: Difference, range: i64, word: usize, row: &mut RowMut<'_>) {
        if self.used == 0 {
            return;
        }
        let divisor = if difference.is_rate { range as f64 / 1000.0 } else { 1.0 };
        let steps = row.values[word * LANES..].iter_mut();
        for (lane, value) in steps.take(LANES).enumerate() {
            *value = self.extrapolate(lane, difference.is_counter, divisor);
        }
        row.valid[word] |= self.used;
        self.used = 0;
    }

    #[inline]
    fn extrapolate(&self, lane: usize, is_counter: bool, divisor: f64) -> f64 {
        let ends = Ends {
            first: self.first[lane],
            result: self.result[lane],
            intervals: self.intervals[lane],
            sampled: self.sampled[lane],
            to_start: self.to_start[lane],
            to_end: self.to_end[lane],
        };
        ends.result * ends.factor(is_counter, divisor)
    }
}

/// What extrapolation needs of one window. Of histograms, the counts of observations decide.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) first: f64,
    /// Difference of the last and the first value, resets made good.
    pub(crate) result: f64,
    /// Samples less one.
    pub(crate) intervals: f64,
    /// The three spans of time in milliseconds.
    pub(crate) sampled: f64,
    pub(crate) to_start: f64,
    pub(crate) to_end: f64,
}

impl Ends {
    /// What the difference is to be multiplied with.
    #[inline]
    pub(crate) fn factor(self, is_counter: bool, divisor: f64) -> f64 {
        let sampled = self.sampled / 1000.0;
        let average = sampled / self.intervals;
        let (to_start, to_end) = (self.to_start / 1000.0, self.to_end / 1000.0);
        // Samples that far from an end say that the series begins or ends within the window.
        let threshold = average * 1.1;
        let to_start = if to_start >= threshold { average / 2.0 } else { to_start };
        let to_end = if to_end >= threshold { average / 2.0 } else { to_end };
        // A counter is not extrapolated below zero.
        let to_zero = sampled * (self.first / self.result);
        let is_cut = is_counter & (self.result > 0.0) & (self.first >= 0.0) & (to_zero < to_start);
        let to_start = if is_cut { to_zero } else { to_start };
        (sampled + to_start + to_end) / sampled / divisor
    }
}

/// `irate` and `idelta`: from the last two samples of a window.
pub(crate) struct LastTwo {
    pub(crate) is_rate: bool,
}

impl Kernel for LastTwo {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        let Samples { times, values, .. } = samples;
        each_window(samples, windows, |step, _, window| {
            let last = window.end - 1;
            if last == window.start {
                return;
            }
            let is_reset = self.is_rate && values[last] < values[last - 1];
            let result = if is_reset { values[last] } else { values[last] - values[last - 1] };
            let seconds = (times[last] - times[last - 1]) as f64 / 1000.0;
            row.set(step, if self.is_rate { result / seconds } else { result });
        });
    }
}

/// `changes` and `resets`: how many neighbours in a window are in a relation.
pub(crate) struct CountPairs {
    is_counted: fn(f64, f64) -> bool,
    /// By sample: pairs counted up to it, from the start of the series.
    before: Vec<u32>,
}

impl CountPairs {
    pub(crate) fn changes() -> Self {
        Self { is_counted: is_change, before: Vec::new() }
    }

    pub(crate) fn resets() -> Self {
        Self { is_counted: is_reset, before: Vec::new() }
    }
}

pub(crate) fn is_change(before: f64, after: f64) -> bool {
    before != after && !(before.is_nan() && after.is_nan())
}

pub(crate) fn is_reset(before: f64, after: f64) -> bool {
    after < before
}

impl Kernel for CountPairs {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        self.before.clear();
        self.before.push(0);
        let mut count = 0;
        for pair in samples.values.windows(2) {
            count += u32::from((self.is_counted)(pair[0], pair[1]));
            self.before.push(count);
        }
        each_window(samples, windows, |step, _, window| {
            row.set(step, f64::from(self.before[window.end - 1] - self.before[window.start]));
        });
    }
}
