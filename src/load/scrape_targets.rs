//! `millrace load scrape-targets`: thousands of made-up targets on loopback addresses, to be scraped.
//!
//! Each target is an address of its own in 127.0.0.0/8 with the same port, so that nobody outside is served. All have the same lines with
//! values of their own, which go on with time.

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

use super::{args::parse_duration, fleet::METRICS, values::Shape};

const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serve made-up targets on loopback addresses, to be scraped
#[derive(Args, Clone, Debug)]
pub(crate) struct ScrapeTargetsArgs {
    /// How many targets
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    targets: u32,
    /// Series of each target
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    series: u32,
    /// Port of all of them; their addresses are 127.0.0.1, 127.0.0.2 and so on
    #[arg(long, default_value_t = 9900)]
    port: u16,
    /// Write the targets to this file, for file_sd_configs
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How values go on
    #[arg(long, value_enum, default_value = "mixed")]
    values: Shape,
    /// Time after which values go on
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    step: Duration,
    /// Pack pages for those who take gzip
    #[arg(long)]
    gzip: bool,
    /// Stop after this time
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeTargetsError {
    #[error("listen on {address}: {source}")]
    Listen { address: SocketAddrV4, source: io::Error },
    #[error("write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("start the threads that serve: {0}")]
    Runtime(io::Error),
}

pub(super) fn run(args: &ScrapeTargetsArgs) -> Result<(), ScrapeTargetsError> {
    allow_many_files();
    let runtime = tokio::runtime::Runtime::new().map_err(ScrapeTargetsError::Runtime)?;
    runtime.block_on(serve(args))
}

/// As many as this user may have: each target needs one, and each connection.
fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit on open files stays as it is: {error}");
    }
}

async fn serve(args: &ScrapeTargetsArgs) -> Result<(), ScrapeTargetsError> {
    let page = Arc::new(Page::new(args));
    let mut addresses = Vec::new();
    for number in 0..args.targets {
        let address = SocketAddrV4::new(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number), args.port);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ScrapeTargetsError::Listen { address, source })?;
        tokio::spawn(serve_target(listener, number, page.clone()));
        addresses.push(address.to_string());
    }
    if let Some(path) = &args.file {
        let groups = serde_json::json!([{ "targets": addresses }]);
        let failed = |source| ScrapeTargetsError::File { path: path.clone(), source };
        fs::write(path, groups.to_string()).map_err(failed)?;
    }
    eprintln!("serving {} targets with {} series each from {} on", args.targets, args.series, addresses[0]);
    match args.duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
    Ok(())
}

async fn serve_target(listener: TcpListener, number: u32, page: Arc<Page>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file is left for it.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let page = page.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let takes_gzip = request
                .headers()
                .get(ACCEPT_ENCODING)
                .is_some_and(|value| value.to_str().is_ok_and(|encodings| encodings.contains("gzip")));
            let answer = page.answer(number, takes_gzip);
            async move { Ok::<_, io::Error>(answer) }
        });
        tokio::spawn(async move {
            let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
            // Who scrapes may go at any time.
            drop(served.await);
        });
    }
}

/// What all pages have in common.
struct Page {
    /// Of each line what stands before the value; comments stand before the line that they belong to.
    lines: Vec<String>,
    values: Shape,
    step: Duration,
    started: Instant,
    gzip: bool,
}

impl Page {
    fn new(args: &ScrapeTargetsArgs) -> Self {
        let lines = (0..args.series).map(|series| line(series, args.series)).collect();
        Self { lines, values: args.values, step: args.step, started: Instant::now(), gzip: args.gzip }
    }

    fn answer(&self, number: u32, takes_gzip: bool) -> Response<Full<Bytes>> {
        let pass = (self.started.elapsed().as_nanos() / self.step.as_nanos().max(1)) as u32;
        let text = self.text(number, pass);
        let mut response = Response::new(Full::default());
        response.headers_mut().insert(CONTENT_TYPE, FORMAT);
        let body = if self.gzip && takes_gzip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            packed(&text)
        } else {
            text
        };
        *response.body_mut() = Full::new(Bytes::from(body));
        response
    }

    fn text(&self, number: u32, pass: u32) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.lines.len() * 80);
        let first = number.wrapping_mul(self.lines.len() as u32);
        for (at, line) in self.lines.iter().enumerate() {
            let value = self.values.value(first.wrapping_add(at as u32), pass);
            text.extend_from_slice(line.as_bytes());
            crate::json::number::push_value(&mut text, value);
            text.push(b'\n');
        }
        text
    }
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// Metrics in their order, each with as many devices as it takes.
fn line(series: u32, count: u32) -> String {
    let devices = count.div_ceil(METRICS.len() as u32);
    let (metric, device) = (METRICS[(series / devices) as usize], series % devices);
    let kind = if metric.ends_with("_total") { "counter" } else { "gauge" };
    let comment = match device {
        0 => format!("# HELP {metric} Made up, as all of this.\n# TYPE {metric} {kind}\n"),
        _ => String::new(),
    };
    format!("{comment}{metric}{{device=\"dev{device}\",rack=\"r{:03}\",team=\"infrastructure\"}} ", device / 4)
}

#[cfg(test)]
mod tests {
    use wire::exposition::{Dialect, Item, Reader};

    use super::*;

    #[test]
    fn a_page_has_as_many_series_as_asked_for() {
        for series in [1, 19, 20, 21, 1000] {
            let args = ScrapeTargetsArgs {
                targets: 1,
                series,
                port: 0,
                file: None,
                values: Shape::Mixed,
                step: Duration::from_secs(10),
                gzip: false,
                duration: None,
            };
            let text = Page::new(&args).text(3, 7);
            let mut reader = Reader::new(Dialect::Text, &text);
            let mut found = std::collections::HashSet::new();
            while let Some(item) = reader.next(&mut ()).expect("a good page") {
                if let Item::Sample(sample) = item {
                    found.insert(sample.series.to_vec());
                }
            }
            assert_eq!(found.len(), series as usize);
        }
    }
}
