//! Entry points: a query at one time, and a query at many.

use std::{cell::RefCell, sync::Arc, time::Instant};

use model::Labels;

use crate::{
    annotations::Annotations,
    ast::{Expr, ValueType},
    budget::{Limits, QueryBudget, QueryMonitor, Reservation},
    error::{QueryError, SAME_LABELSET},
    exec::{
        Context, Result,
        batch::{Batch, Cell, RowMut},
        build, each_row,
        grid::{Grid, STEPS_MAX},
        grouping::{self, GroupTable},
    },
    functions::{each_window, mixed::each_mixed_window},
    help::Help,
    histogram::FloatHistogram,
    parser::{self, ParseOptions},
    plan::{
        Node, NodeKind, fold, hints,
        lower::{QuerySettings, lower},
        share, step_invariant,
    },
    source::{HistogramPoint, Source},
    value::{MatrixSeries, QueryOutput, SampleValue, Statistics, Value, VectorSample},
};

/// How queries are read and what they may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// How old the newest sample of a series may be for an instant selector.
    pub lookback_ms: i64,
    /// Samples that a query may hold at one time.
    pub max_samples: usize,
    /// Bytes that a query may hold at one time.
    pub memory_bytes_max: usize,
    /// Step of subqueries that name none.
    pub default_subquery_step_ms: i64,
    /// The metric's name is dropped at the end of the query instead of by each function.
    pub delayed_name_removal: bool,
    /// Counters are reset, and begin, where their samples say so.
    pub use_start_timestamps: bool,
    /// The labels `__type__` and `__unit__` go with the name.
    pub type_and_unit_labels: bool,
    pub parse: ParseOptions,
    /// `None`: a query runs on its own thread alone.
    pub help: Option<Help>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60_000,
            max_samples: 50_000_000,
            memory_bytes_max: 2 << 30,
            default_subquery_step_ms: 60_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            parse: ParseOptions::default(),
            help: None,
        }
    }
}

/// What one request says about its query.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Monotonic time at which the query is stopped.
    pub deadline: Option<Instant>,
    /// Whoever holds its twin sees what the query uses and can cancel it.
    pub monitor: QueryMonitor,
    /// Instead of the engine's.
    pub lookback_ms: Option<i64>,
}

/// A query that has been parsed and checked; it can be evaluated many times.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: Expr,
}

impl Query {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// Another expression in place of this one's; remarks go on pointing into this one's text.
    pub(crate) fn with_expr(&self, expr: Expr) -> Self {
        Self { text: self.text.clone(), expr }
    }
}

/// The times of a range query, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub start: i64,
    /// Inclusive.
    pub end: i64,
    /// Above 0.
    pub step: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: Options,
}

impl Engine {
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// # Errors
    /// [`QueryError::Parse`] with the first mistake in the text.
    pub fn parse(&self, text: &str) -> Result<Query> {
        Ok(Query { text: text.to_owned(), expr: parser::parse(text, &self.options.parse)? })
    }

    /// Evaluates at one time, in milliseconds.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(&self, source: &dyn Source, query: &Query, time: i64, control: &Control) -> Result<QueryOutput> {
        let grid = Grid::instant(time);
        let options = self.options_for(control);
        self.run(source, query, &options, (time, time, 0), control, |context, node, held| {
            instant_value(context, node, grid, time, held)
        })
    }

    /// Evaluates at many times. The value is always a matrix.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn range(&self, source: &dyn Source, query: &Query, time: TimeRange, control: &Control) -> Result<QueryOutput> {
        let TimeRange { start, end, step } = time;
        let kind = query.expr.value_type();
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let kind = kind.as_str();
            let text = format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
            return Err(QueryError::BadQuery(text));
        }
        if step <= 0 || end < start || Grid::range(start, end, step).count > STEPS_MAX {
            let text =
                format!("bad time range: start {start} ms, end {end} ms, step {step} ms; at most {STEPS_MAX} steps");
            return Err(QueryError::BadQuery(text));
        }
        let grid = Grid::range(start, end, step);
        let options = self.options_for(control);
        self.run(source, query, &options, (start, end, step), control, |context, node, held| {
            range_value(context, node, grid, held)
        })
    }

    fn options_for(&self, control: &Control) -> Options {
        let lookback_ms = control.lookback_ms.unwrap_or(self.options.lookback_ms);
        Options { lookback_ms, ..self.options.clone() }
    }

    fn run(
        &self,
        source: &dyn Source,
        query: &Query,
        options: &Options,
        (start, end, step): (i64, i64, i64),
        control: &Control,
        evaluate: impl for<'q> FnOnce(&'q Context<'q>, &Node, &mut Reservation) -> Result<Value>,
    ) -> Result<QueryOutput> {
        let limits = Limits {
            max_samples: options.max_samples,
            memory_bytes_max: options.memory_bytes_max,
            deadline: control.deadline,
        };
        let budget = QueryBudget::monitored(limits, &control.monitor);
        budget.check()?;
        let settings = QuerySettings {
            start,
            end,
            step,
            default_subquery_step: options.default_subquery_step_ms,
            type_and_unit_labels: options.type_and_unit_labels,
        };
        let node = plan(&query.expr, &settings, options.lookback_ms)?;
        let (annotations, stored) = (RefCell::new(Annotations::default()), RefCell::default());
        let context = Context { source, budget: &budget, options, settings, annotations, stored };
        let mut held = budget.reservation();
        let value = evaluate(&context, &node, &mut held)?;
        let annotations = context.annotations.borrow().finish(&query.text);
        let statistics = Statistics {
            samples_read: control.monitor.samples_read(),
            samples_peak: control.monitor.samples_peak(),
            bytes_peak: control.monitor.bytes_peak(),
        };
        Ok(QueryOutput { value, annotations, statistics, held })
    }
}

fn plan(expr: &Expr, settings: &QuerySettings, lookback: i64) -> Result<Node> {
    let mut node = lower(expr, settings)?;
    fold::fold(&mut node);
    step_invariant::mark(&mut node);
    hints::derive(&mut node);
    share::share(&mut node, lookback);
    Ok(node)
}

fn instant_value<'q>(
    context: &'q Context<'q>,
    node: &Node,
    grid: Grid,
    time: i64,
    held: &mut Reservation,
) -> Result<Value> {
    match node.value_type() {
        ValueType::Scalar => Ok(Value::Scalar { time, value: build::number(context, node, grid)?.at(0) }),
        ValueType::String => match &node.unmarked().kind {
            NodeKind::String(text) => Ok(Value::String { time, text: text.clone() }),
            _ => unreachable!("only literals are strings"),
        },
        ValueType::Vector => {
            let Collected { rows, series } = collect(context, node, grid, held)?;
            let sample = |(row, labels): (usize, Labels)| {
                let value = match rows.row(row).cell(0)? {
                    Cell::Float(value) => SampleValue::Float(value),
                    Cell::Histogram(histogram) => SampleValue::Histogram(histogram),
                };
                Some(VectorSample { labels, value })
            };
            Ok(Value::Vector { time, samples: series.into_iter().filter_map(sample).collect() })
        }
        ValueType::Matrix => Ok(Value::Matrix(sorted(raw_samples(context, node, grid, held)?))),
    }
}

fn range_value<'q>(context: &'q Context<'q>, node: &Node, grid: Grid, held: &mut Reservation) -> Result<Value> {
    if node.value_type() == ValueType::Scalar {
        let scalar = build::number(context, node, grid)?;
        let values = (0..grid.count).map(|step| scalar.at(step)).collect();
        return Ok(Value::Matrix(vec![MatrixSeries {
            labels: Labels::empty(),
            times: grid.times().collect(),
            values,
            histograms: Vec::new(),
        }]));
    }
    let Collected { rows, series } = collect(context, node, grid, held)?;
    let times: Vec<i64> = grid.times().collect();
    Ok(Value::Matrix(sorted(series.into_iter().map(|(row, labels)| points(&rows, row, labels, &times)).collect())))
}

fn sorted(mut series: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    series
}

/// What a vector expression gives: rows, and for each row that stands for a series its position and labels.
struct Collected {
    rows: Batch,
    series: Vec<(usize, Labels)>,
}

/// All rows of a vector expression, in the engine's order; names that are still to be dropped are.
fn collect<'q>(context: &'q Context<'q>, node: &Node, grid: Grid, held: &mut Reservation) -> Result<Collected> {
    let mut operator = build::vector(context, node, grid)?;
    let mut rows = Batch::new(grid.count);
    let mut kept = Vec::new();
    each_row(context, operator.as_mut(), grid.count, |series, row| {
        if !row.is_empty() {
            held.grow(row.samples_len(), row.bytes() * 2 + size_of::<MatrixSeries>())?;
            rows.push_copy(series, row);
            kept.push(series as usize);
        }
        Ok(())
    })?;
    let mut labels = Vec::with_capacity(kept.len());
    for series in kept {
        let full = operator.labels(series);
        let labels_of_series = if operator.drops_name(series) { context.without_metadata(&full) } else { full };
        held.grow(0, grouping::label_bytes(&labels_of_series))?;
        labels.push(labels_of_series);
    }
    let series = join_equal(context, &mut rows, labels)?;
    Ok(Collected { rows, series })
}

fn points(rows: &Batch, row: usize, labels: Labels, times: &[i64]) -> MatrixSeries {
    let row = rows.row(row);
    if row.is_full() {
        return MatrixSeries { labels, times: times.to_vec(), values: row.values.to_vec(), histograms: Vec::new() };
    }
    let point = |(step, histogram): (usize, &Arc<FloatHistogram>)| HistogramPoint {
        time: times[step],
        start_time: 0,
        histogram: histogram.clone(),
    };
    let histograms = row.histograms().map(point).collect();
    let (times, values) = row.iter().map(|(step, value)| (times[step], value)).unzip();
    MatrixSeries { labels, times, values, histograms }
}

/// With delayed name removal rows can only now turn out to be of the same series.
fn join_equal(context: &Context<'_>, rows: &mut Batch, labels: Vec<Labels>) -> Result<Vec<(usize, Labels)>> {
    if !context.options.delayed_name_removal {
        return Ok(labels.into_iter().enumerate().collect());
    }
    let mut table = GroupTable::default();
    let mut unique: Vec<(usize, Labels)> = Vec::new();
    for (row, labels) in labels.into_iter().enumerate() {
        let id = table.id(|| labels.iter()) as usize;
        let Some((first, _)) = unique.get(id) else {
            unique.push((row, labels));
            continue;
        };
        let late: Vec<(usize, Cell)> = rows.row(row).cells().collect();
        let mut target: RowMut<'_> = rows.row_mut(*first);
        for (step, cell) in late {
            if target.as_row().cell(step).is_some() {
                return Err(QueryError::execution(SAME_LABELSET));
            }
            target.replace(step, Some(cell));
        }
    }
    Ok(unique)
}

/// The samples of a range vector at one time.
fn raw_samples<'q>(
    context: &'q Context<'q>,
    node: &Node,
    grid: Grid,
    held: &mut Reservation,
) -> Result<Vec<MatrixSeries>> {
    let (mut input, windows) = build::range(context, node, grid)?;
    let mut found: Vec<(u32, MatrixSeries)> = Vec::new();
    while input.advance()? {
        let (series, samples) = input.current();
        let mut raw = MatrixSeries::default();
        each_window(samples, &windows, |_, _, window| {
            raw.times = samples.times[window.clone()].to_vec();
            raw.values = samples.values[window].to_vec();
        });
        each_mixed_window(samples, &windows, |_, window| raw.histograms = window.histograms.to_vec());
        if raw.times.is_empty() && raw.histograms.is_empty() {
            continue;
        }
        let of_histograms = |of: fn(&FloatHistogram) -> usize| -> usize {
            raw.histograms.iter().map(|point| of(&point.histogram)).sum()
        };
        let samples_len = raw.times.len() + of_histograms(FloatHistogram::samples);
        held.grow(samples_len, raw.times.len() * 16 + of_histograms(FloatHistogram::bytes))?;
        found.push((series, raw));
    }
    let labeled = |(series, raw): (u32, MatrixSeries)| {
        let labels = input.labels(series as usize);
        let labels = if input.drops_name(series as usize) { context.without_metadata(&labels) } else { labels };
        MatrixSeries { labels, ..raw }
    };
    Ok(found.into_iter().map(labeled).collect())
}
