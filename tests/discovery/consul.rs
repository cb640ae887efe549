//! Discovery by a Consul catalogue: a server of our own that blocks queries as Consul does, and a real vmagent that asks it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::{addresses, discovering, failures, found};
use crate::harness::{
    eventually, http, peer,
    responder::{self, Request},
    server::folder,
};

/// A catalogue: services with their instances, and the index at which each changed last.
#[derive(Default)]
struct Catalogue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    index: u64,
    services: BTreeMap<String, (u64, Vec<Value>)>,
    /// When the set of services and tags changed last.
    services_index: u64,
    asked: Vec<Request>,
    is_down: bool,
}

fn instance(id: &str, address: &str, tags: &[&str], status: &str) -> Value {
    json!({
        "Node": {"ID": "x", "Node": "node-1", "Address": "192.0.2.10", "Datacenter": "dc1",
                 "TaggedAddresses": {"lan": "192.0.2.10", "wan": "198.51.100.1"}, "Meta": {"rack-id": "r1"}},
        "Service": {"ID": id, "Service": id, "Tags": tags, "Address": address, "Port": 8080, "Meta": {"version": "2"},
                    "Namespace": "default", "Partition": "part"},
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "c", "Status": status}]
    })
}

impl Catalogue {
    fn set(&self, service: &str, instances: Vec<Value>) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.index += 10;
        let index = state.index;
        state.services_index = index;
        if instances.is_empty() {
            state.services.remove(service);
        } else {
            state.services.insert(service.to_owned(), (index, instances));
        }
        self.changed.notify_all();
    }

    fn answer(&self, request: &Request, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.asked.push(request.clone());
        // Consul takes a token in either header.
        let has = |name: &str, value: &str| request.headers.get(name).is_some_and(|known| known == value);
        if !has("x-consul-token", "secret") && !has("authorization", "Bearer secret") {
            return responder::answer(out, "403 Forbidden", &[], b"Permission denied");
        }
        let path = request.path.trim_start_matches("/proxied").replace("%20", " ");
        let service = path.strip_prefix("/v1/health/service/");
        if path == "/v1/agent/self" {
            return responder::json(out, &json!({"Config": {"Datacenter": "dc1"}}));
        }
        let seen: u64 = request.parameter("index").and_then(|index| index.parse().ok()).unwrap_or(0);
        let index_of = |state: &State| match service {
            Some(name) => state.services.get(name).map_or(state.index, |(index, _)| *index),
            None => state.services_index,
        };
        let wait = request.parameter("wait").and_then(|wait| wait.strip_suffix("ms")?.parse().ok());
        let wait = Duration::from_millis(wait.unwrap_or(300_000)).min(Duration::from_secs(20));
        if seen > 0 && !state.is_down {
            let blocked =
                self.changed.wait_timeout_while(state, wait, |state| index_of(state) <= seen && !state.is_down);
            state = blocked.expect("nobody panics with it").0;
        }
        if state.is_down {
            return responder::answer(out, "500 Internal Server Error", &[], b"No cluster leader");
        }
        let index = index_of(&state).to_string();
        let body = match service {
            Some(name) => {
                let wanted: BTreeSet<&str> =
                    request.query.iter().filter(|(name, _)| name == "tag").map(|(_, tag)| tag.as_str()).collect();
                let has = |instance: &&Value| {
                    let tags = instance["Service"]["Tags"].as_array().expect("tags");
                    wanted.iter().all(|tag| tags.iter().any(|known| known == tag))
                };
                let instances = state.services.get(name).map(|(_, instances)| instances.as_slice()).unwrap_or_default();
                json!(instances.iter().filter(has).collect::<Vec<_>>())
            }
            None => {
                let tags = |instances: &Vec<Value>| -> BTreeSet<String> {
                    let tags = instances.iter().flat_map(|instance| instance["Service"]["Tags"].as_array().cloned());
                    tags.flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
                };
                json!(state.services.iter().map(|(name, (_, all))| (name, tags(all))).collect::<BTreeMap<_, _>>())
            }
        };
        drop(state);
        let headers = [("X-Consul-Index", index.as_str()), ("Content-Type", "application/json")];
        responder::answer(out, "200 OK", &headers, body.to_string().as_bytes())
    }
}

#[test]
fn services_are_watched() {
    let folder = folder();
    let catalogue = Arc::<Catalogue>::default();
    catalogue.set(
        "api",
        vec![instance("api-1", "192.0.2.1", &["v1", "prod"], "passing"), instance("api-2", "", &[], "critical")],
    );
    catalogue.set("db x", vec![instance("db-1", "2001:db8::1", &["prod"], "warning")]);
    let asked = catalogue.clone();
    let address = responder::serve(Arc::new(move |request, out| asked.answer(request, out)));
    let keys = format!("server: '{address}', token: secret, path_prefix: proxied, refresh_interval: 1s");
    let jobs = format!(
        "- job_name: all\n  consul_sd_configs: [{{{keys}}}]\n\
         - job_name: named\n  consul_sd_configs: [{{{keys}, services: [api], tag_separator: ';', allow_stale: false}}]\n\
         - job_name: tagged\n  consul_sd_configs: [{{{keys}, tags: [prod], filter: 'ServiceName != x', node_meta: {{rack-id: r1}}}}]\n\
         - job_name: refused\n  consul_sd_configs: [{{server: '{address}', path_prefix: proxied}}]\n"
    );
    let server = discovering(folder.path(), &jobs);
    let until = |job: &str, expected: &[&str]| {
        eventually(&format!("{job}: {expected:?}"), || (addresses(server.address, job) == expected).then_some(()));
    };
    until("all", &["192.0.2.10:8080", "192.0.2.1:8080", "[2001:db8::1]:8080"]);
    until("named", &["192.0.2.10:8080", "192.0.2.1:8080"]);
    until("tagged", &["192.0.2.1:8080", "[2001:db8::1]:8080"]);
    let named = found(server.address, "named");
    let shown: Vec<String> =
        named[1].iter().map(|(name, value)| format!("{}={value}", name.trim_start_matches("__meta_consul_"))).collect();
    let expected = [
        "__address__=192.0.2.1:8080",
        "address=192.0.2.10",
        "dc=dc1",
        "health=passing",
        "metadata_rack_id=r1",
        "namespace=default",
        "node=node-1",
        "partition=part",
        "service=api",
        "service_address=192.0.2.1",
        "service_id=api-1",
        "service_metadata_version=2",
        "service_port=8080",
        "tagged_address_lan=192.0.2.10",
        "tagged_address_wan=198.51.100.1",
        "tags=;v1;prod;",
    ];
    assert_eq!(shown, expected);
    eventually("a refusal", || (failures(server.address, "refused", "consul") > 0.0).then_some(()));
    // A change is told at once, long before a query would end.
    catalogue.set("api", vec![instance("api-3", "192.0.2.3", &["prod"], "passing")]);
    until("named", &["192.0.2.3:8080"]);
    until("tagged", &["192.0.2.3:8080", "[2001:db8::1]:8080"]);
    catalogue.set("db x", Vec::new());
    until("all", &["192.0.2.3:8080"]);
    catalogue.set("new", vec![instance("new-1", "192.0.2.4", &[], "passing")]);
    until("all", &["192.0.2.3:8080", "192.0.2.4:8080"]);
    let asked = std::mem::take(&mut catalogue.state.lock().expect("nobody panics with it").asked);
    let blocking = asked.iter().filter(|request| request.parameter("index").is_some_and(|index| index != "0")).count();
    assert!(blocking > 3 && asked.len() < 60, "{blocking} of {} requests block", asked.len());
    let catalogues: Vec<_> = asked.iter().filter(|request| request.path.ends_with("/catalog/services")).collect();
    assert!(catalogues.iter().any(|request| request.parameter("filter") == Some("ServiceName != x")));
    assert!(catalogues.iter().any(|request| request.parameter("node-meta") == Some("rack-id:r1")));
    catalogue.state.lock().expect("nobody panics with it").is_down = true;
    catalogue.changed.notify_all();
    eventually("failures", || (failures(server.address, "all", "consul") > 0.0).then_some(()));
    until("all", &["192.0.2.3:8080", "192.0.2.4:8080"]);
    assert!(server.stop().success());
}

/// Goal: the server above is one that others take for a Consul.
#[test]
fn a_real_vmagent_finds_the_same_services() {
    let folder = folder();
    let catalogue = Arc::<Catalogue>::default();
    catalogue.set(
        "api",
        vec![instance("api-1", "127.0.0.1", &["v1"], "passing"), instance("api-2", "127.0.0.2", &[], "passing")],
    );
    let asked = catalogue.clone();
    let address = responder::serve(Arc::new(move |request, out| asked.answer(request, out)));
    let keys = format!("server: '{address}', token: secret");
    let vmagent = peer::vmagent(
        folder.path(),
        &format!("scrape_configs: [{{job_name: x, consul_sd_configs: [{{{keys}}}]}}]"),
        "http://127.0.0.1:1/",
    );
    let expected = ["127.0.0.1:8080", "127.0.0.2:8080"];
    eventually("both by vmagent", || {
        let targets = http::get(vmagent.address, "/api/v1/targets").json();
        let targets = targets["data"]["activeTargets"].as_array()?.clone();
        let mut found: Vec<_> = targets
            .iter()
            .filter_map(|target| Some(target["discoveredLabels"]["__address__"].as_str()?.to_owned()))
            .collect();
        found.sort();
        (found == expected).then_some(())
    });
}
