//! Selections that several places of a query read: kept decoded in memory, on the query's account, from the first use on.

use std::{ops::Range, sync::Arc};

use model::Labels;

use crate::{
    budget::{QueryBudget, Reservation},
    exec::{
        Context, Result, grouping,
        morsels::{Morsels, Worker},
    },
    source::{Hints, SelectRequest, SeriesReader, SeriesStream, SourceError, Tile},
};

/// Samples above which a selection is not kept but read once per place: reading twice costs time, keeping costs the memory
/// that streaming is there to save.
const STORED_SAMPLES_MAX: usize = 4 << 20;

/// What became of a shared selection.
#[derive(Clone)]
pub(crate) enum Stored {
    Kept(Arc<Selection>),
    TooLarge,
}

/// A selection with all of its samples.
pub(crate) struct Selection {
    labels: Vec<Labels>,
    /// In order of their series.
    tiles: Vec<Tile>,
    _held: Vec<Reservation>,
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
    let Some(parts) = read_all(context, stream.as_mut())? else { return Ok(Stored::TooLarge) };
    let labels: Vec<_> = (0..stream.series_count()).map(|series| stream.labels(series)).collect();
    let mut held = context.budget.reservation();
    held.grow(0, labels.iter().map(grouping::label_bytes).sum())?;
    let (tiles, reservations): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.tiles, part.held)).unzip();
    let held = reservations.into_iter().chain([held]).collect();
    Ok(Stored::Kept(Arc::new(Selection { labels, tiles: tiles.into_iter().flatten().collect(), _held: held })))
}

/// All samples of a stream, unless they are too many to be kept.
fn read_all(context: &Context<'_>, stream: &mut dyn SeriesStream) -> Result<Option<Vec<Part>>> {
    let mut parts = Vec::new();
    let mut samples = 0;
    let mut add = |part: Part| {
        samples += part.tiles.iter().map(Tile::samples_len).sum::<usize>();
        parts.push(part);
        samples <= STORED_SAMPLES_MAX
    };
    let Some(reader) = stream.reader() else {
        let mut part = Part::new(context.budget);
        while part.add(context.budget, |tile| stream.next_batch(tile))? {
            if !add(std::mem::replace(&mut part, Part::new(context.budget))) {
                return Ok(None);
            }
        }
        return Ok(Some(parts));
    };
    let worker = TileWorker { reader, budget: context.budget.clone() };
    let mut morsels = Morsels::new(worker, stream.series_count(), 1, context.options.help.clone());
    let mut part = morsels.output();
    while morsels.next(&mut part)? {
        if !add(std::mem::replace(&mut part, morsels.output())) {
            return Ok(None);
        }
    }
    Ok(Some(parts))
}

/// Some series' samples.
struct Part {
    tiles: Vec<Tile>,
    held: Reservation,
}

impl Part {
    fn new(budget: &QueryBudget) -> Self {
        Self { tiles: Vec::new(), held: budget.reservation() }
    }

    /// Adds what `fill` puts in a tile; false if that was nothing.
    fn add(&mut self, budget: &QueryBudget, fill: impl FnOnce(&mut Tile) -> Result<bool, SourceError>) -> Result<bool> {
        budget.check()?;
        let mut tile = Tile::default();
        if !fill(&mut tile)? {
            return Ok(false);
        }
        budget.count_read(tile.samples_len());
        if tile.series_len() > 0 {
            self.held.grow(tile.samples_len(), tile.bytes())?;
            self.tiles.push(tile);
        }
        Ok(true)
    }
}

struct TileWorker {
    reader: Box<dyn SeriesReader>,
    budget: QueryBudget,
}

impl Worker for TileWorker {
    type Output = Part;

    fn output(&self) -> Part {
        Part::new(&self.budget)
    }

    fn work(&mut self, mut series: Range<usize>, part: &mut Part) -> Result<()> {
        let Self { reader, budget } = self;
        *part = Part::new(budget);
        while part.add(budget, |tile| reader.read_next(&mut series, tile))? {}
        Ok(())
    }

    fn twin(&self) -> Self {
        Self { reader: self.reader.twin(), budget: self.budget.clone() }
    }
}

struct Replay {
    selection: Arc<Selection>,
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
        let mut rest = self.next..self.series_count();
        let more = self.read_next(&mut rest, tile)?;
        self.next = rest.start;
        Ok(more)
    }

    fn reader(&self) -> Option<Box<dyn SeriesReader>> {
        Some(self.twin())
    }
}

impl SeriesReader for Replay {
    fn read_next(&mut self, series: &mut Range<usize>, tile: &mut Tile) -> Result<bool, SourceError> {
        let first = series.start;
        let tiles = &self.selection.tiles;
        let mut at = tiles.partition_point(|tile| tile.end_series() <= first);
        while let Some(stored) = tiles.get(at).filter(|_| series.start < series.end && !tile.is_full()) {
            let positions = stored.position_of(series.start)..stored.position_of(series.end);
            positions.for_each(|position| tile.push_series(stored, position));
            series.start = series.end.min(stored.end_series());
            at += 1;
        }
        if at == tiles.len() {
            series.start = series.end;
        }
        Ok(series.start > first)
    }

    fn twin(&self) -> Box<dyn SeriesReader> {
        Box::new(Self { selection: self.selection.clone(), next: 0 })
    }
}
