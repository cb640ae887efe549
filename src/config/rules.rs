//! Files of rules: groups of expressions that are evaluated one after the other.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use model::METRIC_NAME;
use promql::parser::{self, ParseOptions};

use super::{
    prometheus::{ConfigFileError, text_of},
    units::PromDuration,
    yaml::{self, Fault, Keys, Place},
};

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuleFile {
    pub(crate) groups: Vec<RuleGroup>,
    /// Where a second document begins, which is not read.
    pub(crate) second_document: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleGroup {
    pub(crate) name: String,
    /// `None`: `global.evaluation_interval`.
    pub(crate) interval: Option<PromDuration>,
    /// `None`: `global.rule_query_offset`.
    pub(crate) query_offset: Option<PromDuration>,
    /// Series or alerts that one rule may have; 0 is no limit.
    pub(crate) limit: u64,
    /// Under those of the rules.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) kind: RuleKind,
    pub(crate) expr: String,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RuleKind {
    Record { name: String },
    Alert { name: String, wait: PromDuration, keep_firing_for: PromDuration, annotations: BTreeMap<String, String> },
}

impl RuleKind {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Record { name } | Self::Alert { name, .. } => name,
        }
    }
}

/// Reads a file; expressions have to be ones that these options let pass.
pub(crate) fn read(path: &Path, options: &ParseOptions) -> Result<RuleFile, ConfigFileError> {
    let text = text_of(path)?;
    parse(&text, options).map_err(|fault| ConfigFileError::invalid(path, fault))
}

fn parse(text: &str, options: &ParseOptions) -> Result<RuleFile, Fault> {
    let documents = yaml::load_first(text)?;
    let Some(first) = documents.first else { return Ok(RuleFile::default()) };
    let (groups, _) = yaml::section_by(&first, "", |keys| {
        let groups = keys.sections("groups", |keys| RuleGroup::take(keys, options))?;
        let mut known = HashSet::new();
        match groups.iter().find(|group| !known.insert(group.name.as_str())) {
            Some(group) => Err(keys.fault("groups", format!("two groups have the name {:?}", group.name))),
            None => Ok(groups),
        }
    })?;
    Ok(RuleFile { groups, second_document: documents.second.map(|Place { line, .. }| line) })
}

impl RuleGroup {
    fn take(keys: &mut Keys<'_>, options: &ParseOptions) -> Result<Self, Fault> {
        let name: String = keys.or_default("name")?;
        if name.is_empty() {
            return Err(keys.fault("name", "name is missing"));
        }
        Ok(Self {
            name,
            interval: keys.get("interval")?,
            query_offset: keys.get("query_offset")?,
            limit: keys.or_default("limit")?,
            labels: labels(keys)?,
            rules: keys.sections("rules", |keys| Rule::take(keys, options))?,
        })
    }
}

/// Functions of templates beside the language's own, those of Prometheus 3.5.
const TEMPLATE_FUNCTIONS: [&str; 26] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toLower",
    "toTime",
    "toUpper",
    "value",
];
/// Variables that they begin with.
const TEMPLATE_VARIABLES: [&str; 4] = ["labels", "externalLabels", "externalURL", "value"];

/// Whether a text is a template of an alert's label or annotation.
fn check_template(text: &str) -> Result<(), templates::ParseError> {
    let is_function = |name: &str| TEMPLATE_FUNCTIONS.contains(&name);
    templates::parse(text, &is_function, &TEMPLATE_VARIABLES).map(drop)
}

/// Labels that a rule may give.
fn labels(keys: &mut Keys<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let labels: BTreeMap<String, String> = keys.or_default("labels")?;
    match labels.keys().find(|name| name.is_empty() || *name == METRIC_NAME) {
        Some(name) => Err(keys.fault("labels", format!("{name:?} is not a label that a rule can give"))),
        None => Ok(labels),
    }
}

impl Rule {
    fn take(keys: &mut Keys<'_>, options: &ParseOptions) -> Result<Self, Fault> {
        keys.at_most_one_of(&["record", "alert"])?;
        let record: String = keys.or_default("record")?;
        let alert: String = keys.or_default("alert")?;
        let wait: Option<PromDuration> = keys.get("for")?;
        let keep_firing_for: Option<PromDuration> = keys.get("keep_firing_for")?;
        let annotations: BTreeMap<String, String> = keys.or_default("annotations")?;
        let expr: String = keys.or_default("expr")?;
        let labels = labels(keys)?;
        if record.is_empty() && alert.is_empty() {
            return Err(keys.fault("record", "one of record and alert is needed"));
        }
        if expr.is_empty() {
            return Err(keys.fault("expr", "expr is missing"));
        }
        if let Err(error) = parser::parse(&expr, options) {
            return Err(keys.fault("expr", error));
        }
        if alert.is_empty() {
            if let Some(key) = ["for", "keep_firing_for", "annotations"].iter().find(|key| keys.has(key)) {
                return Err(keys.fault(key, format!("a rule that records takes no {key}")));
            }
            if record.contains(['{', '}']) {
                return Err(keys.fault("record", "holds braces: labels have a key of their own"));
            }
            return Ok(Self { kind: RuleKind::Record { name: record }, expr, labels });
        }
        let zero = PromDuration::from_ms(0);
        let (wait, keep_firing_for) = (wait.unwrap_or(zero), keep_firing_for.unwrap_or(zero));
        if annotations.keys().any(String::is_empty) {
            return Err(keys.fault("annotations", "\"\" is not a name for an annotation"));
        }
        for (key, texts) in [("labels", &labels), ("annotations", &annotations)] {
            for (name, text) in texts {
                check_template(text).map_err(|error| keys.fault(key, format!("{name}: its template: {error}")))?;
            }
        }
        Ok(Self { kind: RuleKind::Alert { name: alert, wait, keep_firing_for, annotations }, expr, labels })
    }
}

impl RuleFile {
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }

    /// Rules of one kind, name and labels that are there more than once: what they give would be of the same series.
    pub(crate) fn repeated(&self) -> Vec<&Rule> {
        let mut known = HashSet::new();
        self.rules().filter(|rule| !known.insert((rule.kind.name(), &rule.labels))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Every file of the conformance folder gets promtool's verdict.
    #[test]
    fn conformance_files_get_prometheus_verdict() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/rules");
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
        let (mut rules, mut bad) = (0, 0);
        for path in files.map(|file| file.expect("a readable folder").path()) {
            let name = path.file_name().expect("a listed file").to_string_lossy().into_owned();
            // The legacy file is bad only where names are validated by the older rules.
            let is_bad = name.contains(".bad.") && !name.starts_with("legacy_") || name == "invalid_rules.yaml";
            match read(&path, &ParseOptions::default()) {
                Ok(file) if !is_bad => rules += file.rules().count(),
                Err(_) if is_bad => bad += 1,
                Ok(_) => panic!("{name} is accepted"),
                Err(error) => panic!("{name} is refused: {error}"),
            }
        }
        assert!(rules > 40 && bad > 10, "{rules} rules and {bad} bad files in {}", folder.display());
    }

    #[test]
    fn a_mistake_is_said_with_its_place() {
        let text = "groups:\n  - name: g\n    rules:\n      - record: a\n        expr: rate(b)\n";
        let fault = parse(text, &ParseOptions::default()).expect_err("no range");
        assert_eq!((fault.place.line, fault.place.column), (5, 9));
        assert!(
            fault.what.starts_with("groups[0].rules[0].expr: 1:6: parse error: expected type range vector"),
            "{}",
            fault.what
        );
    }

    #[test]
    fn what_is_there_twice_is_found() {
        let text = "groups: [{name: g, rules: [{record: a, expr: 1}, {record: a, expr: 2, labels: {b: c}}, {record: a, expr: 3}]}]";
        let file = parse(text, &ParseOptions::default()).expect("a good file");
        assert_eq!(file.repeated().iter().map(|rule| rule.expr.as_str()).collect::<Vec<_>>(), ["3"]);
        let two = parse("groups: []\n---\ngroups: []\n", &ParseOptions::default()).expect("the first is read");
        assert_eq!(two.second_document, Some(3));
    }
}
