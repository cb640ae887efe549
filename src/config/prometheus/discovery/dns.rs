//! `dns_sd_configs`: names that are asked for again and again.

use std::net::SocketAddr;

use super::one_of;
use crate::config::{
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordType {
    Srv,
    A,
    Aaaa,
    Mx,
    Ns,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DnsSd {
    pub(crate) names: Vec<String>,
    pub(crate) record_type: RecordType,
    /// Not of SRV records, which have one.
    pub(crate) port: u16,
    pub(crate) refresh_interval: PromDuration,
    /// Asked instead of those of the system. Prometheus does not have it.
    pub(crate) name_servers: Vec<SocketAddr>,
}

impl Section for DnsSd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let names: Vec<String> = keys.or_default("names")?;
        if names.is_empty() {
            return Err(keys.fault("names", "needs at least one name"));
        }
        let text: String = keys.or("type", "SRV")?;
        let text = text.to_ascii_uppercase();
        one_of(keys, "type", &text, &["SRV", "A", "AAAA", "MX", "NS"])?;
        let record_type = match text.as_str() {
            "A" => RecordType::A,
            "AAAA" => RecordType::Aaaa,
            "MX" => RecordType::Mx,
            "NS" => RecordType::Ns,
            _ => RecordType::Srv,
        };
        let port = keys.get("port")?.unwrap_or(0);
        if port == 0 && record_type != RecordType::Srv {
            return Err(keys.fault("port", format!("records of type {text} have no port: a port is needed")));
        }
        let name_servers: Vec<String> = keys.or_default("name_servers")?;
        let name_servers = name_servers.iter().map(|text| {
            let what = || format!("{text:?} is no address with a port, as 127.0.0.1:53 is one");
            text.parse().map_err(|_| keys.fault("name_servers", what()))
        });
        let name_servers = name_servers.collect::<Result<_, Fault>>()?;
        let refresh_interval = keys.or("refresh_interval", "30s")?;
        Ok(Self { names, record_type, port, refresh_interval, name_servers })
    }
}
