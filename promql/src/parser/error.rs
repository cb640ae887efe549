//! The one error of the parser: what is wrong and where.

use std::fmt;

/// The first thing found wrong in a query. `Display` is what Prometheus answers: `1:5: parse error: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte offset into the query.
    pub offset: usize,
    /// `None` for an empty query, which has no positions.
    pub position: Option<Position>,
    pub message: String,
}

/// Both from 1 on; the column counts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl ParseError {
    pub(crate) fn new(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { offset, position: Position::of(text, offset), message: message.into() }
    }
}

impl Position {
    fn of(text: &str, offset: usize) -> Option<Self> {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        (!text.is_empty()).then_some(Self { line, column: before.len() - line_start + 1 })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "{line}:{column}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}
