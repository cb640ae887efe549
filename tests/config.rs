//! `millrace check` beside promtool: of what people write in `prometheus.yml` and in files of rules, both accept the same.

use std::fs;

use crate::harness::{peer, server};

/// Parts of a job, one after the other.
const OF_A_JOB: &[&str] = &[
    "honor_labels: yes",
    "honor_labels: 'true'",
    "honor_labels: 1",
    "sample_limit: 10",
    "sample_limit: '10'",
    "sample_limit: -1",
    "sample_limit: 1e3",
    "body_size_limit: 10",
    "body_size_limit: 10MB",
    "body_size_limit: 10XB",
    "scrape_interval: 0s",
    "scrape_interval: 1m30s",
    "scrape_interval: 30s1m",
    "scrape_interval: 10",
    "scrape_timeout: 2m",
    "scrape_timeout: 60s",
    "metrics_path: [a]",
    "metrics_path: 7",
    "scheme: gopher",
    "params: {a: [1, x], b: []}",
    "params: {a: 1}",
    "scrape_protocols: []",
    "scrape_protocols: [PrometheusProto]",
    "scrape_protocols: [prometheusproto]",
    "fallback_scrape_protocol: ''",
    "metric_name_validation_scheme: legacy",
    "metric_name_validation_scheme: utf-8",
    "metric_name_escaping_scheme: dots",
    "metric_name_escaping_scheme: none",
    "basic_auth: {username: u, password: p}",
    "basic_auth: {username: u, username_file: f}",
    "basic_auth: {username: u, password: p, password_file: f}",
    "basic_auth: {user: u}",
    "basic_auth:",
    "authorization: {type: Basic, credentials: x}",
    "authorization: {type: ' basic ', credentials: x}",
    "authorization: {credentials: x, credentials_file: f}",
    "authorization: {credentials: x}\n    basic_auth: {username: u}",
    "bearer_token: x\n    authorization: {credentials: x}",
    "bearer_token_file: x\n    oauth2: {client_id: a, token_url: http://x}",
    "oauth2: {client_id: a, client_secret: s, token_url: http://x, scopes: [a], endpoint_params: {b: c}}",
    "oauth2: {client_secret: s, token_url: http://x}",
    "oauth2: {client_id: a, client_secret: s}",
    "oauth2: {client_id: a, client_secret: s, client_secret_file: f, token_url: http://x}",
    "tls_config: {ca_file: a}",
    "tls_config: {ca_file: a, ca: b}",
    "tls_config: {cert_file: a}",
    "tls_config: {key_file: a}",
    "tls_config: {cert: a, key_file: b}",
    "tls_config: {min_version: TLS12, max_version: TLS10}",
    "tls_config: {min_version: TLS9}",
    "tls_config: {min_version: TLS13}",
    "proxy_url: http://u:p@proxy:80",
    "proxy_url: http://proxy:80\n    proxy_from_environment: true",
    "no_proxy: a",
    "proxy_from_environment: true\n    no_proxy: a",
    "proxy_connect_header: {A: [b]}",
    "proxy_url: http://x\n    proxy_connect_header: {A: [b]}",
    "http_headers: {X-A: {values: [b], secrets: [c], files: [d]}}",
    "http_headers: {Authorization: {values: [b]}}",
    "http_headers: {user-agent: {values: [b]}}",
    "http_headers: {X-A: b}",
    "follow_redirects: false\n    enable_http2: false",
    "relabel_configs: []",
    "relabel_configs: [{}]",
    "relabel_configs: [{target_label: a, replacement: ''}]",
    "relabel_configs: [{target_label: 'a b'}]",
    "relabel_configs: [{target_label: '${1}-x'}]",
    "relabel_configs: [{action: REPLACE, target_label: a}]",
    "relabel_configs: [{action: replaceall, target_label: a}]",
    "relabel_configs: [{action: hashmod, modulus: 0, target_label: a}]",
    "relabel_configs: [{action: hashmod, modulus: 3, target_label: a}]",
    "relabel_configs: [{action: hashmod, modulus: 3}]",
    "relabel_configs: [{action: hashmod, modulus: -3, target_label: a}]",
    "relabel_configs: [{action: labelmap, regex: a, replacement: '$1'}]",
    "relabel_configs: [{action: labelmap, regex: a, replacement: ''}]",
    "relabel_configs: [{action: keep}]",
    "relabel_configs: [{action: drop, regex: '(?i)a', source_labels: ['']}]",
    "relabel_configs: [{action: keep, regex: 'a(?=b)'}]",
    "relabel_configs: [{action: keep, regex: '\\d+[[:alpha:]]'}]",
    "relabel_configs: [{action: labeldrop, regex: a, separator: ';'}]",
    "relabel_configs: [{action: lowercase, target_label: a, replacement: '$1'}]",
    "relabel_configs: [{action: keepequal, source_labels: [a], target_label: b, regex: '(.*)'}]",
    "static_configs: [{targets: [a, 'b:80', '[::1]:80'], labels: {x: 1}}]",
    "static_configs: [{targets: [a], labels: {'a-b': c}}]",
    "static_configs: [{targets: [a], labels: {a: [c]}}]",
    "static_configs: [{targets: ['http://a']}]",
    "static_configs: [{targets: ['http://a']}]\n    relabel_configs: [{source_labels: [__address__], target_label: x}]",
    "static_configs: [{target: [a]}]",
    "static_configs: [a]",
    "file_sd_configs: [{files: [a.json, 'b/*.yml']}]",
    "file_sd_configs: [{files: [a.txt]}]",
    "file_sd_configs: [{files: ['*/a.json']}]",
    "file_sd_configs: [{files: []}]",
    "http_sd_configs: [{url: 'http://a/b'}]",
    "http_sd_configs: [{url: a}]",
    "http_sd_configs: [{}]",
    "dns_sd_configs: [{names: [a]}]",
    "dns_sd_configs: [{names: [a], type: A}]",
    "dns_sd_configs: [{names: [a], type: a, port: 80}]",
    "dns_sd_configs: [{names: [a], type: TXT}]",
    "dns_sd_configs: [{names: []}]",
    "consul_sd_configs: [{}]",
    "consul_sd_configs: [{server: ''}]",
    "consul_sd_configs: [{server: a, token: t, authorization: {credentials: c}}]",
    "consul_sd_configs: [{server: a, username: u, password: p}]",
    "consul_sd_configs: [{server: a, username: u, basic_auth: {username: u}}]",
    "kubernetes_sd_configs: [{role: pod}]",
    "kubernetes_sd_configs: [{role: Pod}]",
    "kubernetes_sd_configs: [{}]",
    "kubernetes_sd_configs: [{role: pod, basic_auth: {username: u}}]",
    "kubernetes_sd_configs: [{role: pod, api_server: 'https://a', basic_auth: {username: u}}]",
    "kubernetes_sd_configs: [{role: pod, namespaces: {own_namespace: true, names: [a]}}]",
    "kubernetes_sd_configs: [{role: pod, api_server: 'https://a', namespaces: {own_namespace: true}}]",
    "kubernetes_sd_configs: [{role: node, attach_metadata: {node: true}}]",
    "docker_sd_configs: [{}]",
    "docker_sd_configs: [{host: 'unix:///a', filters: [{name: a, values: [b]}]}]",
    "dockerswarm_sd_configs: [{host: a}]",
    "dockerswarm_sd_configs: [{host: a, role: tasks}]",
    "ec2_sd_configs: [{region: a, filters: [{name: b}]}]",
    "ec2_sd_configs: [{region: a, port: 1, access_key: a, secret_key: b}]",
    "gce_sd_configs: [{project: a}]",
    "gce_sd_configs: [{project: a, zone: b}]",
    "hetzner_sd_configs: [{role: cloud}]",
    "eureka_sd_configs: [{server: 'http://a'}]",
    "eureka_sd_configs: [{server: a}]",
    "nerve_sd_configs: [{servers: [a]}]",
    "nomad_sd_configs: [{}]",
    "triton_sd_configs: [{account: a, dns_suffix: b, endpoint: c, role: vm}]",
    "triton_sd_configs: [{account: a, dns_suffix: b, endpoint: c, role: cn}]",
    "openstack_sd_configs: [{role: instance}]",
    "openstack_sd_configs: [{role: instance, region: a, availability: nowhere}]",
    "uyuni_sd_configs: [{server: 'http://a', username: u}]",
    "vultr_sd_configs: [{authorization: {credentials: c}}]",
    "vultr_sd_configs: [{region: a}]",
    "lightsail_sd_configs: [{region: a, role: ec2}]",
    "linode_sd_configs: [{authorization: {credentials: c}, port: 8}]",
    "digitalocean_sd_configs: [{port: many}]",
    "unknown_sd_configs: [{}]",
];

/// Whole files.
const FILES: &[&str] = &[
    "",
    "---\n",
    "global: {}",
    "global:",
    "[]",
    "text",
    "global: {scrape_interval: 5s, scrape_timeout: 10s}",
    "global: {scrape_interval: 0s}",
    "global: {evaluation_interval: 1d}",
    "global: {external_labels: {a: $HOME, b: '${UNSET_OF_MILLRACE}', c: $$}}",
    "global: {external_labels: {'a-b': c, 'ü': d}}",
    "global: {external_labels: {a: 1, b: true, c: 1.50}}",
    "global: {rule_query_offset: 1m, query_log_file: a}",
    "global: {metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}",
    "global: {scrape_protocols: [PrometheusProto, PrometheusProto]}",
    "rule_files: ['*.yml', 'a/?.yml', b]",
    "rule_files: ['*/a.yml']",
    "rule_files: a",
    "scrape_config_files: ['gone/*.yml']",
    "runtime: {gogc: 50}",
    "runtime: {gogc: much}",
    "alerting: {alertmanagers: [{static_configs: [{targets: [a]}], timeout: 5s, path_prefix: /x}]}",
    "alerting: {alertmanagers: [{api_version: v1}]}",
    "alerting: {alertmanagers: [{sigv4: {region: a}, basic_auth: {username: u}}]}",
    "alerting: {alert_relabel_configs: [{action: labeldrop, regex: a}]}",
    "remote_write: [{url: http://a}]",
    "remote_write: [{}]",
    "remote_write: [{url: ''}]",
    "remote_write: [{url: http://a, headers: {X-A: b}}]",
    "remote_write: [{url: http://a, headers: {Host: b}}]",
    "remote_write: [{url: http://a, headers: {Content-Type: b}}]",
    "remote_write: [{url: http://a, queue_config: {capacity: 5, min_backoff: 1s}}]",
    "remote_write: [{url: http://a, queue_config: {unknown: 5}}]",
    "remote_write: [{url: http://a, sigv4: {access_key: a}}]",
    "remote_write: [{url: http://a, sigv4: {region: a}, oauth2: {client_id: a, token_url: http://b}}]",
    "remote_write: [{url: http://a, metadata_config: {send: false}}]",
    "remote_write: [{url: http://a, write_relabel_configs: [{action: keep, regex: a}]}]",
    "remote_write: [{url: http://a, protobuf_message: io.prometheus.write.v2.Request}]",
    "remote_write: [{url: http://a}, {url: http://b}]",
    "remote_read: [{url: http://a, required_matchers: {a: b}, read_recent: true}]",
    "remote_read: [{url: http://a, required_matchers: {'': b}}]",
    "remote_read: [{url: http://a, headers: {Authorization: b}}]",
    "storage: {tsdb: {out_of_order_time_window: 1h}, exemplars: {max_exemplars: 5}}",
    "storage: {tsdb: {out_of_order_time_window: -1h}}",
    "storage: {exemplars: {max_exemplars: many}}",
    "tracing: {endpoint: a, client_type: udp}",
    "tracing: {endpoint: a, headers: {a: b}, timeout: 1s, sampling_fraction: 0.5}",
    "tracing: {}",
    "otlp: {translation_strategy: NoTranslation}",
    "otlp: {translation_strategy: Any}",
    "otlp: {promote_resource_attributes: [a, b]}",
    "a: &x {b: c}",
    "global: &g {scrape_interval: 5s}\nscrape_configs:\n  - {job_name: a, <<: *g}",
    "global: {scrape_interval: 5s, scrape_interval: 6s}",
    "scrape_configs: [{job_name: a}, {job_name: b}, {job_name: a}]",
    "scrape_configs: {job_name: a}",
    "scrape_configs: [{job_name: 5}]",
    "\tglobal: {}",
    "global: {scrape_interval: 5s",
];

/// Where they differ, and why.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "    metric_name_validation_scheme: legacy\n",
        "later releases infer how names are escaped, as scrape_config_local_infer_escaping.yml has it",
    ),
    (
        "{cert: a, key_file: b}",
        "promtool alone refuses a key's file beside a certificate in the file; Prometheus does not",
    ),
    ("max_version: TLS10", "Prometheus refuses it as well, but only when it sets up its scrapes"),
    ("consul_sd_configs: [{}]", "promtool is built without it here"),
    ("consul_sd_configs: [{server: a, username: u, password: p}]", "promtool is built without it here"),
    ("nomad_sd_configs: [{}]", "promtool is built without it here"),
    ("remote_write: [{url: ''}]", "Prometheus would send to nowhere"),
    ("\tglobal", "a tab may stand where it does no harm"),
];

#[test]
fn promtool_and_millrace_accept_the_same() {
    let folder = server::folder();
    let path = folder.path().join("prometheus.yml");
    let jobs = OF_A_JOB.iter().map(|part| format!("scrape_configs:\n  - job_name: a\n    {part}\n"));
    let files = FILES.iter().map(|text| format!("{text}\n"));
    let (mut different, mut refused) = (Vec::new(), 0);
    let all: Vec<String> = jobs.chain(files).collect();
    for text in &all {
        fs::write(&path, text).expect("a file");
        let file = path.to_str().expect("a plain path");
        let ours = server::run_to_end(&["check", "config", "--syntax-only", file]);
        let theirs = peer::try_promtool(&["check", "config", "--syntax-only", "--lint=none", file]);
        refused += usize::from(!theirs.status.success());
        let is_known = DIFFERENT.iter().any(|(part, _)| text.contains(part));
        if (ours.status.success() != theirs.status.success()) != is_known {
            let said = |output: &std::process::Output| {
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
            };
            different.push(format!("{text}ours: {}\ntheirs: {}", said(&ours).trim(), said(&theirs).trim()));
        }
    }
    assert!(different.is_empty(), "of {} files, {refused} refused:\n{}", all.len(), different.join("\n---\n"));
    assert!(refused > 60 && all.len() - refused > 60, "{refused} of {} are refused", all.len());
}

/// Goal: with the files that they name, the conformance folder's files of promtool get its verdict.
#[test]
fn promtool_and_millrace_find_the_same_in_what_a_file_names() {
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/promtool");
    let all = fs::read_dir(&shared).expect("the conformance folder").map(|file| file.expect("a file").path());
    let is_config = |name: &str| {
        ["prometheus-config", "authorization", "config_with", "url_in"].iter().any(|part| name.starts_with(part))
    };
    let (mut accepted, mut refused) = (0, 0);
    for path in all.filter(|path| is_config(&path.file_name().expect("a listed file").to_string_lossy())) {
        let file = path.to_str().expect("a plain path");
        let ours = server::run_to_end(&["check", "config", file]);
        let theirs = peer::try_promtool(&["check", "config", "--lint=none", file]);
        assert_eq!(ours.status.success(), theirs.status.success(), "{}", String::from_utf8_lossy(&ours.stdout));
        (accepted, refused) = if ours.status.success() { (accepted + 1, refused) } else { (accepted, refused + 1) };
    }
    assert!(accepted > 4 && refused > 4, "{accepted} accepted, {refused} refused in {}", shared.display());
}

/// Parts of a rule.
const OF_A_RULE: &[&str] = &[
    "record: a, expr: 1",
    "record: 'a:b', expr: sum(x), labels: {c: d}",
    "record: 'a b', expr: x",
    "record: 'a{b}', expr: x",
    "record: a, expr: 'x +'",
    "record: a, expr: x, for: 1m",
    "record: a, expr: x, annotations: {b: c}",
    "record: a, alert: b, expr: x",
    "record: a, expr: x, labels: {__name__: b}",
    "record: a, expr: x, labels: {'b c': d}",
    "alert: a, expr: x > 1, for: 5m, keep_firing_for: 1m, labels: {severity: page}, annotations: {summary: b}",
    "alert: a b, expr: x",
    "alert: a, expr: x, for: soon",
    "alert: a, expr: x, annotations: {'b c': d}",
    "alert: a, expr: x, annotations: {b: [c]}",
    "alert: a, expr: ''",
    "alert: a",
    "expr: x",
    "record: 7, expr: 7",
    "alert: a, expr: limitk(1, x)",
];

/// Templates of annotations.
const TEMPLATES: &[&str] = &[
    "",
    "{{ $labels.instance }} of job {{ $labels.job }} has been down: {{ $value | humanize }}",
    "{{ $externalLabels.x }}{{ $externalURL }}{{ .Labels }}{{ .Value }}{{ .ExternalLabels }}{{ .X }}{{ $.Labels.a }}{{ $ }}",
    "{{ $lables.instance }}",
    "{{ query \"up\" | first | value }}",
    "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}{{ .Value }}{{ end }}",
    "{{ range $i, $e := query `up` }}{{ $i }}{{ $e }}{{ else }}none{{ end }}",
    "{{ range $i, $e, $f := query `up` }}{{ end }}",
    "{{ range $i, 1 := query `up` }}{{ end }}",
    "{{ range $i, $e }}{{ end }}",
    "{{ range $i, }}{{ end }}",
    "{{ range $i }}{{ end }}",
    "{{ range $labels }}{{ break }}{{ end }}",
    "{{ range $labels }}{{ continue }}{{ else }}{{ break }}{{ end }}",
    "{{ break }}",
    "{{ range . }}{{ define \"x\" }}{{ end }}{{ end }}",
    "{{ range . }}{{ block \"x\" . }}{{ break }}{{ end }}{{ end }}",
    "{{ if $x := 1 }}{{ $x }}{{ else }}{{ $x }}{{ end }}",
    "{{ if $x := 1 }}{{ end }}{{ $x }}",
    "{{ $x := 1 }}{{ $x = 2 }}{{ $x }}",
    "{{ $x = 2 }}",
    "{{ $x := $x }}",
    "{{ $x, $y := 1 }}",
    "{{ if }}{{ end }}",
    "{{ if . }}",
    "{{ if . }}{{ else }}",
    "{{ if . }}{{ else }}{{ else }}{{ end }}",
    "{{ if . }}a{{ else if .X }}b{{ else if .Y }}c{{ else }}d{{ end }}",
    "{{ if . }}a{{ else with .X }}b{{ end }}",
    "{{ with . }}a{{ else with .X }}b{{ else }}c{{ end }}",
    "{{ with . }}a{{ else if .X }}b{{ end }}",
    "{{ range . }}a{{ else range .X }}b{{ end }}",
    "{{ end }}",
    "{{ else }}",
    "{{ end x }}",
    "{{ define \"a\" }}{{ . }}{{ end }}{{ template \"a\" }}{{ template \"a\" $labels }}{{ template `b` }}",
    "{{ define \"a\" }}{{ $labels }}{{ end }}",
    "{{ define \"a\" }}x{{ end }}{{ define \"a\" }}y{{ end }}",
    "{{ define \"a\" }}x{{ end }}{{ define \"a\" }} {{ end }}",
    "{{ define \"a\" }} {{ end }}{{ define \"a\" }}y{{ end }}",
    "{{ define a }}x{{ end }}",
    "{{ define \"a\" x }}x{{ end }}",
    "{{ define \"a\" }}x{{ else }}{{ end }}",
    "{{ block \"a\" . }}x{{ else }}{{ end }}",
    "{{ block \"a\" }}x{{ end }}",
    "{{ template a }}",
    "{{ template }}",
    "{{ nosuch }}",
    "{{ print (printf \"%d\" 1) | len }}",
    "{{ print (1 }}",
    "{{ print 1) }}",
    "{{ () }}",
    "{{ (print 1).X.Y }}",
    "{{ print.X }}",
    "{{ 1.X }}",
    "{{ \"a\".X }}",
    "{{ nil.X }}",
    "{{ true.X }}",
    "{{ . .X }}",
    "{{ .X.Y.Z }}",
    "{{ .X .Y }}",
    "{{ $labels .X }}",
    "{{ ..X }}",
    "{{ . }}{{ .. }}",
    "{{ print | 1 }}",
    "{{ print | . }}",
    "{{ 1 | print }}",
    "{{ print 1 | nil }}",
    "{{ print 1 | \"a\" }}",
    "{{ print 1 | .X }}",
    "{{ print 1 | (print) }}",
    "{{ print 1 || print }}",
    "{{ | print }}",
    "{{ print | }}",
    "{{ }}",
    "{{}}",
    "{{ nil }}",
    "{{ 'a' }}{{ '\\n' }}{{ '\\'' }}",
    "{{ 'ab' }}",
    "{{ '' }}",
    "{{ 'a }}",
    "{{ \"a }}",
    "{{ \"\\q\" }}",
    "{{ \"\\xff\\u00e4\\101\" }}",
    "{{ \"\\'\" }}",
    "{{ `a }}",
    "{{ `a\nb` }}",
    "{{ \"a\nb\" }}",
    "{{\nprint\n1\n}}",
    "{{ print 1 2.5 -3 +4 0x1F 0b11 0o17 017 1_000 1e3 0x1p-2 1i 1+2i .5 5. }}",
    "{{ 08 }}",
    "{{ 0x }}",
    "{{ 1__0 }}",
    "{{ 1x }}",
    "{{ 1+2 }}",
    "{{ 1-2i }}",
    "{{ 18446744073709551615 }}",
    "{{ 18446744073709551616 }}",
    "{{ 1e999 }}",
    "{{ - }}",
    "{{ 1.2.3 }}",
    "a {{- print 1 -}} b",
    "a {{-print 1-}} b",
    "{{- -}}",
    "{{ -}}",
    "{{- 1}}{{-1}}",
    "{{/* comment */}}",
    "{{- /* comment */ -}}",
    "{{ /* comment */ }}",
    "{{/* comment }}",
    "{{/*/* comment */}}",
    "{{/*/ -}}",
    "{{/* a */ print 1 }}",
    "{{/* a */ }}",
    "{{ print 1",
    "{{ print 1 }",
    "}} {",
    "{{{ print 1 }}}",
    "{{ print ä }}",
    "{{ .ä }}",
    "{{ print € }}",
    "{{ print, 1 }}",
    "{{ print @ }}",
    "{{ a:b }}",
    "{{ print : }}",
    "{{ print = 1 }}",
    "{{ $x:=1 }}{{$x}}",
    "{{ $x :=1 }}",
    "{{ $x := }}",
    "{{ $x }}",
    "{{ $ := 1 }}",
    "{{ print $labels.a$value }}",
    "{{ print \"a\"\"b\" }}",
    "{{ print\"a\" }}",
    "{{ print(1) }}",
    "{{ (print 1)2 }}",
    "{{ if(true) }}{{ end }}",
    "{{ if true}}{{end}}",
    "{{ iftrue }}{{end}}",
];

/// Functions that templates have, here or there, or neither.
const TEMPLATE_FUNCTIONS: &str = "and args call eq externalURL first ge graphLink gt html humanize humanize1024 humanizeDuration \
    humanizePercentage humanizeTimestamp index join js label le len lt match ne not now or parseDuration pathPrefix print printf println \
    query reReplaceAll safeHtml safeUrl since slice sortByLabel stringSlice stripDomain stripPort strvalue tableLink title tmpl toDuration \
    toJson toLower toTime toUpper trimSpace tz urlQueryEscape urlquery value";

/// Goal: an alert with a mistake in a template is refused when it is read, by both, and a good one is not.
#[test]
fn promtool_and_millrace_accept_the_same_templates() {
    let folder = server::folder();
    let path = folder.path().join("rules.yml");
    let file = path.to_str().expect("a plain path");
    let (mut different, mut refused) = (Vec::new(), 0);
    let functions = TEMPLATE_FUNCTIONS.split_whitespace().map(|name| format!("{{{{ {name} }}}}"));
    let all: Vec<String> = TEMPLATES.iter().map(|text| (*text).to_owned()).chain(functions).collect();
    for (at, text) in all.iter().enumerate() {
        let key = if at.is_multiple_of(2) { "annotations" } else { "labels" };
        let text = serde_json::to_string(text).expect("JSON, which YAML reads");
        let rules = format!("groups: [{{name: g, rules: [{{alert: a, expr: x, {key}: {{b: {text}}}}}]}}]\n");
        fs::write(&path, rules).expect("a file");
        let ours = server::run_to_end(&["check", "rules", file]);
        let theirs = peer::try_promtool(&["check", "rules", "--lint=none", file]);
        refused += usize::from(!theirs.status.success());
        if ours.status.success() != theirs.status.success() {
            let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).trim().to_owned();
            different.push(format!("{text}\nours: {}\ntheirs: {}", said(&ours), said(&theirs)));
        }
    }
    assert!(different.is_empty(), "of {} templates, {refused} refused:\n{}", all.len(), different.join("\n---\n"));
    assert!(refused > 80 && all.len() - refused > 80, "{refused} of {} are refused", all.len());
}

#[test]
fn promtool_and_millrace_accept_the_same_rules() {
    let folder = server::folder();
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/rules");
    let mut files: Vec<_> =
        fs::read_dir(&shared).expect("the conformance folder").map(|file| file.expect("a file").path()).collect();
    let whole = [
        "",
        "groups:",
        "groups: [{}]",
        "groups: {}",
        "rules: []",
        "groups: [{name: g, interval: 1m, limit: 5, query_offset: 1m}]",
    ];
    let rules = OF_A_RULE.iter().map(|part| format!("groups: [{{name: g, rules: [{{{part}}}]}}]"));
    for (at, text) in rules.chain(whole.map(str::to_owned)).enumerate() {
        files.push(folder.path().join(format!("{at}.yml")));
        fs::write(&files[files.len() - 1], text + "\n").expect("a file");
    }
    let (mut different, mut refused) = (Vec::new(), 0);
    for path in &files {
        let file = path.to_str().expect("a plain path");
        let ours = server::run_to_end(&["check", "rules", file]);
        let theirs = peer::try_promtool(&["check", "rules", "--lint=none", file]);
        refused += usize::from(!theirs.status.success());
        if ours.status.success() != theirs.status.success() {
            let said = |output: &std::process::Output| {
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
            };
            let text = fs::read_to_string(path).expect("a file");
            different.push(format!("{text}ours: {}\ntheirs: {}", said(&ours).trim(), said(&theirs).trim()));
        }
    }
    assert!(different.is_empty(), "of {} files, {refused} refused:\n{}", files.len(), different.join("\n---\n"));
    assert!(refused > 15 && files.len() - refused > 25, "{refused} of {} are refused", files.len());
}
