//! rate, increase, delta, irate, idelta: differences of counters and gauges.

use crate::{
    exec::{batch::RowMut, bounds::Bounds, grid::Windows},
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
    difference: Difference,
    bounds: Bounds,
    spans: Spans,
    resets: Resets,
    /// By step: the value that a window begins with, and how much it has grown.
    first: Vec<f64>,
    growth: Vec<f64>,
}

impl Extrapolated {
    pub(crate) fn new(difference: Difference) -> Self {
        Self {
            difference,
            bounds: Bounds::default(),
            spans: Spans::default(),
            resets: Resets::default(),
            first: Vec::new(),
            growth: Vec::new(),
        }
    }

    fn subtract(&mut self, values: &[f64]) {
        let Self { bounds, first, growth, .. } = self;
        first.clear();
        first.extend(bounds.first.iter().map(|at| values[*at as usize]));
        growth.clear();
        growth.extend(bounds.last.iter().zip(&*first).map(|(at, first)| values[*at as usize] - first));
    }

    /// Most windows are far from the beginning of a counter: their factors are a matter of times, and known.
    fn extrapolate(&self, divisor: f64, results: &mut [f64]) {
        let Self { spans: Spans { of, uncut, .. }, first, growth, .. } = self;
        for ((result, growth), factor) in results.iter_mut().zip(growth).zip(uncut) {
            *result = growth * factor;
        }
        if !self.difference.is_counter {
            return;
        }
        let columns = || of.iter().zip(first).zip(growth);
        if columns().fold(false, |any, ((of, first), growth)| any | of.is_cut(*first, *growth)) {
            for (result, ((of, first), growth)) in results.iter_mut().zip(columns()) {
                *result = growth * of.factor(true, *first, *growth, divisor);
            }
        }
    }
}

impl Kernel for Extrapolated {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        if samples.is_empty() {
            return;
        }
        let divisor = if self.difference.is_rate { windows.range as f64 / 1000.0 } else { 1.0 };
        if self.bounds.find(samples.times, windows) {
            self.spans.measure(&self.bounds, windows, divisor);
        }
        self.subtract(samples.values);
        if self.difference.is_counter && self.resets.find(samples.values) {
            self.resets.make_good(&self.bounds, &mut self.growth);
        }
        self.extrapolate(divisor, row.values);
        row.valid.copy_from_slice(&self.spans.used);
    }
}

/// What extrapolation needs of the times of each window: series with the same times share it.
#[derive(Default)]
struct Spans {
    /// By step.
    of: Vec<Extrapolation>,
    /// The factor of windows that don't begin near zero.
    uncut: Vec<f64>,
    /// Bit per step: whether its window has two samples or more.
    used: Vec<u64>,
}

impl Spans {
    fn measure(&mut self, bounds: &Bounds, windows: &Windows, divisor: f64) {
        self.of.clear();
        self.uncut.clear();
        self.used.clone_from(&bounds.used);
        let times = bounds.times();
        for (step, end) in windows.ends().enumerate() {
            let (first, last) = (bounds.first[step] as usize, bounds.last[step] as usize);
            if first == last {
                self.used[step / 64] &= !(1 << (step % 64));
            }
            let (from, to) = (times[first], times[last]);
            let of = Extrapolation::new(
                (last - first) as f64,
                to.saturating_sub(from) as f64,
                from.saturating_sub(end.saturating_sub(windows.range)) as f64,
                end.saturating_sub(to) as f64,
            );
            self.uncut.push(of.factor(false, 0.0, 0.0, divisor));
            self.of.push(of);
        }
    }
}

/// Resets in a window from which a difference of prefix sums stands for their sum. Below, it is the sum in the order in which the
/// reference implementation adds, to the last bit.
const RESETS_ADDED_MAX: u32 = 4;

/// The resets of a counter: at each, what it had counted is lost and has to be added again.
#[derive(Default)]
struct Resets {
    /// By sample: resets up to it.
    counts: Vec<u32>,
    lost: Vec<f64>,
    /// By reset, and one more: the sum of those before it, and what rounding has taken from that sum. Of both, differences are as
    /// exact as a sum of the part.
    sums: Vec<(f64, f64)>,
}

impl Resets {
    /// Whether there is any.
    fn find(&mut self, values: &[f64]) -> bool {
        if !values.windows(2).fold(false, |any, pair| any | (pair[1] < pair[0])) {
            return false;
        }
        self.counts.clear();
        self.counts.push(0);
        // Falls come at random where there are many: each is written, and stays if it is one.
        self.lost.clear();
        self.lost.resize(values.len(), 0.0);
        let mut count = 0;
        for pair in values.windows(2) {
            self.lost[count] = pair[0];
            count += usize::from(pair[1] < pair[0]);
            self.counts.push(count as u32);
        }
        self.lost.truncate(count);
        self.sums.clear();
        let (mut sum, mut rounded) = (0.0, 0.0);
        self.sums.push((sum, rounded));
        for lost in &self.lost {
            let next = sum + lost;
            // Knuth's exact error of an addition.
            let virtual_lost = next - sum;
            rounded += (sum - (next - virtual_lost)) + (lost - virtual_lost);
            sum = next;
            self.sums.push((sum, rounded));
        }
        true
    }

    fn make_good(&self, bounds: &Bounds, growth: &mut [f64]) {
        // An infinite value spoils the sums behind it.
        let has_sums = self.sums.last().is_some_and(|(sum, rounded)| sum.is_finite() && rounded.is_finite());
        for (step, growth) in growth.iter_mut().enumerate() {
            let before = self.counts[bounds.first[step] as usize];
            let after = self.counts[bounds.last[step] as usize];
            if has_sums && after - before > RESETS_ADDED_MAX {
                let (from, to) = (self.sums[before as usize], self.sums[after as usize]);
                *growth += (to.0 - from.0) + (to.1 - from.1);
            } else {
                *growth = self.lost[before as usize..after as usize].iter().fold(*growth, |growth, lost| growth + lost);
            }
        }
    }
}

/// The spans of time of one window, in seconds, as far as extrapolation goes.
#[derive(Clone, Copy)]
pub(crate) struct Extrapolation {
    sampled: f64,
    to_start: f64,
    to_end: f64,
}

impl Extrapolation {
    /// `intervals`: samples less one. Spans in milliseconds: between the first and the last sample, and from them to the ends.
    #[inline]
    pub(crate) fn new(intervals: f64, sampled: f64, to_start: f64, to_end: f64) -> Self {
        let sampled = sampled / 1000.0;
        let average = sampled / intervals;
        let (to_start, to_end) = (to_start / 1000.0, to_end / 1000.0);
        // Samples that far from an end say that the series begins or ends within the window.
        let threshold = average * 1.1;
        let to_start = if to_start >= threshold { average / 2.0 } else { to_start };
        let to_end = if to_end >= threshold { average / 2.0 } else { to_end };
        Self { sampled, to_start, to_end }
    }

    /// What a difference is to be multiplied with. `first`: the value that the window begins with, `growth`: the difference with
    /// resets made good. Of histograms, the counts of observations decide.
    #[inline]
    pub(crate) fn factor(self, is_counter: bool, first: f64, growth: f64, divisor: f64) -> f64 {
        let Self { sampled, to_start, to_end } = self;
        let is_cut = is_counter && self.is_cut(first, growth);
        let to_start = if is_cut { self.to_zero(first, growth) } else { to_start };
        (sampled + to_start + to_end) / sampled / divisor
    }

    /// A counter is not extrapolated below zero.
    #[inline]
    fn is_cut(self, first: f64, growth: f64) -> bool {
        (growth > 0.0) & (first >= 0.0) & (self.to_zero(first, growth) < self.to_start)
    }

    #[inline]
    fn to_zero(self, first: f64, growth: f64) -> f64 {
        self.sampled * (first / growth)
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
