//! Headers on a command line.

use hyper::header::{HeaderName, HeaderValue};

/// `Name: value`; `None` if it is no header.
pub(crate) fn parse(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}
