#!/usr/bin/env python3
"""What it costs to follow a made-up Kubernetes cluster whose pods change all the time: Millrace, then Prometheus.

    cargo build --release && benches/kubernetes.py [PODS [CHANGES_PER_SECOND [SECONDS]]]      (50000 2 30)

The API server is this script's own, on a loopback port. Each server discovers pods and relabels them twice: once all are dropped, once all are
kept (and scraped once an hour). Prints processor seconds of the server while changes come, and its resident memory.
"""

import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
API, SERVER = 19801, 19890
PODS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
PER_SECOND = float(sys.argv[2]) if len(sys.argv) > 2 else 2
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 30
SETTLING = 25

CONFIG = """
global: {{scrape_interval: 1h}}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs: [{{role: pod, api_server: 'http://127.0.0.1:{api}'}}]
  relabel_configs:
  - {{source_labels: [__meta_kubernetes_pod_label_app], target_label: app}}
  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
  - {{source_labels: [__meta_kubernetes_pod_label_team], regex: '{keep}', action: keep}}
"""


def pod(number, version):
    labels = {"app": f"app-{number % 500}", "pod-template-hash": f"{number:08x}", "team": f"team-{number % 20}"}
    metadata = {"name": f"pod-{number}", "namespace": f"ns-{number % 50}", "uid": f"uid-{number}", "labels": labels}
    metadata |= {"resourceVersion": str(version), "annotations": {"changed": str(version)}}
    ports = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    spec = {"nodeName": f"node-{number % 1000}", "containers": [{"name": "main", "image": "registry/app:1", "ports": ports}]}
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    ready = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": address, "hostIP": "10.0.0.1", "conditions": ready}
    return {"metadata": metadata, "spec": spec, "status": status}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query)
        if not url.path.endswith("/pods"):
            self.send_error(404)
        elif "watch" in query:
            self.watch()
        else:
            self.list(int(query.get("limit", ["500"])[0]), int(query.get("continue", ["0"])[0]))

    def list(self, limit, start):
        end = min(PODS, start + limit)
        metadata = {"resourceVersion": "10"} | ({"continue": str(end)} if end < PODS else {})
        items = [pod(number, 1) for number in range(start, end)]
        body = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def watch(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        version = 10
        try:
            while True:
                time.sleep(1 / PER_SECOND)
                version += 1
                event = json.dumps({"type": "MODIFIED", "object": pod(version % PODS, version)}).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
        except OSError:
            pass


def busy(process):
    tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def resident_mb(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def targets_found():
    with urllib.request.urlopen(f"http://127.0.0.1:{SERVER}/metrics") as page:
        found = [line for line in page.read().decode().splitlines() if line.startswith("prometheus_sd_discovered_targets")]
    return next((float(line.split()[1]) for line in found if 'config="pods"' in line), 0)


def measure(name, program, keep):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "prometheus.yml").write_text(CONFIG.format(api=API, keep=keep))
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{SERVER}"]
        with open(pathlib.Path(folder, "log"), "w") as log:
            process = subprocess.Popen(program + flags, cwd=folder, stdout=log, stderr=log)
            try:
                time.sleep(SETTLING)
                before = busy(process)
                time.sleep(SECONDS)
                took, memory, found = busy(process) - before, resident_mb(process), targets_found()
            finally:
                process.terminate()
                process.wait()
    assert found == PODS, f"{name} found {found} targets"
    kept = "dropped" if keep == "none" else "kept"
    print(f"{name:12} {PODS} pods {kept:8} {took:6.2f} CPU-s in {SECONDS:.0f} s   {memory:6.0f} MB")


server = http.server.ThreadingHTTPServer(("127.0.0.1", API), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
for keep in ["none", "team-.*"]:
    measure("millrace", [ROOT / "target/release/millrace", "serve"], keep)
    measure("prometheus", [ROOT / "target/peers/usr/bin/prometheus"], keep)
