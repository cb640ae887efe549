//! Label matchers, with Prometheus' meaning: an absent label matches as "", regular expressions are anchored and dot-all.

use std::fmt;

use regex::Regex;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Present exactly for the two regular-expression operators.
    regex: Option<Regex>,
}

/// A regular expression that does not compile, or grows past the bound.
#[derive(Clone, Debug)]
pub struct MatcherError {
    pub pattern: String,
    pub reason: String,
}

impl fmt::Display for MatcherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp {:?}: {}", self.pattern, self.reason)
    }
}

impl std::error::Error for MatcherError {}

/// Bound on one compiled expression, so that a query can't spend the memory of the process on a pattern.
const REGEX_BYTES_MAX: usize = 10 << 20;

impl Matcher {
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored(&value)?),
        };
        Ok(Self { name, op, value, regex })
    }

    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text to compare with, or the pattern as it was written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label value (or "" for an absent label) satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => self.value == value,
            (MatchOp::NotEqual, _) => self.value != value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => unreachable!("made together with its regex"),
        }
    }

    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

fn anchored(pattern: &str) -> Result<Regex, MatcherError> {
    regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| MatcherError { pattern: pattern.to_owned(), reason: error.to_string() })
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if crate::labels::is_plain_label_name(&self.name) {
            write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
        } else {
            write!(f, "{:?}{}{:?}", self.name, self.op.as_str(), self.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_are_anchored_and_dot_all() {
        let matcher = Matcher::new(MatchOp::Regex, "a", "b|c.*").expect("a valid pattern");
        assert!(matcher.matches("b") && matcher.matches("c\nd"));
        assert!(!matcher.matches("xb") && !matcher.matches("bx"));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Matcher::new(MatchOp::Regex, "a", "(").expect_err("an open group");
        assert!(error.to_string().contains("\"(\""), "{error}");
    }
}
