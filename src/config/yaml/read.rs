//! Taking a tree apart, with the path of keys that led to each value.

use super::{Fault, Node, Place, Shown, Value};
use crate::config::nearest;

/// A type that can stand in a file.
pub(crate) trait Read: Sized {
    /// `path` is the way to the node, as `global.scrape_interval`.
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault>;
}

/// A type that is a section of keys.
pub(crate) trait Section: Sized {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault>;
}

/// What is wrong with the value at a path.
pub(crate) fn fault_at(node: &Node, path: &str, what: impl std::fmt::Display) -> Fault {
    Fault::new(node.place, format!("{path}: {what}"))
}

/// The keys of a section, from which a reader takes those that it knows.
pub(crate) struct Keys<'n> {
    place: Place,
    path: String,
    entries: Vec<Entry<'n>>,
    asked: Vec<&'static str>,
    shown: Vec<(String, Shown)>,
}

struct Entry<'n> {
    place: Place,
    name: &'n str,
    node: &'n Node,
    is_taken: bool,
}

impl<T: Section> Read for T {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        section_by(node, path, T::take)
    }
}

/// A section of keys; nothing at all is one without keys.
pub(crate) fn section_by<T>(
    node: &Node,
    path: &str,
    take: impl FnOnce(&mut Keys<'_>) -> Result<T, Fault>,
) -> Result<(T, Shown), Fault> {
    let entries = match &node.value {
        Value::Mapping(entries) => entries.as_slice(),
        Value::Null => &[],
        _ => return Err(fault_at(node, path, format!("{} stands where a section of keys should", node.kind()))),
    };
    let mut keys = Keys {
        place: node.place,
        path: path.to_owned(),
        entries: entries
            .iter()
            .map(|(key, node)| Entry { place: key.place, name: &key.name, node, is_taken: false })
            .collect(),
        asked: Vec::new(),
        shown: Vec::new(),
    };
    let section = take(&mut keys)?;
    keys.end()?;
    Ok((section, Shown::Mapping(keys.shown)))
}

impl<'n> Keys<'n> {
    /// The value of a key, if it is there and not null.
    pub(crate) fn get<T: Read>(&mut self, name: &'static str) -> Result<Option<T>, Fault> {
        let Some(node) = self.node(name) else { return Ok(None) };
        let (value, shown) = T::read(node, &self.path_of(name))?;
        self.shown.push((name.to_owned(), shown));
        Ok(Some(value))
    }

    /// The value of a key, or what the default reads as.
    pub(crate) fn or<T: Read>(&mut self, name: &'static str, default: &str) -> Result<T, Fault> {
        if let Some(value) = self.get(name)? {
            return Ok(value);
        }
        let node = Node { place: self.place, value: Value::Scalar { text: default.to_owned(), is_plain: true } };
        let (value, shown) = T::read(&node, &self.path_of(name))?;
        self.shown.push((name.to_owned(), shown));
        Ok(value)
    }

    /// The value of a key, or one of which nothing is shown.
    pub(crate) fn or_default<T: Read + Default>(&mut self, name: &'static str) -> Result<T, Fault> {
        Ok(self.get(name)?.unwrap_or_default())
    }

    /// The section of a key with its defaults, whether it is there or not.
    pub(crate) fn section_or_defaults<T: Section>(&mut self, name: &'static str) -> Result<T, Fault> {
        if let Some(section) = self.get(name)? {
            return Ok(section);
        }
        let nothing = Node { place: self.place, value: Value::Null };
        let (section, shown) = section_by(&nothing, &self.path_of(name), T::take)?;
        self.shown.push((name.to_owned(), shown));
        Ok(section)
    }

    /// The section of a key, read by a function that knows more than the key's type; `None` if it is not there.
    pub(crate) fn section_by<T>(
        &mut self,
        name: &'static str,
        take: impl FnOnce(&mut Keys<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(node) = self.node(name) else { return Ok(None) };
        let (section, shown) = section_by(node, &self.path_of(name), take)?;
        self.shown.push((name.to_owned(), shown));
        Ok(Some(section))
    }

    /// The sections of a key's list, read by a function.
    pub(crate) fn sections<T>(
        &mut self,
        name: &'static str,
        take: impl Fn(&mut Keys<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let Some(node) = self.node(name) else { return Ok(Vec::new()) };
        let path = self.path_of(name);
        let Value::Sequence(items) = &node.value else {
            return Err(fault_at(node, &path, format!("{} stands where a list should", node.kind())));
        };
        let read = items.iter().enumerate().map(|(at, item)| section_by(item, &format!("{path}[{at}]"), &take));
        let (sections, shown) = read.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        self.shown.push((name.to_owned(), Shown::Sequence(shown)));
        Ok(sections)
    }

    /// Refuses a list in which an entry says nothing.
    pub(crate) fn no_empty_entries(&self, name: &str) -> Result<(), Fault> {
        let list = self.entries.iter().find(|entry| entry.name == name).map(|entry| &entry.node.value);
        let Some(Value::Sequence(items)) = list else { return Ok(()) };
        match items.iter().position(|item| matches!(item.value, Value::Null)) {
            Some(at) => Err(Fault::new(items[at].place, format!("{}[{at}]: an empty entry", self.path_of(name)))),
            None => Ok(()),
        }
    }

    /// Whether the section has no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key that has to be there.
    pub(crate) fn required<T: Read>(&mut self, name: &'static str) -> Result<T, Fault> {
        self.get(name)?.ok_or_else(|| Fault::new(self.place, format!("{}: {name} is missing", self.shown_path())))
    }

    /// Whether a key is there, with a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name && !matches!(entry.node.value, Value::Null))
    }

    /// The text of a key's value, if it is a single one.
    pub(crate) fn text(&self, name: &str) -> Option<&'n str> {
        match &self.entries.iter().find(|entry| entry.name == name)?.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What is wrong with a key's value, or with the section if the key is not there.
    pub(crate) fn fault(&self, name: &str, what: impl std::fmt::Display) -> Fault {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => Fault::new(entry.place, format!("{}: {what}", self.path_of(name))),
            None => Fault::new(self.place, format!("{}: {what}", self.shown_path())),
        }
    }

    /// Of these keys at most one may be there.
    pub(crate) fn at_most_one_of(&self, names: &[&str]) -> Result<(), Fault> {
        let there: Vec<_> = names.iter().filter(|name| self.has(name)).collect();
        match there.as_slice() {
            [] | [_] => Ok(()),
            [first, second, ..] => Err(self.fault(second, format!("at most one of {first} and {second} may be there"))),
        }
    }

    fn node(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        let entry = self.entries.iter_mut().find(|entry| entry.name == name)?;
        entry.is_taken = true;
        (!matches!(entry.node.value, Value::Null)).then_some(entry.node)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn shown_path(&self) -> &str {
        if self.path.is_empty() { "the file" } else { &self.path }
    }

    /// What was not asked for is unknown.
    fn end(&self) -> Result<(), Fault> {
        let Some(unknown) = self.entries.iter().find(|entry| !entry.is_taken) else { return Ok(()) };
        let hint = nearest::nearest(unknown.name, self.asked.iter().copied());
        let hint = hint.map_or_else(
            || format!(", known here: {}", self.asked.join(", ")),
            |name| format!(", did you mean {name}?"),
        );
        let section = if self.path.is_empty() { String::new() } else { format!(" in {}", self.path) };
        Err(Fault::new(unknown.place, format!("unknown key {}{section}{hint}", unknown.name)))
    }
}
