//! What is in effect, as YAML.

use std::fmt::Write as _;

/// A value as it is shown: secrets are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Text that is written as a YAML scalar, in quotes where it has to be.
    Text(String),
    /// A number, a duration or the like, which needs none.
    Plain(String),
    Sequence(Vec<Shown>),
    Mapping(Vec<(String, Shown)>),
}

impl Shown {
    /// The value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Mapping(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What is in a list.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Sequence(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a document.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Mapping(entries) if !entries.is_empty() => write_entries(entries, 0, &mut out),
            Self::Sequence(items) if !items.is_empty() => write_items(items, 0, &mut out),
            other => write_value(other, 0, &mut out),
        }
        out
    }
}

fn write_entries(entries: &[(String, Shown)], indent: usize, out: &mut String) {
    for (at, (name, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push_str(&" ".repeat(indent));
        }
        write!(out, "{}:", scalar(name)).expect("writing to memory");
        match value {
            Shown::Mapping(inner) if !inner.is_empty() => {
                write!(out, "\n{}", " ".repeat(indent + 2)).expect("writing to memory");
                write_entries(inner, indent + 2, out);
            }
            Shown::Sequence(items) if !items.is_empty() => {
                out.push('\n');
                write_items(items, indent, out);
            }
            other => {
                out.push(' ');
                write_value(other, indent, out);
            }
        }
    }
}

fn write_items(items: &[Shown], indent: usize, out: &mut String) {
    for item in items {
        write!(out, "{}- ", " ".repeat(indent)).expect("writing to memory");
        match item {
            Shown::Mapping(entries) if !entries.is_empty() => write_entries(entries, indent + 2, out),
            other => write_value(other, indent, out),
        }
    }
}

/// On the line that has been begun.
fn write_value(value: &Shown, indent: usize, out: &mut String) {
    match value {
        Shown::Plain(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Shown::Text(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        Shown::Mapping(_) => out.push_str("{}\n"),
        Shown::Sequence(items) if items.is_empty() => out.push_str("[]\n"),
        Shown::Sequence(items) => {
            out.push('\n');
            write_items(items, indent + 2, out);
        }
    }
}

/// Text as a scalar. A JSON string is a YAML string.
fn scalar(text: &str) -> String {
    if is_plainly_text(text) {
        return text.to_owned();
    }
    let mut json = crate::json::Json::default();
    json.string(text);
    String::from_utf8(json.take()).expect("JSON of text is text")
}

/// Whether text can stand without quotes and is read as text by every version of YAML.
fn is_plainly_text(text: &str) -> bool {
    const TAKEN: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"];
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_/.-$<>()".contains(&byte);
    text.bytes().all(is_safe)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || b"/_<$(".contains(&first))
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str())
}
