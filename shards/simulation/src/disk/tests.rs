use std::collections::BTreeSet;

use ::runtime::Runtime;

use super::*;
use crate::{
    process::{Process, SimRuntime},
    world::Step,
};

const DIR: &str = "/data";
const SEEDS: u64 = 200;

struct Machine {
    world: World,
    disk: SimDisk,
}

impl Machine {
    /// A machine with an empty folder that survives anything.
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let disk = SimDisk::new(&world);
        let machine = Self { world, disk };
        machine.run(async |disk| {
            disk.create_directory(Path::new(DIR)).await.expect("a healthy disk");
            disk.sync_directory(Path::new("/")).await.expect("a healthy disk");
        });
        machine
    }

    fn run<T: 'static>(&self, story: impl AsyncFnOnce(SimDisk) -> T + 'static) -> T {
        let thread = self.world.new_thread(self.world.new_process());
        let disk = self.disk.clone();
        self.world.block_on(thread, async move { story(disk).await }).expect("a story without a deadlock")
    }

    /// What is in a file after the fact; `None` if there is no such name.
    fn read(&self, name: &'static str) -> Option<Vec<u8>> {
        self.run(async move |disk| {
            let file = disk.open(&path(name), OpenMode::Read).await.ok()?;
            let length = file.length().await.expect("a healthy disk") as usize;
            let (count, buffer) = file.read_at(AlignedBuffer::zeroed(length), 0).await;
            assert_eq!(count.expect("a healthy disk"), length);
            Some(buffer.to_vec())
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.world.end();
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn sectors(fill: u8, count: usize) -> AlignedBuffer {
    AlignedBuffer::from(&vec![fill; count * SECTOR_BYTES][..])
}

async fn write(file: &SimFile, fill: u8, count: usize, at_sector: u64) -> io::Result<()> {
    file.write_at(sectors(fill, count), at_sector * SECTOR_BYTES as u64).await.0
}

async fn create(disk: &SimDisk, name: &str, mode: OpenMode) -> SimFile {
    disk.open(&path(name), mode).await.expect("a healthy disk")
}

async fn sync_names(disk: &SimDisk) {
    disk.sync_directory(Path::new(DIR)).await.expect("a healthy disk");
}

/// Goal: a story, then a power cut, over many seeds, has exactly the outcomes that the model names (`outcome` folds a machine to
/// one); each of them must be seen, none other.
fn check<T: Ord + std::fmt::Debug + 'static>(
    story: impl AsyncFn(SimDisk) + Copy + 'static,
    outcome: impl Fn(&Machine) -> T,
    expect: impl IntoIterator<Item = T>,
) {
    let seen: BTreeSet<T> = (0..SEEDS)
        .map(|seed| {
            let machine = Machine::new(seed);
            machine.run(story);
            machine.disk.power_cut();
            outcome(&machine)
        })
        .collect();
    assert_eq!(seen, expect.into_iter().collect::<BTreeSet<T>>());
}

/// The fills of a file's sectors, `?` for a torn one; `None` without the file.
fn fills(machine: &Machine, name: &'static str) -> Option<String> {
    let bytes = machine.read(name)?;
    Some(bytes.chunks(SECTOR_BYTES).map(fill).collect())
}

fn fill(sector: &[u8]) -> char {
    match sector[0] {
        _ if sector.iter().any(|&byte| byte != sector[0]) => '?',
        0 => '0',
        byte => byte.into(),
    }
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|&text| Some(text.to_owned())).collect()
}

#[test]
fn what_was_made_durable_survives() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::CreateDurable).await;
            write(&file, b'x', 2, 0).await.expect("a healthy disk");
            let synced = create(&disk, "b", OpenMode::Create).await;
            write(&synced, b'y', 2, 0).await.expect("a healthy disk");
            synced.sync().await.expect("a healthy disk");
            sync_names(&disk).await;
        },
        |machine| (fills(machine, "a"), fills(machine, "b")),
        [(Some("xx".to_owned()), Some("yy".to_owned()))],
    );
}

#[test]
fn durable_content_without_a_synced_name_may_vanish() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::CreateDurable).await;
            write(&file, b'x', 1, 0).await.expect("a healthy disk");
        },
        |machine| fills(machine, "a"),
        [None, Some("x".to_owned())],
    );
}

#[test]
fn a_name_may_survive_without_its_content() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::Create).await;
            write(&file, b'x', 1, 0).await.expect("a healthy disk");
            sync_names(&disk).await;
        },
        |machine| fills(machine, "a"),
        // No length, length without data, torn, whole.
        some(&["", "0", "?", "x"]),
    );
}

#[test]
fn an_overwritten_header_may_reach_the_disk_while_the_growth_does_not() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::Create).await;
            write(&file, b'h', 1, 0).await.expect("a healthy disk");
            file.sync().await.expect("a healthy disk");
            sync_names(&disk).await;
            write(&file, b'd', 1, 1).await.expect("a healthy disk");
            write(&file, b'H', 1, 0).await.expect("a healthy disk");
        },
        |machine| fills(machine, "a"),
        some(&["h", "H", "?", "h0", "H0", "?0", "hd", "Hd", "?d", "h?", "H?", "??"]),
    );
}

#[test]
fn a_rename_may_survive_without_the_content_or_be_lost() {
    check(
        async |disk| {
            let old = create(&disk, "a", OpenMode::CreateDurable).await;
            write(&old, b'o', 1, 0).await.expect("a healthy disk");
            sync_names(&disk).await;
            let new = create(&disk, "a.tmp", OpenMode::Create).await;
            write(&new, b'n', 1, 0).await.expect("a healthy disk");
            disk.rename(&path("a.tmp"), &path("a")).await.expect("a healthy disk");
        },
        |machine| fills(machine, "a"),
        some(&["o", "", "0", "?", "n"]),
    );
}

#[test]
fn names_are_kept_or_lost_one_by_one() {
    check(
        async |disk| {
            for name in ["a", "b"] {
                create(&disk, name, OpenMode::Create).await;
            }
        },
        |machine| machine.disk.paths().len() * 10 + usize::from(machine.disk.paths().contains(&path("b"))),
        [0, 10, 11, 21],
    );
}

#[test]
fn a_removed_file_may_come_back_until_the_folder_is_synced() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::CreateDurable).await;
            write(&file, b'x', 1, 0).await.expect("a healthy disk");
            create(&disk, "gone", OpenMode::Create).await;
            disk.remove(&path("gone")).await.expect("a healthy disk");
            sync_names(&disk).await;
            disk.remove(&path("a")).await.expect("a healthy disk");
        },
        |machine| (fills(machine, "a"), fills(machine, "gone")),
        [(None, None), (Some("x".to_owned()), None)],
    );
}

#[test]
fn reserved_space_may_lose_its_length_but_not_a_durable_write_in_it() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::CreateDurable).await;
            file.allocate(3 * SECTOR_BYTES as u64).await.expect("a healthy disk");
            write(&file, b'x', 1, 0).await.expect("a healthy disk");
            sync_names(&disk).await;
        },
        |machine| fills(machine, "a"),
        some(&["x", "x00"]),
    );
}

#[test]
fn after_a_failed_sync_a_later_one_saves_nothing_old() {
    check(
        async |disk| {
            let file = create(&disk, "a", OpenMode::Create).await;
            write(&file, b'o', 2, 0).await.expect("a healthy disk");
            file.sync().await.expect("a healthy disk");
            sync_names(&disk).await;
            write(&file, b'n', 1, 0).await.expect("a healthy disk");
            disk.set_faults(Faults { sync_errors: 1_000_000, ..Faults::default() });
            file.sync().await.expect_err("an injected error");
            disk.set_faults(Faults::default());
            write(&file, b'N', 1, 1).await.expect("a healthy disk");
            file.sync().await.expect("a healthy disk");
        },
        |machine| fills(machine, "a"),
        some(&["oN", "nN", "?N"]),
    );
}

#[test]
fn a_durable_write_in_flight_is_lost_torn_or_complete() {
    let seen: BTreeSet<Option<String>> = (0..SEEDS)
        .map(|seed| {
            let machine = Machine::new(seed);
            let file = machine.run(async |disk| {
                let file = create(&disk, "a", OpenMode::CreateDurable).await;
                write(&file, b'o', 2, 0).await.expect("a healthy disk");
                sync_names(&disk).await;
                file
            });
            let process = Process::new(&machine.world, &machine.disk);
            Runtime::spawn(&process.new_thread(), async move {
                write(&file, b'n', 2, 0).await.expect("nobody hears it");
            });
            assert_eq!(machine.world.step(), Step::Ran);
            process.kill();
            machine.disk.power_cut();
            fills(&machine, "a")
        })
        .collect();
    let expect = some(&["oo", "on", "no", "nn", "o?", "?o", "n?", "?n", "??"]);
    assert_eq!(seen, expect.into_iter().collect());
}

#[test]
fn a_killed_process_leaves_what_it_saw() {
    for seed in 0..SEEDS {
        let machine = Machine::new(seed);
        machine.run(async |disk| {
            let file = create(&disk, "a", OpenMode::Create).await;
            write(&file, b'x', 3, 0).await.expect("a healthy disk");
        });
        machine.disk.process_killed();
        assert_eq!(fills(&machine, "a"), Some("xxx".to_owned()));
    }
}

#[test]
fn a_full_disk_refuses_growth_and_only_growth_until_there_is_room() {
    let machine = Machine::new(1);
    machine.run(async |disk| {
        let file = create(&disk, "a", OpenMode::CreateDurable).await;
        file.allocate(4 * SECTOR_BYTES as u64).await.expect("room enough");
        create(&disk, "ballast", OpenMode::Create).await.allocate(8 * SECTOR_BYTES as u64).await.expect("room enough");
        disk.set_space_left(Some(0));
        write(&file, b'x', 4, 0).await.expect("the space is reserved");
        let error = write(&file, b'x', 1, 4).await.expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(disk.open(&path("b"), OpenMode::Create).await.is_err());
        assert_eq!(file.length().await.expect("a healthy disk"), 4 * SECTOR_BYTES as u64);
        disk.set_space_left(None);
        write(&file, b'x', 1, 4).await.expect("room again");
    });
    assert_eq!(machine.disk.counts().refused_for_space, 2);
}

#[test]
fn errors_come_as_an_operating_system_gives_them() {
    let machine = Machine::new(1);
    machine.run(async |disk| {
        let kind = |result: io::Result<()>| result.expect_err("a wrong call").kind();
        let missing = path("missing");
        assert_eq!(kind(disk.open(&missing, OpenMode::Read).await.map(drop)), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.list(&missing).await.map(drop)), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.remove(&missing).await), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.rename(&missing, &path("b")).await), io::ErrorKind::NotFound);
        create(&disk, "a", OpenMode::Create).await;
        assert_eq!(kind(disk.open(&path("a"), OpenMode::CreateDurable).await.map(drop)), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.create_directory(&path("a")).await), io::ErrorKind::AlreadyExists);
        disk.create_directory(Path::new(DIR)).await.expect("it is there already");
        assert_eq!(disk.list(Path::new(DIR)).await.expect("it is there"), ["a"]);
    });
}

#[test]
fn the_nth_change_fails_and_only_that() {
    let machine = Machine::new(1);
    let results = machine.run(async |disk| {
        let first = disk.counts().changes;
        disk.set_faults(Faults { fail_change: Some(first + 2), ..Faults::default() });
        let file = create(&disk, "a", OpenMode::CreateDurable).await;
        let mut results = Vec::new();
        for sector in 0..3 {
            results.push(write(&file, b'x', 1, sector).await.is_ok());
        }
        results
    });
    assert_eq!(results, [true, false, true]);
}

#[test]
fn rot_flips_one_bit_and_says_where() {
    for seed in 0..20 {
        let machine = Machine::new(seed);
        assert_eq!(machine.disk.rot(), None);
        machine.run(async |disk| {
            let file = create(&disk, "a", OpenMode::CreateDurable).await;
            write(&file, b'x', 4, 0).await.expect("a healthy disk");
            sync_names(&disk).await;
        });
        let rotten = machine.disk.rot().expect("a file with data");
        assert_eq!(rotten.path, path("a"));
        machine.disk.power_cut();
        let bytes = machine.read("a").expect("a durable file");
        let flipped: Vec<(usize, u32)> =
            bytes.iter().enumerate().map(|(at, byte)| (at, (byte ^ b'x').count_ones())).filter(|f| f.1 > 0).collect();
        assert!(matches!(flipped[..], [(at, 1)] if (at / SECTOR_BYTES * SECTOR_BYTES) as u64 == rotten.offset));
    }
}

/// A lying disk must lose what an honest one keeps, or the canaries that rely on it would prove nothing.
#[test]
fn lies_lose_what_was_promised() {
    let lost = |lies: Lies| {
        (0..SEEDS).any(|seed| {
            let machine = Machine::new(seed);
            machine.disk.set_lies(lies);
            machine.run(async |disk| {
                let file = create(&disk, "a", OpenMode::CreateDurable).await;
                write(&file, b'x', 1, 0).await.expect("a healthy disk");
                file.sync().await.expect("a healthy disk");
                sync_names(&disk).await;
            });
            machine.disk.power_cut();
            fills(&machine, "a") != Some("x".to_owned())
        })
    };
    assert!(!lost(Lies::default()));
    assert!(lost(Lies { directory_sync: true, ..Lies::default() }));
    assert!(lost(Lies { durable_writes: true, sync: true, ..Lies::default() }));
}

/// A runtime is cheap to clone and its clones see one disk.
#[test]
fn clones_of_a_runtime_share_the_disk() {
    let machine = Machine::new(1);
    let process = Process::new(&machine.world, &machine.disk);
    let one: SimRuntime = process.new_thread();
    let other = one.clone();
    Runtime::spawn(&one, async move {
        create(Runtime::disk(&other), "a", OpenMode::Create).await;
    });
    while machine.world.step() == Step::Ran {}
    assert_eq!(machine.disk.paths(), [path("a")]);
}
