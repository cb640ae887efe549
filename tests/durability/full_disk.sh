#!/usr/bin/env bash
# Goal: a full disk refuses writes by name, keeps reads and everything acknowledged, and ends by itself when there is room. Needs
# root, as it mounts a small file system. See README.md.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
millrace=$(realpath "${MILLRACE:-$here/../../target/release/millrace}")
loader=$(realpath "${LOADER:-$millrace}")
folder=${FOLDER:-$(mktemp -d)}
mkdir -p "$folder"
source "$here/lib.sh"
cd "$folder" || exit 1
# The ballast is the room of the second and third part, which is to outlast what a fast machine writes in them.
disk_mb=${DISK_MB:-600}
ballast_mb=${BALLAST_MB:-400}
disk=$folder/disk
trap 'kill_server; umount "$disk" 2>/dev/null' EXIT
((EUID == 0)) || fail "mounting a file system needs root"

# Its space is taken at once, so that what grows is not the file below.
fallocate -l "${disk_mb}M" "$folder/image"
mkfs.ext4 -q -m 0 "$folder/image"
mkdir -p "$disk"
mount -o loop "$folder/image" "$disk" || fail "no loop device here"
fallocate -l "${ballast_mb}M" "$disk/ballast"

flaws=0
flaw() {
    say "FLAW: $*"
    ((flaws += 1))
}

loads=0
logs=()
# Writes for $1 over protocol $2 to port $3, $4 times again what is refused; always newer than the load before, and never an hour
# behind the single samples of now.
load() {
    local name=$folder/load-$loads address=$ingest
    [[ $3 == api ]] && address=$api
    "$loader" load --url "http://$address/api/v1/write" --protocol "$2" --series 20000 --values random --step 100ms \
        --start $(($(date +%s%3N) - 3300000 + loads * 600000)) --samples-per-series 6000 --duration "$1" --retries "${4:-0}" \
        --timeout 20s --verify-log "$name.log" >"$name.json" 2>"$name.err"
    report=$name.json
    [[ $(wc -l <"$name.log") -gt 1 ]] && logs+=("$name.log")
    ((loads += 1))
}

check() {
    acknowledged=0 found=0
    check_logs "${logs[@]}" || fail "$1; data and logs are in $folder"
    say "$1: $acknowledged acknowledged, $found found"
}

expect_stalled() {
    local answer
    [[ $(metric millrace_shard_stalled) == 1 ]] || fail "$1: millrace_shard_stalled is $(metric millrace_shard_stalled)"
    for address in "$api" "$ingest"; do
        answer=$(write_one "$address")
        say "$1: $address answers: $(tr '\n' ' ' <<<"$answer")"
        grep -q '^HTTP/1.1 503' <<<"$answer" || fail "$1: a write to $address was not refused with 503"
        grep -qi '^retry-after: [0-9]' <<<"$answer" || fail "$1: no Retry-After"
    done
    [[ $(curl -s -o /dev/null -w '%{http_code}' "http://$api/api/v1/query?query=count(node_disk_io_now)") == 200 ]] || fail "$1: reads stopped"
    kill -0 "$server_pid" || fail "$1: the server ended"
}

expect_recovery() {
    local deadline=$((SECONDS + 60))
    until [[ $(metric millrace_shard_stalled) == 0 ]]; do
        ((SECONDS < deadline)) || fail "$1: still stalled a minute after there was room"
        sleep 0.2
    done
    load 2s 2.0 api
    (($(field "$report" acknowledged_samples) > 0)) || fail "$1: nothing was acknowledged after there was room"
    say "$1: writes go on by themselves"
}

say "1. Full while it runs."
start_server "$disk/data" || fail "no start, see $log"
load "${FILL:-30s}" 1.0 ingest
say "$(df -m "$disk" | tail -n 1)"
grep -A4 '"503"' "$report" >&2 || fail "no request was refused with 503: is the disk too large to fill within ${FILL:-30s}?"
expect_stalled "full"
check "full"

say "2. Room again."
rm "$disk/ballast"
expect_recovery "room"
check "room"

say "3. kill -9 and restart while it is full."
fallocate -l "${disk_mb}M" "$disk/ballast" 2>/dev/null
load "${FILL:-30s}" 2.0 api
say "$(df -m "$disk" | tail -n 1)"
expect_stalled "full again"
check "full again"
kill_server
began=$(date +%s%3N)
if start_server "$disk/data"; then
    say "ready after $(($(date +%s%3N) - began)) ms on a full disk"
    check "restart while full"
else
    flaw "no restart on a full disk: $(tail -n 1 "$log")"
    # How much room does it take? What a crashed start left behind goes with the next one.
    for slack in 1 1 6; do
        truncate -s "-${slack}M" "$disk/ballast"
        start_server "$disk/data" && break
    done
    say "starts with $(df -k --output=avail "$disk" | tail -n 1) KiB of room"
    check "restart with a little room"
fi
lines=$(grep -cE 'level=(WARN|ERROR)' "$log")
((lines < 20)) || flaw "$lines warnings in the log of one start: $(grep -hoE 'level=WARN.*' "$log" | head -n 1)"
answer=$(write_one "$api")
say "a write after the restart: $(tr '\n' ' ' <<<"$answer")"
if grep -q '^HTTP/1.1 503' <<<"$answer"; then
    grep -qi 'space left' <<<"$answer" || flaw "a write that a full disk refuses is told: $(tail -n 1 <<<"$answer")"
    [[ $(metric millrace_shard_stalled) == 1 ]] || flaw "writes are refused for the full disk, but millrace_shard_stalled is 0"
fi
rm -f "$disk/ballast"
expect_recovery "room after the restart"
kill_server
start_server "$disk/data" || fail "no start after all this, see $log"
check "after another kill -9"
kill_server

say "4. No room from the start on."
fallocate -l "${disk_mb}M" "$disk/ballast" 2>/dev/null
start_server "$disk/other"
say "code $?: $(tail -n 1 "$log")"
kill_server
say "complaints:"
grep -hoE 'level=(WARN|ERROR).*' "$folder"/server-*.log | sed 's/log-[0-9]*/log-N/' | sort | uniq -c | sort -rn | head -n 20 >&2
((flaws == 0)) || fail "$flaws flaws, see above; data and logs are in $folder"
say PASSED
umount "$disk"
[[ -n ${FOLDER:-} ]] || rm -rf "$folder"
