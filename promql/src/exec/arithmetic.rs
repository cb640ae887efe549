//! The arithmetic and comparison operators on floats.

use crate::ast::BinaryOp;

/// Bucket trimming, which only native histograms have.
pub(crate) fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
}

/// The result on two scalars, where comparisons give 0 or 1.
pub(crate) fn scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    if op.is_comparison() { f64::from(u8::from(compare(op, left, right))) } else { arithmetic(op)(left, right) }
}

pub(crate) fn compare(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Less => left < right,
        BinaryOp::LessOrEqual => left <= right,
        BinaryOp::Greater => left > right,
        BinaryOp::GreaterOrEqual => left >= right,
        _ => unreachable!("asked for comparisons only"),
    }
}

/// The function of an arithmetic operator. Set operators and trimming have none: the planner sends them elsewhere.
pub(crate) fn arithmetic(op: BinaryOp) -> fn(f64, f64) -> f64 {
    match op {
        BinaryOp::Add => |left, right| left + right,
        BinaryOp::Sub => |left, right| left - right,
        BinaryOp::Mul => |left, right| left * right,
        BinaryOp::Div => |left, right| left / right,
        BinaryOp::Mod => |left, right| left % right,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        _ => unreachable!("asked for arithmetic only"),
    }
}
