//! Selectors with their matchers, and the label lists of modifiers.

use model::{METRIC_NAME, MatchOp, Matcher, MatcherError};

use super::{
    ParseError, Parser, REGEXES_MAX,
    expression::names_metric,
    quote::quote,
    token::{Keyword, Token, TokenKind},
};
use crate::ast::{BinaryOp, Expr, ExprKind, Modifiers, VectorSelector};

const PLACE: &str = "label matching";

impl Parser<'_> {
    /// A selector alone, where no expression is allowed.
    pub(super) fn metric_selector(&mut self) -> Result<VectorSelector, ParseError> {
        let token = self.peek()?;
        let name = if names_metric(token.kind) { Some(self.take()?) } else { None };
        if name.is_none() && token.kind != TokenKind::LeftBrace {
            return Err(self.unexpected());
        }
        self.selector(name)
    }

    /// A selector whose name, if it has one in front of the braces, was taken.
    pub(super) fn vector_selector(&mut self, name: Option<Token>) -> Result<Expr, ParseError> {
        let start = self.peek()?.start;
        let selector = self.selector(name)?;
        Ok(self.node(name.map_or(start, |name| name.start), ExprKind::VectorSelector(selector)))
    }

    fn selector(&mut self, name: Option<Token>) -> Result<VectorSelector, ParseError> {
        let mut matchers = match self.peek()?.kind {
            TokenKind::LeftBrace => self.matchers()?,
            _ => Vec::new(),
        };
        if let Some(name) = name {
            matchers.push(Matcher::equal(METRIC_NAME, self.word(name)));
        }
        Ok(VectorSelector { matchers, is_named: name.is_some(), modifiers: Modifiers::default(), extension: None })
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.take()?;
        let mut matchers = Vec::new();
        while self.peek()?.kind != TokenKind::RightBrace {
            matchers.push(self.matcher()?);
            match self.peek()?.kind {
                TokenKind::Comma => drop(self.take()?),
                TokenKind::RightBrace => {}
                _ => return Err(self.unexpected_in(PLACE, "\",\" or \"}\"")),
            }
        }
        self.take()?;
        Ok(matchers)
    }

    /// `name op "value"`, where the name may be quoted; a quoted text alone is the metric's name.
    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let token = self.peek()?;
        let name = match token.kind {
            TokenKind::Identifier => {
                self.take()?;
                self.word(token).to_owned()
            }
            TokenKind::String => {
                self.take()?;
                self.unquoted(token)?
            }
            _ => return Err(self.unexpected_in(PLACE, "identifier or \"}\"")),
        };
        let op = match self.peek()?.kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Binary(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::MatchRegex => MatchOp::Regex,
            TokenKind::MatchNotRegex => MatchOp::NotRegex,
            _ if token.kind == TokenKind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected_in(PLACE, "label matching operator")),
        };
        self.take()?;
        let value = self.peek()?;
        if value.kind != TokenKind::String {
            return Err(self.unexpected_in(PLACE, "string"));
        }
        self.take()?;
        let value = self.unquoted(value)?;
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.count_regex(token)?;
        }
        Matcher::new(op, name, value).map_err(|error| self.error(token.start, regex_message(&error)))
    }

    fn count_regex(&mut self, at: Token) -> Result<(), ParseError> {
        self.regexes += 1;
        if self.regexes <= REGEXES_MAX {
            return Ok(());
        }
        let message = format!("query has more than the {REGEXES_MAX} regular expressions allowed, split it up");
        Err(self.error(at.start, message))
    }

    /// `(a, "b.c")`, as behind `by` and `on`.
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
        const PLACE: &str = "grouping opts";
        if self.peek()?.kind != TokenKind::LeftParen {
            return Err(self.unexpected_in(PLACE, "\"(\""));
        }
        self.take()?;
        let mut labels = Vec::new();
        while labels.is_empty() || self.peek()?.kind != TokenKind::RightParen {
            let token = self.peek()?;
            match token.kind {
                TokenKind::RightParen => break,
                TokenKind::String => labels.push(self.quoted_label()?),
                _ if names_label(token.kind) => {
                    self.take()?;
                    labels.push(self.word(token).to_owned());
                }
                _ => return Err(self.unexpected_in(PLACE, "label")),
            }
            match self.peek()?.kind {
                TokenKind::Comma => drop(self.take()?),
                TokenKind::RightParen => {}
                _ => return Err(self.unexpected_in(PLACE, "\",\" or \")\"")),
            }
        }
        self.take()?;
        Ok(labels)
    }

    fn quoted_label(&mut self) -> Result<String, ParseError> {
        let token = self.take()?;
        let label = self.unquoted(token)?;
        if label.is_empty() {
            return Err(self.error(token.start, format!("invalid label name for grouping: {}", quote(&label))));
        }
        Ok(label)
    }
}

/// Whether a token can be a label's name without quotes: every word but the numbers and `without`.
fn names_label(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Keyword(word) => word != Keyword::Without,
        _ => names_metric(kind) || kind == TokenKind::Binary(BinaryOp::Atan2),
    }
}

/// The reason in one line: the regex library draws pictures.
fn regex_message(error: &MatcherError) -> String {
    let last = error.reason.lines().last().unwrap_or_default();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    format!("error parsing regexp: {reason}: `{}`", error.pattern)
}
