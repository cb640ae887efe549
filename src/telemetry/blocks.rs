//! The blocks as metrics, under Prometheus' names where it has them.

use std::sync::atomic::{AtomicU64, Ordering};

use blocks::Service;

use super::exposition::{Exposition, Kind};

pub(crate) fn write(page: &mut Exposition, service: &Service) {
    let set = service.blocks.current();
    let counters = service.counters();
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    page.single("prometheus_tsdb_blocks_loaded", gauge, "Number of blocks that answer.", set.blocks.len() as f64);
    let help = "Bytes of all blocks.";
    page.single("prometheus_tsdb_storage_blocks_bytes", gauge, help, set.bytes() as f64);
    if let Some(oldest) = set.blocks.first() {
        let help = "Earliest time of a block, in milliseconds since the epoch.";
        page.single("prometheus_tsdb_lowest_timestamp", gauge, help, oldest.meta.min_time as f64);
    }
    let help = "Blocks that could not be opened at start; the log names them.";
    page.single("millrace_blocks_damaged", gauge, help, get(&counters.blocks_damaged));
    let help =
        "Chunks that were damaged when their window was cut, so that the block goes without them; the log names them.";
    page.single("millrace_block_chunks_lost_total", counter, help, get(&counters.chunks_lost));
    let help = "Pages of mapped files that the disk could not give; they read as zeros, which checksums find.";
    page.single("millrace_mapped_pages_lost_total", counter, help, runtime::lost_pages() as f64);
    let help = "Windows of the head that were cut into blocks.";
    page.single("millrace_block_cuts_total", counter, help, get(&counters.cuts));
    let help = "Cuts that failed; each is tried again.";
    page.single("millrace_block_cuts_failed_total", counter, help, get(&counters.cuts_failed));
    let help = "Total number of compactions of blocks.";
    page.single("prometheus_tsdb_compactions_total", counter, help, get(&counters.compactions));
    let help = "Total number of compactions that came upon damage.";
    page.single("prometheus_tsdb_compactions_failed_total", counter, help, get(&counters.compactions_failed));
    let help = "Blocks that the retention has removed.";
    page.single("millrace_blocks_expired_total", counter, help, get(&counters.blocks_expired));
    let help = "Deletions of series that were asked for and made.";
    page.single("millrace_deletions_total", counter, help, get(&counters.deletions));
    let tombstones = set.blocks.iter().map(|block| block.tombstones().count()).sum::<usize>();
    let help = "Intervals that are deleted of series in blocks and still on the disk.";
    page.single("millrace_block_tombstones", gauge, help, tombstones as f64);
    let help = "Jobs on blocks that broke off through a mistake in the program; each is tried again.";
    page.single("millrace_block_panics_total", counter, help, get(&counters.panics));
    let help = "Bytes of blocks written, by cuts and compactions.";
    page.single("millrace_block_device_bytes_total", counter, help, get(&counters.bytes_written));
    let job = service.job();
    let (done, all) = job.map_or((0, 0), |job| (job.series_done, job.series));
    let help = "Part of the series that the job on blocks has done; 0 without a job.";
    let part = if all == 0 { 0.0 } else { done as f64 / all as f64 };
    page.single("millrace_block_job_progress_ratio", gauge, help, part);
}
