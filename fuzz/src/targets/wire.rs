//! Bytes from outside: remote write, both protocols, and text.

use codec::histogram::{HistogramChunk, HistogramSamples};
use model::{IdentityKey, Places, Sample, SeriesId, Timestamp, WriteBatch};
use wire::{
    exposition::{
        Bounds, Dialect, Found, Gathered, Item, LineCache, Reader, SampleValue, SeriesKey, Wanted,
        families::{
            BucketMessage, CounterMessage, ExemplarMessage, FamilyMessage, HistogramMessage, LabelPairMessage,
            MetricMessage, QuantileMessage, SpanMessage, SummaryMessage, TimestampMessage, ValueMessage, kind,
        },
        family_text,
        lines::Known,
        reader::LabelText,
    },
    openmetrics,
    remote_write::{
        Batch, DecodeError, DecodeLimits, Protocol,
        encode::{Compressor, SymbolTable, labels_v1, labels_v2, series_v1, series_v2},
    },
};

use super::Target;

pub const TARGETS: &[Target] = &[
    Target { name: "exposition", run: exposition, seeds: exposition_seeds },
    Target { name: "exposition_gathered", run: exposition_gathered, seeds: exposition_gathered_seeds },
    Target { name: "pushed_families", run: pushed_families, seeds: pushed_families_seeds },
    Target { name: "openmetrics", run: openmetrics, seeds: openmetrics_seeds },
    Target { name: "remote_write_v1", run: remote_write_v1, seeds: || seeds(Protocol::V1) },
    Target { name: "remote_write_v2", run: remote_write_v2, seeds: || seeds(Protocol::V2) },
];

/// Any bytes are a text or an error in one of its lines; there is no more in its samples than in the text.
pub fn openmetrics(input: &[u8]) {
    let (mut bytes, mut last) = (0, 0);
    let parsed = openmetrics::parse(input, |line, sample| {
        assert!(line > last && sample.labels.metric_name().is_some());
        last = line;
        bytes += sample.labels.iter().map(|label| label.value.len()).sum::<usize>();
        Ok(())
    });
    assert!(bytes <= input.len());
    if let Err(error) = parsed {
        assert!(error.line > last && error.line as usize <= input.len() + 1, "{error}");
    }
}

/// Two pages, one behind the other: the second one says the same whether or not the lines of the first are known, and with its own
/// known it says the same once more.
pub fn exposition(input: &[u8]) {
    let (dialect, pages) = match input {
        [b'0', pages @ ..] => (Dialect::Text, pages),
        [_, pages @ ..] => (Dialect::OpenMetrics, pages),
        [] => return,
    };
    let mut pages = pages.splitn(2, |byte| *byte == PAGE_BREAK);
    let (first, second) = (pages.next().unwrap_or_default(), pages.next().unwrap_or_default());
    let mut scraped = Scraped::default();
    drop(scraped.samples(dialect, first));
    let with_first = scraped.samples(dialect, second);
    assert_eq!(with_first, Scraped::default().samples(dialect, second));
    scraped.name_places();
    assert_eq!(with_first, scraped.samples(dialect, second));
}

const PAGE_BREAK: u8 = 0xff;

/// Identity, value bits and time.
type ExposedSample = (SeriesId, u64, Option<i64>);

/// A target, and a shard that gives each line of its last page the line's number.
#[derive(Default)]
struct Scraped {
    lines: LineCache,
    of_lines: Vec<SeriesId>,
}

impl Scraped {
    /// The samples of a page, and how many lines it has twice; `None` if it is not of the format, or a metric's name is empty.
    fn samples(&mut self, dialect: Dialect, page: &[u8]) -> Option<(Vec<ExposedSample>, u64)> {
        let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
        let (mut samples, mut repeated, mut of_lines) = (Vec::new(), 0, Vec::new());
        let mut walk = self.lines.walk(&key);
        let mut reader = Reader::new(dialect, page);
        loop {
            let sample = match reader.next(&mut walk) {
                Err(error) => {
                    assert!(error.line as usize <= page.len() + 1, "{error}");
                    return None;
                }
                Ok(None) => break,
                Ok(Some(Item::Metadata(_))) => continue,
                Ok(Some(Item::Sample(sample))) => sample,
            };
            let found = match sample.is_known {
                true => Found::Known(walk.accepted()),
                false => walk.find(sample.series, reader.bounds()),
            };
            let series = match found {
                Found::Known(Known::Series(SeriesKey::Id(id))) => id,
                Found::Known(Known::Series(SeriesKey::Place(place))) => self.of_lines[place.number as usize],
                Found::Known(Known::Dropped) => unreachable!("none is dropped here"),
                Found::Repeated => {
                    repeated += 1;
                    continue;
                }
                Found::New(line) => {
                    if reader.labels()[0].1.is_empty() {
                        return None;
                    }
                    let bytes = |(name, value): &LabelText<'_>| name.len() + value.len();
                    let most = 4 * sample.series.len() + "__name__".len();
                    assert!(reader.labels().iter().map(bytes).sum::<usize>() <= most, "no more than the text says");
                    let pairs = reader.labels().iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                    let series = key.series(pairs);
                    walk.add(line, Some(series));
                    series
                }
            };
            walk.track(sample.time.is_none());
            assert_eq!(walk.line(), of_lines.len());
            of_lines.push(series);
            samples.push((series, sample.value, sample.time));
        }
        walk.finish();
        self.of_lines = of_lines;
        Some((samples, repeated))
    }

    fn name_places(&mut self) {
        let numbers = (0..self.of_lines.len() as u32).map(|line| (line, line)).collect();
        let places = Places { shard: 1, generation: 1, numbers };
        self.lines.take_places(&places, |entry| Some(entry as usize));
    }
}

fn exposition_seeds() -> Vec<Vec<u8>> {
    let text =
        "# HELP a What.\n# TYPE a histogram\n a {le=\"1\" , b = \"\\\"\"} 1.5e3 1000\na{le=\"+Inf\"} 2\n#\n\nb 3\n";
    let open = "# TYPE a summary\n# UNIT a \na{quantile=\"0.5\"} 1 1.5 # {t=\"1\"} 0.5 1\na_sum 2\n{\"b.c\",d=\"e\"} -Inf\n# EOF\n";
    let pages = |mark: &str, first: &str, second: &str| {
        [mark.as_bytes(), first.as_bytes(), &[PAGE_BREAK], second.as_bytes()].concat()
    };
    vec![
        pages("0", text, text),
        pages("1", open, open),
        pages("0", "a 1\nb 2\nc 3\n", "a 1\nx{y=\"z\"} 7\nc 3\nb 2\na 2\n"),
        pages("1", "a 1\nb 2\n# EOF\n", "b 2\na 1\n# EOF\n"),
    ]
}

/// Any bytes are metric families, as text or in protobuf, or a mistake in them; what is read as text and written again reads as the same.
pub fn pushed_families(input: &[u8]) {
    let [choice, body @ ..] = input else { return };
    if choice & 1 == 0 {
        if let Ok(families) = wire::exposition::families::read_all(body) {
            let mut page = String::new();
            families.iter().for_each(|family| family_text::write(&mut page, family, family_text::Names::Underscores));
        }
        return;
    }
    let Ok(families) = family_text::read(body) else { return };
    let is_part = |name: &str| {
        let bases = ["_count", "_sum", "_bucket"].into_iter().filter_map(|end| name.strip_suffix(end));
        bases.into_iter().any(|base| families.iter().any(|family| family.name == base))
    };
    if families.iter().any(|family| is_part(&family.name)) {
        // Whose a line is depends on which comes first; a gateway refuses such.
        return;
    }
    let mut page = String::new();
    families.iter().for_each(|family| family_text::write(&mut page, family, family_text::Names::Quoted));
    let again = family_text::read(page.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{page}"));
    let names = |families: &[FamilyMessage]| -> Vec<(String, i32, usize)> {
        families.iter().map(|family| (family.name.clone(), family.kind, family.metric.len())).collect()
    };
    assert_eq!(names(&again), names(&families), "{page}");
}

fn pushed_families_seeds() -> Vec<Vec<u8>> {
    let text = b"\x01# HELP h What\\n.\n# TYPE h histogram\nh_bucket{a=\"b\",le=\"0.5\"} 1\nh_bucket{a=\"b\",le=\"+Inf\"} 2\nh_sum{a=\"b\"} 3\n\
        h_count{a=\"b\"} 2\n# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1\ns_count 2\n# TYPE c counter\nc 1 1000\n{\"a.b\",\"c.d\"=\"\\\"\"} 1\n";
    let protobuf = exposition_gathered_seeds().swap_remove(0);
    vec![text.to_vec(), protobuf]
}

/// Any bytes are a page in protobuf or a mistake in one, whatever is wanted of it; so are lines that go together. Each series is written so
/// that it reads as a series, and no histogram contradicts itself.
pub fn exposition_gathered(input: &[u8]) {
    let [choice, page @ ..] = input else { return };
    let bit = |at: u8| choice >> at & 1 == 1;
    let wanted = Wanted { native: bit(0), convert_classic: bit(1), keep_classic: bit(2), start_times: bit(3) };
    let gathered = match (bit(4), bit(5)) {
        (false, _) => Gathered::from_protobuf(page, wanted).map_err(|error| assert!(error.offset <= page.len())),
        (true, false) => Gathered::from_text(Dialect::Text, page, wanted).map_err(drop),
        (true, true) => Gathered::from_text(Dialect::OpenMetrics, page, wanted).map_err(drop),
    };
    let Ok(gathered) = gathered else { return };
    for sample in &gathered.samples {
        let (start, end) = gathered.place(sample);
        let series = &gathered.text()[start..end];
        let labels = Reader::series_labels(Dialect::Text, Bounds::None, series);
        assert!(labels.is_ok_and(|labels| labels[0].0 == "__name__"), "{}", String::from_utf8_lossy(series));
        if let SampleValue::Histogram(histogram) = &sample.value {
            assert_eq!(histogram.check(), Ok(()));
        }
    }
}

fn exposition_gathered_seeds() -> Vec<Vec<u8>> {
    let label = vec![LabelPairMessage { name: "a".to_owned(), value: "b".to_owned() }];
    let timestamp = Some(TimestampMessage { seconds: 1, nanos: 1 });
    let exemplar = Some(ExemplarMessage { label: label.clone(), value: 1.0, timestamp });
    let metrics = [
        (kind::GAUGE, MetricMessage { gauge: Some(ValueMessage { value: 1.0 }), ..MetricMessage::default() }),
        (
            kind::COUNTER,
            MetricMessage {
                counter: Some(CounterMessage { value: 1.0, exemplar: exemplar.clone(), created: timestamp }),
                timestamp_ms: 7,
                ..MetricMessage::default()
            },
        ),
        (
            kind::SUMMARY,
            MetricMessage {
                summary: Some(SummaryMessage {
                    quantile: vec![QuantileMessage { quantile: 0.5, value: 1.0 }],
                    ..SummaryMessage::default()
                }),
                ..MetricMessage::default()
            },
        ),
        (
            kind::HISTOGRAM,
            MetricMessage {
                histogram: Some(HistogramMessage {
                    sample_count: 3,
                    bucket: vec![BucketMessage {
                        cumulative_count: 3,
                        upper_bound: 1.0,
                        exemplar,
                        ..BucketMessage::default()
                    }],
                    zero_threshold: 0.5,
                    positive_span: vec![SpanMessage { offset: 0, length: 2 }],
                    positive_delta: vec![1, 1],
                    ..HistogramMessage::default()
                }),
                ..MetricMessage::default()
            },
        ),
    ];
    let page = metrics.into_iter().enumerate().flat_map(|(at, (kind, metric))| {
        let metric = vec![MetricMessage { label: label.clone(), ..metric }];
        let family = FamilyMessage { name: format!("m{at}"), kind, metric, ..FamilyMessage::default() };
        prost::Message::encode_length_delimited_to_vec(&family)
    });
    let page: Vec<u8> = page.collect();
    let text =
        b"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 2\nh_created 1\n# EOF\n";
    let with = |choice: u8, page: &[u8]| [&[choice], page].concat();
    vec![with(0, &page), with(0b0101, &page), with(0b1110, &page), with(0b01_0010, text), with(0b11_1010, text)]
}

fn openmetrics_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "# HELP a_seconds Text \\n here.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n",
        "a_seconds_total 1\na{l=\"\\\"\\\\\\n\",n=\"\"} +Inf 1395066363.5 # {trace=\"1\"} 0.5 1.25\n",
        "{\"utf8.name\",\"a.b\"=\"x\",} NaN 1.0005\n",
    ];
    let with_end = |text: &str| format!("{text}# EOF\n").into_bytes();
    lines.iter().map(|line| with_end(line)).chain([with_end(&lines.concat())]).collect()
}

pub fn remote_write_v1(input: &[u8]) {
    remote_write(Protocol::V1, input);
}

pub fn remote_write_v2(input: &[u8]) {
    remote_write(Protocol::V2, input);
}

/// Low, so that each of them is reached.
const LIMITS: DecodeLimits = DecodeLimits {
    decoded_bytes_max: 64 << 10,
    series_max: 64,
    samples_max: 256,
    labels_per_series_max: 16,
    symbols_max: 64,
    keeps_start_times: true,
};

/// Any bytes are a batch within the limits or an error, as a body and as the message in a sound body.
fn remote_write(protocol: Protocol, input: &[u8]) {
    let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
    let mut batch = Batch::new();
    let result = batch.decode(protocol, input, &key, &LIMITS);
    check(&batch, result, LIMITS.decoded_bytes_max, &key);
    let result = batch.decode(protocol, Compressor::default().compress(input), &key, &LIMITS);
    check(&batch, result, input.len(), &key);
}

fn check(batch: &Batch, result: Result<(), DecodeError>, message_bytes: usize, key: &IdentityKey) {
    if let Err(error) = result {
        if let DecodeError::Malformed { offset, .. } = error {
            assert!(offset <= message_bytes, "{error}, in {message_bytes} bytes");
        }
        assert!(batch.series().is_empty() && batch.times().is_empty() && batch.values().is_empty());
    }
    assert!(batch.series().len() <= LIMITS.series_max as usize && batch.times().len() <= LIMITS.samples_max as usize);
    let mut end = 0;
    for entry in batch.series() {
        assert!(entry.samples().start == end, "the series share the columns");
        end = entry.samples().end;
        let mut labels = Vec::new();
        batch.visit_labels(entry.labels, &mut |name, value| labels.push((name, value)));
        assert!(labels.len() <= LIMITS.labels_per_series_max as usize);
        assert_eq!(key.series(labels), entry.id, "one identity, whatever the way in");
    }
    assert!(end == batch.times().len() && end == batch.values().len());
    for exemplar in batch.exemplars() {
        assert!((exemplar.entry as usize) < batch.series().len(), "every exemplar has its series");
        batch.visit_labels(exemplar.labels, &mut |_, _| ());
    }
    batch.visit_metadata(0, 1, &mut |metadata| assert!(!metadata.kind.is_empty()));
    for sample in batch.histograms() {
        assert!((sample.entry as usize) < batch.series().len(), "every histogram has its series");
        if sample.histogram.check().is_ok() {
            let chunk = HistogramChunk::begin(sample.time, &sample.histogram, None);
            let samples = HistogramSamples::new(chunk.encoding(), &chunk.to_bytes()).expect("a header").count();
            assert_eq!(samples, 1);
        }
    }
}

/// Messages and bodies of a few series with one and with several samples, and what only other writers write.
fn seeds(protocol: Protocol) -> Vec<Vec<u8>> {
    let long = "v".repeat(150);
    let sets = [
        vec![("__name__", "up"), ("instance", "host-1:9100"), ("job", "node")],
        vec![("__name__", "up"), ("instance", "host-2:9100"), ("job", "node")],
        vec![("__name__", "long"), ("zone", &long), ("empty", "")],
    ];
    let samples = [(1_790_000_000_000, 1.5), (1_790_000_010_000, 0.0), (-1, f64::NAN)]
        .map(|(time, value)| Sample { time: Timestamp(time), value });
    let mut symbols = SymbolTable::new();
    let mut series = Vec::new();
    for (set, count) in sets.iter().zip([1, 2, 3]) {
        let mut labels = Vec::new();
        match protocol {
            Protocol::V1 => {
                labels_v1(&mut labels, set.iter().copied());
                series_v1(&mut series, &labels, &samples[..count]);
            }
            Protocol::V2 => {
                labels_v2(&mut labels, &mut symbols, set.iter().copied());
                series_v2(&mut series, &labels, &samples[..count]);
            }
        }
    }
    let usual = match protocol {
        Protocol::V1 => series,
        Protocol::V2 => [symbols.message(), &series].concat(),
    };
    let body = Compressor::default().compress(&usual).to_vec();
    vec![usual, odd(protocol), body]
}

/// What is legal and no usual sender writes.
fn odd(protocol: Protocol) -> Vec<u8> {
    match protocol {
        // A series with a sample between its labels, an exemplar, a histogram and a group; metadata.
        Protocol::V1 => {
            b"\x0a\x1a\x0a\x04\x0a\x02cd\x12\x02\x10\x01\x0a\x04\x0a\x02ab\x1a\x00\x22\x00\xa3\x01\x10\x05\xa4\x01\x1a\x00"
                .to_vec()
        }
        // A series before its symbols, with references in a list and one by one.
        Protocol::V2 => b"\x2a\x0d\x0a\x01\x01\x12\x02\x10\x01\x08\x01\x1a\x00\x22\x00\x22\x00\x22\x01a".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_sound() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for seed in &seeds(protocol)[..2] {
                let mut batch = Batch::new();
                let key = IdentityKey::from_bytes(&[7; IdentityKey::BYTES]);
                let body = Compressor::default().compress(seed).to_vec();
                assert_eq!(batch.decode(protocol, &body, &key, &LIMITS), Ok(()));
                assert!(!batch.series().is_empty());
            }
        }
    }
}
