#!/usr/bin/env python3
"""One prometheus.yml given to Millrace and to Prometheus side by side; then their series, labels, values and targets are compared.

    cargo build --release && benches/side_by_side.py [SECONDS]      (600)

Jobs with relabelling, limits, a file of targets, native histograms, a node exporter, both servers themselves and pushed metrics. Prints
what differs. Values are compared where both servers saw one value all the while: what moves is seen at different moments.
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "target/peers/usr/bin"
NODE, OURS, PUSHED, THEIRS = 19100, 19190, 19191, 19192
NATIVE = "--enable-feature=native-histograms"
SETTLING = 20

CONFIG = f"""
global: {{scrape_interval: 5s, external_labels: {{site: here}}}}
scrape_configs:
- job_name: node
  static_configs: [{{targets: ['127.0.0.1:{NODE}'], labels: {{env: prod, rack: r1}}}}]
  relabel_configs:
  - {{source_labels: [__address__], regex: '(.*):.*', target_label: host, replacement: '$1'}}
  - {{source_labels: [env, rack], separator: /, target_label: place}}
  metric_relabel_configs:
  - {{source_labels: [__name__], regex: 'go_.*', action: drop}}
  - {{regex: rack, action: labeldrop}}
- job_name: limited
  sample_limit: 5
  static_configs: [{{targets: ['127.0.0.1:{NODE}']}}]
- job_name: short
  label_value_length_limit: 20
  static_configs: [{{targets: ['127.0.0.1:{NODE}']}}]
- job_name: millrace
  static_configs: [{{targets: ['127.0.0.1:{OURS}']}}]
- job_name: prometheus
  static_configs: [{{targets: ['127.0.0.1:{THEIRS}']}}]
- job_name: pushgateway
  honor_labels: true
  static_configs: [{{targets: ['127.0.0.1:{PUSHED}']}}]
- job_name: dead
  static_configs: [{{targets: ['127.0.0.1:1']}}]
- job_name: listed
  file_sd_configs: [{{files: [targets.json]}}]
  relabel_configs:
  - {{source_labels: [__meta_filepath], regex: '.*/', target_label: x, replacement: y}}
  - {{source_labels: [drop], regex: 'yes', action: drop}}
"""
LISTED = [
    {"targets": [f"127.0.0.1:{NODE}"], "labels": {"listed": "a"}},
    {"targets": [f"127.0.0.1:{OURS}"], "labels": {"drop": "yes"}},
]


def get(port, path, **parameters):
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}{query}"))["data"]


def values(port, query, moment):
    found = get(port, "/api/v1/query", query=query, time=moment)["result"]
    return {json.dumps(one["metric"], sort_keys=True): one.get("value", [0, "histogram"])[1] for one in found}


def series(port, start, end):
    selector = {"match[]": '{__name__=~".+"}', "start": start, "end": end}
    return {json.dumps(one, sort_keys=True) for one in get(port, "/api/v1/series", **selector)}


def compare_values(seconds, end):
    counts, odd = collections.Counter(), []
    window = f"[{seconds - 30}s]"
    for name in get(THEIRS, "/api/v1/label/__name__/values"):
        selector = f'{{__name__="{name}"}}{window}'
        least, most, number = (
            [values(port, f"{function}_over_time({selector})", end) for port in (OURS, THEIRS)]
            for function in ("min", "max", "count")
        )
        for labels in number[1]:
            ours, theirs = (float(found.get(labels, 0)) for found in number)
            counts["as many samples" if abs(ours - theirs) <= 1 else "other numbers of samples"] += 1
            if abs(ours - theirs) > 1:
                odd.append((name, labels, "samples", ours, theirs))
            if labels not in least[1]:
                counts["histograms"] += 1
            elif any(low.get(labels) != high.get(labels) for low, high in zip(least, most)):
                counts["moving"] += 1
            elif least[0][labels] == least[1][labels]:
                counts["the same value"] += 1
            else:
                counts["another value"] += 1
                odd.append((name, labels, "value", least[0][labels], least[1][labels]))
    return counts, odd


def targets(port):
    found = get(port, "/api/v1/targets")
    for target in found["activeTargets"]:
        for varying in ("lastScrape", "lastScrapeDuration", "globalUrl"):
            target.pop(varying, None)
    found["activeTargets"].sort(key=lambda target: (target["scrapePool"], target["scrapeUrl"]))
    return found


def processor_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def run(seconds, folder, start):
    (folder / "prometheus.yml").write_text(CONFIG)
    (folder / "targets.json").write_text(json.dumps(LISTED))
    start("node exporter", PEERS / "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{NODE}")
    config = "--config.file=prometheus.yml"
    ours = start(
        "Millrace", ROOT / "target/release/millrace", "serve", config, "--storage.tsdb.path=ours", NATIVE,
        f"--web.listen-address=127.0.0.1:{OURS}", f"--push.listen-address=127.0.0.1:{PUSHED}",
    )
    theirs = start(
        "Prometheus", PEERS / "prometheus", config, "--storage.tsdb.path=theirs", NATIVE,
        f"--web.listen-address=127.0.0.1:{THEIRS}", "--web.console.templates=n", "--web.console.libraries=n",
    )
    time.sleep(5)
    body = b'# TYPE pushed gauge\npushed{a="b"} 7\npushed_other 1.5\n'
    url = f"http://127.0.0.1:{PUSHED}/metrics/job/backup/instance/db"
    urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"))
    time.sleep(SETTLING)
    begin = int(time.time())
    time.sleep(seconds)
    end = int(time.time()) - 10
    found = [series(port, begin, end) for port in (OURS, THEIRS)]
    print("series:", *map(len, found), "only here:", len(found[0] - found[1]), "only there:", len(found[1] - found[0]))
    for one in sorted(found[0] ^ found[1])[:20]:
        print("  ", one)
    counts, odd = compare_values(seconds, end)
    print("values:", dict(counts))
    for one in odd[:20]:
        print("  ", one)
    found = [targets(port) for port in (OURS, THEIRS)]
    print("targets are the same:", found[0] == found[1])
    for here, there in zip(found[0]["activeTargets"], found[1]["activeTargets"]):
        for key in sorted(set(here) | set(there)):
            if here.get(key) != there.get(key):
                print("  ", here["scrapeUrl"], key, here.get(key), "|", there.get(key))
    for name, process in (("Millrace", ours), ("Prometheus", theirs)):
        print(f"{name}: {processor_seconds(process)} s of processor time")


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    processes = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def start(what, *command):
            with open(folder / f"{what}.log", "w") as log:
                processes.append(subprocess.Popen(list(map(str, command)), cwd=folder, stdout=log, stderr=log))
            return processes[-1]

        try:
            run(seconds, folder, start)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


main()
