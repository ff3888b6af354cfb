#!/bin/sh
# How long a reset takes beside what people do without it, on one throw-away cluster.
#
#   benches/reset.sh                         10 MB and 200 MB, 3 rounds
#   SIZES="10 200 1000" ROUNDS=1 benches/reset.sh
#   POSTGRES=/usr/lib/postgresql/17/bin benches/reset.sh
#
# A round does each of these once, one after the other, so that a busy moment hits all of them:
#   reset     migrate-runner reset --slot preview-1 --to seed
#   template  dropdb --force b && createdb -T <the seed> b
#   restore   createdb c && pg_restore -j 2 -d c <a dump of the seed>
# `serves` is the part of a reset after which the fresh database serves; what follows is the drop of
# the old one, which flushes everything. `restore` drops nothing: `c` is dropped before it is timed.
# The cluster is on disk under TMPDIR with PostgreSQL's own defaults, so every commit is flushed. It
# ends with the script. Prints medians, and those of the others as multiples of the reset's.
set -eu
cd "$(dirname "$0")/.."

sizes=${SIZES:-10 200}
rounds=${ROUNDS:-3}
newest=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1)
programs=${POSTGRES:-$newest}
if ! [ -x "$programs/postgres" ]; then
    echo "reset.sh: no PostgreSQL server programs; name their directory in POSTGRES" >&2
    exit 69
fi

cargo build --quiet --locked --release --package migrate-runner
runner=$PWD/${CARGO_TARGET_DIR:-target}/release/migrate-runner

umask 077
work=$(mktemp -d)
as_server=
if [ "$(id -u)" -eq 0 ]; then
    # The server refuses to run as root.
    as_server="setpriv --reuid=postgres --regid=postgres --clear-groups"
    chmod 711 "$work"
    install -d -m 700 -o postgres "$work/run"
else
    mkdir "$work/run"
fi

stop() {
    [ ! -f "$work/run/data/postmaster.pid" ] ||
        $as_server "$programs/pg_ctl" stop -D "$work/run/data" -m immediate -s || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Any free port of loopback.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "$password" >"$work/password"
[ -z "$as_server" ] || chown postgres "$work/password"
(
    cd "$work/run"
    $as_server "$programs/initdb" -D data -U postgres -A scram-sha-256 --pwfile=../password \
        --locale=C -E UTF8 >/dev/null
    $as_server "$programs/pg_ctl" start -D data -s -w -l log \
        -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$work/run"
)
export PGHOST=127.0.0.1 PGPORT="$port" PGUSER=postgres PGPASSWORD="$password"

mkdir -p "$work/secrets" "$work/previews/m"
echo "postgresql://postgres:$password@127.0.0.1:$port/postgres" >"$work/secrets/root.url"
cat >"$work/slotguard.toml" <<END
version = 1
[roots]
worktree = "$work/previews"
[database]
endpoints = ["127.0.0.1:$port"]
role = "slot_{slot}"
password_file = "$work/secrets/slot_{slot}.pw"
admin_password_file = "$work/secrets/admin.pw"
seed_password_file = "$work/secrets/seed.pw"
END
# None of PG* may reach it.
migrate() {
    command=$1
    shift
    env -i "$runner" $command --config "$work/slotguard.toml" "$@" --format json >"$work/said" 2>&1 ||
        { cat "$work/said" >&2; exit 1; }
}
migrate provision --admin-url-file "$work/secrets/root.url" --yes

# Runs a command and appends the milliseconds it took to a file. Nobody pays for what was written
# before: dropping a database flushes everything.
timed() {
    file=$1
    shift
    "$programs/psql" -XAqtc CHECKPOINT postgres
    begin=$(date +%s%N)
    "$@"
    end=$(date +%s%N)
    echo "$(((end - begin) / 1000000))" >>"$work/times-$file"
}
template() {
    "$programs/dropdb" --force --if-exists b 2>/dev/null
    "$programs/createdb" -T app_preview_seed b
}
restore() {
    "$programs/createdb" c
    "$programs/pg_restore" -j 2 --no-owner -d c "$work/dump"
}
median() {
    sort -n "$work/times-$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

echo "PostgreSQL $("$programs/postgres" --version | sed 's/.*) //'), $rounds rounds, $(nproc) cores"
echo "| size | strategy | reset | serves | dropdb, createdb -T | createdb, pg_restore |"
echo "|---:|---|---:|---:|---:|---:|"
for size in $sizes; do
    # A fresh database has about 8 MB; a row of filler takes about 1 KB and does not compress well.
    rows=$(((size - 7) * 1000))
    echo "CREATE TABLE filler (id int PRIMARY KEY, text text);" >"$work/previews/m/V1__filler.sql"
    cat >"$work/filler.sql" <<END
INSERT INTO filler SELECT n, (SELECT string_agg(md5(n::text || k), '') FROM generate_series(1, 29) k)
    FROM generate_series(1, $rows) n;
END
    migrate "seed build" --migrations "$work/previews/m" --sql "$work/filler.sql"
    migrate reset --slot preview-1 --to seed
    strategy=$(sed -n 's/.*"strategy":"\([a-z-]*\)","oid.*/\1/p' "$work/said")
    "$programs/pg_dump" -Fc -f "$work/dump" app_preview_1
    bytes=$("$programs/psql" -XAtc "SELECT pg_database_size('app_preview_1')" postgres)
    template
    rm -f "$work"/times-*
    round=1
    while [ "$round" -le "$rounds" ]; do
        timed reset migrate reset --slot preview-1 --to seed
        sed -n 's/.*"event":"reset.\(copied\|exchanged\)".*"duration_ms":\([0-9]*\).*/\2/p' "$work/said" |
            awk '{ sum += $1 } END { print sum }' >>"$work/times-serves"
        timed template template
        "$programs/dropdb" --if-exists c 2>/dev/null
        timed restore restore
        round=$((round + 1))
    done
    "$programs/dropdb" c
    "$programs/dropdb" b
    awk -v mb="$((bytes / 1048576))" -v how="$strategy" -v a="$(median reset)" \
        -v s="$(median serves)" -v b="$(median template)" -v c="$(median restore)" 'BEGIN {
        printf "| %d MB | %s | %d ms | %d ms | %d ms (%.2f) | %d ms (%.2f) |\n",
            mb, how, a, s, b, b / a, c, c / a }'
done
