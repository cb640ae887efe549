use super::*;
use crate::config::units::{PromDuration, Size};
use model::Labels;

fn parsed(text: &str) -> Result<FileConfig, String> {
    parse(Path::new("p.yml"), text).map_err(|error| error.to_string())
}

#[test]
fn what_exists_is_applied_and_the_rest_is_named() {
    let text = "global:\n  evaluation_interval: 30s\n  external_labels: {shard: 1, region: eu}\nstorage:\n  tsdb:\n    \
                out_of_order_time_window: 10m\n    retention: {time: 1d, size: 512MB, percentage: 0.5}\n  exemplars: {max_exemplars: 7}\nscrape_configs:\n  - job_name: x\n    params: {a: [1]}\nrule_files: []\n";
    let config = parsed(text).expect("a good file");
    assert_eq!(config.global.evaluation_interval.ms(), 30_000);
    assert_eq!(config.global.external_labels, Labels::from_pairs([("shard", "1"), ("region", "eu")]));
    assert_eq!(config.out_of_order_window_ms(), 600_000);
    assert_eq!(config.storage.exemplars_max, 7);
    let retention = config.storage.tsdb.retention;
    assert_eq!(retention.time.map(PromDuration::ms), Some(86_400_000));
    assert_eq!(retention.size.map(Size::bytes), Some(512 << 20));
    assert_eq!(retention.percentage, Some(0.5));
    assert_eq!(config.without_effect, ["rule_files"]);
    let mechanisms =
        "dns_sd_configs: [{names: [a], name_servers: ['127.0.0.1:53']}], gce_sd_configs: [{project: a, zone: b}]";
    let discovered =
        parsed(&format!("scrape_configs: [{{job_name: x, scrape_native_histograms: true, {mechanisms}}}]"));
    assert_eq!(discovered.expect("a good file").without_effect, ["gce_sd_configs"]);
    let wrong = parsed(&format!("scrape_configs: [{{job_name: x, {}}}]", mechanisms.replace(":53'", "'")));
    assert!(wrong.expect_err("no port").to_string().contains("\"127.0.0.1\" is no address with a port"));
    assert_eq!(parsed(config.to_yaml()), Ok(config.clone()), "what is shown says the same:\n{}", config.to_yaml());
    assert_eq!(parsed("storage: {exemplars: {max_exemplars: -1}}").map(|config| config.storage.exemplars_max), Ok(0));
}

#[test]
fn pushed_metrics_are_a_job_of_their_own() {
    let with = |text: &str, path: &str| parsed(text).expect("a good file").with_pushed_metrics("127.0.0.1:1", path);
    let config = with("global: {scrape_interval: 7s}", "/odd\"\u{1b}'/metrics");
    let job = &config.scrape_configs[0];
    assert_eq!((job.job_name.as_str(), job.honor_labels, job.scrape_interval.ms()), ("pushgateway", true, 7000));
    assert_eq!(job.metrics_path, "/odd\"\u{1b}'/metrics");
    assert!(config.job_yaml("pushgateway").is_some_and(|yaml| yaml.contains("honor_labels: true")));
    let own = with("scrape_configs: [{job_name: pushgateway, scheme: https}]", "/metrics");
    assert_eq!((own.scrape_configs.len(), own.scrape_configs[0].scheme.as_str()), (1, "https"));
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "# only words\n", "global:\n", "{}", "---\n"] {
        let config = parsed(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(config, FileConfig::default(), "{text:?}");
    }
}

#[test]
fn jobs_inherit_from_global() {
    let text = "global: {scrape_interval: 5s, sample_limit: 10, scrape_native_histograms: true}\n\
                scrape_configs:\n  - job_name: a\n  - {job_name: b, scrape_interval: 1m, sample_limit: 3, scrape_native_histograms: false}\n";
    let config = parsed(text).expect("a good file");
    let seen: Vec<_> = config
        .scrape_configs
        .iter()
        .map(|job| (job.scrape_interval.ms(), job.scrape_timeout.ms(), job.limits.sample, job.native_histograms.scrape))
        .collect();
    assert_eq!(seen, [(5000, 5000, 10, Some(true)), (60_000, 5000, 3, Some(false))]);
}

#[test]
fn mistakes_are_said_with_file_line_and_key() {
    let check = |text: &str, parts: &[&str]| {
        let error = parsed(text).expect_err(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    check("global:\n  scrape_intervall: 15s\n", &["p.yml:2:", "scrape_intervall", "did you mean scrape_interval?"]);
    check("scrape_config: []\n", &["p.yml:1:", "did you mean scrape_configs?"]);
    check(
        "global:\n  evaluation_interval: soon\n",
        &["p.yml:2:", "global.evaluation_interval", "not a valid duration"],
    );
    check("global: {}\nglobal: {}\n", &["p.yml:2:", "global is there twice"]);
    check("global: [\n", &["p.yml:"]);
    check("global:\n  external_labels: {'': x}\n", &["p.yml:2", "not a valid label name"]);
    check(
        "scrape_configs:\n  - job_name: x\n    tls_config:\n      cert_file: a\n",
        &["p.yml:4:", "scrape_configs[0].tls_config.cert_file", "needs both"],
    );
    check("scrape_configs:\n  - job_name: x\n  - job_name: x\n", &["scrape_configs", "two jobs have the name \"x\""]);
}

#[test]
fn secrets_are_not_shown() {
    let text = "scrape_configs:\n  - job_name: x\n    basic_auth: {username: u, password: geheim}\n    proxy_url: http://u:geheim@proxy:1\n\
                remote_write:\n  - url: https://u:geheim@far/write\n    authorization: {credentials: geheim}\n";
    let config = parsed(text).expect("a good file");
    assert!(
        !config.to_yaml().contains("geheim") && config.to_yaml().contains("password: <secret>"),
        "{}",
        config.to_yaml()
    );
    assert!(!format!("{config:?}").contains("geheim"));
}

/// Every file of the conformance folder gets Prometheus' verdict, and what is shown of a good one is a good one.
#[test]
fn conformance_files_get_prometheus_verdict() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/config");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let (mut good, mut bad, mut problems) = (0, 0, Vec::new());
    for path in files
        .map(|file| file.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml"))
    {
        let name = path.file_name().expect("a listed file").to_string_lossy().into_owned();
        // Files that Prometheus' own tests expect to fail, though their names do not say so, and parts of other files.
        let is_bad = name.ends_with(".bad.yml")
            || name.ends_with(".incompatible.yml")
            || name == "config_with_deprecated_am_api_config.yml";
        match read(&path, true) {
            Ok(Some(config)) if !is_bad => {
                good += 1;
                let shown = config.to_yaml().replace("<secret>", "secret");
                if let Err(error) = parse(&path, &shown) {
                    problems.push(format!("{name} is not read as it is shown: {error}\n{shown}"));
                }
            }
            Err(_) if is_bad => bad += 1,
            Ok(_) => problems.push(format!("{name} is accepted")),
            Err(error) => problems.push(format!("{name} is refused: {error}")),
        }
    }
    assert!(problems.is_empty(), "of {good} good and {bad} bad files:\n{}", problems.join("\n"));
    assert!(good > 50 && bad > 90, "{good} good and {bad} bad files in {}", folder.display());
}
