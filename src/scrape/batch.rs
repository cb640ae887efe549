//! The samples of one scrape, for the shards.
//!
//! It keeps the page itself: labels of a series that the shards don't know, though its line is an old one, are read there.

use std::sync::{Arc, OnceLock};

use model::{
    ExemplarSample, Histogram, HistogramSample, LabelSpan, Labels, SeriesEntry, SeriesId, SeriesPlace, WriteBatch,
};
use wire::exposition::{Bounds, Dialect, LineCache, Reader, SeriesKey, reader::LabelText};

use super::sample_labels::SampleLabels;

/// Marks a span as one of [`ScrapeBatch::exemplar_labels`].
const OF_EXEMPLAR: u32 = 1 << 31;

/// Of a series that the page has twice: nobody remembers its second line.
const NO_LINE: u32 = u32::MAX;

type OwnedLabel = (Box<[u8]>, Box<[u8]>);

/// Where a series' labels are.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A place in [`ScrapeBatch::labels`].
    Ready(u32),
    /// In the page, from here to there.
    Line { start: u32, end: u32, bounds: Bounds },
    /// Nowhere: it gets a marker if it is there, and is not made for that.
    Nowhere,
}

/// A line of the page whose series is known.
pub(crate) struct Line {
    pub(crate) series: SeriesKey,
    /// Which of the page's known lines it is.
    pub(crate) number: usize,
    /// Where its series stands in the page.
    pub(crate) place: (usize, usize),
    pub(crate) bounds: Bounds,
}

#[derive(Default)]
pub(crate) struct ScrapeBatch {
    series: Vec<SeriesEntry>,
    times: Vec<i64>,
    values: Vec<u64>,
    /// When counters began to count, as far as the page says so.
    start_times: Vec<i64>,
    histograms: Vec<HistogramSample>,
    exemplars: Vec<ExemplarSample>,
    /// By series.
    sources: Vec<Source>,
    places: Vec<Option<SeriesPlace>>,
    /// By shard, of the places.
    generations: Vec<u32>,
    /// By series, as far as they are of lines: which of the page's known ones, or [`NO_LINE`].
    lines: Vec<u32>,
    /// Series that have ended, and when.
    ended: Vec<SeriesPlace>,
    ended_at: i64,
    labels: Vec<Labels>,
    exemplar_labels: Vec<OwnedLabel>,
    context: Option<Context>,
    discards_out_of_order: bool,
    /// By series; labels that were read from the page after all.
    read_again: OnceLock<Box<[OnceLock<Labels>]>>,
}

/// What reads labels from a page.
struct Context {
    page: Vec<u8>,
    dialect: Dialect,
    labels: Arc<SampleLabels>,
}

impl ScrapeBatch {
    pub(crate) fn sample_count(&self) -> usize {
        self.times.len() + self.histograms.len() + self.ended.len()
    }

    /// A sample of a known line. Its labels stand in the page from here to there.
    #[inline]
    pub(crate) fn push_line(&mut self, line: &Line, (time, value): (i64, u64)) {
        self.begin_line(line);
        self.times.push(time);
        self.values.push(value);
        self.series.last_mut().expect("a series was begun").samples_end += 1;
    }

    /// Begins a series with a known line, which has no sample yet.
    #[inline]
    pub(crate) fn begin_line(&mut self, line: &Line) {
        // A page is far below 4 GiB, as its limit says.
        let (start, end) = (line.place.0 as u32, line.place.1 as u32);
        self.lines.push(line.number as u32);
        self.begin(line.series, Source::Line { start, end, bounds: line.bounds });
    }

    /// Begins a series with a line whose labels stand nowhere else.
    pub(crate) fn begin_new_line(&mut self, id: SeriesId, labels: Labels, line: Option<usize>) {
        self.lines.push(line.map_or(NO_LINE, |line| line as u32));
        self.begin(SeriesKey::Id(id), Source::Ready(self.labels.len() as u32));
        self.labels.push(labels);
    }

    /// A series that is not of the page.
    pub(crate) fn push_known(&mut self, id: SeriesId, labels: Labels, sample: (i64, u64)) {
        self.begin(SeriesKey::Id(id), Source::Ready(self.labels.len() as u32));
        self.labels.push(labels);
        self.push_float(sample, 0);
    }

    /// A float sample of the series that was begun last, and when it began to count, or 0.
    pub(crate) fn push_float(&mut self, (time, value): (i64, u64), start_time: i64) {
        self.times.push(time);
        self.values.push(value);
        if start_time != 0 {
            self.start_times.resize(self.times.len(), 0);
            self.start_times[self.times.len() - 1] = start_time;
        }
        self.series.last_mut().expect("a series was begun").samples_end += 1;
    }

    /// The same with a histogram.
    pub(crate) fn push_histogram(&mut self, time: i64, histogram: Histogram, start_time: i64) {
        let entry = self.series.len().checked_sub(1).expect("a series was begun") as u32;
        self.histograms.push(HistogramSample { entry, time, start_time, histogram });
    }

    /// The series has ended. All that end in a batch end at the same time.
    pub(crate) fn end_series(&mut self, series: SeriesKey, time: i64) {
        match series {
            SeriesKey::Place(place) => {
                self.ended.push(place);
                self.ended_at = time;
            }
            SeriesKey::Id(id) => {
                self.begin(SeriesKey::Id(id), Source::Nowhere);
                self.push_float((time, model::sample::STALE_NAN_BITS), 0);
            }
        }
    }

    /// An exemplar of the sample that was pushed last.
    pub(crate) fn push_exemplar(&mut self, labels: &[LabelText<'_>], (time, value): (i64, u64)) {
        let start = self.exemplar_labels.len() as u32 | OF_EXEMPLAR;
        let bytes = |text: &str| text.as_bytes().into();
        self.exemplar_labels.extend(labels.iter().map(|(name, value)| (bytes(name), bytes(value))));
        let labels = LabelSpan { start, end: self.exemplar_labels.len() as u32 | OF_EXEMPLAR };
        let entry = self.series.len().checked_sub(1).expect("an exemplar has a sample") as u32;
        self.exemplars.push(ExemplarSample { entry, time, value, labels });
    }

    #[inline]
    fn begin(&mut self, series: SeriesKey, source: Source) {
        let (sample, number) = (self.times.len() as u32, self.series.len() as u32);
        let (id, place) = match series {
            SeriesKey::Id(id) => (id, None),
            SeriesKey::Place(place) => (SeriesId::default(), Some(place)),
        };
        self.sources.push(source);
        self.places.push(place);
        let labels = LabelSpan { start: number, end: number };
        self.series.push(SeriesEntry { id, samples_start: sample, samples_end: sample, labels });
    }

    /// Says of which generations the places are.
    pub(crate) fn places_are_of(&mut self, lines: &LineCache) {
        self.generations.clear();
        self.generations.extend_from_slice(lines.generations());
    }

    /// The line that a series of the page was of.
    pub(crate) fn line_of(&self, entry: u32) -> Option<usize> {
        self.lines.get(entry as usize).filter(|line| **line != NO_LINE).map(|line| *line as usize)
    }

    /// Gives the batch what its lines stand in.
    pub(crate) fn keep_page(&mut self, page: Vec<u8>, dialect: Dialect, labels: Arc<SampleLabels>) {
        self.context = Some(Context { page, dialect, labels });
    }

    /// Samples that come too late are not worth keeping.
    pub(crate) fn discard_out_of_order(&mut self) {
        self.discards_out_of_order = true;
    }

    /// Forgets everything but its memory, and gives the page back.
    pub(crate) fn clear(&mut self) -> Vec<u8> {
        self.series.clear();
        self.times.clear();
        self.values.clear();
        self.start_times.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.sources.clear();
        self.places.clear();
        self.generations.clear();
        self.lines.clear();
        self.ended.clear();
        self.labels.clear();
        self.exemplar_labels.clear();
        self.read_again = OnceLock::new();
        self.discards_out_of_order = false;
        self.context.take().map(|context| context.page).unwrap_or_default()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.series.capacity() * size_of::<SeriesEntry>()
            + self.times.capacity() * (size_of::<i64>() + size_of::<u64>())
            + self.sources.capacity() * size_of::<Source>()
            + (self.places.capacity() + self.ended.capacity()) * size_of::<Option<SeriesPlace>>()
            + self.lines.capacity() * size_of::<u32>()
            + self.context.as_ref().map_or(0, |context| context.page.capacity())
    }

    fn labels_of(&self, number: usize) -> Option<&Labels> {
        match self.sources[number] {
            Source::Ready(at) => Some(&self.labels[at as usize]),
            Source::Nowhere => None,
            Source::Line { start, end, bounds } => {
                let all = || (0..self.sources.len()).map(|_| OnceLock::new()).collect();
                let slots = self.read_again.get_or_init(all);
                Some(slots[number].get_or_init(|| self.read(start as usize..end as usize, bounds)))
            }
        }
    }

    /// A line that was good when it was new is good now. Were it not, it would have no labels, and be refused for that.
    fn read(&self, place: std::ops::Range<usize>, bounds: Bounds) -> Labels {
        let Some(context) = &self.context else { return Labels::empty() };
        let line = Reader::series_labels(context.dialect, bounds, &context.page[place]);
        let labels = line.ok().and_then(|line| context.labels.of(&line).ok().flatten());
        labels.unwrap_or_default()
    }
}

impl WriteBatch for ScrapeBatch {
    fn series(&self) -> &[SeriesEntry] {
        &self.series
    }

    fn times(&self) -> &[i64] {
        &self.times
    }

    fn values(&self) -> &[u64] {
        &self.values
    }

    fn start_times(&self) -> &[i64] {
        &self.start_times
    }

    fn histograms(&self) -> &[HistogramSample] {
        &self.histograms
    }

    fn exemplars(&self) -> &[ExemplarSample] {
        &self.exemplars
    }

    fn places(&self) -> &[Option<SeriesPlace>] {
        &self.places
    }

    fn generation(&self, shard: u16) -> u32 {
        self.generations.get(usize::from(shard)).copied().unwrap_or(0)
    }

    fn asks_places(&self) -> usize {
        self.lines.len()
    }

    fn ended(&self) -> (i64, &[SeriesPlace]) {
        (self.ended_at, &self.ended)
    }

    fn discards_out_of_order(&self) -> bool {
        self.discards_out_of_order
    }

    fn visit_labels<'a>(&'a self, labels: LabelSpan, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        if labels.start & OF_EXEMPLAR != 0 {
            let (start, end) = (labels.start & !OF_EXEMPLAR, labels.end & !OF_EXEMPLAR);
            for (name, value) in &self.exemplar_labels[start as usize..end as usize] {
                visit(name, value);
            }
            return;
        }
        for label in self.labels_of(labels.start as usize).into_iter().flat_map(Labels::iter) {
            visit(label.name.as_bytes(), label.value.as_bytes());
        }
    }
}
