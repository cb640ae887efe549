//! `file_sd_configs`: files of targets, read again when they change.

use crate::config::{
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileSd {
    /// Paths, with globs in the last part.
    pub(crate) files: Vec<String>,
    pub(crate) refresh_interval: PromDuration,
}

impl Section for FileSd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let files: Vec<String> = keys.or_default("files")?;
        if files.is_empty() {
            return Err(keys.fault("files", "needs at least one path"));
        }
        if let Some(path) = files.iter().find(|path| !is_path(path)) {
            let text = "has to end in .json, .yml or .yaml, with * in its last part alone";
            return Err(keys.fault("files", format!("{path:?} {text}")));
        }
        Ok(Self { files, refresh_interval: keys.or("refresh_interval", "5m")? })
    }
}

fn is_path(path: &str) -> bool {
    let ends_well = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"].iter().any(|end| path.ends_with(end));
    let star = path.find('*');
    ends_well && star.is_none_or(|star| !path[star..].contains('/') && path[star + 1..].find('*').is_none())
}
