//! Which cores this process may use, and which of them become shards.
//!
//! [`Topology::read`] looks at the machine: the CPUs allowed to this process (affinity and cpuset), NUMA nodes and SMT siblings
//! from sysfs, and the cgroup's CPU quota and memory limit (version 2 and 1). [`Placement::auto`] decides, and is a pure function.

use std::{collections::BTreeSet, io};

use rustix::{
    process::{Resource, getrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

mod cgroup;
mod sysfs;

/// One CPU (hardware thread) that this process may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The kernel's number.
    pub id: usize,
    /// NUMA node; 0 where the kernel knows none.
    pub node: usize,
    /// The lowest number among the hardware threads of its core, whether allowed to us or not: equal means siblings.
    pub core: usize,
}

/// What this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topology {
    /// Allowed CPUs, by number.
    pub cpus: Vec<Cpu>,
    /// CPU quota of the cgroup, in thousandths of a CPU; none if unlimited.
    pub quota_millicpus: Option<u64>,
    /// Memory limit of the cgroup, in bytes; none if unlimited.
    pub memory_limit: Option<u64>,
    /// Limit on locked memory, in bytes; none if unlimited.
    pub memlock_limit: Option<u64>,
}

/// Which CPUs do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One shard each, by number.
    pub shards: Vec<usize>,
    /// The control plane's. The same CPU as a shard's only if there is no other.
    pub control: Vec<usize>,
}

impl Topology {
    /// Looks at the machine. What cannot be read counts as not there: one node, no siblings, no limit.
    ///
    /// # Errors
    /// If the kernel does not tell on which CPUs this process may run.
    pub fn read() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let ids = (0..CpuSet::MAX_CPU).filter(|&id| allowed.is_set(id));
        let limits = cgroup::Limits::read();
        Ok(Self {
            cpus: ids.map(|id| Cpu { id, node: sysfs::node_of(id), core: sysfs::core_of(id) }).collect(),
            quota_millicpus: limits.quota_millicpus,
            memory_limit: limits.memory,
            memlock_limit: getrlimit(Resource::Memlock).current,
        })
    }

    /// CPUs that the quota pays for, at least 1.
    #[must_use]
    pub fn usable_cpus(&self) -> usize {
        let quota =
            self.quota_millicpus.map_or(usize::MAX, |quota| usize::try_from(quota / 1000).unwrap_or(usize::MAX));
        self.cpus.len().min(quota).max(1)
    }
}

/// Cores per shard, where nobody has measured: one shard carries more than half of the design load, and each further one makes
/// every request touch one more core.
const CORES_PER_SHARD: usize = 8;

impl Placement {
    /// One shard for every eight usable cores, at least one on each NUMA node that has CPUs of ours, never two on hardware threads
    /// of one core, never all cores; the control plane gets what is left, without siblings of shards while there are others.
    ///
    /// # Panics
    /// If `topology` has no CPU.
    #[must_use]
    pub fn auto(topology: &Topology) -> Self {
        assert!(!topology.cpus.is_empty(), "a running process has a CPU to run on");
        let nodes = cores_by_node(topology);
        let cores: usize = nodes.iter().map(Vec::len).sum();
        let usable = topology.usable_cpus().min(cores);
        let most = usable.saturating_sub(1).max(1);
        let wanted = (usable / CORES_PER_SHARD).max(nodes.len()).min(most);
        let shards = spread(&nodes, wanted);
        let control = rest(topology, &shards);
        Self { shards, control }
    }
}

/// The first allowed CPU of each core, by node; the machine's first CPU comes last in its node, as it takes most interrupts.
fn cores_by_node(topology: &Topology) -> Vec<Vec<usize>> {
    let node_ids: BTreeSet<_> = topology.cpus.iter().map(|cpu| cpu.node).collect();
    let first_of_node = |node| {
        let mut seen = BTreeSet::new();
        let cpus = topology.cpus.iter().filter(move |cpu| cpu.node == node && seen.insert(cpu.core));
        let mut cores: Vec<_> = cpus.map(|cpu| cpu.id).collect();
        if cores.first() == Some(&0) {
            cores.rotate_left(1);
        }
        cores
    };
    node_ids.into_iter().map(first_of_node).collect()
}

/// Takes `wanted` CPUs, one node after the other.
fn spread(nodes: &[Vec<usize>], wanted: usize) -> Vec<usize> {
    let rounds = nodes.iter().map(Vec::len).max().unwrap_or(0);
    let in_turns = (0..rounds).flat_map(|round| nodes.iter().filter_map(move |cores| cores.get(round).copied()));
    let mut taken: Vec<_> = in_turns.take(wanted).collect();
    taken.sort_unstable();
    taken
}

/// The CPUs that are left for the control plane: first choice without siblings of shards, then with them, then all.
fn rest(topology: &Topology, shards: &[usize]) -> Vec<usize> {
    let shard_cores: BTreeSet<_> =
        topology.cpus.iter().filter(|cpu| shards.contains(&cpu.id)).map(|cpu| cpu.core).collect();
    let ids = |wanted: &dyn Fn(&Cpu) -> bool| -> Vec<usize> {
        topology.cpus.iter().filter(|cpu| wanted(cpu)).map(|cpu| cpu.id).collect()
    };
    [ids(&|cpu| !shard_cores.contains(&cpu.core)), ids(&|cpu| !shards.contains(&cpu.id))]
        .into_iter()
        .find(|cpus| !cpus.is_empty())
        .unwrap_or_else(|| ids(&|_| true))
}

/// Keeps the current thread, and those that it starts, on `cpus`.
///
/// # Errors
/// If none of them exists or is allowed to this process.
pub fn pin_current_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        io::Error::new(
            io::Error::from(error).kind(),
            format!("keeping a thread on CPUs {cpus:?}: {error}; check the tuning file against the CPUs allowed to this process"),
        )
    })
}

#[cfg(test)]
mod tests;
