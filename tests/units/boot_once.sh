# Boots a systemd on an overlay of this host, lets it do one job, and ends with it.
#
#   sh boot_once.sh DIRECTORY PROGRAMS
#
# DIRECTORY/job is run inside as root and writes to DIRECTORY/said; nothing else of what happens inside
# stays. The caller bounds the time.
set -eu
directory=$1
programs=$2
if [ -z "${3:-}" ]; then
    group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/slotguard-once-$$
    mkdir "$group"
    own=$(sed -n 's/^0:://p' /proc/self/cgroup)
    echo $$ >"$group/cgroup.procs"
    unshare --fork --pid --mount --uts --ipc --cgroup --net --kill-child \
        sh "$0" "$directory" "$programs" inside && status=0 || status=$?
    echo $$ >"${group%/*}$own/cgroup.procs"
    # The manager has left its own groups behind, empty.
    find "$group" -depth -type d -exec rmdir {} +
    exit "$status"
fi
mount --make-rprivate /
mkdir -p "$directory/layers"
mount -t tmpfs tmpfs "$directory/layers"
root=$directory/layers/root
mkdir "$directory/layers/upper" "$directory/layers/work" "$root"
mount -t overlay overlay \
    -o "lowerdir=/,upperdir=$directory/layers/upper,workdir=$directory/layers/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for shared in "$directory" "$programs"; do
    mkdir -p "$root$shared"
    mount --bind "$shared" "$root$shared"
done
mkdir -p "$root/run/systemd/system" "$root/run/old"
cat >"$root/run/systemd/system/once.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh $directory/job $programs
StandardOutput=file:$directory/said
StandardError=file:$directory/said
ExecStopPost=/bin/systemctl exit --force
UNIT
cd "$root"
pivot_root . run/old
umount -l /run/old
mount --make-rshared /
# Any value: systemd then leaves the host's devices and clock alone.
export container=slotguard
exec /lib/systemd/systemd --system --unit=once.service --log-target=console --log-level=err \
    --show-status=no
