//! Loads against a server of a few lines that decodes what it gets.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use clap::Parser;
use model::{IdentityKey, WriteBatch};
use wire::remote_write::{Batch, DecodeLimits, Protocol};

use super::{LoadArgs, LoadError, args::Churn, execute, report::Report, values::Shape};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: LoadArgs,
}

fn args(text: &str) -> LoadArgs {
    Command::parse_from(["load"].into_iter().chain(text.split_whitespace())).args
}

fn key() -> IdentityKey {
    IdentityKey::from_bytes(&[7; IdentityKey::BYTES])
}

/// What a server has taken: value bits by series and time, and the labels of each series.
#[derive(Default)]
struct Taken {
    samples: HashMap<(u64, i64), u64>,
    labels: HashMap<u64, Vec<(String, String)>>,
    twice: usize,
    requests: usize,
}

/// Status line with further headers, by the number of the request.
type Answer = fn(usize) -> &'static str;

/// Listens for ever on a port of its own; answers as told, and takes what it answers with 204.
fn serve(answer: Answer) -> (String, Arc<Mutex<Taken>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/api/v1/write", listener.local_addr().expect("bound"));
    let taken = Arc::new(Mutex::new(Taken::default()));
    let shared = taken.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let taken = shared.clone();
            thread::spawn(move || serve_connection(stream, &taken, answer));
        }
    });
    (url, taken)
}

fn serve_connection(mut stream: TcpStream, taken: &Mutex<Taken>, answer: Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut headers = HashMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 0 && line != "\r\n" {
            if let Some((name, value)) = line.split_once(": ") {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            line.clear();
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let mut taken = taken.lock().expect("no test panics with the lock");
        taken.requests += 1;
        let status = answer(taken.requests);
        if status.starts_with("204") {
            taken.take(&headers, &body);
        }
        drop(taken);
        // In one piece: the kernel would hold back a second one until the first is acknowledged.
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).ok()?;
    }
}

impl Taken {
    fn take(&mut self, headers: &HashMap<String, String>, body: &[u8]) {
        let protocol = match headers["x-prometheus-remote-write-version"].as_str() {
            "2.0.0" => Protocol::V2,
            _ => Protocol::V1,
        };
        assert_eq!(
            (headers["content-type"].as_str(), &*headers["content-encoding"]),
            (protocol.content_type(), "snappy")
        );
        let mut batch = Batch::new();
        batch.decode(protocol, body, &key(), &DecodeLimits::default()).expect("a sound body");
        for series in batch.series() {
            let mut labels = Vec::new();
            batch.visit_labels(series.labels, &mut |name, value| {
                labels.push([name, value].map(|text| String::from_utf8(text.to_vec()).expect("UTF-8")).into());
            });
            self.labels.insert(series.id.low, labels);
            for index in series.samples() {
                let known = self.samples.insert((series.id.low, batch.times()[index]), batch.values()[index]);
                self.twice += usize::from(known.is_some());
            }
        }
    }
}

fn load(url: &str, flags: &str) -> Report {
    execute(args(&format!("--url {url} {flags}"))).expect("a load that runs")
}

#[test]
fn every_sample_arrives_once_over_both_protocols() {
    for protocol in ["1.0", "2.0"] {
        let (url, taken) = serve(|_| "204 No Content");
        let flags = "--series 1050 --samples-per-series 5 --samples-per-request 100 --connections 3 --labels 12";
        let report = load(&url, &format!("--protocol {protocol} {flags}"));
        assert_eq!((report.acknowledged_samples, report.first_refusal()), (5250, None));
        let taken = taken.lock().expect("the server is idle");
        assert_eq!((taken.samples.len(), taken.labels.len(), taken.twice, taken.requests), (5250, 1050, 0, 55));
        assert!(taken.labels.values().all(|labels| labels.len() == 12 && labels.is_sorted()));
        let times: HashSet<i64> = taken.samples.keys().map(|&(_, time)| time).collect();
        assert_eq!(times.len(), 5);
    }
}

/// Goal: half of the series are new in each pass, so five passes over 100 series see 100 and four times 50.
#[test]
fn churn_replaces_series() {
    for protocol in ["1.0", "2.0"] {
        let (url, taken) = serve(|_| "204 No Content");
        load(&url, &format!("--protocol {protocol} --series 100 --samples-per-series 5 --churn 0.5/pass"));
        assert_eq!(taken.lock().expect("the server is idle").labels.len(), 300);
    }
}

#[test]
fn a_refused_request_is_counted_and_the_rest_goes_on() {
    let (url, taken) = serve(|number| if number == 2 { "400 Bad Request" } else { "204 No Content" });
    let report = load(&url, "--series 40 --samples-per-series 1 --samples-per-request 10 --connections 1 --retries 3");
    assert_eq!(report.acknowledged_samples, 30);
    assert_eq!(report.first_refusal().as_deref(), Some("400: "));
    assert_eq!(taken.lock().expect("the server is idle").requests, 4);
}

#[test]
fn overload_is_waited_for_when_asked() {
    let overloaded: Answer = |number| match number {
        1..=3 => "503 Service Unavailable\r\nretry-after: 0",
        _ => "204 No Content",
    };
    let flags = "--series 10 --samples-per-series 1 --connections 1";
    let (url, _) = serve(overloaded);
    assert_eq!(load(&url, &format!("{flags} --retries 3")).acknowledged_samples, 10);
    let (url, _) = serve(overloaded);
    let report = load(&url, flags);
    assert_eq!((report.acknowledged_samples, report.first_refusal().as_deref()), (0, Some("503: ")));
}

/// Goal: of a 2.0 receiver that says it has written less, only that counts.
#[test]
fn the_receivers_own_count_is_believed() {
    let (url, _) = serve(|_| "204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 7");
    let report = load(&url, "--protocol 2.0 --series 10 --samples-per-series 1");
    assert_eq!(report.acknowledged_samples, 7);
}

#[test]
fn the_verify_log_names_what_was_acknowledged() {
    let path = std::env::temp_dir().join(format!("millrace-load-{}.tsv", std::process::id()));
    let (url, taken) = serve(|number| if number == 3 { "500 Internal Server Error" } else { "204 No Content" });
    let flags = "--series 20 --samples-per-series 2 --samples-per-request 10 --connections 1 --step 1s --start 5000";
    load(&url, &format!("{flags} --verify-log {}", path.display()));
    let log = fs::read_to_string(&path).expect("the log");
    fs::remove_file(&path).expect("the log is ours");
    let (signature, log) = log.split_once('\n').expect("a first line");
    let expected =
        r#"{"version":1,"series":20,"labels":10,"values":"mixed","churn_per_pass":0.0,"start_ms":5000,"step_ms":1000}"#;
    assert_eq!(signature, expected);
    assert_eq!(log, "0\t10\t5000\t5000\n10\t20\t5000\t5000\n10\t20\t6000\t6000\n");
    assert_eq!(taken.lock().expect("the server is idle").samples.len(), 30);
}

#[test]
fn a_rate_is_kept() {
    let (url, _) = serve(|_| "204 No Content");
    let report = load(&url, "--series 100 --samples-per-series 20 --samples-per-request 10 --rate 10000");
    let json = serde_json::to_value(&report).expect("a report is JSON");
    let rate = json["acknowledged_samples_per_second"].as_f64().expect("a number");
    assert!((5_000.0..11_000.0).contains(&rate), "{json}");
    assert!(json["latency_ms"]["p50"].as_f64() <= json["latency_ms"]["max"].as_f64(), "{json}");
}

#[test]
fn nobody_there_is_no_endless_wait() {
    let report = load("http://127.0.0.1:1/write", "--series 10 --duration 1s --connections 1");
    assert_eq!(report.acknowledged_samples, 0);
    assert!(report.first_refusal().is_some_and(|text| text.starts_with("unanswered: connect: ")));
}

#[test]
fn what_cannot_be_run_is_named() {
    let error = |flags: &str| execute(args(flags)).expect_err("refused").to_string();
    assert!(error("--samples-per-series 1 --url https://localhost/").contains("only http://"));
    assert!(error("--samples-per-series 1 --header novalue").contains("\"Name: value\""));
    assert!(error("--samples-per-series 1 --server-pid 4294967295").contains("4294967295"));
    assert!(error("--samples-per-series 1 --verify-log /nowhere/log").contains("/nowhere/log"));
    assert!(matches!(execute(args("")), Err(LoadError::Endless)));
}

#[test]
fn flags_say_what_they_take() {
    assert_eq!(args("--churn 0.5/pass").churn, Churn::PerPass(0.5));
    assert_eq!(args("--churn 0.06").churn.per_pass(Duration::from_secs(10)), 0.01);
    assert_eq!(args("--step 15s").step, Duration::from_secs(15));
    for flags in ["--churn 2", "--churn x", "--churn 0.1/day", "--step 10", "--step 5y", "--series 0", "--labels 2"] {
        assert!(Command::try_parse_from(["load"].into_iter().chain(flags.split(' '))).is_err(), "{flags}");
    }
}

#[test]
fn counters_never_fall() {
    for series in 0..100 {
        for pass in 0..100 {
            assert!(Shape::Counter.value(series, pass) <= Shape::Counter.value(series, pass + 1));
        }
    }
}
