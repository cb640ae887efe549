//! Remarks on numbers that a range function was given.

use std::collections::HashSet;

use crate::{
    annotations::invalid_quantile,
    ast::Span,
    exec::{Context, batch::RowMut, grid::Windows},
    functions::{Kernel, quantile, scalar::Scalar},
    source::Samples,
};

/// Warns of odd quantiles of windows that have floats.
pub(crate) struct Warned<'q> {
    pub(crate) context: &'q Context<'q>,
    pub(crate) kernel: Box<dyn Kernel + 'q>,
    pub(crate) quantiles: Scalar,
    pub(crate) span: Span,
    /// Bits of the quantiles that were warned of: a text for each window would cost more than the query.
    pub(crate) known: HashSet<u64>,
}

impl Kernel for Warned<'_> {
    fn run(&mut self, samples: Samples<'_>, windows: &Windows, row: &mut RowMut<'_>) {
        self.kernel.run(samples, windows, row);
        for (step, _) in row.as_row().iter() {
            let value = self.quantiles.at(step);
            if quantile::is_odd(value) && self.known.insert(value.to_bits()) {
                self.context.warn(self.span, invalid_quantile(value));
            }
        }
    }
}
