//! `dns_sd_configs`: records of names.

use std::{io, net::SocketAddr};

use domain::{
    base::{Message, Name, ParsedName, Rtype, ToName as _, iana::Rcode, wire::ParseError},
    rdata::{A, Aaaa, Mx, Ns, Srv},
    resolv::{
        StubResolver,
        stub::conf::{ResolvConf, ServerConf, Transport},
    },
};
use model::{Labels, LabelsBuilder};

use super::{json_api::host_port, poll::Refresh};
use crate::{
    config::prometheus::discovery::{DnsSd, RecordType},
    targets::{ADDRESS, TargetGroup},
};

const NAME: &str = "__meta_dns_name";
const SRV_TARGET: &str = "__meta_dns_srv_record_target";
const SRV_PORT: &str = "__meta_dns_srv_record_port";
const MX_TARGET: &str = "__meta_dns_mx_record_target";
const NS_TARGET: &str = "__meta_dns_ns_record_target";

#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    #[error("{0:?} is no name that can be asked for")]
    Name(String),
    #[error("ask for {name:?}: {source}")]
    Ask { name: String, source: io::Error },
    #[error("ask for {name:?}: the name servers answered {code}")]
    Refused { name: String, code: Rcode },
    #[error("the answer for {name:?} is malformed")]
    Malformed { name: String },
}

type Answer = Message<bytes::Bytes>;

/// Asks for one name.
pub(super) struct DnsDiscovery {
    name: String,
    config: DnsSd,
}

impl DnsDiscovery {
    /// Asks for the first name of a configuration.
    pub(super) fn new(config: DnsSd) -> Self {
        Self { name: config.names.first().cloned().unwrap_or_default(), config }
    }

    /// As the system has it now, unless other servers are named.
    fn resolver_config(&self) -> ResolvConf {
        if self.config.name_servers.is_empty() {
            return ResolvConf::default();
        }
        let mut servers = ResolvConf::new();
        let addresses = self.config.name_servers.iter().copied();
        servers.servers = addresses.map(|address: SocketAddr| ServerConf::new(address, Transport::UdpTcp)).collect();
        servers.finalize();
        servers
    }

    /// The first answer for a name that exists. That none does is an answer too; that somebody could not say is none.
    async fn answer(&self) -> Result<Option<Answer>, DnsError> {
        let config = self.resolver_config();
        let names = full_names(&self.name, &config)?;
        let resolver = StubResolver::from_conf(config);
        let mut failure = None;
        for name in names {
            let asked = resolver.query((name, self.record_type())).await;
            match asked {
                Ok(answer) if answer.header().rcode() == Rcode::NOERROR => return Ok(Some(answer.into_message())),
                Ok(answer) if answer.header().rcode() == Rcode::NXDOMAIN => {}
                Ok(answer) => {
                    failure = Some(DnsError::Refused { name: self.name.clone(), code: answer.header().rcode() });
                }
                Err(source) => failure = Some(DnsError::Ask { name: self.name.clone(), source }),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn record_type(&self) -> Rtype {
        match self.config.record_type {
            RecordType::Srv => Rtype::SRV,
            RecordType::A => Rtype::A,
            RecordType::Aaaa => Rtype::AAAA,
            RecordType::Mx => Rtype::MX,
            RecordType::Ns => Rtype::NS,
        }
    }

    fn targets(&self, answer: &Answer) -> Option<Vec<Labels>> {
        let section = answer.answer().ok()?;
        let target = |host: &str, port: u16| target_of(&self.name, host, port);
        let port = self.config.port;
        // What is of another type, as an alias on the way, is no target.
        let all: Result<Vec<Labels>, _> = match self.config.record_type {
            RecordType::A => section
                .limit_to_in::<A>()
                .map(|record| Ok(target(&record?.data().addr().to_string(), port).build()))
                .collect::<Result<_, ParseError>>(),
            RecordType::Aaaa => section
                .limit_to_in::<Aaaa>()
                .map(|record| Ok(target(&record?.data().addr().to_string(), port).build()))
                .collect(),
            RecordType::Mx => section
                .limit_to_in::<Mx<_>>()
                .map(|record| {
                    let host = full_text(record?.data().exchange());
                    Ok(target(&host, port).set(MX_TARGET, &host).build())
                })
                .collect(),
            RecordType::Ns => section
                .limit_to_in::<Ns<_>>()
                .map(|record| {
                    let host = full_text(record?.data().nsdname());
                    Ok(target(&host, port).set(NS_TARGET, &host).build())
                })
                .collect(),
            RecordType::Srv => section
                .limit_to_in::<Srv<_>>()
                .map(|record| {
                    let record = record?;
                    let (host, port) = (full_text(record.data().target()), record.data().port());
                    Ok(target(&host, port).set(SRV_TARGET, &host).set(SRV_PORT, &port.to_string()).build())
                })
                .collect(),
        };
        all.ok()
    }
}

fn target_of(name: &str, host: &str, port: u16) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    labels.set(ADDRESS, &host_port(host.trim_end_matches('.'), port)).set(NAME, name);
    labels
}

/// With the dot at its end.
fn full_text(name: &ParsedName<bytes::Bytes>) -> String {
    format!("{}", name.fmt_with_dot())
}

type FullName = Name<Vec<u8>>;

/// What a name can stand for: as it is, and with what the system has for names with few dots.
fn full_names(name: &str, config: &ResolvConf) -> Result<Vec<FullName>, DnsError> {
    let refuse = || DnsError::Name(name.to_owned());
    let absolute: FullName = name.trim_end_matches('.').parse().map_err(|_| refuse())?;
    if name.ends_with('.') {
        return Ok(vec![absolute]);
    }
    let suffixes = config.options.search.as_slice().iter().filter(|suffix| !suffix.is_root());
    let mut names: Vec<FullName> = suffixes.filter_map(|suffix| format!("{absolute}.{suffix}").parse().ok()).collect();
    if name.matches('.').count() >= config.options.ndots {
        names.insert(0, absolute);
    } else {
        names.push(absolute);
    }
    Ok(names)
}

impl Refresh for DnsDiscovery {
    type Error = DnsError;

    const MECHANISM: &'static str = "dns";

    fn place(&self) -> String {
        self.name.clone()
    }

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, DnsError> {
        let targets = match self.answer().await? {
            Some(answer) => self.targets(&answer).ok_or_else(|| DnsError::Malformed { name: self.name.clone() })?,
            None => Vec::new(),
        };
        Ok(vec![TargetGroup { targets, labels: Labels::empty() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_few_dots_are_completed_first() {
        let mut config = ResolvConf::new();
        config.parse(&mut &b"search example.org sub.example\noptions ndots:2\n"[..]).expect("a configuration");
        let names = |name: &str| -> Vec<String> {
            full_names(name, &config).expect("a name").iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("a.b"), ["a.b.example.org", "a.b.sub.example", "a.b"]);
        assert_eq!(names("a.b.c"), ["a.b.c", "a.b.c.example.org", "a.b.c.sub.example"]);
        assert_eq!(names("a."), ["a"]);
        assert!(full_names(&"x".repeat(70), &config).is_err());
    }
}
