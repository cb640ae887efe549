//! A placement held against the machine: what is not there, or in its own way, with the remedy. None of it keeps the server from
//! starting: it costs speed, and at three in the morning a slow server is better than none.

use std::collections::{BTreeMap, BTreeSet};

use runtime::placement::{Cpu, Placement};
use shard::Backend;

use super::{host::Host, list};

/// Locked memory below which glommio does not start, and what its rings want.
const MEMLOCK_BYTES_WANTED: u64 = 8 << 20;

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

fn finding(what: String, remedy: impl Into<String>) -> Finding {
    Finding { what, remedy: remedy.into() }
}

/// Everything that is wrong with a placement on this machine.
pub(crate) fn check(placement: &Placement, backend: Backend, host: &Host) -> Vec<Finding> {
    let cpus: BTreeMap<usize, &Cpu> = host.topology.cpus.iter().map(|cpu| (cpu.id, cpu)).collect();
    let mut found = absent(placement, &cpus);
    found.extend(shared_cores(placement, &cpus));
    found.extend(nodes(placement, &cpus));
    found.extend(quota(placement, host));
    found.extend(governors(placement, host));
    found.extend(memlock(backend, host));
    found
}

fn absent(placement: &Placement, cpus: &BTreeMap<usize, &Cpu>) -> Vec<Finding> {
    let allowed: Vec<usize> = cpus.keys().copied().collect();
    let missing = |key: &str, named: &[usize]| {
        let missing: BTreeSet<usize> = named.iter().copied().filter(|cpu| !cpus.contains_key(cpu)).collect();
        (!missing.is_empty()).then(|| {
            let missing = list(&missing.into_iter().collect::<Vec<_>>());
            finding(
                format!("{key} names CPU {missing}, which this process may not use or which is not there"),
                format!(
                    "name some of {}, or allow it (AllowedCPUs= of the unit, the cpuset of a container)",
                    list(&allowed)
                ),
            )
        })
    };
    let both = [missing("shard_cpus", &placement.shards), missing("control_cpus", &placement.control)];
    both.into_iter().flatten().collect()
}

/// Two that want a core for themselves, on one.
fn shared_cores(placement: &Placement, cpus: &BTreeMap<usize, &Cpu>) -> Vec<Finding> {
    let mut found = Vec::new();
    let core = |cpu: usize| cpus.get(&cpu).map(|cpu| cpu.core);
    for (at, &cpu) in placement.shards.iter().enumerate() {
        let Some(other) = placement.shards[..at].iter().copied().find(|&other| core(other) == core(cpu)) else {
            continue;
        };
        let what = match (core(cpu), other == cpu) {
            (None, _) => continue,
            (_, true) => format!("two shards are on CPU {cpu}"),
            (_, false) => format!("shards are on CPU {other} and {cpu}, which are hardware threads of one core"),
        };
        found.push(finding(what, "give each shard a core of its own, or have fewer shards"));
    }
    let taken: BTreeSet<usize> = placement.shards.iter().filter_map(|&cpu| core(cpu)).collect();
    let cores: BTreeSet<usize> = cpus.values().map(|cpu| cpu.core).collect();
    let both: Vec<usize> = placement.control.iter().copied().filter(|cpu| placement.shards.contains(cpu)).collect();
    if !both.is_empty() && cores.len() > taken.len() {
        found.push(finding(
            format!("the control plane runs on CPU {} too, which has a shard", list(&both)),
            "leave it out of control_cpus: queries and compaction would hold up writes there",
        ));
    }
    found
}

/// A node without a shard has its memory reached from afar, whoever uses it.
fn nodes(placement: &Placement, cpus: &BTreeMap<usize, &Cpu>) -> Option<Finding> {
    let all: BTreeSet<usize> = cpus.values().map(|cpu| cpu.node).collect();
    let mut shards: BTreeMap<usize, usize> = BTreeMap::new();
    for cpu in placement.shards.iter().filter_map(|cpu| cpus.get(cpu)) {
        *shards.entry(cpu.node).or_default() += 1;
    }
    let without: Vec<usize> = all.iter().copied().filter(|node| !shards.contains_key(node)).collect();
    let crowded = shards.iter().find(|(_, count)| **count > 1)?;
    (!without.is_empty()).then(|| {
        finding(
            format!("NUMA node {} has {} shards and node {} none", crowded.0, crowded.1, list(&without)),
            "move a shard there: each has its memory on the node that it runs on",
        )
    })
}

fn quota(placement: &Placement, host: &Host) -> Option<Finding> {
    let quota = host.topology.quota_millicpus?;
    let wanted = placement.shards.len() as u64 * 1000;
    (quota < wanted).then(|| {
        finding(
            format!("{} shards have a quota of {:.1} CPUs together", placement.shards.len(), quota as f64 / 1000.0),
            "raise the quota (CPUQuota= of the unit) or have fewer shards: a busy shard is stopped for the rest of each period",
        )
    })
}

fn governors(placement: &Placement, host: &Host) -> Option<Finding> {
    let slow: Vec<usize> = placement
        .shards
        .iter()
        .copied()
        .filter(|cpu| host.governors.get(cpu).is_some_and(|governor| governor != "performance"))
        .collect();
    let governor = host.governors.get(slow.first()?)?;
    Some(finding(
        format!("CPU {} with a shard is clocked by the governor {governor}", list(&slow)),
        "cpupower frequency-set -g performance: a shard that wakes for each commit is served at the lowest clock",
    ))
}

fn memlock(backend: Backend, host: &Host) -> Option<Finding> {
    let limit = host.topology.memlock_limit?;
    (backend == Backend::Glommio && limit < MEMLOCK_BYTES_WANTED).then(|| {
        finding(
            format!("backend = \"glommio\" may lock {} KiB of memory", limit >> 10),
            "LimitMEMLOCK=infinity in the unit, or ulimit -l: below 512 KiB io_uring does not start at all",
        )
    })
}

#[cfg(test)]
mod tests {
    use runtime::placement::Topology;

    use super::*;

    /// Two nodes with two cores of two threads each: 0-3 and their siblings 4-7.
    fn host() -> Host {
        let cpu = |id: usize| Cpu { id, node: id % 4 / 2, core: id % 4 };
        let topology = Topology { cpus: (0..8).map(cpu).collect(), ..Topology::default() };
        Host { topology, memory: 1 << 34, ..Host::default() }
    }

    fn found(shards: &[usize], control: &[usize], host: &Host) -> Vec<String> {
        let placement = Placement { shards: shards.to_vec(), control: control.to_vec() };
        check(&placement, Backend::Glommio, host).into_iter().map(|finding| finding.what).collect()
    }

    fn expect(shards: &[usize], control: &[usize], host: &Host, parts: &[&str]) {
        let found = found(shards, control, host);
        assert_eq!(found.len(), parts.len(), "{found:?}");
        for (what, part) in found.iter().zip(parts) {
            assert!(what.contains(part), "{what}: {part}");
        }
    }

    #[test]
    fn what_suits_the_machine_is_left_alone() {
        expect(&[1, 3], &[0, 2, 4, 6], &host(), &[]);
        let auto = Placement::auto(&host().topology);
        assert_eq!(check(&auto, Backend::Auto, &host()), []);
    }

    #[test]
    fn each_mistake_is_named() {
        expect(&[1, 9], &[0, 11], &host(), &["shard_cpus names CPU 9", "control_cpus names CPU 11"]);
        expect(&[1, 3, 7], &[0], &host(), &["CPU 3 and 7, which are hardware threads of one core"]);
        expect(&[1, 1, 3], &[0], &host(), &["two shards are on CPU 1"]);
        expect(&[1, 3], &[0, 1], &host(), &["the control plane runs on CPU 1 too"]);
        expect(&[0, 1], &[2], &host(), &["NUMA node 0 has 2 shards and node 1 none"]);
    }

    #[test]
    fn limits_and_clocks_are_looked_at() {
        let mut host = host();
        host.topology.quota_millicpus = Some(1500);
        host.topology.memlock_limit = Some(64 << 10);
        host.governors =
            (0..8).map(|cpu| (cpu, if cpu < 2 { "powersave" } else { "performance" }.to_owned())).collect();
        let parts = ["a quota of 1.5 CPUs", "CPU 1 with a shard is clocked by the governor powersave", "lock 64 KiB"];
        expect(&[1, 3], &[0], &host, &parts);
    }

    /// A machine with one core has no choice.
    #[test]
    fn one_cpu_for_all_is_no_mistake() {
        let cpus = vec![Cpu { id: 0, node: 0, core: 0 }];
        let host = Host { topology: Topology { cpus, ..Topology::default() }, ..Host::default() };
        expect(&[0], &[0], &host, &[]);
    }
}
