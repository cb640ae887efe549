//! Values that stand in many files.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{Fault, Node, Read, Shown, Value, read::fault_at};
use crate::config::units::{PromDuration, Size};

/// The text of a single value, however it is written.
fn scalar<'n>(node: &'n Node, path: &str) -> Result<&'n str, Fault> {
    match &node.value {
        Value::Scalar { text, .. } => Ok(text),
        _ => Err(fault_at(node, path, format!("{} stands where a single value should", node.kind()))),
    }
}

/// The text of a value that is no text: in quotes it would be.
fn plain<'n>(node: &'n Node, path: &str, wanted: &str) -> Result<&'n str, Fault> {
    match &node.value {
        Value::Scalar { text, is_plain: true } => Ok(text),
        Value::Scalar { text, .. } => Err(fault_at(node, path, format!("{text:?} in quotes is text, not {wanted}"))),
        _ => Err(fault_at(node, path, format!("{} stands where {wanted} should", node.kind()))),
    }
}

fn parsed<T: FromStr>(text: &str, node: &Node, path: &str) -> Result<T, Fault>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error| fault_at(node, path, error))
}

impl Read for String {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let text = scalar(node, path)?;
        Ok((text.to_owned(), Shown::Text(text.to_owned())))
    }
}

/// `true` or `false`, or one of the words that YAML 1.1 had for them.
impl Read for bool {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let text = plain(node, path, "true or false")?;
        let value = match text {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
            _ => return Err(fault_at(node, path, format!("{text:?} is neither true nor false"))),
        };
        Ok((value, Shown::Plain(value.to_string())))
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Read for $number {
            fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
                let text = plain(node, path, "a number")?;
                let value = whole_number(text).and_then(|value| Self::try_from(value).ok());
                let value = value.ok_or_else(|| fault_at(node, path, format!("{text:?} is not a number that fits here")))?;
                Ok((value, Shown::Plain(value.to_string())))
            }
        }
    )*};
}

whole_numbers!(u64, u16, i64);

/// Also as YAML lets them be written: `1_000`, `0x10`, `1e3`.
fn whole_number(text: &str) -> Option<i128> {
    let digits = text.replace('_', "");
    let (sign, bare) = match digits.strip_prefix('-') {
        Some(bare) => (-1, bare),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let by_base = |prefix: &str, base| bare.strip_prefix(prefix).and_then(|rest| i128::from_str_radix(rest, base).ok());
    let whole = bare
        .parse::<i128>()
        .ok()
        .or_else(|| by_base("0x", 16))
        .or_else(|| by_base("0o", 8))
        .or_else(|| by_base("0b", 2));
    let exponent = || {
        let value: f64 =
            bare.parse().ok().filter(|value: &f64| value.fract() == 0.0 && value.abs() < 2_f64.powi(63))?;
        Some(value as i128)
    };
    Some(sign * whole.or_else(exponent)?)
}

impl Read for f64 {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let text = plain(node, path, "a number")?;
        let value: Self = parsed(&text.replace('_', ""), node, path)?;
        Ok((value, Shown::Plain(value.to_string())))
    }
}

impl Read for PromDuration {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let value: Self = parsed(scalar(node, path)?, node, path)?;
        Ok((value, Shown::Plain(value.to_string())))
    }
}

impl Read for Size {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let text = scalar(node, path)?;
        // As in Prometheus: of a bare number nobody knows whether bytes were meant.
        if text != "0" && text.ends_with(|last: char| last.is_ascii_digit()) {
            return Err(fault_at(node, path, format!("{text:?} has no unit, like 10MB")));
        }
        let value: Self = parsed(text, node, path)?;
        Ok((value, Shown::Plain(value.to_string())))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let items = match &node.value {
            Value::Sequence(items) => items.as_slice(),
            Value::Null => &[],
            _ => return Err(fault_at(node, path, format!("{} stands where a list should", node.kind()))),
        };
        let read = items.iter().enumerate().map(|(at, item)| T::read(item, &format!("{path}[{at}]")));
        let (values, shown) = read.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok((values, Shown::Sequence(shown)))
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return Err(fault_at(node, path, format!("{} stands where a section of keys should", node.kind()))),
        };
        let (mut values, mut shown) = (Self::new(), Vec::new());
        for (key, node) in entries {
            let (value, text) = T::read(node, &format!("{path}.{}", key.name))?;
            values.insert(key.name.clone(), value);
            shown.push((key.name.clone(), text));
        }
        Ok((values, Shown::Mapping(shown)))
    }
}

/// Text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one who needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Read for Secret {
    fn read(node: &Node, path: &str) -> Result<(Self, Shown), Fault> {
        let text = scalar(node, path)?.to_owned();
        let shown = if text.is_empty() { "" } else { "<secret>" };
        Ok((Self(text), Shown::Text(shown.to_owned())))
    }
}
