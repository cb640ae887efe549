//! `millrace tsdb list`

use std::{io::Write, path::PathBuf};

use blocks::Block;
use clap::Args;

use super::{TsdbError, folder, text};
use crate::calendar;

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Dates and units instead of milliseconds and bytes
    #[arg(short = 'r', long)]
    human_readable: bool,
    /// A folder with blocks
    #[arg(value_name = "PATH", default_value = "data/")]
    path: PathBuf,
}

const COLUMNS: [&str; 8] =
    ["BLOCK ULID", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];

pub(super) fn run(args: &ListArgs, out: &mut dyn Write) -> Result<(), TsdbError> {
    let opened = folder::open(&args.path)?;
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(opened.blocks.iter().map(|block| row(block, args.human_readable)));
    text::write_columns(out, &rows).map_err(TsdbError::Output)?;
    opened.finish()
}

fn row(block: &Block, human_readable: bool) -> Vec<String> {
    let time = |ms: i64| if human_readable { calendar::utc_s(ms) } else { ms.to_string() };
    let (meta, stats) = (&block.meta, &block.meta.stats);
    vec![
        block.ulid.to_string(),
        time(meta.min_time),
        time(meta.max_time),
        text::duration(meta.max_time - meta.min_time),
        stats.num_samples.to_string(),
        stats.num_chunks.to_string(),
        stats.num_series.to_string(),
        if human_readable { text::bytes(block.bytes) } else { block.bytes.to_string() },
    ]
}
