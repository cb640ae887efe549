//! Static types, and what else can be refused without looking at data.

use std::collections::BTreeSet;

use model::METRIC_NAME;

use super::{ParseError, quote::quote};
use crate::ast::{
    Aggregate, Binary, Call, Cardinality, Expr, ExprKind, Span, Unary, ValueType, VectorMatching, VectorSelector,
};

/// Checks a tree, innermost first, and settles what needs types: vector matching stays only between vectors and becomes
/// many-to-many for set operators.
pub(super) fn check(text: &str, expr: &mut Expr) -> Result<ValueType, ParseError> {
    Checker { text }.check(expr)
}

struct Checker<'a> {
    text: &'a str,
}

type Checked = Result<ValueType, ParseError>;

impl Checker<'_> {
    fn check(&self, expr: &mut Expr) -> Checked {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number(_) => Ok(ValueType::Scalar),
            ExprKind::String(_) => Ok(ValueType::String),
            ExprKind::Paren(inner) => self.check(inner),
            ExprKind::Unary(unary) => self.unary(unary, span),
            ExprKind::Binary(binary) => self.binary(binary, span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Call(call) => self.call(call, span),
            ExprKind::VectorSelector(selector) => {
                self.names(selector, span)?;
                self.selects_something(selector, span)?;
                Ok(ValueType::Vector)
            }
            ExprKind::MatrixSelector(matrix) => {
                self.names(&matrix.selector, span)?;
                self.selects_something(&matrix.selector, span)?;
                Ok(ValueType::Matrix)
            }
            ExprKind::Subquery(subquery) => match self.check(&mut subquery.operand)? {
                ValueType::Vector => Ok(ValueType::Matrix),
                other => {
                    let name = short_name(other);
                    Err(self.error(span, format!("subquery is only allowed on instant vector, got {name} instead")))
                }
            },
        }
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
        let found = self.check(expr)?;
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.as_str(), found.as_str());
        Err(self.error(expr.span, format!("expected type {wanted} in {context}, got {found}")))
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Checked {
        self.expect(&mut aggregate.operand, ValueType::Vector, "aggregation expression")?;
        if let (Some(parameter), Some(wanted)) = (&mut aggregate.parameter, aggregate.op.parameter_type()) {
            self.expect(parameter, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    fn unary(&self, unary: &mut Unary, span: Span) -> Checked {
        match self.check(&mut unary.operand)? {
            found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
            found => {
                let found = quote(found.as_str());
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {found}"
                );
                Err(self.error(span, message))
            }
        }
    }

    fn binary(&self, binary: &mut Binary, span: Span) -> Checked {
        let left = self.check(&mut binary.left)?;
        let right = self.check(&mut binary.right)?;
        let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            return Err(self.at_operator(binary, "bool modifier can only be used on comparison operators"));
        }
        if op.is_comparison() && !binary.return_bool && both_scalar {
            return Err(self.at_operator(binary, "comparisons between scalars must use BOOL modifier"));
        }
        self.include_labels(binary)?;
        for (found, operand) in [(left, &binary.left), (right, &binary.right)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error(operand.span, message));
            }
        }
        let between_vectors = left == ValueType::Vector && right == ValueType::Vector;
        let matching = binary.matching.take();
        binary.matching = match matching {
            Some(matching) if between_vectors => {
                Some(self.between_vectors(op.is_set(), op.as_str(), matching, span)?)
            }
            Some(matching) => self.beside_scalar(&matching, span)?,
            None => None,
        };
        if op.is_set() && !between_vectors {
            let op = quote(op.as_str());
            return Err(self.error(span, format!("set operator {op} not allowed in binary scalar expression")));
        }
        Ok(if both_scalar { ValueType::Scalar } else { ValueType::Vector })
    }

    fn include_labels(&self, binary: &Binary) -> Result<(), ParseError> {
        let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) else { return Ok(()) };
        let include: BTreeSet<_> = matching.include.iter().collect();
        match matching.labels.iter().find(|label| include.contains(label)) {
            Some(label) => {
                let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
                Err(self.at_operator(binary, message))
            }
            None => Ok(()),
        }
    }

    fn between_vectors(
        &self,
        is_set: bool,
        op: &str,
        mut matching: VectorMatching,
        span: Span,
    ) -> Result<VectorMatching, ParseError> {
        if is_set {
            if matching.cardinality != Cardinality::OneToOne {
                return Err(self.error(span, format!("no grouping allowed for {} operation", quote(op))));
            }
            if fills(&matching) {
                return Err(self.error(span, "filling in missing series not allowed for set operators"));
            }
            matching.cardinality = Cardinality::ManyToMany;
        }
        Ok(matching)
    }

    fn beside_scalar(&self, matching: &VectorMatching, span: Span) -> Result<Option<VectorMatching>, ParseError> {
        if !matching.labels.is_empty() {
            return Err(self.error(span, "vector matching only allowed between instant vectors"));
        }
        if fills(matching) {
            return Err(self.error(span, "filling in missing series only allowed between instant vectors"));
        }
        Ok(None)
    }

    fn call(&self, call: &mut Call, span: Span) -> Checked {
        let function = call.function;
        self.argument_count(call, span)?;
        let context = format!("call to function {}", quote(function.name));
        let label_selectors = function.name == "info" && call.args.len() > 1;
        if label_selectors {
            self.info_selector(&call.args[1], &context, span)?;
        }
        for (index, arg) in call.args.iter_mut().enumerate() {
            let wanted = function.arg(index).expect("the count was checked");
            if let (true, 1, ExprKind::VectorSelector(selector)) = (label_selectors, index, &arg.kind) {
                // Here it need not reject anything: it is applied beside the name of an info metric.
                self.names(selector, arg.span)?;
            } else {
                self.expect(arg, wanted, &context)?;
            }
        }
        Ok(function.returns)
    }

    fn argument_count(&self, call: &Call, span: Span) -> Result<(), ParseError> {
        let (least, most, got) = (call.function.args_min(), call.function.args_max(), call.args.len());
        let expected = match most {
            Some(most) if most == least && got != least => format!("{least}"),
            _ if got < least => format!("at least {least}"),
            Some(most) if got > most => format!("at most {most}"),
            _ => return Ok(()),
        };
        let name = quote(call.function.name);
        Err(self.error(span, format!("expected {expected} argument(s) in call to {name}, got {got}")))
    }

    fn info_selector(&self, arg: &Expr, context: &str, span: Span) -> Result<(), ParseError> {
        let found = arg.value_type();
        if found != ValueType::Vector {
            let (wanted, found) = (ValueType::Vector.as_str(), found.as_str());
            return Err(self.error(span, format!("expected type {wanted} in {context}, got {found}")));
        }
        match &arg.kind {
            ExprKind::VectorSelector(selector) if selector.is_named => {
                Err(self.error(arg.span, "expected label selectors only, got vector selector instead"))
            }
            ExprKind::VectorSelector(_) => Ok(()),
            _ => Err(self.error(arg.span, "expected label selectors only")),
        }
    }

    fn names(&self, selector: &VectorSelector, span: Span) -> Result<(), ParseError> {
        let Some((outside, inside)) = selector.matchers.split_last().filter(|_| selector.is_named) else {
            return Ok(());
        };
        match inside.iter().find(|matcher| matcher.name() == METRIC_NAME) {
            Some(second) => {
                let (one, two) = (quote(outside.value()), quote(second.value()));
                Err(self.error(span, format!("metric name must not be set twice: {one} or {two}")))
            }
            None => Ok(()),
        }
    }

    /// A selector of everything is a typing error more often than not.
    fn selects_something(&self, selector: &VectorSelector, span: Span) -> Result<(), ParseError> {
        if selector.is_named || selector.matchers.iter().any(|matcher| !matcher.matches_empty()) {
            return Ok(());
        }
        Err(self.error(span, "vector selector must contain at least one non-empty matcher"))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span.start, message)
    }

    /// An error at the operator, which is what follows the left operand.
    fn at_operator(&self, binary: &Binary, message: impl Into<String>) -> ParseError {
        let behind = &self.text[binary.left.span.end..];
        let blanks = behind.len() - behind.trim_start_matches([' ', '\t', '\n', '\r']).len();
        ParseError::new(self.text, binary.left.span.end + blanks, message)
    }
}

fn fills(matching: &VectorMatching) -> bool {
    matching.fill_left.is_some() || matching.fill_right.is_some()
}

/// The name in the API's answers, which one message uses.
fn short_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}
