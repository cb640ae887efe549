//! The labels that a group is pushed under, as a path has them.

use std::{collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use model::labels::is_plain_label_name;

/// Behind a label's name: its value is in base64, as one with a slash has to be.
const BASE64_MARK: &str = "@base64";
const JOB: &str = "job";
/// What the escaped form of a name begins with.
const ESCAPED: &str = "U__";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupingKey(pub(crate) BTreeMap<String, String>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("job name is required")]
    NoJob,
    #[error("odd number of components in label string {0:?}")]
    Odd(String),
    #[error("improper label name {0:?}")]
    Name(String),
    #[error("invalid base64 encoding in label value of {name:?}: {value:?}")]
    Base64 { name: String, value: String },
}

impl GroupingKey {
    /// Of the parts of a path behind `/metrics/`, percent signs undone.
    pub(crate) fn of_path(parts: &[String], has_utf8_names: bool) -> Result<Self, KeyError> {
        let mut labels = BTreeMap::new();
        if !parts.len().is_multiple_of(2) {
            return Err(KeyError::Odd(parts.join("/")));
        }
        for (at, pair) in parts.chunks_exact(2).enumerate() {
            let (name, value) = match pair[0].strip_suffix(BASE64_MARK) {
                Some(name) => (name, decoded(name, &pair[1])?),
                None => (pair[0].as_str(), pair[1].clone()),
            };
            let name = if has_utf8_names { unescaped(name) } else { name.to_owned() };
            let is_name = !name.is_empty() && (has_utf8_names || is_plain_label_name(&name));
            if !is_name || name.starts_with("__") || (at == 0) != (name == JOB) {
                return Err(KeyError::Name(name));
            }
            labels.insert(name, value);
        }
        if labels.get(JOB).is_none_or(String::is_empty) {
            return Err(KeyError::NoJob);
        }
        Ok(Self(labels))
    }
}

/// Without padding or with; a `=` alone is an empty value, which a path can't have.
fn decoded(name: &str, value: &str) -> Result<String, KeyError> {
    let wrong = || KeyError::Base64 { name: name.to_owned(), value: value.to_owned() };
    let bytes = BASE64.decode(value.trim_end_matches('=')).map_err(|_| wrong())?;
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// A name of any letters, written with those that all names may have: `_HEX_` is a letter, `__` an underscore.
fn unescaped(name: &str) -> String {
    let plain = || {
        let mut rest = name.strip_prefix(ESCAPED)?;
        let mut plain = String::new();
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if letter != '_' {
                plain.push(letter);
            } else if let Some(behind) = rest.strip_prefix('_') {
                plain.push('_');
                rest = behind;
            } else {
                let (number, behind) = rest.split_once('_')?;
                plain.push(char::from_u32(u32::from_str_radix(number, 16).ok()?)?);
                rest = behind;
            }
        }
        Some(plain)
    };
    plain().unwrap_or_else(|| name.to_owned())
}

impl fmt::Display for GroupingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "{{{}}}", pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, has_utf8_names: bool) -> Result<String, String> {
        let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        let key = GroupingKey::of_path(&parts, has_utf8_names);
        key.map(|key| key.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_grouping_labels() {
        assert_eq!(key("job/a/b/c", false).as_deref(), Ok("{b=\"c\",job=\"a\"}"));
        assert_eq!(key("job@base64/YS9i/x@base64/=", false).as_deref(), Ok("{job=\"a/b\",x=\"\"}"));
        assert_eq!(key("job@base64/YQ==", false).as_deref(), Ok("{job=\"a\"}"));
        assert_eq!(key("job/a/U__b_2e_c__d/e", true).as_deref(), Ok("{b.c_d=\"e\",job=\"a\"}"));
        for (path, error) in [
            ("job/a/b", "odd number of components in label string \"job/a/b\""),
            ("job/", "job name is required"),
            ("job/a/__b/c", "improper label name \"__b\""),
            ("job/a/b-c/d", "improper label name \"b-c\""),
            ("job/a/job/b", "improper label name \"job\""),
            ("job@base64/!", "invalid base64 encoding in label value of \"job\": \"!\""),
        ] {
            assert_eq!(key(path, false), Err(error.to_owned()));
        }
    }
}
