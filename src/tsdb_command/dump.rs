//! `millrace tsdb dump`

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

use ::blocks::{Block, BlocksError, Columns};
use clap::Args;
use model::{Labels, Matcher};
use promql::{parser, value_text};
use tsdb::{block::index::SeriesEntry, select::TimeRange};

use super::{TsdbError, blocks};

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

pub(super) fn run(args: &DumpArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    let sets = args.selectors.iter().map(|text| parser::parse_metric_selector(text));
    let sets = sets.collect::<Result<Vec<_>, _>>()?;
    let range = TimeRange { min_time: args.min_time, max_time: args.max_time };
    let blocks = blocks::open(&args.path)?;
    if args.path.join("FORMAT").exists() {
        eprintln!("millrace: what the shards have not put into blocks yet is not dumped; a snapshot has it as blocks");
    }
    let blocks: Vec<_> = blocks.into_iter().filter(|block| block.overlaps(range)).collect();
    let mut cursors = blocks.iter().map(|block| Cursor::new(block, &sets)).collect::<Result<Vec<_>, _>>()?;
    let mut out = BufWriter::new(out);
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.clone()).min() {
        let mut samples = BTreeMap::new();
        for cursor in cursors.iter_mut().filter(|cursor| cursor.labels.as_ref() == Some(&labels)) {
            cursor.take(range, &mut samples)?;
        }
        write_series(&labels, &samples, &mut out).map_err(TsdbError::Output)?;
    }
    out.flush().map_err(TsdbError::Output)
}

fn write_series(labels: &Labels, samples: &BTreeMap<i64, u64>, out: &mut dyn Write) -> io::Result<()> {
    let labels = labels.to_string();
    let mut write =
        |(time, bits): (&i64, &u64)| writeln!(out, "{labels} {} {time}", value_text::general(f64::from_bits(*bits)));
    samples.iter().try_for_each(&mut write)
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
        let mut cursor = Self { block, references: references.into_iter(), reference, entry, labels: None };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<(), BlocksError> {
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
    fn take(&mut self, range: TimeRange, samples: &mut BTreeMap<i64, u64>) -> Result<(), BlocksError> {
        let (mut scratch, mut columns) = (Columns::default(), Columns::default());
        let is_wanted =
            |chunk: &&tsdb::block::ChunkMeta| chunk.max_time >= range.min_time && chunk.min_time <= range.max_time;
        for chunk in self.entry.chunks.iter().filter(is_wanted) {
            let deleted = self.block.deleted(self.reference);
            self.block.append_samples(chunk, range, deleted, &mut scratch, &mut columns)?;
        }
        for (time, bits) in columns.times.into_iter().zip(columns.values) {
            samples.entry(time).or_insert(bits);
        }
        self.advance()
    }
}
