//! Instant selectors: the newest sample of each series within the lookback, at every step.

use model::{Labels, METRIC_NAME, MatchOp, Matcher, sample};

use crate::{
    ast::Span,
    budget::Reservation,
    exec::{
        Context, Operator, Result,
        batch::{Batch, Cell, RowMut},
        bounds::Bounds,
        grid::Windows,
        grouping::Groups,
        stored,
    },
    functions::{extended, mixed::Remark},
    plan::{GroupBy, HistogramDetail, Selector},
    source::{Grouping, Hints, NewestRun, Samples, SelectRequest, SeriesStream, Tile},
};

/// Which times a selection reads: both ends inclusive, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRange {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

/// Opens a selection, from memory if an earlier place of the query has read it already.
pub(crate) fn open<'q>(
    context: &'q Context<'q>,
    selector: &Selector,
    windows: &Windows,
    read: ReadRange,
    is_range: bool,
) -> Result<Box<dyn SeriesStream + 'q>> {
    let hints = Hints {
        // Whether a reset lies before the newest histogram is seen from the one before it.
        last_only: !is_range
            && windows.len() == 1
            && selector.extension.is_none()
            && selector.hints.histograms != HistogramDetail::Totals,
        grouping: selector.hints.grouping.as_ref().map(as_grouping),
        step_ms: windows.grid.step,
        range_ms: if is_range { windows.range } else { 0 },
        func: selector.hints.func,
    };
    let ReadRange { min_time, max_time } = read;
    let request = SelectRequest { matchers: &selector.matchers, min_time, max_time, hints };
    match selector.shared {
        Some(shared) => {
            let min_time = min_time.saturating_sub(shared.range_max - windows.range);
            stored::open(context, shared.id, &SelectRequest { min_time, ..request })
        }
        None => Ok(context.source.select(&request, context.budget)?),
    }
}

pub(crate) fn as_grouping(grouping: &GroupBy) -> Grouping<'_> {
    Grouping { labels: &grouping.labels, without: grouping.without }
}

/// Whether all series of a selection carry the same name.
pub(crate) fn has_one_name(matchers: &[Matcher]) -> bool {
    fixed_name(matchers).is_some()
}

pub(crate) fn fixed_name(matchers: &[Matcher]) -> Option<&str> {
    matchers
        .iter()
        .find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty())
        .map(Matcher::value)
}

/// What becomes of the samples that a selector finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    Value,
    /// `timestamp(selector)`: the sample's time in seconds.
    Timestamp,
    /// The same of floats only; histograms stay what they are.
    TimestampOfFloat,
    /// `start_timestamp(selector)`: when the sample's counter began, in seconds; 0 if that is not known.
    StartTimestamp,
    /// `selector smoothed`: interpolated between the neighbours.
    Smoothed,
}

impl Take {
    fn is_time(self) -> bool {
        matches!(self, Self::Timestamp | Self::TimestampOfFloat | Self::StartTimestamp)
    }
}

pub(crate) struct SelectorOperator<'q> {
    context: &'q Context<'q>,
    stream: Box<dyn SeriesStream + 'q>,
    windows: Windows,
    bounds: Bounds,
    take: Take,
    one_name: bool,
    tile: TileCursor<'q>,
    span: Span,
    remarks: Vec<Remark>,
}

impl<'q> SelectorOperator<'q> {
    pub(crate) fn open(
        context: &'q Context<'q>,
        selector: &Selector,
        windows: Windows,
        take: Take,
        span: Span,
    ) -> Result<Self> {
        let read = ReadRange {
            min_time: windows.start(0).saturating_add(1),
            max_time: windows.last_end().saturating_add(if take == Take::Smoothed { windows.range } else { 0 }),
        };
        let stream = open(context, selector, &windows, read, false)?;
        let one_name = has_one_name(&selector.matchers);
        let tile = TileCursor::new(context, selector);
        Ok(Self {
            context,
            stream,
            windows,
            bounds: Bounds::default(),
            take,
            one_name,
            tile,
            span,
            remarks: Vec::new(),
        })
    }
}

impl SelectorOperator<'_> {
    /// The labels as the source has them, whatever becomes of the values.
    pub(crate) fn stored_labels(&self, series: usize) -> Labels {
        self.stream.labels(series)
    }

    /// Takes what the source has as columns already.
    fn next_newest(&mut self, batch: &mut Batch) -> Result<()> {
        if self.take == Take::StartTimestamp {
            return Ok(());
        }
        let end = self.windows.end(0);
        let start = end.saturating_sub(self.windows.range);
        let is_time = self.take.is_time();
        while let Some(NewestRun { first, times, values }) = self.tile.newest_run(self.stream.as_mut(), batch.room())? {
            let value_of = |(time, value): (&i64, &f64)| {
                let is_there = (*time > start) & (*time <= end) & !sample::is_stale(*value);
                is_there.then_some(if is_time { *time as f64 / 1000.0 } else { *value })
            };
            batch.push_singles(first, times.iter().zip(values).map(value_of));
        }
        Ok(())
    }

    fn next_instants(&mut self, batch: &mut Batch) -> Result<bool> {
        let (end, range) = (self.windows.end(0), self.windows.range);
        self.next_newest(batch)?;
        while !batch.is_full() && self.tile.advance(self.stream.as_mut(), false)? {
            let (series, samples) = self.tile.current();
            if !samples.histograms.is_empty() || self.take == Take::StartTimestamp {
                newest_cells(samples, &self.windows, self.take, &mut batch.push(series));
                batch.drop_last_if_empty();
            } else if let Some((time, value)) = newest_at(samples, end, range) {
                batch.push_single(series, if self.take.is_time() { time as f64 / 1000.0 } else { value });
            }
        }
        Ok(!batch.is_empty())
    }
}

impl Operator for SelectorOperator<'_> {
    fn series_count(&self) -> usize {
        self.stream.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        let labels = self.stream.labels(series);
        if self.take.is_time() && !self.context.options.delayed_name_removal {
            self.context.without_metadata(&labels)
        } else {
            labels
        }
    }

    fn drops_name(&self, _series: usize) -> bool {
        self.take.is_time() && self.context.options.delayed_name_removal
    }

    fn is_unique_without_name(&self) -> bool {
        self.one_name
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        if self.take.is_time() {
            return Ok(None);
        }
        Ok(source_groups(self.stream.as_mut(), grouping))
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        if self.windows.len() == 1 && self.take != Take::Smoothed {
            return self.next_instants(batch);
        }
        while !batch.is_full() && self.tile.advance(self.stream.as_mut(), false)? {
            let (series, samples) = self.tile.current();
            let mut row = batch.push(series);
            match self.take {
                Take::Smoothed if !samples.histograms.is_empty() => {
                    extended::smooth_mixed_instants(samples, &self.windows, &mut row, &mut self.remarks);
                }
                Take::StartTimestamp => newest_cells(samples, &self.windows, Take::StartTimestamp, &mut row),
                take if !samples.histograms.is_empty() => newest_cells(samples, &self.windows, take, &mut row),
                Take::Value => newest(samples, &self.windows, &mut self.bounds, &mut row, |_, value| value),
                Take::Timestamp | Take::TimestampOfFloat => {
                    newest(samples, &self.windows, &mut self.bounds, &mut row, |time, _| time as f64 / 1000.0)
                }
                Take::Smoothed => extended::smooth_instants(samples, &self.windows, &mut row),
            }
            batch.drop_last_if_empty();
            if !self.remarks.is_empty() {
                let labels = self.stream.labels(series as usize);
                for remark in self.remarks.drain(..) {
                    remark.report(self.context, self.span, labels.metric_name().unwrap_or_default());
                }
            }
        }
        Ok(!batch.is_empty())
    }
}

pub(crate) fn source_groups(stream: &mut dyn SeriesStream, grouping: &GroupBy) -> Option<Groups> {
    let groups = stream.group_ids(as_grouping(grouping))?;
    let drops_name = vec![false; groups.labels.len()];
    Some(Groups { ids: groups.ids, labels: groups.labels, drops_name })
}

/// At each step the newest sample of the window, unless that is a stale marker.
fn newest(
    samples: Samples<'_>,
    windows: &Windows,
    bounds: &mut Bounds,
    row: &mut RowMut<'_>,
    take: impl Fn(i64, f64) -> f64,
) {
    let Samples { times, values, .. } = samples;
    if times.is_empty() {
        return;
    }
    bounds.find(times, windows);
    row.valid.copy_from_slice(&bounds.used);
    let mut any_stale = false;
    for (result, at) in row.values.iter_mut().zip(&bounds.last) {
        let at = *at as usize;
        any_stale |= sample::is_stale(values[at]);
        *result = take(times[at], values[at]);
    }
    if any_stale {
        for (step, at) in bounds.last.iter().enumerate() {
            if sample::is_stale(values[*at as usize]) {
                row.valid[step / 64] &= !(1 << (step % 64));
            }
        }
    }
}

/// The same where there are histograms: of both kinds the newer sample counts.
fn newest_cells(samples: Samples<'_>, windows: &Windows, take: Take, row: &mut RowMut<'_>) {
    let Samples { times, values, start_times, histograms } = samples;
    let (mut after, mut after_histograms) = (0, 0);
    for (step, end) in windows.ends().enumerate() {
        after += times[after..].iter().take_while(|time| **time <= end).count();
        after_histograms += histograms[after_histograms..].iter().take_while(|point| point.time <= end).count();
        let start = end.saturating_sub(windows.range);
        let float = after.checked_sub(1).filter(|at| times[*at] > start);
        let point = after_histograms.checked_sub(1).map(|at| &histograms[at]).filter(|point| point.time > start);
        let (time, start_time, cell) = match (float, point) {
            (Some(at), point) if point.is_none_or(|point| point.time < times[at]) => {
                if sample::is_stale(values[at]) {
                    continue;
                }
                (times[at], start_times.get(at).copied().unwrap_or(0), Cell::Float(values[at]))
            }
            (_, Some(point)) => {
                if point.histogram.is_stale() {
                    continue;
                }
                (point.time, point.start_time, Cell::Histogram(point.histogram.clone()))
            }
            _ => continue,
        };
        let seconds = |milliseconds: i64| Cell::Float(milliseconds as f64 / 1000.0);
        let cell = match (take, cell) {
            (Take::StartTimestamp, _) => seconds(start_time),
            (Take::Timestamp, _) | (Take::TimestampOfFloat, Cell::Float(_)) => seconds(time),
            (_, cell) => cell,
        };
        row.replace(step, Some(cell));
    }
}

/// The newest float for a single step, which needs no row before there is a value.
fn newest_at(samples: Samples<'_>, end: i64, range: i64) -> Option<(i64, f64)> {
    let Samples { times, values, .. } = samples;
    let at = match times.last() {
        Some(last) if *last <= end => times.len() - 1,
        _ => times.partition_point(|time| *time <= end).checked_sub(1)?,
    };
    (times[at] > end.saturating_sub(range) && !sample::is_stale(values[at])).then(|| (times[at], values[at]))
}

/// Walks a stream series by series, a tile at a time, and accounts for the tile.
pub(crate) struct TileCursor<'q> {
    context: &'q Context<'q>,
    tile: Tile,
    /// Position in the tile of the series after the current one.
    next: usize,
    held: Reservation,
    /// The samples were counted when they were put in memory.
    is_replay: bool,
    /// Of histograms only the totals are looked at.
    totals_only: bool,
}

impl<'q> TileCursor<'q> {
    pub(crate) fn new(context: &'q Context<'q>, selector: &Selector) -> Self {
        let is_replay = selector.shared.is_some_and(|shared| stored::is_kept(context, shared.id));
        let totals_only = selector.hints.histograms == HistogramDetail::Totals;
        Self { context, tile: Tile::default(), next: 0, held: context.budget.reservation(), is_replay, totals_only }
    }

    /// Goes to the next series; false at the end.
    pub(crate) fn advance(&mut self, stream: &mut dyn SeriesStream, drop_stale: bool) -> Result<bool> {
        while self.next >= self.tile.series_len() {
            self.context.budget.check()?;
            self.tile.clear();
            self.next = 0;
            if !stream.next_batch(&mut self.tile)? {
                self.held.set(0, 0)?;
                return Ok(false);
            }
            if !self.is_replay {
                self.context.budget.count_read(self.tile.samples_len());
            }
            self.held.set(self.tile.samples_len(), self.tile.bytes())?;
            if drop_stale {
                self.tile.drop_stale();
            }
            if self.totals_only {
                self.tile.settle_resets();
            }
        }
        self.next += 1;
        Ok(true)
    }

    /// The newest samples of the next series, where the source has them as columns, if the tile has been walked to its end.
    pub(crate) fn newest_run<'t>(
        &mut self,
        stream: &'t mut dyn SeriesStream,
        max: usize,
    ) -> Result<Option<NewestRun<'t>>> {
        if max == 0 || self.next < self.tile.series_len() {
            return Ok(None);
        }
        self.context.budget.check()?;
        let Some(run) = stream.newest_run(max) else { return Ok(None) };
        if !self.is_replay {
            self.context.budget.count_read(run.times.len());
        }
        // The columns' bytes are the source's.
        self.held.set(run.times.len(), 0)?;
        Ok(Some(run))
    }

    /// The series that the last `advance` went to.
    pub(crate) fn current(&self) -> (u32, Samples<'_>) {
        self.tile.series(self.next - 1)
    }
}
