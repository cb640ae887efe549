//! Durations of ranges, steps and offsets: literals, and arithmetic over them.
//!
//! Between brackets the arithmetic is open. Behind `offset` the duration ends with its first operand, signed or not, so that
//! `a offset 5m + b` is a sum. An operand in parentheses without a sign is the exception, as it is in Prometheus:
//! `a offset (5m) * 2` is an offset of ten minutes.

use super::{
    ParseError, Parser,
    expression::{precedence, precedence_right, sign},
    token::{Preprocessor, TokenKind},
};
use crate::ast::{BinaryOp, Duration, DurationExpr, NumberLiteral, UnaryOp};

/// Seconds whose nanoseconds need 64 bits.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

impl Parser<'_> {
    /// A duration between brackets. Literals are checked here; the rest can only be checked once the query's step is known.
    pub(super) fn positive_duration(&mut self) -> Result<Duration, ParseError> {
        let start = self.peek()?.start;
        let duration = settle(self.duration(0)?);
        match duration {
            Duration::Literal(..=0) => Err(self.error(start, "duration must be greater than 0")),
            _ => Ok(duration),
        }
    }

    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let token = self.peek()?;
        let Some(op) = sign(token.kind) else {
            return match token.kind {
                TokenKind::LeftParen => self.offset_arithmetic(),
                _ => Ok(settle(self.duration_operand()?)),
            };
        };
        let mut ahead = self.lexer.clone();
        if sign(ahead.next_token()?.kind).is_some() {
            return self.offset_arithmetic();
        }
        self.take()?;
        let operand = match self.peek()?.kind {
            // Its range is checked together with its sign.
            TokenKind::Number | TokenKind::Duration => {
                self.height = 1;
                DurationExpr::Number(self.number_literal()?)
            }
            _ => self.duration_operand()?,
        };
        let signed = match (op, operand) {
            (UnaryOp::Plus, DurationExpr::Paren(inner)) => self.wrapped(DurationExpr::Paren(inner))?,
            (op, operand) => self.signed_duration(op, operand, token.start)?,
        };
        Ok(settle(signed))
    }

    /// Behind `offset` and a parenthesis, or two signs, arithmetic goes on; its parentheses keep the printed text unambiguous.
    fn offset_arithmetic(&mut self) -> Result<Duration, ParseError> {
        match self.duration(0)? {
            sum @ DurationExpr::Binary(..) => Ok(Duration::Expr(Box::new(self.wrapped(sum)?))),
            other => Ok(settle(other)),
        }
    }

    fn wrapped(&mut self, expr: DurationExpr) -> Result<DurationExpr, ParseError> {
        self.grow(self.height)?;
        Ok(DurationExpr::Paren(Box::new(expr)))
    }

    /// Arithmetic of operators that bind at least as tightly as given.
    fn duration(&mut self, precedence_min: u8) -> Result<DurationExpr, ParseError> {
        self.descend()?;
        let token = self.peek()?;
        let mut left = match sign(token.kind) {
            Some(op) => {
                self.take()?;
                let operand = self.duration(precedence(BinaryOp::Pow))?;
                self.signed_duration(op, operand, token.start)?
            }
            None => self.duration_operand()?,
        };
        while let Some((op, at)) = self.duration_operator(precedence_min)? {
            let left_height = self.height;
            let right = self.duration(precedence_right(op))?;
            self.grow(left_height.max(self.height))?;
            if let (Some(what), true) = (zero_refused(op), is_zero(&right)) {
                return Err(self.error(at, what));
            }
            left = DurationExpr::Binary(op, Box::new(left), Box::new(right));
        }
        self.ascend();
        Ok(left)
    }

    /// Takes the next operator with its position, if it binds tightly enough.
    fn duration_operator(&mut self, precedence_min: u8) -> Result<Option<(BinaryOp, usize)>, ParseError> {
        let token = self.peek()?;
        let TokenKind::Binary(op) = token.kind else { return Ok(None) };
        let arithmetic = precedence(op) >= precedence(BinaryOp::Add) && op != BinaryOp::Atan2;
        if !arithmetic || precedence(op) < precedence_min {
            return Ok(None);
        }
        self.take()?;
        Ok(Some((op, token.start)))
    }

    fn duration_operand(&mut self) -> Result<DurationExpr, ParseError> {
        self.height = 1;
        let token = self.peek()?;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let literal = self.number_literal()?;
                self.check_range(literal, token.start)?;
                Ok(DurationExpr::Number(literal))
            }
            TokenKind::Preprocessor(Preprocessor::Step) => self.duration_value(DurationExpr::Step),
            TokenKind::Preprocessor(Preprocessor::Range) => self.duration_value(DurationExpr::Range),
            TokenKind::Preprocessor(Preprocessor::MinOf) => {
                self.duration_pair().map(|(a, b)| DurationExpr::MinOf(a, b))
            }
            TokenKind::Preprocessor(Preprocessor::MaxOf) => {
                self.duration_pair().map(|(a, b)| DurationExpr::MaxOf(a, b))
            }
            TokenKind::LeftParen => {
                self.take()?;
                let inner = self.duration(0)?;
                self.expect(TokenKind::RightParen)?;
                match inner {
                    // Once is enough.
                    DurationExpr::Paren(_) => Ok(inner),
                    _ => self.wrapped(inner),
                }
            }
            _ => Err(self.unexpected()),
        }
    }

    fn duration_value(&mut self, value: DurationExpr) -> Result<DurationExpr, ParseError> {
        self.take()?;
        self.expect(TokenKind::LeftParen)?;
        self.expect(TokenKind::RightParen)?;
        Ok(value)
    }

    fn duration_pair(&mut self) -> Result<(Box<DurationExpr>, Box<DurationExpr>), ParseError> {
        self.take()?;
        self.expect(TokenKind::LeftParen)?;
        let first = self.duration(0)?;
        let height = self.height;
        self.expect(TokenKind::Comma)?;
        let second = self.duration(0)?;
        self.expect(TokenKind::RightParen)?;
        self.grow(height.max(self.height))?;
        Ok((Box::new(first), Box::new(second)))
    }

    fn signed_duration(&mut self, op: UnaryOp, operand: DurationExpr, at: usize) -> Result<DurationExpr, ParseError> {
        match (op, operand) {
            (op, DurationExpr::Number(number)) => {
                let value = if op == UnaryOp::Minus { -number.value } else { number.value };
                let signed = NumberLiteral { value, ..number };
                self.check_range(signed, at)?;
                Ok(DurationExpr::Number(signed))
            }
            (UnaryOp::Plus, operand) => Ok(operand),
            (UnaryOp::Minus, operand) => {
                self.grow(self.height)?;
                Ok(DurationExpr::Negate(Box::new(operand)))
            }
        }
    }

    fn check_range(&self, literal: NumberLiteral, at: usize) -> Result<(), ParseError> {
        // Not a number is refused too: it has no duration.
        if literal.value.abs() <= SECONDS_MAX { Ok(()) } else { Err(self.error(at, "duration out of range")) }
    }
}

/// A number alone, in parentheses or not, is a literal; its nanoseconds are rounded, its milliseconds cut off.
fn settle(expr: DurationExpr) -> Duration {
    match bare_number(&expr) {
        #[expect(clippy::cast_possible_truncation, reason = "literals are checked to fit")]
        Some(value) => Duration::Literal((value * 1e9).round() as i64 / 1_000_000),
        None => Duration::Expr(Box::new(expr)),
    }
}

fn bare_number(expr: &DurationExpr) -> Option<f64> {
    match expr {
        DurationExpr::Number(number) => Some(number.value),
        DurationExpr::Paren(inner) => bare_number(inner),
        _ => None,
    }
}

fn is_zero(expr: &DurationExpr) -> bool {
    bare_number(expr) == Some(0.0)
}

fn zero_refused(op: BinaryOp) -> Option<&'static str> {
    match op {
        BinaryOp::Div => Some("division by zero"),
        BinaryOp::Mod => Some("modulo by zero"),
        _ => None,
    }
}
