"""Compares Millrace with Prometheus servers that wrote to it: compare.py BEGIN MILLRACE JOB=PROMETHEUS...

Every sample of every series of each job since BEGIN (Unix seconds), leaving out the last seconds that may still be under way,
and the answers to some range queries. Prints what differs; the exit code says whether anything did.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

UNDER_WAY_S = 20
RANGE_QUERIES = [
    'sum by (mode) (rate(node_cpu_seconds_total{job="JOB"}[1m]))',
    'avg_over_time(node_load1{job="JOB"}[2m])',
    'count by (__name__) ({job="JOB"})',
    'topk(3, node_filesystem_avail_bytes{job="JOB"})',
    'up{job="JOB"}',
]


def ask(server, path, **parameters):
    body = urllib.parse.urlencode(parameters).encode()
    with urllib.request.urlopen(f"{server}/api/v1/{path}", body, timeout=120) as answer:
        return json.load(answer)["data"]["result"]


def by_series(result, drop=("sender",)):
    """External labels are on what was sent and not on what the sender keeps."""
    name = lambda metric: json.dumps({key: value for key, value in sorted(metric.items()) if key not in drop})
    return {name(series["metric"]): series["values"] for series in result}


def compare(what, ours, theirs):
    missing = sorted(set(theirs) - set(ours))
    extra = sorted(set(ours) - set(theirs))
    different = [name for name in theirs if name in ours and ours[name] != theirs[name]]
    samples = sum(len(values) for values in theirs.values())
    print(f"{what}: {len(theirs)} series, {samples} samples; {len(missing)} missing, {len(extra)} extra, {len(different)} different")
    for name in missing[:3] + extra[:3]:
        print(f"  only on one side: {name}")
    for name in different[:3]:
        lacking = [sample for sample in theirs[name] if sample not in ours[name]]
        surplus = [sample for sample in ours[name] if sample not in theirs[name]]
        print(f"  {name}: {len(lacking)} lacking {lacking[:3]}, {len(surplus)} surplus {surplus[:3]}")
    return bool(missing or extra or different or not theirs)


def main():
    begin, millrace, peers = int(sys.argv[1]), sys.argv[2], [text.split("=", 1) for text in sys.argv[3:]]
    end = int(time.time()) - UNDER_WAY_S
    failed = False
    for job, prometheus in peers:
        selector = f'{{job="{job}"}}[{end - begin}s]'
        sides = [by_series(ask(server, "query", query=selector, time=end)) for server in (millrace, prometheus)]
        failed |= compare(f"{job}: samples", *sides)
        for query in RANGE_QUERIES:
            query = query.replace("JOB", job)
            parameters = dict(query=query, start=begin + (end - begin) // 4, end=end, step=15)
            sides = [by_series(ask(server, "query_range", **parameters)) for server in (millrace, prometheus)]
            failed |= compare(query, *sides)
    agent = ask(millrace, "query", query='count({job="vmagent"})', time=end)
    count = int(agent[0]["value"][1]) if agent else 0
    print(f"vmagent: {count} series in the last minute")
    failed |= count < 100
    sys.exit(1 if failed else 0)


main()
