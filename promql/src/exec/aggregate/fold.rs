//! sum, avg, count, min, max, group, stddev, stdvar: a few floats of state per group and step.

use crate::{
    ast::AggregateOp,
    exec::{
        Result,
        aggregate::Cells,
        batch::{Batch, Row, RowMut, get_bit, is_full, words_for},
    },
    functions::kahan::Mean,
};

/// The cells of an aggregation; `None` if it isn't one of these.
pub(crate) fn cells<'q>(op: AggregateOp, groups: usize, steps: usize) -> Option<Box<dyn Cells + 'q>> {
    Some(match op {
        AggregateOp::Sum => Box::new(SumCells::new(groups, steps)),
        AggregateOp::Avg => Box::new(FoldCells::<Average>::new(groups, steps)),
        AggregateOp::Count => Box::new(FoldCells::<Count>::new(groups, steps)),
        AggregateOp::Min => Box::new(FoldCells::<Min>::new(groups, steps)),
        AggregateOp::Max => Box::new(FoldCells::<Max>::new(groups, steps)),
        AggregateOp::Group => Box::new(FoldCells::<Group>::new(groups, steps)),
        AggregateOp::Stddev => Box::new(FoldCells::<Deviation<true>>::new(groups, steps)),
        AggregateOp::Stdvar => Box::new(FoldCells::<Deviation<false>>::new(groups, steps)),
        _ => return None,
    })
}

/// What is kept of the values of one group at one step.
trait Fold: Clone {
    fn first(value: f64) -> Self;
    fn add(&mut self, value: f64);
    fn value(&self) -> f64;
}

struct FoldCells<F> {
    states: Vec<F>,
    /// By group and step: whether there is a state.
    valid: Vec<u64>,
    steps: usize,
}

impl<F: Fold> FoldCells<F> {
    fn new(groups: usize, steps: usize) -> Self {
        Self { states: vec![F::first(0.0); groups * steps], valid: vec![0; groups * words_for(steps)], steps }
    }

    fn add_row(&mut self, group: usize, row: Row<'_>) {
        let states = &mut self.states[group * self.steps..(group + 1) * self.steps];
        let words = row.valid.len();
        let valid = &mut self.valid[group * words..(group + 1) * words];
        if row.is_full() && is_full(valid, self.steps) {
            states.iter_mut().zip(row.values).for_each(|(state, value)| state.add(*value));
            return;
        }
        for (step, value) in row.iter() {
            if get_bit(valid, step) {
                states[step].add(value);
            } else {
                states[step] = F::first(value);
            }
        }
        valid.iter_mut().zip(row.valid).for_each(|(have, new)| *have |= new);
    }
}

impl<F: Fold> Cells for FoldCells<F> {
    fn add(&mut self, groups: &[u32], batch: &Batch) -> Result<()> {
        if self.steps == 1 {
            for (series, value) in batch.singles() {
                let group = groups[series as usize] as usize;
                if self.valid[group] == 0 {
                    (self.states[group], self.valid[group]) = (F::first(value), 1);
                } else {
                    self.states[group].add(value);
                }
            }
            return Ok(());
        }
        for (series, row) in batch.iter() {
            self.add_row(groups[series as usize] as usize, row);
        }
        Ok(())
    }

    fn finish(&mut self, group: usize, row: &mut RowMut<'_>) {
        let words = row.valid.len();
        row.valid.copy_from_slice(&self.valid[group * words..(group + 1) * words]);
        let states = &self.states[group * self.steps..(group + 1) * self.steps];
        row.values.iter_mut().zip(states).for_each(|(value, state)| *value = state.value());
    }
}

/// Compensated sums, as columns: a row whose values are all there is added without a branch per value.
struct SumCells {
    sums: Vec<f64>,
    lost: Vec<f64>,
    valid: Vec<u64>,
    steps: usize,
}

impl SumCells {
    fn new(groups: usize, steps: usize) -> Self {
        Self {
            sums: vec![0.0; groups * steps],
            lost: vec![0.0; groups * steps],
            valid: vec![0; groups * words_for(steps)],
            steps,
        }
    }
}

/// The same as `kahan::Sum::add` for finite sums, without a branch, so that a loop of it becomes vector code: what rounding takes is exact in
/// either form (TwoSum: Knuth, The Art of Computer Programming 2, 4.2.2). What is lost of an infinite sum is left undefined, see [`total`].
#[inline]
fn add(sum: &mut f64, lost: &mut f64, value: f64) {
    let next = *sum + value;
    let added = next - *sum;
    *lost += (*sum - (next - added)) + (value - added);
    *sum = next;
}

/// What comes out of a sum. An infinite one never becomes finite again, so it is enough to look here.
#[inline]
fn total(sum: f64, lost: f64) -> f64 {
    if sum.is_infinite() { sum } else { sum + lost }
}

impl SumCells {
    fn add_row(&mut self, group: usize, row: Row<'_>) {
        let sums = &mut self.sums[group * self.steps..(group + 1) * self.steps];
        let lost = &mut self.lost[group * self.steps..(group + 1) * self.steps];
        if row.is_full() {
            for ((sum, lost), value) in sums.iter_mut().zip(lost).zip(row.values) {
                add(sum, lost, *value);
            }
        } else {
            for (step, value) in row.iter() {
                add(&mut sums[step], &mut lost[step], value);
            }
        }
        let words = row.valid.len();
        let valid = &mut self.valid[group * words..(group + 1) * words];
        valid.iter_mut().zip(row.valid).for_each(|(have, new)| *have |= new);
    }
}

/// Sums that are made side by side where one alone would wait for each addition.
const LANES: usize = 8;

impl SumCells {
    /// Adds values to the only cell.
    fn add_to_one(&mut self, values: &[f64]) {
        let (mut sums, mut lost) = ([0.0; LANES], [0.0; LANES]);
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for ((sum, lost), value) in sums.iter_mut().zip(&mut lost).zip(chunk) {
                add(sum, lost, *value);
            }
        }
        let finite = lost.iter().zip(&sums).filter(|(_, sum)| sum.is_finite()).map(|(lost, _)| lost);
        for part in sums.iter().chain(finite).chain(rest) {
            add(&mut self.sums[0], &mut self.lost[0], *part);
        }
        self.valid[0] |= u64::from(!values.is_empty());
    }
}

impl Cells for SumCells {
    fn add(&mut self, groups: &[u32], batch: &Batch) -> Result<()> {
        if self.steps == 1
            && self.sums.len() == 1
            && let Some(values) = batch.all_singles()
        {
            self.add_to_one(values);
            return Ok(());
        }
        if self.steps == 1 {
            for (series, value) in batch.singles() {
                let group = groups[series as usize] as usize;
                add(&mut self.sums[group], &mut self.lost[group], value);
                self.valid[group] = 1;
            }
            return Ok(());
        }
        for (series, row) in batch.iter() {
            self.add_row(groups[series as usize] as usize, row);
        }
        Ok(())
    }

    fn finish(&mut self, group: usize, row: &mut RowMut<'_>) {
        let words = row.valid.len();
        row.valid.copy_from_slice(&self.valid[group * words..(group + 1) * words]);
        let cells = group * self.steps..(group + 1) * self.steps;
        for ((value, sum), lost) in row.values.iter_mut().zip(&self.sums[cells.clone()]).zip(&self.lost[cells]) {
            *value = total(*sum, *lost);
        }
    }
}

#[derive(Clone)]
struct Average(Mean);

impl Fold for Average {
    fn first(value: f64) -> Self {
        Self(Mean::of(value))
    }

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(&self) -> f64 {
        self.0.value()
    }
}

#[derive(Clone)]
struct Count(f64);

impl Fold for Count {
    fn first(_value: f64) -> Self {
        Self(1.0)
    }

    fn add(&mut self, _value: f64) {
        self.0 += 1.0;
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
struct Group;

impl Fold for Group {
    fn first(_value: f64) -> Self {
        Self
    }

    fn add(&mut self, _value: f64) {}

    fn value(&self) -> f64 {
        1.0
    }
}

#[derive(Clone)]
struct Min(f64);

impl Fold for Min {
    fn first(value: f64) -> Self {
        Self(value)
    }

    fn add(&mut self, value: f64) {
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone)]
struct Max(f64);

impl Fold for Max {
    fn first(value: f64) -> Self {
        Self(value)
    }

    fn add(&mut self, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// Welford's method without compensation, as the reference implementation has it here.
#[derive(Clone)]
struct Deviation<const ROOT: bool> {
    count: f64,
    mean: f64,
    squares: f64,
}

impl<const ROOT: bool> Fold for Deviation<ROOT> {
    fn first(value: f64) -> Self {
        Self { count: 1.0, mean: value, squares: if value.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn value(&self) -> f64 {
        let variance = self.squares / self.count;
        if ROOT { variance.sqrt() } else { variance }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::functions::kahan::Sum;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => any::<f64>(),
            4 => -1e3..1e3,
            1 => prop::sample::select(vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN_POSITIVE]),
        ]
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_branching_form(values in prop::collection::vec(value(), 0..40)) {
            let (mut sum, mut lost) = (0.0, 0.0);
            values.iter().for_each(|value| add(&mut sum, &mut lost, *value));
            let model = values.iter().fold(Sum::default(), |sum, value| sum.add(*value)).total();
            let found = total(sum, lost);
            prop_assert!(found.to_bits() == model.to_bits() || found.is_nan() && model.is_nan(), "{found} {model}");
        }
    }
}
