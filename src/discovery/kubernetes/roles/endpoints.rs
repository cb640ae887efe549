//! Role `endpoints`: one target for each address and port, and one for each other port of a pod behind it.

use model::{Labels, LabelsBuilder};

use super::{SeenPod, View, add_matching_port, note, other_ports, pod, service};
use crate::{
    discovery::{
        json_api::host_port,
        kubernetes::{
            names::{add_object, set, set_if},
            objects::{EndpointAddress, Endpoints, ServicePort},
        },
    },
    targets::{ADDRESS, TargetGroup},
};

pub(super) fn group(view: &View<'_>, endpoints: &Endpoints) -> Option<TargetGroup> {
    let metadata = &endpoints.metadata;
    let mut labels = LabelsBuilder::default();
    view.add_namespace(&mut labels, &metadata.namespace);
    add_object(&mut labels, "endpoints", metadata);
    if let Some(service) = view.look(|stores| &stores.services, &metadata.namespace, &metadata.name) {
        service::add_labels(&mut labels, &service);
    }
    let (mut targets, mut seen) = (Vec::new(), Vec::new());
    for subset in endpoints.subsets.iter().flatten() {
        for port in subset.ports.iter().flatten() {
            let ready = subset.addresses.iter().flatten().map(|address| (address, "true"));
            let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, "false"));
            targets.extend(ready.chain(unready).map(|(address, ready)| target(view, address, port, ready, &mut seen)));
        }
    }
    targets.extend(other_ports(view, &seen));
    Some(TargetGroup { targets, labels: labels.build() })
}

fn target(
    view: &View<'_>,
    address: &EndpointAddress,
    port: &ServicePort,
    ready: &str,
    seen: &mut Vec<SeenPod>,
) -> Labels {
    let mut labels = LabelsBuilder::default();
    labels.set(ADDRESS, &host_port(&address.ip, port.port));
    set(&mut labels, "endpoint_port_name", &port.name);
    set(&mut labels, "endpoint_port_protocol", &port.protocol);
    set(&mut labels, "endpoint_ready", ready);
    let reference = address.target_ref.as_ref();
    set_if(&mut labels, "endpoint_address_target_kind", reference.map(|reference| reference.kind.as_str()));
    set_if(&mut labels, "endpoint_address_target_name", reference.map(|reference| reference.name.as_str()));
    set_if(&mut labels, "endpoint_node_name", address.node_name.as_deref());
    set(&mut labels, "endpoint_hostname", &address.hostname);
    let node = reference.filter(|reference| reference.kind == "Node").map(|reference| reference.name.as_str());
    view.add_node(&mut labels, address.node_name.as_deref().or(node));
    if let Some(pod) = view.pod(reference) {
        note(seen, &pod, Some(port.port));
        pod::add_labels(view, &mut labels, &pod);
        add_matching_port(&mut labels, &pod, port.port, &port.protocol);
    }
    labels.build()
}
