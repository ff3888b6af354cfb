# Shared by ./demo and ./test: finds Rust and the Postgres server programs, installing the latter.
# Sourced, not run. Messages for people go to standard error.

say() { printf '%s\n' "$*" >&2; }

# Prints the line that installs packages, and ends with 69 (unavailable).
ask_to_install() {
    say "$1 is missing. Install it with:"
    say "    sudo apt-get install -y $2"
    exit 69
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 && return
    say "cargo is missing. Install Rust 1.95 or later, then run this again."
    exit 69
}

# Debian keeps initdb and postgres off the PATH.
has_postgres() {
    for directory in $(printf '%s' "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
        [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ] && return 0
    done
    return 1
}

# Installs a package, as root; an ordinary user is told the exact line instead.
install_package() {
    name=$1
    package=$2
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        ask_to_install "$name" "$package"
    fi
    say "Installing $package from the distribution …"
    apt_get update
    [ "$package" != postgresql ] || keep_default_cluster_away
    apt_get install "$package" || ask_to_install "$name" "$package"
}

apt_get() {
    action=$1
    shift
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends "$action" "$@" >&2
}

# Every server here is a throw-away one; the one that the package would start is not wanted.
keep_default_cluster_away() {
    apt_get install postgresql-common || return 0
    sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf
}

need_postgres() {
    has_postgres || install_package "The PostgreSQL server" postgresql
    has_postgres || ask_to_install "The PostgreSQL server" postgresql
}

# A pooler, for the tests of identity; who cannot install it sees them say SKIPPED.
want_pgbouncer() {
    [ -x /usr/sbin/pgbouncer ] && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing pgbouncer from the distribution …"
        apt_get update
        if apt_get install pgbouncer; then
            # The tests start their own; the one that the package starts is not wanted.
            command -v systemctl >/dev/null 2>&1 && systemctl --quiet disable --now pgbouncer || true
            return 0
        fi
    fi
    say "pgbouncer is missing; the tests that need it will be skipped. Install it with:"
    say "    sudo apt-get install -y pgbouncer"
}

# Proxies, for the tests of routes; who cannot install them sees these tests say SKIPPED.
want_proxies() {
    [ -x /usr/sbin/nginx ] && [ -x /usr/bin/caddy ] && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing nginx and caddy from the distribution …"
        apt_get update
        without_services apt_get install nginx-light caddy && return
    fi
    say "nginx or caddy is missing; the tests that need them will be skipped. Install them with:"
    say "    sudo apt-get install -y nginx-light caddy"
}

# Rules of packets, for the tests of units; who cannot install them sees these tests say SKIPPED.
want_nftables() {
    [ -x /usr/sbin/nft ] && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing nftables from the distribution …"
        apt_get update
        without_services apt_get install nftables && return
    fi
    say "nftables is missing; the tests that need it will be skipped. Install it with:"
    say "    sudo apt-get install -y nftables"
}

# A browser, for the tests of what people see; who cannot install it sees these tests say SKIPPED.
want_browser() {
    [ -x /usr/bin/chromium ] && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing chromium from the distribution …"
        apt_get update
        apt_get install chromium fonts-dejavu-core && return
    fi
    say "chromium is missing; the tests that need it will be skipped. Install it with:"
    say "    sudo apt-get install -y chromium"
}

# Runs an installation during which no service is started: the tests start their own.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    outcome=0
    "$@" || outcome=$?
    rm -f "$policy"
    # Nor at the next start of the machine.
    if command -v systemctl >/dev/null 2>&1; then
        systemctl --quiet disable nginx caddy >/dev/null 2>&1 || true
    fi
    return "$outcome"
}

# Linking needs a C compiler driver.
need_linker() {
    command -v cc >/dev/null 2>&1 || install_package "A C compiler (to link Rust programs)" gcc
}

# People watch cargo's progress on a terminal; a log is better off without it.
quiet_off_a_terminal() {
    [ -t 2 ] || printf '%s' --quiet
}
