//! `consul_sd_configs`: services of a Consul catalogue, watched by blocking queries.
//!
//! developer.hashicorp.com/consul/api-docs: `features/blocking`, `catalog` and `health`. A query names the index that was seen last, and is answered
//! when there is a higher one, or after a while.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use form_urlencoded::Serializer;
use hyper::header::{HeaderMap, HeaderName};
use model::{Labels, LabelsBuilder};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Updates,
    json_api::{ApiError, JsonApi, host_port, label_name},
    poll::FailureLog,
};
use crate::{
    config::prometheus::discovery::ConsulSd,
    http_client::Client,
    targets::{ADDRESS, TargetGroup},
};

/// How long a query may block.
const WAIT: Duration = Duration::from_secs(120);
/// How much longer an answer may take: a server adds a sixteenth to what it was asked for.
const GRACE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(15);

const INDEX: &str = "x-consul-index";
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

#[derive(Debug, thiserror::Error)]
enum ConsulError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("there was no answer within {} s", (WAIT + GRACE).as_secs())]
    Timeout,
}

/// Of `agent/self`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agent {
    config: AgentConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    #[serde(default)]
    datacenter: String,
}

/// Services with their tags.
type Services = BTreeMap<String, Vec<String>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    tagged_addresses: Option<BTreeMap<String, String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default, rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    partition: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default, rename = "CheckID")]
    id: String,
    #[serde(default)]
    status: String,
}

/// One query, asked again and again.
struct Watch {
    api: JsonApi,
    url: String,
    index: u64,
}

impl Watch {
    /// The answer, if there is a new one.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ConsulError> {
        let url = format!("{}&index={}", self.url, self.index);
        let answered = timeout(WAIT + GRACE, self.api.get_with_headers(&url)).await;
        let (headers, answer) = answered.map_err(|_| ConsulError::Timeout)??;
        let index = index_of(&headers);
        if index != 0 && index == self.index {
            return Ok(None);
        }
        // One that goes backwards is of a server that began anew.
        self.index = if index < self.index { 0 } else { index };
        Ok(Some(answer))
    }
}

/// Without one each answer is a new one.
fn index_of(headers: &HeaderMap) -> u64 {
    headers.get(INDEX).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or_default()
}

/// What all that watch have in common.
struct Consul {
    config: ConsulSd,
    folder: PathBuf,
    updates: Updates,
    /// By service; `None`: it has said nothing yet.
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    by_service: BTreeMap<String, Option<Arc<TargetGroup>>>,
    /// All services of the start have said something.
    is_complete: bool,
}

pub(super) async fn run(config: ConsulSd, folder: PathBuf, updates: Updates) {
    let consul = Arc::new(Consul { config, folder, updates, groups: Mutex::default() });
    let datacenter = consul.datacenter().await;
    let mut tasks = JoinSet::new();
    if consul.config.services.is_empty() || !consul.config.tags.is_empty() {
        consul.watch_catalog(&datacenter, &mut tasks).await;
        return;
    }
    consul.change(|groups| groups.extend(consul.config.services.iter().map(|name| (name.clone(), None))));
    for name in &consul.config.services {
        tasks.spawn(consul.clone().watch_service(name.clone(), datacenter.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

impl Consul {
    fn api(&self) -> JsonApi {
        let api = JsonApi::new(Client::new(&self.config.client.seen_from(&self.folder)));
        match &self.config.token {
            Some(token) => api.with_header(TOKEN, token.expose()),
            None => api,
        }
    }

    fn base(&self) -> String {
        let prefix = self.config.path_prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        // An address may come with its scheme.
        let server = self.config.server.rsplit_once("://").map_or(self.config.server.as_str(), |(_, server)| server);
        format!("{}://{server}{slash}{prefix}/v1", self.config.scheme)
    }

    fn url(&self, path: &str, filter: Option<&String>, tags: &[String]) -> String {
        let config = &self.config;
        let mut query = Serializer::new(String::new());
        query.append_pair("wait", &format!("{}ms", WAIT.as_millis()));
        let texts = [
            ("dc", &config.datacenter),
            ("ns", &config.namespace),
            ("partition", &config.partition),
            ("filter", &filter.cloned()),
        ];
        for (name, text) in texts {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                query.append_pair(name, text);
            }
        }
        if config.allow_stale {
            query.append_pair("stale", "");
        }
        for (name, value) in &config.node_meta {
            query.append_pair("node-meta", &format!("{name}:{value}"));
        }
        for tag in tags {
            query.append_pair("tag", tag);
        }
        format!("{}{path}?{}", self.base(), query.finish())
    }

    /// The one that is named, or that of the agent that is asked.
    async fn datacenter(&self) -> String {
        if let Some(named) = self.config.datacenter.as_ref().filter(|name| !name.is_empty()) {
            return named.clone();
        }
        let (mut api, mut log) = (self.api(), FailureLog::default());
        loop {
            match api.get::<Agent>(&format!("{}/agent/self", self.base())).await {
                Ok(agent) => return agent.config.datacenter,
                Err(error) => log.failed(&self.updates, "consul", &self.config.server, &error.to_string()),
            }
            sleep(RETRY).await;
        }
    }

    /// Changes what is known of services, and tells of it.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Option<Arc<TargetGroup>>>)) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut groups.by_service);
        groups.is_complete |= groups.by_service.values().all(Option::is_some);
        if groups.is_complete {
            self.updates.replace_shared(groups.by_service.values().flatten().cloned().collect());
        }
    }

    /// Watches which services there are, and each of them.
    async fn watch_catalog(self: &Arc<Self>, datacenter: &str, tasks: &mut JoinSet<()>) {
        let url = self.url("/catalog/services", self.config.filter.as_ref(), &[]);
        let mut watch = Watch { api: self.api(), url, index: 0 };
        let mut watched: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut log = FailureLog::default();
        loop {
            let again_at = Instant::now() + self.config.refresh_interval.get();
            match watch.next::<Services>().await {
                Ok(Some(services)) => {
                    log.succeeded();
                    self.follow(services, datacenter, &mut watched, tasks);
                }
                Ok(None) => log.succeeded(),
                Err(error) => {
                    log.failed(&self.updates, "consul", &watch.url, &error.to_string());
                    sleep(RETRY).await;
                }
            }
            sleep_until(again_at).await;
        }
    }

    fn follow(
        self: &Arc<Self>,
        mut services: Services,
        datacenter: &str,
        watched: &mut BTreeMap<String, AbortHandle>,
        tasks: &mut JoinSet<()>,
    ) {
        services.retain(|name, tags| self.wants(name, tags));
        // Those that were ended are kept until somebody asks.
        while tasks.try_join_next().is_some() {}
        watched.retain(|name, task| {
            let is_there = services.contains_key(name);
            if !is_there {
                task.abort();
            }
            is_there
        });
        self.change(|groups| {
            groups.retain(|name, _| services.contains_key(name));
            for name in services.keys() {
                groups.entry(name.clone()).or_default();
            }
        });
        for name in services.into_keys().filter(|name| !watched.contains_key(name)).collect::<Vec<_>>() {
            let task = tasks.spawn(self.clone().watch_service(name.clone(), datacenter.to_owned()));
            watched.insert(name, task);
        }
    }

    fn wants(&self, name: &String, tags: &[String]) -> bool {
        let config = &self.config;
        (config.services.is_empty() || config.services.contains(name))
            && config.tags.iter().all(|tag| tags.contains(tag))
    }

    async fn watch_service(self: Arc<Self>, name: String, datacenter: String) {
        // A name in a path has none of the signs that mean something there.
        let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let path = format!("/health/service/{}", escaped.replace('+', "%20"));
        let url = self.url(&path, self.config.health_filter.as_ref(), &self.config.tags);
        let mut watch = Watch { api: self.api(), url, index: 0 };
        let mut log = FailureLog::default();
        loop {
            let again_at = Instant::now() + self.config.refresh_interval.get();
            match watch.next::<Vec<Instance>>().await {
                Ok(Some(instances)) => {
                    log.succeeded();
                    let group = self.group(&name, &datacenter, &instances);
                    // A service that is gone has no group to be put into.
                    self.change(|groups| {
                        if let Some(known) = groups.get_mut(&name)
                            && known.as_deref() != Some(&group)
                        {
                            *known = Some(Arc::new(group));
                        }
                    });
                }
                Ok(None) => log.succeeded(),
                Err(error) => {
                    log.failed(&self.updates, "consul", &watch.url, &error.to_string());
                    sleep(RETRY).await;
                }
            }
            sleep_until(again_at).await;
        }
    }

    fn group(&self, name: &str, datacenter: &str, instances: &[Instance]) -> TargetGroup {
        let labels = [("__meta_consul_service", name), ("__meta_consul_dc", datacenter)];
        TargetGroup {
            targets: instances.iter().map(|instance| self.target(instance)).collect(),
            labels: Labels::from_pairs(labels),
        }
    }

    fn target(&self, Instance { node, service, checks }: &Instance) -> Labels {
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        // Separators at both ends, so that an expression finds a tag wherever it stands.
        let separator = &self.config.tag_separator;
        let tags = service.tags.iter().flatten().map(|tag| format!("{tag}{separator}"));
        let tags: String = std::iter::once(separator.clone()).chain(tags).collect();
        let tags = if service.tags.iter().flatten().next().is_none() { separator.repeat(2) } else { tags };
        let mut labels = LabelsBuilder::default();
        labels
            .set(ADDRESS, &host_port(host, service.port))
            .set("__meta_consul_address", &node.address)
            .set("__meta_consul_node", &node.node)
            .set("__meta_consul_tags", &tags)
            .set("__meta_consul_namespace", &service.namespace)
            .set("__meta_consul_partition", &service.partition)
            .set("__meta_consul_service_address", &service.address)
            .set("__meta_consul_service_port", &service.port.to_string())
            .set("__meta_consul_service_id", &service.id)
            .set("__meta_consul_health", health(checks));
        let mut all = |prefix: &str, pairs: &Option<BTreeMap<String, String>>| {
            for (name, value) in pairs.iter().flatten() {
                labels.set(&format!("{prefix}{}", label_name(name)), value);
            }
        };
        all("__meta_consul_metadata_", &node.meta);
        all("__meta_consul_service_metadata_", &service.meta);
        all("__meta_consul_tagged_address_", &node.tagged_addresses);
        labels.build()
    }
}

/// The worst of the checks; maintenance is worse than all.
fn health(checks: &[Check]) -> &'static str {
    let is_maintenance =
        |check: &Check| check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:");
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    if checks.iter().any(is_maintenance) {
        "maintenance"
    } else if has("critical") {
        "critical"
    } else if has("warning") {
        "warning"
    } else {
        "passing"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_counts() {
        let check = |id: &str, status: &str| Check { id: id.to_owned(), status: status.to_owned() };
        assert_eq!(health(&[]), "passing");
        assert_eq!(health(&[check("a", "passing"), check("b", "warning")]), "warning");
        assert_eq!(health(&[check("a", "warning"), check("b", "critical")]), "critical");
        assert_eq!(health(&[check("_service_maintenance:x", "critical")]), "maintenance");
    }
}
