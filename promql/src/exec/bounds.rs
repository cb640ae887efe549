//! Where the windows of all steps begin and end among the samples of a series.

use crate::{
    exec::{
        batch::{set_bit, words_for},
        grid::Windows,
    },
    functions::each_window,
    source::Samples,
};

/// The bounds of one series' windows. Series that are scraped together have the same times, so what was found for one serves
/// the next: then only values are looked at.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    times: Vec<i64>,
    /// By step: positions of the window's first and last sample; 0 where it has none.
    pub(crate) first: Vec<u32>,
    pub(crate) last: Vec<u32>,
    /// Bit per step: whether its window has samples.
    pub(crate) used: Vec<u64>,
}

impl Bounds {
    /// Finds them, always for the same windows; false if they are what they were.
    pub(crate) fn find(&mut self, times: &[i64], windows: &Windows) -> bool {
        if !self.first.is_empty() && self.times == times {
            return false;
        }
        self.times.clear();
        self.times.extend_from_slice(times);
        let Self { first, last, used, .. } = self;
        for positions in [&mut *first, last] {
            positions.clear();
            positions.resize(windows.len(), 0);
        }
        used.clear();
        used.resize(words_for(windows.len()), 0);
        let samples = Samples { times, values: &[], start_times: &[], histograms: &[] };
        each_window(samples, windows, |step, _, window| {
            set_bit(used, step);
            (first[step], last[step]) = (position(window.start), position(window.end - 1));
        });
        true
    }

    /// The times that the bounds are for.
    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a series in memory has fewer than 2^32 samples")
}
