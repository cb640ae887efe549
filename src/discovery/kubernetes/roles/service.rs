//! Role `service`: one target for each port, for probing from outside.

use model::LabelsBuilder;

use super::View;
use crate::{
    discovery::{
        json_api::host_port,
        kubernetes::{
            names::{add_object, set},
            objects::Service,
        },
    },
    targets::{ADDRESS, TargetGroup},
};

pub(super) fn group(view: &View<'_>, service: &Service) -> Option<TargetGroup> {
    let mut labels = LabelsBuilder::default();
    add_labels(&mut labels, service);
    view.add_namespace(&mut labels, &service.metadata.namespace);
    let (metadata, spec) = (&service.metadata, &service.spec);
    let host = format!("{}.{}.svc", metadata.name, metadata.namespace);
    let target = |port: &crate::discovery::kubernetes::objects::ServicePort| {
        let mut target = LabelsBuilder::default();
        target.set(ADDRESS, &host_port(&host, port.port));
        set(&mut target, "service_port_name", &port.name);
        set(&mut target, "service_port_number", &port.port.to_string());
        set(&mut target, "service_port_protocol", &port.protocol);
        set(&mut target, "service_type", &spec.kind);
        match spec.kind.as_str() {
            "ExternalName" => set(&mut target, "service_external_name", &spec.external_name),
            _ => set(&mut target, "service_cluster_ip", &spec.cluster_ip),
        }
        if spec.kind == "LoadBalancer" {
            set(&mut target, "service_loadbalancer_ip", &spec.load_balancer_ip);
        }
        target.build()
    };
    Some(TargetGroup { targets: spec.ports.iter().flatten().map(target).collect(), labels: labels.build() })
}

pub(super) fn add_labels(labels: &mut LabelsBuilder, service: &Service) {
    add_object(labels, "service", &service.metadata);
}
