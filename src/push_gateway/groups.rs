//! Groups in memory, and what they may not have together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use wire::exposition::{
    families::{FamilyMessage, LabelPairMessage, MetricMessage, ValueMessage, kind},
    family_text::kind_text,
};

use super::{GroupingKey, Mode};

pub(super) const PUSH_TIME: &str = "push_time_seconds";
pub(super) const FAILURE_TIME: &str = "push_failure_time_seconds";
const INSTANCE: &str = "instance";

/// A family, and when it was pushed, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimedFamily {
    pub(crate) time_ms: i64,
    pub(crate) family: FamilyMessage,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) key: GroupingKey,
    /// By name.
    pub(crate) families: BTreeMap<String, TimedFamily>,
    /// Of the last push that was taken, and of the last that was not; 0: there was none.
    pub(crate) push_time_ms: i64,
    pub(crate) failure_time_ms: i64,
    /// If it is not that of all groups.
    pub(crate) time_to_live: Option<Duration>,
}

/// Why families can't be shown beside those that are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Inconsistent {
    #[error("pushed metrics must not have timestamps: {0}")]
    Timestamp(String),
    #[error("the name {0:?} is that of a label and of nothing else, or empty")]
    Name(String),
    #[error("the metric {0} has a label without a name, or twice")]
    Label(String),
    #[error("{name} is there as a {there} and can't be a {pushed} too")]
    Type { name: String, there: &'static str, pushed: &'static str },
    #[error("{part} is a part of the {owner_kind} {owner} and can't be a metric of its own too")]
    Part { part: String, owner: String, owner_kind: &'static str },
    #[error("{0} is there already with the same labels")]
    Series(String),
}

impl Group {
    pub(super) fn new(key: &GroupingKey) -> Self {
        Self { key: key.clone(), families: BTreeMap::new(), push_time_ms: 0, failure_time_ms: 0, time_to_live: None }
    }

    /// Whether its last push was taken.
    pub(crate) fn is_last_push_taken(&self) -> bool {
        self.push_time_ms >= self.failure_time_ms
    }
}

/// When a group was pushed to last, as a metric.
pub(crate) fn time_family(group: &Group) -> FamilyMessage {
    let help = "Last Unix time when changing this group in the Pushgateway succeeded.";
    gauge(PUSH_TIME, help, &group.key, group.push_time_ms)
}

/// When a push to a group failed last, as a metric.
pub(crate) fn failure_family(group: &Group) -> FamilyMessage {
    let help = "Last Unix time when changing this group in the Pushgateway failed.";
    gauge(FAILURE_TIME, help, &group.key, group.failure_time_ms)
}

fn gauge(name: &str, help: &str, key: &GroupingKey, time_ms: i64) -> FamilyMessage {
    let mut metric =
        MetricMessage { gauge: Some(ValueMessage { value: time_ms as f64 / 1000.0 }), ..MetricMessage::default() };
    add_grouping_labels(&mut metric, key);
    let (name, help) = (name.to_owned(), help.to_owned());
    FamilyMessage { name, help, kind: kind::GAUGE, metric: vec![metric], ..FamilyMessage::default() }
}

/// Grouping labels go before a metric's own. Without an instance it gets an empty one, so that it does not get that of this server.
fn add_grouping_labels(metric: &mut MetricMessage, key: &GroupingKey) {
    metric.label.retain(|pair| !key.0.contains_key(&pair.name));
    let pair = |name: &str, value: &str| LabelPairMessage { name: name.to_owned(), value: value.to_owned() };
    metric.label.extend(key.0.iter().map(|(name, value)| pair(name, value)));
    if metric.label.iter().all(|pair| pair.name != INSTANCE) {
        metric.label.push(pair(INSTANCE, ""));
    }
    metric.label.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Name and labels of a metric; what tells it from others.
type Series = Vec<String>;

fn series(name: &str, metric: &MetricMessage) -> Series {
    let pairs = metric.label.iter().filter(|pair| !pair.value.is_empty());
    std::iter::once(name.to_owned()).chain(pairs.flat_map(|pair| [pair.name.clone(), pair.value.clone()])).collect()
}

#[derive(Default)]
pub(super) struct Groups {
    by_key: BTreeMap<GroupingKey, Arc<Group>>,
    /// How many groups have a family, by its name and type.
    kinds: HashMap<String, BTreeMap<i32, usize>>,
    /// Whose a series is.
    owners: HashMap<Series, GroupingKey>,
}

impl Groups {
    pub(super) fn of(groups: Vec<Group>) -> Self {
        let mut all = Self::default();
        groups.into_iter().for_each(|group| all.put(group));
        all
    }

    pub(super) fn count(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn keys(&self) -> Vec<GroupingKey> {
        self.by_key.keys().cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Group>> {
        self.by_key.values().cloned().collect()
    }

    /// What a group would be after a push.
    pub(super) fn pushed(
        &self,
        key: &GroupingKey,
        mut families: Vec<FamilyMessage>,
        (mode, now): (Mode, i64),
        is_unchecked: bool,
    ) -> Result<Group, Inconsistent> {
        for family in &mut families {
            // Kept, they would never be newer than what is there.
            if family.metric.iter().any(|metric| metric.timestamp_ms != 0) {
                return Err(Inconsistent::Timestamp(family.name.clone()));
            }
            family.metric.iter_mut().for_each(|metric| add_grouping_labels(metric, key));
        }
        families.retain(|family| family.name != PUSH_TIME && family.name != FAILURE_TIME);
        let mut group = self.by_key.get(key).map_or_else(|| Group::new(key), |group| Group::clone(group));
        if mode == Mode::Replace {
            group.families.clear();
        }
        if !is_unchecked {
            let pushed: BTreeSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
            let stays = |name: &str| group.families.contains_key(name) && !pushed.contains(name);
            self.check(key, &families, &stays)?;
        }
        for family in families {
            group.families.insert(family.name.clone(), TimedFamily { time_ms: now, family });
        }
        group.push_time_ms = now;
        Ok(group)
    }

    /// The group of a push that was not taken.
    pub(super) fn failed(&self, key: &GroupingKey, now: i64) -> Group {
        let group = self.by_key.get(key).map_or_else(|| Group::new(key), |group| Group::clone(group));
        Group { failure_time_ms: now, ..group }
    }

    /// Whether pushed families can be shown beside the others; `stays` says which of the group's own go on.
    fn check(
        &self,
        key: &GroupingKey,
        families: &[FamilyMessage],
        stays: &dyn Fn(&str) -> bool,
    ) -> Result<(), Inconsistent> {
        let mut pushed_kinds: HashMap<&str, i32> =
            HashMap::from([(PUSH_TIME, kind::GAUGE), (FAILURE_TIME, kind::GAUGE)]);
        let mut pushed: BTreeSet<Series> = BTreeSet::new();
        for family in families {
            if family.name.is_empty() || family.name.contains('\0') {
                return Err(Inconsistent::Name(family.name.clone()));
            }
            self.check_kind(key, family, stays)?;
            if let Some(there) = pushed_kinds.insert(&family.name, family.kind).filter(|there| *there != family.kind) {
                return Err(type_error(family, there));
            }
            for metric in &family.metric {
                let is_twice = metric.label.windows(2).any(|two| two[0].name == two[1].name);
                if is_twice || metric.label.iter().any(|pair| pair.name.is_empty()) {
                    return Err(Inconsistent::Label(family.name.clone()));
                }
                let series = series(&family.name, metric);
                let is_of_another = self.owners.get(&series).is_some_and(|owner| owner != key);
                if is_of_another || !pushed.insert(series) {
                    return Err(Inconsistent::Series(family.name.clone()));
                }
            }
        }
        let is_there = |name: &str| {
            let elsewhere = self.kind_elsewhere(key, name, stays);
            pushed_kinds.get(name).copied().or(elsewhere)
        };
        families.iter().try_for_each(|family| check_parts(family, &is_there))
    }

    fn check_kind(
        &self,
        key: &GroupingKey,
        family: &FamilyMessage,
        stays: &dyn Fn(&str) -> bool,
    ) -> Result<(), Inconsistent> {
        match self.kind_elsewhere(key, &family.name, stays) {
            Some(there) if there != family.kind => Err(type_error(family, there)),
            _ => Ok(()),
        }
    }

    /// The type that a name has beyond what a push to a group takes away.
    fn kind_elsewhere(&self, key: &GroupingKey, name: &str, stays: &dyn Fn(&str) -> bool) -> Option<i32> {
        let own = self.by_key.get(key).and_then(|group| group.families.get(name)).map(|own| own.family.kind);
        let kinds = self.kinds.get(name)?;
        let others = |(kind, count): (&i32, &usize)| {
            let goes = own == Some(*kind) && !stays(name);
            (*count > usize::from(goes)).then_some(*kind)
        };
        kinds.iter().find_map(others)
    }

    pub(super) fn put(&mut self, group: Group) {
        self.remove(&group.key);
        for (name, TimedFamily { family, .. }) in &group.families {
            *self.kinds.entry(name.clone()).or_default().entry(family.kind).or_default() += 1;
            for metric in &family.metric {
                self.owners.insert(series(name, metric), group.key.clone());
            }
        }
        self.by_key.insert(group.key.clone(), Arc::new(group));
    }

    pub(super) fn remove(&mut self, key: &GroupingKey) {
        let Some(group) = self.by_key.remove(key) else { return };
        for (name, TimedFamily { family, .. }) in &group.families {
            if let Some(kinds) = self.kinds.get_mut(name) {
                if let Some(count) = kinds.get_mut(&family.kind) {
                    *count -= 1;
                }
                kinds.retain(|_, count| *count > 0);
                if kinds.is_empty() {
                    self.kinds.remove(name);
                }
            }
            for metric in &family.metric {
                self.owners.remove(&series(name, metric));
            }
        }
    }

    /// Groups whose time is over.
    pub(super) fn expired(&self, now: i64, time_to_live: Option<Duration>) -> Vec<GroupingKey> {
        let is_over = |group: &&Arc<Group>| {
            let last = group.push_time_ms.max(group.failure_time_ms);
            let time_to_live = group.time_to_live.or(time_to_live);
            time_to_live.is_some_and(|life| u128::try_from(now - last).is_ok_and(|age| age > life.as_millis()))
        };
        self.by_key.values().filter(is_over).map(|group| group.key.clone()).collect()
    }

    /// All families, those of a name together, under the first help text.
    pub(super) fn merged(&self) -> Vec<FamilyMessage> {
        let mut merged: BTreeMap<String, FamilyMessage> = BTreeMap::new();
        let mut add = |family: &FamilyMessage| match merged.get_mut(&family.name) {
            Some(there) => there.metric.extend_from_slice(&family.metric),
            None => drop(merged.insert(family.name.clone(), family.clone())),
        };
        for group in self.by_key.values() {
            group.families.values().for_each(|timed| add(&timed.family));
            add(&time_family(group));
            add(&failure_family(group));
        }
        merged.into_values().collect()
    }
}

fn type_error(family: &FamilyMessage, there: i32) -> Inconsistent {
    Inconsistent::Type { name: family.name.clone(), there: kind_text(there), pushed: kind_text(family.kind) }
}

/// Histograms and summaries have series whose names could be those of other families.
fn check_parts(family: &FamilyMessage, kind_of: &dyn Fn(&str) -> Option<i32>) -> Result<(), Inconsistent> {
    let part_error = |part: String, owner: &str, kind: i32| {
        Err(Inconsistent::Part { part, owner: owner.to_owned(), owner_kind: kind_text(kind) })
    };
    for end in parts(family.kind) {
        let part = format!("{}{end}", family.name);
        if kind_of(&part).is_some() {
            return part_error(part, &family.name, family.kind);
        }
    }
    for end in parts(kind::HISTOGRAM) {
        let Some(owner) = family.name.strip_suffix(end) else { continue };
        let of_owner = kind_of(owner).filter(|kind| parts(*kind).contains(end));
        if let Some(kind) = of_owner {
            return part_error(family.name.clone(), owner, kind);
        }
    }
    Ok(())
}

fn parts(of_kind: i32) -> &'static [&'static str] {
    match of_kind {
        kind::HISTOGRAM | kind::GAUGE_HISTOGRAM => &["_count", "_sum", "_bucket"],
        kind::SUMMARY => &["_count", "_sum"],
        _ => &[],
    }
}
