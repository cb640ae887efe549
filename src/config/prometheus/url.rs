//! URLs, of which passwords are not shown.

use std::fmt;

use crate::config::yaml::{Fault, Node, Read, Shown, fault_at};

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url(String);

impl Url {
    /// Of text that has been read as one.
    pub(super) fn unchecked(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before `://`, in lower case.
    pub(crate) fn scheme(&self) -> Option<String> {
        self.0.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())
    }

    /// What stands between `://` and the path.
    pub(crate) fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    /// With another word in place of a password.
    fn redacted(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return self.0.clone() };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        match authority.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                let name = user.split_once(':').map_or(user, |(name, _)| name);
                format!("{scheme}://{name}:xxxxx@{host}{path}")
            }
            _ => self.0.clone(),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Read for Url {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let (text, _) = String::read(node, path)?;
        if let Some(what) = not_a_url(&text) {
            return Err(fault_at(node, path, format!("{text:?} is not a URL: {what}")));
        }
        let url = Self(text);
        let shown = Shown::Text(url.redacted());
        Ok((url, shown))
    }
}

/// What Go's `net/url` refuses to parse at all, of what people write.
fn not_a_url(text: &str) -> Option<&'static str> {
    if text.starts_with("://") {
        return Some("the scheme in front of :// is missing");
    }
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Some("it holds a control character");
    }
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    // `1.2.3.4:80` is no scheme; `localhost:80` is taken for one.
    let is_odd = first.contains(':') && !text.contains("://") && !first.starts_with(|c: char| c.is_ascii_alphabetic());
    is_odd.then_some("its first part holds a colon and is no scheme")
}
