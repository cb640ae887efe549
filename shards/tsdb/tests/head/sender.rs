//! Who knows places: of every other request it asks for them, and uses those that it was told.

use std::collections::BTreeMap;

use model::{
    ExemplarSample, HistogramSample, LabelSpan, OwnedBatch, Places, SeriesEntry, SeriesId, SeriesPlace, WriteBatch,
};
use tsdb::AppendOutcome;

/// A sender to one shard.
#[derive(Default)]
pub(crate) struct Sender {
    generation: u32,
    numbers: BTreeMap<u8, u32>,
    requests: usize,
}

impl Sender {
    /// Puts places in where identities were, for series that it has been told of.
    pub(crate) fn with_places(&mut self, batch: OwnedBatch, entries: &[u8]) -> PlacedBatch {
        self.requests += 1;
        if !self.requests.is_multiple_of(2) {
            return PlacedBatch::of(batch);
        }
        let places = entries.iter().map(|series| self.place(*series)).collect();
        PlacedBatch { generation: self.generation, ..PlacedBatch::with_places(batch, places) }
    }

    pub(crate) fn place(&self, series: u8) -> Option<SeriesPlace> {
        self.numbers.get(&series).map(|&number| SeriesPlace { shard: 0, number })
    }

    pub(crate) fn learn(&mut self, batch: &PlacedBatch, outcome: &AppendOutcome, entries: &[u8]) {
        assert!(outcome.places.len() <= usize::from(batch.asked > 0), "one shard, if it was asked");
        for Places { generation, numbers, .. } in &outcome.places {
            if std::mem::replace(&mut self.generation, *generation) != *generation {
                self.numbers.clear();
            }
            for &(entry, number) in numbers {
                self.numbers.insert(entries[entry as usize], number);
            }
        }
    }
}

/// A request with places.
pub(crate) struct PlacedBatch {
    pub(crate) batch: OwnedBatch,
    pub(crate) series: Vec<SeriesEntry>,
    pub(crate) generation: u32,
    pub(crate) places: Vec<Option<SeriesPlace>>,
    pub(crate) asked: usize,
    pub(crate) ended: (i64, Vec<SeriesPlace>),
}

impl PlacedBatch {
    /// One that has none, and asks for none.
    pub(crate) fn of(batch: OwnedBatch) -> Self {
        let series = batch.series().to_vec();
        Self { batch, series, generation: 0, places: Vec::new(), asked: 0, ended: (0, Vec::new()) }
    }

    /// One that asks for all places, and has these.
    pub(crate) fn with_places(batch: OwnedBatch, places: Vec<Option<SeriesPlace>>) -> Self {
        let mut placed = Self { asked: places.len(), places, ..Self::of(batch) };
        let with_place = placed.series.iter_mut().zip(&placed.places).filter(|(_, place)| place.is_some());
        with_place.for_each(|(entry, _)| entry.id = SeriesId::default());
        placed
    }
}

impl WriteBatch for PlacedBatch {
    fn series(&self) -> &[SeriesEntry] {
        &self.series
    }

    fn times(&self) -> &[i64] {
        self.batch.times()
    }

    fn values(&self) -> &[u64] {
        self.batch.values()
    }

    fn histograms(&self) -> &[HistogramSample] {
        self.batch.histograms()
    }

    fn exemplars(&self) -> &[ExemplarSample] {
        self.batch.exemplars()
    }

    fn places(&self) -> &[Option<SeriesPlace>] {
        &self.places
    }

    fn generation(&self, shard: u16) -> u32 {
        assert_eq!(shard, 0, "the only one");
        self.generation
    }

    fn asks_places(&self) -> usize {
        self.asked
    }

    fn ended(&self) -> (i64, &[SeriesPlace]) {
        (self.ended.0, &self.ended.1)
    }

    fn visit_labels<'a>(&'a self, labels: LabelSpan, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.batch.visit_labels(labels, visit);
    }
}
