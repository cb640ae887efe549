//! `millrace query` asked of Millrace, Prometheus and VictoriaMetrics, beside promtool.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
};

use wire::remote_write::Protocol;

use crate::harness::{
    body::{self, Series},
    eventually,
    http::try_request,
    native, now_ms, peer,
    server::{Server, folder, millrace, run_to_end},
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Ten minutes of two counters, ending at `end`.
fn write_counters(address: SocketAddr, end: i64) {
    let samples = |step: f64| {
        let sample = |minute: i64| (end - (10 - minute) * 60_000, minute as f64 * step);
        (0..=10).map(sample).collect::<Vec<_>>()
    };
    let samples = [samples(1.5), samples(3.0)];
    let labels = [[("__name__", "c"), ("job", "a")], [("__name__", "c"), ("job", "b \"quoted\"")]];
    let series: Vec<_> = labels.iter().zip(&samples).map(|(labels, samples)| Series { labels, samples }).collect();
    let code = body::write(address, Protocol::V1, &series).code;
    assert!(code == 200 || code == 204, "{code}");
}

/// Goal: who knows promtool knows this. Method: the same questions to the same servers through both, compared byte by byte.
#[test]
fn answers_are_written_as_promtool_writes_them() {
    let (ours_in, theirs_in) = (folder(), folder());
    let ours = Server::start(ours_in.path(), &[]);
    let native = ["--enable-feature=native-histograms"];
    let theirs = peer::prometheus_with(theirs_in.path(), "global: {}\n", &native);
    let end = now_ms() / 1000 * 1000;
    let (at, from) = ((end as f64 / 1000.0 - 0.5).to_string(), (end / 1000 - 540).to_string());
    for address in [ours.address, theirs.address] {
        write_counters(address, end);
        native::send(address, &native::Request { series: vec![one_histogram(end - 1000)] });
        let server = format!("http://{address}");
        let time = format!("--time={at}");
        let (start, end) = (format!("--start={from}"), format!("--end={at}"));
        let both = |args: &[&str]| {
            let args = [&["query"], args].concat();
            let (command, rest) = args.split_at(2);
            let ours = run_to_end(&[command, &["--format=promql"], rest].concat());
            assert_eq!(succeeded(ours), peer::promtool(&args), "{args:?}");
        };
        for expr in ["c", "1/3", "h", "c[5m]", "sum(c) > 1e9", "vector(1)"] {
            both(&["instant", &time, &server, expr]);
        }
        for expr in ["c * 1.1", "rate(c[2m])", "h"] {
            both(&["range", &start, &end, "--step=30s", &server, expr]);
        }
        both(&["series", "--match=c", "--match=h", &server]);
        both(&["labels", &server, "job"]);
        both(&["labels", "--match={job=\"a\"}", &start, &server, "job"]);
    }
}

fn one_histogram(time: i64) -> native::Series {
    let label = |name: &str, value: &str| native::Label { name: name.to_owned(), value: value.to_owned() };
    let labels = vec![label("__name__", "h"), label("job", "a")];
    native::Series { labels, samples: Vec::new(), histograms: vec![native::counter(0, 3, time)] }
}

/// Goal: a user of any of the servers sees the same.
#[test]
fn every_server_is_understood_in_every_format() {
    let (ours_in, others_in) = (folder(), folder());
    let ours = Server::start(ours_in.path(), &[]);
    let prometheus = peer::prometheus(others_in.path(), "global: {}\n");
    let victoria = peer::victoria_metrics(others_in.path());
    let end = now_ms() / 1000 * 1000;
    let time = format!("--time={}", end / 1000);
    for address in [ours.address, prometheus.address, victoria.address] {
        write_counters(address, end);
        let server = format!("http://{address}/");
        let instant = |format: &str| {
            let args = ["query", "instant", "-o", format, &time, &server, "sort(c{job=~\"a|b.*\"})"];
            succeeded(run_to_end(&args))
        };
        // VictoriaMetrics shows what it has been given a moment later.
        let table = eventually("the samples", || Some(instant("table")).filter(|table| table.contains("value")));
        assert_eq!(table, "c\n\njob         value\na           15\nb \"quoted\"  30\n");
        let seconds = end / 1000;
        let csv = format!("__name__,job,time,value\nc,a,{seconds},15\nc,\"b \"\"quoted\"\"\",{seconds},30\n");
        assert_eq!(instant("csv"), csv);
        let json: serde_json::Value = serde_json::from_str(&instant("json")).expect("JSON");
        assert_eq!((&json[0]["metric"]["job"], &json[0]["value"][1]), (&"a".into(), &"15".into()));
        assert!(instant("plot").contains("c{job=\"a\"}"), "{}", instant("plot"));
        let (start, end) = (format!("--start={}", seconds - 600), format!("--end={seconds}"));
        let curve = run_to_end(&["query", "range", "-o", "plot", &start, &end, "--step=1m", &server, "sum(c)"]);
        let curve = succeeded(curve);
        assert!(curve.contains("  ━ {}  min 0  max 45  last 45"), "{curve}");
        let labels = succeeded(run_to_end(&["query", "labels", &start, &end, &server]));
        assert_eq!(labels, "__name__\njob\n");
        let values = run_to_end(&["query", "labels", "-o", "csv", &start, &end, &server, "job"]);
        assert_eq!(succeeded(values), "name\na\n\"b \"\"quoted\"\"\"\n");
        let series = succeeded(run_to_end(&["query", "series", "--match=c", &start, &end, &server]));
        assert_eq!(series, "c\n\njob\na\nb \"quoted\"\n");
    }
}

/// Goal: a server behind TLS and a password is asked as any other, and no password is shown.
#[test]
fn tls_and_passwords() {
    let folder = folder();
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    // Of "s3cret/+", by bcrypt.
    let web = format!(
        "tls_server_config:\n  cert_file: {0}/server.pem\n  key_file: {0}/server.key\nbasic_auth_users:\n  me: {1}\n",
        tls.display(),
        "$2b$04$abcdefghijklmnopqrstuuG6zZAKl7ZleGWO.nokcSR7TCYD1feXe",
    );
    let prometheus = peer::prometheus_behind_tls(folder.path(), &web);
    let ask = |server: &str, authority: &Path, more: &[&str]| {
        let args = [&["query", "instant", server, "1+1"], more].concat();
        let mut command = millrace();
        command.args(args).env("SSL_CERT_FILE", authority).stdin(Stdio::null()).output().expect("the binary starts")
    };
    let port = prometheus.address.port();
    let authority = tls.join("authority.pem");
    let with_user = format!("https://me:s3cret%2F+@localhost:{port}");
    let answer =
        eventually("an answer", || Some(ask(&with_user, &authority, &[])).filter(|answer| answer.status.success()));
    assert_eq!(text(&answer.stdout), "2\n");
    let server = format!("https://localhost:{port}");
    let header = ask(&server, &authority, &["--header", "Authorization: Basic bWU6czNjcmV0Lys="]);
    assert_eq!(succeeded(header), "2\n");
    let without = ask(&server, &authority, &[]);
    assert!(
        text(&without.stderr).contains("401 Unauthorized") && !without.status.success(),
        "{}",
        text(&without.stderr)
    );
    let stranger = folder.path().join("none.pem");
    fs::write(&stranger, fs::read(tls.join("server.pem")).expect("a certificate")).expect("a file");
    let refused = text(&ask(&with_user, &stranger, &[]).stderr);
    assert!(refused.contains("certificate") && !refused.contains("s3cret"), "{refused}");
}

#[test]
fn what_goes_wrong_is_said_in_a_line() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let url = format!("http://{}", server.address);
    let refusal = |args: &[&str]| {
        let output = run_to_end(&[&["query"], args].concat());
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    };
    let parse = refusal(&["instant", &url, "up{"]);
    assert_eq!(parse.lines().count(), 1, "{parse}");
    assert!(parse.contains("bad_data: invalid parameter \"query\": 1:4: parse error"), "{parse}");
    assert!(refusal(&["series", &url]).contains("no match[] parameter provided"));
    assert!(refusal(&["range", "--start=now", "--end=-1h", &url, "1"]).contains("its end before its start"));
    assert!(refusal(&["labels", "-o", "plot", &url]).contains("only expressions can be drawn"));
    assert!(refusal(&["instant", &format!("{url}/metrics"), "1"]).contains("is the URL right?"));
    assert!(refusal(&["instant", "http://127.0.0.1:1", "1"]).contains("127.0.0.1:1"));
    let gone = try_request(server.address, "GET", "/-/ready", &[], b"").expect("it serves on");
    assert_eq!(gone.code, 200);
    let remark = run_to_end(&["query", "instant", &url, "rate(vector(1)[1m:10s])"]);
    assert!(text(&remark.stderr).starts_with("info: ") || remark.status.success(), "{}", text(&remark.stderr));
}
