//! Label sets.
//!
//! A [`Labels`] is canonical: sorted by name, no name twice, no empty value (an empty value and an absent label are the same
//! thing in Prometheus). It is immutable and cheap to clone; change goes through [`LabelsBuilder`].

use std::{cmp::Ordering, fmt, hash, sync::Arc};

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// One label, borrowed from its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

/// A canonical label set.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    /// All names and values one after the other: name, value, name, value, ...
    text: Box<str>,
    /// Where each of them ends in `text`; even positions are names.
    ends: Box<[u32]>,
}

impl Labels {
    pub fn empty() -> Self {
        Self(Arc::new(Inner { text: Box::default(), ends: Box::default() }))
    }

    /// Builds a set from pairs in any order. The last of several values of a name wins; empty values are dropped.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs that are sorted by name already, without an empty value or a name twice.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = Label<'a>>) -> Self {
        let mut text = String::new();
        let mut ends = Vec::new();
        for Label { name, value } in pairs {
            text.push_str(name);
            ends.push(end(&text));
            text.push_str(value);
            ends.push(end(&text));
        }
        let labels = Self(Arc::new(Inner { text: text.into(), ends: ends.into() }));
        debug_assert!(labels.iter().zip(labels.iter().skip(1)).all(|(a, b)| a.name < b.name), "sorted, no name twice");
        labels
    }

    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The label at a position in name order.
    pub fn at(&self, index: usize) -> Label<'_> {
        Label { name: self.piece(index * 2), value: self.piece(index * 2 + 1) }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Label<'_>> {
        (0..self.len()).map(|index| self.at(index))
    }

    /// The value of a label; `None` when absent, which matchers treat as "".
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|label| label.name == name).map(|label| label.value)
    }

    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    fn piece(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.0.ends[index - 1] as usize };
        &self.0.text[start..self.0.ends[index] as usize]
    }
}

fn end(text: &str) -> u32 {
    u32::try_from(text.len()).expect("a label set is bounded far below 4 GiB by the request limit")
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.text == other.0.text && self.0.ends == other.0.ends)
    }
}

impl Eq for Labels {}

impl hash::Hash for Labels {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
        self.0.ends.hash(state);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus' order: label by label, name before value; a set that is a prefix of another comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As Prometheus prints a label set: `{a="1", b="2"}`, names quoted where they are not plain.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, Label { name, value }) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            if is_plain_label_name(name) {
                write!(f, "{separator}{name}={value:?}")?;
            } else {
                write!(f, "{separator}{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

/// Whether a name needs no quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_plain_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a metric name needs no quotes: as a label name, with colons.
pub fn is_plain_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Collects labels in any order and makes a canonical set of them.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    pub fn from_labels(labels: &Labels) -> Self {
        Self { pairs: labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect() }
    }

    /// Sets a label; an empty value deletes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match (self.position(name), value.is_empty()) {
            (Ok(at), true) => drop(self.pairs.remove(at)),
            (Ok(at), false) => value.clone_into(&mut self.pairs[at].1),
            (Err(_), true) => {}
            (Err(at), false) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).ok().map(|at| self.pairs[at].1.as_str())
    }

    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.pairs.iter().map(|(name, value)| Label { name, value }))
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(have, _)| have.as_str().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_canonical_whatever_the_order() {
        let one = Labels::from_pairs([("b", "2"), ("a", "1"), ("empty", "")]);
        let two = Labels::from_pairs([("a", "0"), ("a", "1"), ("b", "2")]);
        assert_eq!(one, two);
        assert_eq!(one.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(one.get("b"), Some("2"));
        assert_eq!(one.get("empty"), None);
    }

    #[test]
    fn order_is_label_by_label() {
        let short = Labels::from_pairs([("a", "1")]);
        let long = Labels::from_pairs([("a", "1"), ("b", "1")]);
        let other = Labels::from_pairs([("a", "2")]);
        assert!(short < long && long < other && Labels::empty() < short);
    }

    #[test]
    fn equal_text_with_other_borders_is_another_set() {
        assert_ne!(Labels::from_pairs([("ab", "c")]), Labels::from_pairs([("a", "bc")]));
    }
}
