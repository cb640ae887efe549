//! info: adds the labels of info series (`target_info` and its like) to series of the same target.
//!
//! A target is told by the labels `instance` and `job`. Which info series counts is settled at each step, so a series can go on
//! under other labels from one step to the next.

use std::collections::HashMap;

use model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use crate::{
    ast::Span,
    error::QueryError,
    exec::{
        Context, Operator, Result,
        batch::Batch,
        each_row,
        grid::{Grid, Windows},
        grouping::GroupTable,
        matrix::{Matrix, Replay, SeriesInfo},
        selector::{SelectorOperator, Take},
    },
    plan::{Node, NodeKind, Selector, SelectorHints, TimeShift},
};

/// Labels that tell a target.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const DEFAULT_NAME: &str = "target_info";

/// What the second argument asks for.
struct Wanted {
    /// On the info series' name.
    names: Vec<Matcher>,
    /// On labels that it may add; all of them if there is none.
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(matchers: &[Matcher]) -> Result<Self> {
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, DEFAULT_NAME));
        } else if names.iter().all(|matcher| matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex)) {
            let any = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info");
            names.push(any.map_err(|error| QueryError::execution(error.to_string()))?);
        }
        Ok(Self { names, data })
    }

    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or_default();
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    fn adds(&self, label: &str) -> bool {
        label != METRIC_NAME
            && !IDENTIFYING.contains(&label)
            && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label))
    }

    /// Whether a series without any info series stays.
    fn keeps_bare(&self) -> bool {
        self.data.iter().all(Matcher::matches_empty)
    }
}

/// Where the first selector of an expression looks, through all subqueries around it.
pub(crate) fn first_shift(node: &Node) -> Option<TimeShift> {
    let inside = |outer: TimeShift, inner: TimeShift| match inner.at {
        Some(_) => inner,
        None => TimeShift { at: outer.at, offset: outer.offset + inner.offset },
    };
    match &node.kind {
        NodeKind::Number(_) | NodeKind::String(_) => None,
        NodeKind::Selector(selector) => Some(selector.time),
        NodeKind::RangeSelector(range) => Some(range.selector.time),
        NodeKind::Subquery(subquery) => Some(inside(subquery.time, first_shift(&subquery.operand)?)),
        NodeKind::Negate(inner) | NodeKind::StepInvariant(inner) => first_shift(inner),
        NodeKind::Binary(binary) => first_shift(&binary.left).or_else(|| first_shift(&binary.right)),
        NodeKind::Aggregate(aggregate) => {
            aggregate.parameter.as_ref().and_then(first_shift).or_else(|| first_shift(&aggregate.operand))
        }
        NodeKind::Call(call) => call.args.iter().find_map(first_shift),
    }
}

pub(crate) fn evaluate(
    context: &Context<'_>,
    base: &mut dyn Operator,
    matchers: &[Matcher],
    time: TimeShift,
    grid: Grid,
) -> Result<Replay> {
    let wanted = Wanted::new(matchers)?;
    let known = InfoSeries::read(context, &wanted, time, grid)?;
    let mut table = GroupTable::default();
    let mut rows = Batch::new(grid.count);
    let mut drops_name = Vec::new();
    let mut places: HashMap<(u32, Vec<u32>), usize> = HashMap::new();
    let mut held = context.budget.reservation();
    let collected = Matrix::collect(context, base, grid.count)?;
    for (series, row) in collected.rows.iter() {
        let labels = base.labels(series as usize);
        let is_info = wanted.is_info(&labels);
        let target = known.target(&labels);
        for (step, cell) in row.cells() {
            let found = if is_info { &[][..] } else { known.at(target, step) };
            let place = match places.get(&(series, found.to_vec())) {
                Some(place) => *place,
                None => {
                    let added = known.added(&wanted, &labels, found)?;
                    let place = if is_info || !added.is_empty() || wanted.keeps_bare() {
                        let full = extended(&labels, &added);
                        table.id(|| full.iter()) as usize
                    } else {
                        usize::MAX
                    };
                    places.insert((series, found.to_vec()), place);
                    place
                }
            };
            if place == usize::MAX {
                continue;
            }
            if place == rows.rows() {
                held.grow(grid.count, grid.count * 8 + 128)?;
                rows.push(place as u32);
                drops_name.push(base.drops_name(series as usize));
            }
            rows.row_mut(place).replace(step, Some(cell));
        }
    }
    let mut matrix = Matrix::new(context, grid.count);
    for (series, row) in rows.iter() {
        matrix.push(series, row)?;
    }
    let info = |(labels, drops_name)| SeriesInfo { labels, drops_name };
    let infos = table.labels.into_iter().zip(drops_name).map(info).collect();
    Ok(Replay::new(infos, matrix, false))
}

fn extended(labels: &Labels, added: &[(String, String)]) -> Labels {
    let mut builder = LabelsBuilder::from_labels(labels);
    for (name, value) in added {
        builder.set(name, value);
    }
    builder.build()
}

/// The info series, and which of them count for a target at each step.
struct InfoSeries {
    labels: Vec<Labels>,
    targets: GroupTable,
    /// By target and step: one series per info metric's name.
    current: Vec<Vec<u32>>,
    steps: usize,
}

impl InfoSeries {
    fn read(context: &Context<'_>, wanted: &Wanted, time: TimeShift, grid: Grid) -> Result<Self> {
        let matchers = wanted.names.iter().chain(&wanted.data).cloned().collect();
        let selector = Selector { matchers, time, extension: None, hints: SelectorHints::default(), shared: None };
        let windows = Windows { grid, at: time.at, offset: time.offset, range: context.options.lookback_ms };
        let mut operator =
            SelectorOperator::open(context, &selector, windows, Take::TimestampOfFloat, Span::default())?;
        let labels: Vec<Labels> = (0..operator.series_count()).map(|series| operator.stored_labels(series)).collect();
        let mut targets = GroupTable::default();
        let ids: Vec<u32> = labels.iter().map(|labels| target_id(&mut targets, labels)).collect();
        let mut held = context.budget.reservation();
        held.grow(0, targets.labels.len() * grid.count * size_of::<(Vec<u32>, Vec<f64>)>())?;
        let mut current: Vec<Vec<u32>> = vec![Vec::new(); targets.labels.len() * grid.count];
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); current.len()];
        each_row(context, &mut operator, grid.count, |series, row| {
            if row.has_histograms() {
                let labels = &labels[series as usize];
                let text = format!("this should be an info metric, with float samples: {labels}");
                return Err(QueryError::execution(text));
            }
            for (step, time) in row.iter() {
                let cell = ids[series as usize] as usize * grid.count + step;
                let name = labels[series as usize].metric_name();
                let same = current[cell].iter().position(|other| labels[*other as usize].metric_name() == name);
                match same {
                    None => {
                        current[cell].push(series);
                        times[cell].push(time);
                    }
                    Some(at) if times[cell][at] < time => (current[cell][at], times[cell][at]) = (series, time),
                    Some(at) if times[cell][at] == time => {
                        let (old, new) = (&labels[current[cell][at] as usize], &labels[series as usize]);
                        let at = time * 1000.0;
                        let text =
                            format!("found duplicate series for info metric: existing {old} @ {at}, new {new} @ {at}");
                        return Err(QueryError::execution(text));
                    }
                    Some(_) => {}
                }
            }
            Ok(())
        })?;
        Ok(Self { labels, targets, current, steps: grid.count })
    }

    fn target(&self, labels: &Labels) -> Option<u32> {
        self.targets.find(&identity(labels))
    }

    fn at(&self, target: Option<u32>, step: usize) -> &[u32] {
        target.map_or(&[], |target| &self.current[target as usize * self.steps + step])
    }

    /// The labels that some info series add to those that are there.
    fn added(&self, wanted: &Wanted, base: &Labels, found: &[u32]) -> Result<Vec<(String, String)>> {
        let mut added: Vec<(String, String)> = Vec::new();
        let labels = found.iter().flat_map(|series| self.labels[*series as usize].iter());
        for label in labels.filter(|label| wanted.adds(label.name)) {
            match added.iter().find(|(name, _)| name == label.name) {
                Some((_, value)) if value != label.value => {
                    return Err(QueryError::execution(format!("conflicting label: {}", label.name)));
                }
                Some(_) => {}
                None if base.get(label.name).is_some() => {}
                None => added.push((label.name.to_owned(), label.value.to_owned())),
            }
        }
        Ok(added)
    }
}

fn identity(labels: &Labels) -> Labels {
    Labels::from_sorted(labels.iter().filter(|label| IDENTIFYING.contains(&label.name)))
}

fn target_id(targets: &mut GroupTable, labels: &Labels) -> u32 {
    let identity = identity(labels);
    targets.id(|| identity.iter())
}
