//! The arithmetic and comparison operators, on floats and on native histograms.

use std::sync::Arc;

use crate::{
    ast::{BinaryOp, Span},
    exec::{Context, batch::Cell},
    functions::mixed::{reconciled, resets_conflict},
    histogram::{FloatHistogram, Incompatible},
};

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

/// An operator at its place in the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) op: BinaryOp,
    pub(crate) return_bool: bool,
    pub(crate) span: Span,
}

impl Operation {
    pub(crate) fn drops_name(self) -> bool {
        self.return_bool || !self.op.is_comparison()
    }

    /// The value of a pair of floats; `None` where a comparison filters it out.
    pub(crate) fn floats(self, left: f64, right: f64) -> Option<f64> {
        match (self.op.is_comparison(), self.return_bool) {
            (false, _) => Some(arithmetic(self.op)(left, right)),
            (true, true) => Some(f64::from(u8::from(compare(self.op, left, right)))),
            (true, false) => compare(self.op, left, right).then_some(left),
        }
    }

    /// The value of any pair. Those that have none leave a remark.
    pub(crate) fn cells(self, context: &Context<'_>, left: &Cell, right: &Cell) -> Option<Cell> {
        match (left, right) {
            (Cell::Float(left), Cell::Float(right)) if !is_trim(self.op) => self.floats(*left, *right).map(Cell::Float),
            (Cell::Float(factor), Cell::Histogram(histogram)) if self.op == BinaryOp::Mul => {
                Some(histogram.times(*factor).into())
            }
            (Cell::Histogram(histogram), Cell::Float(value)) => match self.op {
                BinaryOp::Mul => Some(histogram.times(*value).into()),
                BinaryOp::Div => Some(histogram.divided_by(*value).into()),
                BinaryOp::TrimLower => Some(histogram.trimmed(*value, false).into()),
                BinaryOp::TrimUpper => Some(histogram.trimmed(*value, true).into()),
                _ => self.incompatible(context, left, right),
            },
            (Cell::Histogram(first), Cell::Histogram(second)) => match self.op {
                BinaryOp::Add => self.combined(context, first, "addition", |sum| sum.add(second)),
                BinaryOp::Sub => self.combined(context, first, "subtraction", |sum| sum.subtract(second)),
                BinaryOp::Equal => self.compared(first, first == second),
                BinaryOp::NotEqual => self.compared(first, first != second),
                _ => self.incompatible(context, left, right),
            },
            _ => self.incompatible(context, left, right),
        }
    }

    fn compared(self, left: &Arc<FloatHistogram>, holds: bool) -> Option<Cell> {
        match self.return_bool {
            true => Some(Cell::Float(f64::from(u8::from(holds)))),
            false => holds.then(|| Cell::Histogram(left.clone())),
        }
    }

    fn combined(
        self,
        context: &Context<'_>,
        left: &FloatHistogram,
        what: &str,
        combine: impl Fn(&mut FloatHistogram) -> Result<crate::histogram::Combined, Incompatible>,
    ) -> Option<Cell> {
        let mut result = left.clone();
        let Ok(combined) = combine(&mut result) else {
            let op = self.op.as_str();
            context.warn(self.span, format!("incompatible bucket layout encountered for binary operator {op}"));
            return None;
        };
        if combined.resets_conflict {
            context.warn(self.span, resets_conflict(what));
        }
        if combined.bounds_reconciled {
            context.info(self.span, reconciled(what));
        }
        if self.op == BinaryOp::Sub {
            result.reset_hint = model::histogram::ResetHint::Gauge;
        }
        result.drop_empty_buckets();
        Some(result.into())
    }

    fn incompatible(self, context: &Context<'_>, left: &Cell, right: &Cell) -> Option<Cell> {
        let kind = |cell: &Cell| match cell {
            Cell::Float(_) => "float",
            Cell::Histogram(_) => "histogram",
        };
        let (left, op, right) = (kind(left), self.op.as_str(), kind(right));
        let text = "incompatible sample types encountered for binary operator";
        context.info(self.span, format!("{text} \"{op}\": {left} {op} {right}"));
        None
    }
}
