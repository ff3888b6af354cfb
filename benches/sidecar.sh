#!/bin/sh
# What the guard on the wire costs, beside a bare epoll pass-through, PgBouncer in session mode and
# no proxy at all, on one throw-away server.
#
#   benches/sidecar.sh                       1, 8 and 32 clients, 3 rounds of 3 seconds
#   ROUNDS=5 SECONDS_EACH=5 CLIENTS="1 32" benches/sidecar.sh
#
# Server, clients and proxies share one core, so that the whole cost of a proxy is seen and nothing
# hides on another one. A round takes every target once, one after the other. Prints medians:
# transactions a second, the processor time of the proxy for each, bulk COPY, what an idle connection
# weighs, and connects a second. Run it on an idle machine. Needs the ports 5101 and what is free.
set -eu
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-3}
each=${SECONDS_EACH:-3}
clients=${CLIENTS:-1 8 32}
core=${CORE:-0}
newest=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1)
programs=${POSTGRES:-$newest}
for needed in "$programs/postgres" "$programs/pgbench" /usr/sbin/pgbouncer; do
    if ! [ -x "$needed" ]; then
        echo "sidecar.sh: $needed is missing" >&2
        exit 69
    fi
done

cargo build --quiet --locked --release --package pg-sidecar --package migrate-runner
cargo build --quiet --locked --release --package benches --example pass_through
built=$PWD/${CARGO_TARGET_DIR:-target}/release

umask 077
work=$(mktemp -d)
as_server=
if [ "$(id -u)" -eq 0 ]; then
    # Neither the server nor the pooler runs as root.
    as_server="setpriv --reuid=postgres --regid=postgres --clear-groups"
    chmod 711 "$work"
    install -d -m 700 -o postgres "$work/run"
else
    mkdir "$work/run"
fi
mkdir "$work/state"

started=
stop() {
    for pid in $started; do kill "$pid" 2>/dev/null || true; done
    [ ! -f "$work/run/data/postmaster.pid" ] ||
        $as_server "$programs/pg_ctl" stop -D "$work/run/data" -m immediate -s || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
secret() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
pinned() { taskset -c "$core" "$@"; }

server=$(free_port)
password=$(secret)
slot_password=$(secret)
echo "$password" >"$work/password"
echo "$slot_password" >"$work/slot_1.pw"
[ -z "$as_server" ] || chown postgres "$work/password"
(
    cd "$work/run"
    $as_server "$programs/initdb" -D data -U postgres -A scram-sha-256 --pwfile=../password \
        --locale=C -E UTF8 --no-sync >/dev/null
    pinned $as_server "$programs/pg_ctl" start -D data -s -w -l log \
        -o "-p $server -k $work/run -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300"
)
PGPASSWORD=$password "$programs/psql" -X -q -h 127.0.0.1 -p "$server" -U postgres -d postgres \
    -v ON_ERROR_STOP=1 -c "CREATE ROLE slot_1 LOGIN PASSWORD '$slot_password'" \
    -c "CREATE DATABASE app_preview_1" -c "REVOKE ALL ON DATABASE app_preview_1, postgres, template1 FROM PUBLIC" \
    -c "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE app_preview_1 TO slot_1"
PGPASSWORD=$password "$programs/psql" -X -q -h 127.0.0.1 -p "$server" -U postgres \
    -d app_preview_1 -c "ALTER SCHEMA public OWNER TO slot_1"
PGPASSWORD=$slot_password "$programs/pgbench" -h 127.0.0.1 -p "$server" -U slot_1 -i -q \
    app_preview_1 >/dev/null 2>&1

floor=$(free_port)
# Not by a function: the number of a job must be that of the program itself.
taskset -c "$core" "$built/examples/pass_through" "$floor" "$server" &
floor_pid=$!
started="$started $floor_pid"

pooler=$(free_port)
cat >"$work/run/pooler.ini" <<INI
[databases]
app_preview_1 = host=127.0.0.1 port=$server
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pooler
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $work/run/users.txt
pool_mode = session
default_pool_size = 200
max_client_conn = 400
logfile = $work/run/pooler.log
INI
printf '"slot_1" "%s"\n' "$slot_password" >"$work/run/users.txt"
[ -z "$as_server" ] || chown postgres "$work/run/pooler.ini" "$work/run/users.txt"
taskset -c "$core" $as_server /usr/sbin/pgbouncer -q "$work/run/pooler.ini" &
pooler_pid=$!
started="$started $pooler_pid"

cat >"$work/slotguard.toml" <<TOML
version = 1
[roots]
state = "$work/state"
[database]
endpoints = ["127.0.0.1:$server"]
role = "slot_{slot}"
password_file = "$work/slot_{slot}.pw"
[sidecar]
enabled = true
max_sessions = 250
confirm_every_s = 3600
TOML
taskset -c "$core" "$built/pg-sidecar" --format json serve --slot preview-1 --config "$work/slotguard.toml" \
    >"$work/events" &
sidecar_pid=$!
started="$started $sidecar_pid"
tries=0
until grep -q sidecar.ready "$work/events"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$sidecar_pid"; then
        cat "$work/events" >&2
        exit 69
    fi
    sleep 0.1
done
one_start=$(cat "$work/state/sidecar/preview-1/password")

# Host, port and password of a target, and the process that its cost is seen in.
reach() {
    host=127.0.0.1 proxy=
    case $1 in
        direct) port=$server PGPASSWORD=$slot_password ;;
        floor) port=$floor PGPASSWORD=$slot_password proxy=$floor_pid ;;
        pgbouncer) port=$pooler PGPASSWORD=$slot_password proxy=$pooler_pid ;;
        sidecar) port=5101 PGPASSWORD=$one_start proxy=$sidecar_pid ;;
        sidecar-unix) host=$work/state/sidecar/preview-1 port=5101 PGPASSWORD= proxy=$sidecar_pid ;;
    esac
    export PGPASSWORD
}

# Processor time of a process, in ticks of a hundredth of a second.
ticks() { [ -z "$1" ] && echo 0 || awk '{print $14 + $15}' "/proc/$1/stat"; }

bench() { pinned "$programs/pgbench" -n -h "$host" -p "$port" -U slot_1 "$@" app_preview_1 2>/dev/null; }

targets="direct floor pgbouncer sidecar sidecar-unix"
: >"$work/figures"
# What 200 idle connections weigh in a process that had none before.
weigh() { awk '/^Pss:/ {print $2}' "/proc/$1/smaps_rollup"; }
for target in floor pgbouncer sidecar; do
    reach "$target"
    before=$(weigh "$proxy")
    "$programs/pgbench" -n -h "$host" -p "$port" -U slot_1 -c 200 -j 1 -t 1 -f - app_preview_1 \
        >/dev/null 2>&1 <<'SQL' &
SELECT pg_sleep(8);
SQL
    idle=$!
    sleep 5
    after=$(weigh "$proxy")
    wait "$idle" || true
    echo "kib-per-idle-connection $target $(awk -v b="$before" -v a="$after" 'BEGIN {print (a - b) / 200}')" \
        >>"$work/figures"
done

round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    for count in $clients; do
        for target in $targets; do
            reach "$target"
            before=$(ticks "$proxy")
            out=$(bench -S -M prepared -c "$count" -j 1 -T "$each")
            after=$(ticks "$proxy")
            tps=$(echo "$out" | awk '/^tps/ {print $3}')
            done=$(echo "$out" | awk '/actually processed/ {print $6}')
            cost=$(awk -v t=$((after - before)) -v n="$done" 'BEGIN {print t * 10000 / n}')
            echo "tps-c$count $target $tps" >>"$work/figures"
            [ -z "$proxy" ] || echo "cpu-us-per-tx-c$count $target $cost" >>"$work/figures"
        done
    done
    for target in $targets; do
        reach "$target"
        start=$(date +%s%N)
        pinned "$programs/psql" -X -q -h "$host" -p "$port" -U slot_1 -d app_preview_1 -c \
            "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 300000)) TO STDOUT" >/dev/null
        end=$(date +%s%N)
        echo "copy-mb-per-s $target $((300 * 1000000000 / (end - start)))" >>"$work/figures"
        # Each connects, asks once and leaves.
        rate=$(bench -S -C -c 4 -j 1 -T "$each" | awk '/^tps/ {print $3}')
        echo "connects-per-s $target $rate" >>"$work/figures"
    done
done

python3 - "$work/figures" <<'PY'
import statistics, sys
figures = {}
for line in open(sys.argv[1]):
    what, target, figure = line.split()
    figures.setdefault(what, {}).setdefault(target, []).append(float(figure))
for what, by_target in figures.items():
    floor = statistics.median(by_target["floor"])
    words = []
    for target, all_of_it in by_target.items():
        median = statistics.median(all_of_it)
        words.append(f"{target} {median:.1f} ({median / floor if floor else 0:.2f})")
    print(f"{what}: " + ", ".join(words))
PY
