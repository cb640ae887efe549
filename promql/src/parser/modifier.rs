//! What stands behind a selector or a subquery: ranges, `offset`, `@`, `anchored`, `smoothed`.

use super::{
    ParseError, Parser,
    token::{Keyword, Preprocessor, TokenKind},
};
use crate::ast::{At, Duration, Expr, ExprKind, Extension, MatrixSelector, Modifiers, Subquery, VectorSelector};

impl Parser<'_> {
    /// The expression with all the modifiers that follow it.
    pub(super) fn modified(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            match self.peek()?.kind {
                TokenKind::LeftBracket => expr = self.range(expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                TokenKind::At => self.at(&mut expr)?,
                TokenKind::Keyword(Keyword::Anchored) => self.extension(&mut expr, Extension::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.extension(&mut expr, Extension::Smoothed)?,
                _ => return Ok(expr),
            }
        }
    }

    /// `[range]` or `[range:step]`.
    fn range(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let height = self.height;
        let bracket = self.take()?.start;
        self.enter("subquery or range selector", "number, duration, step(), or range()");
        let range = self.positive_duration()?;
        let mut height = height.max(self.height);
        self.proceed("subquery or range", "\":\" or \"]\"");
        let result = if self.accept(TokenKind::Colon)? {
            let step = self.subquery_step()?;
            height = height.max(self.height);
            self.expect(TokenKind::RightBracket)?;
            self.subquery(expr, range, step)
        } else {
            self.expect(TokenKind::RightBracket)?;
            self.matrix_selector(expr, range, bracket)?
        };
        self.leave();
        self.grow(height)?;
        Ok(result)
    }

    fn subquery_step(&mut self) -> Result<Option<Duration>, ParseError> {
        self.proceed("subquery selector", "number, duration, step(), range(), or \"]\"");
        if self.peek()?.kind == TokenKind::RightBracket {
            return Ok(None);
        }
        let step = self.positive_duration()?;
        self.proceed("subquery selector", "\"]\"");
        Ok(Some(step))
    }

    fn subquery(&self, operand: Expr, range: Duration, step: Option<Duration>) -> Expr {
        let start = operand.span.start;
        let subquery = Subquery { operand, range, step, modifiers: Modifiers::default() };
        self.node(start, ExprKind::Subquery(Box::new(subquery)))
    }

    fn matrix_selector(&self, expr: Expr, range: Duration, bracket: usize) -> Result<Expr, ParseError> {
        let start = expr.span.start;
        let problem = match expr.kind {
            ExprKind::VectorSelector(VectorSelector { modifiers: Modifiers { offset: Some(_), .. }, .. }) => {
                "no offset modifiers allowed before range"
            }
            ExprKind::VectorSelector(VectorSelector { modifiers: Modifiers { at: Some(_), .. }, .. }) => {
                "no @ modifiers allowed before range"
            }
            ExprKind::VectorSelector(selector) => {
                return Ok(self.node(start, ExprKind::MatrixSelector(Box::new(MatrixSelector { selector, range }))));
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.error(bracket, problem))
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let height = self.height;
        self.take()?;
        self.enter("offset", "number, duration, step(), or range()");
        let offset = self.offset_duration()?;
        self.leave();
        self.grow(height.max(self.height))?;
        let start = expr.span.start;
        let Some(modifiers) = modifiers(expr) else {
            return Err(self.error(start, preceded_by_selector("offset")));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(start, "offset may not be set multiple times"));
        }
        // A zero offset is none, so that the printed form, which leaves it out, is the same expression.
        modifiers.offset = (offset != Duration::Literal(0)).then_some(offset);
        expr.span.end = self.last_end;
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let start = expr.span.start;
        self.take()?;
        self.enter("@", "timestamp");
        let at = match self.peek()?.kind {
            TokenKind::Preprocessor(Preprocessor::Start) => self.at_bound(At::Start)?,
            TokenKind::Preprocessor(Preprocessor::End) => self.at_bound(At::End)?,
            _ => {
                let seconds = self.signed_number()?;
                timestamp(seconds).ok_or_else(|| self.error(start, out_of_bounds(seconds)))?
            }
        };
        self.leave();
        let Some(modifiers) = modifiers(expr) else {
            return Err(self.error(start, preceded_by_selector("@")));
        };
        if modifiers.at.replace(at).is_some() {
            return Err(self.error(start, "@ <timestamp> may not be set multiple times"));
        }
        expr.span.end = self.last_end;
        Ok(())
    }

    fn at_bound(&mut self, at: At) -> Result<At, ParseError> {
        self.take()?;
        self.expect(TokenKind::LeftParen)?;
        self.expect(TokenKind::RightParen)?;
        Ok(at)
    }

    fn extension(&mut self, expr: &mut Expr, extension: Extension) -> Result<(), ParseError> {
        let start = expr.span.start;
        self.take()?;
        let name = extension.as_str();
        if !self.options.extended_range_selectors {
            let message = format!(
                "{name} modifier is experimental and not enabled, set --enable-feature=promql-extended-range-selectors"
            );
            return Err(self.error(start, message));
        }
        let selector = match &mut expr.kind {
            ExprKind::VectorSelector(selector) => selector,
            ExprKind::MatrixSelector(matrix) => &mut matrix.selector,
            ExprKind::Subquery(_) => {
                return Err(self.error(start, format!("{name} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(start, format!("{name} modifier not implemented"))),
        };
        if selector.extension.replace(extension).is_some_and(|before| before != extension) {
            return Err(self.error(start, "anchored and smoothed modifiers cannot be used together"));
        }
        expr.span.end = self.last_end;
        Ok(())
    }
}

fn modifiers(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        ExprKind::VectorSelector(selector) => Some(&mut selector.modifiers),
        ExprKind::MatrixSelector(matrix) => Some(&mut matrix.selector.modifiers),
        ExprKind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}

fn preceded_by_selector(modifier: &str) -> String {
    format!("{modifier} modifier must be preceded by an instant vector selector or range vector selector or a subquery")
}

/// `None`: milliseconds of it do not fit 64 bits.
fn timestamp(seconds: f64) -> Option<At> {
    let milliseconds = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within 63 bits")]
    (milliseconds.abs() < 2_f64.powi(63)).then_some(At::Time(milliseconds as i64))
}

fn out_of_bounds(seconds: f64) -> String {
    let shown = match seconds {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => format!("{seconds:.6}"),
    };
    format!("timestamp out of bounds for @ modifier: {shown}")
}
