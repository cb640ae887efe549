//! From objects to targets, by role. Labels and addresses are those of Prometheus.

mod endpoints;
mod endpointslice;
mod ingress;
mod node;
mod pod;
mod service;

use std::sync::Arc;

use model::{Labels, LabelsBuilder};

use super::{
    names::{NAMESPACE, add_texts},
    objects::{ContainerPort, ObjectReference, Pod},
    store::Stores,
};
use crate::{
    config::prometheus::discovery::{AttachMetadata, KubernetesSd, Role},
    targets::TargetGroup,
};

/// All that a role finds.
pub(super) fn groups(config: &KubernetesSd, stores: &Stores) -> Vec<TargetGroup> {
    let view = View { stores, attach: &config.attach_metadata };
    let groups: Vec<Option<TargetGroup>> = match config.role {
        Role::Node => stores.nodes.all().iter().map(|node| node::group(node)).collect(),
        Role::Pod => stores.pods.all().iter().map(|pod| pod::group(&view, pod)).collect(),
        Role::Service => stores.services.all().iter().map(|service| service::group(&view, service)).collect(),
        Role::Endpoints => stores.endpoints.all().iter().map(|endpoints| endpoints::group(&view, endpoints)).collect(),
        Role::EndpointSlice => stores.slices.all().iter().map(|slice| endpointslice::group(&view, slice)).collect(),
        Role::Ingress => stores.ingresses.all().iter().map(|ingress| ingress::group(&view, ingress)).collect(),
    };
    groups.into_iter().flatten().filter(|group| !group.targets.is_empty()).collect()
}

/// What is known, and what of it targets get beside their own.
struct View<'a> {
    stores: &'a Stores,
    attach: &'a AttachMetadata,
}

impl View<'_> {
    fn add_node(&self, labels: &mut LabelsBuilder, name: Option<&str>) {
        let Some(name) = name.filter(|_| self.attach.node) else { return };
        if let Some(node) = self.stores.nodes.get("", name) {
            node::add_labels(labels, &node);
        }
    }

    fn add_namespace(&self, labels: &mut LabelsBuilder, name: &str) {
        labels.set(NAMESPACE, name);
        if self.attach.namespace
            && let Some(namespace) = self.stores.namespaces.get("", name)
        {
            add_texts(labels, "namespace", &namespace.metadata);
        }
    }

    fn pod(&self, reference: Option<&ObjectReference>) -> Option<Arc<Pod>> {
        let reference = reference.filter(|reference| reference.kind == "Pod")?;
        self.stores.pods.get(&reference.namespace, &reference.name)
    }
}

/// A pod that endpoints lead to, and the ports by which they do.
struct SeenPod {
    pod: Arc<Pod>,
    ports: Vec<i32>,
}

/// Notes that endpoints lead to a pod by a port.
fn note(seen: &mut Vec<SeenPod>, pod: &Arc<Pod>, port: Option<i32>) {
    let place = seen.iter().position(|known| Arc::ptr_eq(&known.pod, pod)).unwrap_or_else(|| {
        seen.push(SeenPod { pod: pod.clone(), ports: Vec::new() });
        seen.len() - 1
    });
    seen[place].ports.extend(port);
}

/// Targets for ports of pods that no endpoint leads to.
fn other_ports(view: &View<'_>, seen: &[SeenPod]) -> Vec<Labels> {
    let mut targets = Vec::new();
    for SeenPod { pod, ports } in seen.iter().filter(|seen| !seen.pod.status.pod_ip.is_empty()) {
        let others = pod::ports(pod).filter(|(.., port)| !ports.contains(&port.container_port));
        targets.extend(others.map(|(container, is_init, port)| {
            let mut labels = LabelsBuilder::default();
            pod::add_container_port(&mut labels, (container, is_init), port, &port.protocol);
            pod::add_labels(view, &mut labels, pod);
            labels.set(crate::targets::ADDRESS, &pod::address(pod, port)).build()
        }));
    }
    targets
}

/// Adds the container whose port a target leads to; the last of several.
fn add_matching_port(labels: &mut LabelsBuilder, pod: &Pod, number: i32, protocol: &str) {
    for (container, is_init, port) in pod::ports(pod).filter(|(.., port)| port.container_port == number) {
        let port = ContainerPort { name: port.name.clone(), container_port: number, protocol: String::new() };
        pod::add_container_port(labels, (container, is_init), &port, protocol);
    }
}
