//! Relabelling: rules that change labels one after the other, or let go of what has them.

use md5::{Digest as _, Md5};
use model::LabelsBuilder;

use crate::config::prometheus::{
    relabel::{Action, RelabelConfig},
    scrape::{NameScheme, NameValidation},
};

/// Applies the rules in their order; false if one of them drops what has these labels.
pub(crate) fn apply(rules: &[RelabelConfig], names: NameScheme, labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| apply_one(rule, names, labels))
}

fn apply_one(rule: &RelabelConfig, names: NameScheme, labels: &mut LabelsBuilder) -> bool {
    let RelabelConfig { source_labels, separator, regex, target_label, .. } = rule;
    let values: Vec<&str> = source_labels.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
    let value = values.join(separator);
    // An empty value is no label.
    let set = |value: &str, labels: &mut LabelsBuilder| {
        labels.set(target_label, value);
    };
    let target_value = || labels.get(target_label).unwrap_or_default();
    match rule.action {
        Action::Keep => return regex.is_match(&value),
        Action::Drop => return !regex.is_match(&value),
        Action::KeepEqual => return target_value() == value,
        Action::DropEqual => return target_value() != value,
        Action::Replace => replace(rule, names, &value, labels),
        Action::Lowercase => set(&value.to_lowercase(), labels),
        Action::Uppercase => set(&value.to_uppercase(), labels),
        Action::HashMod => set(&(hash(&value) % rule.modulus).to_string(), labels),
        Action::LabelMap => {
            for label in labels.build().iter().filter(|label| regex.is_match(label.name)) {
                labels.set(&regex.replace(label.name, rule.replacement.as_str()), label.value);
            }
        }
        Action::LabelDrop => remove(labels, |name| regex.is_match(name)),
        Action::LabelKeep => remove(labels, |name| !regex.is_match(name)),
    }
    true
}

/// Sets the target label to what the expression makes of the value. A value that does not match, and a target that turns out to be no
/// name, change nothing; an empty result removes the label.
fn replace(rule: &RelabelConfig, names: NameScheme, value: &str, labels: &mut LabelsBuilder) {
    let Some(captures) = rule.regex.captures(value) else { return };
    let (mut target, mut result) = (String::new(), String::new());
    captures.expand(&rule.target_label, &mut target);
    captures.expand(&rule.replacement, &mut result);
    let is_name = match names.validation {
        NameValidation::Utf8 => !target.is_empty(),
        NameValidation::Legacy => model::labels::is_plain_label_name(&target),
    };
    if is_name {
        labels.set(&target, &result);
    }
}

fn remove(labels: &mut LabelsBuilder, is_removed: impl Fn(&str) -> bool) {
    for label in labels.build().iter().filter(|label| is_removed(label.name)) {
        labels.remove(label.name);
    }
}

/// The last eight bytes of the value's MD5, as in the reference implementation: who shares targets out by this hash must go on doing so.
fn hash(value: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(value).into();
    sum[8..].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::config::prometheus;

    /// What rules, written as YAML, make of some labels; `None` if they drop them.
    fn relabeled(rules: &str, pairs: &[(&str, &str)]) -> Option<String> {
        let text = format!("scrape_configs: [{{job_name: x, relabel_configs: [{rules}]}}]");
        let config = prometheus::parse_for_tests(&text);
        let job = &config.scrape_configs[0];
        let mut labels = LabelsBuilder::from_labels(&Labels::from_pairs(pairs.iter().copied()));
        apply(&job.relabel_configs, job.name_scheme, &mut labels).then(|| labels.build().to_string())
    }

    /// The cases of the reference implementation's documentation, and its edges.
    #[test]
    fn each_action_does_what_it_says() {
        let labels = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        for (rules, expected) in [
            (
                "{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}",
                r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#,
            ),
            (
                "{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}",
                r#"{a="boobam", b="bar", c="baz"}"#,
            ),
            ("{source_labels: [a], regex: 'o', target_label: d, replacement: x}", r#"{a="foo", b="bar", c="baz"}"#),
            ("{source_labels: [a], regex: 'f|foo', target_label: a, replacement: ''}", r#"{b="bar", c="baz"}"#),
            ("{source_labels: [gone], target_label: a}", r#"{b="bar", c="baz"}"#),
            ("{target_label: d, replacement: static}", r#"{a="foo", b="bar", c="baz", d="static"}"#),
            (
                "{source_labels: [a], regex: '(f).*', target_label: '${1}x', replacement: '$1'}",
                r#"{a="foo", b="bar", c="baz", fx="f"}"#,
            ),
            (
                "{source_labels: [a], regex: '(f).*', target_label: '$2', replacement: x}",
                r#"{a="foo", b="bar", c="baz"}"#,
            ),
            (
                "{source_labels: [a], regex: '(f).*', target_label: d, replacement: '$1x'}",
                r#"{a="foo", b="bar", c="baz"}"#,
            ),
            ("{source_labels: [a], target_label: d, action: uppercase}", r#"{a="foo", b="bar", c="baz", d="FOO"}"#),
            (
                "{source_labels: [a, b], separator: '', target_label: d, action: lowercase}",
                r#"{a="foo", b="bar", c="baz", d="foobar"}"#,
            ),
            (
                "{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}",
                r#"{a="foo", b="bar", c="baz", d="976"}"#,
            ),
            (
                "{regex: '(b|c)', replacement: 'x_$1', action: labelmap}",
                r#"{a="foo", b="bar", c="baz", x_b="bar", x_c="baz"}"#,
            ),
            ("{regex: '(b|c)', action: labeldrop}", r#"{a="foo"}"#),
            ("{regex: '(b|c)', action: labelkeep}", r#"{b="bar", c="baz"}"#),
            (
                "{source_labels: [a], regex: foo, action: keep}, {target_label: b, replacement: ''}",
                r#"{a="foo", c="baz"}"#,
            ),
        ] {
            assert_eq!(relabeled(rules, &labels).as_deref(), Some(expected), "{rules}");
        }
        for rules in [
            "{source_labels: [a], regex: foo, action: drop}",
            "{source_labels: [a], regex: fo, action: keep}",
            "{source_labels: [a], target_label: b, action: keepequal}",
            "{source_labels: [gone], target_label: lost, action: dropequal}",
        ] {
            assert_eq!(relabeled(rules, &labels), None, "{rules}");
        }
    }

    #[test]
    fn a_line_feed_is_a_character_like_others() {
        let labels = [("a", "one\ntwo")];
        assert!(relabeled("{source_labels: [a], regex: 'one.two', action: keep}", &labels).is_some());
        assert!(relabeled("{source_labels: [a], regex: 'one', action: keep}", &labels).is_none());
    }
}
