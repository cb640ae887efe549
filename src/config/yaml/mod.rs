//! YAML files of settings, read by hand: a tree that knows the place of everything, from which sections take their keys one by one.
//!
//! So every mistake is said with its line and its key, whether it concerns one value or several, an unknown key is answered with the
//! nearest one that the section asked for, and what is in effect, defaults included and secrets left out, is known from the reading
//! itself.

mod load;
mod read;
mod shown;
mod values;

pub(crate) use load::{load, load_first};
pub(crate) use read::{Keys, Read, Section, fault_at, section_by};
pub(crate) use shown::Shown;
pub(crate) use values::Secret;

/// Where something stands in the file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    /// Its text; quoted or in a block it is text whatever it looks like.
    Scalar {
        text: String,
        is_plain: bool,
    },
    Sequence(Vec<Node>),
    /// In the order of the file, no key twice.
    Mapping(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Node {
    /// What stands there, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a section of keys",
        }
    }
}

#[cfg(test)]
mod tests;
