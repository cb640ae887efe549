//! Tokens, and how messages call them.

use super::quote::quote;
use crate::ast::{AggregateOp, BinaryOp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    End,
    Identifier,
    /// An identifier with a colon in it.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    MatchRegex,
    /// `!~`
    MatchNotRegex,
    At,
    Binary(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

/// Words with a meaning of their own in some place. Elsewhere most of them are names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Anchored,
    Smoothed,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Words that stand for a value of the query itself when a parenthesis follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// What the token is called after "unexpected".
    pub(super) fn describe(self, text: &str) -> String {
        let word = &text[self.start..self.end];
        match self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {}", quote(word)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quote(word)),
            TokenKind::Number => format!("number {}", shortened(word)),
            TokenKind::Duration => format!("duration {}", shortened(word)),
            TokenKind::String => format!("string {}", shortened(word)),
            TokenKind::Keyword(_) => format!("<{word}>"),
            TokenKind::Aggregate(_) => format!("<aggr:{word}>"),
            TokenKind::Binary(_) | TokenKind::At | TokenKind::MatchRegex | TokenKind::MatchNotRegex => {
                format!("<op:{word}>")
            }
            _ => shortened(word),
        }
    }
}

/// Quoted, and cut to ten characters if there are more than ten bytes.
fn shortened(word: &str) -> String {
    if word.len() > 10 { format!("{}...", quote(&word.chars().take(10).collect::<String>())) } else { quote(word) }
}

/// The meaning of a word outside of braces. Case does not matter.
pub(super) fn keyword(word: &str) -> Option<TokenKind> {
    use TokenKind::{Binary, Number};
    let lower = word.to_ascii_lowercase();
    let kind = match lower.as_str() {
        "and" => Binary(BinaryOp::And),
        "or" => Binary(BinaryOp::Or),
        "unless" => Binary(BinaryOp::Unless),
        "atan2" => Binary(BinaryOp::Atan2),
        "offset" => TokenKind::Keyword(Keyword::Offset),
        "anchored" => TokenKind::Keyword(Keyword::Anchored),
        "smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        "by" => TokenKind::Keyword(Keyword::By),
        "without" => TokenKind::Keyword(Keyword::Without),
        "on" => TokenKind::Keyword(Keyword::On),
        "ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        "group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        "group_right" => TokenKind::Keyword(Keyword::GroupRight),
        "fill" => TokenKind::Keyword(Keyword::Fill),
        "fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        "fill_right" => TokenKind::Keyword(Keyword::FillRight),
        "bool" => TokenKind::Keyword(Keyword::Bool),
        "inf" | "nan" => Number,
        other => return preprocessor(other).or_else(|| aggregate(other)),
    };
    Some(kind)
}

/// The words allowed in a duration expression.
pub(super) fn duration_keyword(word: &str) -> Option<TokenKind> {
    match preprocessor(&word.to_ascii_lowercase()) {
        Some(TokenKind::Preprocessor(Preprocessor::Start | Preprocessor::End)) => None,
        other => other,
    }
}

fn preprocessor(lower: &str) -> Option<TokenKind> {
    let kind = match lower {
        "start" => Preprocessor::Start,
        "end" => Preprocessor::End,
        "step" => Preprocessor::Step,
        "range" => Preprocessor::Range,
        "min_of" => Preprocessor::MinOf,
        "max_of" => Preprocessor::MaxOf,
        _ => return None,
    };
    Some(TokenKind::Preprocessor(kind))
}

fn aggregate(lower: &str) -> Option<TokenKind> {
    AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower).map(TokenKind::Aggregate)
}
