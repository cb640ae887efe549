//! Evaluation: a tree of operators that hand up batches of rows, each row one series at all steps.
//!
//! An operator knows its series before it computes any value. Labels are built one by one when somebody needs them, so an
//! aggregation over a source with group codes, or a filter that lets few series through, never builds the rest.

pub(crate) mod aggregate;
pub(crate) mod arithmetic;
pub(crate) mod batch;
pub(crate) mod bounds;
pub(crate) mod broadcast;
pub(crate) mod build;
pub(crate) mod grid;
pub(crate) mod grouping;
pub(crate) mod join;
pub(crate) mod map;
pub(crate) mod matrix;
pub(crate) mod merge;
pub(crate) mod morsels;
pub(crate) mod range;
pub(crate) mod range_function;
pub(crate) mod rows;
pub(crate) mod selector;
pub(crate) mod set;
pub(crate) mod stored;
pub(crate) mod tiles;

use std::cell::RefCell;

use model::{Labels, METRIC_NAME};

use crate::{
    annotations::Annotations, ast::Span, budget::QueryBudget, engine::Options, error::QueryError,
    plan::lower::QuerySettings, source::Source,
};
use batch::Batch;
use grouping::Groups;
use stored::Stored;

pub(crate) type Result<T, E = QueryError> = std::result::Result<T, E>;

/// What all operators of a query share.
pub(crate) struct Context<'q> {
    pub(crate) source: &'q dyn Source,
    pub(crate) budget: &'q QueryBudget,
    pub(crate) options: &'q Options,
    pub(crate) settings: QuerySettings,
    pub(crate) annotations: RefCell<Annotations>,
    /// Selections that several places read, by their number in the plan.
    pub(crate) stored: RefCell<Vec<Option<Stored>>>,
}

impl Context<'_> {
    pub(crate) fn warn(&self, span: Span, text: impl Into<String>) {
        self.annotations.borrow_mut().warn(span, text);
    }

    pub(crate) fn info(&self, span: Span, text: impl Into<String>) {
        self.annotations.borrow_mut().info(span, text);
    }

    /// Whether a label goes when a result is no longer the metric that its samples came from.
    pub(crate) fn is_metadata(&self, name: &str) -> bool {
        name == METRIC_NAME || (self.options.type_and_unit_labels && matches!(name, "__type__" | "__unit__"))
    }

    pub(crate) fn without_metadata(&self, labels: &Labels) -> Labels {
        if labels.iter().any(|label| self.is_metadata(label.name)) {
            Labels::from_sorted(labels.iter().filter(|label| !self.is_metadata(label.name)))
        } else {
            labels.clone()
        }
    }
}

/// A part of the query that gives an instant vector at every step.
pub(crate) trait Operator {
    /// Series are numbered from 0; not every one needs to come with a row.
    fn series_count(&self) -> usize;

    /// The labels of a series, built when asked for.
    fn labels(&self, series: usize) -> Labels;

    /// With delayed name removal: whether the name is still to be dropped at the end of the query.
    fn drops_name(&self, series: usize) -> bool;

    /// Whether no two series could become equal by losing their metric's name.
    fn is_unique_without_name(&self) -> bool;

    /// Groups of the series, if that is possible without building label sets.
    fn groups(&mut self, grouping: &crate::plan::GroupBy) -> Result<Option<Groups>> {
        let _ = grouping;
        Ok(None)
    }

    /// Fills a batch, which it clears first; false when there is nothing left. A series has one row at most.
    fn next(&mut self, batch: &mut Batch) -> Result<bool>;
}

pub(crate) type BoxOperator<'q> = Box<dyn Operator + 'q>;

/// An operator without any series.
pub(crate) struct Empty;

impl Operator for Empty {
    fn series_count(&self) -> usize {
        0
    }

    fn labels(&self, _series: usize) -> Labels {
        Labels::empty()
    }

    fn drops_name(&self, _series: usize) -> bool {
        false
    }

    fn is_unique_without_name(&self) -> bool {
        true
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        Ok(false)
    }
}

/// Calls `visit` with each batch of an operator.
pub(crate) fn each_batch(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    steps: usize,
    mut visit: impl FnMut(&Batch) -> Result<()>,
) -> Result<()> {
    let mut held = context.budget.reservation();
    let mut batch = Batch::new(steps);
    while operator.next(&mut batch)? {
        context.budget.check()?;
        held.set(batch.samples_len(), batch.bytes())?;
        visit(&batch)?;
    }
    Ok(())
}

/// Calls `row` with each row of an operator.
pub(crate) fn each_row(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    steps: usize,
    mut row: impl FnMut(u32, batch::Row<'_>) -> Result<()>,
) -> Result<()> {
    each_batch(context, operator, steps, |batch| batch.iter().try_for_each(|(series, values)| row(series, values)))
}
