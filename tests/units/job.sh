# What is tried with the installed units inside of a systemd of its own; prints `case.key=value`.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /opt/slotguard
cp "$1/slotguard" "$1/runtime-wrapper" "$1/web-surface" /opt/slotguard/
slotguard=/opt/slotguard/slotguard
state=/var/lib/slotguard/state
ip link set lo up
[ ! -x /usr/sbin/nft ] || rules=--nftables
"$slotguard" install ${rules:-} --programs /opt/slotguard --scripts /srv/scripts --format json >/dev/null
systemd-sysusers /etc/sysusers.d/slotguard.conf >/dev/null 2>&1
systemd-tmpfiles --create /etc/tmpfiles.d/slotguard.conf
printf '[programs.backend]\npath = "/bin/sleep"\nargs = ["600"]\n[sandbox]\nrequire = []\n' \
    >>/etc/slotguard/slotguard.toml
systemctl daemon-reload

show() {
    systemctl show -p ActiveState,Result,AssertResult,ExecMainStatus,NRestarts "$2" | sed "s/^/$1./"
}
settled() {
    for _ in $(seq 50); do
        case $(systemctl is-active "$1") in active | failed | inactive) return ;; esac
        sleep 0.1
    done
}
start() {
    systemctl start "slot-backend@$2.service" 2>/dev/null
    settled "slot-backend@$2.service"
    show "$1" "slot-backend@$2.service"
}

start unknown preview-9
start path ..-..-etc
start unassigned preview-1

# A record that nobody can read: the wrapper refuses, longer than the pause before a restart.
echo '{}' >"$state/records/preview-1.json"
systemctl start slot-backend@preview-1.service 2>/dev/null
sleep 3
settled slot-backend@preview-1.service
show refused slot-backend@preview-1.service

# The neighbour: the same unit and wrapper, told what to run on the command line.
mkdir -p /etc/systemd/system/slot-backend@.service.d
printf '[Service]\nExecStart=\nExecStart=%s exec --slot %%i -- /bin/sleep 600\n' \
    /opt/slotguard/runtime-wrapper >/etc/systemd/system/slot-backend@.service.d/command.conf
systemctl daemon-reload
systemctl reset-failed
start running preview-1
pid=$(systemctl show -p MainPID --value slot-backend@preview-1.service)
echo "running.rules=$(systemctl is-active slotguard-nftables.service)"
echo "running.user=$(stat -c %U "/proc/$pid")"
echo "running.command=$(tr '\0' ' ' <"/proc/$pid/cmdline")"
echo "running.group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")"
echo "running.core=$(awk '/^Max core/ { print $5 $6 }' "/proc/$pid/limits")"
echo "slice.$(systemctl show -p MemoryMax slotguard-preview-1.slice)"
echo "slice.$(systemctl show -p TasksMax slotguard-preview-1.slice)"
kill -KILL "$pid"
for _ in $(seq 50); do
    [ "$(systemctl show -p NRestarts --value slot-backend@preview-1.service)" = 0 ] || break
    sleep 0.1
done
settled slot-backend@preview-1.service
show crashed slot-backend@preview-1.service
systemctl stop slot-backend@preview-1.service
show stopped slot-backend@preview-1.service

# A password that only root can read reaches the backend of another user, from its record.
"$slotguard" install --url-files ${rules:-} --programs /opt/slotguard --scripts /srv/scripts --format json >/dev/null
rm /etc/systemd/system/slot-backend@.service.d/command.conf
(umask 077 && echo 'postgresql://slot_2:s3cret@127.0.0.1:5432/app_preview_2' >/etc/slotguard/preview-2.url)
printf '%s' '{"schema":"slotguard.slot-record/1","slot":"preview-2","worktree":null,"program":"backend",' \
    '"args":[],"release":null,"lease_generation":null,"written_at":"2026-01-01T00:00:00Z","written_by":"test"}' \
    >"$state/records/preview-2.json"
chmod 644 "$state/records/preview-2.json"
systemctl daemon-reload
start secret preview-2
pid=$(systemctl show -p MainPID --value slot-backend@preview-2.service)
echo "secret.arrived=$(tr '\0' '\n' <"/proc/$pid/environ" | grep -c '^DATABASE_URL=.*s3cret@')"
echo "secret.shown=$(systemctl show slot-backend@preview-2.service | grep -c s3cret)"
systemctl stop slot-backend@preview-2.service

# The front, under the contract's name, from a release that root has published.
web=/srv/oroboros/current/infra/web-preview-1
release=releases/0123456789abcdef01234567
mkdir -p "$web/$release"
echo '<html>published</html>' >"$web/$release/index.html"
ln -s "$release" "$web/current"
systemctl start ouroboros-web@preview1.service
settled ouroboros-web@preview1.service
show front ouroboros-web@preview1.service
page=$(/usr/bin/python3 -c 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:3101/", timeout=5).read().decode().strip())')
echo "front.page=$page"
# Whose the backend is shows in the user of its socket; a request with a body waits for no restart.
ask_api() {
    setpriv --reuid="$1" --clear-groups --regid="$2" \
        /usr/bin/python3 -m http.server 8101 --bind 127.0.0.1 >/dev/null 2>&1 &
    server=$!
    /usr/bin/python3 -c '
import time, urllib.error, urllib.request as r
for _ in range(100):
    try:
        answer = r.urlopen(r.Request("http://127.0.0.1:3101/api/x", data=b"x"), timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    if answer.status != 503:
        break
    time.sleep(0.1)
body = answer.read().decode()
print(answer.status, body.split("\"code\":\"")[1][:6] if "SG" in body else "")
'
    kill "$server"
    wait "$server" 2>/dev/null
}
echo "front.own=$(ask_api slot-preview-1 slot-preview-1)"
echo "front.foreign=$(ask_api nobody nogroup)"
systemctl stop ouroboros-web@preview1.service
systemctl start ouroboros-web@preview-1.service 2>/dev/null
show alias ouroboros-web@preview-1.service

rm "$state/records/preview-1.json"
"$slotguard" slot claim --slot preview-1 --owner test --for 1s --format json >/dev/null
sleep 2
systemctl start slotguard-reaper.service
show reaper slotguard-reaper.service
echo "reaped.$("$slotguard" slot list --format json | tr ',' '\n' | grep -m1 '"standing"' | tr ':' '=')"
echo "reaped.page=$(grep -c '<h1>preview-1 is free' "$web/current/index.html")"
echo "reaped.kept=$(cat "$web/$release/index.html")"
systemctl start slotguard-reaper.timer
show timer slotguard-reaper.timer
echo end.reached=yes
