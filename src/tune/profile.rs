//! The tuning file that suits a machine, with what was found and why.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, time::Duration};

use runtime::{DurableWay, placement::Placement};
use shard::Backend;

use super::measure::{Disk, Memory};
use crate::{
    calendar,
    config::tuning::{self, Finding, Host},
};

/// What was measured.
pub(super) struct Facts {
    pub(super) host: Host,
    pub(super) directory: PathBuf,
    pub(super) disk: Disk,
    pub(super) memory: Memory,
    pub(super) wake_up: Duration,
}

/// Commits above this are felt by senders that wait for each.
const COMMIT_FELT: Duration = Duration::from_millis(5);

pub(super) fn render(facts: &Facts, placement: &Placement, now_ms: i64) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to memory");
    line(format!(
        "# Written by `millrace tune`, {}. For `millrace serve --tuning.file=...`.",
        calendar::rfc3339_s(now_ms)
    ));
    line("#".to_owned());
    line("# What was found:".to_owned());
    found(facts).into_iter().for_each(|fact| line(format!("#   {fact}")));
    let findings = tuning::check(placement, Backend::Auto, &facts.host);
    if !findings.is_empty() || facts.disk.fastest() > COMMIT_FELT {
        line("#\n# What to mend outside of this file:".to_owned());
    }
    for Finding { what, remedy } in &findings {
        line(format!("#   {what}: {remedy}."));
    }
    if facts.disk.fastest() > COMMIT_FELT {
        line("#   A commit waits for the disk, and each answer to a sender for a commit: a drive with power-loss protection.".to_owned());
    }
    line("\nversion = 1\n".to_owned());
    settings(facts, placement).into_iter().for_each(line);
    out
}

fn found(facts: &Facts) -> Vec<String> {
    let Facts { host, directory, disk, memory, wake_up } = facts;
    let topology = &host.topology;
    let ids: Vec<usize> = topology.cpus.iter().map(|cpu| cpu.id).collect();
    let cores = topology.cpus.iter().map(|cpu| cpu.core).collect::<BTreeSet<_>>().len();
    let nodes = topology.cpus.iter().map(|cpu| cpu.node).collect::<BTreeSet<_>>().len();
    let quota =
        topology.quota_millicpus.map_or("none".to_owned(), |quota| format!("{:.1} CPUs", quota as f64 / 1000.0));
    let bytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let limit = topology.memory_limit.map_or("none".to_owned(), bytes);
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    vec![
        format!(
            "CPU {}: {} threads of {cores} cores, {nodes} NUMA nodes, quota {quota}",
            tuning::list(&ids),
            ids.len()
        ),
        format!(
            "memory {}, limit {limit}; a read that no cache has {} ns, copies {:.1} GB/s",
            bytes(host.memory),
            memory.latency.as_nanos(),
            memory.copied_per_second / 1e9
        ),
        format!("waking another thread {} us", wake_up.as_micros()),
        format!(
            "the disk of {}: a durable commit of 32 KiB {} as one synced write, {} as write and flush; files {:.0} MB/s",
            directory.display(),
            ms(disk.ways.synced_write),
            ms(disk.ways.write_then_flush),
            disk.bytes_per_second / 1e6
        ),
    ]
}

fn settings(facts: &Facts, placement: &Placement) -> Vec<String> {
    let Placement { shards, control } = placement;
    let way = match facts.disk.ways.faster() {
        DurableWay::SyncedWrite => "one synced write",
        DurableWay::WriteThenFlush => "write and flush",
    };
    vec![
        format!(
            "# One shard carries more than half of the design's load, and a request wakes every shard that it touches, {} us each\n\
             # here: one for eight cores, and one for each NUMA node at least. A directory keeps its number until a start with another one.",
            facts.wake_up.as_micros()
        ),
        format!("shards = {}\n", shards.len()),
        "# Cores of their own, on no sibling of another shard; not CPU 0 where there is a choice, as it takes most interrupts. What a shard\n\
         # touches first lies on its own node."
            .to_owned(),
        format!("shard_cpus = [{}]\n", joined(shards)),
        "# All others: queries, compaction and rules must not hold up writes.".to_owned(),
        format!("control_cpus = [{}]\n", joined(control)),
        "# What serves best as measured: the portable one, until glommio loses no wake-ups.".to_owned(),
        "backend = \"auto\"\n".to_owned(),
        format!("# Not a setting: the log is committed by {way}, which each start measures again."),
        format!(
            "# Not a setting either: {} series fit into six tenths of the memory; --limits.max-series says otherwise.",
            tuning::series_that_fit(&facts.host)
        ),
    ]
}

fn joined(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Disk {
    fn fastest(&self) -> Duration {
        self.ways.synced_write.min(self.ways.write_then_flush)
    }
}

#[cfg(test)]
mod tests {
    use runtime::{
        measure::Measured,
        placement::{Cpu, Topology},
    };

    use super::*;

    fn facts(synced_us: u64) -> Facts {
        let cpus = (0..16).map(|id| Cpu { id, node: id / 8, core: id }).collect();
        let topology = Topology { cpus, ..Topology::default() };
        let governors = [(1, "powersave".to_owned())].into();
        let ways = Measured {
            synced_write: Duration::from_micros(synced_us),
            write_then_flush: Duration::from_micros(2 * synced_us),
        };
        Facts {
            host: Host { topology, governors, memory: 64 << 30 },
            directory: "data".into(),
            disk: Disk { ways, bytes_per_second: 5e8 },
            memory: Memory { latency: Duration::from_nanos(90), copied_per_second: 1e10 },
            wake_up: Duration::from_micros(40),
        }
    }

    /// Goal: the server reads what is written, every value has a reason before it, and what is wrong outside is said.
    #[test]
    fn a_file_says_why_and_is_read_back() {
        let facts = facts(100);
        let placement = Placement::auto(&facts.host.topology);
        let text = render(&facts, &placement, 0);
        assert_eq!(tuning::placement_of(&text, &facts.host.topology).expect("a good file"), placement);
        for setting in ["shards", "shard_cpus", "control_cpus", "backend"] {
            let before = text.split(&format!("\n{setting} = ")).next().expect("a part");
            assert!(
                before.len() < text.len() && before.lines().last().is_some_and(|line| line.starts_with('#')),
                "{text}"
            );
        }
        for part in [
            "16 threads of 16 cores, 2 NUMA nodes",
            "0.10 ms as one synced write",
            "waking another thread 40 us",
            "powersave",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("power-loss"));
        assert!(render(&self::facts(9000), &placement, 0).contains("power-loss protection"));
    }
}
