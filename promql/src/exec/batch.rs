//! Computed values: rows of steps, one row a series, with a bit per value that says whether it is there.

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
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'b> {
    pub(crate) values: &'b [f64],
    /// Bit `step % 64` of word `step / 64`; bits past the last step are 0.
    pub(crate) valid: &'b [u64],
}

#[derive(Debug)]
pub(crate) struct RowMut<'b> {
    pub(crate) values: &'b mut [f64],
    pub(crate) valid: &'b mut [u64],
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
        Self { steps, words: words_for(steps), series: Vec::new(), values: Vec::new(), valid: Vec::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.series.clear();
        self.values.clear();
        self.valid.clear();
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
        self.series.capacity() * 4 + (self.values.capacity() + self.valid.capacity()) * 8
    }

    /// Appends a row in which nothing is there yet.
    pub(crate) fn push(&mut self, series: u32) -> RowMut<'_> {
        let row = self.series.len();
        self.series.push(series);
        self.values.resize((row + 1) * self.steps, 0.0);
        self.valid.resize((row + 1) * self.words, 0);
        self.row_mut(row)
    }

    /// Appends a row of a batch with one step.
    pub(crate) fn push_single(&mut self, series: u32, value: f64) {
        debug_assert_eq!(self.steps, 1, "one value is a whole row");
        self.series.push(series);
        self.values.push(value);
        self.valid.push(1);
    }

    pub(crate) fn push_copy(&mut self, series: u32, row: Row<'_>) {
        self.series.push(series);
        self.values.extend_from_slice(row.values);
        self.valid.extend_from_slice(row.valid);
    }

    /// Takes the last row away if nothing is in it.
    pub(crate) fn drop_last_if_empty(&mut self) {
        let Some(last) = self.series.len().checked_sub(1) else { return };
        if !any(&self.valid[last * self.words..]) {
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
        Row {
            values: &self.values[row * self.steps..(row + 1) * self.steps],
            valid: &self.valid[row * self.words..(row + 1) * self.words],
        }
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> RowMut<'_> {
        RowMut {
            values: &mut self.values[row * self.steps..(row + 1) * self.steps],
            valid: &mut self.valid[row * self.words..(row + 1) * self.words],
        }
    }

    /// The values of all rows, also those that are not there; whoever maps them need not look at the bits.
    pub(crate) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Row<'_>)> {
        (0..self.rows()).map(|row| (self.series[row], self.row(row)))
    }

    /// Series and value of all that is there, of a batch with one step.
    pub(crate) fn singles(&self) -> impl Iterator<Item = (u32, f64)> {
        debug_assert_eq!(self.steps, 1, "one value is a whole row");
        let rows = self.series.iter().zip(&self.values).zip(&self.valid);
        rows.filter(|(_, valid)| **valid != 0).map(|((series, value), _)| (*series, *value))
    }

    /// Values that are there.
    pub(crate) fn valid_len(&self) -> usize {
        self.valid.iter().map(|word| word.count_ones() as usize).sum()
    }
}

impl Row<'_> {
    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        get_bit(self.valid, step).then(|| self.values[step])
    }

    /// Step and value of all that is there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> {
        ones(self.valid).map(|step| (step, self.values[step]))
    }

    pub(crate) fn is_full(&self) -> bool {
        is_full(self.valid, self.values.len())
    }
}

impl RowMut<'_> {
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        set_bit(self.valid, step);
    }

    pub(crate) fn unset(&mut self, step: usize) {
        self.valid[step / 64] &= !(1 << (step % 64));
    }

    pub(crate) fn as_row(&self) -> Row<'_> {
        Row { values: self.values, valid: self.valid }
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
        assert_eq!(batch.valid_len(), 70);
    }
}
