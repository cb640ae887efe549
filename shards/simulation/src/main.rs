//! Runs seeds, each twice to prove determinism, and prints what it takes to repeat the first that fails.

use std::{process::ExitCode, time::Instant};

use simulation::{
    data_plane::DataPlane,
    disk::Lies,
    scenario::{self, Options, Report},
    toy::Toy,
};

const USAGE: &str = "usage: simulation [--seeds COUNT] [--from SEED] [--once] [--tell] [--keep-going] [--no-errands] [--fail-each] [--lie durable-writes|directory-sync] [--toy]
  --seeds  how many seeds to run, 100 if not given
  --from   the first of them, 0 if not given
  --once   run each seed once instead of twice: half the time, no proof of determinism
  --tell   tell the story on standard error
  --keep-going  name every seed that fails instead of the first only
  --no-errands  nobody deletes anything or makes snapshots
  --fail-each   no weather, and each seed once for each of its changes to the disk, with that one failing
  --lie    let the disk break a promise: the run is to fail, or the oracle is blind
  --toy    run the simulator's own toy store instead of the shards";

struct Arguments {
    seeds: u64,
    from: u64,
    once: bool,
    toy: bool,
    keep_going: bool,
    fail_each: bool,
    options: Options,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(arguments) => swarm(&arguments),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 100,
        from: 0,
        once: false,
        toy: false,
        keep_going: false,
        fail_each: false,
        options: Options::default(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(&word, &value()?)?,
            "--from" => arguments.from = number(&word, &value()?)?,
            "--once" => arguments.once = true,
            "--toy" => arguments.toy = true,
            "--keep-going" => arguments.keep_going = true,
            "--fail-each" => arguments.fail_each = true,
            "--no-errands" => arguments.options.no_errands = true,
            "--tell" => arguments.options.aloud = true,
            "--lie" => arguments.options.lies = lies(&value()?)?,
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    Ok(arguments)
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} takes a number, not {text:?}"))
}

fn lies(name: &str) -> Result<Lies, String> {
    match name {
        "durable-writes" => Ok(Lies { durable_writes: true, ..Lies::default() }),
        "directory-sync" => Ok(Lies { directory_sync: true, ..Lies::default() }),
        _ => Err(format!("no such lie: {name}")),
    }
}

fn swarm(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let mut total = Total::default();
    let mut failures = 0;
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        match judge(seed, arguments) {
            Ok(report) => total.add(&report),
            Err(failure) => {
                failures += 1;
                println!("seed {seed} fails: {failure}");
                println!("repeat it: cargo run -p simulation --release -- --seeds 1 --from {seed} --tell");
                if !arguments.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let Arguments { seeds, from, .. } = arguments;
    println!("{seeds} seeds from {from} in {seconds:.1} s, {failures} failed: {total}");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge(seed: u64, arguments: &Arguments) -> Result<Report, String> {
    if arguments.fail_each {
        return judge_each_change(seed, arguments);
    }
    let report = run(seed, arguments, arguments.options);
    match &report.failure {
        Some(failure) => Err(failure.clone()),
        None if !arguments.once && run(seed, arguments, arguments.options) != report => {
            Err("not deterministic: two runs differ".to_owned())
        }
        None => Ok(report),
    }
}

/// The report is of the story in which nothing fails.
fn judge_each_change(seed: u64, arguments: &Arguments) -> Result<Report, String> {
    let with = |change| run(seed, arguments, Options { fail_change: Some(change), ..arguments.options });
    let report = with(u64::MAX);
    for change in 0..report.disk.changes {
        if let Some(failure) = with(change).failure {
            return Err(format!("with change {change} failing: {failure}"));
        }
    }
    Ok(report)
}

fn run(seed: u64, arguments: &Arguments, options: Options) -> Report {
    if arguments.toy {
        scenario::run(&Toy { shards: 2 + (seed % 2) as usize, bug: None }, seed, options)
    } else {
        scenario::run(&DataPlane::for_seed(seed), seed, options)
    }
}

/// What the seeds did, so that a swarm that tests nothing is seen to.
#[derive(Default)]
struct Total {
    lives: u64,
    steps: u64,
    requests: u64,
    samples: u64,
    rejected: u64,
    reads: u64,
    errors: u64,
    lost_to_rot: u64,
    deletions: u64,
    deleted: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.lives += report.lives;
        self.steps += report.steps;
        self.requests += report.oracle.requests_acknowledged;
        self.samples += report.oracle.samples_acknowledged;
        self.rejected += report.oracle.samples_rejected;
        self.reads += report.oracle.reads;
        self.errors += report.disk.errors_injected + report.disk.refused_for_space;
        self.lost_to_rot += report.oracle.lost_to_rot;
        self.deletions += report.oracle.deletions_done;
        self.deleted += report.oracle.samples_deleted;
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lives, steps, requests, samples, rejected, reads, errors, lost_to_rot, deletions, deleted } = self;
        write!(
            f,
            "{lives} lives, {steps} steps, {requests} requests with {samples} samples acknowledged, {rejected} rejected, \
             {reads} reads, {deletions} deletions of {deleted} samples, {errors} disk errors, {lost_to_rot} samples lost to rot by \
             name"
        )
    }
}
