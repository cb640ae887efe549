//! CPU quota and memory limit of this process' cgroup, versions 2 and 1. The tightest limit on the way to the root counts.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Limits above this are the kernel's way to write "none" in version 1 (the highest page-aligned number of 63 bits).
const UNLIMITED_V1: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) quota_millicpus: Option<u64>,
    pub(super) memory: Option<u64>,
}

impl Limits {
    pub(super) fn read() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::read_under(Path::new("/sys/fs/cgroup"), &groups)
    }

    /// `groups` as in /proc/self/cgroup: `hierarchy:controllers:path` by line; hierarchy 0 is version 2.
    fn read_under(root: &Path, groups: &str) -> Self {
        let mut limits = Self::default();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let has = |name| controllers.split(',').any(|controller| controller == name);
            if hierarchy == "0" {
                limits.tighten(quota_v2, memory_v2, root.to_owned(), path);
            }
            if has("cpu") {
                limits.tighten(quota_v1, |_| None, mount_v1(root, controllers, "cpu"), path);
            }
            if has("memory") {
                limits.tighten(|_| None, memory_v1, mount_v1(root, controllers, "memory"), path);
            }
        }
        limits
    }

    /// Looks at the group's folder and those above it, down to the mount. In a container the path may lead outside of what is
    /// mounted; its own limits then stand at the mount itself.
    fn tighten(
        &mut self,
        quota: impl Fn(&Path) -> Option<u64>,
        memory: impl Fn(&Path) -> Option<u64>,
        mount: PathBuf,
        path: &str,
    ) {
        let own = mount.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&mount)) {
            self.quota_millicpus = lower(self.quota_millicpus, quota(folder));
            self.memory = lower(self.memory, memory(folder));
        }
    }
}

fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Controllers mounted together stand in a folder named after all of them, with links named after each.
fn mount_v1(root: &Path, controllers: &str, controller: &str) -> PathBuf {
    let alone = root.join(controller);
    if alone.exists() { alone } else { root.join(controllers) }
}

/// `cpu.max` holds the quota (or `max`) and the period, in microseconds.
fn quota_v2(folder: &Path) -> Option<u64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    millicpus(quota.parse().ok()?, period.parse().ok()?)
}

/// A quota of -1 is none, and does not parse.
fn quota_v1(folder: &Path) -> Option<u64> {
    millicpus(read_number(&folder.join("cpu.cfs_quota_us"))?, read_number(&folder.join("cpu.cfs_period_us"))?)
}

fn millicpus(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

fn memory_v2(folder: &Path) -> Option<u64> {
    read_number(&folder.join("memory.max"))
}

fn memory_v1(folder: &Path) -> Option<u64> {
    read_number(&folder.join("memory.limit_in_bytes")).filter(|&limit| limit < UNLIMITED_V1)
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(contents: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in contents {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn version_2_takes_the_tightest_limit_on_the_way_up() {
        let root = files(&[
            ("a/cpu.max", "250000 100000\n"),
            ("a/memory.max", "max\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/b/memory.max", "1073741824\n"),
        ]);
        let limits = Limits::read_under(root.path(), "0::/a/b\n");
        assert_eq!(limits, Limits { quota_millicpus: Some(2500), memory: Some(1 << 30) });
    }

    #[test]
    fn a_container_sees_its_limits_at_the_mount() {
        let root = files(&[("cpu.max", "50000 100000\n"), ("memory.max", "4096\n")]);
        let limits = Limits::read_under(root.path(), "0::/system.slice/somewhere\n");
        assert_eq!(limits, Limits { quota_millicpus: Some(500), memory: Some(4096) });
    }

    #[test]
    fn version_1_is_read_by_controller() {
        let root = files(&[
            ("cpu,cpuacct/g/cpu.cfs_quota_us", "400000\n"),
            ("cpu,cpuacct/g/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/g/memory.limit_in_bytes", "2147483648\n"),
        ]);
        let limits = Limits::read_under(root.path(), "4:cpu,cpuacct:/g\n3:memory:/g\n1:name=systemd:/g\n");
        assert_eq!(limits, Limits { quota_millicpus: Some(4000), memory: Some(2 << 30) });
    }

    #[test]
    fn no_limit_and_nonsense_are_none() {
        let root = files(&[
            ("cpu.max", "max 100000\n"),
            ("memory.max", "max\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "0\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(Limits::read_under(root.path(), "0::/\n2:cpu:/\n3:memory:/\nnonsense\n"), Limits::default());
        assert_eq!(Limits::read_under(Path::new("/nonexistent"), "0::/\n"), Limits::default());
    }
}
