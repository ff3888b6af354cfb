# Boots a systemd of its own on an overlay of this host, with a directory and the programs shared.
#
#   sh boot-systemd.sh DIRECTORY PROGRAMS
#
# Its units are those of DIRECTORY/units; the first line of output is its control group.
set -eu
directory=$1
programs=$2
if [ -z "${3:-}" ]; then
    tree=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    group=$tree/slotguard-box-$$
    mkdir "$group"
    echo "$group"
    echo $$ >"$group/cgroup.procs"
    # Whoever started this may be killed; then all of it ends, too.
    exec setpriv --pdeathsig KILL \
        unshare --fork --pid --mount --uts --ipc --cgroup --kill-child \
        sh "$0" "$directory" "$programs" inside
fi
mount --make-rprivate /
layers=$directory/box
mkdir -p "$layers"
mount -t tmpfs tmpfs "$layers"
root=$layers/root
mkdir "$layers/upper" "$layers/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$root"
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
cp "$directory"/units/* "$root/run/systemd/system/"
cd "$root"
pivot_root . run/old
umount -l /run/old
# Without this, credentials of units cannot be mounted.
mount --make-rshared /
# Any value: systemd then leaves the host's devices and clock alone.
export container=slotguard
exec /lib/systemd/systemd --system --unit=box.target --log-target=console --log-level=err \
    --show-status=no
