//! Range vectors, and the functions that make an instant vector of them.

use model::{Labels, sample};

use crate::{
    ast::{Extension, Span},
    budget::Reservation,
    exec::{
        BoxOperator, Context, Operator, Result,
        batch::Batch,
        grid::{Grid, Windows},
        grouping::Groups,
        map::groups_below_drop,
        selector::{self, ReadRange, TileCursor},
    },
    functions::Kernel,
    plan::{GroupBy, RangeSelector},
    source::{Samples, SeriesStream},
};

/// A range vector: the samples of one series after the other.
pub(crate) enum RangeInput<'q> {
    Stored(StoredRange<'q>),
    Computed(ComputedRange<'q>),
}

/// From the source. Stale markers are taken out.
pub(crate) struct StoredRange<'q> {
    stream: Box<dyn SeriesStream + 'q>,
    cursor: TileCursor<'q>,
    one_name: Option<String>,
    pub(crate) span: Span,
}

/// From an expression that is evaluated at the times of a subquery.
pub(crate) struct ComputedRange<'q> {
    operator: BoxOperator<'q>,
    grid_times: Vec<i64>,
    batch: Batch,
    /// Row of the batch after the current one.
    next: usize,
    times: Vec<i64>,
    values: Vec<f64>,
    held: Reservation,
    _fixed: Reservation,
    context: &'q Context<'q>,
    pub(crate) span: Span,
}

impl<'q> RangeInput<'q> {
    pub(crate) fn stored(
        context: &'q Context<'q>,
        range: &RangeSelector,
        windows: &Windows,
        span: Span,
    ) -> Result<Self> {
        let lookback = context.options.lookback_ms;
        let (before, after) = match range.selector.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (lookback, 0),
            Some(Extension::Smoothed) => (lookback, lookback),
        };
        let read = ReadRange {
            min_time: windows.start(0).saturating_sub(before).saturating_add(1),
            max_time: windows.last_end().saturating_add(after),
        };
        let stream = selector::open(context, &range.selector, windows, read, true)?;
        let one_name = selector::fixed_name(&range.selector.matchers).map(str::to_owned);
        Ok(Self::Stored(StoredRange { stream, cursor: TileCursor::new(context, &range.selector), one_name, span }))
    }

    pub(crate) fn computed(
        context: &'q Context<'q>,
        operator: BoxOperator<'q>,
        grid: &Grid,
        span: Span,
    ) -> Result<Self> {
        // The times, and the row that holds them and their values when they are handed on.
        let mut fixed = context.budget.reservation();
        fixed.grow(0, grid.count * 24)?;
        Ok(Self::Computed(ComputedRange {
            operator,
            grid_times: grid.times().collect(),
            batch: Batch::new(grid.count),
            next: 0,
            times: Vec::new(),
            values: Vec::new(),
            held: context.budget.reservation(),
            _fixed: fixed,
            context,
            span,
        }))
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Stored(stored) => stored.span,
            Self::Computed(computed) => computed.span,
        }
    }

    pub(crate) fn series_count(&self) -> usize {
        match self {
            Self::Stored(stored) => stored.stream.series_count(),
            Self::Computed(computed) => computed.operator.series_count(),
        }
    }

    pub(crate) fn labels(&self, series: usize) -> Labels {
        match self {
            Self::Stored(stored) => stored.stream.labels(series),
            Self::Computed(computed) => computed.operator.labels(series),
        }
    }

    /// The metric's name, without building labels where all series have the same.
    pub(crate) fn name(&self, series: usize) -> String {
        match self {
            Self::Stored(StoredRange { one_name: Some(name), .. }) => name.clone(),
            _ => self.labels(series).metric_name().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn has_one_name(&self) -> bool {
        matches!(self, Self::Stored(StoredRange { one_name: Some(_), .. }))
    }

    pub(crate) fn drops_name(&self, series: usize) -> bool {
        match self {
            Self::Stored(_) => false,
            Self::Computed(computed) => computed.operator.drops_name(series),
        }
    }

    fn is_unique_without_name(&self) -> bool {
        match self {
            Self::Stored(stored) => stored.one_name.is_some(),
            Self::Computed(computed) => computed.operator.is_unique_without_name(),
        }
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        match self {
            Self::Stored(stored) => Ok(selector::source_groups(stored.stream.as_mut(), grouping)),
            Self::Computed(computed) => computed.operator.groups(grouping),
        }
    }

    /// Goes to the next series; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        match self {
            Self::Stored(stored) => stored.cursor.advance(stored.stream.as_mut(), true),
            Self::Computed(computed) => computed.advance(),
        }
    }

    /// The series that the last `advance` went to.
    pub(crate) fn current(&self) -> (u32, Samples<'_>) {
        match self {
            Self::Stored(stored) => stored.cursor.current(),
            Self::Computed(computed) => computed.current(),
        }
    }
}

impl ComputedRange<'_> {
    fn advance(&mut self) -> Result<bool> {
        while self.next >= self.batch.rows() {
            self.context.budget.check()?;
            self.next = 0;
            if !self.operator.next(&mut self.batch)? {
                return Ok(false);
            }
            self.held.set(self.batch.valid_len(), self.batch.bytes())?;
        }
        let row = self.batch.row(self.next);
        self.times.clear();
        self.values.clear();
        if row.is_full() {
            self.times.extend_from_slice(&self.grid_times);
            self.values.extend_from_slice(row.values);
        } else {
            self.times.extend(row.iter().map(|(step, _)| self.grid_times[step]));
            self.values.extend(row.iter().map(|(_, value)| value));
        }
        debug_assert!(self.values.iter().all(|value| !sample::is_stale(*value)), "no operator makes stale markers");
        self.next += 1;
        Ok(true)
    }

    fn current(&self) -> (u32, Samples<'_>) {
        (self.batch.series(self.next - 1), Samples { times: &self.times, values: &self.values })
    }
}

/// Whether the info about metrics that may be no counters applies to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterCheck {
    Off,
    On,
    /// All series have the same name, and it has been looked at.
    Done,
}

/// Samples times windows of one series from which a kernel may run long enough to miss a deadline that is looked at only once
/// per tile.
const UNCHECKED_WORK_MAX: usize = 1 << 20;

/// A function over the windows of a range vector.
pub(crate) struct RangeOperator<'q> {
    context: &'q Context<'q>,
    input: RangeInput<'q>,
    windows: Windows,
    kernel: Box<dyn Kernel + 'q>,
    keeps_name: bool,
    counter_check: CounterCheck,
}

impl<'q> RangeOperator<'q> {
    pub(crate) fn new(
        context: &'q Context<'q>,
        input: RangeInput<'q>,
        windows: Windows,
        kernel: Box<dyn Kernel + 'q>,
        keeps_name: bool,
        counter_check: CounterCheck,
    ) -> Self {
        Self { context, input, windows, kernel, keeps_name, counter_check }
    }

    /// Says once per metric that its name, or its type label, is not that of a counter.
    fn check_counter(&mut self, series: usize) {
        if self.counter_check != CounterCheck::On {
            return;
        }
        if self.context.options.type_and_unit_labels {
            let labels = self.input.labels(series);
            if let Some(kind) = labels.get("__type__") {
                if !matches!(kind, "counter" | "histogram" | "unknown") {
                    let name = labels.metric_name().unwrap_or_default();
                    let text = format!(
                        "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got \"{kind}\": \"{name}\""
                    );
                    self.context.info(self.input.span(), text);
                }
                return;
            }
        } else if self.input.has_one_name() {
            self.counter_check = CounterCheck::Done;
        }
        let name = self.input.name(series);
        let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if !name.is_empty() && !is_counter {
            let text =
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"{name}\"");
            self.context.info(self.input.span(), text);
        }
    }
}

impl Operator for RangeOperator<'_> {
    fn series_count(&self) -> usize {
        self.input.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        let labels = self.input.labels(series);
        if self.keeps_name || self.context.options.delayed_name_removal {
            labels
        } else {
            self.context.without_metadata(&labels)
        }
    }

    fn drops_name(&self, series: usize) -> bool {
        self.context.options.delayed_name_removal && (!self.keeps_name || self.input.drops_name(series))
    }

    fn is_unique_without_name(&self) -> bool {
        self.input.is_unique_without_name()
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        if self.keeps_name {
            return self.input.groups(grouping);
        }
        groups_below_drop(self.context, grouping, || self.input.groups(grouping))
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        while !batch.is_full() && self.input.advance()? {
            let (series, samples) = self.input.current();
            if samples.times.is_empty() {
                continue;
            }
            if samples.times.len().saturating_mul(self.windows.len()) > UNCHECKED_WORK_MAX {
                self.context.budget.check()?;
            }
            let rows = batch.rows();
            self.kernel.run(samples, &self.windows, &mut batch.push(series));
            batch.drop_last_if_empty();
            if batch.rows() > rows {
                self.check_counter(series as usize);
            }
        }
        Ok(!batch.is_empty())
    }
}
