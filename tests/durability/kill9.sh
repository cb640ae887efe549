#!/usr/bin/env bash
# Goal: kill -9 under load loses no acknowledged sample and shows none twice. See README.md.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
millrace=$(realpath "${MILLRACE:-$here/../../target/release/millrace}")
loader=$(realpath "${LOADER:-$millrace}")
rounds=${ROUNDS:-10}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
series=${SERIES:-20000}
# A server is killed at random between these. The longer lives reach into checkpoints, the more so as random values fill the log fast.
life_ms_min=${LIFE_MS_MIN:-1000}
life_ms_max=${LIFE_MS_MAX:-8000}
values=${VALUES:-random}
folder=${FOLDER:-$(mktemp -d)}
mkdir -p "$folder"
source "$here/lib.sh"
cd "$folder" || exit 1
load_pid=
trap 'kill_server; [[ -n $load_pid ]] && kill "$load_pid" 2>/dev/null' EXIT

RANDOM=$seed
say "seed $seed, $rounds rounds, folder $folder"
megabytes() { du -cm "$folder"/data/shard-*/"$1" | tail -n 1 | cut -f 1; }

# Each round has its own stretch of time, newest last, all within the two hours that a server takes.
stretch_ms=$((6000000 / rounds))
step_ms=${STEP_MS:-50}
first_ms=$(($(date +%s%3N) - 6000000 - 300000))
logs=()
printf '%-5s %-8s %-6s %-8s %8s %8s %12s %12s %7s %6s %9s %9s\n' \
    round protocol port load killed ready acknowledged found check_s ckpts log_mb chunks_mb
for ((round = 0; round < rounds; round++)); do
    api= ingest=
    start_server "$folder/data" || fail "round $round: the server did not get ready, see $log"
    ((round % 2)) && protocol=2.0 || protocol=1.0
    ((round / 2 % 2)) && port=api || port=ingest
    # In every other pair of rounds the load outlives the server and sends what was not answered again.
    ((round / 4 % 2 ^ 1)) && mode=goes-on || mode=ends
    [[ $port == api ]] && address=$api || address=$ingest
    logs+=("$folder/round-$round.log")
    [[ $mode == goes-on ]] && retries=1000 || retries=0
    life_ms=$((life_ms_min + RANDOM % (life_ms_max - life_ms_min + 1)))
    # Long enough to be still running when the server is killed.
    duration_ms=$((life_ms + 4000))
    "$loader" load --url "http://$address/api/v1/write" --protocol "$protocol" --series "$series" --step "${step_ms}ms" \
        --values "$values" --churn "${CHURN:-0.002}/pass" --samples-per-series $((stretch_ms / step_ms)) --start $((first_ms + round * stretch_ms)) \
        --duration "${duration_ms}ms" --connections 4 --retries "$retries" --timeout 10s --verify-log "${logs[round]}" \
        >"$folder/round-$round.json" 2>"$folder/round-$round.err" &
    load_pid=$!
    sleep "$(printf '%d.%03d' $((life_ms / 1000)) $((life_ms % 1000)))"
    kill -0 "$load_pid" 2>/dev/null || fail "round $round: the load ended before the kill, see $folder/round-$round.err"
    checkpoints=$(ls "$folder"/data/shard-*/ 2>/dev/null | grep -c checkpoint)
    kill_server
    if [[ $mode == ends ]]; then
        kill "$load_pid" 2>/dev/null
        wait "$load_pid" 2>/dev/null
        load_pid=
    fi
    began=$(date +%s%3N)
    # On the same ports, so that the load finds it again.
    start_server "$folder/data" || fail "round $round: no restart after kill -9, see $log"
    ready_ms=$(($(date +%s%3N) - began))
    [[ -n $load_pid ]] && wait "$load_pid"
    load_pid=
    acknowledged=0 found=0
    began=$SECONDS
    # What earlier rounds were told must be there after this crash, too: the round before each time, all of them at the end.
    ((round == rounds - 1)) && checked=("${logs[@]}") || checked=("${logs[@]:round > 0 ? round - 1 : 0}")
    check_logs "${checked[@]}" || fail "round $round (seed $seed), data and logs are in $folder"
    lost=$(curl -sf "http://$api/metrics" | awk '/^millrace_recovery_count.*lost/ { sum += $2 } END { print sum + 0 }')
    [[ $lost == 0 ]] || fail "round $round: recovery reports $lost lost samples or series"
    printf '%-5s %-8s %-6s %-8s %6sms %6sms %12s %12s %7s %6s %9s %9s\n' "$round" "$protocol" "$port" "$mode" "$life_ms" "$ready_ms" \
        "$acknowledged" "$found" $((SECONDS - began)) "$checkpoints" "$(megabytes wal)" "$(megabytes chunks)"
    grep -hE 'level=(WARN|ERROR)' "$folder"/server-*.log | sort | uniq -c >"$folder/complaints"
    kill_server
done
say "complaints in the servers' logs: $(wc -l <"$folder/complaints")"
head -n 5 "$folder/complaints" >&2
say "PASSED: $acknowledged acknowledged samples, each found once, over $rounds crashes under load"
[[ -n ${FOLDER:-} ]] || rm -rf "$folder"
