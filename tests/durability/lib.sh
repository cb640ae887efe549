# What the scripts of this folder share: a server of their own, and reports.
# Read by `source`; expects the variables `millrace`, `loader` and `folder`.

server_pid=
api=
ingest=

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "FAILED: $*"
    exit 1
}

# Starts a server on the data directory $1 with further flags; waits until it is ready. The addresses it chose are in $api and $ingest.
start_server() {
    local data=$1
    shift
    log=$folder/server-$((++starts)).log
    : >"$log"
    "$millrace" serve --storage.tsdb.path="$data" --web.listen-address="${api:-127.0.0.1:0}" \
        --ingest.listen-address="${ingest:-127.0.0.1:0}" "$@" 2>"$log" &
    server_pid=$!
    local deadline=$((SECONDS + ${patience:-60}))
    until grep -q "msg=ready" "$log"; do
        kill -0 "$server_pid" 2>/dev/null || return 1
        ((SECONDS < deadline)) || return 2
        sleep 0.05
    done
    api=$(sed -n 's/.*msg=listening address=\([^ ]*\).*/\1/p' "$log")
    ingest=$(sed -n 's/.*"listening for remote write only" address=\([^ ]*\).*/\1/p' "$log")
}
starts=0

# Ends the server without a word, as a crash would.
kill_server() {
    [[ -n $server_pid ]] || return 0
    kill -9 "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=
}

# The value of a metric without labels, or the sum over its labels.
metric() { curl -sf "http://$api/metrics" | awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { print sum + 0 }'; }

# A number of a flat JSON report.
field() { sed -n "s/^ *\"$2\": *\([0-9.e+-]*\),*\$/\1/p" "$1" | head -n 1; }

# Asks for everything that the verify logs name.
check_logs() {
    local log report
    for log in "$@"; do
        report=${log%.log}.check.json
        if ! "$loader" load --check "$log" --query-url "http://$api/api/v1/query" --timeout 120s >"$report" 2>"$report.err"; then
            say "$(tail -n 1 "$report.err")"
            cat "$report" >&2
            return 1
        fi
        ((acknowledged += $(field "$report" acknowledged))) || true
        ((found += $(field "$report" found))) || true
    done
}

# Writes one sample of now to the address $1 and shows status line and headers.
write_one() {
    local now varint=
    now=$(date +%s%3N)
    for ((; now > 127; now >>= 7)); do varint+=$(printf '\\x%02x' $((now & 127 | 128))); done
    varint+=$(printf '\\x%02x' "$now")
    # A message of 29 bytes as one snappy literal: a series of one label with one sample, whose value is 0.
    printf '\x1d\x70\x0a\x1b\x0a\x10\x0a\x08__name__\x12\x04full\x12\x07\x10'"$varint" |
        curl -s -i --max-time 30 --data-binary @- -H 'Content-Type: application/x-protobuf' -H 'Content-Encoding: snappy' \
            "http://$1/api/v1/write" | tr -d '\r'
}
