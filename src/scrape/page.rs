//! From a page to a batch: the hot path of scraping. A known line costs a hash of its text and the reading of its number.

use std::sync::Arc;

use model::{Histogram, IdentityKey, histogram::EXPONENTIAL_SCHEMAS};
use wire::exposition::{
    Bounds, Dialect, Exemplar, Found, Gathered, GatheredSample, Item, LineCache, Metadata, ParseError, PlainSample,
    ProtobufError, Reader, Sample, SampleValue, Walk, Wanted,
    lines::{Known, NewLine},
    reader::{KnownLines as _, LabelText},
};

use super::{
    batch::{Line, ScrapeBatch},
    format::Format,
    metadata::{self, Family, MetadataSum},
    sample_labels::{LabelError, SampleLabels},
};

/// What a page came to, for the series that tell of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageCounts {
    /// Lines with a value.
    pub(crate) scraped: u64,
    /// Those that relabelling kept.
    pub(crate) kept: u64,
    /// Series that were not on the page before.
    pub(crate) new_series: u64,
    /// Lines that the page has twice.
    pub(crate) repeated: u64,
    /// New series that `series_limit` leaves out.
    pub(crate) above_series_limit: u64,
}

/// Why nothing of a page is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    #[error(transparent)]
    Labels(#[from] LabelError),
    #[error("sample limit exceeded")]
    SampleLimit,
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
}

/// What a page says of its metrics, if that is not what the last one said.
pub(crate) type MetadataNews = Option<(MetadataSum, Vec<Family>)>;

/// Who scrapes, when, and whom.
pub(crate) struct PageReader<'a> {
    pub(crate) labels: &'a Arc<SampleLabels>,
    pub(crate) key: &'a IdentityKey,
    /// For samples without a time of their own, in milliseconds.
    pub(crate) now: i64,
    /// How many more series may become known.
    pub(crate) series_left: u64,
    pub(crate) wanted: Wanted,
    /// Of the last page.
    pub(crate) metadata: MetadataSum,
}

impl PageReader<'_> {
    /// Puts the samples of a page into a batch, and markers for series that are gone from it. On an error the lines are as they were,
    /// and what is in the batch is of no use; the counts say how far it came.
    pub(crate) fn read(
        &self,
        lines: &mut LineCache,
        (format, page): (Format, Vec<u8>),
        batch: &mut ScrapeBatch,
    ) -> (PageCounts, Result<MetadataNews, PageError>) {
        let counts = PageCounts::default();
        let mut reading =
            Reading { settings: self, batch, counts, series_left: self.series_left, sum: MetadataSum::default() };
        let gathered = match self.gathered(format, &page) {
            Ok(gathered) => gathered,
            Err(error) => return (counts, Err(error)),
        };
        let read = match (&gathered, format) {
            (Some(gathered), _) => reading.read_gathered(lines, gathered),
            (None, Format::Text(dialect)) => reading.read_lines(lines, dialect, &page),
            (None, Format::Protobuf) => unreachable!("such pages are gathered"),
        };
        let counts = reading.counts;
        let (page, dialect) = match (gathered, format) {
            (None, Format::Text(dialect)) => (page, dialect),
            (gathered, _) => (gathered.map_or_else(Vec::new, Gathered::into_text), Dialect::Text),
        };
        batch.keep_page(page, dialect, self.labels.clone());
        batch.places_are_of(lines);
        (counts, read)
    }

    /// The page as a whole, if its samples can't be taken line by line.
    fn gathered<'p>(&self, format: Format, page: &'p [u8]) -> Result<Option<Gathered<'p>>, PageError> {
        let Wanted { convert_classic, start_times, .. } = self.wanted;
        match format {
            Format::Protobuf => Ok(Some(Gathered::from_protobuf(page, self.wanted)?)),
            Format::Text(dialect) if convert_classic || start_times && dialect == Dialect::OpenMetrics => {
                Ok(Some(Gathered::from_text(dialect, page, self.wanted)?))
            }
            Format::Text(_) => Ok(None),
        }
    }
}

/// A page while it is read.
struct Reading<'a> {
    settings: &'a PageReader<'a>,
    batch: &'a mut ScrapeBatch,
    counts: PageCounts,
    series_left: u64,
    sum: MetadataSum,
}

/// A sample that is not one of the many plain ones.
struct Other<'a, 'p> {
    series: &'a [u8],
    /// Where the series stands in the page.
    place: (usize, usize),
    bounds: Bounds,
    value: Value<'a>,
    time: Option<i64>,
    start_time: i64,
    exemplars: &'a [Exemplar<'p>],
}

#[derive(Clone, Copy)]
enum Value<'a> {
    /// Bits of it.
    Float(u64),
    Histogram(&'a Histogram),
}

impl Reading<'_> {
    fn read_lines(&mut self, lines: &mut LineCache, dialect: Dialect, page: &[u8]) -> Result<MetadataNews, PageError> {
        let mut walk = lines.walk(self.settings.key);
        let mut reader = Reader::new(dialect, page);
        loop {
            while let Some(sample) = reader.next_plain(&mut walk) {
                self.take_plain(&reader, &mut walk, sample);
            }
            match reader.next(&mut walk)? {
                Some(Item::Sample(sample)) => self.take_line(&reader, &mut walk, &sample)?,
                Some(Item::Metadata(item)) => self.sum.add(self.settings.key, &item),
                None => break,
            }
        }
        self.finish(walk)?;
        Ok(self.news(|| metadata::families(metadata_of(dialect, page), true)))
    }

    fn read_gathered(&mut self, lines: &mut LineCache, gathered: &Gathered<'_>) -> Result<MetadataNews, PageError> {
        let mut walk = lines.walk(self.settings.key);
        for sample in &gathered.samples {
            self.take_gathered(gathered, &mut walk, sample)?;
        }
        self.finish(walk)?;
        gathered.metadata.iter().for_each(|item| self.sum.add(self.settings.key, item));
        Ok(self.news(|| metadata::families(gathered.metadata.iter().cloned(), gathered.help_is_escaped)))
    }

    fn finish(&mut self, walk: Walk<'_>) -> Result<(), PageError> {
        let limit = self.settings.labels.job.limits.sample;
        if limit > 0 && self.counts.kept > limit {
            return Err(PageError::SampleLimit);
        }
        for gone in walk.finish() {
            self.batch.end_series(gone, self.settings.now);
        }
        Ok(())
    }

    fn news(&self, families: impl FnOnce() -> Vec<Family>) -> MetadataNews {
        (self.sum != self.settings.metadata).then(|| (self.sum, families()))
    }

    #[inline(always)]
    fn take_plain(&mut self, reader: &Reader<'_>, walk: &mut Walk<'_>, PlainSample { start, end, value }: PlainSample) {
        self.counts.scraped += 1;
        if let Known::Series(series) = walk.accepted() {
            self.counts.kept += 1;
            let line = Line { series, number: walk.line(), place: (start, end), bounds: reader.bounds() };
            self.batch.push_line(&line, (self.settings.now, value));
            walk.track(true);
        }
    }

    fn take_line(&mut self, reader: &Reader<'_>, walk: &mut Walk<'_>, sample: &Sample<'_>) -> Result<(), PageError> {
        let found = match sample.is_known {
            true => Found::Known(walk.accepted()),
            false => walk.find(sample.series, reader.bounds()),
        };
        let start = reader.line_start();
        let other = Other {
            series: sample.series,
            place: (start, start + sample.series.len()),
            bounds: reader.bounds(),
            value: Value::Float(sample.value),
            time: sample.time,
            start_time: 0,
            exemplars: sample.exemplar.as_deref().map_or(&[], std::slice::from_ref),
        };
        // Of a known line the reader has no labels, and nobody asks for them.
        self.take(walk, found, &other, |_| Ok(reader.labels().to_vec()))
    }

    fn take_gathered(
        &mut self,
        gathered: &Gathered<'_>,
        walk: &mut Walk<'_>,
        sample: &GatheredSample<'_>,
    ) -> Result<(), PageError> {
        let (start, end) = gathered.place(sample);
        let series = &gathered.text()[start..end];
        let is_known = walk.length(&gathered.text()[start..], Bounds::None) == Some(series.len());
        let found = if is_known {
            walk.accept();
            Found::Known(walk.accepted())
        } else {
            walk.find(series, Bounds::None)
        };
        let other = Other {
            series,
            place: (start, end),
            bounds: Bounds::None,
            value: match &sample.value {
                SampleValue::Float(bits) => Value::Float(*bits),
                SampleValue::Histogram(histogram) => Value::Histogram(histogram),
            },
            time: sample.time,
            start_time: sample.start_time,
            exemplars: &sample.exemplars,
        };
        self.take(walk, found, &other, |series| Reader::series_labels(Dialect::Text, Bounds::None, series))
    }

    fn take<'s>(
        &mut self,
        walk: &mut Walk<'_>,
        found: Found,
        sample: &Other<'s, '_>,
        labels: impl FnOnce(&'s [u8]) -> Result<Vec<LabelText<'s>>, ParseError>,
    ) -> Result<(), PageError> {
        self.counts.scraped += 1;
        let settings = self.settings;
        let job = &settings.labels.job;
        let own_time = sample.time.filter(|_| job.honor_timestamps);
        let time = own_time.unwrap_or(settings.now);
        match found {
            Found::Known(Known::Series(series)) => {
                let (number, place, bounds) = (walk.line(), sample.place, sample.bounds);
                self.batch.begin_line(&Line { series, number, place, bounds });
            }
            Found::Known(Known::Dropped) => return Ok(()),
            // Only samples with times of their own can be several of a series.
            Found::Repeated if own_time.is_none() => {
                self.counts.repeated += 1;
                self.counts.kept += 1;
                return Ok(());
            }
            Found::Repeated => {
                let Some(labels) = settings.labels.of(&labels(sample.series)?)? else { return Ok(()) };
                self.batch.begin_new_line(settings.key.labels(&labels), labels, None);
            }
            Found::New(line) => {
                if !self.begin_new(&labels(sample.series)?, walk, line)? {
                    return Ok(());
                }
            }
        }
        self.counts.kept += 1;
        if !matches!(found, Found::Repeated) {
            walk.track(own_time.is_none() || job.track_timestamps_staleness);
        }
        self.push(time, sample)
    }

    /// False if its samples are not to be stored.
    fn begin_new(&mut self, line: &[LabelText<'_>], walk: &mut Walk<'_>, new: NewLine) -> Result<bool, LabelError> {
        let Some(labels) = self.settings.labels.of(line)? else {
            walk.add(new, None);
            return Ok(false);
        };
        if self.series_left == 0 {
            self.counts.above_series_limit += 1;
            self.counts.kept += 1;
            return Ok(false);
        }
        self.series_left -= 1;
        self.counts.new_series += 1;
        let id = self.settings.key.labels(&labels);
        walk.add(new, Some(id));
        self.batch.begin_new_line(id, labels, Some(walk.line()));
        Ok(true)
    }

    fn push(&mut self, time: i64, sample: &Other<'_, '_>) -> Result<(), PageError> {
        let without_time = match sample.value {
            Value::Float(bits) => {
                self.batch.push_float((time, bits), sample.start_time);
                Some(time)
            }
            Value::Histogram(histogram) => {
                self.batch.push_histogram(time, self.limited(histogram)?, sample.start_time);
                // Which of its buckets the exemplar is of, and when it was, nobody knows.
                None
            }
        };
        for exemplar in sample.exemplars {
            if let Some(time) = exemplar.time.or(without_time) {
                self.batch.push_exemplar(&exemplar.labels, (time, exemplar.value));
            }
        }
        Ok(())
    }

    /// A histogram with as many buckets as the job wants at most.
    fn limited(&self, histogram: &Histogram) -> Result<Histogram, PageError> {
        let job = &self.settings.labels.job;
        let mut limited = histogram.clone();
        limited.reduce_to(finest_schema(job.native_histogram_min_bucket_factor));
        let limit = usize::try_from(job.native_histogram_bucket_limit).unwrap_or(usize::MAX);
        if limit > 0 && !limited.reduce_to_buckets(limit) {
            return Err(PageError::BucketLimit);
        }
        Ok(limited)
    }
}

/// What a page of text says of its metrics.
fn metadata_of(dialect: Dialect, page: &[u8]) -> impl Iterator<Item = Metadata<'_>> {
    let mut reader = Reader::new(dialect, page);
    let items = std::iter::from_fn(move || reader.next(&mut ()).ok().flatten());
    items.filter_map(|item| match item {
        Item::Metadata(item) => Some(item),
        Item::Sample(_) => None,
    })
}

/// The finest schema whose buckets are each at least so many times as wide as the one before; 0: any.
fn finest_schema(factor: f64) -> i32 {
    let (coarsest, finest) = (*EXPONENTIAL_SCHEMAS.start(), *EXPONENTIAL_SCHEMAS.end());
    if factor <= 1.0 {
        return finest;
    }
    // As a cast it is in bounds whatever the factor is.
    (-factor.log2().log2()).floor().clamp(f64::from(coarsest), f64::from(finest)) as i32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use model::{IdentityKey, Places, SeriesId, WriteBatch as _, sample::STALE_NAN_BITS};

    use super::{super::sample_labels::tests::sample_labels, *};

    /// A target that is scraped again and again, and the shard that has its series.
    struct Target {
        numbers: HashMap<SeriesId, u32>,
        labels: Arc<SampleLabels>,
        lines: LineCache,
        key: IdentityKey,
        now: i64,
        wanted: Wanted,
    }

    impl Target {
        fn new(keys: &str) -> Self {
            let labels = Arc::new(sample_labels(keys, &[("job", "x"), ("instance", "i")]));
            let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
            let (lines, wanted) = (LineCache::default(), Wanted::default());
            Self { numbers: HashMap::new(), labels, lines, key, now: 0, wanted }
        }

        fn learn_places(&mut self, batch: &ScrapeBatch) {
            let mut numbers = Vec::new();
            for entry in (0..batch.asks_places()).filter(|at| batch.places()[*at].is_none()) {
                let next = self.numbers.len() as u32;
                numbers.push((entry as u32, *self.numbers.entry(batch.series()[entry].id).or_insert(next)));
            }
            let places = Places { shard: 0, generation: 0, numbers };
            self.lines.take_places(&places, |entry| batch.line_of(entry));
        }

        /// The samples of a page, as text, and its counts.
        fn scrape(&mut self, page: &str) -> (Vec<String>, PageCounts, Result<(), PageError>) {
            self.now += 1000;
            let reader = PageReader {
                labels: &self.labels,
                key: &self.key,
                now: self.now,
                series_left: u64::MAX,
                wanted: self.wanted,
                metadata: MetadataSum::default(),
            };
            let mut batch = ScrapeBatch::default();
            let page = (Format::Text(Dialect::Text), page.as_bytes().to_vec());
            let (counts, read) = reader.read(&mut self.lines, page, &mut batch);
            let read = read.map(drop);
            let sample = |at: usize| {
                let mut labels = String::new();
                batch.visit_labels(batch.series()[at].labels, &mut |name, value| {
                    labels += &format!("{}={} ", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                });
                let value = match batch.values()[at] {
                    STALE_NAN_BITS => "stale".to_owned(),
                    bits => f64::from_bits(bits).to_string(),
                };
                format!("{labels}{value} @{}", batch.times()[at])
            };
            if read.is_err() {
                return (Vec::new(), counts, read);
            }
            self.learn_places(&batch);
            let (ended_at, ended) = batch.ended();
            let ended = ended.iter().map(|_| format!("stale @{ended_at}"));
            ((0..batch.series().len()).map(sample).chain(ended).collect(), counts, read)
        }
    }

    fn counts(scraped: u64, kept: u64, new_series: u64) -> PageCounts {
        PageCounts { scraped, kept, new_series, ..PageCounts::default() }
    }

    /// Goal: known lines have the same labels as new ones, though nobody kept them, and what is gone gets a marker.
    #[test]
    fn a_page_after_another() {
        let mut target = Target::new("metric_relabel_configs: [{source_labels: [a], regex: drop, action: drop}]");
        let page = "# TYPE h histogram\nh{le=\"1\"} 1\nm{a=\"drop\"} 2\nm{a=\"b\"} 3\nt 4 77\n";
        let first = [
            "__name__=h instance=i job=x le=1.0 1 @1000",
            "__name__=m a=b instance=i job=x 3 @1000",
            "__name__=t instance=i job=x 4 @77",
        ];
        assert_eq!(target.scrape(page), (first.map(str::to_owned).to_vec(), counts(4, 3, 3), Ok(())));
        let second = first.map(|sample| sample.replace("1000", "2000"));
        assert_eq!(target.scrape(page), (second.to_vec(), counts(4, 3, 0), Ok(())));
        let third = ["__name__=m a=b instance=i job=x 5 @3000".to_owned(), "stale @3000".to_owned()];
        assert_eq!(target.scrape("# TYPE h histogram\nm{a=\"b\"} 5\n"), (third.to_vec(), counts(1, 1, 0), Ok(())));
    }

    #[test]
    fn a_line_that_is_there_twice_counts_once() {
        let mut target = Target::new("");
        for new in [1, 0] {
            let (samples, found, _) = target.scrape("m 1\nm 2\n");
            assert_eq!((samples.len(), found), (1, PageCounts { repeated: 1, ..counts(2, 2, new) }));
        }
        let (samples, ..) = target.scrape("m 1 10\nm 2 20\n");
        assert_eq!(samples, ["__name__=m instance=i job=x 1 @10", "__name__=m instance=i job=x 2 @20"]);
        let mut target = Target::new("honor_timestamps: false");
        assert_eq!(target.scrape("m 1 10\n").0, ["__name__=m instance=i job=x 1 @1000"]);
    }

    #[test]
    fn a_bad_page_counts_up_to_where_it_is_bad() {
        let mut target = Target::new("sample_limit: 2");
        assert_eq!(target.scrape("a 1\nb 1\nc 1\n"), (Vec::new(), counts(3, 3, 3), Err(PageError::SampleLimit)));
        let (_, found, read) = target.scrape("a 1\nb\n");
        assert_eq!(found, counts(1, 1, 1));
        assert_eq!(read.expect_err("no value").to_string(), "line 2: a value must follow the metric");
        assert!(target.lines.is_empty(), "a page that is not taken leaves no lines");
    }
}
