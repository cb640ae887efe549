//! Computed values: rows of steps, one row a series, with a bit per float that says whether it is there.
//!
//! Native histograms stand beside the floats, in a column that is there only once one of a batch's rows has some: what computes
//! with floats need not know of them. A step of a row has a float, a histogram, or nothing.

use std::{borrow::Cow, sync::Arc};

use crate::histogram::FloatHistogram;

/// Values of a batch that is worth handing on: 128 KiB, which stay in a core's second-level cache.
const BATCH_VALUES: usize = 16 << 10;

/// Some series' values at all steps, row by row.
#[derive(Debug)]
pub(crate) struct Batch {
    steps: usize,
    words: usize,
    series: Vec<u32>,
    values: Vec<f64>,
    valid: Vec<u64>,
    /// By row and step, as far as the last row that has any.
    histograms: Vec<Option<Arc<FloatHistogram>>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'b> {
    pub(crate) values: &'b [f64],
    /// Of the floats: bit `step % 64` of word `step / 64`; bits past the last step are 0.
    pub(crate) valid: &'b [u64],
    /// By step; empty if there is none.
    histograms: &'b [Option<Arc<FloatHistogram>>],
}

#[derive(Debug)]
pub(crate) struct RowMut<'b> {
    pub(crate) values: &'b mut [f64],
    pub(crate) valid: &'b mut [u64],
    /// Those of the whole batch, and where this row's begin.
    histograms: &'b mut Vec<Option<Arc<FloatHistogram>>>,
    first: usize,
}

/// What a series has at a step.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl From<FloatHistogram> for Cell {
    fn from(histogram: FloatHistogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// Words that hold a bit for each of `steps`.
pub(crate) fn words_for(steps: usize) -> usize {
    steps.div_ceil(64)
}

pub(crate) fn get_bit(bits: &[u64], step: usize) -> bool {
    bits[step / 64] >> (step % 64) & 1 == 1
}

pub(crate) fn set_bit(bits: &mut [u64], step: usize) {
    bits[step / 64] |= 1 << (step % 64);
}

/// The positions of all bits that are set.
pub(crate) fn ones(bits: &[u64]) -> impl Iterator<Item = usize> {
    bits.iter().enumerate().flat_map(|(index, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| index * 64 + rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(bit)
        })
    })
}

pub(crate) fn any(bits: &[u64]) -> bool {
    bits.iter().any(|word| *word != 0)
}

/// Sets the bits of all steps and no other.
pub(crate) fn fill(bits: &mut [u64], steps: usize) {
    bits.fill(!0);
    if let (Some(last), rest @ 1..) = (bits.last_mut(), steps % 64) {
        *last = (1 << rest) - 1;
    }
}

/// Whether the bits of all steps are set.
pub(crate) fn is_full(bits: &[u64], steps: usize) -> bool {
    let rest = steps % 64;
    let whole = &bits[..steps / 64];
    whole.iter().all(|word| *word == !0) && (rest == 0 || bits[whole.len()] == (1 << rest) - 1)
}

impl Batch {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            steps,
            words: words_for(steps),
            series: Vec::new(),
            values: Vec::new(),
            valid: Vec::new(),
            histograms: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.series.clear();
        self.values.clear();
        self.valid.clear();
        self.histograms.clear();
    }

    /// Leaves the floats alone in it.
    pub(crate) fn drop_histograms(&mut self) {
        self.histograms.clear();
    }

    /// Whether any row may have histograms.
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn rows(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether the producer should hand the batch on.
    pub(crate) fn is_full(&self) -> bool {
        self.values.len() >= BATCH_VALUES
    }

    pub(crate) fn bytes(&self) -> usize {
        let histograms: usize = self.histograms.iter().flatten().map(|histogram| histogram.bytes()).sum();
        self.series.capacity() * 4
            + (self.values.capacity() + self.valid.capacity() + self.histograms.capacity()) * 8
            + histograms
    }

    /// Appends a row in which nothing is there yet.
    pub(crate) fn push(&mut self, series: u32) -> RowMut<'_> {
        let row = self.series.len();
        self.series.push(series);
        self.values.resize((row + 1) * self.steps, 0.0);
        self.valid.resize((row + 1) * self.words, 0);
        self.row_mut(row)
    }

    /// Rows that still have room in a batch with one step.
    pub(crate) fn room(&self) -> usize {
        BATCH_VALUES.saturating_sub(self.values.len())
    }

    /// Appends a row of a batch with one step for each value that there is, of series that follow each other.
    pub(crate) fn push_singles(&mut self, first: u32, values: impl ExactSizeIterator<Item = Option<f64>>) {
        debug_assert_eq!(self.steps, 1, "one value is a whole row");
        let before = self.series.len();
        let all = before + values.len();
        self.series.resize(all, 0);
        self.values.resize(all, 0.0);
        let mut kept = before;
        for (series, value) in (first..).zip(values) {
            // Written in any case, and kept if it is one: no branch.
            (self.series[kept], self.values[kept]) = (series, value.unwrap_or_default());
            kept += usize::from(value.is_some());
        }
        self.series.truncate(kept);
        self.values.truncate(kept);
        self.valid.resize(kept, 1);
    }

    pub(crate) fn push_copy(&mut self, series: u32, row: Row<'_>) {
        let first = self.values.len();
        self.series.push(series);
        self.values.extend_from_slice(row.values);
        self.valid.extend_from_slice(row.valid);
        if !row.histograms.is_empty() {
            self.histograms.resize(first, None);
            self.histograms.extend_from_slice(row.histograms);
        }
    }

    /// Takes the last row away if nothing is in it.
    pub(crate) fn drop_last_if_empty(&mut self) {
        let Some(last) = self.series.len().checked_sub(1) else { return };
        if self.row(last).is_empty() {
            self.histograms.truncate(last * self.steps);
            self.series.truncate(last);
            self.values.truncate(last * self.steps);
            self.valid.truncate(last * self.words);
        }
    }

    pub(crate) fn series(&self, row: usize) -> u32 {
        self.series[row]
    }

    pub(crate) fn set_series(&mut self, row: usize, series: u32) {
        self.series[row] = series;
    }

    pub(crate) fn row(&self, row: usize) -> Row<'_> {
        let cells = row * self.steps..(row + 1) * self.steps;
        Row {
            valid: &self.valid[row * self.words..(row + 1) * self.words],
            histograms: self.histograms.get(cells.clone()).unwrap_or_default(),
            values: &self.values[cells],
        }
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> RowMut<'_> {
        RowMut {
            values: &mut self.values[row * self.steps..(row + 1) * self.steps],
            valid: &mut self.valid[row * self.words..(row + 1) * self.words],
            histograms: &mut self.histograms,
            first: row * self.steps,
        }
    }

    /// The values of all rows, also those that are not there; whoever maps them need not look at the bits.
    pub(crate) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Row<'_>)> {
        (0..self.rows()).map(|row| (self.series[row], self.row(row)))
    }

    /// The values of a batch with one step, if all are there.
    pub(crate) fn all_singles(&self) -> Option<&[f64]> {
        debug_assert_eq!(self.steps, 1, "one value is a whole row");
        self.valid.iter().all(|valid| *valid != 0).then_some(&self.values)
    }

    /// Series and value of all floats that are there, of a batch with one step.
    pub(crate) fn singles(&self) -> impl Iterator<Item = (u32, f64)> {
        debug_assert_eq!(self.steps, 1, "one value is a whole row");
        let rows = self.series.iter().zip(&self.values).zip(&self.valid);
        rows.filter(|(_, valid)| **valid != 0).map(|((series, value), _)| (*series, *value))
    }

    /// Values that are there; a histogram counts as many as fit in its memory.
    pub(crate) fn samples_len(&self) -> usize {
        samples_len(&self.valid, &self.histograms)
    }
}

fn samples_len(valid: &[u64], histograms: &[Option<Arc<FloatHistogram>>]) -> usize {
    let floats: usize = valid.iter().map(|word| word.count_ones() as usize).sum();
    floats + histograms.iter().flatten().map(|histogram| histogram.samples()).sum::<usize>()
}

impl<'b> Row<'b> {
    /// A row of floats.
    pub(crate) fn of_floats(values: &'b [f64], valid: &'b [u64]) -> Self {
        Self { values, valid, histograms: &[] }
    }

    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        get_bit(self.valid, step).then(|| self.values[step])
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&'b Arc<FloatHistogram>> {
        self.histograms.get(step)?.as_ref()
    }

    pub(crate) fn cell(&self, step: usize) -> Option<Cell> {
        match self.get(step) {
            Some(value) => Some(Cell::Float(value)),
            None => self.histogram(step).cloned().map(Cell::Histogram),
        }
    }

    /// Step and histogram of all that are there.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &'b Arc<FloatHistogram>)> + use<'b> {
        self.histograms.iter().enumerate().filter_map(|(step, histogram)| Some((step, histogram.as_ref()?)))
    }

    /// Step and what is there, in order of steps.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (usize, Cell)> + use<'b> {
        let row = *self;
        (0..row.values.len()).filter_map(move |step| Some((step, row.cell(step)?)))
    }

    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.iter().any(Option::is_some)
    }

    /// The bits of all steps at which there is anything.
    pub(crate) fn presence(&self) -> Cow<'b, [u64]> {
        if !self.has_histograms() {
            return Cow::Borrowed(self.valid);
        }
        let mut bits = self.valid.to_vec();
        self.histograms().for_each(|(step, _)| set_bit(&mut bits, step));
        Cow::Owned(bits)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !any(self.valid) && !self.has_histograms()
    }

    pub(crate) fn samples_len(&self) -> usize {
        samples_len(self.valid, self.histograms)
    }

    pub(crate) fn bytes(&self) -> usize {
        let histograms: usize = self.histograms().map(|(_, histogram)| histogram.bytes()).sum();
        (self.values.len() + self.valid.len() + self.histograms.len()) * 8 + histograms
    }

    /// Step and value of all floats that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> {
        ones(self.valid).map(|step| (step, self.values[step]))
    }

    pub(crate) fn is_full(&self) -> bool {
        is_full(self.valid, self.values.len())
    }
}

impl RowMut<'_> {
    /// Puts a float at a step that has no histogram.
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        set_bit(self.valid, step);
    }

    /// Puts a histogram at a step that has no float.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        let end = self.first + self.values.len();
        if self.histograms.len() < end {
            self.histograms.resize(end, None);
        }
        self.histograms[self.first + step] = Some(histogram);
    }

    /// Puts something at a step, in place of whatever is there.
    pub(crate) fn replace(&mut self, step: usize, cell: Option<Cell>) {
        self.unset(step);
        match cell {
            Some(Cell::Float(value)) => self.set(step, value),
            Some(Cell::Histogram(histogram)) => self.set_histogram(step, histogram),
            None => {}
        }
    }

    pub(crate) fn unset(&mut self, step: usize) {
        self.valid[step / 64] &= !(1 << (step % 64));
        if let Some(histogram) = self.histograms.get_mut(self.first + step) {
            *histogram = None;
        }
    }

    /// Leaves only steps whose bits are set.
    pub(crate) fn keep(&mut self, bits: &[u64]) {
        self.valid.iter_mut().zip(bits).for_each(|(valid, bits)| *valid &= bits);
        let cells = self.first..self.first + self.values.len();
        for (step, histogram) in self.histograms.get_mut(cells).unwrap_or_default().iter_mut().enumerate() {
            if !get_bit(bits, step) {
                *histogram = None;
            }
        }
    }

    pub(crate) fn as_row(&self) -> Row<'_> {
        let cells = self.first..self.first + self.values.len();
        Row { values: self.values, valid: self.valid, histograms: self.histograms.get(cells).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_rows_agree() {
        let mut batch = Batch::new(70);
        let mut row = batch.push(7);
        row.set(0, 1.0);
        row.set(69, 2.0);
        batch.push(8);
        batch.drop_last_if_empty();
        assert_eq!(batch.rows(), 1);
        assert_eq!(batch.row(0).iter().collect::<Vec<_>>(), [(0, 1.0), (69, 2.0)]);
        assert!(!batch.row(0).is_full());
        fill(batch.row_mut(0).valid, 70);
        assert!(batch.row(0).is_full());
        assert_eq!(batch.samples_len(), 70);
    }
}
