//! What is known of a cluster.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::objects::{
    EndpointSlice, Endpoints, Ingress, Job, Metadata, Namespace, Node, Pod, ReplicaSet, Resource, Service,
};

/// Objects of one kind, by namespace (empty for what is in none) and name.
pub(super) struct Store<T> {
    objects: Mutex<Objects<T>>,
}

type Objects<T> = BTreeMap<String, BTreeMap<String, Arc<T>>>;

fn put<T: Resource>(known: &mut Objects<T>, object: T) {
    let Metadata { namespace, name, .. } = object.metadata();
    let (namespace, name) = (namespace.clone(), name.clone());
    known.entry(namespace).or_default().insert(name, Arc::new(object));
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { objects: Mutex::default() }
    }
}

impl<T: Resource> Store<T> {
    /// All objects of a namespace, or of all of them.
    pub(super) fn replace(&self, namespace: Option<&str>, objects: Vec<T>) {
        let mut known = self.lock();
        match namespace {
            Some(namespace) => drop(known.remove(namespace)),
            None => known.clear(),
        }
        objects.into_iter().for_each(|object| put(&mut known, object));
    }

    pub(super) fn put(&self, object: T) {
        put(&mut self.lock(), object);
    }

    pub(super) fn remove(&self, metadata: &Metadata) {
        if let Some(objects) = self.lock().get_mut(&metadata.namespace) {
            objects.remove(&metadata.name);
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.lock().get(namespace).and_then(|objects| objects.get(name)).cloned()
    }

    /// All, in order of namespaces and names.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().flat_map(BTreeMap::values).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Objects<T>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
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
