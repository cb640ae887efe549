//! `static_configs`: targets that stand in the file.

use std::collections::BTreeMap;

use crate::config::yaml::{Fault, Keys, Section};

/// Targets with labels in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StaticGroup {
    /// `host` or `host:port`.
    pub(crate) targets: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Section for StaticGroup {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        if keys.is_empty() {
            return Err(keys.fault("targets", "an empty entry: it needs targets"));
        }
        let group = Self { targets: keys.or_default("targets")?, labels: keys.or_default("labels")? };
        match group.labels.keys().find(|name| name.is_empty()) {
            Some(name) => Err(keys.fault("labels", format!("{name:?} is not a valid label name"))),
            None => Ok(group),
        }
    }
}

impl StaticGroup {
    /// The first target that is a URL. Where nothing changes addresses afterwards, that is a mistake.
    pub(crate) fn url(&self) -> Option<&str> {
        self.targets.iter().find(|target| target.contains('/')).map(String::as_str)
    }
}
