//! Operators that change the values of a row in place and leave the series what they are, but for the name.

use std::sync::Arc;

use model::Labels;

use crate::{
    ast::BinaryOp,
    exec::{
        BoxOperator, Context, Operator, Result,
        arithmetic::{arithmetic, compare},
        batch::{Batch, Cell},
        grouping::Groups,
    },
    functions::scalar::Scalar,
    histogram::FloatHistogram,
    plan::GroupBy,
};

/// What happens to the values of a batch.
pub(crate) type Change<'q> = Box<dyn FnMut(&mut Batch) + 'q>;

pub(crate) struct Map<'q> {
    context: &'q Context<'q>,
    input: BoxOperator<'q>,
    change: Change<'q>,
    drops_name: bool,
}

impl<'q> Map<'q> {
    pub(crate) fn new(context: &'q Context<'q>, input: BoxOperator<'q>, drops_name: bool, change: Change<'q>) -> Self {
        Self { context, input, change, drops_name }
    }
}

impl Operator for Map<'_> {
    fn series_count(&self) -> usize {
        self.input.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        let labels = self.input.labels(series);
        if self.drops_name && !self.context.options.delayed_name_removal {
            self.context.without_metadata(&labels)
        } else {
            labels
        }
    }

    fn drops_name(&self, series: usize) -> bool {
        self.context.options.delayed_name_removal && (self.drops_name || self.input.drops_name(series))
    }

    fn is_unique_without_name(&self) -> bool {
        self.input.is_unique_without_name()
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        if !self.drops_name {
            return self.input.groups(grouping);
        }
        groups_below_drop(self.context, grouping, || self.input.groups(grouping))
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let more = self.input.next(batch)?;
        (self.change)(batch);
        Ok(more)
    }
}

/// The groups of series that lose their name on the way: those of the series below, unless the name decides the group.
pub(crate) fn groups_below_drop(
    context: &Context<'_>,
    grouping: &GroupBy,
    below: impl FnOnce() -> Result<Option<Groups>>,
) -> Result<Option<Groups>> {
    if !grouping.without && grouping.labels.iter().any(|label| context.is_metadata(label)) {
        return Ok(None);
    }
    let Some(mut groups) = below()? else { return Ok(None) };
    groups.drops_name.fill(context.options.delayed_name_removal);
    Ok(Some(groups))
}

/// Maps every float; also those that are not there, which nobody sees. Histograms go: most functions have no meaning for them.
pub(crate) fn values<'q>(function: impl Fn(f64) -> f64 + 'q) -> Change<'q> {
    Box::new(move |batch| {
        batch.drop_histograms();
        batch.values_mut().iter_mut().for_each(|value| *value = function(*value));
    })
}

/// Maps floats by one function and histograms by another.
pub(crate) fn cells<'q>(
    mut floats: Change<'q>,
    histograms: impl Fn(usize, &Arc<FloatHistogram>) -> Option<Cell> + 'q,
) -> Change<'q> {
    Box::new(move |batch| {
        if !batch.has_histograms() {
            floats(batch);
            return;
        }
        let mut found: Vec<(usize, usize, Option<Cell>)> = Vec::new();
        for row in 0..batch.rows() {
            found.extend(batch.row(row).histograms().map(|(step, histogram)| (row, step, histograms(step, histogram))));
        }
        batch.drop_histograms();
        floats(batch);
        for (row, step, cell) in found {
            batch.row_mut(row).replace(step, cell);
        }
    })
}

/// Maps every value together with a scalar of the same step.
pub(crate) fn values_with<'q>(scalar: Scalar, function: impl Fn(f64, f64) -> f64 + 'q) -> Change<'q> {
    match scalar {
        Scalar::Constant(scalar) => values(move |value| function(value, scalar)),
        Scalar::Steps(scalars) => Box::new(move |batch| {
            batch.drop_histograms();
            for row in batch.values_mut().chunks_exact_mut(scalars.len()) {
                row.iter_mut().zip(&scalars).for_each(|(value, scalar)| *value = function(*value, *scalar));
            }
        }),
    }
}

/// `vector op scalar`, or `scalar op vector` when `swapped`, for arithmetic and for comparisons that return a bool.
pub(crate) fn with_scalar<'q>(op: BinaryOp, scalar: Scalar, swapped: bool, is_bool: bool) -> Change<'q> {
    if is_bool {
        let compare = move |left, right| f64::from(u8::from(compare(op, left, right)));
        return match swapped {
            true => values_with(scalar, move |value, scalar| compare(scalar, value)),
            false => values_with(scalar, compare),
        };
    }
    // The four common ones inline, so that the loop over the values is vector code.
    match (op, swapped) {
        (BinaryOp::Add, _) => values_with(scalar, |value, scalar| value + scalar),
        (BinaryOp::Mul, _) => values_with(scalar, |value, scalar| value * scalar),
        (BinaryOp::Sub, false) => values_with(scalar, |value, scalar| value - scalar),
        (BinaryOp::Div, false) => values_with(scalar, |value, scalar| value / scalar),
        (_, false) => values_with(scalar, arithmetic(op)),
        (_, true) => {
            let function = arithmetic(op);
            values_with(scalar, move |value, scalar| function(scalar, value))
        }
    }
}

/// A comparison that keeps the values for which it holds.
pub(crate) fn filter<'q>(op: BinaryOp, scalar: Scalar, swapped: bool) -> Change<'q> {
    let keeps = move |value, scalar| if swapped { compare(op, scalar, value) } else { compare(op, value, scalar) };
    Box::new(move |batch| {
        batch.drop_histograms();
        for row in 0..batch.rows() {
            let row = batch.row_mut(row);
            for (index, (word, values)) in row.valid.iter_mut().zip(row.values.chunks(64)).enumerate() {
                let bit = |(at, value): (usize, &f64)| u64::from(keeps(*value, scalar.at(index * 64 + at))) << at;
                *word &= values.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit);
            }
        }
    })
}
