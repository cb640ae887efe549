//! Aggregations: rows of many series flow into the cells of few groups.

pub(crate) mod count_values;
pub(crate) mod fold;
pub(crate) mod histograms;
pub(crate) mod limit;
pub(crate) mod quantile;
pub(crate) mod top;

use model::Labels;

use crate::{
    budget::Reservation,
    error::QueryError,
    exec::{
        BoxOperator, Context, Operator, Result,
        batch::{Batch, RowMut},
        each_batch,
        grouping::{self, Groups},
    },
    functions::scalar::Scalar,
    plan::GroupBy,
    value_text,
};

/// The cells of an aggregation that gives one series per group: a state for each group and step.
pub(crate) trait Cells {
    /// Takes the rows of a batch in; `groups` holds the group of each series.
    fn add(&mut self, groups: &[u32], batch: &Batch) -> Result<()>;

    /// Says what a user should know, once all rows are in.
    fn report(&mut self, input: &dyn Operator) {
        let _ = input;
    }

    /// Gives the values of a group.
    fn finish(&mut self, group: usize, row: &mut RowMut<'_>);
}

/// Bytes of state that `sum` and its like keep per group and step.
pub(crate) const CELL_BYTES: usize = 40;

/// An aggregation that gives one series per group.
pub(crate) struct Aggregation<'q> {
    context: &'q Context<'q>,
    input: Option<BoxOperator<'q>>,
    groups: Groups,
    cells: Box<dyn Cells + 'q>,
    steps: usize,
    next_group: usize,
    unique_without_name: bool,
    _held: Reservation,
}

impl<'q> Aggregation<'q> {
    pub(crate) fn new(
        context: &'q Context<'q>,
        mut input: BoxOperator<'q>,
        grouping: &GroupBy,
        steps: usize,
        cells: impl FnOnce(usize) -> Box<dyn Cells + 'q>,
    ) -> Result<Self> {
        let groups = grouping::group(context, input.as_mut(), grouping)?;
        let mut held = context.budget.reservation();
        held.grow(groups.labels.len() * steps, groups.labels.len() * steps * CELL_BYTES + groups.ids.len() * 4)?;
        let cells = cells(groups.labels.len());
        let unique_without_name = grouping.without || !grouping.labels.iter().any(|label| context.is_metadata(label));
        Ok(Self { context, input: Some(input), groups, cells, steps, next_group: 0, unique_without_name, _held: held })
    }
}

impl Operator for Aggregation<'_> {
    fn series_count(&self) -> usize {
        self.groups.labels.len()
    }

    fn labels(&self, series: usize) -> Labels {
        self.groups.labels[series].clone()
    }

    fn drops_name(&self, series: usize) -> bool {
        self.groups.drops_name[series]
    }

    fn is_unique_without_name(&self) -> bool {
        self.unique_without_name
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        if let Some(mut input) = self.input.take() {
            each_batch(self.context, input.as_mut(), self.steps, |batch| self.cells.add(&self.groups.ids, batch))?;
            self.cells.report(input.as_ref());
        }
        batch.clear();
        while !batch.is_full() && self.next_group < self.groups.labels.len() {
            self.cells.finish(self.next_group, &mut batch.push(self.next_group as u32));
            batch.drop_last_if_empty();
            self.next_group += 1;
        }
        Ok(!batch.is_empty())
    }
}

/// The parameter of topk, bottomk and limitk as a count per step.
pub(crate) fn counts(parameter: &Scalar) -> Result<Vec<usize>> {
    // Where nothing is wanted at any step, no count is too small either.
    if parameter.values().iter().all(|value| *value < 1.0) {
        return Ok(vec![0; parameter.values().len()]);
    }
    let count = |value: &f64| {
        if value.is_nan() {
            return Err(QueryError::execution("Parameter value is NaN"));
        }
        let overflow =
            |word| QueryError::execution(format!("Scalar value {} {word} int64", value_text::general(*value)));
        // As floats, the largest i64 rounds up to one that does not fit any more.
        if *value >= i64::MAX as f64 {
            return Err(overflow("overflows"));
        }
        if *value <= i64::MIN as f64 {
            return Err(overflow("underflows"));
        }
        Ok((*value as i64).max(0) as usize)
    };
    parameter.values().iter().map(count).collect()
}

/// A value that may be one for all steps.
pub(crate) fn at<T: Copy>(values: &[T], step: usize) -> T {
    if values.len() == 1 { values[0] } else { values[step] }
}
