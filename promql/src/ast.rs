//! The language's syntax tree, after Prometheus' `promql/parser/ast.go` in vocabulary.
//!
//! The parser makes it, type-checked; the planner reads it; the printer turns it back into text. Times and durations are in
//! milliseconds. Positions are byte offsets into the query text.

use model::Matcher;

/// Where in the query text a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

impl Expr {
    /// All selectors in the expression, from left to right.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let (mut found, mut rest) = (Vec::new(), vec![self]);
        while let Some(expr) = rest.pop() {
            match &expr.kind {
                ExprKind::Number(_) | ExprKind::String(_) => {}
                ExprKind::Paren(inner) => rest.push(inner),
                ExprKind::Unary(unary) => rest.push(&unary.operand),
                ExprKind::Binary(binary) => rest.extend([&binary.right, &binary.left]),
                ExprKind::Aggregate(aggregate) => {
                    rest.push(&aggregate.operand);
                    rest.extend(&aggregate.parameter);
                }
                ExprKind::Call(call) => rest.extend(call.args.iter().rev()),
                ExprKind::VectorSelector(selector) => found.push(selector),
                ExprKind::MatrixSelector(matrix) => found.push(&matrix.selector),
                ExprKind::Subquery(subquery) => rest.push(&subquery.operand),
            }
        }
        found
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Number(NumberLiteral),
    String(String),
    Paren(Box<Expr>),
    Unary(Unary),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Call),
    VectorSelector(VectorSelector),
    /// `selector[range]`.
    MatrixSelector(Box<MatrixSelector>),
    Subquery(Box<Subquery>),
}

/// A number, or a duration standing for its seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Sign included; of a duration: seconds.
    pub value: f64,
    /// Written as a duration (`5m`). The value is the same; the printer keeps the form.
    pub is_duration: bool,
}

impl NumberLiteral {
    pub fn plain(value: f64) -> Self {
        Self { value, is_duration: false }
    }
}

/// Static type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    /// "instant vector" in messages.
    Vector,
    /// "range vector" in messages.
    Matrix,
    String,
}

impl ValueType {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }
}

impl Expr {
    /// The type that the expression yields, of a tree that passed the parser's checks.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Paren(inner) => inner.value_type(),
            ExprKind::Unary(unary) => unary.operand.value_type(),
            ExprKind::Binary(binary) => binary.value_type(),
            ExprKind::Aggregate(_) | ExprKind::VectorSelector(_) => ValueType::Vector,
            ExprKind::Call(call) => call.function.returns,
            ExprKind::MatrixSelector(_) | ExprKind::Subquery(_) => ValueType::Matrix,
        }
    }
}

impl Binary {
    /// Scalar between two scalars, else instant vector.
    pub fn value_type(&self) -> ValueType {
        match (self.left.value_type(), self.right.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
            _ => ValueType::Vector,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    pub op: UnaryOp,
    pub operand: Box<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Plus,
    Minus,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
    /// `bool` after a comparison.
    pub return_bool: bool,
    /// Present when both sides are vectors.
    pub matching: Option<VectorMatching>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `</`: trims histogram buckets above.
    TrimUpper,
    /// `>/`: trims histogram buckets below.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether `bool` may follow. Trimming binds like a comparison but is none.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }

    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    pub cardinality: Cardinality,
    /// Names in `on(...)` or `ignoring(...)`.
    pub labels: Vec<String>,
    /// Whether `labels` stands in `on(...)`.
    pub on: bool,
    /// Labels taken over from the "one" side by `group_left(...)` or `group_right(...)`.
    pub include: Vec<String>,
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub operand: Expr,
    /// First argument of topk, bottomk, quantile, count_values, limitk, limit_ratio.
    pub parameter: Option<Expr>,
    pub grouping: Vec<String>,
    /// Whether `grouping` stands in `without (...)`.
    pub without: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::TopK,
        Self::BottomK,
        Self::CountValues,
        Self::Quantile,
        Self::LimitK,
        Self::LimitRatio,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// The type of the first of two arguments; `None`: there is one argument only.
    pub fn parameter_type(self) -> Option<ValueType> {
        match self {
            Self::CountValues => Some(ValueType::String),
            Self::TopK | Self::BottomK | Self::Quantile | Self::LimitK | Self::LimitRatio => Some(ValueType::Scalar),
            _ => None,
        }
    }

    pub fn is_experimental(self) -> bool {
        matches!(self, Self::LimitK | Self::LimitRatio)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Looked up in the parser's table of signatures (`signature.rs`).
    pub function: &'static crate::signature::Signature,
    pub args: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// Includes the one on `__name__`.
    pub matchers: Vec<Matcher>,
    /// The metric's name stands in front of the braces; the last matcher is then the one made of it. Only the printer and the
    /// checks care: `a{}` and `{__name__="a"}` select the same.
    pub is_named: bool,
    pub modifiers: Modifiers,
    pub extension: Option<Extension>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    Anchored,
    Smoothed,
}

impl Extension {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    pub selector: VectorSelector,
    pub range: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    pub operand: Expr,
    pub range: Duration,
    /// `None`: the server's default evaluation interval.
    pub step: Option<Duration>,
    pub modifiers: Modifiers,
}

/// `offset` and `@` behind a selector or a subquery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    pub offset: Option<Duration>,
    pub at: Option<At>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Time(i64),
    Start,
    End,
}

/// A duration: a literal, or arithmetic that is settled once the query's step and range are known.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// In milliseconds.
    Literal(i64),
    Expr(Box<DurationExpr>),
}

/// Values are in seconds until the whole is turned into milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// In seconds.
    Number(NumberLiteral),
    /// `step()`.
    Step,
    /// `range()`.
    Range,
    Negate(Box<DurationExpr>),
    /// Twice in a row: written with a plus sign behind `offset`, which ends the duration there.
    Paren(Box<DurationExpr>),
    /// Add, Sub, Mul, Div, Mod or Pow.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
}
