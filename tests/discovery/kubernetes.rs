//! Discovery of a cluster's objects, beside a real Prometheus that asks the same API server of our own: lists in pages, watches that end, bookmarks, and
//! versions that are forgotten.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::{addresses, discovering, failures, found};
use crate::harness::{
    eventually, peer,
    responder::{self, Request},
    server::folder,
};

/// A cluster's API.
#[derive(Default)]
struct Api {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    /// Version, plural, event.
    events: Vec<(u64, String, Value)>,
    /// Events up to here are forgotten.
    forgotten: u64,
    /// Watches that began before are ended.
    generation: u64,
    asked: Vec<Request>,
    is_down: bool,
}

fn named(plural: &str, object: &Value) -> (String, String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (plural.to_owned(), text("namespace"), text("name"))
}

impl Api {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let before = state.objects.insert(named(plural, &object), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let event = (state.version, plural.to_owned(), json!({"type": kind, "object": object}));
        state.events.push(event);
        self.changed.notify_all();
    }

    fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key).expect("it is there");
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let event = (state.version, plural.to_owned(), json!({"type": "DELETED", "object": object}));
        state.events.push(event);
        self.changed.notify_all();
    }

    /// All watches end; `forgets`: and where they were is not known any more.
    fn end_watches(&self, forgets: bool) {
        let mut state = self.state();
        state.generation += 1;
        if forgets {
            // Somebody else's objects moved the version on.
            state.version += 100;
            state.forgotten = state.version;
        }
        self.changed.notify_all();
    }

    fn answer(&self, request: &Request, out: &mut dyn Write) -> io::Result<()> {
        self.state().asked.push(request.clone());
        if self.state().is_down {
            return responder::answer(out, "503 Service Unavailable", &[], b"no");
        }
        let rest = [
            "/api/v1/",
            "/apis/discovery.k8s.io/v1/",
            "/apis/networking.k8s.io/v1/",
            "/apis/apps/v1/",
            "/apis/batch/v1/",
        ]
        .iter()
        .find_map(|group| request.path.strip_prefix(group));
        let Some(rest) = rest else { return responder::answer(out, "404 Not Found", &[], b"{}") };
        let parts: Vec<&str> = rest.split('/').collect();
        let (namespace, plural) = match parts[..] {
            ["namespaces", namespace, plural] => (Some(namespace), plural),
            [plural] => (None, plural),
            _ => return responder::answer(out, "404 Not Found", &[], b"{}"),
        };
        if request.parameter("watch").is_some_and(|watch| watch == "true" || watch == "1") {
            return self.watch(request, plural, namespace, out);
        }
        self.list(request, plural, namespace, out)
    }

    fn list(&self, request: &Request, plural: &str, namespace: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        let state = self.state();
        let chosen: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((of, in_namespace, _), object)| {
                of == plural && is_chosen(request, namespace, in_namespace, object)
            })
            .map(|(_, object)| object)
            .collect();
        // Smaller pages than are asked for are allowed.
        let skipped: usize = request.parameter("continue").and_then(|text| text.parse().ok()).unwrap_or(0);
        let page: Vec<_> = chosen.iter().skip(skipped).take(2).collect();
        let mut metadata = json!({"resourceVersion": state.version.to_string()});
        if skipped + page.len() < chosen.len() {
            metadata["continue"] = json!((skipped + page.len()).to_string());
        }
        let (kind, version) = match plural {
            "nodes" => ("NodeList", "v1"),
            "pods" => ("PodList", "v1"),
            "services" => ("ServiceList", "v1"),
            "endpoints" => ("EndpointsList", "v1"),
            "namespaces" => ("NamespaceList", "v1"),
            "endpointslices" => ("EndpointSliceList", "discovery.k8s.io/v1"),
            "ingresses" => ("IngressList", "networking.k8s.io/v1"),
            "jobs" => ("JobList", "batch/v1"),
            _ => ("ReplicaSetList", "apps/v1"),
        };
        let list = json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": page});
        responder::json(out, &list)
    }

    fn watch(&self, request: &Request, plural: &str, namespace: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        let mut seen: u64 = request.parameter("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut state = self.state();
        let generation = state.generation;
        if request.parameter("sendInitialEvents").is_some() {
            return responder::answer(out, "422 Unprocessable Entity", &[], b"{}");
        }
        if seen < state.forgotten {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
                                "message": "too old resource version"});
            let body = format!("{}\n", json!({"type": "ERROR", "object": status}));
            return responder::answer(out, "200 OK", &[("Content-Type", "application/json")], body.as_bytes());
        }
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        out.flush()?;
        loop {
            let news: Vec<(u64, Value)> = state
                .events
                .iter()
                .filter(|(version, of, event)| {
                    let (_, in_namespace, _) = named(of, &event["object"]);
                    *version > seen && of == plural && is_chosen(request, namespace, &in_namespace, &event["object"])
                })
                .map(|(version, _, event)| (*version, event.clone()))
                .collect();
            let is_over = state.generation != generation || state.is_down;
            let version = state.version;
            drop(state);
            for (version, mut event) in news {
                seen = version;
                let (kind, group) = kind_of(plural);
                event["object"]["kind"] = json!(kind);
                event["object"]["apiVersion"] = json!(group);
                let line = format!("{event}\n");
                // An event may come in pieces.
                let (first, second) = line.split_at(line.len() / 2);
                responder::chunk(out, first.as_bytes())?;
                responder::chunk(out, second.as_bytes())?;
            }
            if seen < version && !is_over {
                seen = version;
                let (kind, group) = kind_of(plural);
                let object =
                    json!({"kind": kind, "apiVersion": group, "metadata": {"resourceVersion": version.to_string()}});
                responder::chunk(out, format!("{}\n", json!({"type": "BOOKMARK", "object": object})).as_bytes())?;
            }
            if is_over {
                return responder::chunk(out, b"");
            }
            state = self.state();
            let unchanged =
                |state: &mut State| state.version == version && state.generation == generation && !state.is_down;
            state = self
                .changed
                .wait_timeout_while(state, Duration::from_secs(5), unchanged)
                .expect("nobody panics with it")
                .0;
        }
    }
}

fn kind_of(plural: &str) -> (&'static str, &'static str) {
    match plural {
        "nodes" => ("Node", "v1"),
        "pods" => ("Pod", "v1"),
        "services" => ("Service", "v1"),
        "endpoints" => ("Endpoints", "v1"),
        "namespaces" => ("Namespace", "v1"),
        "endpointslices" => ("EndpointSlice", "discovery.k8s.io/v1"),
        "ingresses" => ("Ingress", "networking.k8s.io/v1"),
        "jobs" => ("Job", "batch/v1"),
        _ => ("ReplicaSet", "apps/v1"),
    }
}

fn is_chosen(request: &Request, namespace: Option<&str>, in_namespace: &str, object: &Value) -> bool {
    let has_label = request
        .parameter("labelSelector")
        .and_then(|text| text.split_once('='))
        .is_none_or(|(name, value)| object["metadata"]["labels"][name].as_str() == Some(value));
    let has_field =
        request.parameter("fieldSelector").and_then(|text| text.split_once('=')).is_none_or(|(name, value)| {
            assert_eq!(name, "metadata.name");
            object["metadata"]["name"].as_str() == Some(value)
        });
    namespace.is_none_or(|namespace| namespace == in_namespace) && has_label && has_field
}

fn metadata(namespace: &str, name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .into_iter()
        .map(
            |(kind, name)| json!({"kind": kind, "name": name, "controller": true, "uid": "o", "apiVersion": "apps/v1"}),
        )
        .collect();
    let mut metadata = json!({
        "name": name, "uid": format!("uid-{name}"), "labels": {"app": name, "a.b/c-d": "e", "empty": ""},
        "annotations": {"note/x": "y\nz"}, "ownerReferences": owners
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn pod(namespace: &str, name: &str, address: &str, owner: Option<(&str, &str)>) -> Value {
    json!({
        "metadata": metadata(namespace, name, owner),
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"},
                                                            {"name": "metrics", "containerPort": 9100, "protocol": "TCP"}]},
                {"name": "quiet", "image": "quiet:1"}
            ],
            "initContainers": [{"name": "init", "image": "init:1", "ports": [{"containerPort": 1, "protocol": "UDP"}]}]
        },
        "status": {
            "phase": "Running", "podIP": address, "hostIP": "192.0.2.1",
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": "app", "containerID": "docker://1", "image": "", "imageID": "", "ready": true, "restartCount": 0}],
            "initContainerStatuses": [{"name": "init", "containerID": "docker://2", "image": "", "imageID": "", "ready": true, "restartCount": 0}]
        }
    })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"kind": kind, "name": name, "namespace": "default"})
}

fn cluster() -> Arc<Api> {
    let api = Arc::<Api>::default();
    for (name, addresses) in [
        (
            "node-1",
            json!([{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "10.0.0.2"}]),
        ),
        ("node-2", json!([{"type": "ExternalDNS", "address": "n2.example"}])),
        ("node-3", json!([])),
    ] {
        api.put(
            "nodes",
            json!({
                "metadata": metadata("", name, None), "spec": {"providerID": format!("p:///{name}")},
                "status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                           "conditions": [{"type": "Ready", "status": "True"}]}
            }),
        );
    }
    api.put("pods", pod("default", "web-1", "10.1.0.1", Some(("ReplicaSet", "web-rs"))));
    api.put("pods", pod("default", "six", "fd00::1", None));
    api.put("pods", pod("default", "starting", "", None));
    api.put("pods", pod("other", "task", "10.1.0.9", Some(("Job", "task-job"))));
    api.put("replicasets", json!({"metadata": metadata("default", "web-rs", Some(("Deployment", "web"))), "spec": {}}));
    api.put("jobs", json!({"metadata": metadata("other", "task-job", Some(("CronJob", "nightly"))), "spec": {}}));
    for namespace in ["default", "other"] {
        api.put("namespaces", json!({"metadata": metadata("", namespace, None)}));
    }
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP"});
    for (name, spec) in [
        ("web", json!({"type": "ClusterIP", "clusterIP": "10.2.0.1", "ports": [port("http", 80), port("admin", 81)]})),
        ("out", json!({"type": "ExternalName", "externalName": "example.com", "ports": [port("", 443)]})),
        (
            "lb",
            json!({"type": "LoadBalancer", "clusterIP": "10.2.0.3", "loadBalancerIP": "203.0.113.1", "ports": [port("x", 1)]}),
        ),
        ("none", json!({"type": "ClusterIP", "clusterIP": "None"})),
    ] {
        api.put("services", json!({"metadata": metadata("default", name, None), "spec": spec}));
    }
    api.put("endpoints", json!({
        "metadata": metadata("default", "web", None),
        "subsets": [
            {"addresses": [{"ip": "10.1.0.1", "nodeName": "node-1", "targetRef": reference("Pod", "web-1")},
                           {"ip": "10.9.0.1", "hostname": "h"}, {"ip": "10.0.0.1", "targetRef": reference("Node", "node-1")}],
             "notReadyAddresses": [{"ip": "fd00::1", "targetRef": reference("Pod", "six")}],
             "ports": [port("http", 8080)]},
            {"addresses": [{"ip": "10.9.0.2"}]}
        ]
    }));
    let mut slice = json!({
        "metadata": metadata("default", "web-abc", None), "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": "node-1",
             "zone": "z1", "hostname": "h", "targetRef": reference("Pod", "web-1"), "deprecatedTopology": {"topology.io/zone": "t"}},
            {"addresses": ["10.9.0.1", "10.9.0.2"], "conditions": {}, "targetRef": reference("Node", "node-2")}
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "h2c"}, {"name": "all"}]
    });
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!("web");
    api.put("endpointslices", slice);
    let path = |path: &str| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}});
    api.put("ingresses", json!({
        "metadata": metadata("default", "edge", None),
        "spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["*.example.com", "exact.test"]}],
                 "rules": [{"host": "a.example.com", "http": {"paths": [path("/"), path("/x"), path("")]}},
                           {"host": "a.b.example.com", "http": {"paths": [path("/")]}}, {"host": "exact.test"}, {"host": ""}]}
    }));
    api
}

fn serve(api: &Arc<Api>) -> SocketAddr {
    let api = api.clone();
    responder::serve(Arc::new(move |request, out| api.answer(request, out)))
}

#[test]
fn objects_are_found_as_prometheus_finds_them() {
    let folder = folder();
    let api = cluster();
    let server = format!("api_server: 'http://{}'", serve(&api));
    let mut jobs = String::new();
    for role in ["node", "pod", "service", "endpoints", "endpointslice", "ingress"] {
        jobs += &format!("- job_name: {role}\n  kubernetes_sd_configs: [{{{server}, role: {role}}}]\n");
    }
    for role in ["pod", "endpoints", "endpointslice"] {
        jobs += &format!(
            "- job_name: {role}-attached\n  kubernetes_sd_configs: [{{{server}, role: {role}, attach_metadata: {{node: true}}}}]\n"
        );
    }
    jobs += &format!(
        "- job_name: selected\n  kubernetes_sd_configs: [{{{server}, role: pod, selectors: [{{role: pod, label: 'app=task'}}]}}]\n\
         - job_name: fields\n  kubernetes_sd_configs: [{{{server}, role: service, selectors: [{{role: service, field: metadata.name=lb}}]}}]\n\
         - job_name: spaces\n  kubernetes_sd_configs: [{{{server}, role: pod, namespaces: {{names: [other, nowhere]}}}}]\n"
    );
    let prometheus =
        peer::prometheus(folder.path(), &format!("global: {{scrape_interval: 1h}}\nscrape_configs:\n{jobs}"));
    let millrace = discovering(folder.path(), &jobs);
    // Conditions are newer than Prometheus 3.5.
    let ours = |job: &str| {
        let mut all = found(millrace.address, job);
        all.iter_mut().for_each(|labels| labels.retain(|name, _| !name.contains("_node_condition_")));
        all.sort();
        all
    };
    let expected = [
        ("node", 2),
        ("pod", 12),
        ("service", 4),
        ("endpoints", 8),
        ("endpointslice", 8),
        ("ingress", 3),
        ("pod-attached", 12),
        ("endpoints-attached", 8),
        ("endpointslice-attached", 8),
        ("selected", 4),
        ("fields", 1),
        ("spaces", 4),
    ];
    for (job, count) in expected {
        let deadline = std::time::Instant::now() + Duration::from_secs(40);
        loop {
            let (ours, theirs) = (ours(job), found(prometheus.address, job));
            if ours == theirs && ours.len() == count {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{job}: {count}\nours {ours:#?}\ntheirs {theirs:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn changes_are_watched_whatever_befalls_the_watches() {
    let folder = folder();
    let api = cluster();
    let address = serve(&api);
    let kubeconfig = format!(
        "current-context: x\nclusters:\n- name: c\n  cluster: {{server: 'http://{address}'}}\ncontexts:\n- name: x\n  \
         context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{token: secret}}\n"
    );
    fs::write(folder.path().join("kubeconfig"), kubeconfig).expect("a file");
    let attached = "attach_metadata: {namespace: true, deployment: true, job: true, cronjob: true}";
    let jobs = format!(
        "- job_name: pod\n  kubernetes_sd_configs: [{{kubeconfig_file: kubeconfig, role: pod, {attached}}}]\n\
         - job_name: nowhere\n  kubernetes_sd_configs: [{{role: pod}}]\n"
    );
    let server = discovering(folder.path(), &jobs);
    let here = |host: &str| addresses(server.address, "pod").iter().any(|address| address.starts_with(host));
    let until = |host: &str, is_there: bool| {
        eventually(&format!("{host} there: {is_there}"), || (here(host) == is_there).then_some(()));
    };
    until("10.1.0.1:", true);
    let labels = found(server.address, "pod");
    let of = |container: &str, address: &str| {
        let is = |labels: &&BTreeMap<String, String>| {
            labels["__address__"] == address && labels["__meta_kubernetes_pod_container_name"] == container
        };
        labels.iter().find(is).cloned().expect("a target")
    };
    let web = of("app", "10.1.0.1:8080");
    assert_eq!(web["__meta_kubernetes_pod_deployment_name"], "web");
    assert_eq!(web["__meta_kubernetes_namespace_label_app"], "default");
    let task = of("quiet", "10.1.0.9");
    assert_eq!(task["__meta_kubernetes_pod_job_name"], "task-job");
    assert_eq!(task["__meta_kubernetes_pod_cronjob_name"], "nightly");
    assert!(server.log().contains("KUBERNETES_SERVICE_HOST"), "{}", server.log());
    api.put("pods", pod("default", "late", "10.1.0.2", None));
    until("10.1.0.2:", true);
    api.remove("pods", "default", "late");
    until("10.1.0.2:", false);
    // A watch that ends goes on where it was.
    api.end_watches(false);
    api.put("pods", pod("default", "resumed", "10.1.0.3", None));
    until("10.1.0.3:", true);
    // One whose version is forgotten begins anew, and misses nothing that went meanwhile.
    {
        let mut state = api.state();
        let key = ("pods".to_owned(), "default".to_owned(), "resumed".to_owned());
        state.objects.remove(&key).expect("it is there");
        state.asked.clear();
    }
    api.end_watches(true);
    until("10.1.0.3:", false);
    assert!(here("10.1.0.1:"));
    assert_eq!(failures(server.address, "pod", "kubernetes"), 0.0, "none of this is a failure");
    api.state().is_down = true;
    api.end_watches(false);
    eventually("failures", || (failures(server.address, "pod", "kubernetes") > 0.0).then_some(()));
    assert!(here("10.1.0.1:"), "what was found last stands");
    api.state().is_down = false;
    api.put("pods", pod("default", "again", "10.1.0.4", None));
    until("10.1.0.4:", true);
    let asked = api.state().asked.clone();
    assert!(
        asked.iter().all(|request| request.headers.get("authorization").is_some_and(|value| value == "Bearer secret"))
    );
    assert!(server.stop().success());
}
