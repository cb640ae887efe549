//! The targets of one job.

use std::{
    collections::{HashMap, HashSet},
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
    running: HashMap<Arc<TargetKey>, RunningTarget>,
    /// What was found last, in order.
    groups: Vec<Arc<TargetGroup>>,
    /// What came of it, by the group's place in memory.
    synced: HashMap<usize, Synced>,
    /// Loops that begin when all of them are known: where in the interval one begins depends on how many there are.
    beginning: Vec<(Arc<TargetKey>, TargetLoop)>,
    dropped_count: usize,
    /// How often something was found that can't be scraped.
    unusable_total: u64,
    /// What is still found comes too late.
    has_ended: bool,
}

/// A group, and what came of its targets. As long as it is the same one, nobody looks at it again.
struct Synced {
    _group: Arc<TargetGroup>,
    members: Vec<Member>,
}

struct Member {
    /// Before relabelling.
    discovered: Labels,
    fate: Fate,
}

#[derive(Clone)]
enum Fate {
    /// It runs under this key.
    Scraped(Arc<TargetKey>),
    Dropped,
    Unusable,
}

struct RunningTarget {
    target: Arc<Target>,
    /// How many members of groups are it.
    members: usize,
    order: watch::Sender<Order>,
    /// `None`: it is about to begin.
    task: Option<JoinHandle<()>>,
}

fn place_of(group: &Arc<TargetGroup>) -> usize {
    Arc::as_ptr(group).addr()
}

/// A job's targets as they are now.
pub(crate) struct PoolView {
    pub(crate) job: Arc<ScrapeConfig>,
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
            groups: Vec::new(),
            synced: HashMap::new(),
            beginning: Vec::new(),
            dropped_count: 0,
            unusable_total: 0,
            has_ended: false,
        }
    }

    /// Goes on by another configuration, with what was found before.
    pub(super) fn change(&mut self, job: Job) {
        self.job.send_replace(Arc::new(job));
        let gone = std::mem::take(&mut self.synced);
        for group in self.groups.clone() {
            self.add(&group, &HashMap::new());
        }
        self.remove(gone);
        self.finish();
    }

    /// Scrapes what was found: what is there already goes on, what is new begins, and what is not there any more ends.
    pub(super) fn sync(&mut self, groups: &[Arc<TargetGroup>]) {
        if self.has_ended {
            return;
        }
        let mut gone = std::mem::take(&mut self.synced);
        let stays = |group: &Arc<TargetGroup>| gone.remove_entry(&place_of(group));
        self.synced = groups.iter().filter_map(stays).collect();
        // What relabelling made of a target is not asked again where the target is in another group now.
        let members = gone.values().flat_map(|synced| &synced.members);
        let known = members.map(|member| (member.discovered.clone(), member.fate.clone())).collect();
        for group in groups {
            self.add(group, &known);
        }
        self.remove(gone);
        // One that is found twice is one.
        let mut seen = HashSet::new();
        self.groups = groups.iter().filter(|group| seen.insert(place_of(group))).cloned().collect();
        self.finish();
    }

    /// Takes in a group that is new.
    fn add(&mut self, group: &Arc<TargetGroup>, known: &HashMap<Labels, Fate>) {
        if self.synced.contains_key(&place_of(group)) {
            return;
        }
        let config = self.job.borrow().config.clone();
        let member = |discovered: Labels| {
            let fate = match known.get(&discovered) {
                Some(Fate::Scraped(key)) if self.goes_on(key, &discovered) => Fate::Scraped(key.clone()),
                Some(fate @ (Fate::Dropped | Fate::Unusable)) => fate.clone(),
                _ => self.begin(&config, &discovered),
            };
            self.dropped_count += usize::from(matches!(fate, Fate::Dropped));
            Member { discovered, fate }
        };
        let members = labels::discovered_of(&config, group).map(member).collect();
        self.synced.insert(place_of(group), Synced { _group: group.clone(), members });
    }

    /// One more member is a target that runs; false if none does.
    fn goes_on(&mut self, key: &TargetKey, discovered: &Labels) -> bool {
        let Some(running) = self.running.get_mut(key) else { return false };
        running.members += 1;
        running.target.state().discovered = discovered.clone();
        true
    }

    fn begin(&mut self, config: &ScrapeConfig, discovered: &Labels) -> Fate {
        let made = match labels::outcome(config, discovered) {
            Outcome::Kept(labels) => Target::new(config, discovered.clone(), labels),
            Outcome::Dropped => return Fate::Dropped,
            Outcome::Unusable(reason) => Err(reason),
        };
        let target = match made {
            Ok(target) => Arc::new(target),
            Err(reason) => {
                self.unusable_total += 1;
                tracing::error!(job = config.job_name, %discovered, reason, "a target can't be scraped");
                return Fate::Unusable;
            }
        };
        let key = Arc::new(target.key());
        if !self.goes_on(&key, discovered) {
            let (order, orders) = watch::channel(Order::Scrape);
            let target_loop = TargetLoop::new(self.scraping.clone(), target.clone(), self.job.subscribe(), orders);
            self.beginning.push((key.clone(), target_loop));
            self.running.insert(key.clone(), RunningTarget { target, members: 1, order, task: None });
        }
        Fate::Scraped(key)
    }

    /// Has those begin that are new, once those that are gone are not counted any more.
    fn finish(&mut self) {
        let beginning = std::mem::take(&mut self.beginning);
        self.scraping.targets.fetch_add(beginning.len(), Ordering::Relaxed);
        self.check_target_limit();
        for (key, target_loop) in beginning {
            let running = self.running.get_mut(&key).expect("it was put there");
            running.task = Some(tokio::spawn(target_loop.run()));
        }
    }

    /// Lets go of groups that are not found any more.
    fn remove(&mut self, gone: HashMap<usize, Synced>) {
        for member in gone.into_values().flat_map(|synced| synced.members) {
            match member.fate {
                Fate::Scraped(key) => self.leave(&key),
                Fate::Dropped => self.dropped_count -= 1,
                Fate::Unusable => {}
            }
        }
    }

    fn leave(&mut self, key: &TargetKey) {
        let running = self.running.get_mut(key).expect("a member runs");
        running.members -= 1;
        if running.members == 0 {
            let running = self.running.remove(key).expect("it was there");
            self.scraping.targets.fetch_sub(1, Ordering::Relaxed);
            // Its loop ends after a word about its series, which nobody waits for.
            running.order.send_replace(Order::Leave);
        }
    }

    /// The job is gone.
    pub(super) fn end(&mut self) {
        self.sync(&[]);
        self.has_ended = true;
    }

    /// All loops end at once.
    pub(super) fn stop(&mut self) {
        self.has_ended = true;
        self.running.drain().filter_map(|(_, running)| running.task).for_each(|task| task.abort());
    }

    /// Too many targets are a mistake that is shown on all of them, as which of them to leave out nobody can know.
    fn check_target_limit(&self) {
        let count = self.running.len();
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
        PoolView {
            job: self.job.borrow().config.clone(),
            targets: self.running.values().map(|running| running.target.clone()).collect(),
            dropped: self.dropped(),
            dropped_count: self.dropped_count,
            unusable_total: self.unusable_total,
        }
    }

    /// As many as are to be shown.
    fn dropped(&self) -> Vec<Labels> {
        let kept_max = self.job.borrow().config.limits.keep_dropped_targets;
        let kept_max = if kept_max == 0 { usize::MAX } else { usize::try_from(kept_max).unwrap_or(usize::MAX) };
        let members = self.groups.iter().filter_map(|group| self.synced.get(&place_of(group)));
        let members = members.flat_map(|synced| &synced.members);
        let dropped = members.filter(|member| matches!(member.fate, Fate::Dropped));
        dropped.map(|member| member.discovered.clone()).take(kept_max).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        path::Path,
        sync::atomic::{AtomicU64, AtomicUsize},
    };

    use model::IdentityKey;
    use proptest::prelude::*;
    use shard::{Handle, shared::Shared};

    use super::{
        super::{Appends, Batches, Features, job_of, metadata::Families},
        *,
    };
    use crate::{config::prometheus, targets::labels::targets_of};

    /// One that scrapes once a century; nothing is behind it.
    fn scraping() -> Arc<Scraping> {
        let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
        let (storage, _mailboxes) = Handle::connect(Arc::new(Shared::new(key, 1, 1000, 0)));
        Arc::new(Scraping {
            features: Features::default(),
            appends: Appends::new(storage),
            key,
            metadata: Arc::default(),
            families: Families::default(),
            batches: Batches::default(),
            metrics: Arc::default(),
            seed: AtomicU64::new(0),
            targets: AtomicUsize::new(0),
        })
    }

    fn config(dropped: u8) -> Arc<ScrapeConfig> {
        let keys = format!(
            "job_name: x, scrape_interval: 100y, keep_dropped_targets: 3, \
             relabel_configs: [{{source_labels: [n], regex: '.*{dropped}', action: drop}}, {{action: labeldrop, regex: n}}]"
        );
        let mut all = prometheus::parse_for_tests(&format!("scrape_configs: [{{{keys}}}]")).scrape_configs;
        Arc::new(all.remove(0))
    }

    /// Some numbers are other targets under the same address, and some have none.
    fn group(numbers: &[u8]) -> TargetGroup {
        let target = |number: &u8| {
            let address = if number.is_multiple_of(17) { String::new() } else { format!("host-{}:1", number % 40) };
            Labels::from_pairs([("__address__", address), ("n", number.to_string())])
        };
        TargetGroup { targets: numbers.iter().map(target).collect(), labels: Labels::empty() }
    }

    /// What is scraped, what relabelling drops, and how many of the latter are shown.
    fn state(pool: &Pool) -> (BTreeSet<String>, usize, usize) {
        let view = pool.view();
        let urls = view.targets.iter().map(|target| target.url.to_string()).collect();
        assert_eq!(view.targets.len(), pool.scraping.targets.load(Ordering::Relaxed));
        (urls, view.dropped_count, view.dropped.len())
    }

    fn expected(config: &ScrapeConfig, groups: &[Arc<TargetGroup>]) -> (BTreeSet<String>, usize, usize) {
        let mut distinct: Vec<&Arc<TargetGroup>> = Vec::new();
        for group in groups {
            if !distinct.iter().any(|known| Arc::ptr_eq(known, group)) {
                distinct.push(group);
            }
        }
        let (mut urls, mut dropped) = (BTreeSet::new(), 0);
        for target in distinct.into_iter().flat_map(|group| targets_of(config, group)) {
            match target.outcome {
                Outcome::Kept(labels) => {
                    urls.insert(format!("http://{}/metrics", labels.get("__address__").unwrap_or_default()));
                }
                Outcome::Dropped => dropped += 1,
                Outcome::Unusable(_) => {}
            }
        }
        (urls, dropped, dropped.min(3))
    }

    /// Groups, each of which may be one of before instead, and what the job drops from then on.
    type Step = (Vec<(Vec<u8>, bool)>, Option<u8>);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let group = (prop::collection::vec(any::<u8>(), 0..8), any::<bool>());
        prop::collection::vec((prop::collection::vec(group, 0..6), prop::option::weighted(0.2, 0u8..10)), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Goal: whatever groups come, stay and go, and how the job changes, what is scraped is what the groups of now say.
        #[test]
        fn a_pool_is_what_its_groups_make_of_it(steps in steps()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let _inside = runtime.enter();
            let mut config_now = config(3);
            let mut pool = Pool::new(scraping(), job_of(&config_now, Path::new("")));
            let mut before: Vec<Arc<TargetGroup>> = Vec::new();
            for (groups, change) in steps {
                // Some groups of before stay.
                let of_step = |(numbers, stays): (Vec<u8>, bool)| match before.get(numbers.len()) {
                    Some(known) if stays => known.clone(),
                    _ => Arc::new(group(&numbers)),
                };
                let groups: Vec<Arc<TargetGroup>> = groups.into_iter().map(of_step).collect();
                pool.sync(&groups);
                prop_assert_eq!(state(&pool), expected(&config_now, &groups));
                if let Some(dropped) = change {
                    config_now = config(dropped);
                    pool.change(job_of(&config_now, Path::new("")));
                    prop_assert_eq!(state(&pool), expected(&config_now, &groups));
                }
                before = groups;
            }
            pool.end();
            pool.sync(&before);
            prop_assert_eq!(state(&pool), (BTreeSet::new(), 0, 0), "what comes too late is nothing");
        }
    }
}
