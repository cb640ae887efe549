//! Groups of series by their labels, without building the labels of each series.

use std::{collections::HashMap, sync::Arc};

use model::{Labels, LabelsBuilder, METRIC_NAME};
use promql::source::{GroupIds, Grouping};
use tsdb::{
    index::{LabelsView, PairRef},
    select::Selection,
};

use super::label_columns::LabelColumn;

/// Gives series of equal group labels equal numbers, without building the labels of each series.
#[derive(Default)]
pub(super) struct Grouper {
    pub(super) found: GroupIds,
    /// Labels that all series share, so that they are part of every group.
    fixed: Vec<(String, String)>,
    /// Shards number their label pairs each for itself; groups meet here.
    by_labels: HashMap<Labels, u32>,
}

/// What is known of a label pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Unknown,
    Left,
    /// Part of the group's labels.
    Kept,
}

impl Grouper {
    /// Of what is known to be the same everywhere, a grouping by labels need not look at any series.
    pub(super) fn new(known: &[(String, String)], grouping: Grouping<'_>) -> Self {
        let is_kept = |label: &&(String, String)| !grouping.without && grouping.labels.contains(&label.0);
        Self { fixed: known.iter().filter(is_kept).cloned().collect(), ..Self::default() }
    }

    /// The same as [`Self::add`]; of labels that `column` has one of, in the order of series.
    pub(super) fn add_by_columns(
        &mut self,
        part: &Selection,
        grouping: Grouping<'_>,
        mut column: impl FnMut(&str) -> Option<Arc<LabelColumn>>,
    ) {
        let is_open = |label: &&String| self.fixed.iter().all(|(name, _)| name != *label);
        let open: Vec<&String> = grouping.labels.iter().filter(is_open).collect();
        match open[..] {
            _ if part.series.is_empty() => {}
            _ if grouping.without => self.add(part, grouping),
            [] => {
                let id = self.number(&part.labels, &[]);
                self.found.ids.resize(self.found.ids.len() + part.series.len(), id);
            }
            [label] => match column(label) {
                Some(column) => self.add_column(part, &column),
                None => self.add(part, Grouping { labels: std::slice::from_ref(label), without: false }),
            },
            _ => {
                let open: Vec<String> = open.into_iter().cloned().collect();
                self.add(part, Grouping { labels: &open, without: false });
            }
        }
    }

    fn add_column(&mut self, part: &Selection, column: &LabelColumn) {
        // By pair, and for series without the label.
        let (mut by_pair, mut absent): (Vec<Option<u32>>, Option<u32>) = (Vec::new(), None);
        for series in &part.series {
            let pair = column.get(*series);
            let known = pair.map_or(absent, |pair| *entry(&mut by_pair, pair, None));
            let id = known.unwrap_or_else(|| {
                let id = self.number(&part.labels, pair.as_slice());
                match pair {
                    Some(pair) => by_pair[pair.0 as usize] = Some(id),
                    None => absent = Some(id),
                }
                id
            });
            self.found.ids.push(id);
        }
    }

    /// Appends the numbers of all series of a part.
    pub(super) fn add(&mut self, part: &Selection, grouping: Grouping<'_>) {
        let mut roles: Vec<Role> = Vec::new();
        // Group numbers by the kept pairs. Most groupings keep one pair, which needs no hashing.
        let mut by_one: Vec<Option<u32>> = Vec::new();
        let mut by_many: HashMap<Box<[PairRef]>, u32> = HashMap::new();
        let mut kept = Vec::new();
        for series in &part.series {
            kept.clear();
            for pair in part.labels.pairs(*series) {
                let role = entry(&mut roles, pair, Role::Unknown);
                if *role == Role::Unknown {
                    *role = role_of(part.labels.name_of(pair), grouping);
                }
                if *role == Role::Kept {
                    kept.push(pair);
                    // A name stands once in a label set, so no further pair can be one of these.
                    if !grouping.without && kept.len() == grouping.labels.len() {
                        break;
                    }
                }
            }
            let known = match kept[..] {
                [pair] => *entry(&mut by_one, pair, None),
                _ => by_many.get(&kept[..]).copied(),
            };
            let id = known.unwrap_or_else(|| {
                let id = self.number(&part.labels, &kept);
                match kept[..] {
                    [pair] => by_one[pair.0 as usize] = Some(id),
                    _ => drop(by_many.insert(kept.as_slice().into(), id)),
                }
                id
            });
            self.found.ids.push(id);
        }
    }

    fn number(&mut self, view: &LabelsView, kept: &[PairRef]) -> u32 {
        let mut builder = LabelsBuilder::default();
        for (name, value) in &self.fixed {
            builder.set(name, value);
        }
        for pair in kept {
            builder.set(view.name_of(*pair), view.value_of(*pair));
        }
        self.number_of(builder.build())
    }

    /// The number of the group with these labels.
    pub(super) fn number_of(&mut self, labels: Labels) -> u32 {
        let next = u32::try_from(self.found.labels.len()).expect("no more groups than series");
        *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            self.found.labels.push(labels.clone());
            next
        })
    }
}

fn entry<T: Copy>(table: &mut Vec<T>, pair: PairRef, empty: T) -> &mut T {
    let index = pair.0 as usize;
    if index >= table.len() {
        table.resize((index + 1).next_power_of_two(), empty);
    }
    &mut table[index]
}

fn role_of(name: &str, grouping: Grouping<'_>) -> Role {
    let listed = grouping.labels.binary_search_by(|label| label.as_str().cmp(name)).is_ok();
    let kept = if grouping.without { !listed && name != METRIC_NAME } else { listed };
    if kept { Role::Kept } else { Role::Left }
}

/// Whether a label of this name belongs to a group's labels.
pub(super) fn is_kept(name: &str, grouping: Grouping<'_>) -> bool {
    role_of(name, grouping) == Role::Kept
}
