//! Where a cluster's API is, and who asks it: as the configuration says, as a kubeconfig file says, or as a pod of the cluster is told.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    config::{
        prometheus::{
            discovery::{KubernetesSd, Namespaces},
            http_client::{Authorization, BasicAuth, HttpClient, SecretSource},
        },
        yaml::{self, Node, Secret, Value},
    },
    discovery::json_api::{JsonApi, host_port},
    http_client::Client,
};

/// What a pod is told by files.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    #[error(
        "neither api_server nor kubeconfig_file is there, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say that this does not \
         run in a cluster"
    )]
    NotInCluster,
    #[error("read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {what}")]
    Kubeconfig { path: String, what: String },
}

pub(super) struct Cluster {
    /// Scheme and host, without a slash at the end.
    pub(super) base: String,
    client: HttpClient,
    /// The namespace that this runs in.
    own_namespace: Option<String>,
}

impl Cluster {
    pub(super) fn find(config: &KubernetesSd, folder: &Path) -> Result<Self, ClusterError> {
        if let Some(file) = config.kubeconfig_file.as_ref().filter(|file| !file.is_empty()) {
            return Self::of_kubeconfig(&folder.join(file));
        }
        match &config.api_server {
            Some(server) => Ok(Self {
                base: server.as_str().trim_end_matches('/').to_owned(),
                client: config.client.seen_from(folder),
                own_namespace: None,
            }),
            None => Self::around_this(config),
        }
    }

    /// The one that this runs in.
    fn around_this(config: &KubernetesSd) -> Result<Self, ClusterError> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(host), Some(port)) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
        else {
            return Err(ClusterError::NotInCluster);
        };
        let file = |name: &str| SecretSource::File(format!("{ACCOUNT}/{name}"));
        let mut client = config.client.clone();
        client.tls.ca = Some(file("ca.crt"));
        // The token is changed from time to time.
        client.authorization = Some(Authorization { scheme: "Bearer".to_owned(), credentials: Some(file("token")) });
        let own_namespace = fs::read_to_string(format!("{ACCOUNT}/namespace")).ok();
        Ok(Self {
            base: format!("https://{}", host_port(&host, port)),
            client,
            own_namespace: own_namespace.map(|namespace| namespace.trim().to_owned()),
        })
    }

    fn of_kubeconfig(path: &Path) -> Result<Self, ClusterError> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ClusterError::Read { path: shown.clone(), source })?;
        let wrong = |what: String| ClusterError::Kubeconfig { path: shown.clone(), what };
        let document =
            yaml::load(&text).map_err(|fault| wrong(format!("line {}: {}", fault.place.line, fault.what)))?;
        let document = document.ok_or_else(|| wrong("it is empty".to_owned()))?;
        Kubeconfig { document: &document, folder: path.parent().unwrap_or(Path::new("")) }.cluster().map_err(wrong)
    }

    pub(super) fn api(&self) -> JsonApi {
        JsonApi::new(Client::new(&self.client))
    }

    /// The namespaces that are chosen; none: all of them.
    pub(super) fn namespaces(&self, config: &Namespaces) -> Vec<String> {
        let mut names = config.names.clone();
        if config.own_namespace {
            names.extend(self.own_namespace.clone());
        }
        names.sort();
        names.dedup();
        names
    }
}

/// kubernetes.io/docs/reference/config-api/kubeconfig.v1
struct Kubeconfig<'a> {
    document: &'a Node,
    folder: &'a Path,
}

impl Kubeconfig<'_> {
    fn cluster(&self) -> Result<Cluster, String> {
        let current = text(self.document, "current-context").ok_or("current-context is missing")?;
        let context = self.named("contexts", &current, "context")?;
        let cluster_name = text(context, "cluster").ok_or_else(|| format!("context {current:?} has no cluster"))?;
        let cluster = self.named("clusters", &cluster_name, "cluster")?;
        let server = text(cluster, "server").ok_or_else(|| format!("cluster {cluster_name:?} has no server"))?;
        let mut client = HttpClient::plain();
        client.tls.ca = self.data_or_file(cluster, "certificate-authority")?;
        client.tls.insecure_skip_verify = text(cluster, "insecure-skip-tls-verify").as_deref() == Some("true");
        client.tls.server_name = text(cluster, "tls-server-name");
        if let Some(name) = text(context, "user") {
            self.add_user(self.named("users", &name, "user")?, &name, &mut client)?;
        }
        Ok(Cluster { base: server.trim_end_matches('/').to_owned(), client, own_namespace: text(context, "namespace") })
    }

    fn add_user(&self, user: &Node, name: &str, client: &mut HttpClient) -> Result<(), String> {
        for other in ["exec", "auth-provider"] {
            if get(user, other).is_some() {
                return Err(format!(
                    "user {name:?} has {other}, which is not supported: give it a token or a certificate"
                ));
            }
        }
        client.tls.cert = self.data_or_file(user, "client-certificate")?;
        client.tls.key = self.data_or_file(user, "client-key")?;
        let token = text(user, "tokenFile").map(|path| self.file(&path)).or_else(|| text(user, "token").map(inline));
        if token.is_some() {
            client.authorization = Some(Authorization { scheme: "Bearer".to_owned(), credentials: token });
        } else if let Some(username) = text(user, "username") {
            let password = text(user, "password").map(inline);
            client.basic_auth = Some(BasicAuth { username: Some(inline(username)), password });
        }
        Ok(())
    }

    /// What `NAME-data` holds in base64, or the file of `NAME`.
    fn data_or_file(&self, node: &Node, name: &str) -> Result<Option<SecretSource>, String> {
        let key = format!("{name}-data");
        if let Some(data) = text(node, &key) {
            let decoded = STANDARD.decode(data.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            return decoded.map(inline).map(Some).ok_or_else(|| format!("{key} is not base64 of a text"));
        }
        Ok(text(node, name).map(|path| self.file(&path)))
    }

    fn file(&self, path: &str) -> SecretSource {
        let path: PathBuf = self.folder.join(path);
        SecretSource::File(path.to_string_lossy().into_owned())
    }

    /// The entry of a list that has a name.
    fn named(&self, list: &str, name: &str, key: &str) -> Result<&Node, String> {
        let entries = match get(self.document, list).map(|node| &node.value) {
            Some(Value::Sequence(entries)) => entries.as_slice(),
            _ => &[],
        };
        let entry = entries.iter().find(|entry| text(entry, "name").as_deref() == Some(name));
        entry.and_then(|entry| get(entry, key)).ok_or_else(|| format!("{list} has no {name:?}"))
    }
}

fn inline(text: String) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Mapping(pairs) => pairs.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
        _ => None,
    }
}

fn text(node: &Node, name: &str) -> Option<String> {
    match &get(node, name)?.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(text: &str) -> Result<Cluster, String> {
        let document = yaml::load(text).expect("YAML").expect("a document");
        Kubeconfig { document: &document, folder: Path::new("/etc/k") }.cluster()
    }

    const FILE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: here\npreferences: {}\n\
        clusters:\n- name: c\n  cluster: {server: 'https://k:6443/', certificate-authority-data: YWJj, tls-server-name: s}\n\
        contexts:\n- name: here\n  context: {cluster: c, user: u, namespace: mine}\n\
        users:\n- name: u\n  user: {client-certificate: c.pem, client-key: /k.pem, token: t}\n";

    #[test]
    fn a_kubeconfig_names_a_cluster_and_a_user() {
        let found = cluster(FILE).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((found.base.as_str(), found.own_namespace.as_deref()), ("https://k:6443", Some("mine")));
        let file = |path: &str| Some(SecretSource::File(path.to_owned()));
        assert_eq!(found.client.tls.ca, Some(inline("abc".to_owned())));
        assert_eq!((found.client.tls.cert, found.client.tls.key), (file("/etc/k/c.pem"), file("/k.pem")));
        assert_eq!(found.client.authorization.and_then(|own| own.credentials), Some(inline("t".to_owned())));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| cluster(text).map(drop).expect_err("not whole");
        assert_eq!(error("clusters: []"), "current-context is missing");
        assert_eq!(error("current-context: x"), "contexts has no \"x\"");
        assert!(error(&FILE.replace("token: t", "exec: {command: x}")).contains("exec"));
        assert!(error(&FILE.replace("YWJj", "a b")).contains("certificate-authority-data"));
    }
}
