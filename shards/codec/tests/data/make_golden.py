#!/usr/bin/env python3
"""Lets a real Prometheus write chunks of known samples; see README.md beside this file.

usage: make_golden.py PROMETHEUS PROMTOOL SCRATCH_FOLDER
"""

import glob
import json
import os
import random
import struct
import subprocess
import sys
import time
import urllib.request

ADDRESS = "127.0.0.1:19871"
STALE, NORMAL_NAN = 0x7FF0000000000002, 0x7FF8000000000001


def bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def times(start, count, step=15_000, jitter=0, rng=None):
    return [start + i * step + (rng.randint(-jitter, jitter) if jitter else 0) for i in range(count)]


def shapes(start):
    """Name -> samples (milliseconds, bits), in order of time, all within 55 minutes of the start."""
    rng = random.Random(20)
    out = {}

    def add(name, moments, values):
        out[name] = list(zip(moments, (v if isinstance(v, int) else bits(v) for v in values)))

    for count in (1, 2, 3, 119, 120):
        add(f"constant_{count:03}", times(start, count), [42.0 + count] * count)
    add("zero", times(start, 50), [0.0] * 50)
    add("minus_zero", times(start, 6), [0.0, -0.0, -0.0, 0.0, 1.0, -0.0])
    counter, values = 1e6, []
    for _ in range(120):
        counter += rng.randint(0, 500)
        values.append(counter)
    add("counter", times(start, 120), values)
    add("counter_jitter", times(start, 120, jitter=40, rng=rng), values)
    add("decimals", times(start, 100), [round(20 + rng.random() * 5, 2) for _ in range(100)])
    add("random", times(start, 60), [rng.random() for _ in range(60)])
    add("random_bits", times(start, 60), [rng.getrandbits(64) & ~(1 << 62) for _ in range(60)])
    add("nan_payloads", times(start, 12),
        [1.0, NORMAL_NAN, 2.0, STALE, 0x7FF8DEADBEEF0001, 0xFFF8000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFF0000000000001, STALE, STALE, 3.0, NORMAL_NAN])
    add("infinity", times(start, 6), [float("inf"), 1.0, float("-inf"), float("inf"), 0.0, float("-inf")])
    add("large_integers", times(start, 20), [2.0**53 + 2 * i for i in range(10)] + [2.0**63, 2.0**64, 1e300, 5e-324] * 2 + [1.7976931348623157e308, -1e300])
    add("powers", times(start, 110, step=30_000), [2.0**(i - 55) for i in range(110)])
    add("alternating", times(start, 60), [1.0, -1.0] * 30)
    # Differences of differences at the limits of their codes.
    deltas = (300_000, 300_000, 308_192, 300_001, 308_194, 300_002, 365_538, 300_003, 365_540, 300_004)
    moments = [start]
    for delta in deltas:
        moments.append(moments[-1] + delta)
    add("dod_14_and_17", moments, [float(i) for i in range(len(moments))])
    deltas = (1, 524_289, 2, 524_291, 2, 524_289, 2, 1, 1, 65_537)
    moments = [start]
    for delta in deltas:
        moments.append(moments[-1] + delta)
    add("dod_20_and_64", moments, [7.0] * len(moments))
    add("milliseconds", times(start, 40, step=1), [float(i % 3) for i in range(40)])
    add("irregular", sorted(start + rng.randrange(3_000_000) for _ in range(60)), [rng.gauss(0, 1e6) for _ in range(60)])
    return out


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series):
    out = b""
    for name, samples in series.items():
        body = b"".join(field(1, field(1, key.encode()) + field(2, value.encode()))
                        for key, value in (("__name__", "golden"), ("shape", name)))
        for moment, value in samples:
            body += field(2, varint(1 << 3 | 1) + struct.pack("<Q", value) + varint(2 << 3) + varint(moment))
        out += field(1, body)
    return out


def snappy(raw):
    """Literals only."""
    out = varint(len(raw))
    for at in range(0, len(raw), 60):
        piece = raw[at:at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def call(path, body=b"", headers=None):
    request = urllib.request.Request(f"http://{ADDRESS}{path}", data=body, headers=headers or {}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def by_remote_write(prometheus, scratch, series):
    folder = f"{scratch}/remote"
    os.makedirs(folder)
    config = f"{scratch}/prometheus.yml"
    open(config, "w").write("global: {scrape_interval: 1h}\n")
    server = subprocess.Popen([prometheus, f"--config.file={config}", f"--storage.tsdb.path={folder}", "--web.enable-remote-write-receiver",
                               "--storage.tsdb.retention.time=100y", "--web.enable-admin-api", f"--web.listen-address={ADDRESS}"],
                              stderr=open(f"{scratch}/log", "w"))
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{ADDRESS}/-/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        call("/api/v1/write", snappy(write_request(series)),
             {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"})
        name = json.loads(call("/api/v1/admin/tsdb/snapshot"))["data"]["name"]
    finally:
        server.terminate()
        server.wait(30)
    return f"{folder}/snapshots/{name}"


def by_promtool(promtool, scratch, series):
    text = ["# TYPE golden gauge"]
    for name, samples in series.items():
        for moment, value in samples:
            number = struct.unpack("<d", struct.pack("<Q", value))[0]
            text.append(f'golden{{shape="{name}"}} {number!r} {moment // 1000}.{moment % 1000:03}'.replace("nan", "NaN").replace("inf", "+Inf").replace("-+", "-"))
    path = f"{scratch}/input.txt"
    open(path, "w").write("\n".join(text) + "\n# EOF\n")
    subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", path, f"{scratch}/blocks"], check=True)
    return f"{scratch}/blocks"


def keep(name, folder, series):
    segments = glob.glob(f"{folder}/*/chunks/*")
    assert len(segments) == 1, segments
    here = os.path.dirname(os.path.abspath(__file__))
    open(f"{here}/{name}.segment", "wb").write(open(segments[0], "rb").read())
    with open(f"{here}/{name}.samples", "w") as out:
        for shape, samples in series.items():
            out.write(f"{shape}\n")
            out.writelines(f" {moment} {value:016x}\n" for moment, value in samples)


def main():
    prometheus, promtool, scratch = sys.argv[1:]
    os.makedirs(scratch)
    series = shapes(1_700_006_400_000)
    keep("remote-write", by_remote_write(prometheus, scratch, series), series)
    # In the first hours of the epoch, where times are short. Text has only one NaN, and promtool cuts a time that is not exact as a
    # double of seconds to the millisecond before: hence eighths of a second.
    series = {name: [(moment // 125 * 125, value) for moment, value in samples] for name, samples in shapes(7_201_125).items()
              if name not in ("nan_payloads", "random_bits", "counter", "constant_119", "constant_120", "zero", "random", "milliseconds", "dod_20_and_64")}
    series["nan"] = [(7_300_125 + 1_000 * i, bits(1.5) if i % 3 else NORMAL_NAN) for i in range(20)]
    keep("openmetrics", by_promtool(promtool, scratch, series), series)


main()
