//! Tells each selector what stands above it, so that a source can prepare: the function, and the grouping of an aggregation
//! that will ask for group codes.

use crate::{
    ast::ValueType,
    exec::arithmetic::is_trim,
    functions::Function,
    plan::{Aggregate, GroupBy, HistogramDetail, Node, NodeKind, SelectorHints},
};

pub(crate) fn derive(node: &mut Node) {
    visit(node, &SelectorHints::default());
}

fn visit(node: &mut Node, above: &SelectorHints) {
    match &mut node.kind {
        NodeKind::Number(_) | NodeKind::String(_) => {}
        NodeKind::Selector(selector) => selector.hints = above.clone(),
        NodeKind::RangeSelector(range) => range.selector.hints = above.clone(),
        NodeKind::Subquery(subquery) => {
            // Between a subquery's times resets can only be found by looking at buckets.
            let histograms = HistogramDetail::Buckets;
            visit(&mut subquery.operand, &SelectorHints { func: None, grouping: above.grouping.clone(), histograms });
        }
        NodeKind::StepInvariant(inner) => visit(inner, above),
        NodeKind::Negate(operand) => visit(operand, above),
        NodeKind::Binary(binary) => {
            // With a scalar on one side every series stays itself; a join looks at all labels.
            let joins = binary.left.value_type() == ValueType::Vector && binary.right.value_type() == ValueType::Vector;
            let histograms = if is_trim(binary.op) { HistogramDetail::Buckets } else { above.histograms };
            let above = if joins { &SelectorHints::default() } else { above };
            let below = SelectorHints { histograms, ..above.clone() };
            visit(&mut binary.left, &below);
            visit(&mut binary.right, &below);
        }
        NodeKind::Aggregate(aggregate) => visit_aggregate(aggregate, above.histograms),
        NodeKind::Call(call) => {
            let keeps_series = matches!(
                call.function,
                Function::Range(_) | Function::Math(_) | Function::Clamp(_) | Function::Round | Function::Date(_)
            );
            let grouping: Option<GroupBy> = above.grouping.clone().filter(|_| keeps_series);
            let histograms = detail(call.function, above.histograms);
            let below = SelectorHints { grouping, func: Some(call.name), histograms };
            for arg in &mut call.args {
                visit(arg, &below);
            }
        }
    }
}

/// What a function looks at, under others that look at something themselves.
fn detail(function: Function, above: HistogramDetail) -> HistogramDetail {
    use crate::functions::native::NativeMeasure::{Average, Count, Sum};
    match function {
        _ if above == HistogramDetail::Buckets => above,
        Function::NativeHistogram(Average | Count | Sum) => HistogramDetail::Totals,
        Function::NativeHistogram(_)
        | Function::HistogramFraction
        | Function::HistogramQuantile
        | Function::HistogramQuantiles => HistogramDetail::Buckets,
        _ => above,
    }
}

fn visit_aggregate(aggregate: &mut Aggregate, histograms: HistogramDetail) {
    let (grouping, func) = (Some(aggregate.grouping.clone()), Some(aggregate.op.as_str()));
    let below = SelectorHints { grouping, func, histograms };
    visit(&mut aggregate.operand, &below);
    if let Some(parameter) = &mut aggregate.parameter {
        visit(parameter, &SelectorHints::default());
    }
}
