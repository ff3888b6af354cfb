#!/bin/sh
# How many lines a second `slotguard check --stdin` answers on one core.
#
#   benches/stream.sh            200,000 lines, 5 runs, core 0
#   LINES=50000 RUNS=3 CORE=1 benches/stream.sh
#
# The lines come through a pipe and the answers go into one, as they do between two programs. Only
# slotguard is pinned. Two lines of three pass; the third is refused for one of two reasons.
set -eu
cd "$(dirname "$0")/.."

lines=${LINES:-200000}
runs=${RUNS:-5}
core=${CORE:-0}

cargo build --quiet --locked --release --package slotguard
program=${CARGO_TARGET_DIR:-target}/release/slotguard

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'version = 1\n' >"$work/slotguard.toml"

awk -v lines="$lines" 'BEGIN {
    good = "postgresql://slot_1:s3cret@127.0.0.1:5432/app_preview_1"
    for (n = 0; n < lines; n++) {
        start = "{\"id\":" n ",\"slot\":\"preview-1\","
        if (n % 6 == 2) print start "\"url\":\"" good "?dbname=app_production\"}"
        else if (n % 6 == 5) print start "\"url\":\"postgresql://slot_1@127.0.0.1:5432/app_preview_2\"}"
        else if (n % 3 == 1) print start "\"env\":{\"DATABASE_URL\":\"" good "\",\"LANG\":\"C.UTF-8\"}}"
        else print start "\"url\":\"" good "?sslmode=disable&application_name=web\",\"env\":{}}"
    }
}' >"$work/input"

run=1
while [ "$run" -le "$runs" ]; do
    begin=$(date +%s%N)
    cat "$work/input" |
        taskset -c "$core" "$program" check --config "$work/slotguard.toml" --stdin |
        cat >"$work/output"
    end=$(date +%s%N)
    answered=$(wc -l <"$work/output")
    if [ "$answered" -ne "$lines" ]; then
        echo "stream.sh: $answered answers to $lines lines" >&2
        exit 1
    fi
    echo "$((lines * 1000000000 / (end - begin)))" >>"$work/rates"
    run=$((run + 1))
done

echo "lines a second, slowest to fastest: $(sort -n "$work/rates" | tr '\n' ' ')"
echo "median: $(sort -n "$work/rates" | sed -n "$(((runs + 1) / 2))p")"
