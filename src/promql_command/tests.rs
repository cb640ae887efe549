//! Prometheus' scripts against a server's own storage.

use std::path::Path;

use super::*;

/// Goal: what is stored, in chunks, out of order or not, reads as what was written.
#[test]
fn scripts_hold_on_a_servers_storage() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/promql");
    let listing = fs::read_dir(&folder).unwrap_or_else(|error| panic!("the scripts are not at {folder:?}: {error}"));
    let mut files: Vec<PathBuf> = listing.map(|entry| entry.expect("the folder can be listed").path()).collect();
    // No storage keeps start timestamps beside samples.
    files.retain(|file| !file.ends_with("start_timestamps.test"));
    assert!(files.len() > 15, "{files:?}");
    let mut report = Vec::new();
    let result = test(&TestArgs { store: StoreKind::Head, files }, &mut report);
    let report = String::from_utf8_lossy(&report);
    assert!(result.is_ok(), "{report}");
    assert!(report.ends_with(" passed, 0 failed\n"), "{report}");
}
