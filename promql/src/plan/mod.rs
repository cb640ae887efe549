//! The logical plan: the syntax tree with everything settled that does not depend on data.
//!
//! [`lower`] turns durations and `@ start()` into milliseconds and names into functions; then each pass does one thing:
//! [`fold`] computes constants, [`step_invariant`] marks what needs one evaluation only, [`hints`] tells selectors what is
//! above them, [`share`] finds selections that several places read.

pub(crate) mod fold;
pub(crate) mod hints;
pub(crate) mod lower;
pub(crate) mod share;
pub(crate) mod step_invariant;

use model::Matcher;

use crate::{
    ast::{AggregateOp, BinaryOp, Extension, Span, ValueType, VectorMatching},
    functions::Function,
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeKind {
    Number(f64),
    String(String),
    /// An instant vector from the source.
    Selector(Selector),
    /// A range vector from the source.
    RangeSelector(RangeSelector),
    /// A range vector from an expression.
    Subquery(Subquery),
    Negate(Box<Node>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Call),
    /// Gives the same at every step: evaluated once.
    StepInvariant(Box<Node>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) time: TimeShift,
    pub(crate) extension: Option<Extension>,
    pub(crate) hints: SelectorHints,
    /// Present when another place of the query reads the same selection.
    pub(crate) shared: Option<Shared>,
}

/// A selection that several places read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Number of the selection in the query.
    pub(crate) id: usize,
    /// Width of the widest window that any of the places looks at, in milliseconds.
    pub(crate) range_max: i64,
}

/// `@` (milliseconds) and `offset` (milliseconds, positive into the past).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeShift {
    pub(crate) at: Option<i64>,
    pub(crate) offset: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelectorHints {
    pub(crate) grouping: Option<GroupBy>,
    pub(crate) func: Option<&'static str>,
    pub(crate) histograms: HistogramDetail,
}

/// What is looked at of native histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HistogramDetail {
    #[default]
    Unknown,
    /// In the end only their counts and sums.
    Totals,
    /// Their buckets as well.
    Buckets,
}

/// `by` or `without`, names sorted, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupBy {
    pub(crate) labels: Vec<String>,
    pub(crate) without: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RangeSelector {
    pub(crate) selector: Selector,
    /// Milliseconds, above 0.
    pub(crate) range: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subquery {
    pub(crate) operand: Box<Node>,
    /// Milliseconds, above 0.
    pub(crate) range: i64,
    /// Milliseconds, above 0.
    pub(crate) step: i64,
    pub(crate) time: TimeShift,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) return_bool: bool,
    pub(crate) matching: Option<VectorMatching>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) operand: Node,
    pub(crate) parameter: Option<Node>,
    pub(crate) grouping: GroupBy,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: Function,
    pub(crate) name: &'static str,
    pub(crate) args: Vec<Node>,
    pub(crate) returns: ValueType,
}

impl GroupBy {
    pub(crate) fn new(mut labels: Vec<String>, without: bool) -> Self {
        labels.sort();
        labels.dedup();
        Self { labels, without }
    }
}

impl Node {
    pub(crate) fn value_type(&self) -> ValueType {
        match &self.kind {
            NodeKind::Number(_) => ValueType::Scalar,
            NodeKind::String(_) => ValueType::String,
            NodeKind::Selector(_) | NodeKind::Aggregate(_) => ValueType::Vector,
            NodeKind::RangeSelector(_) | NodeKind::Subquery(_) => ValueType::Matrix,
            NodeKind::Negate(operand) | NodeKind::StepInvariant(operand) => operand.value_type(),
            NodeKind::Call(call) => call.returns,
            NodeKind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
        }
    }

    /// The node below marks that only say how often to evaluate.
    pub(crate) fn unmarked(&self) -> &Self {
        match &self.kind {
            NodeKind::StepInvariant(inner) => inner.unmarked(),
            _ => self,
        }
    }

    pub(crate) fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            NodeKind::Number(_) | NodeKind::String(_) | NodeKind::Selector(_) | NodeKind::RangeSelector(_) => {
                Vec::new()
            }
            NodeKind::Subquery(subquery) => vec![&mut subquery.operand],
            NodeKind::Negate(operand) | NodeKind::StepInvariant(operand) => vec![operand],
            NodeKind::Binary(binary) => vec![&mut binary.left, &mut binary.right],
            NodeKind::Aggregate(aggregate) => {
                aggregate.parameter.iter_mut().chain(std::iter::once(&mut aggregate.operand)).collect()
            }
            NodeKind::Call(call) => call.args.iter_mut().collect(),
        }
    }
}
