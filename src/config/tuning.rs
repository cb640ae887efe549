//! The tuning file: which cores do what, and on which backend. Without it everything is chosen for the machine.
//!
//! ```toml
//! version = 1
//! shards = 2                # or "auto"
//! shard_cpus = [1, 2]       # one for each shard
//! control_cpus = [0]
//! backend = "auto"          # portable, today; or "glommio" (io_uring; falls back to portable where it can't run)
//! wal_directory = "/mnt/a"         # logs go there instead of into the data directory
//! second_wal_directory = "/mnt/b"  # a write goes there that the first has refused
//! ```
//!
//! Files are for ever: the version is required, and a key that is not known is refused instead of guessed.

mod check;
mod host;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model::METRIC_NAME;
use runtime::placement::{Placement, Topology};
use shard::{Backend, ShardConfig, directory::DataDirectory, ingest::Excess, names::LogDirectories};
use toml::de::{DeTable, DeValue};
use tsdb::limits::ShareLimit;
use wire::remote_write::DecodeLimits;

pub(crate) use self::{
    check::{Finding, check},
    host::Host,
};
use super::{
    flags::{self, ServeFlags},
    nearest,
};

const VERSION: i64 = 1;
const KEYS: [&str; 7] =
    ["version", "shards", "shard_cpus", "control_cpus", "backend", "wal_directory", "second_wal_directory"];
/// Threads of the control plane, whatever the machine: its work is waiting, and queries have threads of their own.
const CONTROL_THREADS_MAX: usize = 16;
const SHARDS_MAX: i64 = 256;
/// Memory that a series takes with two hours of samples, and the share of all memory that series may take; the rest is for
/// queries, the page cache and whatever else runs. `--limits.max-series` sets another limit.
const SERIES_BYTES: u64 = 600;
const SERIES_MEMORY_SHARE: (u64, u64) = (6, 10);

/// What the data plane and the control plane are started with.
#[derive(Debug)]
pub(crate) struct Tuning {
    pub(crate) data_plane: shard::Config,
    /// Placement in words.
    pub(crate) summary: String,
    /// What of the placement does not suit the machine.
    pub(crate) findings: Vec<Finding>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TuningError {
    #[error("read {path} (--tuning.file): {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {what}")]
    Invalid { path: PathBuf, line: usize, what: String },
    #[error("find out which CPUs this process may use: {0}")]
    Topology(io::Error),
}

/// What a tuning file says; everything may be left open.
#[derive(Debug, Default, PartialEq, Eq)]
struct File {
    shards: Option<usize>,
    shard_cpus: Option<Vec<usize>>,
    control_cpus: Option<Vec<usize>>,
    backend: Option<Backend>,
    wal_directory: Option<PathBuf>,
    second_wal_directory: Option<PathBuf>,
}

pub(crate) fn load(flags: &ServeFlags) -> Result<Tuning, TuningError> {
    let file = flags.tuning_file.as_deref().map_or_else(|| Ok(File::default()), read)?;
    let host = Host::read().map_err(TuningError::Topology)?;
    let topology = &host.topology;
    // What is wrong with the directory is said by whoever opens it.
    let recorded = DataDirectory::recorded_shards(&flags.storage_path).unwrap_or(None);
    let placement = place(&file, topology, recorded);
    let summary = summary(&placement, topology);
    let findings = check(&placement, file.backend.unwrap_or_default(), &host);
    let mut shard = ShardConfig::default();
    shard.limits.labels_per_series_max = flags.series_labels_max as usize;
    shard.limits.shares = flags.label_series_max.clone();
    if flags.metric_series_max > 0 {
        shard.limits.shares.push(ShareLimit { label: METRIC_NAME.to_owned(), series_max: flags.metric_series_max });
    }
    let mut decode_limits = DecodeLimits::default();
    decode_limits.labels_per_series_max = decode_limits.labels_per_series_max.max(flags.series_labels_max);
    decode_limits.keeps_start_times = flags.has_feature("created-timestamp-zero-ingestion");
    let data_plane = shard::Config {
        directory: flags.storage_path.clone(),
        logs: LogDirectories { first: file.wal_directory, second: file.second_wal_directory, former: Vec::new() },
        placement,
        backend: file.backend.unwrap_or_default(),
        ingest_listen: None,
        series_max: if flags.series_max == 0 { series_that_fit(&host) } else { flags.series_max },
        new_series_per_minute_max: flags.new_series_per_minute_max,
        exemplars_max: shard::shared::EXEMPLARS_MAX,
        out_of_order_window_ms: 0,
        excess: match flags.excess {
            flags::Excess::Refuse => Excess::Refuse,
            flags::Excess::Drop => Excess::Drop,
        },
        decode_limits,
        shard,
    };
    Ok(Tuning { data_plane, summary, findings })
}

/// Holds a tuning file against this machine.
pub(crate) fn check_file(path: &Path) -> Result<Vec<Finding>, TuningError> {
    let (file, host) = (read(path)?, Host::read().map_err(TuningError::Topology)?);
    let placement = place(&file, &host.topology, None);
    Ok(check(&placement, file.backend.unwrap_or_default(), &host))
}

fn read(path: &Path) -> Result<File, TuningError> {
    let text = fs::read_to_string(path).map_err(|source| TuningError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|fault| TuningError::Invalid {
        path: path.to_owned(),
        line: text.as_bytes()[..fault.offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1,
        what: fault.what,
    })
}

/// What is wrong with a file, and at which byte.
#[derive(Debug)]
struct Fault {
    offset: usize,
    what: String,
}

fn parse(text: &str) -> Result<File, Fault> {
    let table = DeTable::parse(text).map_err(|error| Fault {
        offset: error.span().map_or(0, |span| span.start),
        what: error.message().to_owned(),
    })?;
    let mut file = File::default();
    let mut version = None;
    for (key, value) in table.get_ref() {
        let fault = |what: String| Fault { offset: key.span().start, what };
        let wrong = |expected: &str| fault(format!("`{}` must be {expected}", key.get_ref()));
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "version" => version = Some(integer(value).ok_or_else(|| wrong("a number"))?),
            "shards" if value.as_str() == Some("auto") => {}
            "shards" => {
                let count = integer(value).filter(|count| (1..=SHARDS_MAX).contains(count));
                file.shards = Some(count.ok_or_else(|| wrong("\"auto\" or a number from 1 to 256"))? as usize);
            }
            "shard_cpus" => file.shard_cpus = Some(cpus(value).ok_or_else(|| wrong("a list of CPU numbers"))?),
            "control_cpus" => file.control_cpus = Some(cpus(value).ok_or_else(|| wrong("a list of CPU numbers"))?),
            "backend" => {
                let backend = backend(value).ok_or_else(|| wrong("\"auto\", \"glommio\" or \"portable\""))?;
                file.backend = Some(backend);
            }
            "wal_directory" => file.wal_directory = Some(directory(value).ok_or_else(|| wrong("a path"))?),
            "second_wal_directory" => {
                file.second_wal_directory = Some(directory(value).ok_or_else(|| wrong("a path"))?);
            }
            other => return Err(fault(format!("unknown key `{other}`{}", nearest::hint(other, KEYS)))),
        }
    }
    check_keys(&file, version)?;
    Ok(file)
}

fn check_keys(file: &File, version: Option<i64>) -> Result<(), Fault> {
    let fault = |what: &str| Err(Fault { offset: 0, what: what.to_owned() });
    match version {
        None => return fault("`version = 1` is missing"),
        Some(VERSION) => {}
        Some(_) => return fault("this program knows version 1 of the tuning file only"),
    }
    match (file.shards, &file.shard_cpus) {
        (Some(shards), Some(cpus)) if cpus.len() != shards => {
            fault("`shard_cpus` must name one CPU for each of `shards`")
        }
        _ => Ok(()),
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer()?.as_str().parse().ok()
}

/// A list of at least one CPU.
fn cpus(value: &DeValue<'_>) -> Option<Vec<usize>> {
    let list = value.as_array()?.iter().map(|cpu| usize::try_from(integer(cpu.get_ref())?).ok());
    list.collect::<Option<Vec<_>>>().filter(|list| !list.is_empty())
}

fn directory(value: &DeValue<'_>) -> Option<PathBuf> {
    value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn backend(value: &DeValue<'_>) -> Option<Backend> {
    match value.as_str()? {
        "auto" => Some(Backend::Auto),
        "glommio" => Some(Backend::Glommio),
        "portable" => Some(Backend::Portable),
        _ => None,
    }
}

/// The file's word first, then what the data directory was written with, then what suits the machine.
fn place(file: &File, topology: &Topology, recorded: Option<usize>) -> Placement {
    let auto = Placement::auto(topology);
    let wanted = file.shard_cpus.as_ref().map(Vec::len).or(file.shards).or(recorded).unwrap_or(auto.shards.len());
    let shards = match &file.shard_cpus {
        Some(cpus) => cpus.clone(),
        None => shard_cpus(&auto, wanted),
    };
    let free: Vec<usize> = auto.control.iter().copied().filter(|cpu| !shards.contains(cpu)).collect();
    let control = file.control_cpus.clone().unwrap_or(if free.is_empty() { auto.control } else { free });
    Placement { shards, control }
}

/// A CPU for each shard: those of the automatic choice first, then the control plane's, then all over again.
fn shard_cpus(auto: &Placement, wanted: usize) -> Vec<usize> {
    let order = auto.shards.iter().chain(auto.control.iter().rev().filter(|cpu| !auto.shards.contains(cpu)));
    order.copied().collect::<Vec<_>>().into_iter().cycle().take(wanted).collect()
}

fn summary(placement: &Placement, topology: &Topology) -> String {
    let Placement { shards, control } = placement;
    let (count, usable) = (shards.len(), topology.usable_cpus());
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} shard{plural} on CPU {}; control plane on CPU {}; {usable} usable", list(shards), list(control))
}

pub(crate) fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(crate) fn series_that_fit(host: &Host) -> u64 {
    let (share, whole) = SERIES_MEMORY_SHARE;
    (host.usable_memory() / whole * share / SERIES_BYTES).max(1)
}

/// Threads that suit the control plane's CPUs.
pub(crate) fn control_threads(placement: &Placement) -> usize {
    placement.control.len().clamp(1, CONTROL_THREADS_MAX)
}

/// What a file's text comes to on a machine.
#[cfg(test)]
pub(crate) fn placement_of(text: &str, topology: &Topology) -> Result<Placement, String> {
    parse(text).map(|file| place(&file, topology, None)).map_err(|fault| fault.what)
}

#[cfg(test)]
mod tests {
    use runtime::placement::Cpu;

    use super::*;

    fn machine(cpus: usize) -> Topology {
        let cpus = (0..cpus).map(|id| Cpu { id, node: 0, core: id }).collect();
        Topology { cpus, ..Topology::default() }
    }

    #[test]
    fn a_file_is_read() {
        let text = "version = 1\nshards = 2\nshard_cpus = [1, 2]\ncontrol_cpus = [0]\nbackend = \"portable\"\n\
                    wal_directory = \"/a\"\nsecond_wal_directory = \"b\"\n";
        let file = parse(text).expect("a good file");
        let logs = (file.wal_directory.clone(), file.second_wal_directory.clone());
        assert_eq!(logs, (Some("/a".into()), Some("b".into())));
        assert_eq!((file.shards, file.backend), (Some(2), Some(Backend::Portable)));
        let placement = place(&file, &machine(4), None);
        assert_eq!((placement.shards, placement.control), (vec![1, 2], vec![0]));
        assert_eq!(parse("version = 1\nshards = \"auto\"").expect("auto"), File::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let check = |text: &str, line: usize, part: &str| {
            let fault = parse(text).expect_err(text);
            let found = text.as_bytes()[..fault.offset].iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!(found == line && fault.what.contains(part), "{text}: line {found}: {}", fault.what);
        };
        check("version = 1\nshard = 2", 2, "unknown key `shard`, did you mean shards?");
        check("shards = 2", 1, "version");
        check("version = 2", 1, "version 1");
        check("version = 1\nshards = 0", 2, "from 1 to 256");
        check("version = 1\n\nshard_cpus = [\"x\"]", 3, "CPU numbers");
        check("version = 1\nbackend = \"epoll\"", 2, "glommio");
        check("version = 1\nshards = 3\nshard_cpus = [1]", 1, "one CPU for each");
        check("version = 1\nwal_directory = \"\"", 2, "a path");
        check("version = ", 1, "");
    }

    /// Goal: the profiles suit the machines that they are for. Method: each against such a machine.
    #[test]
    fn the_profiles_suit_their_machines() {
        let expect = |text: &str, sockets: usize, cores: usize, threads: usize| {
            let cpu = |id: usize| {
                let core = id % (sockets * cores);
                Cpu { id, node: core / cores, core }
            };
            let topology = Topology { cpus: (0..sockets * cores * threads).map(cpu).collect(), ..Topology::default() };
            let placement = place(&parse(text).expect("a good file"), &topology, None);
            assert_eq!(placement, Placement::auto(&topology));
            let host = Host { topology, ..Host::default() };
            assert_eq!(check(&placement, Backend::Auto, &host), []);
        };
        expect(include_str!("../../tuning/two-cores.toml"), 1, 2, 1);
        expect(include_str!("../../tuning/one-socket.toml"), 1, 16, 2);
        expect(include_str!("../../tuning/two-sockets.toml"), 2, 16, 2);
    }

    #[test]
    fn a_directory_keeps_its_number_of_shards() {
        let placement = place(&File::default(), &machine(2), Some(3));
        assert_eq!(placement.shards.len(), 3);
        assert!(!placement.control.is_empty());
    }
}
