//! Repeats the one value of a step-invariant expression at every step.

use model::Labels;

use crate::{
    exec::{
        BoxOperator, Operator, Result,
        batch::{Batch, Cell, fill},
        grouping::Groups,
    },
    plan::GroupBy,
};

pub(crate) struct Broadcast<'q> {
    input: BoxOperator<'q>,
    narrow: Batch,
    /// Row of `narrow` to be repeated next.
    next: usize,
}

impl<'q> Broadcast<'q> {
    /// The input has exactly one step.
    pub(crate) fn new(input: BoxOperator<'q>) -> Self {
        Self { input, narrow: Batch::new(1), next: 0 }
    }
}

impl Operator for Broadcast<'_> {
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

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        self.input.groups(grouping)
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        while !batch.is_full() {
            if self.next == self.narrow.rows() {
                self.next = 0;
                if !self.input.next(&mut self.narrow)? {
                    break;
                }
                continue;
            }
            let steps = batch.steps();
            match self.narrow.row(self.next).cell(0) {
                Some(Cell::Float(value)) => {
                    let row = batch.push(self.narrow.series(self.next));
                    row.values.fill(value);
                    fill(row.valid, steps);
                }
                Some(Cell::Histogram(histogram)) => {
                    let mut row = batch.push(self.narrow.series(self.next));
                    (0..steps).for_each(|step| row.set_histogram(step, histogram.clone()));
                }
                None => {}
            }
            self.next += 1;
        }
        Ok(!batch.is_empty())
    }
}
