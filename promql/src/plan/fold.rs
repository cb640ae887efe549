//! Computes what consists of numbers only.

use crate::{
    exec::arithmetic,
    functions::{Function, scalar},
    plan::{Node, NodeKind},
};

pub(crate) fn fold(node: &mut Node) {
    for child in node.children_mut() {
        fold(child);
    }
    if let Some(value) = constant(node) {
        node.kind = NodeKind::Number(value);
    }
}

fn constant(node: &Node) -> Option<f64> {
    match &node.kind {
        NodeKind::Negate(operand) => Some(-number(operand)?),
        NodeKind::Binary(binary) => {
            let (left, right) = (number(&binary.left)?, number(&binary.right)?);
            Some(arithmetic::scalars(binary.op, left, right))
        }
        NodeKind::Call(call) => match call.function {
            Function::Pi => Some(std::f64::consts::PI),
            Function::Extremum(extremum) => {
                Some(scalar::extremum(extremum, number(&call.args[0])?, number(&call.args[1])?))
            }
            _ => None,
        },
        _ => None,
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.kind {
        NodeKind::Number(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ast::{BinaryOp, Span},
        plan::Binary,
    };

    fn node(kind: NodeKind) -> Node {
        Node { kind, span: Span::default() }
    }

    #[test]
    fn numbers_melt_together() {
        let number = |value| node(NodeKind::Number(value));
        let sum = |left, right| {
            node(NodeKind::Binary(Box::new(Binary {
                op: BinaryOp::Add,
                left,
                right,
                return_bool: false,
                matching: None,
            })))
        };
        let mut tree = sum(number(1.0), node(NodeKind::Negate(Box::new(sum(number(2.0), number(3.0))))));
        fold(&mut tree);
        assert_eq!(tree.kind, NodeKind::Number(-4.0));
    }
}
