//! `kubernetes_sd_configs`: objects of a Kubernetes cluster.

use super::one_of;
use crate::config::{
    prometheus::{http_client::HttpClient, url::Url},
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

const ROLES: [(&str, Role); 6] = [
    ("node", Role::Node),
    ("pod", Role::Pod),
    ("service", Role::Service),
    ("endpoints", Role::Endpoints),
    ("endpointslice", Role::EndpointSlice),
    ("ingress", Role::Ingress),
];

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KubernetesSd {
    /// Without one, that of the cluster that this runs in, or of the kubeconfig file.
    pub(crate) api_server: Option<Url>,
    pub(crate) role: Role,
    pub(crate) kubeconfig_file: Option<String>,
    pub(crate) namespaces: Namespaces,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) attach_metadata: AttachMetadata,
    pub(crate) client: HttpClient,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Namespaces {
    pub(crate) own_namespace: bool,
    pub(crate) names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    pub(crate) role: Role,
    pub(crate) label: String,
    pub(crate) field: String,
}

/// Whose labels and annotations targets get beside their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AttachMetadata {
    pub(crate) node: bool,
    pub(crate) namespace: bool,
    pub(crate) deployment: bool,
    pub(crate) job: bool,
    pub(crate) cronjob: bool,
}

fn role(keys: &mut Keys<'_>) -> Result<Role, Fault> {
    let text: String = keys.or_default("role")?;
    one_of(keys, "role", &text, &ROLES.map(|(name, _)| name))?;
    Ok(ROLES.iter().find(|(name, _)| *name == text).map_or(Role::Node, |(_, role)| *role))
}

impl Section for KubernetesSd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let api_server: Option<Url> = keys.get("api_server")?;
        let kubernetes = Self {
            api_server: api_server.filter(|url| !url.as_str().is_empty()),
            role: role(keys)?,
            kubeconfig_file: keys.get("kubeconfig_file")?,
            namespaces: keys.or_default("namespaces")?,
            selectors: keys.or_default("selectors")?,
            attach_metadata: keys.or_default("attach_metadata")?,
            client: HttpClient::take(keys)?,
        };
        kubernetes.check(keys)?;
        Ok(kubernetes)
    }
}

impl KubernetesSd {
    fn check(&self, keys: &Keys<'_>) -> Result<(), Fault> {
        let (has_server, has_file) = (self.api_server.is_some(), self.kubeconfig_file.is_some());
        if has_server && has_file {
            return Err(keys.fault("kubeconfig_file", "is there beside api_server: one of them"));
        }
        if has_file && !self.client.is_plain() {
            return Err(keys.fault("kubeconfig_file", "holds what the keys of the HTTP client say: leave those out"));
        }
        if !has_server && !self.client.is_plain() {
            return Err(keys.fault("api_server", "is missing, which keys of the HTTP client need"));
        }
        if self.namespaces.own_namespace && (has_server || has_file) {
            return Err(keys.fault(
                "namespaces",
                "own_namespace is that of the cluster that this runs in: not beside another one",
            ));
        }
        for (at, selector) in self.selectors.iter().enumerate() {
            if self.selectors[..at].iter().any(|before| before.role == selector.role) {
                return Err(keys.fault("selectors", "two of them have the same role"));
            }
            if !selectable(self.role).contains(&selector.role) {
                let name = |role| ROLES.iter().find(|(_, known)| *known == role).map_or("", |(name, _)| name);
                let known: Vec<_> = selectable(self.role).iter().map(|role| name(*role)).collect();
                let text = format!(
                    "the role of {} selects among {}, not {}",
                    name(self.role),
                    known.join(", "),
                    name(selector.role)
                );
                return Err(keys.fault("selectors", text));
            }
        }
        Ok(())
    }
}

/// What is watched for a role, and so can be selected among.
fn selectable(role: Role) -> &'static [Role] {
    match role {
        Role::Endpoints => &[Role::Pod, Role::Service, Role::Endpoints],
        Role::EndpointSlice => &[Role::Pod, Role::Service, Role::EndpointSlice],
        Role::Node => &[Role::Node],
        Role::Pod => &[Role::Pod, Role::Node],
        Role::Service => &[Role::Service],
        Role::Ingress => &[Role::Ingress],
    }
}

impl Section for Namespaces {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        Ok(Self { own_namespace: keys.or("own_namespace", "false")?, names: keys.or_default("names")? })
    }
}

impl Section for Selector {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let selector = Self { role: role(keys)?, label: keys.or_default("label")?, field: keys.or_default("field")? };
        let is_term = |term: &str| term.is_empty() || term.contains('=');
        if !selector.field.split(',').all(is_term) {
            let text = format!("{:?} is not a field selector, which has parts like metadata.name=x", selector.field);
            return Err(keys.fault("field", text));
        }
        if selector.label.matches('(').count() != selector.label.matches(')').count() {
            return Err(keys.fault("label", format!("{:?} is not a label selector", selector.label)));
        }
        Ok(selector)
    }
}

impl Section for AttachMetadata {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        Ok(Self {
            node: keys.or("node", "false")?,
            namespace: keys.or("namespace", "false")?,
            deployment: keys.or("deployment", "false")?,
            job: keys.or("job", "false")?,
            cronjob: keys.or("cronjob", "false")?,
        })
    }
}
