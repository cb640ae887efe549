//! The newest sample of each series, with its own time: what federation hands on.

use std::{collections::BTreeMap, sync::Arc};

use model::{Labels, Matcher, sample::is_stale};
use promql::{
    budget::QueryBudget,
    error::QueryError,
    histogram::FloatHistogram,
    source::{Hints, SelectRequest, Source, SourceError, Tile},
};

/// What a series costs in the account beside its labels: places in a map.
const ENTRY_BYTES: usize = 128;

/// A sample without its time.
#[derive(Clone, Debug)]
pub(crate) enum Newest {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// Newest samples within a range, both ends inclusive, of the series that satisfy all matchers of one of the sets, by their labels. A series
/// that has ended is left out.
pub(super) fn newest(
    source: &impl Source,
    match_sets: &[Vec<Matcher>],
    (min_time, max_time): (i64, i64),
    budget: &QueryBudget,
) -> Result<BTreeMap<Labels, (i64, Newest)>, QueryError> {
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
                let float = samples.times.last().zip(samples.values.last());
                let float = float.map(|(time, value)| (*time, Newest::Float(*value)));
                let histogram = samples.histograms.last();
                let histogram = histogram.map(|point| (point.time, Newest::Histogram(point.histogram.clone())));
                let newest = float.into_iter().chain(histogram).max_by_key(|(time, _)| *time);
                if let Some((time, value)) = newest.filter(|(_, value)| !value.is_stale()) {
                    let labels = stream.labels(series as usize);
                    let bytes: usize = labels.iter().map(|label| label.name.len() + label.value.len()).sum();
                    reservation.grow(1, bytes + value.heap_bytes() + ENTRY_BYTES).map_err(SourceError::from)?;
                    found.insert(labels, (time, value));
                }
            }
        }
    }
    Ok(found)
}

impl Newest {
    fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale(*value),
            Self::Histogram(histogram) => is_stale(histogram.sum),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Float(_) => 0,
            Self::Histogram(histogram) => {
                size_of::<FloatHistogram>()
                    + (histogram.positive.len() + histogram.negative.len()) * size_of::<(i32, f64)>()
            }
        }
    }
}
