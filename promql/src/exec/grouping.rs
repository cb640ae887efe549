//! Which group a series belongs to: label sets are looked at once per query, never per step.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;
use model::{Label, Labels, METRIC_NAME};

use crate::{
    exec::{Context, Operator, Result},
    plan::GroupBy,
};

/// A dense group code per series, and what each group is.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// By series.
    pub(crate) ids: Vec<u32>,
    /// By group; no set twice.
    pub(crate) labels: Vec<Labels>,
    /// By group: whether any of its series is still to lose its name.
    pub(crate) drops_name: Vec<bool>,
}

/// Groups an operator's series, by codes from the source where it has them.
pub(crate) fn group(context: &Context<'_>, operator: &mut dyn Operator, grouping: &GroupBy) -> Result<Groups> {
    if grouping.labels.is_empty() && !grouping.without {
        return Ok(single_group(operator));
    }
    if let Some(groups) = operator.groups(grouping)? {
        return Ok(groups);
    }
    let mut table = GroupTable::default();
    let mut groups = Groups { ids: Vec::with_capacity(operator.series_count()), ..Groups::default() };
    for series in 0..operator.series_count() {
        if series % 4096 == 0 {
            context.budget.check()?;
        }
        let labels = operator.labels(series);
        let id = table.id(|| select(&labels, grouping));
        if id as usize == groups.drops_name.len() {
            groups.drops_name.push(false);
        }
        groups.drops_name[id as usize] |= operator.drops_name(series);
        groups.ids.push(id);
    }
    groups.labels = table.labels;
    Ok(groups)
}

/// No label is kept, so no label need be looked at.
fn single_group(operator: &dyn Operator) -> Groups {
    let count = operator.series_count();
    let any = usize::from(count > 0);
    Groups { ids: vec![0; count], labels: vec![Labels::empty(); any], drops_name: vec![false; any] }
}

/// The labels that a grouping keeps.
fn select<'l>(labels: &'l Labels, grouping: &'l GroupBy) -> impl Iterator<Item = Label<'l>> {
    labels.iter().filter(move |label| keeps(grouping, label.name))
}

fn keeps(grouping: &GroupBy, name: &str) -> bool {
    let listed = grouping.labels.binary_search_by(|have| have.as_str().cmp(name)).is_ok();
    listed != grouping.without && !(grouping.without && name == METRIC_NAME)
}

/// What a label set takes: text, ends and the two allocations.
pub(crate) fn label_bytes(labels: &Labels) -> usize {
    let text: usize = labels.iter().map(|label| label.name.len() + label.value.len() + 8).sum();
    text + 64
}

/// Gives equal label sets equal codes, dense and in order of first sight.
#[derive(Default)]
pub(crate) struct GroupTable {
    table: HashTable<u32>,
    pub(crate) labels: Vec<Labels>,
    hasher: RandomState,
}

impl GroupTable {
    /// The code of a set, given as a way to walk its labels in order.
    pub(crate) fn id<'l, I: Iterator<Item = Label<'l>>>(&mut self, walk: impl Fn() -> I) -> u32 {
        let Self { table, labels, hasher } = self;
        let hash = hash(hasher, walk());
        let is_equal = |id: &u32| is_same(&labels[*id as usize], walk());
        if let Some(id) = table.find(hash, is_equal) {
            return *id;
        }
        let id = labels.len() as u32;
        labels.push(Labels::from_sorted(walk()));
        table.insert_unique(hash, id, |id| self::hash(hasher, labels[*id as usize].iter()));
        id
    }
}

impl GroupTable {
    /// The code of a set that was seen before.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        let is_equal = |id: &u32| self.labels[*id as usize] == *labels;
        self.table.find(hash(&self.hasher, labels.iter()), is_equal).copied()
    }
}

fn is_same<'a>(labels: &Labels, mut walk: impl Iterator<Item = Label<'a>>) -> bool {
    labels.iter().all(|label| walk.next().is_some_and(|other| other == label)) && walk.next().is_none()
}

fn hash<'l>(hasher: &RandomState, labels: impl Iterator<Item = Label<'l>>) -> u64 {
    let mut state = hasher.build_hasher();
    for Label { name, value } in labels {
        // A byte that UTF-8 never holds keeps ("ab", "c") from ("a", "bc").
        state.write(name.as_bytes());
        state.write_u8(0xff);
        state.write(value.as_bytes());
        state.write_u8(0xff);
    }
    state.finish()
}
