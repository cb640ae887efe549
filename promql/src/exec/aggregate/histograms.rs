//! Native histograms in aggregations: sums and means of their own, counted with the floats by `count` and `group`, passed over by
//! everything else.

use std::collections::HashMap;

use crate::{
    ast::{AggregateOp, Span},
    budget::Reservation,
    exec::{
        Context, Operator, Result,
        aggregate::Cells,
        batch::{Batch, Cell, RowMut},
    },
    functions::mixed::{mixed_schemas, reconciled, resets_conflict},
    histogram::HistogramSum,
};

/// Cells of floats, and what is made of histograms beside them.
pub(crate) struct WithHistograms<'q> {
    context: &'q Context<'q>,
    op: AggregateOp,
    /// Of the operand.
    span: Span,
    floats: Box<dyn Cells + 'q>,
    /// By group and step; `None` where exponential and custom buckets met.
    sums: HashMap<usize, Option<HistogramSum>>,
    steps: usize,
    /// Series that did not fit to those before.
    misfits: Vec<u32>,
    held: Reservation,
}

impl<'q> WithHistograms<'q> {
    pub(crate) fn new(
        context: &'q Context<'q>,
        op: AggregateOp,
        span: Span,
        floats: Box<dyn Cells + 'q>,
        steps: usize,
    ) -> Self {
        let held = context.budget.reservation();
        Self { context, op, span, floats, sums: HashMap::new(), steps, misfits: Vec::new(), held }
    }

    fn add_to_sums(&mut self, groups: &[u32], batch: &Batch) -> Result<()> {
        let is_mean = self.op == AggregateOp::Avg;
        for (series, row) in batch.iter() {
            let first = groups[series as usize] as usize * self.steps;
            for (step, histogram) in row.histograms() {
                match self.sums.get_mut(&(first + step)) {
                    None => {
                        let sum = HistogramSum::of(histogram, is_mean);
                        self.held.grow(0, sum.bytes())?;
                        self.sums.insert(first + step, Some(sum));
                    }
                    Some(None) => {}
                    Some(place @ Some(_)) => {
                        if place.as_mut().is_some_and(|sum| sum.add(histogram).is_err()) {
                            *place = None;
                            self.misfits.push(series);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn take_sum(&mut self, cell: usize) -> Option<Cell> {
        let sum = self.sums.remove(&cell)??;
        if sum.bounds_reconciled() {
            self.context.info(self.span, reconciled("aggregation"));
        }
        if sum.resets_conflict() {
            self.context.warn(self.span, resets_conflict("aggregation"));
        }
        Some(Cell::Histogram(sum.value().into()))
    }
}

impl Cells for WithHistograms<'_> {
    fn add(&mut self, groups: &[u32], batch: &Batch) -> Result<()> {
        self.floats.add(groups, batch)?;
        if !batch.has_histograms() {
            return Ok(());
        }
        match self.op {
            AggregateOp::Sum | AggregateOp::Avg => self.add_to_sums(groups, batch),
            AggregateOp::Count | AggregateOp::Group => self.floats.add(groups, &ones_for_histograms(batch)),
            op => {
                if batch.iter().any(|(_, row)| row.has_histograms()) {
                    ignored(self.context, op, self.span);
                }
                Ok(())
            }
        }
    }

    fn report(&mut self, input: &dyn Operator) {
        for series in self.misfits.drain(..) {
            let labels = input.labels(series as usize);
            self.context.warn(self.span, mixed_schemas(labels.metric_name().unwrap_or_default()));
        }
    }

    fn finish(&mut self, group: usize, row: &mut RowMut<'_>) {
        self.floats.finish(group, row);
        if self.sums.is_empty() {
            return;
        }
        for step in 0..self.steps {
            let cell = group * self.steps + step;
            if !self.sums.contains_key(&cell) {
                continue;
            }
            let mut sum = self.take_sum(cell);
            if sum.is_some() && row.as_row().get(step).is_some() {
                self.context.warn(self.span, "encountered a mix of histograms and floats for aggregation");
                sum = None;
            }
            row.replace(step, sum);
        }
    }
}

/// Says that an aggregation has passed over histograms.
pub(crate) fn ignored(context: &Context<'_>, op: AggregateOp, span: Span) {
    context.info(span, format!("ignored histogram in {} aggregation", op.as_str()));
}

/// A float for each histogram, and for nothing else.
fn ones_for_histograms(batch: &Batch) -> Batch {
    let mut ones = Batch::new(batch.steps());
    for (series, row) in batch.iter().filter(|(_, row)| row.has_histograms()) {
        let mut target = ones.push(series);
        row.histograms().for_each(|(step, _)| target.set(step, 1.0));
    }
    ones
}
