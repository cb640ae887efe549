//! What of the machine concerns a tuning file: CPUs and their limits, how they are clocked, memory.

use std::{collections::BTreeMap, fs, io};

use runtime::placement::Topology;

/// The machine as this process sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) topology: Topology,
    /// How the kernel clocks the CPUs that this process may use; empty where it does not, as in most virtual machines.
    pub(crate) governors: BTreeMap<usize, String>,
    /// Bytes of all memory.
    pub(crate) memory: u64,
}

impl Host {
    /// # Errors
    /// If the kernel does not tell on which CPUs this process may run.
    pub(crate) fn read() -> io::Result<Self> {
        let topology = Topology::read()?;
        let governor = |cpu: usize| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
            Some((cpu, fs::read_to_string(path).ok()?.trim().to_owned()))
        };
        let governors = topology.cpus.iter().filter_map(|cpu| governor(cpu.id)).collect();
        let all = rustix::system::sysinfo();
        Ok(Self { governors, memory: all.totalram * u64::from(all.mem_unit), topology })
    }

    /// Memory that this process may have.
    pub(crate) fn usable_memory(&self) -> u64 {
        self.topology.memory_limit.map_or(self.memory, |limit| limit.min(self.memory))
    }
}
