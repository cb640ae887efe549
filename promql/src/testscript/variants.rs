//! Other ways to ask the same: the scripts' statements must hold for them too.

use crate::{
    ast::{At, Duration, DurationExpr, Expr, ExprKind, Modifiers},
    engine::Query,
};

/// The query with its selectors pinned to `time`, at other evaluation times. Empty if it reads the clock.
pub(crate) fn pinned(query: &Query, time: i64) -> Vec<(Query, i64)> {
    let mut expr = query.expr().clone();
    if !pin(&mut expr, time) {
        return Vec::new();
    }
    let times = if time == 0 { vec![-1000, 0, 1000] } else { vec![-10 * time, 0, time / 5, time, 10 * time] };
    let pinned = query.with_expr(expr);
    times.into_iter().map(|at| (pinned.clone(), at)).collect()
}

/// False if the expression depends on the evaluation time in another way.
fn pin(expr: &mut Expr, time: i64) -> bool {
    let set = |modifiers: &mut Modifiers| {
        modifiers.at = modifiers.at.or(Some(At::Time(time)));
        // These refer to the query's own range, which the variants change.
        !matches!(modifiers.at, Some(At::Start | At::End)) && modifiers.offset.as_ref().is_none_or(is_literal)
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) => pin(inner, time),
        ExprKind::Unary(unary) => pin(&mut unary.operand, time),
        ExprKind::Binary(binary) => pin(&mut binary.left, time) && pin(&mut binary.right, time),
        ExprKind::Aggregate(aggregate) => {
            pin(&mut aggregate.operand, time)
                && aggregate.parameter.as_mut().is_none_or(|parameter| pin(parameter, time))
        }
        ExprKind::Call(call) => !reads_clock(call.function.name) && call.args.iter_mut().all(|arg| pin(arg, time)),
        ExprKind::VectorSelector(selector) => set(&mut selector.modifiers),
        ExprKind::MatrixSelector(matrix) => set(&mut matrix.selector.modifiers) && is_literal(&matrix.range),
        // What is inside is evaluated at the subquery's own times.
        ExprKind::Subquery(subquery) => set(&mut subquery.modifiers) && fits(&subquery.operand),
    }
}

fn reads_clock(function: &str) -> bool {
    matches!(
        function,
        "days_in_month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "hour"
            | "minute"
            | "month"
            | "year"
            | "predict_linear"
            | "time"
            | "timestamp"
    ) || reads_query(function)
}

fn reads_query(function: &str) -> bool {
    matches!(function, "start" | "end" | "step" | "range")
}

/// Whether the query gives the same as part of a range query.
pub(crate) fn fits_range(query: &Query) -> bool {
    use crate::ast::ValueType::{Scalar, Vector};
    matches!(query.expr().value_type(), Scalar | Vector) && fits(query.expr())
}

/// Whether nothing refers to the range of the whole query.
fn fits(expr: &Expr) -> bool {
    let modifiers_fit = |modifiers: &Modifiers| {
        !matches!(modifiers.at, Some(At::Start | At::End)) && modifiers.offset.as_ref().is_none_or(is_literal)
    };
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) => fits(inner),
        ExprKind::Unary(unary) => fits(&unary.operand),
        ExprKind::Binary(binary) => fits(&binary.left) && fits(&binary.right),
        ExprKind::Aggregate(aggregate) => fits(&aggregate.operand) && aggregate.parameter.as_ref().is_none_or(fits),
        ExprKind::Call(call) => {
            !reads_query(call.function.name) && !call.function.name.starts_with("sort") && call.args.iter().all(fits)
        }
        ExprKind::VectorSelector(selector) => modifiers_fit(&selector.modifiers),
        ExprKind::MatrixSelector(matrix) => modifiers_fit(&matrix.selector.modifiers) && is_literal(&matrix.range),
        ExprKind::Subquery(subquery) => {
            modifiers_fit(&subquery.modifiers) && is_literal(&subquery.range) && fits(&subquery.operand)
        }
    }
}

/// Whether a duration is the same in every query.
fn is_literal(duration: &Duration) -> bool {
    fn is_fixed(expr: &DurationExpr) -> bool {
        match expr {
            DurationExpr::Number(_) => true,
            DurationExpr::Step | DurationExpr::Range => false,
            DurationExpr::Negate(inner) | DurationExpr::Paren(inner) => is_fixed(inner),
            DurationExpr::Binary(_, left, right)
            | DurationExpr::MinOf(left, right)
            | DurationExpr::MaxOf(left, right) => is_fixed(left) && is_fixed(right),
        }
    }
    match duration {
        Duration::Literal(_) => true,
        Duration::Expr(expr) => is_fixed(expr),
    }
}
