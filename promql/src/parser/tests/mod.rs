//! Tests of the parser as a whole.

mod conformance;
mod errors;
mod hostile;
mod shapes;

use super::{ParseOptions, parse, parse_metric_selector};
use crate::ast::{Expr, ExprKind, Span, VectorSelector};

/// What the printed text has to give back: the tree without spans, matchers in a fixed order. As text, because of numbers that
/// are not equal to themselves.
fn essence(expr: &Expr) -> String {
    let mut expr = expr.clone();
    strip(&mut expr);
    format!("{expr:?}")
}

fn strip(expr: &mut Expr) {
    expr.span = Span::default();
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Paren(inner) => strip(inner),
        ExprKind::Unary(unary) => strip(&mut unary.operand),
        ExprKind::Binary(binary) => [&mut binary.left, &mut binary.right].into_iter().for_each(strip),
        ExprKind::Aggregate(aggregate) => {
            strip(&mut aggregate.operand);
            aggregate.parameter.iter_mut().for_each(strip);
        }
        ExprKind::Call(call) => call.args.iter_mut().for_each(strip),
        ExprKind::VectorSelector(selector) => sort_matchers(selector),
        ExprKind::MatrixSelector(matrix) => sort_matchers(&mut matrix.selector),
        ExprKind::Subquery(subquery) => strip(&mut subquery.operand),
    }
}

fn sort_matchers(selector: &mut VectorSelector) {
    selector
        .matchers
        .sort_by_key(|matcher| (matcher.name().to_owned(), matcher.op().as_str(), matcher.value().to_owned()));
}

/// Prints, parses and compares.
fn assert_round_trip(text: &str, expr: &Expr) {
    let printed = expr.to_string();
    let again = parse(&printed, &ParseOptions::all())
        .unwrap_or_else(|error| panic!("{text:?} was printed as {printed:?}, which does not parse: {error}"));
    assert_eq!(essence(&again), essence(expr), "{text:?} was printed as {printed:?}");
    assert_eq!(again.to_string(), printed, "{text:?}");
}
