//! Text to tokens.
//!
//! What a character means depends on where it stands: inside braces every word is a name, inside brackets a word is part of a
//! duration. The lexer therefore keeps track of the open brackets itself, and reports the ones that stay open.

use super::{
    ParseError,
    quote::{quote, quote_char, unicode_name},
    token::{Keyword, Token, TokenKind, duration_keyword, keyword},
};
use crate::ast::BinaryOp;

#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
    /// Where the token being read began.
    start: usize,
    parens_open: usize,
    brace_open: bool,
    bracket: Bracket,
}

/// Where between `[` and `]` the lexer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Closed,
    /// No number was read yet. `behind_call`: what was read ends with `)`, as in `step()`, so that a colon may come.
    Beginning {
        behind_call: bool,
    },
    /// `colon`: the one of a subquery was seen.
    Inside {
        colon: bool,
    },
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0, start: 0, parens_open: 0, brace_open: false, bracket: Bracket::Closed }
    }

    pub(super) fn next_token(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        self.start = self.position;
        let kind = match self.bracket {
            _ if self.brace_open => self.inside_braces()?,
            Bracket::Beginning { behind_call } => self.duration_beginning(behind_call)?,
            Bracket::Closed | Bracket::Inside { .. } => self.statement()?,
        };
        Ok(Token { kind, start: self.start, end: self.position })
    }

    /// Whether the next character that is no blank opens a parenthesis.
    fn paren_follows(&self) -> bool {
        self.text[self.position..].trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(')
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\n' | '\r') => self.position += 1,
                Some('#') if !matches!(self.bracket, Bracket::Beginning { .. }) => {
                    let rest = &self.text[self.position..];
                    self.position += rest.find(['\n', '\r']).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn statement(&mut self) -> Result<TokenKind, ParseError> {
        let Some(c) = self.bump() else { return self.end() };
        match c {
            '=' | '!' | '<' | '>' => self.comparison(c),
            '{' => {
                self.brace_open = true;
                Ok(TokenKind::LeftBrace)
            }
            '[' => self.open_bracket(),
            ']' => self.close_bracket(),
            '@' => Ok(TokenKind::At),
            '0'..='9' => self.number_or_duration(),
            '.' if self.digit_follows() => self.number_or_duration(),
            '"' | '\'' | '`' => self.string(c),
            ':' | '_' | 'a'..='z' | 'A'..='Z' => match self.bracket {
                Bracket::Inside { colon } => self.word_in_bracket(c, colon),
                _ => Ok(self.word()),
            },
            _ => match self.punctuation(c)? {
                Some(kind) => Ok(kind),
                None => Err(self.error(format!("unexpected character: {}", quote_char(Some(c))))),
            },
        }
    }

    /// What means the same everywhere outside of braces: parentheses, the comma, arithmetic.
    fn punctuation(&mut self, c: char) -> Result<Option<TokenKind>, ParseError> {
        let kind = match c {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Binary(BinaryOp::Mul),
            '/' => TokenKind::Binary(BinaryOp::Div),
            '%' => TokenKind::Binary(BinaryOp::Mod),
            '+' => TokenKind::Binary(BinaryOp::Add),
            '-' => TokenKind::Binary(BinaryOp::Sub),
            '^' => TokenKind::Binary(BinaryOp::Pow),
            '(' => {
                self.parens_open += 1;
                TokenKind::LeftParen
            }
            ')' => {
                let Some(open) = self.parens_open.checked_sub(1) else {
                    self.start = self.position;
                    return Err(self.error(format!("unexpected right parenthesis {}", quote_char(Some(c)))));
                };
                self.parens_open = open;
                TokenKind::RightParen
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn comparison(&mut self, c: char) -> Result<TokenKind, ParseError> {
        let op = match (c, self.peek()) {
            ('=', Some('=')) => BinaryOp::Equal,
            ('=', Some('~')) => {
                return Err(self.error(format!("unexpected character after '=': {}", quote_char(Some('~')))));
            }
            ('=', _) => return Ok(TokenKind::Assign),
            ('!', Some('=')) => BinaryOp::NotEqual,
            ('!', other) => {
                return Err(self.error(format!("unexpected character after '!': {}", quote_char(other))));
            }
            ('<', Some('=')) => BinaryOp::LessOrEqual,
            ('<', Some('/')) => BinaryOp::TrimUpper,
            ('<', _) => return Ok(TokenKind::Binary(BinaryOp::Less)),
            (_, Some('=')) => BinaryOp::GreaterOrEqual,
            (_, Some('/')) => BinaryOp::TrimLower,
            _ => return Ok(TokenKind::Binary(BinaryOp::Greater)),
        };
        self.position += 1;
        Ok(TokenKind::Binary(op))
    }

    fn end(&self) -> Result<TokenKind, ParseError> {
        match (self.parens_open, self.bracket) {
            (0, Bracket::Closed) => Ok(TokenKind::End),
            (0, _) => Err(self.error("unclosed left bracket")),
            _ => Err(self.error("unclosed left parenthesis")),
        }
    }

    /// A keyword, a function or a metric name. The first character is read.
    fn word(&mut self) -> TokenKind {
        self.skip_while(|c| is_alphanumeric(c) || c == ':');
        let word = &self.text[self.start..self.position];
        match keyword(word) {
            // These three came late to the language: they stay names wherever a modifier makes no sense.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.paren_follows() =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    fn inside_braces(&mut self) -> Result<TokenKind, ParseError> {
        let Some(c) = self.bump() else { return Err(self.error("unexpected end of input inside braces")) };
        match c {
            '_' | 'a'..='z' | 'A'..='Z' => {
                self.skip_while(is_alphanumeric);
                Ok(TokenKind::Identifier)
            }
            ',' => Ok(TokenKind::Comma),
            '"' | '\'' | '`' => self.string(c),
            '=' => Ok(if self.accept('~') { TokenKind::MatchRegex } else { TokenKind::Assign }),
            '!' if self.accept('~') => Ok(TokenKind::MatchNotRegex),
            '!' if self.accept('=') => Ok(TokenKind::Binary(BinaryOp::NotEqual)),
            '!' => {
                let next = quote_char(self.peek());
                Err(self.error(format!("unexpected character after '!' inside braces: {next}")))
            }
            '{' => Err(self.error(format!("unexpected left brace {}", quote_char(Some(c))))),
            '}' => {
                self.brace_open = false;
                Ok(TokenKind::RightBrace)
            }
            _ => Err(self.error(format!("unexpected character inside braces: {}", quote_char(Some(c))))),
        }
    }

    fn open_bracket(&mut self) -> Result<TokenKind, ParseError> {
        if self.bracket != Bracket::Closed {
            return Err(self.error(format!("unexpected left bracket {}", quote_char(Some('[')))));
        }
        self.bracket = Bracket::Beginning { behind_call: false };
        Ok(TokenKind::LeftBracket)
    }

    fn close_bracket(&mut self) -> Result<TokenKind, ParseError> {
        if self.bracket == Bracket::Closed {
            return Err(self.error(format!("unexpected right bracket {}", quote_char(Some(']')))));
        }
        self.bracket = Bracket::Closed;
        Ok(TokenKind::RightBracket)
    }

    fn duration_beginning(&mut self, behind_call: bool) -> Result<TokenKind, ParseError> {
        let Some(c) = self.bump() else {
            return Err(self.error("unexpected end of input in duration expression"));
        };
        match c {
            ']' => self.close_bracket(),
            ':' if behind_call => Ok(self.colon()),
            ':' => {
                self.start = self.position;
                Err(self.error("unexpected colon before duration in duration expression"))
            }
            '0'..='9' => self.first_number(),
            '.' if self.digit_follows() => self.first_number(),
            _ => {
                self.bracket = Bracket::Beginning { behind_call: c == ')' };
                let kind = match self.punctuation(c)? {
                    None => self.duration_word(c),
                    some => some,
                };
                kind.ok_or_else(|| {
                    self.error(format!("unexpected character in duration expression: {}", quote_char(Some(c))))
                })
            }
        }
    }

    fn first_number(&mut self) -> Result<TokenKind, ParseError> {
        self.bracket = Bracket::Inside { colon: false };
        self.number_or_duration()
    }

    fn colon(&mut self) -> TokenKind {
        self.bracket = Bracket::Inside { colon: true };
        TokenKind::Colon
    }

    fn word_in_bracket(&mut self, c: char, colon: bool) -> Result<TokenKind, ParseError> {
        match c {
            ':' if colon => Err(self.error(format!("unexpected colon {}", quote_char(Some(c))))),
            ':' => Ok(self.colon()),
            _ => self
                .duration_word(c)
                .ok_or_else(|| self.error(format!("unexpected character: {}, expected ':'", quote_char(Some(c))))),
        }
    }

    /// `step`, `range`, `min_of`, `max_of`; leaves the position alone if it is none of them.
    fn duration_word(&mut self, first: char) -> Option<TokenKind> {
        let after_first = self.position;
        if is_alphanumeric(first) {
            self.skip_while(is_alphanumeric);
        }
        let kind = duration_keyword(&self.text[self.start..self.position]);
        if kind.is_none() {
            self.position = after_first;
        }
        kind
    }

    /// A number, or if a unit follows, a duration. The first character is read.
    fn number_or_duration(&mut self) -> Result<TokenKind, ParseError> {
        self.position = self.start;
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_duration() {
            return Ok(TokenKind::Duration);
        }
        let read = quote(&self.text[self.start..self.position]);
        Err(self.error(format!("bad number or duration syntax: {read}")))
    }

    /// Reads what looks like a number; whether it is one, the parser finds out. `false`: it stopped where a number can't.
    fn scan_number(&mut self) -> bool {
        let is_hex = self.accept('0') && self.accept_any("xX");
        if is_hex {
            self.accept('_');
        }
        let is_digit = |c: char| if is_hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.accept('.');
        let (mut point, mut exponent) = (false, false);
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.position += 1;
                    if point || is_hex || self.accept_any("_.") {
                        return false;
                    }
                    point = true;
                }
                'e' | 'E' if !is_hex => {
                    self.position += 1;
                    if exponent {
                        return false;
                    }
                    exponent = true;
                    self.accept_any("+-");
                    if self.accept_any("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.position += 1;
                    if self.accept_any("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                _ if is_digit(c) => self.skip_while(is_digit),
                _ => return !is_alphanumeric(c),
            }
        }
        true
    }

    /// Reads the rest of a duration, from its first unit on. Which units in which order, the parser finds out.
    fn scan_duration(&mut self) -> bool {
        if !self.accept_any("smhdwy") {
            return false;
        }
        self.accept('s');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.skip_while(|c| c.is_ascii_digit());
            if !self.accept_any("smhdw") {
                return false;
            }
            self.accept('s');
        }
        let ends_here = !self.peek().is_some_and(is_alphanumeric);
        if !ends_here {
            self.position += 1;
        }
        ends_here
    }

    /// A quoted string with its quotes. The opening quote is read.
    fn string(&mut self, quote: char) -> Result<TokenKind, ParseError> {
        loop {
            match self.bump() {
                Some(c) if c == quote => return Ok(TokenKind::String),
                Some(char::REPLACEMENT_CHARACTER) => return Err(self.error("invalid UTF-8 rune")),
                None if quote == '`' => return Err(self.error("unterminated raw string")),
                None | Some('\n') if quote != '`' => return Err(self.error("unterminated quoted string")),
                Some('\\') if quote != '`' => self.escape(quote)?,
                _ => {}
            }
        }
    }

    /// Checks one escape sequence. The backslash is read.
    fn escape(&mut self, quote: char) -> Result<(), ParseError> {
        let (digits, base) = match self.bump() {
            None => return Err(self.error("escape sequence not terminated")),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.position -= 1;
                (3, 8)
            }
            Some('x') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some(c) => return Err(self.error(format!("unknown escape sequence {}", unicode_name(c)))),
        };
        let mut code = 0;
        for _ in 0..digits {
            let Some(c) = self.bump() else { return Err(self.error("escape sequence not terminated")) };
            let Some(digit) = c.to_digit(base) else {
                return Err(self.error(format!("illegal character {} in escape sequence", unicode_name(c))));
            };
            code = code * base + digit;
        }
        let fits = if digits < 4 { code <= 0xff } else { char::from_u32(code).is_some() };
        if fits { Ok(()) } else { Err(self.error("escape sequence is an invalid Unicode code point")) }
    }

    fn digit_follows(&self) -> bool {
        self.peek().is_some_and(|c| c.is_ascii_digit())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    /// Reads one of some ASCII characters.
    fn accept_any(&mut self, wanted: &str) -> bool {
        let found = self.peek().is_some_and(|c| wanted.contains(c));
        if found {
            self.position += 1;
        }
        found
    }

    fn skip_while(&mut self, mut wanted: impl FnMut(char) -> bool) {
        while self.peek().is_some_and(&mut wanted) {
            self.bump();
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, self.start, message)
    }
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
