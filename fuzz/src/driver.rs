//! Runs a target on mutated inputs until its time is over or a promise is broken.

use std::{
    fmt::{self, Write as _},
    panic,
    time::{Duration, Instant},
};

use crate::{
    mutation::{Corpus, Random},
    targets::Target,
};

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    Time(Duration),
    /// For tests: the same work whatever the machine.
    Inputs(u64),
}

/// An input that breaks a promise, and how to get it again.
#[derive(Debug)]
pub struct Finding {
    pub target: &'static str,
    pub seed: u64,
    /// Position of the input among those that the seed gives.
    pub index: u64,
    pub what: Broken,
    pub input: Vec<u8>,
}

#[derive(Debug)]
pub enum Broken {
    /// The panic's own message went to standard error.
    Panic,
    Slow(Duration),
}

/// An input of this driver's size is handled in microseconds; a hundred thousand times that is a hang in the making.
const SLOW: Duration = Duration::from_secs(2);

/// Runs a target; returns how many inputs it has taken.
pub fn run(target: &Target, seed: u64, budget: Budget) -> Result<u64, Box<Finding>> {
    let seeds = (target.seeds)();
    let mut random = Random::new(seed);
    // The known inputs first, as they are.
    let mut known = seeds.clone().into_iter();
    let mut corpus = Corpus::new(seeds);
    let start = Instant::now();
    let mut index = 0;
    loop {
        let over = match budget {
            Budget::Time(time) => start.elapsed() >= time,
            Budget::Inputs(inputs) => index >= inputs,
        };
        if over {
            return Ok(index);
        }
        let input = known.next().unwrap_or_else(|| corpus.next(&mut random));
        if let Err(what) = once(target, &input) {
            return Err(Box::new(Finding { target: target.name, seed, index, what, input }));
        }
        index += 1;
    }
}

/// Runs a target on one input.
pub fn once(target: &Target, input: &[u8]) -> Result<(), Broken> {
    let start = Instant::now();
    // A target keeps nothing between two calls, so nothing is left half done.
    panic::catch_unwind(|| (target.run)(input)).map_err(|_| Broken::Panic)?;
    match start.elapsed() {
        took if took > SLOW => Err(Broken::Slow(took)),
        _ => Ok(()),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, index, what, input } = self;
        match what {
            Broken::Panic => writeln!(f, "{target}: an input of {} bytes makes it panic", input.len())?,
            Broken::Slow(took) => writeln!(f, "{target}: an input of {} bytes takes {took:?}", input.len())?,
        }
        writeln!(f, "  seed {seed}, input number {index}; again: cargo run -p fuzz --release -- {target} --input HEX")?;
        write!(f, "  {}", hex(input))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// The way back from [`hex`].
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::targets;

    #[test]
    fn every_target_keeps_its_promises_on_known_and_mutated_inputs() {
        for target in targets::all() {
            if let Err(finding) = run(target, 1, Budget::Inputs(20_000)) {
                panic!("{finding}");
            }
        }
    }

    #[test]
    fn a_broken_promise_is_found_and_can_be_repeated() {
        let target = Target {
            name: "canary",
            run: |input| assert!(!input.windows(2).any(|pair| pair == [0xff, 1]), "the canary"),
            seeds: || vec![vec![7; 20]],
        };
        let finding = run(&target, 3, Budget::Inputs(100_000)).expect_err("mutation gets there");
        assert_eq!(unhex(&hex(&finding.input)).as_ref(), Some(&finding.input));
        assert!(once(&target, &finding.input).is_err());
        let again = run(&target, 3, Budget::Inputs(100_000)).expect_err("again");
        assert_eq!((again.index, again.input), (finding.index, finding.input));
    }

    #[test]
    fn every_target_runs_under_libfuzzer_too() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("libfuzzer's manifest");
        for target in targets::all() {
            let path = format!("fuzz_targets/{}.rs", target.name);
            assert!(folder.join(&path).exists(), "{path} is missing in libfuzzer");
            assert!(manifest.contains(&format!("path = \"{path}\"")), "{path} is missing in libfuzzer/Cargo.toml");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = targets::all().map(|target| target.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
