//! Go's `text/template`, the language of labels and annotations of alerts and of notifications: from text to a tree.
//!
//! Grammar: <https://pkg.go.dev/text/template>, as of Go 1.24. What is refused here is what Go refuses when it parses; what a value turns
//! out to be, and so whether it has a field or can be called, is known only when a template is executed.

mod lexer;
mod literal;
mod parser;
pub mod tree;

pub use parser::{ParseError, parse};
pub use tree::Template;
