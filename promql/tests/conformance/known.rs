//! Statements that do not hold yet, by script, reason and line.

use std::collections::BTreeSet;

/// The statement depends on start timestamps, which are left out when a script is loaded.
const START_TIMESTAMPS: &str = "start timestamps";

/// The listed lines of a script.
pub(crate) fn lines(script: &str) -> BTreeSet<usize> {
    let groups = KNOWN.iter().filter(|(name, reason, _)| *name == script && !reason.is_empty());
    groups.flat_map(|(_, _, lines)| lines.iter().copied()).collect()
}

#[rustfmt::skip]
const KNOWN: &[(&str, &str, &[usize])] = &[
    ("start_timestamps.test", START_TIMESTAMPS, &[
        8, 13, 18, 24, 42, 66, 74, 82, 144, 169, 189, 207, 210, 213, 217, 234, 240, 246, 259, 276, 284, 289, 305, 310,
    ]),
];
