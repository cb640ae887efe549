//! The `millrace` binary: one program that collects, keeps and queries Prometheus metrics.
//!
//! Exit codes: 0 after a clean stop, 1 when something of the machine or the configuration is in the way, 2 for a command line
//! that can't be used.

mod api;
mod app;
mod calendar;
mod check_command;
mod config;
mod discovery;
mod header_text;
mod http_client;
mod json;
mod load;
mod local_storage;
mod promql_command;
mod push_gateway;
mod query;
mod query_command;
mod resharding;
mod scrape;
mod service_manager;
mod targets;
mod telemetry;
mod tsdb_command;
mod tune;
mod ui;
mod version;

use std::process::ExitCode;

use config::flags::{self, Command, UsageError};

/// Queries allocate columns of megabytes and labels of bytes on many threads at once, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_FAILURE: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match flags::parse(std::env::args_os()) {
        Ok(Command::Serve(command)) => fail_with_line(app::serve(*command)),
        Ok(Command::Check(args)) => match check_command::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_code()),
        },
        Ok(Command::Load(args)) => fail_with_line(load::run(*args)),
        Ok(Command::Tsdb(args)) => fail_with_line(tsdb_command::run(args)),
        Ok(Command::Promql(args)) => fail_with_line(promql_command::run(args)),
        Ok(Command::Query(args)) => fail_with_line(query_command::run(args)),
        Ok(Command::Tune(args)) => fail_with_line(tune::run(&args)),
        Err(UsageError::Clap(error)) if is_help(&error) => error.exit(),
        Err(error) => {
            // Of clap's several lines the first says what is wrong.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            eprintln!("millrace: {}", line.strip_prefix("error: ").unwrap_or(line));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Help or version, whether asked for or shown because nothing was said.
fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion)
}

/// The one line that says what is in the way.
fn fail_with_line<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("millrace: {error}");
    ExitCode::from(code)
}
