//! A whole instant vector at all steps, held in memory on the query's account: for operators that can't stream.

use model::Labels;

use crate::{
    budget::Reservation,
    exec::{
        BoxOperator, Context, Operator, Result,
        batch::{Batch, Row},
        each_row,
    },
};

/// The rows of an operator, in the order in which they came.
pub(crate) struct Matrix {
    pub(crate) rows: Batch,
    held: Reservation,
}

impl Matrix {
    pub(crate) fn new(context: &Context<'_>, steps: usize) -> Self {
        Self { rows: Batch::new(steps), held: context.budget.reservation() }
    }

    /// Drains an operator.
    pub(crate) fn collect(context: &Context<'_>, operator: &mut dyn Operator, steps: usize) -> Result<Self> {
        let mut matrix = Self::new(context, steps);
        each_row(context, operator, steps, |series, row| matrix.push(series, row))?;
        Ok(matrix)
    }

    pub(crate) fn push(&mut self, series: u32, row: Row<'_>) -> Result<()> {
        self.held.grow(row.samples_len(), row.bytes() + 4)?;
        self.rows.push_copy(series, row);
        Ok(())
    }
}

/// What is known of a series that an operator made up.
#[derive(Clone, Debug)]
pub(crate) struct SeriesInfo {
    pub(crate) labels: Labels,
    pub(crate) drops_name: bool,
}

/// Gives rows that are there already, in a given order.
pub(crate) struct Replay {
    series: Vec<SeriesInfo>,
    matrix: Matrix,
    /// Rows of the matrix, in the order in which they are given.
    order: std::vec::IntoIter<usize>,
    unique_without_name: bool,
}

impl Replay {
    pub(crate) fn new(series: Vec<SeriesInfo>, matrix: Matrix, unique_without_name: bool) -> Self {
        let order = (0..matrix.rows.rows()).collect();
        Self::ordered(series, matrix, order, unique_without_name)
    }

    pub(crate) fn ordered(
        series: Vec<SeriesInfo>,
        matrix: Matrix,
        order: Vec<usize>,
        unique_without_name: bool,
    ) -> Self {
        Self { series, matrix, order: order.into_iter(), unique_without_name }
    }

    pub(crate) fn boxed<'q>(self) -> BoxOperator<'q> {
        Box::new(self)
    }
}

impl Operator for Replay {
    fn series_count(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, series: usize) -> Labels {
        self.series[series].labels.clone()
    }

    fn drops_name(&self, series: usize) -> bool {
        self.series[series].drops_name
    }

    fn is_unique_without_name(&self) -> bool {
        self.unique_without_name
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        while !batch.is_full() {
            let Some(row) = self.order.next() else { break };
            batch.push_copy(self.matrix.rows.series(row), self.matrix.rows.row(row));
        }
        Ok(!batch.is_empty())
    }
}
