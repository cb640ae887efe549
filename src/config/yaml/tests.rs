use std::collections::BTreeMap;

use super::*;
use crate::config::units::PromDuration;

#[derive(Debug, PartialEq)]
struct Job {
    name: String,
    interval: PromDuration,
    is_honest: bool,
    token: Option<Secret>,
    labels: BTreeMap<String, String>,
}

impl Section for Job {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        keys.at_most_one_of(&["token", "token_file"])?;
        let _: Option<String> = keys.get("token_file")?;
        Ok(Self {
            name: keys.required("name")?,
            interval: keys.or("interval", "1m")?,
            is_honest: keys.or("honest", "false")?,
            token: keys.get("token")?,
            labels: keys.or_default("labels")?,
        })
    }
}

fn jobs(text: &str) -> Result<(Vec<Job>, String), String> {
    let said = |fault: Fault| format!("{}:{}: {}", fault.place.line, fault.place.column, fault.what);
    let node = load(text).map_err(said)?.expect("a document");
    let (jobs, shown) = Vec::<Job>::read(&node, "jobs").map_err(said)?;
    Ok((jobs, shown.to_yaml()))
}

#[test]
fn what_is_in_effect_is_shown_with_defaults_and_without_secrets() {
    let text = "- name: &n one\n  token: geheim\n  labels: {b: 1, a: 'yes'}\n- <<: {honest: true, name: lost}\n  name: *n\n  interval: 90s\n";
    let (jobs, shown) = jobs(text).expect("a good file");
    assert_eq!(jobs[0].token, Some(Secret::new("geheim".to_owned())));
    assert_eq!((jobs[1].name.as_str(), jobs[1].is_honest), ("one", true));
    let expected = "- name: one\n  interval: 1m\n  honest: false\n  token: <secret>\n  labels:\n    b: \"1\"\n    a: \"yes\"\n\
                    - name: one\n  interval: 1m30s\n  honest: true\n";
    assert_eq!(shown, expected);
    let again = shown.replace("<secret>", "geheim");
    assert_eq!(self::jobs(&again).map(|again| again.0), Ok(jobs), "what is shown can be read");
}

#[test]
fn each_mistake_is_said_with_its_place_and_its_key() {
    for (text, expected) in [
        ("- name: x\n  intervall: 1m\n", "2:3: unknown key intervall in jobs[0], did you mean interval?"),
        (
            "- name: x\n  zzz: 1m\n",
            "2:3: unknown key zzz in jobs[0], known here: token_file, name, interval, honest, token, labels",
        ),
        ("- interval: 1m\n", "1:3: jobs[0]: name is missing"),
        ("- name: x\n  interval: soon\n", "2:13: jobs[0].interval: not a valid duration string: \"soon\""),
        ("- name: x\n  honest: 'true'\n", "2:11: jobs[0].honest: \"true\" in quotes is text, not true or false"),
        (
            "- name: x\n  token: a\n  token_file: b\n",
            "3:3: jobs[0].token_file: at most one of token and token_file may be there",
        ),
        ("- name: x\n  name: y\n", "2:3: key name is there twice"),
        ("- name: [x]\n", "1:9: jobs[0].name: a list stands where a single value should"),
        ("name: x\n", "1:1: jobs: a section of keys stands where a list should"),
        ("- {name: x}\n---\n- {name: y}\n", "3:1: the file has a second document"),
        ("- name: *gone\n", "1:9: "),
        ("- [\n", "1:3: unclosed bracket"),
    ] {
        let error = jobs(text).expect_err(text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

#[test]
fn aliases_of_aliases_do_not_fill_the_memory() {
    let mut text = "- &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 8].join(", ");
        text.push_str(&format!("- &a{level} [{items}]\n"));
    }
    let fault = load(&text).expect_err("eight to the twelfth");
    assert!(fault.what.starts_with("too large a document"), "{}", fault.what);
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(load(&deep).expect_err("too deep").what.contains("64 levels"));
}
