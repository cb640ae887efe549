//! Functions from one value to one value, clamping and rounding.

use crate::{
    exec::{batch::Batch, map::Change},
    functions::scalar::Scalar,
};

/// The code of a function by its name in the language.
pub(crate) fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => f64::acosh,
        "asin" => f64::asin,
        "asinh" => f64::asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => cosh,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "sgn" => sign,
        "sin" => f64::sin,
        "sinh" => sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

fn sign(value: f64) -> f64 {
    match value {
        _ if value < 0.0 => -1.0,
        _ if value > 0.0 => 1.0,
        _ => value,
    }
}

/// From here on the smaller of both powers is lost in rounding. The reference implementation adds it no more, so that its results are infinite
/// as soon as the power is, a little before they would have to be.
const HYPERBOLIC_LARGE: f64 = 21.0;

fn cosh(value: f64) -> f64 {
    if value.abs() > HYPERBOLIC_LARGE { value.abs().exp() * 0.5 } else { value.cosh() }
}

fn sinh(value: f64) -> f64 {
    if value.abs() > HYPERBOLIC_LARGE { (value.abs().exp() * 0.5).copysign(value) } else { value.sinh() }
}

/// To the nearest multiple; halves go up. The inverse first, which keeps `round(x, 0.1)` exact.
pub(crate) fn round(value: f64, to_nearest: f64) -> f64 {
    let inverse = 1.0 / to_nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// As in the reference implementation: infinity below wins over NaN, and NaN over numbers.
pub(crate) fn at_most(value: f64, max: f64) -> f64 {
    if value == f64::NEG_INFINITY || max == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if max.is_nan() || value.is_nan() {
        f64::NAN
    } else {
        value.min(max)
    }
}

/// Infinity above wins over NaN, and NaN over numbers.
pub(crate) fn at_least(value: f64, min: f64) -> f64 {
    -at_most(-value, -min)
}

/// `clamp`: where the bounds are the wrong way round there is no result.
pub(crate) fn clamp<'q>(min: Scalar, max: Scalar) -> Change<'q> {
    Box::new(move |batch: &mut Batch| {
        batch.drop_histograms();
        for row in 0..batch.rows() {
            let mut row = batch.row_mut(row);
            for step in 0..row.values.len() {
                let (min, max) = (min.at(step), max.at(step));
                if max < min {
                    row.unset(step);
                } else {
                    row.values[step] = at_least(at_most(row.values[step], max), min);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_wins_over_what_is_no_number() {
        assert_eq!(at_least(at_most(3.0, f64::NAN), f64::INFINITY), f64::INFINITY);
        assert!(at_least(3.0, f64::NAN).is_nan() && at_most(f64::NAN, 3.0).is_nan());
        assert_eq!((at_least(1.0, 2.0), at_most(1.0, 2.0)), (2.0, 1.0));
    }

    #[test]
    fn hyperbolic_functions_end_with_the_power() {
        assert_eq!((cosh(-710.0), sinh(-710.0)), (f64::INFINITY, f64::NEG_INFINITY));
        assert!(cosh(709.0).is_finite() && sinh(-709.0).is_finite());
        for value in [-30.0_f64, -21.0, -0.3, 0.0, 5.0, 21.5, 300.0] {
            assert!((cosh(value) / value.cosh() - 1.0).abs() < 1e-15, "{value}");
            assert!(value == 0.0 || (sinh(value) / value.sinh() - 1.0).abs() < 1e-15, "{value}");
        }
    }

    #[test]
    fn rounding_goes_through_the_inverse() {
        assert_eq!(round(0.00025, 0.0001), 0.0003);
        assert_eq!(round(-2.5, 1.0), -2.0);
    }
}
