//! What a bucket holds: a float, or a float with what rounding has taken from it.

use crate::functions::kahan::Sum;

pub trait Amount: Copy + std::fmt::Debug {
    fn of(value: f64) -> Self;
    fn value(self) -> f64;
    /// This and another value.
    fn plus(self, value: f64) -> Self;
    /// This and another amount.
    fn join(self, other: Self) -> Self;
    fn times(self, factor: f64) -> Self;
}

impl Amount for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn plus(self, value: f64) -> Self {
        self + value
    }

    fn join(self, other: Self) -> Self {
        self + other
    }

    fn times(self, factor: f64) -> Self {
        self * factor
    }
}

impl Amount for Sum {
    fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    fn value(self) -> f64 {
        self.total()
    }

    fn plus(self, value: f64) -> Self {
        self.add(value)
    }

    fn join(self, other: Self) -> Self {
        Self::join(self, other)
    }

    fn times(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, lost: self.lost * factor }
    }
}
