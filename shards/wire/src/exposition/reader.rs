//! A page, item by item.

use std::borrow::Cow;

use model::METRIC_NAME;

use super::{label_text, number};

/// Which text format a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Versions 0.0.4 and 1.0.0: blanks nearly anywhere, times in milliseconds.
    Text,
    /// One blank where one must be, times in seconds, exemplars, and `# EOF` at the end.
    OpenMetrics,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    #[default]
    Unknown,
}

impl MetricKind {
    /// Prometheus' name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

/// Whose values are bounds, by the last `# TYPE`: they are written as floats, so that `1` and `1.0` are one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Bounds {
    #[default]
    None,
    /// `le` of a histogram.
    Buckets,
    /// `quantile` of a summary.
    Quantiles,
}

impl Bounds {
    pub(super) fn of(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Histogram => Self::Buckets,
            MetricKind::Summary => Self::Quantiles,
            _ => Self::None,
        }
    }

    fn label(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Buckets => Some("le"),
            Self::Quantiles => Some("quantile"),
        }
    }
}

/// A label's name and value.
pub type LabelText<'p> = (Cow<'p, str>, Cow<'p, str>);

/// What a page says in one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'p> {
    Sample(Sample<'p>),
    Metadata(Metadata<'p>),
}

/// A line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'p> {
    /// The metric's name and labels as they stand there.
    pub series: &'p [u8],
    /// Who reads the page knows the series; its labels were not looked at.
    pub is_known: bool,
    /// Bits of the value. Any NaN is the ordinary one.
    pub value: u64,
    /// Milliseconds since 1970.
    pub time: Option<i64>,
    pub exemplar: Option<Box<Exemplar<'p>>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar<'p> {
    pub labels: Vec<LabelText<'p>>,
    pub value: u64,
    pub time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Metadata<'p> {
    Type { name: &'p [u8], kind: MetricKind },
    Help { name: &'p [u8], text: &'p str },
    Unit { name: &'p [u8], text: &'p [u8] },
}

/// A known line that ends with a number, as nearly all do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainSample {
    /// Where the text of its series begins in the page, and where it ends.
    pub start: usize,
    pub end: usize,
    /// Bits of the value.
    pub value: u64,
}

/// What is wrong with a page, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    pub line: u64,
    pub what: &'static str,
}

/// Who knows lines by the text of their series.
pub trait KnownLines {
    /// Length of the known text that some bytes begin with.
    fn length(&self, rest: &[u8], bounds: Bounds) -> Option<usize>;

    /// The text of that length is the whole series.
    fn accept(&mut self);
}

/// Who knows none.
impl KnownLines for () {
    fn length(&self, _: &[u8], _: Bounds) -> Option<usize> {
        None
    }

    fn accept(&mut self) {}
}

pub(super) const ZERO_IN_NAME: &str = "a name must not hold a zero byte";

/// Reads a page from its beginning.
pub struct Reader<'p> {
    pub(super) page: &'p [u8],
    pub(super) at: usize,
    line_start: usize,
    pub(super) dialect: Dialect,
    pub(super) bounds: Bounds,
    labels: Vec<LabelText<'p>>,
    /// Nothing behind here is read.
    pub(super) has_ended: bool,
}

impl<'p> Reader<'p> {
    pub fn new(dialect: Dialect, page: &'p [u8]) -> Self {
        Self { page, at: 0, line_start: 0, dialect, bounds: Bounds::None, labels: Vec::new(), has_ended: false }
    }

    /// The labels of a sample's series, whose text was one before.
    ///
    /// # Errors
    /// If it is none.
    pub fn series_labels(dialect: Dialect, bounds: Bounds, series: &'p [u8]) -> Result<Vec<LabelText<'p>>, ParseError> {
        let mut reader = Self { bounds, ..Self::new(dialect, series) };
        reader.series().map_err(|what| reader.error(what))?;
        Ok(reader.labels)
    }

    /// The labels of the sample that came last, if it was not a known one: the name first, the others as they came. Names and values
    /// may be empty, and names may occur twice.
    pub fn labels(&self) -> &[LabelText<'p>] {
        &self.labels
    }

    /// Whose values are bounds where the reader is.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The next item; `None` at the page's end.
    ///
    /// # Errors
    /// At the first line that is not of the format. Nothing behind it can be read.
    #[inline]
    pub fn next(&mut self, known: &mut impl KnownLines) -> Result<Option<Item<'p>>, ParseError> {
        while !self.has_ended {
            self.line_start = self.at;
            let item = match self.page.get(self.at) {
                Some(b'#') => self.comment(),
                Some(b'{' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':') => self.sample(known).map(Some),
                _ => match self.between_lines() {
                    Ok(()) => continue,
                    Err(what) => Err(what),
                },
            };
            match item {
                Ok(None) => {}
                Ok(item) => return Ok(item),
                Err(what) => return Err(self.error(what)),
            }
        }
        Ok(None)
    }

    /// The next line, if it is one of those that are easily read; else [`Self::next`] says what it is.
    #[inline(always)]
    pub fn next_plain(&mut self, known: &mut impl KnownLines) -> Option<PlainSample> {
        let start = self.at;
        if matches!(self.page.get(start)?, b'#' | b'\n') {
            return None;
        }
        let end = start + known.length(&self.page[start..], self.bounds)?;
        // Behind a name that goes on, or has labels, there is no number.
        let rest = self.page.get(end..)?.strip_prefix(b" ")?;
        let (value, length) = number::easy(rest)?;
        if rest.get(length) != Some(&b'\n') {
            return None;
        }
        known.accept();
        self.line_start = start;
        self.at = end + length + 2;
        Some(PlainSample { start, end, value })
    }

    /// Where in the page the line begins that the last item is in.
    pub fn line_start(&self) -> usize {
        self.line_start
    }

    pub(super) fn error(&self, what: &'static str) -> ParseError {
        let before = &self.page[..self.line_start];
        ParseError { line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64, what }
    }

    fn comment(&mut self) -> Result<Option<Item<'p>>, &'static str> {
        let metadata = match self.dialect {
            Dialect::Text => self.text_comment(),
            Dialect::OpenMetrics => self.open_metrics_comment(),
        }?;
        if let Some(Metadata::Type { kind, .. }) = metadata {
            self.bounds = Bounds::of(kind);
        }
        Ok(metadata.map(Item::Metadata))
    }

    /// Something that is neither a comment nor a sample begins here, or nothing at all.
    fn between_lines(&mut self) -> Result<(), &'static str> {
        match self.dialect {
            Dialect::Text => self.text_between_lines(),
            Dialect::OpenMetrics => Err(self.open_metrics_without_line()),
        }
    }

    #[inline]
    fn sample(&mut self, known: &mut impl KnownLines) -> Result<Item<'p>, &'static str> {
        let start = self.at;
        let length = known.length(&self.page[start..], self.bounds);
        let length = length.filter(|length| self.is_whole_series(start, start + length));
        let is_known = length.is_some();
        match length {
            Some(length) => {
                known.accept();
                self.at = start + length;
            }
            None => self.series()?,
        }
        let series = &self.page[start..self.at];
        if let Some(value) = self.easy_value() {
            return Ok(Item::Sample(Sample { series, is_known, value, time: None, exemplar: None }));
        }
        let (value, time, exemplar) = match self.dialect {
            Dialect::Text => self.text_value().map(|(value, time)| (value, time, None)),
            Dialect::OpenMetrics => self.open_metrics_value(),
        }?;
        Ok(Item::Sample(Sample { series, is_known, value, time, exemplar }))
    }

    /// Whether a known text is not only the beginning of what stands here.
    #[inline]
    fn is_whole_series(&self, start: usize, end: usize) -> bool {
        if end > start && self.page[end - 1] == b'}' {
            return true;
        }
        let rest = &self.page[end..];
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        blanks > 0 && rest.get(blanks) != Some(&b'{')
    }

    /// What most lines end with: a blank, a number, the line's end.
    #[inline]
    fn easy_value(&mut self) -> Option<u64> {
        let rest = self.page[self.at..].strip_prefix(b" ")?;
        let (value, length) = number::easy(rest)?;
        if rest.get(length) != Some(&b'\n') {
            return None;
        }
        self.at += length + 2;
        Some(value)
    }

    /// A metric's name and labels.
    fn series(&mut self) -> Result<(), &'static str> {
        let mut labels = std::mem::take(&mut self.labels);
        labels.clear();
        let read = self.series_into(&mut labels);
        if let Some(bound) = self.bounds.label() {
            for (_, value) in labels.iter_mut().filter(|(name, _)| name == bound) {
                *value = Cow::Owned(number::normalized(value));
            }
        }
        self.labels = labels;
        read
    }

    fn series_into(&mut self, labels: &mut Vec<LabelText<'p>>) -> Result<(), &'static str> {
        let has_name = self.peek() != Some(b'{');
        if has_name {
            let name = self.plain_name(true).ok_or("a metric's name is expected")?;
            labels.push((Cow::Borrowed(METRIC_NAME), name.into()));
            let before = self.at;
            self.skip_blanks();
            if self.peek() != Some(b'{') {
                self.at = before;
                return Ok(());
            }
        }
        self.at += 1;
        self.labels_into(labels, has_name, true)?;
        // In second place a label may call itself that.
        let is_named = labels.first().is_some_and(|(name, _)| name == METRIC_NAME);
        is_named.then_some(()).ok_or("the metric has no name")
    }

    /// Labels behind an opening brace; a quoted text alone is the metric's name.
    pub(super) fn labels_into(
        &mut self,
        labels: &mut Vec<LabelText<'p>>,
        mut has_name: bool,
        may_name: bool,
    ) -> Result<(), &'static str> {
        loop {
            self.skip_blanks();
            if self.skip(b'}') {
                return Ok(());
            }
            let is_quoted = self.peek() == Some(b'"');
            let name = self.label_name()?;
            self.skip_blanks();
            if is_quoted && may_name && matches!(self.peek(), Some(b',' | b'}')) {
                if has_name {
                    return Err("the metric has two names");
                }
                has_name = true;
                labels.insert(0, (Cow::Borrowed(METRIC_NAME), name));
                if self.skip(b'}') {
                    return Ok(());
                }
                self.at += 1;
                continue;
            }
            if !self.skip(b'=') {
                return Err("a label's name must be followed by an equals sign");
            }
            self.skip_blanks();
            let value = self.quoted(self.dialect == Dialect::Text)?;
            labels.push((name, value));
            self.skip_blanks();
            if !self.skip(b',') && self.dialect == Dialect::OpenMetrics && self.peek() != Some(b'}') {
                return Err("labels must be separated by commas and end with a brace");
            }
        }
    }

    fn label_name(&mut self) -> Result<Cow<'p, str>, &'static str> {
        if self.peek() == Some(b'"') {
            let name = self.quoted(true)?;
            return if name.contains('\0') { Err(ZERO_IN_NAME) } else { Ok(name) };
        }
        self.plain_name(false).map(Cow::Borrowed).ok_or("a label's name is expected")
    }

    pub(super) fn plain_name(&mut self, with_colons: bool) -> Option<&'p str> {
        let rest = &self.page[self.at..];
        let length = label_text::plain_name_length(rest, with_colons);
        self.at += length;
        (length > 0).then(|| label_text::plain_text(&rest[..length]))
    }

    fn quoted(&mut self, may_span_lines: bool) -> Result<Cow<'p, str>, &'static str> {
        if !self.skip(b'"') {
            return Err("a quoted text is expected");
        }
        let start = self.at;
        let end = label_text::closing_quote(self.page, start, may_span_lines).ok_or("a quoted text does not end")?;
        self.at = end + 1;
        let text = str::from_utf8(&self.page[start..end]).map_err(|_| "a text must be UTF-8")?;
        Ok(label_text::unescaped(text))
    }

    /// The name in a `# TYPE` and its like: plain, or quoted and taken as it stands.
    pub(super) fn metadata_name(&mut self) -> Result<&'p [u8], &'static str> {
        if !self.skip(b'"') {
            return self.plain_name(true).map(str::as_bytes).ok_or("a metric's name is expected");
        }
        let start = self.at;
        let end = label_text::closing_quote(self.page, start, true).ok_or("a quoted text does not end")?;
        self.at = end + 1;
        let name = &self.page[start..end];
        if name.contains(&0) { Err(ZERO_IN_NAME) } else { Ok(name) }
    }

    /// Bytes up to the line's end, which the reader is behind afterwards; `None` without one.
    pub(super) fn rest_of_line(&mut self) -> Option<&'p [u8]> {
        let rest = &self.page[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.at += end + 1;
        Some(&rest[..end])
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.page.get(self.at).copied()
    }

    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Blanks have no meaning in the older format, and no place in the newer one.
    pub(super) fn skip_blanks(&mut self) {
        if self.dialect == Dialect::Text {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
    }
}
