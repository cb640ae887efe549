//! What is known of a cluster.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::objects::{
    EndpointSlice, Endpoints, Ingress, Job, Metadata, Namespace, Node, Pod, ReplicaSet, Resource, Service,
};

/// Namespace, empty for what is in none, and name.
pub(super) type Key = (String, String);

/// Objects of one kind.
pub(super) struct Store<T> {
    objects: Mutex<BTreeMap<Key, Arc<T>>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { objects: Mutex::default() }
    }
}

fn key(metadata: &Metadata) -> Key {
    (metadata.namespace.clone(), metadata.name.clone())
}

impl<T: Resource> Store<T> {
    /// All objects of a namespace, or of all of them.
    pub(super) fn replace(&self, namespace: Option<&str>, objects: Vec<T>) {
        let mut known = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _), _| namespace.is_some_and(|namespace| namespace != of));
        known.extend(objects.into_iter().map(|object| (key(object.metadata()), Arc::new(object))));
    }

    pub(super) fn put(&self, object: T) {
        let mut known = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key(object.metadata()), Arc::new(object));
    }

    pub(super) fn remove(&self, metadata: &Metadata) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(metadata));
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let known = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All, in order of namespaces and names.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Objects of all kinds that are watched.
#[derive(Default)]
pub(super) struct Stores {
    pub(super) nodes: Store<Node>,
    pub(super) pods: Store<Pod>,
    pub(super) services: Store<Service>,
    pub(super) endpoints: Store<Endpoints>,
    pub(super) slices: Store<EndpointSlice>,
    pub(super) ingresses: Store<Ingress>,
    pub(super) namespaces: Store<Namespace>,
    pub(super) replica_sets: Store<ReplicaSet>,
    pub(super) jobs: Store<Job>,
    changed: Notify,
    /// Watches that have not listed yet.
    unlisted: AtomicUsize,
}

impl Stores {
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn tell(&self) {
        self.changed.notify_one();
    }

    /// One more watch that is to list.
    pub(super) fn expect_list(&self) {
        self.unlisted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_listed(&self) {
        self.unlisted.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn are_complete(&self) -> bool {
        self.unlisted.load(Ordering::Relaxed) == 0
    }
}
