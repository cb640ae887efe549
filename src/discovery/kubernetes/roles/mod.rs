//! From objects to targets, by role. Labels and addresses are those of Prometheus.

mod endpoints;
mod endpointslice;
mod ingress;
mod node;
mod pod;
mod service;

use std::{any::Any, cell::RefCell, collections::HashMap, sync::Arc};

use model::{Labels, LabelsBuilder};

use super::{
    names::{NAMESPACE, add_texts},
    objects::{ContainerPort, ObjectReference, Pod, Resource},
    store::{Store, Stores},
};
use crate::{
    config::prometheus::discovery::{AttachMetadata, KubernetesSd, Role},
    targets::TargetGroup,
};

/// What a role has made of objects, to be used again while nothing that it was made of has changed.
#[derive(Default)]
pub(super) struct Groups {
    /// By the place of the object in memory.
    made: HashMap<usize, Made>,
}

struct Made {
    /// What it was made of is kept, so that nothing else comes to stand in its place.
    _object: Arc<dyn Any + Send + Sync>,
    looked: Vec<IsSame>,
    group: Option<Arc<TargetGroup>>,
}

/// Whether an object that was looked for is the same now, or is missing now as then.
type IsSame = Box<dyn Fn(&Stores) -> bool + Send + Sync>;

impl Groups {
    /// All that a role finds.
    pub(super) fn all(&mut self, config: &KubernetesSd, stores: &Stores) -> Vec<Arc<TargetGroup>> {
        let known = (stores, &config.attach_metadata);
        match config.role {
            Role::Node => self.of(known, stores.nodes.all(), |_, node| node::group(node)),
            Role::Pod => self.of(known, stores.pods.all(), pod::group),
            Role::Service => self.of(known, stores.services.all(), service::group),
            Role::Endpoints => self.of(known, stores.endpoints.all(), endpoints::group),
            Role::EndpointSlice => self.of(known, stores.slices.all(), endpointslice::group),
            Role::Ingress => self.of(known, stores.ingresses.all(), ingress::group),
        }
    }

    fn of<T: Resource>(
        &mut self,
        (stores, attach): (&Stores, &AttachMetadata),
        objects: Vec<Arc<T>>,
        group: impl Fn(&View<'_>, &T) -> Option<TargetGroup>,
    ) -> Vec<Arc<TargetGroup>> {
        let mut before = std::mem::take(&mut self.made);
        let mut groups = Vec::with_capacity(objects.len());
        for object in objects {
            let place = Arc::as_ptr(&object).addr();
            let known = before.remove(&place).filter(|made| made.looked.iter().all(|is_same| is_same(stores)));
            let made = known.unwrap_or_else(|| {
                let view = View { stores, attach, looked: RefCell::default() };
                let group = group(&view, &object).filter(|group| !group.targets.is_empty()).map(Arc::new);
                Made { _object: object, looked: view.looked.into_inner(), group }
            });
            groups.extend(made.group.clone());
            self.made.insert(place, made);
        }
        groups
    }
}

/// What is known, and what of it targets get beside their own.
struct View<'a> {
    stores: &'a Stores,
    attach: &'a AttachMetadata,
    /// What the group depends on.
    looked: RefCell<Vec<IsSame>>,
}

impl View<'_> {
    fn look<T: Resource>(&self, store: fn(&Stores) -> &Store<T>, namespace: &str, name: &str) -> Option<Arc<T>> {
        let found = store(self.stores).get(namespace, name);
        let (namespace, name, before) = (namespace.to_owned(), name.to_owned(), found.clone());
        self.looked.borrow_mut().push(Box::new(move |stores| match (store(stores).get(&namespace, &name), &before) {
            (Some(now), Some(before)) => Arc::ptr_eq(&now, before),
            (None, None) => true,
            _ => false,
        }));
        found
    }

    fn add_node(&self, labels: &mut LabelsBuilder, name: Option<&str>) {
        let Some(name) = name.filter(|_| self.attach.node) else { return };
        if let Some(node) = self.look(|stores| &stores.nodes, "", name) {
            node::add_labels(labels, &node);
        }
    }

    fn add_namespace(&self, labels: &mut LabelsBuilder, name: &str) {
        labels.set(NAMESPACE, name);
        if self.attach.namespace
            && let Some(namespace) = self.look(|stores| &stores.namespaces, "", name)
        {
            add_texts(labels, "namespace", &namespace.metadata);
        }
    }

    fn pod(&self, reference: Option<&ObjectReference>) -> Option<Arc<Pod>> {
        let reference = reference.filter(|reference| reference.kind == "Pod")?;
        self.look(|stores| &stores.pods, &reference.namespace, &reference.name)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::config::prometheus::{self, discovery::Discovery};

    /// Endpoints, with what of pods, nodes and namespaces there is.
    fn config() -> KubernetesSd {
        let keys = "role: endpoints, api_server: 'http://a', attach_metadata: {node: true, namespace: true}";
        let text = format!("scrape_configs: [{{job_name: x, kubernetes_sd_configs: [{{{keys}}}]}}]");
        match prometheus::parse_for_tests(&text).scrape_configs.remove(0).discovery.remove(0) {
            Discovery::Kubernetes(config) => config,
            other => panic!("{}", other.key()),
        }
    }

    fn metadata(namespace: &str, number: u8, version: usize) -> Value {
        json!({"name": format!("n{number}"), "namespace": namespace, "labels": {"version": version.to_string()}})
    }

    /// Puts or removes an object of a kind; their versions are in their labels.
    fn change(stores: &Stores, (kind, number, is_there): (u8, u8, bool), version: usize) {
        fn change_one<T: Resource>(store: &Store<T>, object: Value, is_there: bool) {
            let object: T = from_value(object).expect("an object");
            if is_there { store.put(object) } else { store.remove(object.metadata()) }
        }
        let of = |namespace: &str| metadata(namespace, number, version);
        let address = |number: u8| {
            let pod = json!({"kind": "Pod", "namespace": "s", "name": format!("n{number}")});
            json!({"ip": "1.2.3.4", "nodeName": format!("n{}", number % 2), "targetRef": pod})
        };
        let subset = json!({"addresses": [address(number), address(number + 1)], "ports": [{"port": 80}]});
        let pod = json!({"metadata": of("s"), "status": {"podIP": "1.2.3.4"}});
        match kind {
            0 => change_one(&stores.pods, pod, is_there),
            1 => change_one(&stores.services, json!({"metadata": of("s")}), is_there),
            2 => change_one(&stores.nodes, json!({"metadata": of("")}), is_there),
            3 => change_one(
                &stores.namespaces,
                json!({"metadata": {"name": "s", "labels": {"v": version.to_string()}}}),
                is_there,
            ),
            _ => change_one(&stores.endpoints, json!({"metadata": of("s"), "subsets": [subset]}), is_there),
        }
    }

    proptest! {
        /// Goal: groups that are used again are as if they were made now, and one nothing of which has changed is the same one.
        #[test]
        fn groups_follow_all_that_they_are_made_of(
            changes in prop::collection::vec((0u8..8, 0u8..5, prop::bool::weighted(0.8)), 1..60),
        ) {
            let (config, stores, mut groups) = (config(), Stores::default(), Groups::default());
            for (version, what) in changes.into_iter().enumerate() {
                change(&stores, what, version);
                let now = groups.all(&config, &stores);
                prop_assert_eq!(&now, &Groups::default().all(&config, &stores));
                let again = groups.all(&config, &stores);
                prop_assert!(now.iter().zip(&again).all(|(now, again)| Arc::ptr_eq(now, again)));
            }
        }
    }
}
