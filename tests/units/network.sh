# What the rules for the network let each slot's user do, in a network and an /etc of its own; prints
# `case=result`.
#
#   sh network.sh DIRECTORY PROGRAMS
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
directory=$1
slotguard=$2/slotguard
if [ -z "${3:-}" ]; then
    exec unshare --net --mount --kill-child --fork sh "$0" "$1" "$2" inside
fi
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs "$directory"
mkdir "$directory/upper" "$directory/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$directory/upper,workdir=$directory/work" /etc

doctor() {
    "$slotguard" doctor --format json | tr '{' '\n' |
        sed -n 's/.*"name":"network rules","state":"\([a-z-]*\)".*/\1/p'
}

echo "doctor.before=$(doctor)"
"$slotguard" install --nftables --scripts /etc/slotguard/scripts --format json >/dev/null
systemd-sysusers /etc/sysusers.d/slotguard.conf >/dev/null 2>&1
echo "doctor.not-loaded=$(doctor)"
nft -f /etc/slotguard/slots.nft
nft -f /etc/slotguard/slots.nft
echo "doctor.loaded=$(doctor)"

listeners=
listen() {
    setpriv --reuid "$1" --clear-groups python3 -c '
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=16)
print("up", flush=True)
while True:
    s.accept()[0].close()' "$2" >"$directory/up-$2" &
    listeners="$listeners $!"
    for _ in $(seq 100); do
        [ ! -s "$directory/up-$2" ] || return 0
        sleep 0.05
    done
}
reach() {
    setpriv --reuid "$2" --clear-groups python3 -c '
import socket, sys
source = ("127.0.0.1", int(sys.argv[2])) if len(sys.argv) > 2 else None
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1, source).close()
    print("reached")
except OSError:
    print("refused")' "$3" ${4:-} | sed "s/^/$1=/"
}

listen root 8090
# Before the port is taken.
reach from-own-port slot-preview-1 8090 8101
listen slot-preview-1 8101
listen slot-preview-1 8103
listen slot-preview-2 8102
listen root 5432
reach own-port root 8101
reach foreign-port root 8103
reach database slot-preview-1 5432
reach other-slot slot-preview-1 8102
reach elsewhere slot-preview-1 8090
reach other-user nobody 8090
kill $listeners
echo end=reached
