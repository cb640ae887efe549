//! `millrace tsdb analyze`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::PathBuf,
};

use blocks::{Block, BlocksError};
use clap::Args;
use model::{METRIC_NAME, Matcher};
use promql::parser;
use tsdb::block::index::{SeriesEntry, SymbolPair};

use super::{TsdbError, folder, text};

#[derive(Args, Debug)]
pub(super) struct AnalyzeArgs {
    /// How many items to show in each list
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Only series that this selects
    #[arg(long = "match", value_name = "SELECTOR")]
    selector: Option<String>,
    /// A folder with blocks
    #[arg(value_name = "PATH", default_value = "data/")]
    path: PathBuf,
    /// Name of a block; the one that was made last unless given
    #[arg(value_name = "BLOCK")]
    block: Option<String>,
}

pub(super) fn run(args: &AnalyzeArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    let matchers = args.selector.as_deref().map(parser::parse_metric_selector).transpose()?;
    let opened = folder::open(&args.path)?;
    let all = &opened.blocks;
    let path = || args.path.clone();
    let block = match &args.block {
        None => all.iter().max_by_key(|block| block.ulid).ok_or_else(|| TsdbError::NoBlocks { path: path() })?,
        Some(name) => all
            .iter()
            .find(|block| block.ulid.to_string() == *name)
            .ok_or_else(|| TsdbError::NoBlock { path: path(), name: name.clone() })?,
    };
    let found = Findings::of(block, matchers.as_deref())?;
    found.write(block, args, out).map_err(TsdbError::Output)?;
    opened.finish()
}

/// Something with a number that it is ranked by.
type Ranked = Vec<(u64, String)>;

struct Findings {
    pairs: usize,
    entries: u64,
    names: usize,
    series: u64,
    churning_pairs: Ranked,
    churning_names: Ranked,
    common_pairs: Ranked,
    value_bytes: Ranked,
    values: Ranked,
    metrics: Ranked,
}

/// By pair: how many series have it, and how much of the block's time they do not cover, in milliseconds.
type Pairs = BTreeMap<SymbolPair, (u64, u64)>;

impl Findings {
    fn of(block: &Block, matchers: Option<&[Matcher]>) -> Result<Self, BlocksError> {
        let span = (block.meta.max_time - block.meta.min_time).unsigned_abs();
        let mut pairs = Pairs::new();
        let (mut entry, mut series) = (SeriesEntry::default(), 0);
        for reference in block.select(matchers.unwrap_or_default())? {
            block.series(reference, &mut entry)?;
            let (Some(first), Some(last)) = (entry.chunks.first(), entry.chunks.last()) else { continue };
            series += 1;
            let uncovered = span.saturating_sub(first.min_time.abs_diff(last.max_time));
            for &pair in &entry.labels {
                let (count, time) = pairs.entry(pair).or_default();
                (*count, *time) = (*count + 1, *time + uncovered);
            }
        }
        let mut found = Self {
            pairs: pairs.len(),
            entries: pairs.values().map(|(count, _)| count).sum(),
            names: pairs.keys().map(|(name, _)| name).collect::<BTreeSet<_>>().len(),
            series,
            churning_pairs: Ranked::new(),
            churning_names: Ranked::new(),
            common_pairs: Ranked::new(),
            value_bytes: Ranked::new(),
            values: Ranked::new(),
            metrics: Ranked::new(),
        };
        found.rank(block, &pairs, span.max(1))?;
        Ok(found)
    }

    fn rank(&mut self, block: &Block, pairs: &Pairs, span: u64) -> Result<(), BlocksError> {
        // By name: time not covered, bytes of values, values.
        let mut names: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
        for (&(name, value), &(count, time)) in pairs {
            let (name, value) = (block.symbol(name)?, block.symbol(value)?);
            let of_name = names.entry(name).or_default();
            *of_name = (of_name.0 + time, of_name.1 + value.len() as u64, of_name.2 + 1);
            let pair = format!("{name}={value}");
            self.churning_pairs.push((time / span, pair.clone()));
            self.common_pairs.push((count, pair));
            if name == METRIC_NAME {
                self.metrics.push((count, value.to_owned()));
            }
        }
        for (name, (time, bytes, values)) in names {
            self.churning_names.push((time / span, name.to_owned()));
            self.value_bytes.push((bytes, name.to_owned()));
            self.values.push((values, name.to_owned()));
        }
        Ok(())
    }

    fn write(self, block: &Block, args: &AnalyzeArgs, out: &mut dyn Write) -> io::Result<()> {
        let meta = &block.meta;
        writeln!(out, "Block ID: {}", block.ulid)?;
        writeln!(out, "Duration: {}", text::duration(meta.max_time - meta.min_time))?;
        writeln!(out, "Total Series: {}", meta.stats.num_series)?;
        if let Some(selector) = &args.selector {
            writeln!(out, "Matcher: {selector}")?;
            writeln!(out, "Matched series: {}", self.series)?;
        }
        writeln!(out, "Label names: {}", self.names)?;
        writeln!(out, "Postings (unique label pairs): {}", self.pairs)?;
        writeln!(out, "Postings entries (total label pairs): {}", self.entries)?;
        let lists = [
            ("Label pairs most involved in churning", self.churning_pairs),
            ("Label names most involved in churning", self.churning_names),
            ("Most common label pairs", self.common_pairs),
            ("Label names with highest cumulative label value length", self.value_bytes),
            ("Highest cardinality labels", self.values),
            ("Highest cardinality metric names", self.metrics),
        ];
        for (title, mut ranked) in lists {
            ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            writeln!(out, "\n{title}:")?;
            ranked.iter().take(args.limit).try_for_each(|(number, what)| writeln!(out, "{number} {what}"))?;
        }
        Ok(())
    }
}
