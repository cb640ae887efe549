//! Building a head from records. Applying a record twice, or one whose content a checkpoint holds already, changes nothing.

use codec::columns;

use super::record::{DefinitionRange, LoggedName, LoggedPair, Record, RecordError, take_series_definition};
use crate::{
    Head, SeriesRef,
    append::Window,
    checkpoint::CheckpointEnd,
    head::{Departures, take_histogram},
    index::{PairRef, Pairs},
    limits::LABELS_PER_SERIES_MAX,
};

/// What replaying found; what is lost is counted by what was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub samples: u64,
    /// Samples that the head had already, from a checkpoint or from a write that was repeated.
    pub samples_known: u64,
    /// Samples of series whose definition is in a damaged frame.
    pub samples_lost: u64,
    pub series: u64,
    pub series_lost: u64,
}

impl Replayed {
    pub fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.samples_known += other.samples_known;
        self.samples_lost += other.samples_lost;
        self.series += other.series;
        self.series_lost += other.series_lost;
    }
}

/// A replayed sample was checked when it came in.
const EVERYTHING: Window = Window { min_time: i64::MIN, max_time: i64::MAX, out_of_order_from: None };

/// Columns of a samples record, reused from record to record.
#[derive(Default)]
pub(crate) struct SampleColumns {
    series: Vec<u32>,
    times: Vec<i64>,
    values: Vec<u64>,
}

/// Checks that label sets stand in name order. Neighbours mostly have the same names, which are then not looked at again.
#[derive(Default)]
struct NameOrder {
    sorted: Vec<u16>,
    names: Vec<u16>,
}

impl NameOrder {
    fn check(&mut self, pairs: &Pairs, set: &[PairRef]) -> Option<()> {
        self.names.clear();
        self.names.extend(set.iter().map(|&pair| pairs.name_number_of(pair)));
        if self.names != self.sorted {
            set.windows(2).all(|two| pairs.name_of(two[0]) < pairs.name_of(two[1])).then_some(())?;
            std::mem::swap(&mut self.names, &mut self.sorted);
        }
        Some(())
    }
}

impl Head {
    /// Applies one record of a log segment, a series log or a checkpoint. After an error the rest of its frame must not be applied.
    pub fn replay(&mut self, record: Record<'_>) -> Result<Replayed, RecordError> {
        match record {
            Record::Definitions(body) => self.replay_definitions(body),
            Record::Samples(body) => self.replay_samples(body),
            Record::SeriesImages(body) => self.restore_images(body),
            Record::CheckpointEnd(_) => {
                let end = CheckpointEnd::decode(record);
                let end = end.ok_or(RecordError::Malformed("values of the checkpoint's end"))?;
                self.raise_floor(end.floor);
                Ok(Replayed::default())
            }
            Record::Truncation(_) => {
                let floor = record.floor().ok_or(RecordError::Malformed("values of a truncation"))?;
                self.raise_floor(floor);
                Ok(Replayed::default())
            }
            Record::Renumbering(body) => {
                let departures = Departures::decode(body).ok_or(RecordError::Renumbering)?;
                self.replay_departures(&departures).ok_or(RecordError::Renumbering)?;
                Ok(Replayed::default())
            }
            Record::Generation(_) => {
                let found = record.generation().ok_or(RecordError::Malformed("number of a generation"))?;
                self.enter_generation(found)
            }
            Record::Deletions(body) => self.replay_deletions(body).ok_or(RecordError::Malformed("deletions")),
            Record::Histograms(body) => self.replay_histograms(body).ok_or(RecordError::Malformed("histograms")),
            Record::OpenHistograms(body) => self
                .restore_histograms(body)
                .map(|samples| Replayed { samples, ..Replayed::default() })
                .ok_or(RecordError::Malformed("open chunks of histograms")),
            Record::Exemplars(body) => {
                self.replay_exemplars(body).map(|()| Replayed::default()).ok_or(RecordError::Malformed("exemplars"))
            }
            Record::OutOfOrder(body) => {
                self.replay_out_of_order(body).ok_or(RecordError::Malformed("samples out of order"))
            }
        }
    }

    /// Positions of another generation would give samples to the wrong series. A head that knows no series yet takes any.
    pub fn enter_generation(&mut self, found: u32) -> Result<Replayed, RecordError> {
        if self.series_count() == 0 && self.index.pairs.is_empty() {
            self.generation = found;
        }
        match self.generation {
            expected if expected != found => Err(RecordError::Generation { found, expected }),
            _ => Ok(Replayed::default()),
        }
    }

    fn replay_definitions(&mut self, mut body: &[u8]) -> Result<Replayed, RecordError> {
        const WHAT: RecordError = RecordError::Malformed("definitions");
        let range = DefinitionRange::take(&mut body).ok_or(WHAT)?;
        self.check_gap(&range)?;
        let mut replayed = Replayed::default();
        let mut order = NameOrder::default();
        for number in range.pairs() {
            let pair = LoggedPair::take(&mut body).ok_or(WHAT)?;
            self.replay_pair(number, &pair).ok_or(WHAT)?;
        }
        let mut pairs = Vec::new();
        for number in range.series() {
            let id = take_series_definition(&mut body, &mut pairs).ok_or(WHAT)?;
            if (number as usize) < self.series_count() {
                continue;
            }
            replayed.series_lost += self.fill_series_gap(number);
            if !self.is_whole(&pairs) {
                self.add_lost_series();
                replayed.series_lost += 1;
            } else {
                order.check(&self.index.pairs, &pairs).ok_or(WHAT)?;
                self.add_series(id, &pairs);
                replayed.series += 1;
            }
        }
        Ok(replayed)
    }

    fn replay_pair(&mut self, number: u32, pair: &LoggedPair<'_>) -> Option<()> {
        if (number as usize) < self.index.pairs.len() {
            return Some(());
        }
        while self.index.pairs.len() < number as usize {
            self.add_lost_pair();
        }
        let name = match pair.name {
            LoggedName::New(_) if pair.is_lost() => {
                self.add_lost_pair();
                return Some(());
            }
            LoggedName::New(name) => name.to_owned(),
            LoggedName::SameAs(same) if same.0 >= number => return None,
            LoggedName::SameAs(same) if self.index.pairs.is_lost(same) => {
                self.add_lost_pair();
                return Some(());
            }
            LoggedName::SameAs(same) => self.index.pairs.name_of(same).to_owned(),
        };
        match self.index.pairs.intern(&name, pair.value).ok()? {
            (made, true) if made == PairRef(number) => self.index.postings.add_pair(),
            // The same pair under two numbers: a log that no version writes.
            _ => return None,
        }
        Some(())
    }

    /// A number far behind the last known one would have its places filled one by one.
    fn check_gap(&self, range: &DefinitionRange) -> Result<(), RecordError> {
        let gap = |first: u32, count: u32, known: usize| match count {
            0 => 0,
            _ => (first as usize).saturating_sub(known),
        };
        let missing = gap(range.first_pair, range.pair_count, self.index.pairs.len())
            + gap(range.first_series, range.series_count, self.series_count());
        if self.lost_places + missing > self.limits.lost_places_max {
            return Err(RecordError::Gap { missing: missing as u64 });
        }
        Ok(())
    }

    /// Whether a series can be told by these pairs. None at all is how a checkpoint keeps the place of one that is lost.
    fn is_whole(&self, pairs: &[PairRef]) -> bool {
        let known = self.index.pairs.len();
        (1..=LABELS_PER_SERIES_MAX).contains(&pairs.len())
            && self.index.labels.has_room()
            && pairs.iter().all(|pair| (pair.0 as usize) < known && !self.index.pairs.is_lost(*pair))
    }

    pub(crate) fn add_lost_pair(&mut self) {
        self.lost_places += 1;
        self.index.pairs.add_lost();
        self.index.postings.add_pair();
    }

    /// Keeps the places of series that a damaged frame would have defined.
    fn fill_series_gap(&mut self, next: u32) -> u64 {
        let missing = (next as usize).saturating_sub(self.series_count());
        (0..missing).for_each(|_| self.add_lost_series());
        missing as u64
    }

    fn replay_samples(&mut self, body: &[u8]) -> Result<Replayed, RecordError> {
        let mut columns = std::mem::take(&mut self.replay_columns);
        let replayed = self.replay_columns(body, &mut columns);
        self.replay_columns = columns;
        replayed
    }

    fn replay_histograms(&mut self, mut body: &[u8]) -> Option<Replayed> {
        let mut replayed = Replayed::default();
        while !body.is_empty() {
            let (series, histograms) = take_histogram(&mut body)?;
            for (time, histogram) in histograms {
                if series.index() >= self.series_count() || self.index.labels.is_lost(series) {
                    replayed.samples_lost += 1;
                } else if time < self.floor {
                    replayed.samples_known += 1;
                } else {
                    match self.append_histogram(series, time, &histogram, EVERYTHING) {
                        Ok(true) => replayed.samples += 1,
                        Ok(false) | Err(_) => replayed.samples_known += 1,
                    }
                }
            }
        }
        Some(replayed)
    }

    fn replay_columns(&mut self, body: &[u8], columns: &mut SampleColumns) -> Result<Replayed, RecordError> {
        columns.series.clear();
        columns.times.clear();
        columns.values.clear();
        columns::decode(body, &mut columns.series, &mut columns.times, &mut columns.values)
            .map_err(|_| RecordError::Malformed("samples"))?;
        let mut replayed = Replayed::default();
        for ((&series, &time), &value) in columns.series.iter().zip(&columns.times).zip(&columns.values) {
            let series = SeriesRef(series);
            if series.index() >= self.series_count() || self.index.labels.is_lost(series) {
                replayed.samples_lost += 1;
                continue;
            }
            if time < self.floor {
                // In a block, as the log says behind these samples or the checkpoint before them.
                replayed.samples_known += 1;
                continue;
            }
            match self.append_sample(series, time, value, EVERYTHING) {
                Ok(true) => replayed.samples += 1,
                Ok(false) | Err(_) => replayed.samples_known += 1,
            }
        }
        Ok(replayed)
    }
}
