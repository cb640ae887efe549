//! `fuzz [TARGET|all] [--seconds N] [--seed S] [--input HEX]`: see README.md.

use std::{
    env,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use fuzz::{
    driver::{self, Budget},
    targets::{self, Target},
};

struct Options {
    targets: Vec<&'static Target>,
    seconds: u64,
    seed: u64,
    input: Option<Vec<u8>>,
}

fn main() -> ExitCode {
    let options = match parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("{reason}\nusage: fuzz [TARGET|all] [--seconds N] [--seed S] [--input HEX]");
            return ExitCode::from(2);
        }
    };
    let broken = options.targets.iter().filter(|target| !run(target, &options)).count();
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a target kept its promises.
fn run(target: &Target, options: &Options) -> bool {
    if let Some(input) = &options.input {
        let result = driver::once(target, input);
        println!("{}: {result:?}", target.name);
        return result.is_ok();
    }
    match driver::run(target, options.seed, Budget::Time(Duration::from_secs(options.seconds))) {
        Ok(inputs) => println!("{}: {inputs} inputs, seed {}, nothing found", target.name, options.seed),
        Err(finding) => {
            println!("{finding}");
            return false;
        }
    }
    true
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    // A fresh seed for each run, printed with what comes of it.
    let seed = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    let mut options = Options { targets: targets::all().collect(), seconds: 10, seed, input: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{argument}: {text:?} is not a whole number"));
        match argument.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--input" => options.input = Some(driver::unhex(&value()?).ok_or("--input takes hexadecimal bytes")?),
            "all" => {}
            name => options.targets = vec![find(name)?],
        }
    }
    Ok(options)
}

fn find(name: &str) -> Result<&'static Target, String> {
    targets::all().find(|target| target.name == name).ok_or_else(|| {
        let known: Vec<_> = targets::all().map(|target| target.name).collect();
        format!("no target {name:?}; there are all, {}", known.join(", "))
    })
}
