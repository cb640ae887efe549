//! Selections that several places of a query read: kept decoded in memory, on the query's account, from the first use on.

use std::rc::Rc;

use model::Labels;

use crate::{
    budget::Reservation,
    exec::{Context, Result, grouping},
    source::{Hints, SelectRequest, SeriesStream, SourceError, Tile},
};

/// Samples above which a selection is not kept but read once per place: reading twice costs time, keeping costs the memory
/// that streaming is there to save.
const STORED_SAMPLES_MAX: usize = 4 << 20;

/// What became of a shared selection.
#[derive(Clone)]
pub(crate) enum Stored {
    Kept(Rc<Selection>),
    TooLarge,
}

/// A selection with all of its samples.
pub(crate) struct Selection {
    labels: Vec<Labels>,
    tiles: Vec<Tile>,
    _held: Reservation,
}

/// Opens a shared selection; the first one to do so reads it.
pub(crate) fn open<'q>(
    context: &'q Context<'q>,
    id: usize,
    request: &SelectRequest<'_>,
) -> Result<Box<dyn SeriesStream + 'q>> {
    let known = context.stored.borrow().get(id).cloned().flatten();
    let stored = match known {
        Some(stored) => stored,
        None => {
            let fresh = read(context, request)?;
            let mut stored = context.stored.borrow_mut();
            if stored.len() <= id {
                stored.resize(id + 1, None);
            }
            stored[id] = Some(fresh.clone());
            fresh
        }
    };
    match stored {
        Stored::Kept(selection) => Ok(Box::new(Replay { selection, next: 0 })),
        Stored::TooLarge => Ok(context.source.select(request, context.budget)?),
    }
}

/// Whether an opened selection comes from memory.
pub(crate) fn is_kept(context: &Context<'_>, id: usize) -> bool {
    matches!(context.stored.borrow().get(id), Some(Some(Stored::Kept(_))))
}

fn read(context: &Context<'_>, request: &SelectRequest<'_>) -> Result<Stored> {
    // The places may group differently, and one may want more than the newest sample.
    let hints = Hints { last_only: false, grouping: None, ..request.hints };
    let mut stream = context.source.select(&SelectRequest { hints, ..*request }, context.budget)?;
    let mut held = context.budget.reservation();
    let mut tiles = Vec::new();
    let mut samples = 0;
    loop {
        context.budget.check()?;
        let mut tile = Tile::default();
        if !stream.next_batch(&mut tile)? {
            break;
        }
        context.budget.count_read(tile.samples_len());
        samples += tile.samples_len();
        if samples > STORED_SAMPLES_MAX {
            return Ok(Stored::TooLarge);
        }
        held.grow(tile.samples_len(), tile.bytes())?;
        tiles.push(tile);
    }
    let labels: Vec<_> = (0..stream.series_count()).map(|series| stream.labels(series)).collect();
    held.grow(0, labels.iter().map(grouping::label_bytes).sum())?;
    Ok(Stored::Kept(Rc::new(Selection { labels, tiles, _held: held })))
}

struct Replay {
    selection: Rc<Selection>,
    next: usize,
}

impl SeriesStream for Replay {
    fn series_count(&self) -> usize {
        self.selection.labels.len()
    }

    fn labels(&self, series: usize) -> Labels {
        self.selection.labels[series].clone()
    }

    fn next_batch(&mut self, tile: &mut Tile) -> Result<bool, SourceError> {
        let Some(stored) = self.selection.tiles.get(self.next) else { return Ok(false) };
        tile.copy_from(stored);
        self.next += 1;
        Ok(true)
    }
}
