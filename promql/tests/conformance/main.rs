//! The reference implementation's own test scripts.
//!
//! Statements that don't hold yet are listed line by line, with the reason. The list can't go stale: a listed statement that
//! holds fails this test just as an unlisted one that doesn't.

mod immediate;
mod known;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use promql::{
    engine::Engine,
    testscript::{self, Outcome},
};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/promql"))
}

fn scripts() -> BTreeMap<String, String> {
    let folder = folder();
    let listing =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("the conformance scripts are not at {folder:?}: {error}"));
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a listed file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("can't read {path:?}: {error}"));
        (name, text)
    };
    listing.map(|entry| read(entry.expect("the folder can be listed").path())).collect()
}

#[test]
fn every_statement_holds_or_is_listed() {
    let engine = Engine::new(testscript::options());
    let mut problems = Vec::new();
    let mut held = 0;
    for (script, text) in scripts() {
        let outcomes = testscript::run(&text, &engine).unwrap_or_else(|error| panic!("{script}: {error}"));
        assert!(!outcomes.is_empty(), "{script} states something");
        let listed: BTreeSet<usize> = known::lines(&script);
        for Outcome { line, expression, result, .. } in outcomes {
            match (result, listed.contains(&line)) {
                (Ok(()), false) => held += 1,
                (Err(_), true) => {}
                (Ok(()), true) => {
                    problems.push(format!("{script}:{line} holds now, take it off the list: {expression}"))
                }
                (Err(error), false) => problems.push(format!("{script}:{line}: {expression}\n    {error}")),
            }
        }
    }
    assert!(problems.is_empty(), "{held} statements hold; of the others:\n{}", problems.join("\n"));
}

/// Goal: nothing hides behind the list. Whatever is listed for native histograms or start timestamps reads a series that has
/// some, or calls a function that exists only for them.
#[test]
fn listed_statements_have_the_reason_that_is_given() {
    let engine = Engine::new(testscript::options());
    for (script, text) in scripts() {
        let listed = known::lines(&script);
        for outcome in testscript::run(&text, &engine).unwrap_or_else(|error| panic!("{script}: {error}")) {
            let is_native = ["histogram_", "start_timestamp"].iter().any(|part| outcome.expression.contains(part));
            let is_explained = outcome.is_ahead || is_native;
            assert!(
                !listed.contains(&outcome.line) || is_explained,
                "{script}:{} is listed without that reason: {}",
                outcome.line,
                outcome.expression
            );
        }
    }
}
