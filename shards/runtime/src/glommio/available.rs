//! Whether io_uring can be used here, found out before anything depends on it.

use std::{fmt, fs, io, thread};

use rustix::process::{Resource, getrlimit};

/// Below this the executor does not start.
const MEMLOCK_MIN_BYTES: u64 = 512 << 10;

/// Oldest kernel with all the operations that are used.
const KERNEL_MIN: (u32, u32) = (5, 8);

/// Why io_uring cannot be used, and what an operator can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    pub reason: String,
    pub remedy: &'static str,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring cannot be used: {}; remedy: {}", self.reason, self.remedy)
    }
}

impl std::error::Error for Unavailable {}

/// Looks at the kernel's version and settings and the limit on locked memory, then starts an executor for real.
///
/// # Errors
/// With the first thing that stands in the way.
pub fn available() -> Result<(), Unavailable> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    check_kernel(&release)?;
    // Kernels before 6.6 have no such file.
    check_setting(&fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default())?;
    check_memlock(getrlimit(Resource::Memlock).current)?;
    try_executor().map_err(|error| Unavailable {
        reason: format!("starting an executor failed: {error}"),
        remedy: "allow the system calls io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
    })
}

fn check_kernel(release: &str) -> Result<(), Unavailable> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < KERNEL_MIN => Err(Unavailable {
            reason: format!("Linux {} is too old", release.trim()),
            remedy: "run Linux 5.8 or newer",
        }),
        // A release that cannot be read is left to the trial.
        _ => Ok(()),
    }
}

fn check_setting(disabled: &str) -> Result<(), Unavailable> {
    // 1 forbids it to processes without privileges or the right group, which only a trial can tell.
    if disabled.trim() == "2" {
        return Err(Unavailable {
            reason: "the kernel setting kernel.io_uring_disabled is 2".to_owned(),
            remedy: "set kernel.io_uring_disabled to 0 with sysctl",
        });
    }
    Ok(())
}

fn check_memlock(limit: Option<u64>) -> Result<(), Unavailable> {
    match limit {
        Some(bytes) if bytes < MEMLOCK_MIN_BYTES => Err(Unavailable {
            reason: format!("the limit on locked memory is {bytes} bytes, less than {MEMLOCK_MIN_BYTES}"),
            remedy: "raise it: LimitMEMLOCK=infinity in the systemd unit, --ulimit memlock=-1 for a container, ulimit -l in a shell",
        }),
        _ => Ok(()),
    }
}

/// On a thread of its own, as an executor belongs to its thread and may panic where system calls are filtered oddly.
fn try_executor() -> io::Result<()> {
    let trial = thread::Builder::new().name("io-uring-trial".to_owned()).spawn(|| {
        super::make_executor()?.run(async { glommio::executor().yield_now().await });
        Ok(())
    })?;
    trial.join().unwrap_or_else(|_| Err(io::Error::other("the executor panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_named() {
        for (release, fits) in [
            ("6.18.4-generic\n", true),
            ("5.8.0", true),
            ("5.7.19-x", false),
            ("4.19.0", false),
            ("", true),
            ("odd", true),
        ] {
            assert_eq!(check_kernel(release).is_ok(), fits, "{release:?}");
        }
        assert!(check_kernel("4.19.0-1\n").unwrap_err().to_string().contains("Linux 4.19.0-1 is too old"));
    }

    #[test]
    fn a_forbidding_setting_and_a_small_limit_come_with_a_remedy() {
        assert!(check_setting("0\n").is_ok() && check_setting("").is_ok());
        assert!(check_setting("2\n").unwrap_err().remedy.contains("kernel.io_uring_disabled"));
        assert!(check_memlock(None).is_ok() && check_memlock(Some(512 << 10)).is_ok());
        let small = check_memlock(Some(65_536)).unwrap_err();
        assert!(small.reason.contains("65536") && small.remedy.contains("LimitMEMLOCK"), "{small}");
    }
}
