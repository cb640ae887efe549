//! A list, and what changes from then on.

use std::{sync::Arc, time::Duration};

use form_urlencoded::Serializer;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::{
    cluster::Cluster,
    objects::{Metadata, Resource},
    store::{Store, Stores},
};
use crate::{
    config::prometheus::discovery::Selector,
    discovery::{
        Updates,
        json_api::{ApiError, JsonApi},
        poll::FailureLog,
    },
    http_client::BodyError,
};

/// Objects of one answer, so that neither side holds a whole cluster's at a time.
const PAGE: &str = "500";
/// How long a watch is asked to last, and how much longer silence is borne.
const WATCH: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(30);
const LIST_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two attempts; twice as long each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// What one object may have; clusters themselves take less than two megabytes.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// The version that a watch began at is forgotten.
const GONE: u16 = 410;

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("{0} did not answer in time")]
    Timeout(String),
    #[error("an event of {url} is none: {source}")]
    Event { url: String, source: serde_json::Error },
    #[error("an event of {0} does not end")]
    Endless(String),
    #[error("{url} ends the watch with {code} {message}")]
    Refused { url: String, code: u16, message: String },
}

impl WatchError {
    fn is_expired(&self) -> bool {
        match self {
            Self::Api(ApiError::Status { status, .. }) => status.as_u16() == GONE,
            Self::Refused { code, .. } => *code == GONE,
            _ => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Of a bookmark, and of what is deleted.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

pub(super) struct Watch<T> {
    api: JsonApi,
    /// Of the objects, without a query.
    url: String,
    namespace: Option<String>,
    selectors: Vec<(&'static str, String)>,
    stores: Arc<Stores>,
    store: fn(&Stores) -> &Store<T>,
    updates: Updates,
}

impl<T: Resource> Watch<T> {
    pub(super) fn new(
        cluster: &Cluster,
        namespace: Option<String>,
        selector: Option<&Selector>,
        stores: Arc<Stores>,
        store: fn(&Stores) -> &Store<T>,
        updates: Updates,
    ) -> Self {
        let folder = namespace.as_ref().map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let selectors = selector.map(|selector| {
            let both = [("labelSelector", selector.label.clone()), ("fieldSelector", selector.field.clone())];
            both.into_iter().filter(|(_, text)| !text.is_empty()).collect()
        });
        stores.expect_list();
        Self {
            api: cluster.api(),
            url: format!("{}{}{folder}/{}", cluster.base, T::GROUP, T::PLURAL),
            namespace,
            selectors: selectors.unwrap_or_default(),
            stores,
            store,
            updates,
        }
    }

    /// Keeps the store as the cluster is, for ever.
    pub(super) async fn run(mut self) {
        let (mut log, mut retry, mut has_listed) = (FailureLog::default(), RETRY_FIRST, false);
        // Where the watch goes on; `None`: with a list.
        let mut version: Option<String> = None;
        loop {
            let was_watching = version.is_some();
            let (next, failure) = match version.take() {
                None => self.list().await,
                Some(from) => self.watch(from).await,
            };
            match failure {
                None => {
                    (retry, version) = (RETRY_FIRST, next);
                    log.succeeded();
                    if !std::mem::replace(&mut has_listed, true) {
                        self.stores.has_listed();
                    }
                    self.stores.tell();
                }
                // It begins anew at once: nothing is wrong.
                Some(error) if error.is_expired() && was_watching => version = None,
                Some(error) => {
                    log.failed(&self.updates, "kubernetes", &self.url, &error.to_string());
                    version = next;
                    sleep(retry).await;
                    retry = (2 * retry).min(RETRY_LONGEST);
                }
            }
        }
    }

    /// Lists all objects; returns the version that they are of.
    async fn list(&mut self) -> (Option<String>, Option<WatchError>) {
        match self.try_list().await {
            Ok((objects, version)) => {
                (self.store)(&self.stores).replace(self.namespace.as_deref(), objects);
                (Some(version), None)
            }
            Err(error) => (None, Some(error)),
        }
    }

    async fn try_list(&mut self) -> Result<(Vec<T>, String), WatchError> {
        let (mut objects, mut next) = (Vec::new(), String::new());
        loop {
            let mut more = vec![("limit", PAGE)];
            if !next.is_empty() {
                more.push(("continue", &next));
            }
            let url = self.url_with(&more);
            let asked = timeout(LIST_TIME_MAX, self.api.get::<List<T>>(&url)).await;
            let list = asked.map_err(|_| WatchError::Timeout(url))??;
            objects.extend(list.items.into_iter().flatten());
            if list.metadata.next.is_empty() {
                return Ok((objects, list.metadata.resource_version));
            }
            next = list.metadata.next;
        }
    }

    fn url_with(&self, more: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(more).extend_pairs(&self.selectors);
        format!("{}?{}", self.url, query.finish())
    }

    /// Follows changes until the server ends the watch; returns the version to go on with, also after a mistake.
    async fn watch(&mut self, mut version: String) -> (Option<String>, Option<WatchError>) {
        let seconds = WATCH.as_secs().to_string();
        let more = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version.as_str()),
            ("timeoutSeconds", &seconds),
        ];
        let url = self.url_with(&more);
        let failure = self.follow(&url, &mut version).await.err();
        (Some(version), failure)
    }

    async fn follow(&mut self, url: &str, version: &mut String) -> Result<(), WatchError> {
        let opened = timeout(LIST_TIME_MAX, self.api.open(url)).await;
        let response = opened.map_err(|_| WatchError::Timeout(url.to_owned()))??;
        let mut body = response.into_body();
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let piece = timeout(WATCH + GRACE, self.api.next_piece(&mut body)).await;
            let Some(piece) = piece.map_err(|_| WatchError::Timeout(url.to_owned()))? else { return Ok(()) };
            pending.extend_from_slice(&piece?);
            let mut read = 0;
            while let Some(end) = pending[read..].iter().position(|byte| *byte == b'\n') {
                let line = &pending[read..read + end];
                if !line.is_empty() {
                    self.take(url, line, version)?;
                }
                read += end + 1;
            }
            pending.drain(..read);
            if read > 0 {
                self.stores.tell();
            }
            if pending.len() > EVENT_BYTES_MAX {
                return Err(WatchError::Endless(url.to_owned()));
            }
        }
    }

    fn take(&self, url: &str, line: &[u8], version: &mut String) -> Result<(), WatchError> {
        let wrong = |source| WatchError::Event { url: url.to_owned(), source };
        let event: Event<'_> = serde_json::from_slice(line).map_err(wrong)?;
        let object = event.object.get();
        let store = (self.store)(&self.stores);
        let new_version = match event.kind {
            "ADDED" | "MODIFIED" => {
                let object: T = serde_json::from_str(object).map_err(wrong)?;
                let version = object.metadata().resource_version.clone();
                store.put(object);
                version
            }
            "DELETED" => {
                let Named { metadata } = serde_json::from_str(object).map_err(wrong)?;
                store.remove(&metadata);
                metadata.resource_version
            }
            "BOOKMARK" => serde_json::from_str::<Named>(object).map_err(wrong)?.metadata.resource_version,
            "ERROR" => {
                let Refusal { code, message } = serde_json::from_str(object).map_err(wrong)?;
                return Err(WatchError::Refused { url: url.to_owned(), code, message });
            }
            other => {
                tracing::debug!(url, kind = other, "an event that is not known");
                return Ok(());
            }
        };
        if !new_version.is_empty() {
            *version = new_version;
        }
        Ok(())
    }
}
