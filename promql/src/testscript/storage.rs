//! A store in memory: enough of one for scripts and tests.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use model::{Labels, Matcher};

use crate::{
    budget::QueryBudget,
    source::{SelectRequest, SeriesStream, Source, SourceError, Tile},
};

/// Series with float samples.
#[derive(Debug, Default)]
pub struct MemorySource {
    /// Sorted by labels.
    series: Vec<Stored>,
    /// Whether a selection has met a series that was given more than is kept.
    met_incomplete: AtomicBool,
}

#[derive(Debug)]
struct Stored {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<f64>,
    /// It was given native histograms or start timestamps, which are not kept.
    is_incomplete: bool,
}

impl MemorySource {
    /// Adds samples, times in milliseconds. A time that the series has already keeps its value.
    pub fn add(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        let series = self.entry(labels);
        for (time, value) in samples {
            if let Err(at) = series.times.binary_search(&time) {
                series.times.insert(at, time);
                series.values.insert(at, value);
            }
        }
    }

    /// Remembers that a series should have more than it has.
    pub(crate) fn mark_incomplete(&mut self, labels: &Labels) {
        self.entry(labels).is_incomplete = true;
    }

    /// Whether any selection since the last call has met a marked series.
    pub(crate) fn take_met_incomplete(&self) -> bool {
        self.met_incomplete.swap(false, Relaxed)
    }

    fn entry(&mut self, labels: &Labels) -> &mut Stored {
        let at = match self.series.binary_search_by(|series| series.labels.cmp(labels)) {
            Ok(at) => at,
            Err(at) => {
                let (labels, times, values) = (labels.clone(), Vec::new(), Vec::new());
                self.series.insert(at, Stored { labels, times, values, is_incomplete: false });
                at
            }
        };
        &mut self.series[at]
    }
}

impl Source for MemorySource {
    fn select<'s>(
        &'s self,
        request: &SelectRequest<'_>,
        budget: &QueryBudget,
    ) -> Result<Box<dyn SeriesStream + 's>, SourceError> {
        budget.check()?;
        let satisfies = |matcher: &Matcher, labels: &Labels| matcher.matches(labels.get(matcher.name()).unwrap_or(""));
        let found = self.series.iter().filter(|series| request.matchers.iter().all(|m| satisfies(m, &series.labels)));
        let found: Vec<&Stored> = found.collect();
        self.met_incomplete.fetch_or(found.iter().any(|series| series.is_incomplete), Relaxed);
        let (min_time, max_time) = (request.min_time, request.max_time);
        Ok(Box::new(MemoryStream { found, next: 0, min_time, max_time }))
    }
}

struct MemoryStream<'s> {
    found: Vec<&'s Stored>,
    next: usize,
    min_time: i64,
    max_time: i64,
}

impl SeriesStream for MemoryStream<'_> {
    fn series_count(&self) -> usize {
        self.found.len()
    }

    fn labels(&self, series: usize) -> Labels {
        self.found[series].labels.clone()
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        if self.next == self.found.len() {
            return Ok(false);
        }
        while self.next < self.found.len() && !tile.is_full() {
            let Stored { times, values, .. } = self.found[self.next];
            let start = times.partition_point(|time| *time < self.min_time);
            let end = times.partition_point(|time| *time <= self.max_time).max(start);
            let (tile_times, tile_values) = tile.columns();
            tile_times.extend_from_slice(&times[start..end]);
            tile_values.extend_from_slice(&values[start..end]);
            tile.finish_series(self.next as u32);
            self.next += 1;
        }
        Ok(true)
    }
}
