//! Every expression of the language's own test scripts parses, and survives being printed.

use std::{fs, path::PathBuf};

use super::{ParseOptions, assert_round_trip, parse};

/// Where the scripts lie, seen from the workspace's root.
const SCRIPTS: &str = "../shared/conformance/promql";

/// The scripts hold 1,667 evaluations today; far fewer means that the reader below has lost some.
const EVALUATIONS_MIN: usize = 1_600;

/// Expressions that may be refused, though the parser of Prometheus takes them: their scripts expect the evaluation to fail.
const REFUSED: [(&str, &str); 1] = [(
    r#"label_replace(testmetric, "\xff", "", "src", "(.*)")"#,
    "a string that is no text can only be the bad label name that the script expects to be refused",
)];

#[test]
fn every_expression_of_the_scripts_parses_and_survives_printing() {
    let evaluations = evaluations();
    assert!(evaluations.len() > EVALUATIONS_MIN, "only {} evaluations found", evaluations.len());
    let mut refused = Vec::new();
    for (place, text) in &evaluations {
        match parse(text, &ParseOptions::all()) {
            Ok(expr) => assert_round_trip(text, &expr),
            Err(_) if REFUSED.iter().any(|(known, _)| known == text) => refused.push(text.as_str()),
            Err(error) => panic!("{place}: {text}: {error}"),
        }
    }
    assert_eq!(refused, REFUSED.map(|(known, _)| known), "exceptions that are none any more have to go");
}

/// The expressions behind `eval`, each with its file and line.
pub(super) fn evaluations() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(SCRIPTS);
    let listing = fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!("the conformance scripts have to lie in {SCRIPTS} beside the workspace, {}: {error}", folder.display())
    });
    let mut files: Vec<_> = listing.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    files.iter().flat_map(evaluations_of).collect()
}

fn evaluations_of(path: &PathBuf) -> Vec<(String, String)> {
    let script = fs::read_to_string(path).expect("a readable script");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lines = script.lines().enumerate();
    lines
        .filter_map(|(index, line)| {
            let rest = line.trim().strip_prefix("eval")?;
            let place = format!("{name}:{}", index + 1);
            let text = expression(rest).unwrap_or_else(|| panic!("{place}: unknown form of eval: {line}"));
            Some((place, text.to_owned()))
        })
        .collect()
}

/// What follows `[_suffix] instant at T` or `[_suffix] range from A to B step S`.
fn expression(rest: &str) -> Option<&str> {
    let (_suffix, rest) = next_word(rest)?;
    let (kind, rest) = next_word(rest)?;
    let words = match kind {
        "instant" => 2,
        "range" => 6,
        _ => return None,
    };
    (0..words).try_fold(rest, |rest, _| next_word(rest).map(|(_, rest)| rest)).map(str::trim)
}

/// The word up to the next blank, which may be empty, and what follows the blanks.
fn next_word(text: &str) -> Option<(&str, &str)> {
    text.split_once([' ', '\t']).map(|(word, rest)| (word, rest.trim_start()))
}
