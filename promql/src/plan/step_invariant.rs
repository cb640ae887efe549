//! Finds what gives the same at every step, so that it is evaluated once: everything whose selectors are all pinned by `@`
//! and that does not look at the evaluation time.

use crate::{
    functions::{Function, over_time::RangeFunction},
    plan::{Call, Node, NodeKind},
};

/// Marks the topmost invariant expressions.
pub(crate) fn mark(node: &mut Node) {
    if is_invariant(node) {
        wrap(node);
        return;
    }
    for child in node.children_mut() {
        mark(child);
    }
}

/// Numbers and strings are cheap as they are, and range vectors are marked by the function that reads them.
fn wrap(node: &mut Node) {
    if matches!(
        node.kind,
        NodeKind::Number(_) | NodeKind::String(_) | NodeKind::RangeSelector(_) | NodeKind::Subquery(_)
    ) {
        if let NodeKind::Subquery(subquery) = &mut node.kind {
            mark(&mut subquery.operand);
        }
        return;
    }
    let mark_inside = |node: &mut Node| {
        for child in node.children_mut() {
            mark_subqueries(child);
        }
    };
    mark_inside(node);
    let inner = std::mem::replace(node, Node { kind: NodeKind::Number(0.0), span: node.span });
    *node = Node { span: inner.span, kind: NodeKind::StepInvariant(Box::new(inner)) };
}

/// Below a mark only subqueries have steps of their own.
fn mark_subqueries(node: &mut Node) {
    if let NodeKind::Subquery(subquery) = &mut node.kind {
        mark(&mut subquery.operand);
        return;
    }
    for child in node.children_mut() {
        mark_subqueries(child);
    }
}

fn is_invariant(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Number(_) | NodeKind::String(_) | NodeKind::StepInvariant(_) => true,
        NodeKind::Selector(selector) => selector.time.at.is_some(),
        NodeKind::RangeSelector(range) => range.selector.time.at.is_some(),
        NodeKind::Subquery(subquery) => subquery.time.at.is_some(),
        NodeKind::Negate(operand) => is_invariant(operand),
        NodeKind::Binary(binary) => is_invariant(&binary.left) && is_invariant(&binary.right),
        NodeKind::Aggregate(aggregate) => {
            is_invariant(&aggregate.operand) && aggregate.parameter.as_ref().is_none_or(is_invariant)
        }
        NodeKind::Call(call) => is_invariant_call(call),
    }
}

fn is_invariant_call(call: &Call) -> bool {
    if call.function == Function::Info {
        // The second argument only names series; they are looked up where the first one looks.
        return is_invariant(&call.args[0]);
    }
    let reads_clock = match call.function {
        Function::Time | Function::Range(RangeFunction::PredictLinear) => true,
        Function::Date(_) => call.args.is_empty(),
        // The time of a sample is fixed with the sample; that of a computed value is the evaluation time.
        Function::Timestamp => !matches!(call.args[0].kind, NodeKind::Selector(_)),
        _ => false,
    };
    !reads_clock && call.args.iter().all(is_invariant)
}
