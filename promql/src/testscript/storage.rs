//! A store in memory: enough of one for scripts and tests.

use std::{ops::Range, sync::Arc};

use model::{Labels, Matcher, histogram::ResetHint};

use crate::{
    budget::QueryBudget,
    histogram::FloatHistogram,
    source::{HistogramPoint, SelectRequest, SeriesReader, SeriesStream, Source, SourceError, Tile},
    testscript::ScriptStore,
};

/// Series with their samples.
#[derive(Debug, Default)]
pub struct MemorySource {
    /// Sorted by labels.
    series: Vec<Arc<Stored>>,
}

#[derive(Clone, Debug)]
struct Stored {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Of the floats, as far as the last that has one.
    start_times: Vec<i64>,
    histograms: Vec<HistogramPoint>,
}

impl MemorySource {
    /// Adds samples, times in milliseconds. A time that the series has already keeps its value.
    pub fn add(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        let series = self.entry(labels);
        for (time, value) in samples {
            if let Err(at) = series.times.binary_search(&time) {
                series.times.insert(at, time);
                series.values.insert(at, value);
                if at < series.start_times.len() {
                    series.start_times.insert(at, 0);
                }
            }
        }
    }

    /// Adds histograms in order of time. What they say of resets becomes what a store says that keeps them in chunks.
    pub fn add_histograms(&mut self, labels: &Labels, histograms: impl IntoIterator<Item = (i64, FloatHistogram)>) {
        let mut histograms = histograms.into_iter().peekable();
        if histograms.peek().is_none() {
            return;
        }
        let series = self.entry(labels);
        for (time, mut histogram) in histograms {
            let before = series.histograms.last().filter(|before| {
                let since = series.times.partition_point(|float| *float <= before.time);
                series.times.get(since).is_none_or(|float| *float > time)
            });
            histogram.reset_hint = hint_in_chunk(before.map(|before| before.histogram.as_ref()), &histogram);
            series.histograms.push(HistogramPoint { time, start_time: 0, histogram: Arc::new(histogram) });
        }
    }

    /// Says when samples that are there began to count, as (time of the sample, start); both in milliseconds.
    pub fn set_start_times(&mut self, labels: &Labels, starts: impl IntoIterator<Item = (i64, i64)>) {
        let series = self.entry(labels);
        for (time, start_time) in starts {
            if let Ok(at) = series.times.binary_search(&time) {
                series.start_times.resize(series.start_times.len().max(at + 1), 0);
                series.start_times[at] = start_time;
            }
            if let Some(point) = series.histograms.iter_mut().find(|point| point.time == time) {
                point.start_time = start_time;
            }
        }
    }

    fn entry(&mut self, labels: &Labels) -> &mut Stored {
        let at = match self.series.binary_search_by(|series| series.labels.cmp(labels)) {
            Ok(at) => at,
            Err(at) => {
                let stored = Stored {
                    labels: labels.clone(),
                    times: Vec::new(),
                    values: Vec::new(),
                    start_times: Vec::new(),
                    histograms: Vec::new(),
                };
                self.series.insert(at, Arc::new(stored));
                at
            }
        };
        Arc::make_mut(&mut self.series[at])
    }
}

impl ScriptStore for MemorySource {
    fn clear(&mut self) -> Result<(), String> {
        self.series.clear();
        Ok(())
    }

    fn load(
        &mut self,
        labels: &Labels,
        floats: Vec<(i64, f64)>,
        histograms: Vec<(i64, FloatHistogram)>,
    ) -> Result<(), String> {
        self.add(labels, floats);
        self.add_histograms(labels, histograms);
        Ok(())
    }

    fn load_start_times(&mut self, labels: &Labels, starts: Vec<(i64, i64)>) -> Result<(), String> {
        self.set_start_times(labels, starts);
        Ok(())
    }

    fn source(&self) -> &dyn Source {
        self
    }
}

/// What can be told of a histogram behind another one: if it can go on in the same chunk there was no reset, and of the first
/// one in a chunk nothing is known.
fn hint_in_chunk(before: Option<&FloatHistogram>, histogram: &FloatHistogram) -> ResetHint {
    if histogram.reset_hint == ResetHint::Gauge {
        return ResetHint::Gauge;
    }
    let Some(before) = before.filter(|before| before.reset_hint != ResetHint::Gauge && !before.is_stale()) else {
        return ResetHint::Unknown;
    };
    let is_alike = before.schema == histogram.schema
        && before.zero_threshold == histogram.zero_threshold
        && histogram.has_bounds_of(&before.custom_values);
    let counted = FloatHistogram { reset_hint: ResetHint::Unknown, ..histogram.clone() };
    let goes_on =
        histogram.is_stale() || is_alike && histogram.reset_hint != ResetHint::Reset && !counted.is_reset_after(before);
    if goes_on { ResetHint::NotReset } else { ResetHint::Unknown }
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
        let found: Arc<[Arc<Stored>]> = found.cloned().collect();
        Ok(Box::new(MemoryStream { found, next: 0, min_time: request.min_time, max_time: request.max_time }))
    }
}

#[derive(Clone)]
struct MemoryStream {
    found: Arc<[Arc<Stored>]>,
    next: usize,
    min_time: i64,
    max_time: i64,
}

impl SeriesStream for MemoryStream {
    fn series_count(&self) -> usize {
        self.found.len()
    }

    fn labels(&self, series: usize) -> Labels {
        self.found[series].labels.clone()
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        let mut rest = self.next..self.found.len();
        let more = self.read_next(&mut rest, tile)?;
        self.next = rest.start;
        Ok(more)
    }

    fn reader(&self) -> Option<Box<dyn SeriesReader>> {
        Some(self.twin())
    }
}

impl SeriesReader for MemoryStream {
    fn read_next(&mut self, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        let first = series.start;
        while series.start < series.end && !tile.is_full() {
            let Stored { times, values, start_times, histograms, .. } = &*self.found[series.start];
            let start = times.partition_point(|time| *time < self.min_time);
            let end = times.partition_point(|time| *time <= self.max_time).max(start);
            for at in start..end {
                tile.push(times[at], values[at]);
                if let Some(start_time) = start_times.get(at).filter(|start_time| **start_time != 0) {
                    tile.set_start_time(*start_time);
                }
            }
            let start = histograms.partition_point(|point| point.time < self.min_time);
            for point in histograms[start..].iter().take_while(|point| point.time <= self.max_time) {
                tile.push_point(point.clone());
            }
            tile.finish_series(series.start as u32);
            series.start += 1;
        }
        Ok(series.start > first)
    }

    fn twin(&self) -> Box<dyn SeriesReader> {
        Box::new(self.clone())
    }
}
