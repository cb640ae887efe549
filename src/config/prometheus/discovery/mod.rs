//! `static_configs` and the `*_sd_configs`: what each mechanism is told.
//!
//! A mechanism is one file and one line in [`take`]; those that this release only knows by their keys are rows of [`others`].

mod consul;
mod dns;
mod docker;
mod ec2;
mod file;
mod groups;
mod http;
mod kubernetes;
mod others;

use crate::config::yaml::{Fault, Keys, Read};

pub(crate) use consul::ConsulSd;
pub(crate) use dns::{DnsSd, RecordType};
pub(crate) use docker::DockerSd;
pub(crate) use ec2::{Ec2Sd, Filter};
pub(crate) use file::FileSd;
pub(crate) use groups::StaticGroup;
pub(crate) use http::HttpSd;
pub(crate) use kubernetes::{AttachMetadata, KubernetesSd, Namespaces, Role, Selector};

/// Where targets come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Discovery {
    Static(StaticGroup),
    File(FileSd),
    Http(HttpSd),
    Dns(DnsSd),
    Consul(ConsulSd),
    Kubernetes(KubernetesSd),
    Docker(DockerSd),
    Ec2(Ec2Sd),
    /// Checked and without effect in this release: its key.
    Other(&'static str),
}

impl Discovery {
    /// Whether this release finds anything by it.
    pub(crate) fn has_effect(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// The key that it stands under.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Static(_) => "static_configs",
            Self::File(_) => "file_sd_configs",
            Self::Http(_) => "http_sd_configs",
            Self::Dns(_) => "dns_sd_configs",
            Self::Consul(_) => "consul_sd_configs",
            Self::Kubernetes(_) => "kubernetes_sd_configs",
            Self::Docker(_) => "docker_sd_configs",
            Self::Ec2(_) => "ec2_sd_configs",
            Self::Other(key) => key,
        }
    }
}

/// Takes the keys of all mechanisms.
pub(crate) fn take(keys: &mut Keys<'_>) -> Result<Vec<Discovery>, Fault> {
    let mut all = Vec::new();
    each(keys, "static_configs", Discovery::Static, &mut all)?;
    each(keys, "file_sd_configs", Discovery::File, &mut all)?;
    each(keys, "http_sd_configs", Discovery::Http, &mut all)?;
    each(keys, "dns_sd_configs", Discovery::Dns, &mut all)?;
    each(keys, "consul_sd_configs", Discovery::Consul, &mut all)?;
    each(keys, "kubernetes_sd_configs", Discovery::Kubernetes, &mut all)?;
    each(keys, "docker_sd_configs", Discovery::Docker, &mut all)?;
    each(keys, "ec2_sd_configs", Discovery::Ec2, &mut all)?;
    others::take(keys, &mut all)?;
    Ok(all)
}

/// Refuses targets that are URLs, where nothing changes their addresses.
pub(super) fn must_be_hosts(keys: &Keys<'_>, all: &[Discovery]) -> Result<(), Fault> {
    let url = all.iter().find_map(|mechanism| match mechanism {
        Discovery::Static(group) => group.url(),
        _ => None,
    });
    match url {
        Some(url) => {
            let text = format!("{url:?} is not a valid hostname: scheme and path have keys of their own");
            Err(keys.fault("static_configs", text))
        }
        None => Ok(()),
    }
}

fn each<T: Read>(
    keys: &mut Keys<'_>,
    name: &'static str,
    of: fn(T) -> Discovery,
    all: &mut Vec<Discovery>,
) -> Result<(), Fault> {
    let found: Option<Vec<T>> = keys.get(name)?;
    all.extend(found.unwrap_or_default().into_iter().map(of));
    Ok(())
}

/// A key whose text has to be one of a few.
fn one_of(keys: &Keys<'_>, name: &'static str, text: &str, known: &[&str]) -> Result<(), Fault> {
    if known.contains(&text) {
        return Ok(());
    }
    let what = if text.is_empty() { "has to be" } else { "is none of" };
    Err(keys.fault(name, format!("{text:?} {what} {}", known.join(", "))))
}

/// A key that must not be empty.
fn not_empty(keys: &Keys<'_>, name: &'static str, text: &str) -> Result<(), Fault> {
    if text.is_empty() { Err(keys.fault(name, format!("{name} is missing"))) } else { Ok(()) }
}
