//! Scraping, end to end: what becomes of targets that come, go, fail, or mean harm, and how they are asked.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::harness::{
    eventually,
    exposer::{Exposer, page},
    http, peer,
    proxy::Proxy,
    responder,
    server::{Server, folder},
};

const TEXT: &str = "text/plain; version=0.0.4";

fn configured(folder: &std::path::Path, config: &str) -> Server {
    let file = folder.join("millrace.yml");
    fs::write(&file, config).expect("a file");
    Server::start(folder, &[&format!("--config.file={}", file.display()), "--web.enable-lifecycle"])
}

/// The values of a query's series by a label, the others left out.
fn values(address: SocketAddr, query: &str, label: &str) -> BTreeMap<String, String> {
    let answer = http::get(address, &format!("/api/v1/query?{}", http::encode(&[("query", query)]))).json();
    let samples = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
    let pair = |sample: &Value| {
        let label = sample["metric"][label].as_str().unwrap_or_default().to_owned();
        (label, sample["value"][1].as_str().expect("a value").to_owned())
    };
    samples.iter().map(pair).collect()
}

/// Health and last error of all targets, by their paths.
fn targets(address: SocketAddr) -> BTreeMap<String, (String, String)> {
    let answer = http::get(address, "/api/v1/targets").json();
    let target = |target: &Value| {
        let url = target["scrapeUrl"].as_str().expect("a URL").to_owned();
        let path = url.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        let text = |name: &str| target[name].as_str().unwrap_or_default().to_owned();
        (path, (text("health"), text("lastError")))
    };
    answer["data"]["activeTargets"].as_array().expect("targets").iter().map(target).collect()
}

fn chunked(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
    [head.as_bytes(), format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nContent-Encoding: {encoding}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory")
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// Goal: whatever a target does, the others are scraped, each failure has a name, and every target has its `up`.
#[test]
fn targets_that_mean_harm_harm_themselves_alone() {
    let (exposer, folder) = (Exposer::start(), folder());
    let good = b"good 1\n";
    let bomb = gzipped(&vec![b'#'; 64 << 20]);
    let long = format!("HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nContent-Length: 1000\r\n\r\na 1\n");
    let endless =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n");
    let many = (0..20).map(|number| format!("many{{n=\"{number}\"}} 1\n")).collect::<String>();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("good", page(TEXT, good), ""),
        ("chunked", chunked(TEXT, good), ""),
        ("gzip", encoded("gzip", &gzipped(good)), ""),
        ("zstd", encoded("zstd", &zstd::encode_all(&good[..], 3).expect("memory")), ""),
        ("redirected", redirect("/good"), ""),
        ("empty", page(TEXT, b""), ""),
        ("hangs", Vec::new(), "deadline exceeded"),
        ("long", long.into_bytes(), "deadline exceeded"),
        ("endless", endless.into_bytes(), "deadline exceeded"),
        ("loop", redirect("/loop"), "stopped after 10 redirects"),
        ("nowhere", redirect("ftp://x"), "neither http:// nor https://"),
        ("large", page(TEXT, &vec![b'#'; 2 << 20]), "body size limit exceeded"),
        ("bomb", encoded("gzip", &bomb), "body size limit exceeded"),
        ("cut", encoded("gzip", &gzipped(good)[..20]), "unpack the body"),
        ("lie", encoded("gzip", good), "unpack the body"),
        ("brotli", encoded("br", good), "packed as"),
        ("status", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec(), "server returned HTTP status 503"),
        ("html", page("text/html", b"<p>"), "unsupported Content-Type \"text/html\""),
        ("untold", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n".to_vec(), "blank Content-Type"),
        ("garbage", b"\x16\x03\x01 what\r\n\r\n".to_vec(), "invalid HTTP version"),
        ("wrong", page(TEXT, b"a 1\nb\n"), "line 2: a value must follow the metric"),
        ("many", page(TEXT, many.as_bytes()), "sample limit exceeded"),
        ("wide", page(TEXT, b"wide{a=\"1\",b=\"1\",c=\"1\",d=\"1\",e=\"1\"} 1\n"), "label_limit exceeded"),
    ];
    let mut config = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: all\n  body_size_limit: 1MB\n  \
                      sample_limit: 10\n  label_limit: 7\n  static_configs:\n"
        .to_owned();
    for (name, answer, _) in &cases {
        exposer.set(&format!("/{name}"), answer.clone());
        let address = exposer.address;
        config += &format!("  - {{targets: ['{address}'], labels: {{__metrics_path__: /{name}, case: {name}}}}}\n");
    }
    config += "  - {targets: ['127.0.0.1:1'], labels: {__metrics_path__: /refused, case: refused}}\n";
    let server = configured(folder.path(), &config);
    let count = cases.len() + 1;
    let all = || {
        let all = targets(server.address);
        (all.len() == count && all.values().all(|(health, _)| health != "unknown")).then_some(all)
    };
    let all = eventually("a scrape of each", all);
    for (name, _, expected) in &cases {
        let (health, error) = &all[*name];
        assert_eq!(health, if expected.is_empty() { "up" } else { "down" }, "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert!(all["refused"].1.contains("connect to 127.0.0.1:1"), "{}", all["refused"].1);
    let up = eventually("all of them stored", || {
        let up = values(server.address, "up", "case");
        (up.len() == count).then_some(up)
    });
    for (name, _, expected) in &cases {
        assert_eq!(up[*name], if expected.is_empty() { "1" } else { "0" }, "{name}");
    }
    let scraped = values(server.address, "scrape_samples_scraped", "case");
    assert_eq!((scraped["many"].as_str(), scraped["wrong"].as_str(), scraped["good"].as_str()), ("20", "1", "1"));
    assert_eq!(values(server.address, "good", "case").len(), 5, "what is good is there");
    let metrics = http::get(server.address, "/metrics").text();
    for counted in ["sample_limit", "body_size_limit"] {
        let name = format!("prometheus_target_scrapes_exceeded_{counted}_total ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a line");
        assert!(line.parse::<f64>().expect("a number") >= 1.0, "{counted} {line}");
    }
    assert!(
        metrics.contains(&format!("\nprometheus_target_scrape_pool_targets{{scrape_job=\"all\"}} {count}\n")),
        "{metrics}"
    );
}

/// Goal: a target that goes on and on costs itself its scrape, and the server what it grants any page, without any bound in the configuration.
#[test]
fn targets_without_end_harm_themselves_alone() {
    let folder = folder();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\n");
    let address = responder::serve(Arc::new(move |request, out| {
        out.write_all(head.as_bytes())?;
        match request.path.as_str() {
            // A byte now and then.
            "/drips" => {
                out.write_all(b"Content-Length: 1000000\r\n\r\n")?;
                loop {
                    out.write_all(b"#")?;
                    out.flush()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            // Ten gigabytes, and it says so.
            "/floods" => {
                out.write_all(b"Content-Length: 10000000000\r\n\r\n")?;
                (0..10_000).try_for_each(|_| out.write_all(&[b'#'; 1_000_000]))
            }
            // The same, and it says nothing.
            "/pours" => {
                out.write_all(b"Transfer-Encoding: chunked\r\n\r\n")?;
                (0..10_000).try_for_each(|_| responder::chunk(out, &[b'#'; 1_000_000]))
            }
            _ => out.write_all(b"Content-Length: 7\r\n\r\ngood 1\n"),
        }
    }));
    let job = |name: &str| {
        format!("- job_name: {name}\n  metrics_path: /{name}\n  static_configs: [{{targets: ['{address}']}}]\n")
    };
    let names = ["good", "drips", "floods", "pours"];
    let jobs = names.map(job).concat();
    let server = configured(folder.path(), &format!("global: {{scrape_interval: 2s}}\nscrape_configs:\n{jobs}"));
    let all = eventually("a scrape of each", || {
        let all = targets(server.address);
        (all.len() == names.len() && all.values().all(|(health, _)| health != "unknown")).then_some(all)
    });
    assert_eq!(all["good"], ("up".to_owned(), String::new()));
    assert!(all["drips"].1.contains("deadline exceeded"), "{all:?}");
    for name in ["floods", "pours"] {
        // On a slow machine time is over before the bound is reached.
        let error = &all[name].1;
        assert!(
            error.contains("larger than 268435456 bytes") || error.contains("deadline exceeded"),
            "{name}: {error}"
        );
    }
    let query = "count_over_time(good[1m])";
    eventually("scrapes of the good one, all the while", || {
        let count = values(server.address, query, "job").get("good")?.parse::<f64>().ok()?;
        (count >= 3.0).then_some(())
    });
    let (resident, _) = server.usage();
    assert!(resident < 1 << 30, "{resident} bytes: two pages of 256 MiB and the server");
    assert!(server.stop().success());
}

/// How many targets there are.
fn target_count(address: SocketAddr) -> usize {
    http::get(address, "/api/v1/targets").json()["data"]["activeTargets"].as_array().map_or(0, Vec::len)
}

/// Goal: a series ends when it is not on the page any more, when its page can't be had, and when its target is gone, and begins again.
#[test]
fn series_end_when_nobody_tells_of_them_any_more() {
    let (exposer, folder) = (Exposer::start(), folder());
    let list = folder.path().join("targets.json");
    let target = |path: &str| {
        format!(
            r#"{{"targets": ["{}"], "labels": {{"__metrics_path__": "/{path}", "case": "{path}"}}}}"#,
            exposer.address
        )
    };
    let listed = |paths: &[&str]| {
        let groups: Vec<_> = paths.iter().map(|path| target(path)).collect();
        fs::write(&list, format!("[{}]", groups.join(","))).expect("a file");
    };
    exposer.set("/one", page(TEXT, b"a 1\nb 2\nc 3 1000\n"));
    exposer.set("/two", page(TEXT, b"a 1\n"));
    listed(&["one", "two"]);
    let config =
        "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: x, file_sd_configs: [{files: [targets.json]}]}]\n";
    let server = configured(folder.path(), config);
    let there = |query: &str| values(server.address, query, "case").keys().cloned().collect::<Vec<_>>().join(" ");
    let until = |query: &str, expected: &str| {
        eventually(&format!("{query} to be {expected:?}"), || (there(query) == expected).then_some(()));
    };
    until("a", "one two");
    until("b", "one");
    exposer.set("/one", page(TEXT, b"a 1\n"));
    until("b", "");
    assert_eq!(there("a"), "one two");
    exposer.set("/one", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec());
    until("a", "two");
    assert_eq!(there("up == 0"), "one");
    exposer.set("/one", page(TEXT, b"a 1\nb 2\n"));
    until("a", "one two");
    until("b", "one");
    listed(&["two"]);
    until("up", "two");
    assert_eq!(there("a"), "two");
    listed(&["one", "two"]);
    until("a", "one two");
    assert!(server.stop().success());
}

/// Goal: who can't say any more where targets are takes none away.
#[test]
fn a_provider_that_is_down_leaves_its_targets_standing() {
    let (exposer, folder) = (Exposer::start(), folder());
    exposer.set("/metrics", page(TEXT, b"a 1\n"));
    let groups = format!(r#"[{{"targets": ["{}"], "labels": {{"rack": "r1"}}}}]"#, exposer.address);
    exposer.set("/targets", page("application/json; charset=utf-8", groups.as_bytes()));
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: x\n  http_sd_configs: [{{url: 'http://{}/targets', \
         refresh_interval: 1s}}]\n  relabel_configs: [{{source_labels: [__meta_url], target_label: found_at}}]\n",
        exposer.address
    );
    let server = configured(folder.path(), &config);
    let found_at = || values(server.address, "a{rack=\"r1\"}", "found_at").keys().cloned().collect::<Vec<_>>();
    let expected = [format!("http://{}/targets", exposer.address)];
    eventually("a target", || (found_at() == expected).then_some(()));
    exposer.set("/targets", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec());
    let failures = || {
        let metrics = http::get(server.address, "/metrics").text();
        let name = "prometheus_sd_refresh_failures_total{config=\"x\",mechanism=\"http\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok())
    };
    eventually("some failures", || failures().filter(|count| *count >= 3.0));
    assert_eq!(found_at(), expected);
    assert!(server.log().contains("what was found last stands"), "{}", server.log());
    // Nor does a change of the job beside it.
    let more = config.replace("  http_sd_configs", "  static_configs: [{targets: ['127.0.0.1:1']}]\n  http_sd_configs");
    fs::write(folder.path().join("millrace.yml"), more).expect("a file");
    assert_eq!(http::request(server.address, "POST", "/-/reload", &[], b"").code, 200);
    eventually("two targets", || (target_count(server.address) == 2).then_some(()));
    assert_eq!(found_at(), expected);
    assert_eq!(values(server.address, "count_over_time(a[1m]) > 0", "found_at").len(), 1);
    exposer.set("/targets", page("application/json", b"[]"));
    eventually("no target", || found_at().is_empty().then_some(()));
    let headers = exposer.asked().join("").to_ascii_lowercase();
    assert!(headers.contains("x-prometheus-refresh-interval-seconds: 1\r\n"), "{headers}");
}

/// Goal: a reload changes what it has to change and nothing else.
#[test]
fn a_reload_goes_on_with_what_is_as_before() {
    let (exposer, folder) = (Exposer::start(), folder());
    exposer.set("/metrics", page(TEXT, b"kept 1\nlost 2\nbad_value{job=\"own\"} 3\n"));
    let config = |jobs: &str| format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}");
    let job = |name: &str, keys: &str| {
        format!("- {{job_name: {name}, static_configs: [{{targets: ['{}']}}], {keys}}}\n", exposer.address)
    };
    let file = folder.path().join("millrace.yml");
    let server = configured(folder.path(), &config(&(job("same", "") + &job("other", "") + &job("gone", ""))));
    let jobs = |query: &str| values(server.address, query, "job").keys().cloned().collect::<Vec<_>>().join(" ");
    let until = |query: &str, expected: &str| {
        eventually(&format!("{query} to be {expected:?}"), || (jobs(query) == expected).then_some(()));
    };
    until("lost", "gone other same");
    let rule = "metric_relabel_configs: [{source_labels: [__name__], regex: lost, action: drop}]";
    fs::write(&file, config(&(job("same", "") + &job("other", rule) + &job("new", "honor_labels: true"))))
        .expect("a file");
    assert_eq!(http::request(server.address, "POST", "/-/reload", &[], b"").code, 200);
    until("kept", "new other same");
    until("lost", "new same");
    until("bad_value", "other own same");
    fs::write(&file, "scrape_configs: [{job_name: x, scrape_interval: never}]\n").expect("a file");
    assert_eq!(http::request(server.address, "POST", "/-/reload", &[], b"").code, 500);
    assert_eq!(targets(server.address).len(), 1, "one path, three jobs");
    until("up == 1", "new other same");
    // The job that is as before goes on, without an end in between.
    eventually("more samples of it", || {
        let count = values(server.address, "count_over_time(up{job=\"same\"}[1m])", "job");
        (count["same"].parse::<f64>().expect("a number") >= 5.0).then_some(())
    });
    assert_eq!(jobs("lost"), "new same");
}

/// Goal: the keys of the client do what they say, as servers of others see it.
#[test]
fn targets_are_asked_as_the_configuration_says() {
    let (exposer, folder) = (Exposer::start(), folder());
    exposer.set("/metrics?a=b", page(TEXT, b"plain 1\n"));
    exposer.set(
        "/token",
        page("application/json", br#"{"access_token": "given", "token_type": "bearer", "expires_in": 60}"#),
    );
    fs::write(folder.path().join("password"), "secret\n").expect("a file");
    let address = exposer.address;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 500ms}}\nscrape_configs:\n\
         - {{job_name: basic, params: {{a: [b]}}, basic_auth: {{username: me, password_file: password}}, \
            static_configs: [{{targets: ['{address}']}}]}}\n\
         - {{job_name: bearer, params: {{a: [b]}}, authorization: {{credentials: token}}, enable_compression: false, \
            http_headers: {{X-Own: {{values: [one, two]}}}}, static_configs: [{{targets: ['{address}']}}]}}\n\
         - {{job_name: oauth, params: {{a: [b]}}, oauth2: {{client_id: id, client_secret: s, scopes: [r, w], \
            token_url: 'http://{address}/token'}}, static_configs: [{{targets: ['{address}']}}]}}\n\
         - {{job_name: proxied, params: {{a: [b]}}, proxy_url: 'http://{address}', static_configs: [{{targets: ['far.invalid:1']}}]}}\n"
    );
    exposer.set("http://far.invalid:1/metrics?a=b", page(TEXT, b"far 1\n"));
    let server = configured(folder.path(), &config);
    eventually("all up", || (values(server.address, "up == 1", "job").len() == 4).then_some(()));
    let asked = exposer.asked().join("").to_ascii_lowercase();
    for expected in [
        "get /metrics?a=b http/1.1\r\n",
        "authorization: basic bwu6c2vjcmv0\r\n",
        "authorization: bearer token\r\n",
        "authorization: bearer given\r\n",
        "authorization: basic awq6cw==\r\n",
        "x-own: one\r\nx-own: two\r\n",
        "accept-encoding: zstd,gzip;q=0.9\r\n",
        "accept-encoding: identity\r\n",
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,",
        "user-agent: millrace/",
        "x-prometheus-scrape-timeout-seconds: 0.5\r\n",
        "post /token http/1.1\r\n",
        "get http://far.invalid:1/metrics?a=b http/1.1\r\n",
        &format!("host: {address}\r\n"),
    ] {
        assert!(asked.contains(expected), "{expected:?} in {asked}");
    }
    let tokens = exposer.asked().iter().filter(|request| request.contains("/token")).count();
    assert_eq!(tokens, 1, "a token is kept while it is good");
}

/// Goal: TLS with a certificate of one's own, under another name, with a password and HTTP/2, as a server of others speaks it.
#[test]
fn a_server_behind_tls_is_scraped() {
    let folder = folder();
    let tls = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let web = format!("tls_server_config: {{cert_file: {0}/server.pem, key_file: {0}/server.key}}\n", tls.display());
    let prometheus = peer::prometheus_behind_tls(folder.path(), &web);
    let port = prometheus.address.port();
    let proxy = Proxy::start();
    let proxied = format!(
        "- {{job_name: proxied, scheme: https, tls_config: {{insecure_skip_verify: true}}, proxy_url: 'http://u:p@{}', \
         proxy_connect_header: {{X-Why: [scraping]}}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n\
         - {{job_name: spared, scheme: https, tls_config: {{insecure_skip_verify: true}}, proxy_url: 'http://127.0.0.1:1', \
         no_proxy: '127.0.0.0/8', static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
        proxy.address
    );
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n{proxied}\
         - {{job_name: trusted, scheme: https, tls_config: {{ca_file: {0}/authority.pem, server_name: localhost}}, \
            static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n\
         - {{job_name: unverified, scheme: https, enable_http2: false, tls_config: {{insecure_skip_verify: true}}, \
            static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n\
         - {{job_name: misnamed, scheme: https, tls_config: {{ca_file: {0}/authority.pem, server_name: other}}, \
            static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n\
         - {{job_name: unknown, scheme: https, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
        tls.display()
    );
    let server = configured(folder.path(), &config);
    let up = eventually("all of them", || {
        let up = values(server.address, "up", "job");
        (up.len() == 6).then_some(up)
    });
    let of = |job: &str| up[job].as_str();
    assert_eq!((of("proxied"), of("spared")), ("1", "1"));
    let asked = proxy.asked();
    assert!(asked[0].starts_with(&format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")), "{asked:?}");
    let headers = asked[0].to_lowercase();
    assert!(
        headers.contains("x-why: scraping\r\n") && headers.contains("proxy-authorization: basic dtpw\r\n"),
        "{headers}"
    );
    assert_eq!((of("trusted"), of("unverified"), of("misnamed"), of("unknown")), ("1", "1", "0", "0"));
    // A server tells by which protocol it was asked.
    let protocols = values(server.address, "prometheus_http_requests_total{handler=\"/metrics\"}", "job");
    assert!(protocols.contains_key("trusted") && protocols.contains_key("unverified"), "{protocols:?}");
}

/// Goal: of a target with more series than it may have those that were there stay, and the others are counted.
#[test]
fn a_limit_on_series_keeps_what_is_there() {
    let (exposer, folder) = (Exposer::start(), folder());
    let lines = |from: u32, to: u32| (from..to).map(|number| format!("m{{n=\"{number}\"}} 1\n")).collect::<String>();
    exposer.set("/metrics", page(TEXT, lines(10, 13).as_bytes()));
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: x, series_limit: 5, static_configs: [{{targets: ['{}']}}]}}]\n",
        exposer.address
    );
    let server = configured(folder.path(), &config);
    let there = || values(server.address, "m", "n").keys().cloned().collect::<Vec<_>>().join(" ");
    eventually("the first page", || (there() == "10 11 12").then_some(()));
    exposer.set("/metrics", page(TEXT, lines(0, 20).as_bytes()));
    eventually("room for two more", || (there() == "0 1 10 11 12").then_some(()));
    assert_eq!(values(server.address, "up", "job")["x"], "1");
    let metrics = http::get(server.address, "/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("millrace_scrape_samples_above_series_limit_total "));
    let count: u64 = line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a count");
    assert!(count >= 15 && count.is_multiple_of(15), "{count}");
}

/// Goal: one file, two servers, the same series with the same labels, and the same targets page.
#[test]
fn a_fleet_is_scraped_as_prometheus_scrapes_it() {
    let folder = folder();
    let node = peer::node_exporter(folder.path());
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{site: a}}}}\nscrape_configs:\n\
         - job_name: node\n  static_configs: [{{targets: ['{address}'], labels: {{env: prod, device: mine}}}}]\n\
         - job_name: chosen\n  static_configs: [{{targets: ['{address}', '127.0.0.1:1']}}]\n  params: {{'collect[]': [cpu, meminfo]}}\n  \
           relabel_configs:\n  - {{source_labels: [__address__], regex: '.*:1', action: drop}}\n  \
           - {{source_labels: [__address__], target_label: instance, replacement: renamed}}\n  metric_relabel_configs:\n  \
           - {{source_labels: [__name__], regex: 'go_.*|process_.*', action: drop}}\n  - {{regex: cpu, action: labelmap, replacement: core}}\n  \
           - {{regex: cpu, action: labeldrop}}\n\
         - job_name: limited\n  sample_limit: 5\n  static_configs: [{{targets: ['{address}']}}]\n\
         - job_name: honored\n  honor_labels: true\n  static_configs: [{{targets: ['{address}'], labels: {{device: theirs}}}}]\n",
        address = node.address
    );
    let prometheus = peer::prometheus(folder.path(), &config);
    let server = configured(folder.path(), &config);
    let series = |address: SocketAddr| -> Vec<String> {
        let query = http::encode(&[("query", "{job!=\"\"}")]);
        let answer = http::get(address, &format!("/api/v1/query?{query}")).json();
        let samples = answer["data"]["result"].as_array().expect("a vector").clone();
        let mut series: Vec<_> = samples.iter().map(|sample| sample["metric"].to_string()).collect();
        series.sort();
        series
    };
    let began = Instant::now();
    let same = eventually("the same series", || {
        let (ours, theirs) = (series(server.address), series(prometheus.address));
        // A file system or a device may come between two scrapes.
        (ours == theirs && ours.len() > 300).then_some(ours.len())
    });
    eprintln!("{same} series after {:?}", began.elapsed());
    let shown = |address: SocketAddr| {
        let mut targets = http::get(address, "/api/v1/targets").json();
        let name = |target: &Value| (target["scrapePool"].to_string(), target["scrapeUrl"].to_string());
        targets["data"]["activeTargets"].as_array_mut().expect("targets").sort_by_key(name);
        for target in targets["data"]["activeTargets"].as_array_mut().expect("targets") {
            let target = target.as_object_mut().expect("a target");
            for varying in ["lastScrape", "lastScrapeDuration", "globalUrl"] {
                assert!(target.remove(varying).is_some(), "{varying}");
            }
        }
        targets
    };
    let (ours, theirs) = (shown(server.address), shown(prometheus.address));
    assert_eq!(ours, theirs, "{ours:#}\n{theirs:#}");
    let shown = http::get(server.address, "/api/v1/scrape_pools/config?scrapePool=limited").json();
    let yaml = shown["data"]["yaml"].as_str().expect("YAML");
    assert!(yaml.starts_with("job_name: limited\n") && yaml.contains("\nsample_limit: 5\n"), "{yaml}");
    assert_eq!(http::get(server.address, "/api/v1/scrape_pools/config?scrapePool=other").code, 400);
    let pools = |address| http::get(address, "/api/v1/scrape_pools").json();
    assert_eq!(pools(server.address), pools(prometheus.address));
    let metadata = |address: SocketAddr| {
        let query = http::encode(&[("match_target", "{job=\"node\"}"), ("metric", "node_load1")]);
        http::get(address, &format!("/api/v1/targets/metadata?{query}")).json()
    };
    assert_eq!(metadata(server.address), metadata(prometheus.address));
    for path in ["/targets", "/service-discovery"] {
        let page = http::get(server.address, path).text();
        assert!(page.contains("node") && page.contains(&node.address.to_string()), "{page}");
    }
}
