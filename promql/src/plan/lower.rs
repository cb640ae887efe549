//! From the syntax tree to the plan: parentheses vanish, durations and `@` become milliseconds, names become functions.

use crate::{
    ast::{
        Aggregate, At, Binary, BinaryOp, Call, Duration, DurationExpr, Expr, ExprKind, MatrixSelector, Modifiers, Span,
        UnaryOp, VectorSelector,
    },
    error::QueryError,
    functions::Function,
    plan::{self, GroupBy, Node, NodeKind, RangeSelector, Selector, SelectorHints, Subquery, TimeShift},
};

/// What a query depends on besides its text: above all its own time range, which `@ start()`, `step()` and their like refer to.
/// Milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuerySettings {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// 0 for an instant query.
    pub(crate) step: i64,
    /// Step of subqueries that name none.
    pub(crate) default_subquery_step: i64,
    /// The labels `__type__` and `__unit__` go where the name goes.
    pub(crate) type_and_unit_labels: bool,
}

pub(crate) fn lower(expr: &Expr, settings: &QuerySettings) -> Result<Node, QueryError> {
    let kind = match &expr.kind {
        ExprKind::Paren(inner) => return lower(inner, settings),
        ExprKind::Number(number) => NodeKind::Number(number.value),
        ExprKind::String(text) => NodeKind::String(text.clone()),
        ExprKind::Unary(unary) => match unary.op {
            UnaryOp::Plus => return lower(&unary.operand, settings),
            UnaryOp::Minus => NodeKind::Negate(Box::new(lower(&unary.operand, settings)?)),
        },
        ExprKind::Binary(binary) => NodeKind::Binary(Box::new(lower_binary(binary, settings)?)),
        ExprKind::Aggregate(aggregate) => NodeKind::Aggregate(Box::new(lower_aggregate(aggregate, settings)?)),
        ExprKind::Call(call) => NodeKind::Call(lower_call(call, settings)?),
        ExprKind::VectorSelector(selector) => NodeKind::Selector(lower_selector(selector, settings)?),
        ExprKind::MatrixSelector(matrix) => NodeKind::RangeSelector(lower_matrix(matrix, settings)?),
        ExprKind::Subquery(subquery) => NodeKind::Subquery(Subquery {
            operand: Box::new(lower(&subquery.operand, settings)?),
            range: positive(&subquery.range, settings)?,
            step: match &subquery.step {
                Some(step) => positive(step, settings)?,
                None => settings.default_subquery_step,
            },
            time: shift(&subquery.modifiers, settings)?,
        }),
    };
    // The reference implementation puts a selection without a place in the text where a subquery stood: remarks on what is done with its result point
    // at the beginning.
    let span = if matches!(kind, NodeKind::Subquery(_)) { Span { start: 0, end: 0 } } else { expr.span };
    Ok(Node { kind, span })
}

fn lower_binary(binary: &Binary, settings: &QuerySettings) -> Result<plan::Binary, QueryError> {
    let Binary { op, left, right, return_bool, matching } = binary;
    let (left, right) = (lower(left, settings)?, lower(right, settings)?);
    Ok(plan::Binary { op: *op, left, right, return_bool: *return_bool, matching: matching.clone() })
}

fn lower_aggregate(aggregate: &Aggregate, settings: &QuerySettings) -> Result<plan::Aggregate, QueryError> {
    let mut labels = aggregate.grouping.clone();
    if aggregate.without && settings.type_and_unit_labels {
        labels.extend(["__type__", "__unit__"].map(str::to_owned));
    }
    Ok(plan::Aggregate {
        op: aggregate.op,
        // Remarks on an aggregation point at its operand with the parentheses around it, those on a function at what is within.
        operand: Node { span: aggregate.operand.span, ..lower(&aggregate.operand, settings)? },
        parameter: aggregate.parameter.as_ref().map(|parameter| lower(parameter, settings)).transpose()?,
        grouping: GroupBy::new(labels, aggregate.without),
    })
}

fn lower_call(call: &Call, settings: &QuerySettings) -> Result<plan::Call, QueryError> {
    let name = call.function.name;
    let function = Function::by_name(name)
        .ok_or_else(|| QueryError::execution(format!("function \"{name}\" is not supported by this engine")))?;
    let args = call.args.iter().map(|arg| lower(arg, settings)).collect::<Result<_, _>>()?;
    Ok(plan::Call { function, name, args, returns: call.function.returns })
}

fn lower_selector(selector: &VectorSelector, settings: &QuerySettings) -> Result<Selector, QueryError> {
    Ok(Selector {
        matchers: selector.matchers.clone(),
        time: shift(&selector.modifiers, settings)?,
        extension: selector.extension,
        hints: SelectorHints::default(),
        shared: None,
    })
}

fn lower_matrix(matrix: &MatrixSelector, settings: &QuerySettings) -> Result<RangeSelector, QueryError> {
    Ok(RangeSelector {
        selector: lower_selector(&matrix.selector, settings)?,
        range: positive(&matrix.range, settings)?,
    })
}

fn shift(modifiers: &Modifiers, settings: &QuerySettings) -> Result<TimeShift, QueryError> {
    let at = modifiers.at.map(|at| match at {
        At::Time(at) => at,
        At::Start => settings.start,
        At::End => settings.end,
    });
    let offset = modifiers.offset.as_ref().map_or(Ok(0), |offset| milliseconds(offset, settings))?;
    Ok(TimeShift { at, offset })
}

fn positive(duration: &Duration, settings: &QuerySettings) -> Result<i64, QueryError> {
    match milliseconds(duration, settings)? {
        value if value > 0 => Ok(value),
        _ => Err(QueryError::BadQuery("duration must be greater than 0".to_owned())),
    }
}

/// Largest duration, either sign: keeps every sum of a time and a duration far from overflow.
const DURATION_SECONDS_MAX: f64 = (1_u64 << 53) as f64 / 1000.0;

fn milliseconds(duration: &Duration, settings: &QuerySettings) -> Result<i64, QueryError> {
    let seconds = match duration {
        Duration::Literal(value) => return Ok(*value),
        Duration::Expr(expr) => seconds(expr, settings)?,
    };
    if seconds.abs() <= DURATION_SECONDS_MAX {
        // Rounding first by far less than a millisecond keeps 8.001 s from becoming 8000 ms.
        Ok((seconds * 1e6).round() as i64 / 1000)
    } else {
        Err(QueryError::BadQuery("duration out of range".to_owned()))
    }
}

fn seconds(expr: &DurationExpr, settings: &QuerySettings) -> Result<f64, QueryError> {
    Ok(match expr {
        DurationExpr::Number(number) => number.value,
        DurationExpr::Step => settings.step as f64 / 1000.0,
        DurationExpr::Range => (settings.end - settings.start) as f64 / 1000.0,
        DurationExpr::Negate(inner) => -seconds(inner, settings)?,
        DurationExpr::Paren(inner) => seconds(inner, settings)?,
        DurationExpr::MinOf(left, right) => seconds(left, settings)?.min(seconds(right, settings)?),
        DurationExpr::MaxOf(left, right) => seconds(left, settings)?.max(seconds(right, settings)?),
        DurationExpr::Binary(op, left, right) => {
            let (left, right) = (seconds(left, settings)?, seconds(right, settings)?);
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Sub => left - right,
                BinaryOp::Mul => left * right,
                BinaryOp::Pow => left.powf(right),
                BinaryOp::Div | BinaryOp::Mod if right == 0.0 => {
                    let what = if *op == BinaryOp::Div { "division" } else { "modulo" };
                    return Err(QueryError::BadQuery(format!("{what} by zero in duration expression")));
                }
                BinaryOp::Div => left / right,
                BinaryOp::Mod => left % right,
                _ => return Err(QueryError::BadQuery("unexpected operator in duration expression".to_owned())),
            }
        }
    })
}
