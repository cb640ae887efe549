//! What the kernel knows of this process, under the names that every Prometheus client uses.

use std::fs;

use super::exposition::{Exposition, Kind};
use crate::calendar;

/// A look at `/proc/self`; parts that can't be read are left out.
pub(crate) fn write(page: &mut Exposition) {
    if let Some(stat) = Stat::read() {
        let help = "Total user and system CPU time spent in seconds.";
        page.single("process_cpu_seconds_total", Kind::Counter, help, stat.cpu_seconds);
        page.single(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory size in bytes.",
            stat.resident_bytes,
        );
        page.single("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory size in bytes.", stat.virtual_bytes);
        page.single("process_threads", Kind::Gauge, "Number of threads of the process.", stat.threads);
        let help = "Start time of the process since unix epoch in seconds.";
        if let Some(start) = stat.start_seconds {
            page.single("process_start_time_seconds", Kind::Gauge, help, start);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let count = u32::try_from(open.count()).unwrap_or(u32::MAX);
        page.single("process_open_fds", Kind::Gauge, "Number of open file descriptors.", f64::from(count));
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        page.single("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.", limit as f64);
    }
}

struct Stat {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    start_seconds: Option<f64>,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page_bytes = rustix::param::page_size() as f64;
        // The name in parentheses may hold anything; what follows is numbers, the state being field 3 of proc(5).
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / ticks,
            threads: number(20)?,
            start_seconds: boot_time().map(|boot| boot + number(22).unwrap_or_default() / ticks),
            virtual_bytes: number(23)?,
            resident_bytes: number(24)? * page_bytes,
        })
    }
}

/// Seconds since the epoch at which the machine started, from its uptime.
fn boot_time() -> Option<f64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some((calendar::now_ms() as f64 / 1000.0 - uptime).round())
}
