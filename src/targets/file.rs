//! Files of targets, JSON or YAML: lists of `targets` with `labels`.

use std::{collections::BTreeMap, path::Path};

use model::Labels;

use super::{ADDRESS, TargetGroup};
use crate::config::{
    prometheus::{ConfigFileError, text_of},
    yaml::{self, Fault, Keys, Place, Read as _, Section},
};

/// Where a group came from.
const FILE_PATH: &str = "__meta_filepath";

struct Group {
    targets: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl Section for Group {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        Ok(Self { targets: keys.or_default("targets")?, labels: keys.or_default("labels")? })
    }
}

/// The groups of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<TargetGroup>, ConfigFileError> {
    parse(&text_of(path)?, &path.to_string_lossy()).map_err(|fault| ConfigFileError::invalid(path, fault))
}

/// JSON is YAML.
fn parse(text: &str, path: &str) -> Result<Vec<TargetGroup>, Fault> {
    let Some(document) = yaml::load(text)? else {
        // Whoever writes it is not done yet.
        let is_json = path.to_ascii_lowercase().ends_with(".json");
        let empty = || Fault::new(Place { line: 1, column: 1 }, "the file is empty: a list of targets is expected");
        return if is_json { Err(empty()) } else { Ok(Vec::new()) };
    };
    let (groups, _) = Vec::<Group>::read(&document, "")?;
    let group = |Group { targets, mut labels }: Group| {
        labels.insert(FILE_PATH.to_owned(), path.to_owned());
        group_of(&targets, &labels)
    };
    Ok(groups.into_iter().map(group).collect())
}

/// Targets by their addresses.
pub(crate) fn group_of(addresses: &[String], labels: &BTreeMap<String, String>) -> TargetGroup {
    let target = |address: &String| Labels::from_pairs([(ADDRESS, address)]);
    TargetGroup { targets: addresses.iter().map(target).collect(), labels: Labels::from_pairs(labels.iter()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = r#"[{"targets": ["a:1", "b"], "labels": {"x": "y"}}, {"targets": []}]"#;
        let yaml = "- targets: ['a:1', b]\n  labels: {x: y}\n- targets: []\n";
        let groups = parse(json, "f.json").expect("a good file");
        assert_eq!(groups, parse(yaml, "f.json").expect("a good file"));
        assert_eq!(groups[0].targets[0].to_string(), r#"{__address__="a:1"}"#);
        assert_eq!(groups[0].labels.to_string(), r#"{__meta_filepath="f.json", x="y"}"#);
    }

    #[test]
    fn an_empty_file_of_json_is_a_mistake() {
        assert!(parse("", "f.json").is_err());
        assert_eq!(parse("", "f.yml"), Ok(Vec::new()));
    }

    #[test]
    fn mistakes_are_said_with_their_place() {
        let fault = parse("- target: [a]\n", "f.yml").expect_err("an unknown key");
        assert_eq!((fault.place.line, fault.place.column), (1, 3));
        assert!(fault.what.contains("did you mean targets?"), "{}", fault.what);
    }
}
