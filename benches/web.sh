#!/bin/sh
# What a request costs at `web-surface` beside nginx: files of 1 KB and 100 KB, and `/api`.
#
#   benches/web.sh               3 rounds of 3 seconds, core 0
#   SECONDS_EACH=1 ROUNDS=1 CORE=1 benches/web.sh
#
# Both fronts, the backend (nginx, `return 200`) and the load generator (wrk) share one core, so that
# the whole cost of a front is seen. Rounds are interleaved. Needs nginx, wrk and free ports 3101,
# 3201 and 8101. nginx is set up as for speed: sendfile, open_file_cache, kept upstream connections.
set -eu
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-3}
rounds=${ROUNDS:-3}
core=${CORE:-0}

for program in nginx wrk taskset; do
    command -v "$program" >/dev/null || {
        echo "web.sh: $program is missing" >&2
        exit 69
    }
done
cargo build --quiet --locked --release --package web-surface
program=$PWD/${CARGO_TARGET_DIR:-target}/release/web-surface

work=$(mktemp -d)
chmod 755 "$work"
started=
stop() {
    for pid in $started; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

mkdir "$work/web"
printf 'version = 1\n' >"$work/slotguard.toml"
echo '<p>index' >"$work/web/index.html"
head -c 1024 /dev/urandom >"$work/web/1k.bin"
head -c 102400 /dev/urandom >"$work/web/100k.bin"
user=
[ "$(id -u)" -ne 0 ] || user='user root;'

nginx_with() {
    name=$1
    {
        echo "$user daemon off; worker_processes 1; pid $work/$name.pid; error_log stderr crit;"
        echo "events { worker_connections 512; }"
        echo "http { access_log off; tcp_nodelay on; keepalive_requests 10000000;"
        echo "client_body_temp_path $work/b; proxy_temp_path $work/p; fastcgi_temp_path $work/f;"
        echo "uwsgi_temp_path $work/u; scgi_temp_path $work/s;"
        cat
        echo "}"
    } >"$work/$name.conf"
    taskset -c "$core" nginx -p "$work" -e stderr -c "$work/$name.conf" &
    started="$started $!"
}

nginx_with backend <<END
server { listen 127.0.0.1:8101; location / { return 200 "ok"; } }
END
nginx_with front <<END
sendfile on; tcp_nopush on; open_file_cache max=100;
upstream backend { server 127.0.0.1:8101; keepalive 64; keepalive_requests 10000000; }
server {
    listen 127.0.0.1:3201; root $work/web;
    location /api { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
}
END
taskset -c "$core" "$program" serve --slot preview-1 --config "$work/slotguard.toml" \
    --release "$work/web" --no-access-log >"$work/log" &
started="$started $!"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    grep -q web.started "$work/log" && break
    sleep 0.2
done

# Prints requests a second and the 99th percentile.
measure() {
    taskset -c "$core" wrk -t1 -c"$1" -d"${seconds}s" --latency "http://127.0.0.1:$2$3" |
        awk '/Requests\/sec/ { rate = $2 } /99%/ { p99 = $2 } /Non-2xx/ { bad = 1 }
             END { if (bad || !rate) exit 1; print rate, p99 }'
}

median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

echo "what           connections  nginx/s  p99      web-surface/s  p99      ratio"
for job in "32 /1k.bin" "32 /100k.bin" "32 /api/x" "1 /api/x"; do
    connections=${job%% *}
    path=${job#* }
    : >"$work/nginx"
    : >"$work/own"
    round=1
    while [ "$round" -le "$rounds" ]; do
        measure "$connections" 3201 "$path" >>"$work/nginx"
        measure "$connections" 3101 "$path" >>"$work/own"
        round=$((round + 1))
    done
    echo "$path $connections $(median "$work/nginx") $(median "$work/own")" |
        awk '{ printf "%-14s %11d  %7d  %-7s  %13d  %-7s  %.2f\n", $1, $2, $3, $4, $5, $6, $5 / $3 }'
done
