//! The made-up machines and what they expose.
//!
//! Every [`SERIES_PER_HOST`] series share a host: twenty metrics for five devices. A series that churn has replaced lives on a
//! host of the same number and another generation.

/// The labels of one series, sorted by name.
pub(super) type SeriesLabels = Vec<(String, String)>;

pub(super) const SERIES_PER_HOST: u32 = 100;
const DEVICES: u32 = 5;

pub(super) const METRICS: [&str; 20] = [
    "node_disk_discarded_sectors_total",
    "node_disk_io_now",
    "node_disk_io_time_seconds_total",
    "node_disk_read_bytes_total",
    "node_disk_read_time_seconds_total",
    "node_disk_reads_completed_total",
    "node_disk_write_time_seconds_total",
    "node_disk_writes_completed_total",
    "node_disk_written_bytes_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_files_free",
    "node_filesystem_readonly",
    "node_network_carrier_changes_total",
    "node_network_mtu_bytes",
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_speed_bytes",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_up",
];

/// Labels of a series, the first `count` of a fixed list; the first three tell series apart.
pub(super) fn labels(series: u32, generation: u32, count: u32) -> SeriesLabels {
    let (host, within) = (series / SERIES_PER_HOST, series % SERIES_PER_HOST);
    let instance = match generation {
        0 => format!("host-{host:06}.example.net:9100"),
        _ => format!("host-{host:06}-{generation}.example.net:9100"),
    };
    let named = [
        ("__name__", METRICS[(within / DEVICES) as usize].to_owned()),
        ("instance", instance),
        ("device", format!("dev{}", within % DEVICES)),
        ("job", "node".to_owned()),
        ("rack", format!("r{:03}", host / 40)),
        ("datacenter", format!("dc{}", host / 4000)),
        ("environment", "production".to_owned()),
        ("cluster", "metal-west-2".to_owned()),
        ("os", "linux".to_owned()),
        ("team", "infrastructure".to_owned()),
    ];
    let more = (named.len() as u32..count).map(|number| (format!("label_{number:02}"), format!("value-{number}")));
    let mut labels: SeriesLabels = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    labels.truncate(count as usize);
    labels.extend(more);
    labels.sort_unstable();
    labels
}
