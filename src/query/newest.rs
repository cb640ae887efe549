//! The newest sample of each series, with its own time: what federation hands on.

use std::collections::BTreeMap;

use model::{Labels, Matcher, sample::is_stale};
use promql::{
    budget::QueryBudget,
    error::QueryError,
    source::{Hints, SelectRequest, Source, SourceError, Tile},
};

/// What a series costs in the account beside its labels: places in a map.
const ENTRY_BYTES: usize = 128;

/// Newest floats within a range, both ends inclusive, of the series that satisfy all matchers of one of the sets, by their labels. A series
/// that has ended is left out, and so is one whose newest sample is a native histogram.
pub(super) fn newest(
    source: &impl Source,
    match_sets: &[Vec<Matcher>],
    (min_time, max_time): (i64, i64),
    budget: &QueryBudget,
) -> Result<BTreeMap<Labels, (i64, f64)>, QueryError> {
    let mut found = BTreeMap::new();
    let mut reservation = budget.reservation();
    for matchers in match_sets {
        let hints = Hints { last_only: true, ..Hints::default() };
        let request = SelectRequest { matchers, min_time, max_time, hints };
        let mut stream = source.select(&request, budget)?;
        let mut tile = Tile::default();
        loop {
            budget.check()?;
            tile.clear();
            if !stream.next_batch(&mut tile)? {
                break;
            }
            for position in 0..tile.series_len() {
                let (series, samples) = tile.series(position);
                let (Some(&time), Some(&value)) = (samples.times.last(), samples.values.last()) else { continue };
                let is_newest = samples.histograms.last().is_none_or(|point| point.time < time);
                if is_newest && !is_stale(value) {
                    let labels = stream.labels(series as usize);
                    let bytes: usize = labels.iter().map(|label| label.name.len() + label.value.len()).sum();
                    reservation.grow(1, bytes + ENTRY_BYTES).map_err(SourceError::from)?;
                    found.insert(labels, (time, value));
                }
            }
        }
    }
    Ok(found)
}
