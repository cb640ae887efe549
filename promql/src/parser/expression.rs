//! Expressions: operators by precedence, calls, aggregations, literals.

use super::{
    ParseError, Parser, literal,
    quote::quote,
    token::{Keyword, Token, TokenKind},
};
use crate::{
    ast::{
        Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, NumberLiteral, Span, Unary,
        UnaryOp, VectorMatching,
    },
    signature,
};

/// How tightly an operator binds; a unary sign binds looser than this of `^` and as tightly as that of `*`.
pub(super) fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessOrEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterOrEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}

/// The least precedence that an operator inside the right operand must have.
pub(super) fn precedence_right(op: BinaryOp) -> u8 {
    if op == BinaryOp::Pow { precedence(op) } else { precedence(op) + 1 }
}

pub(super) fn sign(kind: TokenKind) -> Option<UnaryOp> {
    match kind {
        TokenKind::Binary(BinaryOp::Add) => Some(UnaryOp::Plus),
        TokenKind::Binary(BinaryOp::Sub) => Some(UnaryOp::Minus),
        _ => None,
    }
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, ParseError> {
        self.operators(0)
    }

    /// An expression of operators that bind at least as tightly as given.
    fn operators(&mut self, precedence_min: u8) -> Result<Expr, ParseError> {
        self.descend()?;
        let mut left = self.operand()?;
        while let TokenKind::Binary(op) = self.peek()?.kind {
            if precedence(op) < precedence_min {
                break;
            }
            self.take()?;
            left = self.binary(op, left)?;
        }
        self.ascend();
        Ok(left)
    }

    /// The rest of a binary expression, behind its operator.
    fn binary(&mut self, op: BinaryOp, left: Expr) -> Result<Expr, ParseError> {
        let left_height = self.height;
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool))?;
        let matching = self.vector_matching()?;
        let right = self.operators(precedence_right(op))?;
        self.grow(left_height.max(self.height))?;
        let span = Span { start: left.span.start, end: right.span.end };
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.binop_fill_modifiers {
            return Err(self.error(
                span.start,
                "binop fill modifiers are experimental and not enabled, set --enable-feature=promql-binop-fill-modifiers",
            ));
        }
        let binary = Binary { op, left, right, return_bool, matching: Some(matching) };
        Ok(Expr { kind: ExprKind::Binary(Box::new(binary)), span })
    }

    /// `on`, `ignoring`, `group_left`, `group_right`, and fill modifiers, all optional. The checker drops the result where a side
    /// is no vector.
    fn vector_matching(&mut self) -> Result<VectorMatching, ParseError> {
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.take()?;
            matching.on = word == Keyword::On;
            matching.labels = self.grouping_labels()?;
            self.grouping(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok(matching)
    }

    fn grouping(&mut self, matching: &mut VectorMatching) -> Result<(), ParseError> {
        matching.cardinality = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.take()?;
        let next = self.peek()?.kind;
        let fills = matches!(next, TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight));
        if next == TokenKind::LeftParen || !(fills || starts_expression(next)) {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    /// `fill`, or `fill_left` and `fill_right` in any order, each once.
    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Result<(), ParseError> {
        loop {
            let (left, right) = (matching.fill_left.is_none(), matching.fill_right.is_none());
            match self.peek()?.kind {
                TokenKind::Keyword(Keyword::Fill) if left && right => {
                    let value = self.fill_value()?;
                    (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
                }
                TokenKind::Keyword(Keyword::FillLeft) if left => matching.fill_left = Some(self.fill_value()?),
                TokenKind::Keyword(Keyword::FillRight) if right => matching.fill_right = Some(self.fill_value()?),
                _ => return Ok(()),
            }
        }
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.take()?;
        self.expect(TokenKind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(TokenKind::RightParen)?;
        Ok(value)
    }

    /// A number or duration literal with an optional sign.
    pub(super) fn signed_number(&mut self) -> Result<f64, ParseError> {
        let sign = sign(self.peek()?.kind);
        if sign.is_some() {
            self.take()?;
        }
        let value = self.number_literal()?.value;
        Ok(if sign == Some(UnaryOp::Minus) { -value } else { value })
    }

    pub(super) fn number_literal(&mut self) -> Result<NumberLiteral, ParseError> {
        let token = self.peek()?;
        let literal = match token.kind {
            TokenKind::Number => literal::number(self.word(token)).map(NumberLiteral::plain),
            TokenKind::Duration => {
                literal::duration_seconds(self.word(token)).map(|value| NumberLiteral { value, is_duration: true })
            }
            _ => return Err(self.unexpected()),
        };
        self.take()?;
        literal.map_err(|message| self.error(token.start, message))
    }

    /// An expression without binary operators, with its sign and modifiers.
    fn operand(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek()?;
        match sign(token.kind) {
            Some(op) => self.unary(token, op),
            None => {
                let expr = self.primary(token)?;
                self.modified(expr)
            }
        }
    }

    fn unary(&mut self, token: Token, op: UnaryOp) -> Result<Expr, ParseError> {
        self.take()?;
        let operand = self.operators(precedence(BinaryOp::Pow))?;
        let span = Span { start: token.start, end: operand.span.end };
        let kind = match operand.kind {
            // A signed number is one literal.
            ExprKind::Number(number) if op == UnaryOp::Minus => {
                ExprKind::Number(NumberLiteral { value: -number.value, ..number })
            }
            ExprKind::Number(number) => ExprKind::Number(number),
            _ => {
                self.grow(self.height)?;
                ExprKind::Unary(Unary { op, operand: Box::new(operand) })
            }
        };
        Ok(Expr { kind, span })
    }

    fn primary(&mut self, token: Token) -> Result<Expr, ParseError> {
        self.height = 1;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal()?;
                Ok(self.node(token.start, ExprKind::Number(number)))
            }
            TokenKind::String => {
                self.take()?;
                let text = self.unquoted(token)?;
                Ok(self.node(token.start, ExprKind::String(text)))
            }
            TokenKind::LeftParen => self.paren(token),
            TokenKind::LeftBrace => self.vector_selector(None),
            _ if names_metric(token.kind) => {
                self.take()?;
                self.named(token)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// What a name is, the next token says.
    fn named(&mut self, name: Token) -> Result<Expr, ParseError> {
        match (name.kind, self.peek()?.kind) {
            (TokenKind::Aggregate(op), TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without)) => {
                self.aggregate(name, op)
            }
            (TokenKind::Identifier | TokenKind::Preprocessor(_), TokenKind::LeftParen) => self.call(name),
            _ => self.vector_selector(Some(name)),
        }
    }

    fn paren(&mut self, open: Token) -> Result<Expr, ParseError> {
        self.take()?;
        let inner = self.expression()?;
        self.expect(TokenKind::RightParen)?;
        self.grow(self.height)?;
        Ok(self.node(open.start, ExprKind::Paren(Box::new(inner))))
    }

    fn call(&mut self, name: Token) -> Result<Expr, ParseError> {
        let args = self.arguments()?;
        let word = self.word(name);
        let Some(function) = signature::lookup(word) else {
            return Err(self.error(name.start, format!("unknown function with name {}", quote(word))));
        };
        if function.experimental && !self.options.experimental_functions {
            let message =
                format!("function {} is not enabled, set --enable-feature=promql-experimental-functions", quote(word));
            return Err(self.error(name.start, message));
        }
        Ok(self.node(name.start, ExprKind::Call(Call { function, args })))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        let mut height = 0;
        if self.accept(TokenKind::RightParen)? {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            height = height.max(self.height);
            let separator = self.peek()?;
            if separator.kind != TokenKind::Comma {
                break;
            }
            self.take()?;
            if !starts_expression(self.peek()?.kind) {
                return Err(self.error(separator.start, "trailing commas not allowed in function call args"));
            }
        }
        self.expect(TokenKind::RightParen)?;
        self.grow(height)?;
        Ok(args)
    }

    fn aggregate(&mut self, name: Token, op: AggregateOp) -> Result<Expr, ParseError> {
        self.enter("aggregation", "");
        let before = self.aggregate_modifier()?;
        if self.peek()?.kind != TokenKind::LeftParen {
            return Err(self.unexpected());
        }
        let args = self.arguments()?;
        let modifier = match before {
            Some(modifier) => modifier,
            None => self.aggregate_modifier()?.unwrap_or_default(),
        };
        self.leave();
        self.assemble_aggregate(name, op, args, modifier)
    }

    /// The labels of a `by` or `without`, and whether it is the latter.
    fn aggregate_modifier(&mut self) -> Result<Option<(Vec<String>, bool)>, ParseError> {
        let without = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take()?;
        Ok(Some((self.grouping_labels()?, without)))
    }

    fn assemble_aggregate(
        &self,
        name: Token,
        op: AggregateOp,
        args: Vec<Expr>,
        (grouping, without): (Vec<String>, bool),
    ) -> Result<Expr, ParseError> {
        let count = args.len();
        if count == 0 {
            return Err(self.error(name.start, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(self.error(name.start, message));
        }
        let expected = if op.parameter_type().is_some() { 2 } else { 1 };
        let mut args = args.into_iter();
        let parameter = if expected == 2 { args.next() } else { None };
        match (args.next(), args.next()) {
            (Some(operand), None) => {
                let aggregate = Aggregate { op, operand, parameter, grouping, without };
                Ok(self.node(name.start, ExprKind::Aggregate(Box::new(aggregate))))
            }
            _ => {
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {count}"
                );
                Err(self.error(name.start, message))
            }
        }
    }

    /// A node from a start to the last token taken.
    pub(super) fn node(&self, start: usize, kind: ExprKind) -> Expr {
        Expr { kind, span: Span { start, end: self.last_end } }
    }

    pub(super) fn unquoted(&self, token: Token) -> Result<String, ParseError> {
        literal::unquote(self.word(token)).map_err(|message| self.error(token.start, message))
    }
}

/// Whether a token can be a metric's name without quotes: most keywords can.
pub(super) fn names_metric(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Aggregate(_)
        | TokenKind::Preprocessor(_)
        | TokenKind::Binary(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => true,
        TokenKind::Keyword(word) => {
            matches!(word, Keyword::By | Keyword::Without | Keyword::Offset | Keyword::Anchored | Keyword::Smoothed)
        }
        _ => false,
    }
}

fn starts_expression(kind: TokenKind) -> bool {
    let literal = matches!(kind, TokenKind::Number | TokenKind::Duration | TokenKind::String);
    let bracket = matches!(kind, TokenKind::LeftParen | TokenKind::LeftBrace);
    literal || bracket || sign(kind).is_some() || names_metric(kind)
}
