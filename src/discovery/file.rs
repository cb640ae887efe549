//! `file_sd_configs`: files of targets, read again when they change.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::Updates;
use crate::{
    config::prometheus::{discovery::FileSd, files_of},
    targets::{TargetGroup, file},
};

/// How often it is looked whether a file has changed. Looking costs a system call; a watch would miss files on network file systems.
const LOOK: Duration = Duration::from_secs(1);

/// What a file said last, and what it looked like then.
struct Known {
    look: Option<(SystemTime, u64)>,
    groups: Vec<TargetGroup>,
}

pub(super) async fn run(config: FileSd, folder: PathBuf, updates: Updates) {
    let mut known: BTreeMap<PathBuf, Known> = BTreeMap::new();
    let mut read_all_at = Instant::now();
    loop {
        let is_due = Instant::now() >= read_all_at;
        if is_due {
            read_all_at = Instant::now() + config.refresh_interval.get().max(LOOK);
        }
        let (patterns, folder) = (config.files.clone(), folder.clone());
        let job = updates.job.clone();
        let mut files = std::mem::take(&mut known);
        let looked = tokio::task::spawn_blocking(move || {
            let failures = look(&patterns, &folder, is_due, &mut files, &job);
            (files, failures)
        });
        // It does not panic; were it to, the files are read anew.
        let (files, failures) = looked.await.unwrap_or_default();
        known = files;
        (0..failures).for_each(|_| updates.failed("file"));
        updates.replace(known.values().flat_map(|file| file.groups.clone()).collect());
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads the files that look different, or all. One with a mistake says what it said before; returns how many there are.
fn look(patterns: &[String], folder: &Path, all: bool, known: &mut BTreeMap<PathBuf, Known>, job: &str) -> u64 {
    let mut failures = 0;
    let paths: Vec<PathBuf> =
        patterns.iter().flat_map(|pattern| files_of(&folder.join(pattern))).filter(|path| path.is_file()).collect();
    known.retain(|path, _| paths.contains(path));
    for path in paths {
        let look = path.metadata().ok().and_then(|file| Some((file.modified().ok()?, file.len())));
        let is_same = known.get(&path).is_some_and(|known| known.look == look);
        if is_same && !all {
            continue;
        }
        match file::read(&path) {
            Ok(groups) => drop(known.insert(path, Known { look, groups })),
            Err(error) => {
                failures += 1;
                if !is_same {
                    tracing::error!(job, %error, "read a file of targets; what it said before stands");
                }
                known.entry(path).or_insert(Known { look, groups: Vec::new() }).look = look;
            }
        }
    }
    failures
}
