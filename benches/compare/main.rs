//! Millrace against its peers, ingestion or queries: starts each server alone on loopback with an empty data directory, lets `millrace load` write to
//! it, and prints a Markdown table of samples per second of the server's processor time, memory and start-up.
//!
//! Every server gets the same requests from the same generator, one server after the other. Processor time is the whole process's, read
//! from the kernel, some seconds after the last answer so that work put off counts too. See benches/README.md.

mod queries;
mod rows;
mod server;
mod table;

use std::path::PathBuf;

use clap::Parser;

use self::{
    rows::{Bench, Sizes},
    server::{Kind, Programs},
    table::Table,
};

/// Compare Millrace's ingestion, or its queries, with Prometheus' and VictoriaMetrics'
#[derive(Parser)]
struct Args {
    /// A tenth of the work: for a look, not for figures to quote
    #[arg(long)]
    quick: bool,
    /// Queries instead of ingestion
    #[arg(long)]
    queries: bool,
    /// Servers to measure; all unless given
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// The program that serves and that generates the load
    #[arg(long, default_value = "target/release/millrace")]
    millrace: PathBuf,
    /// Another program for the load, with the flags of `millrace load`
    #[arg(long)]
    load: Option<PathBuf>,
    /// Folder with the peers' programs
    #[arg(long, default_value = "target/peers/usr/bin")]
    peers: PathBuf,
    /// Folder for data directories, emptied for each server; on the disk to be measured
    #[arg(long, default_value = "target/compare")]
    data: PathBuf,
    /// Runs of each row, of which the best counts
    #[arg(long, default_value_t = 1)]
    repeat: u32,
}

fn main() {
    let args = Args::parse();
    let kinds = if args.only.is_empty() { Kind::ALL.to_vec() } else { args.only.clone() };
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let programs = Programs { millrace: args.millrace.clone(), peers: args.peers, data: args.data };
    let bench = Bench { programs, load: args.load.unwrap_or(args.millrace), sizes };
    let mut table = Table::new(kinds.clone());
    for &kind in &kinds {
        for _ in 0..args.repeat.max(1) {
            let measured = if args.queries { bench.measure_queries(kind) } else { bench.measure(kind) };
            match measured {
                Ok(results) => table.add(kind, results),
                Err(error) => {
                    eprintln!("{}: {error}", kind.name());
                    table.fail(kind, error.to_string());
                }
            }
        }
    }
    print!("{}", table.markdown());
}
