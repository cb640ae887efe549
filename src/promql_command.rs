//! `millrace promql`: the language without a server. `test` runs scripts of Prometheus' test language.

mod store;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};
use promql::{
    engine::Engine,
    testscript::{self, MemorySource, Outcome, ScriptStore},
};

use crate::local_storage::LocalStorageError;
use store::HeadStore;

/// Try out the query language
#[derive(Args, Debug)]
pub(crate) struct PromqlArgs {
    #[command(subcommand)]
    command: PromqlCommand,
}

#[derive(Debug, Subcommand)]
enum PromqlCommand {
    /// Run scripts of Prometheus' test language; ends with 1 if a statement does not hold
    Test(TestArgs),
}

#[derive(Args, Debug)]
struct TestArgs {
    /// What keeps the series
    #[arg(long, value_enum, default_value = "memory")]
    store: StoreKind,
    /// Scripts
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    /// Lists in memory
    Memory,
    /// A server's own storage, with its log, its chunks and its blocks, in a folder for temporary files. It keeps no start timestamps
    Head,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PromqlError {
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {error}", path.display())]
    Script { path: PathBuf, error: testscript::ScriptError },
    #[error(transparent)]
    Storage(#[from] LocalStorageError),
    #[error("write the report: {0}")]
    Output(io::Error),
    #[error("{0} statements do not hold")]
    Failed(usize),
}

pub(crate) fn run(args: PromqlArgs) -> Result<(), PromqlError> {
    match args.command {
        PromqlCommand::Test(args) => test(&args, &mut io::stdout().lock()),
    }
}

fn test(args: &TestArgs, out: &mut dyn Write) -> Result<(), PromqlError> {
    let mut options = testscript::options();
    let mut store: Box<dyn ScriptStore> = match args.store {
        StoreKind::Memory => Box::new(MemorySource::default()),
        StoreKind::Head => {
            // As a server evaluates what is large.
            options.help = Some(testscript::hasty_help());
            Box::new(HeadStore::new()?)
        }
    };
    let engine = Engine::new(options);
    let (mut passed, mut failed) = (0, 0);
    for path in &args.files {
        let script = fs::read_to_string(path).map_err(|source| PromqlError::Read { path: path.clone(), source })?;
        let outcomes = testscript::run_on(&script, &engine, store.as_mut());
        let outcomes = outcomes.map_err(|error| PromqlError::Script { path: path.clone(), error })?;
        for Outcome { line, expression, result } in outcomes {
            let Err(what) = result else {
                passed += 1;
                continue;
            };
            failed += 1;
            writeln!(out, "{}:{line}: {expression}\n    {what}", path.display()).map_err(PromqlError::Output)?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed").map_err(PromqlError::Output)?;
    if failed == 0 { Ok(()) } else { Err(PromqlError::Failed(failed)) }
}

#[cfg(test)]
mod tests;
