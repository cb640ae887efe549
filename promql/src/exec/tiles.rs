//! Walking the series of a selection one by one.

use crate::{
    budget::{QueryBudget, Reservation},
    exec::{Context, Result, stored},
    plan::{HistogramDetail, Selector},
    source::{NewestRun, Samples, SeriesStream, SourceError, Tile},
};

/// Goes from series to series, a tile at a time, and accounts for the tile.
pub(crate) struct TileCursor {
    budget: QueryBudget,
    tile: Tile,
    /// Position in the tile of the series after the current one.
    next: usize,
    held: Reservation,
    how: Handling,
}

/// What happens to tiles before anybody looks at them.
#[derive(Clone, Copy)]
struct Handling {
    /// The samples were counted when they were put in memory.
    is_replay: bool,
    drops_stale: bool,
    /// Of histograms only the totals are looked at.
    totals_only: bool,
}

impl TileCursor {
    /// For a selection that has been opened. A range selector sees no stale markers.
    pub(crate) fn new(context: &Context<'_>, selector: &Selector, is_range: bool) -> Self {
        let how = Handling {
            is_replay: selector.shared.is_some_and(|shared| stored::is_kept(context, shared.id)),
            drops_stale: is_range,
            // What lies between two smoothed histograms is said of their buckets, as extended_vectors.test has it.
            totals_only: selector.hints.histograms == HistogramDetail::Totals
                && (is_range || selector.extension.is_none()),
        };
        Self::with(context.budget, how)
    }

    fn with(budget: &QueryBudget, how: Handling) -> Self {
        Self { budget: budget.clone(), tile: Tile::default(), next: 0, held: budget.reservation(), how }
    }

    /// One for another thread, at the beginning of a tile.
    pub(crate) fn twin(&self) -> Self {
        Self::with(&self.budget, self.how)
    }

    /// Goes to the next series; false at the end. `fill` gets the next samples, into a cleared tile.
    pub(crate) fn advance(&mut self, mut fill: impl FnMut(&mut Tile) -> Result<bool, SourceError>) -> Result<bool> {
        while self.next >= self.tile.series_len() {
            self.budget.check()?;
            self.tile.clear();
            self.next = 0;
            if !fill(&mut self.tile)? {
                self.held.set(0, 0)?;
                return Ok(false);
            }
            self.take_in()?;
        }
        self.next += 1;
        Ok(true)
    }

    fn take_in(&mut self) -> Result<()> {
        if !self.how.is_replay {
            self.budget.count_read(self.tile.samples_len());
        }
        self.held.set(self.tile.samples_len(), self.tile.bytes())?;
        if self.how.drops_stale {
            self.tile.drop_stale();
        }
        if self.how.totals_only {
            self.tile.reduce_to_totals();
        }
        Ok(())
    }

    /// The newest samples of the next series, where the source has them as columns, if the tile has been walked to its end.
    pub(crate) fn newest_run<'t>(
        &mut self,
        stream: &'t mut dyn SeriesStream,
        max: usize,
    ) -> Result<Option<NewestRun<'t>>> {
        if max == 0 || self.next < self.tile.series_len() {
            return Ok(None);
        }
        self.budget.check()?;
        let Some(run) = stream.newest_run(max) else { return Ok(None) };
        if !self.how.is_replay {
            self.budget.count_read(run.times.len());
        }
        // The columns' bytes are the source's.
        self.held.set(run.times.len(), 0)?;
        Ok(Some(run))
    }

    /// The series that the last `advance` went to.
    pub(crate) fn current(&self) -> (u32, Samples<'_>) {
        self.tile.series(self.next - 1)
    }
}
