//! The reference implementation's own test scripts: every statement holds.

mod immediate;

use std::{collections::BTreeMap, fs, path::PathBuf};

use promql::{
    engine::{Engine, Options},
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
fn every_statement_holds() {
    run_all(&Engine::new(testscript::options()));
}

#[test]
fn every_statement_holds_with_help() {
    run_all(&Engine::new(Options { help: Some(testscript::hasty_help()), ..testscript::options() }));
}

fn run_all(engine: &Engine) {
    let mut problems = Vec::new();
    let mut held = 0;
    for (script, text) in scripts() {
        let outcomes = testscript::run(&text, engine).unwrap_or_else(|error| panic!("{script}: {error}"));
        assert!(!outcomes.is_empty(), "{script} states something");
        for Outcome { line, expression, result } in outcomes {
            match result {
                Ok(()) => held += 1,
                Err(error) => problems.push(format!("{script}:{line}: {expression}\n    {error}")),
            }
        }
    }
    assert!(problems.is_empty(), "{held} statements hold; of the others:\n{}", problems.join("\n"));
}
