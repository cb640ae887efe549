//! Which value of a label each series of a shard has, as a column, kept from query to query.
//!
//! Labels of a series never change within a generation of its shard's numbers, and new series come at the end: a column once made
//! is only made longer. Grouping many series then reads four bytes of each instead of its labels.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tsdb::{SeriesRef, index::PairRef, select::Selection};

/// What all columns may take together; those that were not used for the longest time go.
const BYTES_MAX: usize = 64 << 20;
/// One series in so many has to be wanted for a column to be made.
const MADE_FROM_SHARE: usize = 8;
/// Stands where a series does not have the label.
const ABSENT: u32 = u32::MAX;

/// Label pairs of one label by series.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelColumn(Vec<u32>);

impl LabelColumn {
    #[inline]
    pub(super) fn get(&self, series: SeriesRef) -> Option<PairRef> {
        Some(self.0[series.index()]).filter(|pair| *pair != ABSENT).map(PairRef)
    }

    /// Goes on with the series that the selection's labels know and the column does not.
    fn extend(&mut self, name: &str, selection: &Selection) {
        let labels = &selection.labels;
        // By pair: whether it is of this label, once that is known.
        let mut known: Vec<Option<bool>> = Vec::new();
        let mut is_of_name = |pair: &PairRef| {
            let at = pair.0 as usize;
            if at >= known.len() {
                known.resize((at + 1).next_power_of_two(), None);
            }
            *known[at].get_or_insert_with(|| labels.name_of(*pair) == name)
        };
        self.0.reserve_exact(labels.len() - self.0.len());
        for series in self.0.len()..labels.len() {
            let pair = labels.pairs(SeriesRef(series as u32)).find(&mut is_of_name);
            self.0.push(pair.map_or(ABSENT, |pair| pair.0));
        }
    }
}

/// The columns of all shards.
#[derive(Debug, Default)]
pub(crate) struct LabelColumns(Mutex<HashMap<(usize, String), Kept>>);

#[derive(Debug)]
struct Kept {
    generation: u32,
    column: Arc<LabelColumn>,
    used: Instant,
}

impl LabelColumns {
    /// The column of a label, at least as long as the selection's labels; `None` if making it would cost more than it is worth.
    pub(super) fn get(&self, shard: usize, selection: &Selection, name: &str) -> Option<Arc<LabelColumn>> {
        let key = (shard, name.to_owned());
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            lock().get(&key).filter(|kept| kept.generation == selection.generation).map(|kept| kept.column.clone());
        let mut column = known.unwrap_or_default();
        let series = selection.labels.len();
        let missing = series.saturating_sub(column.0.len());
        if missing > selection.series.len().saturating_mul(MADE_FROM_SHARE) || series * size_of::<u32>() > BYTES_MAX {
            return None;
        }
        if missing > 0 {
            // Without the lock: others group meanwhile, and what they read must stay.
            Arc::make_mut(&mut column).extend(name, selection);
        }
        let kept = Kept { generation: selection.generation, column: column.clone(), used: Instant::now() };
        let mut columns = lock();
        columns.insert(key, kept);
        make_room(&mut columns);
        Some(column)
    }
}

fn make_room(columns: &mut HashMap<(usize, String), Kept>) {
    let bytes = |columns: &HashMap<_, Kept>| -> usize {
        columns.values().map(|kept| kept.column.0.capacity() * size_of::<u32>()).sum()
    };
    while bytes(columns) > BYTES_MAX {
        let oldest = columns.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
        oldest.and_then(|key| columns.remove(&key));
    }
}
