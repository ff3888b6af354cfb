# What is tried with the unit of the sidecar inside of a systemd of its own, on a server of its own;
# prints `case.key=value`.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /opt/slotguard /etc/slotguard
cp "$1/slotguard" "$1/runtime-wrapper" "$1/migrate-runner" "$1/pg-sidecar" /opt/slotguard/
slotguard=/opt/slotguard/slotguard
state=/var/lib/slotguard/state
ip link set lo up

postgres=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
install -d -o postgres -g postgres -m 0700 /run/server
echo 's3cret-of-root' >/run/server/password
chown postgres /run/server/password
as_postgres "$postgres/initdb" -D /run/server/data -U postgres --no-sync --pwfile=/run/server/password \
    --auth-local=reject --auth-host=scram-sha-256 >/dev/null
as_postgres "$postgres/pg_ctl" -D /run/server/data -w -l /run/server/log -o '-k /run/server -c fsync=off' \
    start >/dev/null

cat >/etc/slotguard/slotguard.toml <<'CONFIG'
version = 1
[database]
endpoints = ["127.0.0.1:5432"]
role = "slot_{slot}"
password_file = "/etc/slotguard/slot_{slot}.pw"
admin_password_file = "/etc/slotguard/admin.pw"
seed_password_file = "/etc/slotguard/seed.pw"
[sidecar]
enabled = true
[programs.backend]
path = "/usr/local/bin/asks"
CONFIG
umask 077
for slot in 1 2 3; do echo "s3cret-of-slot-$slot" >"/etc/slotguard/slot_$slot.pw"; done
echo s3cret-of-admin >/etc/slotguard/admin.pw
echo s3cret-of-seed >/etc/slotguard/seed.pw
echo 'postgresql://postgres:s3cret-of-root@127.0.0.1:5432/postgres' >/run/server/url
/opt/slotguard/migrate-runner provision --admin-url-file /run/server/url --yes --format json >/dev/null
echo "provisioned.status=$?"
umask 022
"$slotguard" install --programs /opt/slotguard --scripts /srv/scripts --format json >/dev/null
systemd-sysusers >/dev/null 2>&1
systemd-tmpfiles --create /etc/tmpfiles.d/slotguard.conf /etc/tmpfiles.d/slotguard-sidecar.conf
# What a backend asks its database, and whether the server's own port answers it.
cat >/usr/local/bin/asks <<'PROGRAM'
#!/bin/sh
server=postgresql://slot_1:s3cret-of-slot-1@127.0.0.1:5432/app_preview_1
psql -XqAtw "$server" -c 'SELECT 1' >"$HOME/directly" 2>&1
psql -XqAtw "$DATABASE_URL" -c 'SELECT current_user' >"$HOME/draft" 2>&1
mv "$HOME/draft" "$HOME/answer"
exec sleep 600
PROGRAM
chmod 755 /usr/local/bin/asks
systemctl daemon-reload

show() {
    systemctl show -p ActiveState,Result,AssertResult,NRestarts "$2" | sed "s/^/$1./"
}
settled() {
    for _ in $(seq 100); do
        case $(systemctl is-active "$1") in active | failed | inactive) return ;; esac
        sleep 0.1
    done
}
main() { systemctl show -p MainPID --value "$1"; }
answered() {
    for _ in $(seq 100); do
        [ ! -s "$state/preview-1/home/answer" ] || break
        sleep 0.1
    done
    echo "$1.answer=$(cat "$state/preview-1/home/answer")"
    rm -f "$state/preview-1/home/answer"
}
url() {
    umask 077
    echo "postgresql://slot_$1:s3cret-of-slot-$1@127.0.0.1:5432/app_preview_$2" >"/etc/slotguard/preview-$1.url"
    umask 022
}

systemctl start slot-pg@preview-9.service 2>/dev/null
show unknown slot-pg@preview-9.service
systemctl start slot-pg@preview-2.service 2>/dev/null
show no-login slot-pg@preview-2.service
# Another slot's database: refused before the start, and longer than the pause before another one.
url 3 1
systemctl start slot-pg@preview-3.service 2>/dev/null
sleep 3
settled slot-pg@preview-3.service
show refused slot-pg@preview-3.service

# The backend brings its sidecar along.
url 1 1
printf '%s' '{"schema":"slotguard.slot-record/1","slot":"preview-1","worktree":null,"program":"backend",' \
    '"args":[],"release":null,"lease_generation":null,"written_at":"2026-01-01T00:00:00Z","written_by":"test"}' \
    >"$state/records/preview-1.json"
systemctl start slot-backend@preview-1.service
show running slot-pg@preview-1.service
show backend slot-backend@preview-1.service
answered backend
echo "backend.directly=$(grep -c 'Permission denied' "$state/preview-1/home/directly")"
sidecar=$(main slot-pg@preview-1.service)
echo "running.user=$(stat -c %U "/proc/$sidecar")"
echo "running.password=$(stat -c '%U:%G:%a' "$state/sidecar/preview-1/password")"
echo "running.shown=$(systemctl show 'slot-*' | grep -c s3cret)"
reads() {
    # With the groups that the user has.
    if setpriv --reuid "$2" --regid "$2" --init-groups cat "$3" >/dev/null 2>&1; then
        echo "$1=reads"
    else
        echo "$1=closed"
    fi
}
reads slot.password slot-preview-1 "$state/sidecar/preview-1/password"
reads other.password slot-preview-2 "$state/sidecar/preview-1/password"
reads slot.login slot-preview-1 /run/credentials/slot-pg@preview-1.service/database_url
reads sidecar.home slot-pg-preview-1 "$state/preview-1/home/directly"

# A crash brings both back, the backend with the new password.
backend=$(main slot-backend@preview-1.service)
kill -KILL "$sidecar"
for _ in $(seq 100); do
    now=$(main slot-backend@preview-1.service)
    [ "$now" = "$backend" ] || [ "$now" = 0 ] || break
    sleep 0.1
done
settled slot-pg@preview-1.service
show crashed slot-pg@preview-1.service
[ "$now" = "$backend" ] || echo "crashed.backend=another"
answered crashed

systemctl stop slot-pg@preview-1.service
show stopped slot-pg@preview-1.service
echo "stopped.backend=$(systemctl is-active slot-backend@preview-1.service)"
echo "stopped.left=$(ls -A "$state/sidecar/preview-1" | wc -l)"
as_postgres "$postgres/pg_ctl" -D /run/server/data -m immediate stop >/dev/null
echo end.reached=yes
