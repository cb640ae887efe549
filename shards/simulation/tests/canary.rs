//! The simulator proven on a toy: right without a bug, and every planted bug and every lie of the disk found.

use simulation::{
    disk::Lies,
    scenario::{self, Options, Report},
    toy::{Bug, Toy},
};

fn run(seed: u64, bug: Option<Bug>, options: Options) -> Report {
    let toy = Toy { shards: 2 + (seed % 2) as usize, bug };
    scenario::run(&toy, seed, options)
}

/// The first seed that fails, and how.
fn first_failure(seeds: u64, bug: Option<Bug>, options: Options) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| run(seed, bug, options).failure.map(|failure| (seed, failure)))
}

#[test]
fn the_sound_toy_keeps_its_promises() {
    assert_eq!(first_failure(200, None, Options::default()), None);
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<Bug> =
        Bug::ALL.into_iter().filter(|&bug| first_failure(300, Some(bug), Options::default()).is_none()).collect();
    assert_eq!(missed, []);
}

#[test]
fn a_lying_disk_is_found() {
    let all = [Lies { durable_writes: true, ..Lies::default() }, Lies { directory_sync: true, ..Lies::default() }];
    for lies in all {
        let found = first_failure(100, None, Options { lies, ..Options::default() });
        assert!(found.is_some(), "{lies:?} was not found");
    }
}

#[test]
fn a_seed_run_twice_is_one_story() {
    for seed in 0..50 {
        assert_eq!(run(seed, None, Options::default()), run(seed, None, Options::default()), "seed {seed}");
    }
}

/// Goal: no single failed change of the disk breaks a promise. Method: one quiet story, told with its first change failing, then
/// its second, until there are no more.
#[test]
fn any_one_change_may_fail() {
    let quiet = |number| run(7, None, Options { fail_change: Some(number), ..Options::default() });
    let changes = quiet(u64::MAX).disk.changes.min(150);
    assert!(changes > 50, "only {changes} changes to try");
    for number in 0..changes {
        assert_eq!(quiet(number).failure, None, "change {number}");
    }
}
