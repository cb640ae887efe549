//! From a page to a batch: the hot path of scraping. A known line costs a hash of its text and the reading of its number.

use std::sync::Arc;

use model::IdentityKey;
use wire::exposition::{
    Dialect, Found, Item, LineCache, Metadata, ParseError, PlainSample, Reader, Sample, Walk,
    lines::{Known, NewLine},
};

use super::{
    batch::ScrapeBatch,
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
    Labels(#[from] LabelError),
    #[error("sample limit exceeded")]
    SampleLimit,
}

/// Who scrapes, when, and whom.
pub(crate) struct PageReader<'a> {
    pub(crate) labels: &'a Arc<SampleLabels>,
    pub(crate) key: &'a IdentityKey,
    /// For samples without a time of their own, in milliseconds.
    pub(crate) now: i64,
    /// How many more series may become known.
    pub(crate) series_left: u64,
}

impl PageReader<'_> {
    /// Puts the samples of a page into a batch, and markers for series that are gone from it. On an error the lines are as they were,
    /// and what is in the batch is of no use; the counts say how far it came.
    pub(crate) fn read(
        &self,
        lines: &mut LineCache,
        (dialect, page): (Dialect, Vec<u8>),
        batch: &mut ScrapeBatch,
        metadata: &mut impl FnMut(Metadata<'_>),
    ) -> (PageCounts, Result<(), PageError>) {
        let mut reading =
            Reading { settings: self, batch, counts: PageCounts::default(), series_left: self.series_left };
        let read = reading.read(lines, dialect, &page, metadata);
        let counts = reading.counts;
        batch.keep_page(page, dialect, self.labels.clone());
        (counts, read)
    }
}

/// A page while it is read.
struct Reading<'a> {
    settings: &'a PageReader<'a>,
    batch: &'a mut ScrapeBatch,
    counts: PageCounts,
    series_left: u64,
}

impl Reading<'_> {
    fn read(
        &mut self,
        lines: &mut LineCache,
        dialect: Dialect,
        page: &[u8],
        metadata: &mut impl FnMut(Metadata<'_>),
    ) -> Result<(), PageError> {
        let mut walk = lines.walk(self.settings.key);
        let mut reader = Reader::new(dialect, page);
        loop {
            while let Some(sample) = reader.next_plain(&mut walk) {
                self.take_plain(&reader, &mut walk, sample);
            }
            match reader.next(&mut walk)? {
                Some(Item::Sample(sample)) => self.take(&reader, &mut walk, &sample)?,
                Some(Item::Metadata(item)) => metadata(item),
                None => break,
            }
        }
        let limit = self.settings.labels.job.limits.sample;
        if limit > 0 && self.counts.kept > limit {
            return Err(PageError::SampleLimit);
        }
        for gone in walk.finish() {
            self.batch.push_marker(gone, self.settings.now);
        }
        Ok(())
    }

    #[inline(always)]
    fn take_plain(&mut self, reader: &Reader<'_>, walk: &mut Walk<'_>, PlainSample { start, end, value }: PlainSample) {
        self.counts.scraped += 1;
        if let Known::Series(id) = walk.accepted() {
            self.counts.kept += 1;
            self.batch.push_line(id, (self.settings.now, value), (start, end), reader.bounds());
            walk.track(true);
        }
    }

    fn take(&mut self, reader: &Reader<'_>, walk: &mut Walk<'_>, sample: &Sample<'_>) -> Result<(), LabelError> {
        self.counts.scraped += 1;
        let job = &self.settings.labels.job;
        let own_time = sample.time.filter(|_| job.honor_timestamps);
        let at = (own_time.unwrap_or(self.settings.now), sample.value);
        let found = match sample.is_known {
            true => Found::Known(walk.accepted()),
            false => walk.find(sample.series, reader.bounds()),
        };
        match found {
            Found::Known(Known::Series(id)) => {
                let start = reader.line_start();
                self.batch.push_line(id, at, (start, start + sample.series.len()), reader.bounds());
            }
            Found::Known(Known::Dropped) => return Ok(()),
            // Only samples with times of their own can be several of a series.
            Found::Repeated if own_time.is_none() => {
                self.counts.repeated += 1;
                self.counts.kept += 1;
                return Ok(());
            }
            Found::Repeated => {
                let Some(labels) = self.settings.labels.of(reader.labels())? else { return Ok(()) };
                self.batch.push_labels(self.settings.key, labels, at);
            }
            Found::New(line) => {
                if !self.take_new(reader, walk, line, at)? {
                    return Ok(());
                }
            }
        }
        self.counts.kept += 1;
        if !matches!(found, Found::Repeated) {
            walk.track(own_time.is_none() || job.track_timestamps_staleness);
        }
        if let Some(exemplar) = &sample.exemplar {
            self.batch.push_exemplar(&exemplar.labels, (exemplar.time.unwrap_or(at.0), exemplar.value));
        }
        Ok(())
    }

    /// False if the sample is not to be stored.
    fn take_new(
        &mut self,
        reader: &Reader<'_>,
        walk: &mut Walk<'_>,
        line: NewLine,
        at: (i64, u64),
    ) -> Result<bool, LabelError> {
        let Some(labels) = self.settings.labels.of(reader.labels())? else {
            walk.add(line, None);
            return Ok(false);
        };
        if self.series_left == 0 {
            self.counts.above_series_limit += 1;
            self.counts.kept += 1;
            return Ok(false);
        }
        self.series_left -= 1;
        self.counts.new_series += 1;
        let id = self.batch.push_labels(self.settings.key, labels, at);
        walk.add(line, Some(id));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use model::{IdentityKey, WriteBatch as _, sample::STALE_NAN_BITS};

    use super::{super::sample_labels::tests::sample_labels, *};

    /// A target that is scraped again and again.
    struct Target {
        labels: Arc<SampleLabels>,
        lines: LineCache,
        key: IdentityKey,
        now: i64,
    }

    impl Target {
        fn new(keys: &str) -> Self {
            let labels = Arc::new(sample_labels(keys, &[("job", "x"), ("instance", "i")]));
            let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
            Self { labels, lines: LineCache::default(), key, now: 0 }
        }

        /// The samples of a page, as text, and its counts.
        fn scrape(&mut self, page: &str) -> (Vec<String>, PageCounts, Result<(), PageError>) {
            self.now += 1000;
            let reader = PageReader { labels: &self.labels, key: &self.key, now: self.now, series_left: u64::MAX };
            let mut batch = ScrapeBatch::default();
            let page = (Dialect::Text, page.as_bytes().to_vec());
            let (counts, read) = reader.read(&mut self.lines, page, &mut batch, &mut |_| {});
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
            (if read.is_ok() { (0..batch.series().len()).map(sample).collect() } else { Vec::new() }, counts, read)
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
