//! NUMA node and core of a CPU, as sysfs shows them.

use std::{fs, path::Path};

const CPUS: &str = "/sys/devices/system/cpu";

/// The node folder that stands in the CPU's own; 0 if there is none.
pub(super) fn node_of(cpu: usize) -> usize {
    let Ok(entries) = fs::read_dir(Path::new(CPUS).join(format!("cpu{cpu}"))) else { return 0 };
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()).unwrap_or(0)
}

/// The lowest-numbered sibling; the CPU itself if it has none.
pub(super) fn core_of(cpu: usize) -> usize {
    let siblings = Path::new(CPUS).join(format!("cpu{cpu}/topology/thread_siblings_list"));
    fs::read_to_string(siblings).ok().and_then(|list| first_of_list(&list)).unwrap_or(cpu)
}

/// The first number of a list like `0-3,8`; the kernel writes them in order.
fn first_of_list(list: &str) -> Option<usize> {
    list.trim().split([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_begin_with_their_lowest_number() {
        for (list, first) in [("0,64\n", Some(0)), ("3-4\n", Some(3)), ("7\n", Some(7)), ("\n", None), ("x", None)] {
            assert_eq!(first_of_list(list), first, "{list:?}");
        }
    }

    #[test]
    fn the_first_cpu_is_its_cores_first() {
        assert_eq!(core_of(0), 0);
        assert_eq!(core_of(100_000), 100_000, "what does not exist stands alone");
        assert_eq!(node_of(100_000), 0);
    }
}
