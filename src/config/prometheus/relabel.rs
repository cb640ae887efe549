//! `relabel_configs`: the rules, checked.

use model::labels::is_plain_label_name;
use regex::{Regex, RegexBuilder};

use crate::config::yaml::{Fault, Keys, Section};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct RelabelConfig {
    pub(crate) source_labels: Vec<String>,
    pub(crate) separator: String,
    /// Anchored at both ends; `.` matches line feeds.
    pub(crate) regex: Regex,
    pub(crate) modulus: u64,
    pub(crate) target_label: String,
    pub(crate) replacement: String,
    pub(crate) action: Action,
}

impl PartialEq for RelabelConfig {
    fn eq(&self, other: &Self) -> bool {
        let parts = |rule: &Self| {
            let Self { source_labels, separator, regex, modulus, target_label, replacement, action } = rule.clone();
            (source_labels, separator, regex.as_str().to_owned(), modulus, target_label, replacement, action)
        };
        parts(self) == parts(other)
    }
}

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";
/// A rule's compiled expression; a large one would be a mistake, and slow.
const REGEX_BYTES_MAX: usize = 10 << 20;

impl Section for RelabelConfig {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let source_labels: Vec<String> = keys.or_default("source_labels")?;
        if source_labels.iter().any(String::is_empty) {
            return Err(keys.fault("source_labels", "\"\" is not a valid label name"));
        }
        let action = action(keys)?;
        let separator = or(keys, action, "separator", SEPARATOR)?;
        let pattern = or(keys, action, "regex", REGEX)?;
        let built = RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
        let regex = built.map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            keys.fault("regex", format!("{pattern:?} is not a regular expression: {reason}"))
        })?;
        let modulus = keys.get("modulus")?.unwrap_or(0);
        let target_label = keys.or_default("target_label")?;
        let replacement = or(keys, action, "replacement", REPLACEMENT)?;
        let rule = Self { source_labels, separator, regex, modulus, target_label, replacement, action };
        rule.check(keys)?;
        Ok(rule)
    }
}

/// A text or its default, which is not shown where the action does not let the key stand.
fn or(keys: &mut Keys<'_>, action: Action, name: &'static str, default: &str) -> Result<String, Fault> {
    match action {
        Action::KeepEqual | Action::DropEqual | Action::LabelDrop | Action::LabelKeep => {
            Ok(keys.get(name)?.unwrap_or_else(|| default.to_owned()))
        }
        _ => keys.or(name, default),
    }
}

fn action(keys: &mut Keys<'_>) -> Result<Action, Fault> {
    let text: String = keys.or("action", "replace")?;
    let known = ACTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
    let names = || ACTIONS.map(|(name, _)| name).join(", ");
    known.map(|(_, action)| *action).ok_or_else(|| keys.fault("action", format!("{text:?} is none of {}", names())))
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

impl RelabelConfig {
    /// The expression as it was written.
    pub(crate) fn regex_text(&self) -> &str {
        let text = self.regex.as_str();
        text.strip_prefix("^(?s:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
    }

    fn check(&self, keys: &Keys<'_>) -> Result<(), Fault> {
        use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
        let name = self.action.as_str();
        let has = |key: &str, default: &str| keys.text(key).is_some_and(|text| text != default);
        let refuse = |key: &str, what: String| Err(keys.fault(key, what));
        if self.action == HashMod && self.modulus == 0 {
            return refuse("modulus", "hashmod needs a modulus above 0".to_owned());
        }
        let needs_target = matches!(self.action, Replace | KeepEqual | DropEqual | HashMod | Lowercase | Uppercase);
        if needs_target && self.target_label.is_empty() {
            return refuse("target_label", format!("{name} needs target_label"));
        }
        if matches!(self.action, Lowercase | Uppercase) && has("replacement", REPLACEMENT) {
            return refuse("replacement", format!("{name} takes none"));
        }
        if self.action == LabelMap && self.replacement.is_empty() {
            return refuse("replacement", "\"\" is not a valid label name".to_owned());
        }
        if matches!(self.action, KeepEqual | DropEqual) {
            let others = [("regex", REGEX), ("modulus", "0"), ("separator", SEPARATOR), ("replacement", REPLACEMENT)];
            // An expression that is written down is one too many, even the default.
            let is_there = |key: &str, default: &str| has(key, default) || key == "regex" && keys.has("regex");
            if let Some((key, _)) = others.iter().find(|(key, default)| is_there(key, default)) {
                return refuse(key, format!("{name} takes source_labels and target_label alone"));
            }
        }
        if matches!(self.action, LabelDrop | LabelKeep) {
            let others =
                [("target_label", ""), ("modulus", "0"), ("separator", SEPARATOR), ("replacement", REPLACEMENT)];
            let other = others.iter().find(|(key, default)| has(key, default)).map(|(key, _)| *key);
            if let Some(key) = other.or_else(|| (!self.source_labels.is_empty()).then_some("source_labels")) {
                return refuse(key, format!("{name} takes regex alone"));
            }
        }
        Ok(())
    }

    /// What names have to be like under the older rules; a `$` stands for what an expression has found.
    pub(crate) fn is_valid_under_legacy_names(&self) -> bool {
        let is_fine = |text: &str| {
            let mut rest = text;
            let mut plain = String::new();
            while let Some((before, after)) = rest.split_once('$') {
                plain.push_str(before);
                plain.push('_');
                rest = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                    Some((_, after)) => after,
                    None => after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'),
                };
            }
            plain.push_str(rest);
            is_plain_label_name(&plain)
        };
        let needs_target = !self.target_label.is_empty();
        (!needs_target || is_fine(&self.target_label))
            && (self.action != Action::LabelMap || is_fine(&self.replacement))
    }
}
