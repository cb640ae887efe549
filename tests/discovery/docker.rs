//! Discovery of containers, beside a real Prometheus on the same socket.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{discovering, found};
use crate::harness::{
    eventually, peer,
    responder::{self, Request},
    server::{folder, run_to_end},
};

fn container(id: &str, mode: &str, networks: &Value, ports: &Value) -> Value {
    json!({
        "Id": id, "Names": [format!("/{id}")], "Image": "repo/app:1", "ImageID": "sha256:0", "Command": "app", "Created": 1,
        "Ports": ports, "Labels": {"com.example/team": "a", "plain": ""}, "State": "running", "Status": "Up",
        "HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}, "Mounts": []
    })
}

fn endpoint(network: &str, address: &str) -> Value {
    json!({"NetworkID": network, "IPAddress": address, "EndpointID": "e", "Gateway": "172.17.0.1"})
}

fn containers() -> Value {
    let tcp = |private: u16| json!({"PrivatePort": private, "Type": "tcp"});
    let public = json!({"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"});
    let two_networks = json!({"zeta": endpoint("n2", "172.18.0.2"), "alpha": endpoint("n1", "172.17.0.2")});
    json!([
        container("web", "alpha", &two_networks, &json!([public, tcp(9100), {"PrivatePort": 53, "Type": "udp"}])),
        container("quiet", "bridge", &json!({"bridge": endpoint("n1", "172.17.0.3")}), &json!([])),
        container("host", "host", &json!({"host": endpoint("n3", "")}), &json!([])),
        container("sidecar", "container:web", &json!({}), &json!([tcp(9200)])),
        container("lost", "container:nobody", &json!({}), &json!([tcp(9200)])),
        container("six", "bridge", &json!({"bridge": endpoint("n1", "fd00::1")}), &json!([tcp(1)])),
    ])
}

fn networks() -> Value {
    let network = |id: &str, name: &str| json!({"Id": id, "Name": name, "Scope": "local", "Internal": false, "Ingress": true, "Driver": "bridge", "Labels": {"a.b": "c"}});
    json!([network("n1", "bridge"), network("n2", "zeta"), network("n3", "host")])
}

#[test]
fn containers_are_found_as_prometheus_finds_them() {
    let folder = folder();
    let running = Arc::new(Mutex::new(containers()));
    let (served, asked) = (running.clone(), Arc::<Mutex<Vec<Request>>>::default());
    let noted = asked.clone();
    let socket = folder.path().join("docker.sock");
    responder::serve_on_socket(
        &socket,
        Arc::new(move |request, out| {
            noted.lock().expect("nobody panics with it").push(request.clone());
            let path =
                request.path.trim_start_matches("/v1.").trim_start_matches(|letter: char| letter.is_ascii_digit());
            match path {
                "/_ping" => responder::answer(out, "200 OK", &[("Api-Version", "1.41")], b"OK"),
                "/containers/json" => responder::json(out, &served.lock().expect("nobody panics with it")),
                "/networks" => responder::json(out, &networks()),
                _ => responder::answer(out, "404 Not Found", &[], b"{}"),
            }
        }),
    );
    let host = format!("unix://{}", socket.display());
    let jobs = format!(
        "- job_name: first\n  docker_sd_configs: [{{host: '{host}', refresh_interval: 1s, port: 1234}}]\n\
         - job_name: all\n  docker_sd_configs: [{{host: '{host}', refresh_interval: 1s, match_first_network: false, \
           host_networking_host: me, filters: [{{name: label, values: [a, b]}}, {{name: status, values: [running]}}]}}]\n"
    );
    let prometheus =
        peer::prometheus(folder.path(), &format!("global: {{scrape_interval: 1h}}\nscrape_configs:\n{jobs}"));
    let server = discovering(folder.path(), &jobs);
    // Prometheus 3.5 does not tell of images yet.
    let ours = |job: &str| {
        let mut all = found(server.address, job);
        all.iter_mut().for_each(|labels| labels.retain(|name, _| !name.contains("container_image")));
        all
    };
    for (job, expected) in [("first", 6), ("all", 9)] {
        eventually(&format!("{job} as Prometheus has it"), || {
            let (ours, theirs) = (ours(job), found(prometheus.address, job));
            (ours == theirs && ours.len() == expected).then_some(())
        });
    }
    for job in ["first", "all"] {
        let file = folder.path().join("millrace.yml");
        let file = file.to_str().expect("a path of text");
        let shown = |text: &[u8]| -> Vec<String> {
            let mut targets: Vec<Value> = serde_json::from_slice(text).expect("targets");
            for target in &mut targets {
                let labels = target["discoveredLabels"].as_object_mut().expect("labels");
                labels.retain(|name, _| !name.contains("container_image"));
            }
            let mut targets: Vec<String> = targets.iter().map(Value::to_string).collect();
            targets.sort();
            targets
        };
        let args = ["check", "service-discovery", file, job];
        let ours = run_to_end(&args);
        assert!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
        let theirs = peer::promtool(&["check", "service-discovery", "--timeout=5s", file, job]);
        assert_eq!(shown(&ours.stdout), shown(theirs.as_bytes()));
    }
    let asked = asked.lock().expect("nobody panics with it").clone();
    let filters: Vec<_> = asked.iter().filter_map(|request| request.parameter("filters").map(str::to_owned)).collect();
    assert!(filters.len() > 1 && filters.iter().all(|other| *other == filters[0]), "{filters:?}");
    *running.lock().expect("nobody panics with it") = json!([]);
    eventually("no container", || ours("first").is_empty().then_some(()));
    fs::remove_file(socket).expect("the socket is there");
}
