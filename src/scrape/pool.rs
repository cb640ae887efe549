//! The targets of one job.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, atomic::Ordering},
};

use model::Labels;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Job, Scraping,
    target::{Target, TargetKey},
    target_loop::{Order, TargetLoop},
};
use crate::{
    config::prometheus::scrape::ScrapeConfig,
    targets::{
        TargetGroup,
        labels::{self, Outcome},
    },
};

pub(super) struct Pool {
    scraping: Arc<Scraping>,
    job: watch::Sender<Arc<Job>>,
    running: HashMap<TargetKey, RunningTarget>,
    /// Labels of targets that relabelling dropped, as many as are to be kept.
    dropped: Vec<Labels>,
    dropped_count: usize,
    /// How often something was found that can't be scraped.
    unusable_total: u64,
    /// What relabelling made of what was found, so that it is not asked again for the same.
    outcomes: HashMap<Labels, Outcome>,
    groups: Vec<TargetGroup>,
}

struct RunningTarget {
    target: Arc<Target>,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// A job's targets as they are now.
pub(crate) struct PoolView {
    pub(crate) job: Arc<ScrapeConfig>,
    /// In order of their URLs.
    pub(crate) targets: Vec<Arc<Target>>,
    /// Labels, before relabelling, of what it dropped, or of some of them.
    pub(crate) dropped: Vec<Labels>,
    pub(crate) dropped_count: usize,
    pub(crate) unusable_total: u64,
}

impl Pool {
    pub(super) fn new(scraping: Arc<Scraping>, job: Job) -> Self {
        Self {
            scraping,
            job: watch::Sender::new(Arc::new(job)),
            running: HashMap::new(),
            dropped: Vec::new(),
            dropped_count: 0,
            unusable_total: 0,
            outcomes: HashMap::new(),
            groups: Vec::new(),
        }
    }

    /// Goes on by another configuration, with what was found before.
    pub(super) fn change(&mut self, job: Job) {
        self.job.send_replace(Arc::new(job));
        self.outcomes.clear();
        let groups = std::mem::take(&mut self.groups);
        self.sync(&groups);
    }

    /// Scrapes what was found: what is there already goes on, what is new begins, and what is not there any more ends.
    pub(super) fn sync(&mut self, groups: &[TargetGroup]) {
        let wanted = self.wanted(groups);
        let gone: Vec<TargetKey> = self.running.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        let gone_count = gone.len();
        for key in gone {
            let running = self.running.remove(&key).expect("it is among the keys");
            // Its loop ends after a word about its series, which nobody waits for.
            running.order.send_replace(Order::Leave);
        }
        self.check_target_limit(wanted.len());
        let targets = &self.scraping.targets;
        targets.fetch_add(wanted.len(), Ordering::Relaxed);
        targets.fetch_sub(self.running.len() + gone_count, Ordering::Relaxed);
        for (key, target) in wanted {
            match self.running.entry(key) {
                Entry::Occupied(running) => {
                    let discovered = target.state().discovered.clone();
                    running.get().target.state().discovered = discovered;
                }
                Entry::Vacant(place) => {
                    let (order, orders) = watch::channel(Order::Scrape);
                    let target = Arc::new(target);
                    let target_loop =
                        TargetLoop::new(self.scraping.clone(), target.clone(), self.job.subscribe(), orders);
                    let task = tokio::spawn(target_loop.run());
                    place.insert(RunningTarget { target, order, task });
                }
            }
        }
        self.groups = groups.to_vec();
    }

    /// All loops end at once.
    pub(super) fn stop(&mut self) {
        self.running.drain().for_each(|(_, running)| running.task.abort());
    }

    fn wanted(&mut self, groups: &[TargetGroup]) -> HashMap<TargetKey, Target> {
        let config = self.job.borrow().config.clone();
        let before = std::mem::take(&mut self.outcomes);
        let mut wanted = HashMap::new();
        (self.dropped, self.dropped_count) = (Vec::new(), 0);
        let kept_max = config.limits.keep_dropped_targets;
        for group in groups {
            for discovered in labels::discovered_of(&config, group) {
                let outcome = match before.get(&discovered) {
                    Some(outcome) => outcome.clone(),
                    None => labels::outcome(&config, &discovered),
                };
                self.outcomes.insert(discovered.clone(), outcome.clone());
                let made = match outcome {
                    Outcome::Kept(labels) => Target::new(&config, discovered.clone(), labels),
                    Outcome::Unusable(reason) => Err(reason),
                    Outcome::Dropped => {
                        self.dropped_count += 1;
                        if kept_max == 0 || (self.dropped.len() as u64) < kept_max {
                            self.dropped.push(discovered);
                        }
                        continue;
                    }
                };
                match made {
                    Ok(target) => drop(wanted.entry(target.key()).or_insert(target)),
                    Err(reason) if !before.contains_key(&discovered) => {
                        self.unusable_total += 1;
                        tracing::error!(job = config.job_name, %discovered, reason, "a target can't be scraped");
                    }
                    Err(_) => {}
                }
            }
        }
        wanted
    }

    /// Too many targets are a mistake that is shown on all of them, as which of them to leave out nobody can know.
    fn check_target_limit(&self, count: usize) {
        let limit = self.job.borrow().config.limits.target;
        let above = (limit > 0 && count as u64 > limit).then_some(count);
        self.job.send_if_modified(|job| {
            let is_news = job.targets_above_limit != above;
            if is_news {
                *job = Arc::new(Job {
                    config: job.config.clone(),
                    client: job.client.clone(),
                    failure_log: job.failure_log.clone(),
                    targets_above_limit: above,
                });
            }
            is_news
        });
    }

    pub(super) fn view(&self) -> PoolView {
        let mut targets: Vec<Arc<Target>> = self.running.values().map(|running| running.target.clone()).collect();
        targets.sort_by_cached_key(|target| (target.url.to_string(), target.public.to_string()));
        PoolView {
            job: self.job.borrow().config.clone(),
            targets,
            dropped: self.dropped.clone(),
            dropped_count: self.dropped_count,
            unusable_total: self.unusable_total,
        }
    }
}
