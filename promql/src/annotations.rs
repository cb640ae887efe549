//! Warnings and infos: what a user should know about a result that is no error.

use std::{collections::BTreeSet, fmt};

use crate::ast::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Warning,
    Info,
}

/// One remark, with its position in the query's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    pub level: Level,
    /// As Prometheus shows it: `PromQL warning: ... (1:5)`.
    pub text: String,
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Bound on distinct remarks, since texts can hold label values.
const ANNOTATIONS_MAX: usize = 200;

/// Collects remarks; each text and position once.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    found: BTreeSet<(Level, String, usize)>,
}

impl Annotations {
    pub(crate) fn warn(&mut self, span: Span, text: impl Into<String>) {
        self.add(Level::Warning, span, text.into());
    }

    pub(crate) fn info(&mut self, span: Span, text: impl Into<String>) {
        self.add(Level::Info, span, text.into());
    }

    fn add(&mut self, level: Level, span: Span, text: String) {
        if self.found.len() < ANNOTATIONS_MAX {
            self.found.insert((level, text, span.start));
        }
    }

    /// All remarks, warnings first, with line and column in the query's text.
    pub(crate) fn finish(&self, query: &str) -> Vec<Annotation> {
        let render = |(level, text, offset): &(Level, String, usize)| {
            let word = match level {
                Level::Warning => "warning",
                Level::Info => "info",
            };
            let (line, column) = line_and_column(query, *offset);
            Annotation { level: *level, text: format!("PromQL {word}: {text} ({line}:{column})") }
        };
        self.found.iter().map(render).collect()
    }
}

/// Both from 1; the column counts bytes, as Prometheus does.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// Texts that more than one place needs.
pub(crate) fn invalid_quantile(value: f64) -> String {
    format!("quantile value should be between 0 and 1, got {}", crate::value_text::general(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_kept_once_and_says_where() {
        let mut annotations = Annotations::default();
        annotations.info(Span { start: 8, end: 9 }, "look");
        annotations.info(Span { start: 8, end: 9 }, "look");
        annotations.warn(Span::default(), "careful");
        let texts: Vec<_> = annotations.finish("line1\n  x").into_iter().map(|annotation| annotation.text).collect();
        assert_eq!(texts, ["PromQL warning: careful (1:1)", "PromQL info: look (2:3)"]);
    }
}
