//! `millrace tsdb dump` and `dump-openmetrics`

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

use blocks::{Block, BlocksError, Value};
use clap::Args;
use model::{
    Labels, METRIC_NAME, Matcher,
    histogram::buckets::{PrintNumber, Text},
    labels::{is_plain_label_name, is_plain_metric_name},
    sample::STALE_NAN_BITS,
};
use promql::{parser, value_text};
use tsdb::{block::index::SeriesEntry, select::TimeRange};

use super::{
    TsdbError,
    folder::{self, Opened},
    head,
};

#[derive(Args, Debug)]
pub(super) struct DumpArgs {
    /// First time, in milliseconds since 1970
    #[arg(long, value_name = "MS", default_value_t = i64::MIN, allow_negative_numbers = true)]
    min_time: i64,
    /// Last time, in milliseconds since 1970
    #[arg(long, value_name = "MS", default_value_t = i64::MAX, allow_negative_numbers = true)]
    max_time: i64,
    /// Which series; may be given again
    #[arg(long = "match", value_name = "SELECTOR", default_value = "{__name__=~'(?s:.*)'}")]
    selectors: Vec<String>,
    /// A folder with blocks
    #[arg(value_name = "PATH", default_value = "data/")]
    path: PathBuf,
}

/// Prints the samples of a series.
type Print = fn(&Labels, &BTreeMap<i64, Value>, &mut dyn Write) -> io::Result<()>;

pub(super) fn run(args: &DumpArgs, print: Print, end: &str, out: &mut dyn Write) -> Result<(), TsdbError> {
    let sets = args.selectors.iter().map(|text| parser::parse_metric_selector(text));
    let sets = sets.collect::<Result<Vec<_>, _>>()?;
    let range = TimeRange { min_time: args.min_time, max_time: args.max_time };
    let mut opened = folder::open(&args.path)?;
    // What a block has counts before what a shard still holds of it.
    let mut blocks = opened.blocks.clone();
    let head = if args.path.join("FORMAT").exists() { head::read(&args.path)? } else { None };
    match &head {
        Some(head) => blocks.extend(head.blocks.iter().cloned()),
        None if args.path.join("FORMAT").exists() => {
            eprintln!(
                "millrace: a server runs here; what it has not put into blocks yet is not dumped, a snapshot has it"
            );
        }
        None => {}
    }
    blocks.retain(|block| block.overlaps(range));
    let mut cursors = Vec::new();
    for block in &blocks {
        match Cursor::new(block, &sets) {
            Ok(mut cursor) => {
                cursor.advance(&mut opened);
                cursors.push(cursor);
            }
            Err(error) => opened.leave_out(&format!("block {}", block.ulid), &error),
        }
    }
    let mut out = BufWriter::new(out);
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.clone()).min() {
        let mut samples: BTreeMap<i64, Value> = BTreeMap::new();
        for cursor in cursors.iter_mut().filter(|cursor| cursor.labels.as_ref() == Some(&labels)) {
            cursor.take(range, &mut samples, &mut opened);
        }
        print(&labels, &samples, &mut out).map_err(TsdbError::Output)?;
    }
    out.write_all(end.as_bytes()).and_then(|()| out.flush()).map_err(TsdbError::Output)?;
    opened.finish()
}

pub(super) fn write_plain(labels: &Labels, samples: &BTreeMap<i64, Value>, out: &mut dyn Write) -> io::Result<()> {
    let labels = labels.to_string();
    for (time, value) in samples {
        match value {
            Value::Float(bits) => writeln!(out, "{labels} {} {time}", value_text::general(f64::from_bits(*bits)))?,
            Value::Histogram(histogram) => writeln!(out, "{labels} {} {time}", Text(histogram, &GoNumbers))?,
        }
    }
    Ok(())
}

/// As promtool does, but for names that are not plain: those are quoted, as OpenMetrics has it, and so can be read back.
pub(super) fn write_openmetrics(
    labels: &Labels,
    samples: &BTreeMap<i64, Value>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = labels.metric_name().unwrap_or_default();
    let is_plain = is_plain_metric_name(name);
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""));
    let mut parts: Vec<String> = (!is_plain).then(|| quoted(name)).into_iter().collect();
    for label in labels.iter().filter(|label| label.name != METRIC_NAME) {
        let name = if is_plain_label_name(label.name) { label.name.to_owned() } else { quoted(label.name) };
        parts.push(format!("{name}={}", quoted(label.value)));
    }
    let series = format!("{}{{{}}}", if is_plain { name } else { "" }, parts.join(","));
    for (time, value) in samples {
        let Value::Float(bits) = value else { continue };
        if *bits != STALE_NAN_BITS {
            let value = value_text::general(f64::from_bits(*bits));
            writeln!(out, "{series} {value} {:.3}", *time as f64 / 1000.0)?;
        }
    }
    Ok(())
}

struct GoNumbers;

impl PrintNumber for GoNumbers {
    fn print(&self, value: f64) -> String {
        value_text::general(value)
    }
}

/// Goes through the chosen series of a block, which stand in label order.
struct Cursor<'a> {
    block: &'a Arc<Block>,
    references: std::vec::IntoIter<u32>,
    reference: u32,
    entry: SeriesEntry,
    /// `None` at the end.
    labels: Option<Labels>,
}

impl<'a> Cursor<'a> {
    fn new(block: &'a Arc<Block>, sets: &[Vec<Matcher>]) -> Result<Self, BlocksError> {
        let mut references = Vec::new();
        for matchers in sets {
            references.extend(block.select(matchers)?);
        }
        references.sort_unstable();
        references.dedup();
        let (reference, entry) = Default::default();
        Ok(Self { block, references: references.into_iter(), reference, entry, labels: None })
    }

    /// Goes to the next series that can be read.
    fn advance(&mut self, opened: &mut Opened) {
        while let Err(error) = self.try_advance() {
            opened.leave_out(&format!("a series of block {}", self.block.ulid), &error);
        }
    }

    fn try_advance(&mut self) -> Result<(), BlocksError> {
        self.labels = match self.references.next() {
            None => None,
            Some(reference) => {
                self.reference = reference;
                self.block.series(reference, &mut self.entry)?;
                Some(self.block.labels(&self.entry.labels)?)
            }
        };
        Ok(())
    }

    /// Adds the samples of the series at hand, where an earlier block has none of their time, and goes on to the next one.
    /// What is damaged is left out.
    fn take(&mut self, range: TimeRange, samples: &mut BTreeMap<i64, Value>, opened: &mut Opened) {
        let is_wanted =
            |chunk: &&tsdb::block::ChunkMeta| chunk.max_time >= range.min_time && chunk.min_time <= range.max_time;
        for chunk in self.entry.chunks.iter().filter(is_wanted) {
            let deleted = self.block.deleted(self.reference);
            let decoded = match self.block.samples(chunk) {
                Ok(decoded) => decoded,
                Err(damage) => {
                    opened.leave_out(&format!("a chunk of block {}", self.block.ulid), &damage);
                    continue;
                }
            };
            for (time, value) in decoded {
                let is_wanted = (range.min_time..=range.max_time).contains(&time)
                    && deleted.is_none_or(|deleted| !deleted.contains(time));
                if is_wanted {
                    samples.entry(time).or_insert(value);
                }
            }
        }
        self.advance(opened);
    }
}
