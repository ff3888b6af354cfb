#!/bin/sh
# What starting a program costs: the wrapper beside env, setpriv, bwrap and sudo.
#
#   benches/exec.sh              300 rounds
#   ROUNDS=1000 benches/exec.sh
#
# A round starts /bin/true once in each way, one after the other, and takes the processor time that
# wait4 reports, so that a busy machine disturbs little. Prints medians, their ratio to `env -i`, and
# the median of the ratios within a round. Needs python3; takes of bwrap and sudo what is installed.
# The wrapper is the static build of a release, with and without the sandbox, run from a copy as an
# installation makes one: a file that the linker wrote through a mapping lies in the page cache page
# by page, and mapping it costs a start about 0.3 ms that a copied file does not cost.
set -eu
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-gnu
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --quiet --locked --release --target "$target" --package runtime-wrapper
built=$PWD/${CARGO_TARGET_DIR:-target}/$target/release/runtime-wrapper

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrapper=$work/runtime-wrapper
install -m 755 "$built" "$wrapper"
for kind in off full; do
    cat >"$work/$kind.toml" <<TOML
version = 1
[database]
endpoints = ["127.0.0.1:5432"]
[roots]
state = "$work/state"
[programs.nothing]
path = "/bin/true"
TOML
done
printf '[sandbox]\nrequire = []\n' >>"$work/off.toml"

ways() {
    tab='\t%s'
    printf "directly$tab\n" /bin/true
    printf "env -i$tab$tab$tab\n" /usr/bin/env -i /bin/true
    printf "setpriv --no-new-privs$tab$tab$tab\n" /usr/bin/setpriv --no-new-privs /bin/true
    if [ -x /usr/bin/bwrap ]; then
        printf "bwrap --ro-bind / /$tab$tab$tab$tab$tab\n" /usr/bin/bwrap --ro-bind / / /bin/true
    fi
    if [ -x /usr/bin/sudo ]; then
        printf "sudo -n$tab$tab$tab\n" /usr/bin/sudo -n /bin/true
    fi
    for kind in off full; do
        printf "wrapper, sandbox $kind$tab$tab$tab$tab$tab$tab$tab$tab\n" "$wrapper" \
            exec --config "$work/$kind.toml" --slot preview-1 -- /bin/true
    done
}

ways | python3 benches/exec.py "${ROUNDS:-300}"
