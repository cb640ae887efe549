//! Named cases of what was once answered otherwise than by Prometheus.

use promql::{engine::Engine, testscript};

#[test]
fn what_random_expressions_found_stays_mended() {
    let engine = Engine::new(testscript::options());
    let outcomes = testscript::run(include_str!("scripts/beside_prometheus.test"), &engine).expect("a script");
    let count = outcomes.len();
    let problem = |outcome: testscript::Outcome| {
        outcome.result.err().map(|error| format!("line {}: {}\n    {error}", outcome.line, outcome.expression))
    };
    let problems: Vec<_> = outcomes.into_iter().filter_map(problem).collect();
    assert!(count >= 10 && problems.is_empty(), "of {count}:\n{}", problems.join("\n"));
}
