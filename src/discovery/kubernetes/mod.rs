//! `kubernetes_sd_configs`: objects of a cluster, listed once and watched from then on.
//!
//! kubernetes.io/docs/reference/using-api/api-concepts: a list has a version, from which a watch tells of each change. A watch that ends goes on where
//! it was; one whose version the server has forgotten begins with a list again.
//!
//! One object's labels are of many targets, so a group is made anew when any object has changed that was looked at for it; all others stay
//! ([`roles::Groups`]).

mod cluster;
mod names;
mod objects;
mod roles;
mod store;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{Updates, poll::FailureLog};
use crate::config::prometheus::discovery::{KubernetesSd, Role};
use cluster::Cluster;
use objects::Resource;
use roles::Groups;
use store::{Store, Stores};
use watch::Watch;

/// Changes that come one after the other are taken together.
const TOGETHER: Duration = Duration::from_secs(1);
/// After a mistake in the configuration of access, which somebody may mend meanwhile.
const RETRY: Duration = Duration::from_secs(15);

pub(super) async fn run(config: KubernetesSd, folder: PathBuf, updates: Updates) {
    let mut log = FailureLog::default();
    let cluster = loop {
        match Cluster::find(&config, &folder) {
            Ok(cluster) => break cluster,
            Err(error) => log.failed(&updates, "kubernetes", "access", &error.to_string()),
        }
        sleep(RETRY).await;
    };
    let stores = Arc::new(Stores::default());
    let mut watches = Watches { config: &config, cluster: &cluster, updates: &updates, tasks: JoinSet::new() };
    watches.start(&stores);
    let _tasks = watches.tasks;
    let mut groups = Groups::default();
    loop {
        stores.changed().await;
        sleep(TOGETHER).await;
        // Targets without what is still to be listed would have labels that change at once.
        if stores.are_complete() {
            updates.replace_shared(groups.all(&config, &stores));
        }
    }
}

/// Starts what a role needs to know.
struct Watches<'a> {
    config: &'a KubernetesSd,
    cluster: &'a Cluster,
    updates: &'a Updates,
    tasks: JoinSet<()>,
}

impl Watches<'_> {
    fn start(&mut self, stores: &Arc<Stores>) {
        let attached = &self.config.attach_metadata;
        let role = self.config.role;
        let of_service = matches!(role, Role::Endpoints | Role::EndpointSlice);
        let of_pod = of_service || role == Role::Pod;
        if role == Role::Node || attached.node && of_pod {
            self.watch(stores, |stores| &stores.nodes, Some(Role::Node), false);
        }
        if of_pod {
            self.watch(stores, |stores| &stores.pods, Some(Role::Pod), true);
        }
        if of_service || role == Role::Service {
            self.watch(stores, |stores| &stores.services, Some(Role::Service), true);
        }
        match role {
            Role::Endpoints => self.watch(stores, |stores| &stores.endpoints, Some(role), true),
            Role::EndpointSlice => self.watch(stores, |stores| &stores.slices, Some(role), true),
            Role::Ingress => self.watch(stores, |stores| &stores.ingresses, Some(role), true),
            Role::Node | Role::Pod | Role::Service => {}
        }
        if attached.namespace {
            self.watch(stores, |stores| &stores.namespaces, None, false);
        }
        if attached.deployment && of_pod {
            self.watch(stores, |stores| &stores.replica_sets, None, true);
        }
        if (attached.job || attached.cronjob) && of_pod {
            self.watch(stores, |stores| &stores.jobs, None, true);
        }
    }

    /// Watches a kind of objects, in each namespace that is chosen. `role` says which selector is for it.
    fn watch<T: Resource>(
        &mut self,
        stores: &Arc<Stores>,
        store: fn(&Stores) -> &Store<T>,
        role: Option<Role>,
        is_namespaced: bool,
    ) {
        let selector = role.and_then(|role| self.config.selectors.iter().find(|selector| selector.role == role));
        let namespaces: Vec<Option<String>> = match self.cluster.namespaces(&self.config.namespaces) {
            chosen if is_namespaced && !chosen.is_empty() => chosen.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        for namespace in namespaces {
            let watch = Watch::new(self.cluster, namespace, selector, stores.clone(), store, self.updates.clone());
            self.tasks.spawn(watch.run());
        }
    }
}
