//! A push gateway: jobs that end before anybody scrapes them leave their metrics here.
//!
//! Groups of metrics, each under its grouping labels, as prom/pushgateway has them. A push is on disk before it is answered: each group has a file of
//! its own, so that a push costs what its group does, whatever others there are.

mod grouping_key;
mod groups;
mod store;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use wire::exposition::families::FamilyMessage;

use crate::{
    calendar,
    telemetry::{
        exposition::{Exposition, Kind},
        metrics::Counter,
    },
};
pub(crate) use grouping_key::{GroupingKey, KeyError};
use groups::Groups;
pub(crate) use groups::{Group, Inconsistent, TimedFamily, failure_family, time_family};
use store::Store;
pub(crate) use store::StoreError;

/// How often it is looked whether a group has lived long enough.
const LOOK: Duration = Duration::from_secs(5);

/// What the flags say of it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    /// Pushes are taken as they are, and answered before anybody has looked at them.
    pub(crate) is_unchecked: bool,
    /// Names of labels in paths may stand for any letters.
    pub(crate) has_utf8_names: bool,
    /// How long a group stays after its last push; `None`: for ever.
    pub(crate) time_to_live: Option<Duration>,
}

/// What a push does to the families that its group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All of them go.
    Replace,
    /// Those with the same names go.
    Merge,
}

/// Why a push is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("pushed metrics are invalid or inconsistent with existing metrics: {0}")]
    Inconsistent(#[from] Inconsistent),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) struct PushGateway {
    pub(crate) settings: Settings,
    groups: Mutex<Groups>,
    store: Store,
    expired: Counter,
}

impl PushGateway {
    /// Opens what was there before.
    pub(crate) fn open(settings: Settings) -> Result<Arc<Self>, StoreError> {
        let store = Store::open(&settings.folder)?;
        let groups = store.read_all()?;
        tracing::info!(groups = groups.len(), folder = %settings.folder.display(), "push gateway");
        let groups = Mutex::new(Groups::of(groups));
        Ok(Arc::new(Self { settings, groups, store, expired: Counter::default() }))
    }

    /// Takes a push; returns when it is on disk. The file is written with the groups locked, so that they change in one order on both sides.
    pub(crate) fn push(
        &self,
        key: &GroupingKey,
        families: Vec<FamilyMessage>,
        mode: Mode,
        time_to_live: Option<Duration>,
    ) -> Result<(), PushError> {
        let now = calendar::now_ms();
        let mut groups = self.lock();
        match groups.pushed(key, families, (mode, now), self.settings.is_unchecked) {
            Ok(mut group) => {
                group.time_to_live = time_to_live.or(group.time_to_live);
                self.store.write(&group)?;
                groups.put(group);
                Ok(())
            }
            Err(error) => {
                let failed = groups.failed(key, now);
                if let Err(error) = self.store.write(&failed) {
                    // Whoever pushed has to know what is wrong with the push first.
                    tracing::error!(group = %key, %error, "note that a push was not taken");
                }
                groups.put(failed);
                Err(error.into())
            }
        }
    }

    /// Forgets a group; one that is not there is no mistake.
    pub(crate) fn delete(&self, key: &GroupingKey) -> Result<(), StoreError> {
        let mut groups = self.lock();
        self.store.remove(key)?;
        groups.remove(key);
        Ok(())
    }

    /// Forgets all groups.
    pub(crate) fn wipe(&self) -> Result<(), StoreError> {
        let mut groups = self.lock();
        for key in groups.keys() {
            self.store.remove(&key)?;
            groups.remove(&key);
        }
        Ok(())
    }

    /// All groups in order of their labels.
    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        self.lock().all()
    }

    /// All families of all groups, those of the same name together.
    pub(crate) fn families(&self) -> Vec<FamilyMessage> {
        self.lock().merged()
    }

    /// Lets groups go that have lived long enough, for ever.
    pub(crate) async fn expire(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let gateway = self.clone();
            // It does not panic; were it to, it is tried again.
            drop(tokio::task::spawn_blocking(move || gateway.forget_expired()).await);
        }
    }

    fn forget_expired(&self) {
        let expired = self.lock().expired(calendar::now_ms(), self.settings.time_to_live);
        for key in expired {
            match self.delete(&key) {
                Ok(()) => {
                    self.expired.add(1);
                    tracing::info!(group = %key, "a group of pushed metrics has reached its time to live");
                }
                Err(error) => tracing::error!(group = %key, %error, "forget a group of pushed metrics"),
            }
        }
    }

    pub(crate) fn write_metrics(&self, page: &mut Exposition) {
        let count = self.lock().count();
        page.single("millrace_push_groups", Kind::Gauge, "Groups of pushed metrics.", count as f64);
        let help = "Groups of pushed metrics that went as nobody pushed to them again in time.";
        page.single("millrace_push_groups_expired_total", Kind::Counter, help, self.expired.get());
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
