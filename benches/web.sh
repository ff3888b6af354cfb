#!/bin/sh
# What a request costs at `web-surface` beside nginx: files of 1 KB and 100 KB, and `/api`.
#
#   benches/web.sh                           1 and 32 connections, 3 rounds of 3 seconds, core 0
#   ROUNDS=5 SECONDS_EACH=5 CORE=1 CONNECTIONS=32 benches/web.sh
#
# Both fronts, the backend (nginx, `return 200`) and the load generator (wrk) share one core, so that
# the whole cost of a front is seen. A round asks nginx, then web-surface; the first one, which warms
# both up, is not counted. Prints medians of the rate and of the 99th percentile, how they compare, and
# whether the aims of benches/README.md are met: files 1.2 times, /api 0.85 times, p99 within 1.25
# times. Ends with 1 if one is not. Run it on an idle machine. Needs nginx, wrk and free ports 3101,
# 3201 and 8101. nginx is set up as for speed: sendfile, open_file_cache, kept upstream connections.
set -eu
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-3}
rounds=${ROUNDS:-3}
core=${CORE:-0}
connections=${CONNECTIONS:-1 32}

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
trap 'exit 130' INT TERM

mkdir "$work/web"
mkdir "$work/state"
printf 'version = 1\n[roots]\nstate = "%s/state"\n' "$work" >"$work/slotguard.toml"
chmod 600 "$work/slotguard.toml"
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

# Prints requests a second and the 99th percentile in microseconds.
measure() {
    taskset -c "$core" wrk -t1 -c"$1" -d"${seconds}s" --latency "http://127.0.0.1:$2$3" |
        awk 'function micros(text) {
                 if (text ~ /us$/) return text + 0
                 if (text ~ /ms$/) return text * 1000
                 return text * 1000000
             }
             /Requests\/sec/ { rate = $2 } $1 == "99%" { p99 = micros($2) } /Non-2xx/ { bad = 1 }
             /Socket errors/ { bad = 1 }
             END { if (bad || !rate || p99 == "") exit 1; print rate, p99 }'
}

# Prints the median of a column.
median() { cut -d" " -f"$2" "$1" | sort -n | sed -n "$(((rounds + 1) / 2))p"; }

row='%-10s %5s  %9s %9s %6s  %8s %8s %6s  %s\n'
# shellcheck disable=SC2059
printf "$row" what conns nginx/s own/s ratio "p99 us" own ratio aims
missed=0
for path in /1k.bin /100k.bin /api/x; do
    for count in $connections; do
        : >"$work/nginx"
        : >"$work/own"
        round=0
        while [ "$round" -le "$rounds" ]; do
            one=$(measure "$count" 3201 "$path") && other=$(measure "$count" 3101 "$path") || {
                echo "web.sh: $path was not answered as it should be" >&2
                exit 70
            }
            if [ "$round" -gt 0 ]; then
                echo "$one" >>"$work/nginx"
                echo "$other" >>"$work/own"
            fi
            round=$((round + 1))
        done
        line=$(echo "$path $count $(median "$work/nginx" 1) $(median "$work/own" 1)" \
            "$(median "$work/nginx" 2) $(median "$work/own" 2)" |
            awk -v row="$row" '{
                aim = $1 ~ /^\/api/ ? 0.85 : 1.2
                rate = $4 / $3
                late = $6 / $5
                met = rate >= aim && late <= 1.25 ? "met" : "missed"
                printf row, $1, $2, int($3), int($4), sprintf("%.2f", rate), int($5), int($6), \
                    sprintf("%.2f", late), met
            }')
        echo "$line"
        case $line in *missed) missed=1 ;; esac
    done
done
exit "$missed"
