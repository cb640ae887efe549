//! Sums with compensation (Kahan's, in Neumaier's form), as the reference implementation has them.

/// A running sum and what rounding has taken from it so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(self, value: f64) -> Self {
        let sum = self.sum + value;
        if sum.is_infinite() {
            // A compensation of an infinite sum would make NaN of it.
            return Self { sum, lost: 0.0 };
        }
        let lost = if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        Self { sum, lost: self.lost + lost }
    }

    /// The sum of two sums.
    #[inline]
    pub(crate) fn join(self, other: Self) -> Self {
        let joined = self.add(other.sum);
        Self { sum: joined.sum, lost: joined.lost + other.lost }
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }

    /// Mean of `count` summed values.
    pub(crate) fn mean(self, count: f64) -> f64 {
        self.sum / count + self.lost / count
    }
}

/// A mean that stays finite where the sum of the values would not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    count: f64,
    /// The sum, or from the value on that would have made it infinite, the mean.
    state: Sum,
    incremental: bool,
}

impl Mean {
    pub(crate) fn of(first: f64) -> Self {
        Self { count: 1.0, state: Sum { sum: first, lost: 0.0 }, incremental: false }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let next = self.state.add(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.state = Sum { sum: self.state.sum / before, lost: self.state.lost / before };
        }
        let share = (self.count - 1.0) / self.count;
        self.state = Sum { sum: share * self.state.sum, lost: share * self.state.lost }.add(value / self.count);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental { self.state.sum + self.state.lost } else { self.state.mean(self.count) }
    }
}

/// Population variance by Welford's method with compensated sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - (self.mean.sum + self.mean.lost);
        self.mean = self.mean.add(delta / self.count);
        self.squares = self.squares.add(delta * (value - (self.mean.sum + self.mean.lost)));
    }

    pub(crate) fn value(&self) -> f64 {
        (self.squares.sum + self.squares.lost) / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_between_large_ones() {
        let sum = [1.0, 1e100, 1.0, -1e100].into_iter().fold(Sum::default(), Sum::add);
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }
}
