//! Functions that make an instant vector of a range vector, window by window.

use std::collections::HashSet;

use model::Labels;

use crate::{
    annotations::invalid_quantile,
    ast::{Extension, Span},
    exec::{
        Context, Operator, Result,
        batch::{Batch, any},
        grid::Windows,
        grouping::Groups,
        map::groups_below_drop,
        range::RangeInput,
        rows::{MakeRow, RowMaker, RowMorsels},
    },
    functions::{
        Kernel,
        extended::ExactHistograms,
        mixed::{self, Remark},
        over_time::RangeFunction,
        quantile,
        scalar::Scalar,
        starts,
    },
    plan::GroupBy,
    source::Samples,
};

/// Whether the info about metrics that may be no counters applies to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterCheck {
    Off,
    On,
    /// All series have the same name, and it has been looked at.
    Done,
}

/// A function over the windows of a range vector.
pub(crate) struct RangeOperator<'q> {
    context: &'q Context<'q>,
    input: RangeInput<'q>,
    rows: RowMaker<Kernels>,
    /// Makes the rows instead, where the source has readers.
    morsels: Option<RowMorsels<Kernels>>,
    remarks: Vec<(u32, Remark)>,
    keeps_name: bool,
    counter_check: CounterCheck,
    odd_quantiles: Option<OddQuantiles>,
    /// Of the first argument.
    span: Span,
}

/// What is computed of each window.
#[derive(Clone)]
pub(crate) struct Windowed {
    pub(crate) windows: Windows,
    pub(crate) function: RangeFunction,
    /// The function's number arguments, in the order in which they are written.
    pub(crate) numbers: Vec<Scalar>,
    /// With a selector that is `anchored` or `smoothed`.
    pub(crate) extension: Option<Extension>,
    pub(crate) lookback: i64,
    /// Whether start timestamps are looked at.
    pub(crate) use_starts: bool,
}

impl Windowed {
    /// `None`: the function does not go with the selector's modifier.
    pub(crate) fn kernels(self) -> Option<Kernels> {
        let floats = match self.extension {
            None => self.function.kernel(self.numbers.clone()),
            Some(extension) => self.function.extended_kernel(extension, self.lookback)?,
        };
        Some(Kernels { what: self, floats })
    }
}

/// A thread's code for it.
pub(crate) struct Kernels {
    what: Windowed,
    floats: Box<dyn Kernel>,
}

impl MakeRow for Kernels {
    fn make_row(&mut self, series: u32, samples: Samples<'_>, batch: &mut Batch, remarks: &mut Vec<Remark>) {
        let Self { what: Windowed { windows, function, extension, lookback, use_starts, .. }, floats } = self;
        let (function, lookback) = (*function, *lookback);
        let mut row = batch.push(series);
        if !samples.times.is_empty() {
            floats.run(samples, windows, &mut row);
        }
        if !samples.histograms.is_empty() {
            match *extension {
                None => mixed::run(function, samples, windows, &mut row, remarks),
                Some(extension) => {
                    ExactHistograms { function, extension, lookback }.run(samples, windows, &mut row, remarks);
                }
            }
        }
        if extension.is_none() && *use_starts && starts::has_any(samples) {
            remarks.clear();
            starts::run(function, samples, windows, &mut row, remarks);
        }
    }

    fn steps(&self) -> usize {
        self.what.windows.len()
    }

    fn twin(&self) -> Self {
        self.what.clone().kernels().expect("these exist")
    }
}

/// Quantiles that deserve a warning wherever a window has floats.
struct OddQuantiles {
    quantiles: Scalar,
    /// Bits of those that were warned of: a text for each window would cost more than the query.
    known: HashSet<u64>,
}

impl OddQuantiles {
    fn of(what: &Windowed) -> Option<Self> {
        let quantiles = what.numbers.first().filter(|_| what.function == RangeFunction::Quantile)?;
        let is_odd = quantiles.values().iter().any(|value| quantile::is_odd(*value));
        is_odd.then(|| Self { quantiles: quantiles.clone(), known: HashSet::new() })
    }

    fn look_at(&mut self, batch: &Batch, mut warn: impl FnMut(f64)) {
        for (_, row) in batch.iter() {
            for (step, _) in row.iter() {
                let value = self.quantiles.at(step);
                if quantile::is_odd(value) && self.known.insert(value.to_bits()) {
                    warn(value);
                }
            }
        }
    }
}

impl<'q> RangeOperator<'q> {
    pub(crate) fn new(context: &'q Context<'q>, input: RangeInput<'q>, kernels: Kernels, span: Span) -> Self {
        let function = kernels.what.function;
        let odd_quantiles = OddQuantiles::of(&kernels.what);
        let rows = RowMaker::new(kernels, context.budget);
        let morsels = input.morsels(context, &rows);
        Self {
            context,
            input,
            rows,
            morsels,
            remarks: Vec::new(),
            keeps_name: function.keeps_name(),
            counter_check: if function.wants_counter() { CounterCheck::On } else { CounterCheck::Off },
            odd_quantiles,
            span,
        }
    }

    fn next_tiles(&mut self, batch: &mut Batch) -> Result<()> {
        while !batch.is_full() && self.input.advance()? {
            self.rows.append(self.input.current(), batch, &mut self.remarks)?;
        }
        Ok(())
    }

    fn report(&mut self, batch: &Batch) {
        for (series, remark) in self.remarks.drain(..) {
            remark.report(self.context, self.span, &self.input.name(series as usize));
        }
        if let Some(odd) = &mut self.odd_quantiles {
            odd.look_at(batch, |value| self.context.warn(self.span, invalid_quantile(value)));
        }
        if self.counter_check == CounterCheck::On {
            let with_floats = batch.iter().filter(|(_, row)| any(row.valid));
            with_floats.for_each(|(series, _)| self.check_counter(series as usize));
        }
    }

    /// Says once per metric that its name, or its type label, is not that of a counter.
    fn check_counter(&mut self, series: usize) {
        if self.counter_check != CounterCheck::On {
            return;
        }
        if self.context.options.type_and_unit_labels {
            let labels = self.input.labels(series);
            if let Some(kind) = labels.get("__type__") {
                if !matches!(kind, "counter" | "histogram" | "unknown") {
                    let name = labels.metric_name().unwrap_or_default();
                    let text = format!(
                        "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got \"{kind}\": \"{name}\""
                    );
                    self.context.info(self.span, text);
                }
                return;
            }
        } else if self.input.has_one_name() {
            self.counter_check = CounterCheck::Done;
        }
        let name = self.input.name(series);
        let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if !name.is_empty() && !is_counter {
            let text =
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"{name}\"");
            self.context.info(self.span, text);
        }
    }
}

impl Operator for RangeOperator<'_> {
    fn series_count(&self) -> usize {
        self.input.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        let labels = self.input.labels(series);
        if self.keeps_name || self.context.options.delayed_name_removal {
            labels
        } else {
            self.context.without_metadata(&labels)
        }
    }

    fn drops_name(&self, series: usize) -> bool {
        self.context.options.delayed_name_removal && (!self.keeps_name || self.input.drops_name(series))
    }

    fn is_unique_without_name(&self) -> bool {
        self.input.is_unique_without_name()
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        if self.keeps_name {
            return self.input.groups(grouping);
        }
        groups_below_drop(self.context, grouping, || self.input.groups(grouping))
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        match &mut self.morsels {
            Some(morsels) => morsels.next(batch, &mut self.remarks)?,
            None => self.next_tiles(batch)?,
        }
        self.report(batch);
        Ok(!batch.is_empty())
    }
}
