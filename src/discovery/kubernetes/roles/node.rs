//! Role `node`: one target for each, its kubelet.

use model::LabelsBuilder;

use crate::{
    discovery::{
        json_api::{host_port, label_name},
        kubernetes::{
            names::{add_object, set},
            objects::Node,
        },
    },
    targets::{ADDRESS, TargetGroup},
};

/// Kinds of addresses, the best first.
const KINDS: [&str; 6] = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// `None`: it has no address.
pub(super) fn group(node: &Node) -> Option<TargetGroup> {
    let addresses: Vec<_> = node.status.addresses.iter().flatten().collect();
    let best = KINDS.iter().find_map(|kind| addresses.iter().find(|address| address.kind == *kind))?;
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let mut target = LabelsBuilder::default();
    target.set(ADDRESS, &host_port(&best.address, port)).set("instance", &node.metadata.name);
    // Of several of a kind the first counts.
    for address in addresses.iter().rev() {
        set(&mut target, &format!("node_address_{}", label_name(&address.kind)), &address.address);
    }
    let mut labels = LabelsBuilder::default();
    set(&mut labels, "node_provider_id", &node.spec.provider_id);
    for condition in node.status.conditions.iter().flatten() {
        let name = format!("node_condition_{}", label_name(&condition.kind));
        set(&mut labels, &name, &condition.status.to_lowercase());
    }
    add_labels(&mut labels, node);
    Some(TargetGroup { targets: vec![target.build()], labels: labels.build() })
}

/// What targets of other roles get of the node that they are on.
pub(super) fn add_labels(labels: &mut LabelsBuilder, node: &Node) {
    add_object(labels, "node", &node.metadata);
}
