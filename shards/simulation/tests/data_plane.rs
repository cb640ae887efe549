//! The shards' own code through a few hundred seeds, and the seeds that once found something.

use simulation::{
    data_plane::DataPlane,
    disk::Lies,
    scenario::{self, Options, Report},
};

fn run(seed: u64, options: Options) -> Report {
    scenario::run(&DataPlane::for_seed(seed), seed, options)
}

#[test]
fn fresh_seeds_keep_every_promise_twice_the_same_way() {
    for seed in 100_000..100_150 {
        let report = run(seed, Options::default());
        assert_eq!(report.failure, None, "seed {seed}");
        assert_eq!(run(seed, Options::default()), report, "seed {seed} tells two stories");
    }
}

/// Each failed while the named bug was in the shards, and no other. A change of the shards, the workload or the faults gives a seed
/// another story; whoever makes one looks for seeds that tell these again.
const REGRESSIONS: [(u64, &str); 11] = [
    (30, "rot took the header of the oldest log segment: the start after the next dropped the whole segment"),
    (111, "a read of the log failed once, and the start took the frames for damaged for good"),
    (279, "a fenced shard's next commit succeeded and lifted the fence: retries were acknowledged that no log had"),
    (303, "a sync of a chunk file failed, the next one succeeded, and a checkpoint believed it"),
    (305, "as 279: queries showed what the failed commit had held"),
    (374, "a start believed frames of a failed write without syncing them, and a power cut took them back"),
    (420, "as 111"),
    (618, "as 374, with half of a request's part taken back"),
    (718, "as 30, without a word about the samples lost"),
    (1918, "as 30, with two power cuts between"),
    (2440, "a log segment whose name nobody had synced was believed and then lost, with the series that it defined"),
];

/// As the ones above, with deletions and snapshots.
const REGRESSIONS_WITH_ERRANDS: [(u64, &str); 3] = [
    (
        7363,
        "a log segment that was to be used again could not be opened, while a commit waited for it: the shard took no writes any more",
    ),
    (
        23404,
        "of a block something was deleted while one before it was cleaned, and then it was cleaned as it had been before",
    ),
    (40968, "rot took definitions of a series log, and the next checkpoint wrote a series log without an end"),
];

#[test]
fn seeds_that_found_something_stay_sound() {
    for (seed, story) in REGRESSIONS {
        let options = Options { no_errands: true, ..Options::default() };
        assert_eq!(run(seed, options).failure, None, "seed {seed}: {story}");
    }
    for (seed, story) in REGRESSIONS_WITH_ERRANDS {
        assert_eq!(run(seed, Options::default()).failure, None, "seed {seed}: {story}");
    }
}

/// Goal: an oracle that would notice. Method: a disk that breaks its word must make some seed fail.
#[test]
fn a_lying_disk_is_found_through_the_shards() {
    let durable_writes = Lies { durable_writes: true, ..Lies::default() };
    let directory_sync = Lies { directory_sync: true, ..Lies::default() };
    let sync = Lies { sync: true, ..Lies::default() };
    for lies in [durable_writes, directory_sync, sync] {
        let found = (0..60).any(|seed| run(seed, Options { lies, ..Options::default() }).failure.is_some());
        assert!(found, "{lies:?} was not found");
    }
}

/// Goal: no single failed change of the disk breaks a promise. Method: one quiet story, told with its first change failing, then
/// its second, until there are no more.
#[test]
fn any_one_change_may_fail() {
    let quiet = |seed, number| run(seed, Options { fail_change: Some(number), ..Options::default() });
    // Long enough for checkpoints, short enough to be told once for each of its changes.
    let long = |seed: &u64| (300..600).contains(&quiet(*seed, u64::MAX).disk.changes);
    let seed = (0..1000).find(long).expect("a story of that length");
    for number in 0..quiet(seed, u64::MAX).disk.changes {
        assert_eq!(quiet(seed, number).failure, None, "seed {seed}, change {number}");
    }
}
