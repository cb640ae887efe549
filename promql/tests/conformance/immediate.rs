//! The same scripts with names dropped at once, as a server does by default: what differs is what the setting is about.

use promql::{
    engine::{Engine, Options},
    testscript,
};

/// Statements that hold only with delayed name removal: they look at a name, or at the labels that go with it, after a function
/// has dropped it.
const DELAYED_ONLY: &[(&str, &[usize])] =
    &[("name_label_dropping.test", &[59, 64, 69, 74, 89, 115, 119, 123]), ("type_and_unit.test", &[77, 92, 222, 237])];

#[test]
fn dropping_names_at_once_changes_only_what_looks_at_them() {
    let delayed = Engine::new(testscript::options());
    let immediate = Engine::new(Options { delayed_name_removal: false, ..testscript::options() });
    let mut problems = Vec::new();
    for (script, text) in super::scripts() {
        let run = |engine| testscript::run(&text, engine).unwrap_or_else(|error| panic!("{script}: {error}"));
        let listed: &[usize] = DELAYED_ONLY.iter().find(|(name, _)| *name == script).map_or(&[], |(_, lines)| lines);
        for (late, early) in run(&delayed).into_iter().zip(run(&immediate)) {
            let differs = late.result.is_ok() != early.result.is_ok();
            if differs != listed.contains(&early.line) {
                problems.push(format!("{script}:{}: {}: {:?}", early.line, early.expression, early.result));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
