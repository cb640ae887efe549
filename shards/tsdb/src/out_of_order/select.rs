//! Finding samples out of order, in slices between which a shard does other work.

use std::{collections::HashMap, sync::Arc};

use model::{Labels, Matcher, SeriesId};

use super::{Part, Value, in_order, join};
use crate::{head::Head, select::TimeRange};

/// Series that a slice looks at.
const SERIES_PER_SLICE: usize = 1024;

/// Samples of one series that came out of order, in order of time, none twice.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedOutOfOrder {
    pub id: SeriesId,
    pub labels: Labels,
    pub samples: Vec<(i64, Value)>,
}

/// A selection on its way.
pub struct SelectingOutOfOrder {
    /// A series is wanted if it satisfies all matchers of one of these.
    match_sets: Arc<[Vec<Matcher>]>,
    range: TimeRange,
    part: Part,
    /// The epoch and the series to look at next. An epoch that is dropped meanwhile is in blocks, which are asked after this.
    next: (u32, usize),
    places: HashMap<SeriesId, usize>,
    found: Vec<SelectedOutOfOrder>,
}

/// Whether a series satisfies all matchers of one of some sets.
pub(super) fn is_meant(match_sets: &[Vec<Matcher>], labels: &Labels) -> bool {
    let value = |matcher: &Matcher| labels.get(matcher.name()).unwrap_or_default();
    match_sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(value(matcher))))
}

impl SelectingOutOfOrder {
    pub fn new(match_sets: Arc<[Vec<Matcher>]>, range: TimeRange, part: Part) -> Self {
        Self { match_sets, range, part, next: (0, 0), places: HashMap::new(), found: Vec::new() }
    }

    /// Bytes that the selection takes so far.
    pub fn heap_bytes(&self) -> usize {
        self.found
            .iter()
            .map(|series| series.samples.capacity() * size_of::<(i64, Value)>() + size_of::<SelectedOutOfOrder>())
            .sum()
    }

    /// Does one slice; `true` if there is more to do.
    pub fn advance(&mut self, head: &Head) -> bool {
        let store = &head.out_of_order;
        let epochs: Vec<_> = match self.part {
            Part::All => store.epochs().collect(),
            Part::Frozen => store.frozen.iter().collect(),
        };
        let Some(epoch) = epochs.iter().find(|epoch| epoch.number >= self.next.0) else { return false };
        let first = if epoch.number == self.next.0 { self.next.1 } else { 0 };
        let end = (first + SERIES_PER_SLICE).min(epoch.series.len());
        for series in &epoch.series[first.min(end)..end] {
            if !series.labels.is_empty() && is_meant(&self.match_sets, &series.labels) {
                join(&mut self.found, &mut self.places, series, self.range);
            }
        }
        self.next = if end == epoch.series.len() { (epoch.number.saturating_add(1), 0) } else { (epoch.number, end) };
        epochs.iter().any(|epoch| epoch.number >= self.next.0)
    }

    pub fn finish(mut self) -> Vec<SelectedOutOfOrder> {
        self.found.iter_mut().for_each(|series| in_order(&mut series.samples));
        self.found
    }
}
