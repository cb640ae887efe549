//! Role `endpointslice`: as `endpoints`, from the objects that took their place.

use model::{Labels, LabelsBuilder};

use super::{SeenPod, View, add_matching_port, note, other_ports, pod, service};
use crate::{
    discovery::{
        json_api::host_port,
        kubernetes::{
            names::{add_object, add_pairs, set, set_if},
            objects::{Endpoint, EndpointPort, EndpointSlice},
        },
    },
    targets::{ADDRESS, TargetGroup},
};

/// The label that names a slice's service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) fn group(view: &View<'_>, slice: &EndpointSlice) -> Option<TargetGroup> {
    let metadata = &slice.metadata;
    let mut labels = LabelsBuilder::default();
    view.add_namespace(&mut labels, &metadata.namespace);
    set(&mut labels, "endpointslice_address_type", &slice.address_type);
    add_object(&mut labels, "endpointslice", metadata);
    let name = metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
    if let Some(service) = name.and_then(|name| view.look(|stores| &stores.services, &metadata.namespace, name)) {
        service::add_labels(&mut labels, &service);
    }
    let (mut targets, mut seen) = (Vec::new(), Vec::new());
    for endpoint in slice.endpoints.iter().flatten() {
        for port in slice.ports.iter().flatten() {
            let addresses = endpoint.addresses.iter();
            targets.extend(addresses.map(|address| target(view, (address, port), endpoint, &mut seen)));
        }
    }
    targets.extend(other_ports(view, &seen));
    Some(TargetGroup { targets, labels: labels.build() })
}

fn target(
    view: &View<'_>,
    (address, port): (&str, &EndpointPort),
    endpoint: &Endpoint,
    seen: &mut Vec<SeenPod>,
) -> Labels {
    let mut labels = LabelsBuilder::default();
    let full = port.port.map_or_else(|| address.to_owned(), |port| host_port(address, port));
    labels.set(ADDRESS, &full);
    let number = port.port.map(|port| port.to_string());
    let reference = endpoint.target_ref.as_ref();
    let condition = |is_so: Option<bool>| is_so.map(|is_so| if is_so { "true" } else { "false" });
    for (name, value) in [
        ("port", number.as_deref()),
        ("port_name", port.name.as_deref()),
        ("port_protocol", port.protocol.as_deref()),
        ("port_app_protocol", port.app_protocol.as_deref()),
        ("endpoint_conditions_ready", condition(endpoint.conditions.ready)),
        ("endpoint_conditions_serving", condition(endpoint.conditions.serving)),
        ("endpoint_conditions_terminating", condition(endpoint.conditions.terminating)),
        ("endpoint_hostname", endpoint.hostname.as_deref()),
        ("endpoint_node_name", endpoint.node_name.as_deref()),
        ("endpoint_zone", endpoint.zone.as_deref()),
        ("address_target_kind", reference.map(|reference| reference.kind.as_str())),
        ("address_target_name", reference.map(|reference| reference.name.as_str())),
    ] {
        set_if(&mut labels, &format!("endpointslice_{name}"), value);
    }
    let topology = "endpointslice_endpoint_topology";
    add_pairs(&mut labels, topology, &format!("{topology}_present"), &endpoint.deprecated_topology);
    let node = reference.filter(|reference| reference.kind == "Node").map(|reference| reference.name.as_str());
    view.add_node(&mut labels, node.or(endpoint.node_name.as_deref()));
    if let Some(pod) = view.pod(reference) {
        note(seen, &pod, port.port);
        pod::add_labels(view, &mut labels, &pod);
        if let Some(number) = port.port {
            add_matching_port(&mut labels, &pod, number, port.protocol.as_deref().unwrap_or_default());
        }
    }
    labels.build()
}
