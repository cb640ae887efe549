//! Tells each selector what stands above it, so that a source can prepare: the function, and the grouping of an aggregation
//! that will ask for group codes.

use crate::{
    ast::ValueType,
    functions::Function,
    plan::{Aggregate, GroupBy, Node, NodeKind, SelectorHints},
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
            visit(&mut subquery.operand, &SelectorHints { func: None, grouping: above.grouping.clone() });
        }
        NodeKind::StepInvariant(inner) => visit(inner, above),
        NodeKind::Negate(operand) => visit(operand, above),
        NodeKind::Binary(binary) => {
            // With a scalar on one side every series stays itself; a join looks at all labels.
            let joins = binary.left.value_type() == ValueType::Vector && binary.right.value_type() == ValueType::Vector;
            let below = if joins { SelectorHints::default() } else { above.clone() };
            visit(&mut binary.left, &below);
            visit(&mut binary.right, &below);
        }
        NodeKind::Aggregate(aggregate) => visit_aggregate(aggregate),
        NodeKind::Call(call) => {
            let keeps_series = matches!(
                call.function,
                Function::Range(_)
                    | Function::PredictLinear
                    | Function::Math(_)
                    | Function::Clamp(_)
                    | Function::Round
                    | Function::Date(_)
            );
            let grouping: Option<GroupBy> = above.grouping.clone().filter(|_| keeps_series);
            let below = SelectorHints { grouping, func: Some(call.name) };
            for arg in &mut call.args {
                visit(arg, &below);
            }
        }
    }
}

fn visit_aggregate(aggregate: &mut Aggregate) {
    let below = SelectorHints { grouping: Some(aggregate.grouping.clone()), func: Some(aggregate.op.as_str()) };
    visit(&mut aggregate.operand, &below);
    if let Some(parameter) = &mut aggregate.parameter {
        visit(parameter, &SelectorHints::default());
    }
}
