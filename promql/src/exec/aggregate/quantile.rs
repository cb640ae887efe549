//! quantile: all values of a group at a step, sorted at the end.

use crate::{
    budget::Reservation,
    exec::{
        Context, Result,
        aggregate::Cells,
        batch::{Batch, RowMut},
    },
    functions::{quantile, scalar::Scalar},
};

pub(crate) struct QuantileCells {
    quantile: Scalar,
    values: Vec<Vec<f64>>,
    steps: usize,
    held: Reservation,
}

impl QuantileCells {
    pub(crate) fn new(context: &Context<'_>, quantile: Scalar, groups: usize, steps: usize) -> Self {
        Self { quantile, values: vec![Vec::new(); groups * steps], steps, held: context.budget.reservation() }
    }
}

impl Cells for QuantileCells {
    fn add(&mut self, groups: &[u32], batch: &Batch) -> Result<()> {
        let count = batch.samples_len();
        self.held.grow(count, count * 8)?;
        for (series, row) in batch.iter() {
            let first = groups[series as usize] as usize * self.steps;
            for (step, value) in row.iter() {
                self.values[first + step].push(value);
            }
        }
        Ok(())
    }

    fn finish(&mut self, group: usize, row: &mut RowMut<'_>) {
        for step in 0..self.steps {
            let values = &mut self.values[group * self.steps + step];
            if !values.is_empty() {
                row.set(step, quantile::of(self.quantile.at(step), values));
            }
        }
    }
}
