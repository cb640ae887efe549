//! Text to tokens. Text outside of actions is trimmed here, and comments go.

use std::ops::Range;

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const COMMENT: (&str, &str) = ("/*", "*/");
/// A dash with the space that has to stand between it and the action's content.
const TRIM_MARKER_BYTES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Left,
    Right,
    Space,
    /// Something printable that has no meaning but perhaps as a comma.
    Char,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    Quoted,
    Raw,
    CharConstant,
    Number,
    Complex,
    Bool,
    Identifier,
    /// A dot and a name.
    Field,
    /// A dollar sign and perhaps a name.
    Variable,
    Dot,
    Nil,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
    /// The text ends.
    Eof,
    /// The text makes no sense from here on; nothing follows.
    Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Where it stands in the text.
    pub(crate) place: Range<usize>,
}

/// The tokens of a text, the last of which is [`Kind::Eof`] or [`Kind::Fault`], and what the fault is.
pub(crate) fn tokens(text: &str) -> (Vec<Token>, String) {
    let mut lexer = Lexer { text, start: 0, at: 0, depth: 0, tokens: Vec::new() };
    let fault = lexer.run().err().unwrap_or_default();
    let kind = if fault.is_empty() { Kind::Eof } else { Kind::Fault };
    let end = lexer.at.min(text.len());
    lexer.tokens.push(Token { kind, place: lexer.start.min(end)..end });
    (lexer.tokens, fault)
}

struct Lexer<'a> {
    text: &'a str,
    /// Of the token that is being read.
    start: usize,
    at: usize,
    /// Open parentheses of the action.
    depth: usize,
    tokens: Vec<Token>,
}

type Step = Result<(), String>;

impl Lexer<'_> {
    fn run(&mut self) -> Step {
        while self.at < self.text.len() {
            let Some(length) = self.rest().find(LEFT) else {
                self.at = self.text.len();
                self.push(Kind::Text);
                break;
            };
            let left = self.at + length;
            self.at = left;
            if has_left_trim_marker(&self.text[left + LEFT.len()..]) {
                self.at = self.start + self.text[self.start..left].trim_end_matches(is_space).len();
            }
            if self.at > self.start {
                self.push(Kind::Text);
            }
            (self.start, self.at) = (left, left);
            self.action()?;
        }
        Ok(())
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, place: self.start..self.at });
        self.start = self.at;
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_while(&mut self, is_wanted: impl Fn(char) -> bool) {
        self.at += self.rest().len() - self.rest().trim_start_matches(is_wanted).len();
    }

    /// From the left delimiter to behind the right one.
    fn action(&mut self) -> Step {
        self.at += LEFT.len();
        let marker = if has_left_trim_marker(self.rest()) { TRIM_MARKER_BYTES } else { 0 };
        if self.rest()[marker..].starts_with(COMMENT.0) {
            self.at += marker + COMMENT.0.len();
            return self.comment();
        }
        self.push(Kind::Left);
        self.at += marker;
        self.start = self.at;
        self.depth = 0;
        loop {
            match self.right_delimiter() {
                Some(_) if self.depth > 0 => return Err("a parenthesis is not closed".to_owned()),
                Some(trims) => return self.leave_action(trims, Kind::Right),
                None => self.token()?,
            }
        }
    }

    fn comment(&mut self) -> Step {
        let end = self.rest().find(COMMENT.1).ok_or("a comment is not closed by */")?;
        self.at += end + COMMENT.1.len();
        match self.right_delimiter() {
            None => Err("a comment must be all of its action: }} has to follow */".to_owned()),
            Some(trims) => {
                self.skip_right(trims);
                Ok(())
            }
        }
    }

    /// Whether a right delimiter stands here, and if so whether it trims what follows.
    fn right_delimiter(&self) -> Option<bool> {
        let rest = self.rest();
        let after_marker = rest.strip_prefix(is_space).and_then(|rest| rest.strip_prefix('-'));
        if after_marker.is_some_and(|rest| rest.starts_with(RIGHT)) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn leave_action(&mut self, trims: bool, kind: Kind) -> Step {
        let from = self.at + if trims { TRIM_MARKER_BYTES } else { 0 };
        self.tokens.push(Token { kind, place: from..from + RIGHT.len() });
        self.skip_right(trims);
        Ok(())
    }

    fn skip_right(&mut self, trims: bool) {
        self.at += RIGHT.len() + if trims { TRIM_MARKER_BYTES } else { 0 };
        if trims {
            self.skip_while(is_space);
        }
        self.start = self.at;
    }

    fn token(&mut self) -> Step {
        let Some(first) = self.next() else { return Err("an action is not closed by }}".to_owned()) };
        match first {
            _ if is_space(first) => self.space(),
            '=' => self.push(Kind::Assign),
            ':' if self.peek() == Some('=') => {
                self.at += 1;
                self.push(Kind::Declare);
            }
            ':' => return Err("a colon stands for nothing but in :=".to_owned()),
            '|' => self.push(Kind::Pipe),
            '"' => return self.quoted('"', Kind::Quoted, "a string is not closed in its line"),
            '\'' => return self.quoted('\'', Kind::CharConstant, "a character is not closed in its line"),
            '`' => return self.raw(),
            '$' => return self.name(Kind::Variable),
            '.' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => return self.name(Kind::Field),
            '.' | '+' | '-' | '0'..='9' => {
                self.at = self.start;
                return self.number();
            }
            '(' => {
                self.depth += 1;
                self.push(Kind::LeftParen);
            }
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("a parenthesis is closed that was not opened")?;
                self.push(Kind::RightParen);
            }
            _ if is_alphanumeric(first) => return self.word(),
            ' '..='~' => self.push(Kind::Char),
            _ => return Err(format!("{first:?} has no meaning in an action")),
        }
        Ok(())
    }

    /// Spaces, but not the one that belongs to a trim marker.
    fn space(&mut self) {
        self.skip_while(is_space);
        self.at -= 1;
        if self.right_delimiter() != Some(true) {
            self.at += 1;
        }
        if self.at > self.start {
            self.push(Kind::Space);
        }
    }

    fn quoted(&mut self, quote: char, kind: Kind, unclosed: &str) -> Step {
        loop {
            match self.next() {
                None | Some('\n') => return Err(unclosed.to_owned()),
                Some('\\') if matches!(self.next(), None | Some('\n')) => return Err(unclosed.to_owned()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.push(kind);
        Ok(())
    }

    fn raw(&mut self) -> Step {
        let length = self.rest().find('`').ok_or("a raw string is not closed")?;
        self.at += length + 1;
        self.push(Kind::Raw);
        Ok(())
    }

    /// A field or a variable, or what introduces one alone.
    fn name(&mut self, kind: Kind) -> Step {
        self.skip_while(is_alphanumeric);
        self.check_end()?;
        let is_dot = kind == Kind::Field && self.at == self.start + 1;
        self.push(if is_dot { Kind::Dot } else { kind });
        Ok(())
    }

    fn word(&mut self) -> Step {
        self.skip_while(is_alphanumeric);
        self.check_end()?;
        let kind = match &self.text[self.start..self.at] {
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::End,
            "if" => Kind::If,
            "nil" => Kind::Nil,
            "range" => Kind::Range,
            "template" => Kind::Template,
            "with" => Kind::With,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.push(kind);
        Ok(())
    }

    /// Whether a name can end here.
    fn check_end(&self) -> Step {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(c) if is_space(c) || self.rest().starts_with(RIGHT) => Ok(()),
            Some(c) => Err(format!("{c:?} can't be part of a name")),
        }
    }

    fn number(&mut self) -> Step {
        let is_sound = self.scan_number();
        let is_complex = is_sound && matches!(self.peek(), Some('+' | '-'));
        if !is_sound || is_complex && !(self.scan_number() && self.text[..self.at].ends_with('i')) {
            return Err(format!("{:?} is not a number", &self.text[self.start..self.at]));
        }
        self.push(if is_complex { Kind::Complex } else { Kind::Number });
        Ok(())
    }

    /// Passes what looks like a number; false if it goes on as a name.
    fn scan_number(&mut self) -> bool {
        self.accept(&['+', '-']);
        let mut base = 10;
        if self.accept(&['0']) {
            base = match self.peek() {
                Some('x' | 'X') => 16,
                Some('o' | 'O') => 8,
                Some('b' | 'B') => 2,
                _ => 10,
            };
            self.at += usize::from(base != 10);
        }
        self.skip_digits(base);
        if self.accept(&['.']) {
            self.skip_digits(base);
        }
        let has_exponent = base == 10 && self.accept(&['e', 'E']) || base == 16 && self.accept(&['p', 'P']);
        if has_exponent {
            self.accept(&['+', '-']);
            self.skip_digits(10);
        }
        self.accept(&['i']);
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }

    fn skip_digits(&mut self, base: u32) {
        self.skip_while(|c| c == '_' || c.is_digit(base));
    }

    fn accept(&mut self, wanted: &[char]) -> bool {
        let is_there = self.peek().is_some_and(|c| wanted.contains(&c));
        self.at += usize::from(is_there);
        is_there
    }
}

fn has_left_trim_marker(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
