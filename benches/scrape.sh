#!/usr/bin/env bash
# Scrapes made-up targets on loopback addresses with Millrace, Prometheus and VictoriaMetrics, one after the other, and prints what each
# took: benches/scrape.sh [TARGETS [SERIES [INTERVAL_SECONDS [MEASURED_SECONDS]]]]
set -euo pipefail
cd "$(dirname "$0")/.."
targets=${1:-500} series=${2:-1000} interval=${3:-10} seconds=${4:-40}
millrace=$PWD/target/release/millrace peers=$PWD/target/peers/usr/bin
port=9390 folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT

cargo build --release --locked --quiet
cd "$folder"
cat > prometheus.yml <<END
global: {scrape_interval: ${interval}s, scrape_timeout: ${interval}s}
scrape_configs: [{job_name: fleet, file_sd_configs: [{files: [targets.json]}]}]
END

# Nanoseconds of processor time of all threads.
busy() { cat "/proc/$1/task/"*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

measure() {
  local name=$1
  shift
  "$millrace" load scrape-targets --targets "$targets" --series "$series" --step "${interval}s" --port 9900 --file targets.json 2> "$name.targets.log" &
  local fleet=$!
  until [ -s targets.json ]; do sleep 0.1; done
  "$@" > "$name.log" 2>&1 &
  local server=$! before after memory
  # A first scrape of each, which makes the series.
  sleep $((interval + 12))
  before=$(busy $server)
  sleep "$seconds"
  after=$(busy $server)
  memory=$(awk '/VmRSS/ { print $2 * 1024 }' "/proc/$server/status")
  awk -v name="$name" -v total=$((targets * series)) -v n="$seconds" -v i="$interval" \
    -v cpu=$((after - before)) -v memory="$memory" \
    'BEGIN { printf "%-16s %8.3f M samples/CPU-s %8.0f resident bytes a series\n", name, total * n / i / cpu * 1000, memory / total }'
  kill $server $fleet
  wait $server $fleet 2> /dev/null || true
  rm -f targets.json
}

measure millrace "$millrace" serve --config.file=prometheus.yml --storage.tsdb.path=m --web.listen-address=127.0.0.1:$port
measure prometheus "$peers/prometheus" --config.file=prometheus.yml --storage.tsdb.path=p --web.listen-address=127.0.0.1:$port
measure victoriametrics "$peers/victoria-metrics" -promscrape.config=prometheus.yml -storageDataPath=v -httpListenAddr=127.0.0.1:$port
