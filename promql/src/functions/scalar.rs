//! Numbers: the values of scalar expressions at every step.

use crate::{
    exec::{Context, Operator, Result, batch::ones, each_row},
    functions::Extremum,
};

/// A number at every step.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    Constant(f64),
    Steps(Vec<f64>),
}

impl Scalar {
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Steps(values) => values[step],
        }
    }

    /// The different values, in order of steps; one for a constant.
    pub(crate) fn values(&self) -> &[f64] {
        match self {
            Self::Constant(value) => std::slice::from_ref(value),
            Self::Steps(values) => values,
        }
    }

    pub(crate) fn map(self, function: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(function(value)),
            Self::Steps(mut values) => {
                values.iter_mut().for_each(|value| *value = function(*value));
                Self::Steps(values)
            }
        }
    }

    pub(crate) fn zip(self, other: Self, function: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (left, Self::Constant(right)) => left.map(|left| function(left, right)),
            (Self::Constant(left), right) => right.map(|right| function(left, right)),
            (Self::Steps(mut left), Self::Steps(right)) => {
                left.iter_mut().zip(right).for_each(|(left, right)| *left = function(*left, right));
                Self::Steps(left)
            }
        }
    }
}

pub(crate) fn extremum(extremum: Extremum, left: f64, right: f64) -> f64 {
    match extremum {
        _ if left.is_nan() || right.is_nan() => f64::NAN,
        Extremum::Max => left.max(right),
        Extremum::Min => left.min(right),
    }
}

/// `scalar(vector)`: the value where there is exactly one series, else NaN.
pub(crate) fn of_vector(context: &Context<'_>, operator: &mut dyn Operator, steps: usize) -> Result<Scalar> {
    let mut values = vec![f64::NAN; steps];
    let mut counts = vec![0_u8; steps];
    each_row(context, operator, steps, |_, row| {
        for step in ones(row.valid) {
            values[step] = if counts[step] == 0 { row.values[step] } else { f64::NAN };
            counts[step] = counts[step].saturating_add(1);
        }
        Ok(())
    })?;
    Ok(Scalar::Steps(values))
}
