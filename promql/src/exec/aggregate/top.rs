//! topk and bottomk: the best series of each group at each step, under their own labels.

use std::{cmp::Ordering, collections::HashMap};

use model::Labels;

use crate::{
    ast::{AggregateOp, Span},
    exec::{
        BoxOperator, Context, Operator, Result,
        aggregate::{at, histograms::ignored},
        batch::Batch,
        each_row, grouping,
        matrix::Matrix,
    },
    functions::{Direction, sort::by_direction},
    plan::GroupBy,
};

pub(crate) struct Top<'q> {
    input: BoxOperator<'q>,
    matrix: Matrix,
    next_row: usize,
}

/// The best series of one group at one step. May hold more than are wanted, until it is cut.
#[derive(Clone, Default)]
struct Candidates {
    values: Vec<(f64, u32)>,
    /// Worst value that a newcomer has to beat, once there were enough.
    bar: Option<f64>,
}

/// Candidates beyond twice the wanted ones that make a cut worth its sorting.
const SLACK: usize = 64;

impl Candidates {
    fn offer(&mut self, value: f64, series: u32, wanted: usize, direction: Direction) {
        if self.bar.is_some_and(|bar| by_direction(value, bar, direction) != Ordering::Less) {
            return;
        }
        self.values.push((value, series));
        if self.values.len() >= wanted.saturating_mul(2).saturating_add(SLACK) {
            self.cut(wanted, direction);
            self.bar = self.values.last().map(|(value, _)| *value);
        }
    }

    /// Keeps the wanted ones, best first; of equals those that came first.
    fn cut(&mut self, wanted: usize, direction: Direction) {
        self.values.sort_by(|left, right| by_direction(left.0, right.0, direction));
        self.values.truncate(wanted);
    }
}

impl<'q> Top<'q> {
    /// `direction` is that of the ranking: descending for topk.
    pub(crate) fn new(
        context: &'q Context<'q>,
        mut input: BoxOperator<'q>,
        grouping: &GroupBy,
        counts: &[usize],
        direction: Direction,
        span: Span,
        steps: usize,
    ) -> Result<Self> {
        let op = if direction == Direction::Descending { AggregateOp::TopK } else { AggregateOp::BottomK };
        let groups = grouping::group(context, input.as_mut(), grouping)?;
        let mut held = context.budget.reservation();
        held.grow(0, groups.labels.len() * steps * size_of::<Candidates>())?;
        let mut cells = vec![Candidates::default(); groups.labels.len() * steps];
        each_row(context, input.as_mut(), steps, |series, row| {
            let group = groups.ids[series as usize] as usize;
            let mut added = 0;
            if row.has_histograms() {
                ignored(context, op, span);
            }
            for (step, value) in row.iter() {
                let wanted = at(counts, step);
                if wanted > 0 {
                    let cell = &mut cells[group * steps + step];
                    let before = cell.values.len();
                    cell.offer(value, series, wanted, direction);
                    added += cell.values.len().saturating_sub(before);
                }
            }
            Ok(held.grow(0, added * size_of::<(f64, u32)>())?)
        })?;
        let matrix = rows(context, cells, counts, direction, steps)?;
        Ok(Self { input, matrix, next_row: 0 })
    }
}

/// Turns the cells into one row per series; with one step they are in order of rank.
fn rows(
    context: &Context<'_>,
    mut cells: Vec<Candidates>,
    counts: &[usize],
    direction: Direction,
    steps: usize,
) -> Result<Matrix> {
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut batch = Batch::new(steps);
    for (index, cell) in cells.iter_mut().enumerate() {
        let step = index % steps.max(1);
        cell.cut(at(counts, step), direction);
        for (value, series) in &cell.values {
            let place = *places.entry(*series).or_insert_with(|| {
                batch.push(*series);
                batch.rows() - 1
            });
            batch.row_mut(place).set(step, *value);
        }
    }
    let mut matrix = Matrix::new(context, steps);
    for (series, row) in batch.iter() {
        matrix.push(series, row)?;
    }
    Ok(matrix)
}

impl Operator for Top<'_> {
    fn series_count(&self) -> usize {
        self.input.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        self.input.labels(series)
    }

    fn drops_name(&self, series: usize) -> bool {
        self.input.drops_name(series)
    }

    fn is_unique_without_name(&self) -> bool {
        self.input.is_unique_without_name()
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        while !batch.is_full() && self.next_row < self.matrix.rows.rows() {
            batch.push_copy(self.matrix.rows.series(self.next_row), self.matrix.rows.row(self.next_row));
            self.next_row += 1;
        }
        Ok(!batch.is_empty())
    }
}
