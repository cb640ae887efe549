//! `docker_sd_configs`: containers that run.
//!
//! docs.docker.com/reference/api/engine: `GET /networks` and `GET /containers/json`.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use form_urlencoded::Serializer;
use model::{Labels, LabelsBuilder};
use serde::Deserialize;

use super::{
    json_api::{ApiError, JsonApi, host_port, label_name},
    poll::Refresh,
};
use crate::{
    config::prometheus::{discovery::DockerSd, http_client::TlsConfig},
    http_client::Client,
    targets::{ADDRESS, TargetGroup},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default, rename = "ImageID")]
    image_id: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(default, rename = "IP")]
    ip: String,
    private_port: u16,
    #[serde(default)]
    public_port: u16,
    #[serde(default, rename = "Type")]
    protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    #[serde(default, rename = "NetworkID")]
    network_id: String,
    #[serde(default, rename = "IPAddress")]
    ip_address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    ingress: bool,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

pub(super) struct DockerDiscovery {
    config: DockerSd,
    /// Scheme and host, without a slash at the end.
    base: String,
    api: JsonApi,
}

impl DockerDiscovery {
    pub(super) fn new(config: DockerSd, folder: &Path) -> Self {
        let client = Client::new(&config.client.seen_from(folder));
        let host = config.host.trim_end_matches('/');
        let (base, client) = match host.split_once("://") {
            Some(("unix", path)) => ("http://docker".to_owned(), client.over_socket(PathBuf::from(path))),
            Some(("tcp", address)) if config.client.tls == TlsConfig::default() => {
                (format!("http://{address}"), client)
            }
            Some(("tcp", address)) => (format!("https://{address}"), client),
            _ => (host.to_owned(), client),
        };
        Self { config, base, api: JsonApi::new(client) }
    }

    fn containers_url(&self) -> String {
        let url = format!("{}/containers/json", self.base);
        if self.config.filters.is_empty() {
            return url;
        }
        let mut filters: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        for filter in &self.config.filters {
            let values = filter.values.iter().map(|value| (value.as_str(), true));
            filters.entry(&filter.name).or_default().extend(values);
        }
        let filters = serde_json::to_string(&filters).expect("texts");
        format!("{url}?{}", Serializer::new(String::new()).append_pair("filters", &filters).finish())
    }
}

impl Refresh for DockerDiscovery {
    type Error = ApiError;

    const MECHANISM: &'static str = "docker";

    fn place(&self) -> String {
        self.config.host.clone()
    }

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, ApiError> {
        let containers: Vec<Container> = self.api.get(&self.containers_url()).await?;
        let networks: Vec<Network> = self.api.get(&format!("{}/networks", self.base)).await?;
        let networks = networks.iter().map(|network| (network.id.as_str(), network)).collect();
        let by_id = containers.iter().map(|container| (container.id.as_str(), container)).collect();
        let all = All { config: &self.config, containers: by_id, networks };
        let targets = containers.iter().filter(|container| !container.names.is_empty());
        Ok(vec![TargetGroup {
            targets: targets.flat_map(|container| all.targets_of(container)).collect(),
            labels: Labels::empty(),
        }])
    }
}

/// What a daemon said.
struct All<'a> {
    config: &'a DockerSd,
    containers: HashMap<&'a str, &'a Container>,
    networks: HashMap<&'a str, &'a Network>,
}

impl All<'_> {
    fn targets_of(&self, container: &Container) -> Vec<Labels> {
        let labels = labels_of(container);
        let mut targets = Vec::new();
        for endpoint in self.endpoints_of(container) {
            let mut labels = labels.clone();
            labels.set("__meta_docker_network_ip", &endpoint.ip_address);
            if let Some(network) = self.networks.get(endpoint.network_id.as_str()) {
                add_network(network, &mut labels);
            }
            let ports = container.ports.iter().flatten().filter(|port| port.protocol == "tcp");
            let before = targets.len();
            targets.extend(ports.map(|port| target_of(port, endpoint, labels.clone())));
            if targets.len() == before {
                let address = match container.host_config.network_mode.as_str() {
                    // It has the host's ports, of which the daemon knows none.
                    "host" => self.config.host_networking_host.clone(),
                    _ => host_port(&endpoint.ip_address, self.config.port),
                };
                targets.push(labels.set(ADDRESS, &address).build());
            }
        }
        targets
    }

    /// The networks that a container is in: its own, or those of another one whose it shares.
    fn endpoints_of<'c>(&'c self, mut container: &'c Container) -> Vec<&'c Endpoint> {
        // Who shares with whom can't go in a circle; were it to, it would end here.
        for _ in 0..self.containers.len() {
            if !networks_of(container).is_empty() {
                break;
            }
            let shared = container.host_config.network_mode.strip_prefix("container:");
            let Some(other) = shared.and_then(|id| self.containers.get(id)) else { break };
            container = other;
        }
        // They are in order of their names.
        let mut endpoints = networks_of(container);
        if self.config.match_first_network {
            endpoints.truncate(1);
        }
        endpoints
    }
}

fn networks_of(container: &Container) -> Vec<&Endpoint> {
    container.network_settings.networks.iter().flat_map(BTreeMap::values).flatten().collect()
}

fn labels_of(container: &Container) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    labels
        .set("__meta_docker_container_id", &container.id)
        .set("__meta_docker_container_name", &container.names[0])
        .set("__meta_docker_container_network_mode", &container.host_config.network_mode)
        .set("__meta_docker_container_image", &container.image)
        .set("__meta_docker_container_image_id", &container.image_id);
    for (name, value) in container.labels.iter().flatten() {
        labels.set(&format!("__meta_docker_container_label_{}", label_name(name)), value);
    }
    labels
}

fn add_network(network: &Network, labels: &mut LabelsBuilder) {
    labels
        .set("__meta_docker_network_id", &network.id)
        .set("__meta_docker_network_name", &network.name)
        .set("__meta_docker_network_scope", &network.scope)
        .set("__meta_docker_network_internal", &network.internal.to_string())
        .set("__meta_docker_network_ingress", &network.ingress.to_string());
    for (name, value) in network.labels.iter().flatten() {
        labels.set(&format!("__meta_docker_network_label_{}", label_name(name)), value);
    }
}

fn target_of(port: &Port, endpoint: &Endpoint, mut labels: LabelsBuilder) -> Labels {
    labels.set("__meta_docker_port_private", &port.private_port.to_string());
    if port.public_port > 0 {
        labels
            .set("__meta_docker_port_public", &port.public_port.to_string())
            .set("__meta_docker_port_public_ip", &port.ip);
    }
    labels.set(ADDRESS, &host_port(&endpoint.ip_address, port.private_port)).build()
}
