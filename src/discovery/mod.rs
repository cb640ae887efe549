//! Discovery: who finds targets, and tells when they change.
//!
//! A mechanism is one file and one line in [`spawn`]. It replaces all that it found each time; while it can't say anything, as its
//! server does not answer, what it said last stands. A group that is found again as it was is the same one, not another that is equal: who
//! takes targets of it looks at what has changed alone.

mod aws;
mod consul;
mod dns;
mod docker;
mod file;
mod http;
mod json_api;
mod kubernetes;
mod poll;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    config::prometheus::discovery::{Discovery, DnsSd},
    targets::{TargetGroup, file::group_of},
};

use aws::ec2::Ec2Discovery;
use dns::DnsDiscovery;
use docker::DockerDiscovery;
use http::HttpDiscovery;

/// Changes that come one after the other are handed on together.
const TOGETHER: Duration = Duration::from_secs(5);

/// The mechanisms of one job at work; they end with it.
pub(crate) struct Running {
    mechanisms: Vec<Discovery>,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    /// By mechanism; `None`: it has said nothing yet.
    found: Mutex<Vec<Option<Vec<Arc<TargetGroup>>>>>,
    changed: Notify,
    /// How often a mechanism could not say anything, by its name.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

/// Where a mechanism says what it found.
#[derive(Clone)]
struct Updates {
    state: Arc<State>,
    mechanism: usize,
    /// For the log.
    job: Arc<str>,
}

/// What the mechanisms of a job found together, again and again.
pub(crate) struct Found {
    state: Arc<State>,
    last: Option<Instant>,
    started: Instant,
}

/// Starts all mechanisms of a job. Paths are seen from a folder. One that ran before goes on with what it found then: a change of
/// others must not take its targets away until its server answers again.
pub(crate) fn start(job: &str, mechanisms: &[Discovery], folder: &Path, before: Option<&Running>) -> Running {
    let mechanisms: Vec<Discovery> = mechanisms.iter().cloned().flat_map(one_by_one).collect();
    let found_before = |mechanism: &Discovery| {
        let before = before?;
        let place = before.mechanisms.iter().position(|known| known == mechanism)?;
        before.state.found.lock().unwrap_or_else(PoisonError::into_inner)[place].clone()
    };
    let state = Arc::new(State {
        found: Mutex::new(mechanisms.iter().map(found_before).collect()),
        changed: Notify::new(),
        failures: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for (number, mechanism) in mechanisms.iter().cloned().enumerate() {
        let updates = Updates { state: state.clone(), mechanism: number, job: job.into() };
        spawn(mechanism, folder.to_owned(), updates, &mut tasks);
    }
    state.changed.notify_one();
    Running { mechanisms, state, _tasks: tasks }
}

/// Names that are asked for each by itself: one that is not answered for must not keep the others from changing.
fn one_by_one(mechanism: Discovery) -> Vec<Discovery> {
    match mechanism {
        Discovery::Dns(config) => {
            let of_name = |name: &String| Discovery::Dns(DnsSd { names: vec![name.clone()], ..config.clone() });
            config.names.iter().map(of_name).collect()
        }
        other => vec![other],
    }
}

/// What the mechanisms of a job find, once all of them have said something; `None`: one had not by then.
pub(crate) async fn find_once(
    job: &str,
    mechanisms: &[Discovery],
    folder: &Path,
    patience: Duration,
) -> Option<Vec<Arc<TargetGroup>>> {
    let running = start(job, mechanisms, folder, None);
    let complete = async {
        loop {
            let found = running.state.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(all) = found.into_iter().collect::<Option<Vec<_>>>() {
                return all.into_iter().flatten().collect();
            }
            running.state.changed.notified().await;
        }
    };
    tokio::time::timeout(patience, complete).await.ok()
}

fn spawn(mechanism: Discovery, folder: PathBuf, updates: Updates, tasks: &mut JoinSet<()>) {
    match mechanism {
        Discovery::Static(group) => updates.replace(vec![group_of(&group.targets, &group.labels)]),
        Discovery::File(config) => drop(tasks.spawn(file::run(config, folder, updates))),
        Discovery::Http(config) => {
            let interval = config.refresh_interval.get();
            tasks.spawn(poll::run(HttpDiscovery::new(config, &folder), interval, updates));
        }
        Discovery::Dns(config) => {
            let interval = config.refresh_interval.get();
            tasks.spawn(poll::run(DnsDiscovery::new(config), interval, updates));
        }
        Discovery::Consul(config) => drop(tasks.spawn(consul::run(config, folder, updates))),
        Discovery::Ec2(config) => {
            let interval = config.refresh_interval.get();
            tasks.spawn(poll::run(Ec2Discovery::new(config, &folder), interval, updates));
        }
        Discovery::Kubernetes(config) => drop(tasks.spawn(kubernetes::run(config, folder, updates))),
        Discovery::Docker(config) => {
            let interval = config.refresh_interval.get();
            tasks.spawn(poll::run(DockerDiscovery::new(config, &folder), interval, updates));
        }
        other => {
            tracing::warn!(
                job = &*updates.job,
                mechanism = other.key(),
                "discovery by this mechanism has no effect in this release: it finds no targets"
            );
            updates.replace(Vec::new());
        }
    }
}

impl Running {
    pub(crate) fn found(&self) -> Found {
        Found { state: self.state.clone(), last: None, started: Instant::now() }
    }

    /// How often a mechanism could not say anything since the start, by its name.
    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.state.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Updates {
    /// Everything that the mechanism finds now.
    fn replace(&self, groups: Vec<TargetGroup>) {
        let known = self.state.found.lock().unwrap_or_else(PoisonError::into_inner)[self.mechanism].clone();
        self.replace_shared(shared(groups, known.as_deref().unwrap_or_default()));
    }

    /// The same of a mechanism that keeps what has not changed by itself.
    fn replace_shared(&self, groups: Vec<Arc<TargetGroup>>) {
        let mut found = self.state.found.lock().unwrap_or_else(PoisonError::into_inner);
        let are_same = |known: &Vec<Arc<TargetGroup>>| {
            known.len() == groups.len() && known.iter().zip(&groups).all(|(known, group)| Arc::ptr_eq(known, group))
        };
        if !found[self.mechanism].as_ref().is_some_and(are_same) {
            found[self.mechanism] = Some(groups);
            self.state.changed.notify_one();
        }
    }
}

impl Updates {
    /// What the mechanism found last stands.
    fn failed(&self, mechanism: &'static str) {
        *self.state.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(mechanism).or_default() += 1;
    }
}

/// Groups, those that are known already as they are known.
fn shared(groups: Vec<TargetGroup>, known: &[Arc<TargetGroup>]) -> Vec<Arc<TargetGroup>> {
    let mut anywhere: Option<HashMap<&TargetGroup, &Arc<TargetGroup>>> = None;
    let find = |(at, group): (usize, TargetGroup)| {
        let in_place = known.get(at).filter(|known| ***known == group);
        let found = in_place.or_else(|| {
            let all = || known.iter().map(|known| (&**known, known)).collect();
            anywhere.get_or_insert_with(all).get(&group).copied()
        });
        found.cloned().unwrap_or_else(|| Arc::new(group))
    };
    groups.into_iter().enumerate().map(find).collect()
}

impl Found {
    /// What was found, when it has changed. The first time it waits, for a while, until every mechanism has said something: a reload must
    /// not look as if targets were gone. `None` never comes: there is always something more to find.
    pub(crate) async fn next(&mut self) -> Option<Vec<Arc<TargetGroup>>> {
        loop {
            let is_first = self.last.is_none();
            let patience = self.last.unwrap_or(self.started) + TOGETHER;
            if is_first {
                tokio::select! {
                    () = self.state.changed.notified() => {}
                    () = sleep_until(patience) => {}
                }
            } else {
                self.state.changed.notified().await;
                sleep_until(patience).await;
            }
            let found = self.state.found.lock().unwrap_or_else(PoisonError::into_inner);
            let is_complete = found.iter().all(Option::is_some);
            if is_complete || Instant::now() >= patience {
                self.last = Some(Instant::now());
                return Some(found.iter().flatten().flatten().cloned().collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn group(name: &str) -> TargetGroup {
        TargetGroup { targets: vec![Labels::from_pairs([("a", name)])], labels: Labels::empty() }
    }

    /// Goal: what is found again is the same group, wherever it stands now; what has changed is another.
    #[test]
    fn a_group_that_is_found_again_is_the_same() {
        let first = shared(["a", "b", "c"].map(group).to_vec(), &[]);
        let second = shared(["b", "c", "d"].map(group).to_vec(), &first);
        assert!(Arc::ptr_eq(&second[0], &first[1]) && Arc::ptr_eq(&second[1], &first[2]));
        assert_eq!(*second[2], group("d"));
        let third = shared(["b", "x", "d"].map(group).to_vec(), &second);
        assert!(Arc::ptr_eq(&third[0], &second[0]) && Arc::ptr_eq(&third[2], &second[2]));
        assert_eq!(*third[1], group("x"));
    }
}
