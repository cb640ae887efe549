//! `millrace load`: writes made-up metrics to a remote-write endpoint and reports what was acknowledged.
//!
//! An honest client: plain HTTP/1.1 with kept connections, one request at a time on each, a sample counts only when the server has
//! said so. It fits any endpoint of the protocol, ours or a peer's. Everything it sends follows from its arguments, so that whoever
//! checks afterwards can compute it again. To leave the processor to the server, the label part of each series is rendered
//! once; a request then costs copying, two numbers a series, and compression.

mod args;
mod client;
mod fleet;
mod measure;
mod plan;
mod report;
mod request;
mod scrape_targets;
mod values;
mod verify;
mod verify_log;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::args::LoadArgs;
use self::{
    args::LoadCommand,
    client::{Endpoint, EndpointError},
    measure::{ProcessUsage, Totals, usage_of},
    plan::Plan,
    report::Report,
    worker::Worker,
};

/// Why a load could not be run. That the server refuses requests is no error but a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("give --samples-per-series or --duration: a load without an end is refused")]
    Endless,
    #[error("open the verify log {path}: {source}")]
    VerifyLog { path: String, source: io::Error },
    #[error("read /proc of the server's process {pid}: {source}")]
    ServerProcess { pid: u32, source: io::Error },
    #[error("start the threads that send: {0}")]
    Runtime(io::Error),
    #[error("write the report: {0}")]
    Report(io::Error),
    #[error(transparent)]
    ScrapeTargets(#[from] scrape_targets::ScrapeTargetsError),
    #[error(transparent)]
    Check(#[from] verify::CheckError),
    #[error("the server does not have what it acknowledged: {summary}")]
    Unsound { summary: String },
    #[error("no sample was acknowledged{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NothingAcknowledged { reason: Option<String> },
}

/// Runs a load, or the check of one, to its end: progress goes to stderr, the report as one JSON object to stdout.
pub(crate) fn run(args: LoadArgs) -> Result<(), LoadError> {
    if let Some(LoadCommand::ScrapeTargets(args)) = &args.command {
        return Ok(scrape_targets::run(args)?);
    }
    if let Some(log) = &args.check {
        let report = verify::check(log, &args)?;
        print(&report)?;
        return if report.is_sound() { Ok(()) } else { Err(LoadError::Unsound { summary: report.summary() }) };
    }
    let report = execute(args)?;
    print(&report)?;
    match report.acknowledged_samples {
        0 => Err(LoadError::NothingAcknowledged { reason: report.first_refusal() }),
        _ => Ok(()),
    }
}

fn print(report: &impl serde::Serialize) -> Result<(), LoadError> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, report).map_err(io::Error::from).map_err(LoadError::Report)?;
    writeln!(stdout).map_err(LoadError::Report)
}

fn execute(args: LoadArgs) -> Result<Report, LoadError> {
    if args.samples_per_series.is_none() && args.duration.is_none() {
        return Err(LoadError::Endless);
    }
    let endpoint = Endpoint::parse(&args.url, &args.headers)?;
    let plan = Arc::new(Plan::new(&args));
    let totals = Arc::new(Totals::open(args.verify_log.as_deref(), &plan.signature(&args))?);
    let before = args.server_pid.map(server_usage).transpose()?;
    let client_before = usage_of(std::process::id()).unwrap_or_default();
    let started = Instant::now();
    send_all(&args, endpoint, &plan, &totals)?;
    let elapsed = started.elapsed();
    thread::sleep(args.settle.unwrap_or_default());
    let server = args.server_pid.map(server_usage).transpose()?;
    let client = usage_of(std::process::id()).unwrap_or_default().since(client_before);
    Ok(Report::new(&args, &totals, elapsed, before.zip(server), client))
}

fn server_usage(pid: u32) -> Result<ProcessUsage, LoadError> {
    usage_of(pid).map_err(|source| LoadError::ServerProcess { pid, source })
}

/// One worker a connection, each with its own part of the series, so that a series' samples stay in order.
fn send_all(args: &LoadArgs, endpoint: Endpoint, plan: &Arc<Plan>, totals: &Arc<Totals>) -> Result<(), LoadError> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get()).min(args.connections as usize);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_io()
        .enable_time()
        .build()
        .map_err(LoadError::Runtime)?;
    let endpoint = Arc::new(endpoint);
    runtime.block_on(async {
        let workers: Vec<_> = (0..args.connections)
            .map(|connection| Worker::new(connection, args, endpoint.clone(), plan.clone(), totals.clone()))
            .map(|worker| tokio::spawn(worker.run()))
            .collect();
        let progress = tokio::spawn(report_progress(totals.clone()));
        for worker in workers {
            if let Err(error) = worker.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        progress.abort();
    });
    Ok(())
}

async fn report_progress(totals: Arc<Totals>) {
    let started = Instant::now();
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        eprintln!("{}", totals.progress_line(started.elapsed(), &mut last));
    }
}
