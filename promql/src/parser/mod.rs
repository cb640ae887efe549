//! PromQL text to a checked syntax tree.
//!
//! Promised: the whole language of Prometheus 3; the first error with Prometheus' words and position; types checked; every input
//! answered, however hostile, since the length of the text and the depth of the tree are bounded. A tree that passed is at most
//! [`DEPTH_MAX`] nodes high, so whoever walks it may recurse.
//!
//! Not promised: what depends on the data or on the query's range, such as a duration expression that turns out negative.
//!
//! Words of experimental features keep their meaning when the feature is off; they are then refused by name.

mod check;
mod duration;
mod error;
mod expression;
mod lexer;
mod literal;
mod modifier;
pub(crate) mod quote;
mod selector;
mod token;

#[cfg(test)]
mod tests;

use model::Matcher;

pub use error::{ParseError, Position};

use crate::ast::Expr;
use lexer::Lexer;
use token::{Token, TokenKind};

/// Longest query, in bytes. Generated queries with long alternations reach some hundred kilobytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Highest tree, in nodes. Checker and printer recurse, and so may whoever else walks a tree: unoptimised, a level of theirs
/// takes about a kilobyte of stack, and a thread has two megabytes (test `the_deepest_tree_fits_half_a_stack`). Long chains of
/// operators are high trees: `a or b or c` has three levels.
pub const DEPTH_MAX: usize = 500;

/// Deepest nesting of parentheses, calls, signs and right operands in the text. Lower, since a level takes several functions of
/// the parser.
const NESTING_MAX: usize = 250;

/// Most regular expressions in a query: each is compiled while parsing, and may take megabytes and many milliseconds then.
const REGEXES_MAX: usize = 256;

/// Which experimental parts of the language are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations marked experimental (`--enable-feature=promql-experimental-functions`).
    pub experimental_functions: bool,
    /// `anchored` and `smoothed` (`--enable-feature=promql-extended-range-selectors`).
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right` (`--enable-feature=promql-binop-fill-modifiers`).
    pub binop_fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything on.
    pub fn all() -> Self {
        Self { experimental_functions: true, extended_range_selectors: true, binop_fill_modifiers: true }
    }
}

/// Parses and checks a query.
///
/// # Errors
/// The first error in the text; a tree is only type-checked once all of the text is well-formed.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, *options)?;
    if parser.peek()?.kind == TokenKind::End {
        return Err(ParseError::new(text, 0, "no expression found in input"));
    }
    let mut expr = parser.expression()?;
    parser.expect(TokenKind::End)?;
    check::check(text, &mut expr)?;
    Ok(expr)
}

/// Parses a series selector, as `match[]` parameters hold it. Whether it selects anything at all is not checked: callers of the
/// API do that over all of their selectors.
///
/// # Errors
/// The first error in the text.
pub fn parse_metric_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default())?;
    let selector = parser.metric_selector()?;
    parser.expect(TokenKind::End)?;
    Ok(selector.matchers)
}

/// What an unexpected token is said to stand in, and what was expected there; both may be empty.
#[derive(Clone, Copy)]
struct Context {
    place: &'static str,
    expected: &'static str,
}

struct Parser<'a> {
    text: &'a str,
    options: ParseOptions,
    lexer: Lexer<'a>,
    /// Read only when needed: an error of the lexer must not overtake one about the text before it.
    lookahead: Option<Token>,
    /// End of the last token taken.
    last_end: usize,
    /// Innermost last. Empty: nothing to be said.
    contexts: Vec<Context>,
    /// Open recursions.
    depth: usize,
    /// Height of the tree built last.
    height: usize,
    /// Regular expressions compiled.
    regexes: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: ParseOptions) -> Result<Self, ParseError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("query is {} bytes long, more than the {TEXT_BYTES_MAX} allowed", text.len());
            return Err(ParseError::new(text, 0, message));
        }
        Ok(Self {
            text,
            options,
            lexer: Lexer::new(text),
            lookahead: None,
            last_end: 0,
            contexts: Vec::new(),
            depth: 0,
            height: 0,
            regexes: 0,
        })
    }

    fn peek(&mut self) -> Result<Token, ParseError> {
        match self.lookahead {
            Some(token) => Ok(token),
            None => Ok(*self.lookahead.insert(self.lexer.next_token()?)),
        }
    }

    fn take(&mut self) -> Result<Token, ParseError> {
        let token = self.peek()?;
        self.lookahead = None;
        self.last_end = token.end;
        Ok(token)
    }

    fn accept(&mut self, kind: TokenKind) -> Result<bool, ParseError> {
        let found = self.peek()?.kind == kind;
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn expect(&mut self, kind: TokenKind) -> Result<Token, ParseError> {
        if self.peek()?.kind == kind { self.take() } else { Err(self.unexpected()) }
    }

    fn word(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    fn error(&self, offset: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, offset, message)
    }

    /// The next token does not fit.
    fn unexpected(&mut self) -> ParseError {
        let context = self.contexts.last().copied().unwrap_or(Context { place: "", expected: "" });
        self.unexpected_in(context.place, context.expected)
    }

    fn unexpected_in(&mut self, place: &str, expected: &str) -> ParseError {
        let token = match self.peek() {
            Ok(token) => token,
            Err(error) => return error,
        };
        let mut message = format!("unexpected {}", token.describe(self.text));
        for (introduction, what) in [(" in ", place), (", expected ", expected)] {
            if !what.is_empty() {
                message.push_str(introduction);
                message.push_str(what);
            }
        }
        self.error(token.start, message)
    }

    fn enter(&mut self, place: &'static str, expected: &'static str) {
        self.contexts.push(Context { place, expected });
    }

    /// Goes on to the next part of the innermost context.
    fn proceed(&mut self, place: &'static str, expected: &'static str) {
        self.leave();
        self.enter(place, expected);
    }

    fn leave(&mut self) {
        self.contexts.pop();
    }

    /// Counts one recursion. An error ends the parse, so the way back need not be counted then.
    fn descend(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        self.check_depth(self.depth, NESTING_MAX)
    }

    fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// Notes that a node was built over trees of at most some height.
    fn grow(&mut self, height_below: usize) -> Result<(), ParseError> {
        self.height = height_below + 1;
        self.check_depth(self.height, DEPTH_MAX)
    }

    fn check_depth(&self, depth: usize, depth_max: usize) -> Result<(), ParseError> {
        if depth <= depth_max {
            return Ok(());
        }
        let message = format!("expression is nested deeper than the {depth_max} levels allowed, split it up");
        Err(self.error(self.last_end, message))
    }
}
