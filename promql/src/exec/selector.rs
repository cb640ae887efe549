//! Instant selectors: the newest sample of each series within the lookback, at every step.

use model::{Labels, METRIC_NAME, MatchOp, Matcher, sample};

use crate::{
    ast::Span,
    exec::{
        Context, Operator, Result,
        batch::{Batch, Cell, RowMut},
        bounds::Bounds,
        grid::Windows,
        grouping::Groups,
        rows::{MakeRow, RowMaker, RowMorsels},
        stored,
        tiles::TileCursor,
    },
    functions::{extended, mixed::Remark},
    plan::{GroupBy, HistogramDetail, Selector},
    source::{Grouping, Hints, NewestRun, Samples, SelectRequest, SeriesStream},
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
    cursor: TileCursor,
    rows: RowMaker<Instants>,
    /// Makes the rows instead, where the source has readers.
    morsels: Option<RowMorsels<Instants>>,
    one_name: bool,
    span: Span,
    remarks: Vec<(u32, Remark)>,
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
        let cursor = TileCursor::new(context, selector, false);
        let rows = RowMaker::new(Instants { windows, take, bounds: Bounds::default() }, context.budget);
        let morsels = RowMorsels::new(context, stream.as_ref(), &cursor, &rows);
        let one_name = has_one_name(&selector.matchers);
        Ok(Self { context, stream, cursor, rows, morsels, one_name, span, remarks: Vec::new() })
    }
}

impl SelectorOperator<'_> {
    /// The labels as the source has them, whatever becomes of the values.
    pub(crate) fn stored_labels(&self, series: usize) -> Labels {
        self.stream.labels(series)
    }

    fn take(&self) -> Take {
        self.rows.maker.take
    }

    /// Takes what the source has as columns already.
    fn next_newest(&mut self, batch: &mut Batch) -> Result<()> {
        let Instants { windows, take, .. } = &self.rows.maker;
        if windows.len() != 1 || matches!(take, Take::StartTimestamp | Take::Smoothed) {
            return Ok(());
        }
        let end = windows.end(0);
        let start = end.saturating_sub(windows.range);
        let is_time = take.is_time();
        while let Some(NewestRun { first, times, values }) =
            self.cursor.newest_run(self.stream.as_mut(), batch.room())?
        {
            let value_of = |(time, value): (&i64, &f64)| {
                let is_there = (*time > start) & (*time <= end) & !sample::is_stale(*value);
                is_there.then_some(if is_time { *time as f64 / 1000.0 } else { *value })
            };
            batch.push_singles(first, times.iter().zip(values).map(value_of));
        }
        Ok(())
    }

    fn next_tiles(&mut self, batch: &mut Batch) -> Result<()> {
        self.next_newest(batch)?;
        while !batch.is_full() && self.cursor.advance(|tile| self.stream.next_batch(tile))? {
            self.rows.append(self.cursor.current(), batch, &mut self.remarks)?;
        }
        Ok(())
    }

    fn report(&mut self) {
        for (series, remark) in self.remarks.drain(..) {
            let labels = self.stream.labels(series as usize);
            remark.report(self.context, self.span, labels.metric_name().unwrap_or_default());
        }
    }
}

impl Operator for SelectorOperator<'_> {
    fn series_count(&self) -> usize {
        self.stream.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        let labels = self.stream.labels(series);
        if self.take().is_time() && !self.context.options.delayed_name_removal {
            self.context.without_metadata(&labels)
        } else {
            labels
        }
    }

    fn drops_name(&self, _series: usize) -> bool {
        self.take().is_time() && self.context.options.delayed_name_removal
    }

    fn is_unique_without_name(&self) -> bool {
        self.one_name
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        if self.take().is_time() {
            return Ok(None);
        }
        Ok(source_groups(self.stream.as_mut(), grouping))
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        match &mut self.morsels {
            Some(morsels) => morsels.next(batch, &mut self.remarks)?,
            None => self.next_tiles(batch)?,
        }
        self.report();
        Ok(!batch.is_empty())
    }
}

/// Takes a sample for each step.
struct Instants {
    windows: Windows,
    take: Take,
    bounds: Bounds,
}

impl MakeRow for Instants {
    fn make_row(&mut self, series: u32, samples: Samples<'_>, batch: &mut Batch, remarks: &mut Vec<Remark>) {
        let Self { windows, take, bounds } = self;
        let mut row = batch.push(series);
        match *take {
            Take::Smoothed if !samples.histograms.is_empty() => {
                extended::smooth_mixed_instants(samples, windows, &mut row, remarks);
            }
            Take::StartTimestamp => newest_cells(samples, windows, Take::StartTimestamp, &mut row),
            take if !samples.histograms.is_empty() => newest_cells(samples, windows, take, &mut row),
            Take::Smoothed => extended::smooth_instants(samples, windows, &mut row),
            take if windows.len() == 1 => {
                if let Some((time, value)) = newest_at(samples, windows.end(0), windows.range) {
                    row.set(0, if take.is_time() { time as f64 / 1000.0 } else { value });
                }
            }
            Take::Value => newest(samples, windows, bounds, &mut row, |_, value| value),
            Take::Timestamp | Take::TimestampOfFloat => {
                newest(samples, windows, bounds, &mut row, |time, _| time as f64 / 1000.0);
            }
        }
    }

    fn steps(&self) -> usize {
        self.windows.len()
    }

    fn twin(&self) -> Self {
        Self { windows: self.windows, take: self.take, bounds: Bounds::default() }
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

/// The newest float for a single step.
fn newest_at(samples: Samples<'_>, end: i64, range: i64) -> Option<(i64, f64)> {
    let Samples { times, values, .. } = samples;
    let at = match times.last() {
        Some(last) if *last <= end => times.len() - 1,
        _ => times.partition_point(|time| *time <= end).checked_sub(1)?,
    };
    (times[at] > end.saturating_sub(range) && !sample::is_stale(values[at])).then(|| (times[at], values[at]))
}
