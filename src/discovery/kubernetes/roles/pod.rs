//! Role `pod`: one target for each port of a container, or for a container without ports.

use model::LabelsBuilder;

use super::View;
use crate::{
    discovery::{
        json_api::host_port,
        kubernetes::{
            names::{add_object, set},
            objects::{Container, ContainerPort, Pod},
        },
    },
    targets::{ADDRESS, TargetGroup},
};

/// `None`: it has no address yet, or none any more.
pub(super) fn group(view: &View<'_>, pod: &Pod) -> Option<TargetGroup> {
    if pod.status.pod_ip.is_empty() {
        return None;
    }
    let mut labels = LabelsBuilder::default();
    add_labels(view, &mut labels, pod);
    view.add_namespace(&mut labels, &pod.metadata.namespace);
    view.add_node(&mut labels, Some(&pod.spec.node_name));
    let mut targets = Vec::new();
    for (container, is_init) in containers(pod) {
        let mut target = LabelsBuilder::default();
        set(&mut target, "pod_container_id", container_id(pod, container, is_init));
        if container.ports.iter().flatten().next().is_none() {
            add_container(&mut target, container, is_init);
            targets.push(target.set(ADDRESS, &pod.status.pod_ip).build());
        }
        for port in container.ports.iter().flatten() {
            let mut target = target.clone();
            add_container_port(&mut target, (container, is_init), port, &port.protocol);
            targets.push(target.set(ADDRESS, &address(pod, port)).build());
        }
    }
    Some(TargetGroup { targets, labels: labels.build() })
}

pub(super) fn address(pod: &Pod, port: &ContainerPort) -> String {
    host_port(&pod.status.pod_ip, port.container_port)
}

/// All containers; those that run before the others come last.
fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let first = pod.spec.init_containers.iter().flatten().map(|container| (container, true));
    pod.spec.containers.iter().map(|container| (container, false)).chain(first)
}

/// All ports of all containers.
pub(super) fn ports(pod: &Pod) -> impl Iterator<Item = (&Container, bool, &ContainerPort)> {
    containers(pod)
        .flat_map(|(container, is_init)| container.ports.iter().flatten().map(move |port| (container, is_init, port)))
}

fn container_id<'p>(pod: &'p Pod, container: &Container, is_init: bool) -> &'p str {
    let statuses = if is_init { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
    let status = statuses.iter().flatten().find(|status| status.name == container.name);
    status.map_or("", |status| &status.container_id)
}

fn add_container(labels: &mut LabelsBuilder, container: &Container, is_init: bool) {
    set(labels, "pod_container_name", &container.name);
    set(labels, "pod_container_image", &container.image);
    set(labels, "pod_container_init", &is_init.to_string());
}

pub(super) fn add_container_port(
    labels: &mut LabelsBuilder,
    (container, is_init): (&Container, bool),
    port: &ContainerPort,
    protocol: &str,
) {
    add_container(labels, container, is_init);
    set(labels, "pod_container_port_name", &port.name);
    set(labels, "pod_container_port_number", &port.container_port.to_string());
    set(labels, "pod_container_port_protocol", protocol);
}

/// What its targets have in common, but for the namespace.
pub(super) fn add_labels(view: &View<'_>, labels: &mut LabelsBuilder, pod: &Pod) {
    let ready = pod.status.conditions.iter().flatten().find(|condition| condition.kind == "Ready");
    let ready = ready.map_or_else(|| "unknown".to_owned(), |condition| condition.status.to_lowercase());
    set(labels, "pod_ip", &pod.status.pod_ip);
    set(labels, "pod_ready", &ready);
    set(labels, "pod_phase", &pod.status.phase);
    set(labels, "pod_node_name", &pod.spec.node_name);
    set(labels, "pod_host_ip", &pod.status.host_ip);
    set(labels, "pod_uid", &pod.metadata.uid);
    add_object(labels, "pod", &pod.metadata);
    let Some(controller) = pod.metadata.controller() else { return };
    set(labels, "pod_controller_kind", &controller.kind);
    set(labels, "pod_controller_name", &controller.name);
    add_owners(view, labels, pod);
}

/// Who made the one that made the pod.
fn add_owners(view: &View<'_>, labels: &mut LabelsBuilder, pod: &Pod) {
    let Some(controller) = pod.metadata.controller() else { return };
    let (namespace, name) = (&pod.metadata.namespace, &controller.name);
    match controller.kind.as_str() {
        "ReplicaSet" if view.attach.deployment => {
            let set_of = view.look(|stores| &stores.replica_sets, namespace, name);
            let owner = set_of.as_ref().and_then(|set_of| set_of.metadata.controller());
            if let Some(owner) = owner.filter(|owner| owner.kind == "Deployment") {
                set(labels, "pod_deployment_name", &owner.name);
            }
        }
        "Job" => {
            if view.attach.job {
                set(labels, "pod_job_name", name);
            }
            let job = view.attach.cronjob.then(|| view.look(|stores| &stores.jobs, namespace, name)).flatten();
            let owner = job.as_ref().and_then(|job| job.metadata.controller());
            if let Some(owner) = owner.filter(|owner| owner.kind == "CronJob") {
                set(labels, "pod_cronjob_name", &owner.name);
            }
        }
        _ => {}
    }
}
