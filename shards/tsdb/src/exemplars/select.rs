//! Finding exemplars, in slices between which a shard does other work.

use std::{collections::HashMap, sync::Arc};

use model::{Labels, Matcher, SeriesId};

use super::{Exemplar, Exemplars};
use crate::{head::Head, select::TimeRange};

/// Exemplars that a slice looks at.
const SLICE: usize = 4096;

/// Exemplars of one series, in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedExemplars {
    pub labels: Labels,
    pub exemplars: Vec<Exemplar>,
}

/// A selection on its way.
pub struct SelectingExemplars {
    /// A series is wanted if it satisfies all matchers of one of these.
    match_sets: Arc<[Vec<Matcher>]>,
    range: TimeRange,
    /// Number of the next exemplar to look at.
    next: u64,
    /// Where a series' exemplars are in `found`; `None` for one that is not wanted.
    places: HashMap<SeriesId, Option<usize>>,
    found: Vec<SelectedExemplars>,
}

impl SelectingExemplars {
    pub fn new(match_sets: Arc<[Vec<Matcher>]>, range: TimeRange) -> Self {
        Self { match_sets, range, next: 0, places: HashMap::new(), found: Vec::new() }
    }

    /// Does one slice; `true` if there is more to do.
    pub fn advance(&mut self, head: &Head) -> bool {
        self.slice(&head.exemplars)
    }

    pub fn finish(self) -> Vec<SelectedExemplars> {
        self.found
    }

    fn slice(&mut self, exemplars: &Exemplars) -> bool {
        let mut looked_at = 0;
        for (number, stored) in exemplars.from(self.next).take(SLICE) {
            looked_at += 1;
            self.next = number + 1;
            let time = stored.exemplar.time;
            if time < self.range.min_time || time > self.range.max_time {
                continue;
            }
            let (match_sets, found) = (&self.match_sets, &mut self.found);
            let place = *self.places.entry(stored.id).or_insert_with(|| {
                let labels = &exemplars.series[&stored.id].labels;
                let value = |matcher: &Matcher| labels.get(matcher.name()).unwrap_or_default();
                let is_wanted = match_sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(value(matcher))));
                is_wanted.then(|| {
                    found.push(SelectedExemplars { labels: labels.clone(), exemplars: Vec::new() });
                    found.len() - 1
                })
            });
            if let Some(place) = place {
                self.found[place].exemplars.push(stored.exemplar.clone());
            }
        }
        looked_at == SLICE
    }
}
