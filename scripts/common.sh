# Shared by the scripts of this folder. Sourced by bash.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
ARCH=$(uname -m)

fail() {
    printf '\nerror: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# Prints a numbered step; STEPS says how many there are.
step() {
    STEP=$((${STEP:-0} + 1))
    printf '\n==> %d/%d %s\n' "$STEP" "$STEPS" "$1"
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "this needs root: it installs packages and makes containers" "sudo -E make $1"
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null || fail "Rust is not installed" "install rustup (https://rustup.rs), then run this again"
    local have
    have=$(cargo --version | cut -d' ' -f2)
    printf '1.88.0\n%s\n' "$have" | sort -V -C || fail "Rust $have is too old: 1.88 or newer is needed" "rustup update"
}

# Installs the Debian packages that are missing.
need_packages() {
    command -v apt-get >/dev/null || fail "this script installs packages with apt-get, which is not here" \
        "install the equivalents of: $*"
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing: ${missing[*]}"
    local log
    log=$(mktemp)
    # A package's own service is not wanted here, and in a container without systemd it could not start.
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "apt-get could not install: ${missing[*]}"
    fi
    rm -f "$log"
}

# What building needs, and what running containers needs.
BUILD_PACKAGES="gcc libc6-dev pkg-config libclang-dev lxc-dev git"
HOST_PACKAGES="lxc uidmap mmdebstrap iproute2 bridge-utils iptables dnsmasq-base ca-certificates"

# Builds the three programs: the guest first, statically, then the keeper, then the front that holds both.
build_programs() {
    local host=$ARCH-unknown-linux-gnu
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release --package glxc-bin --bin guest \
        --no-default-features --features guest --target "$host" --target-dir "$TARGET/guest"
    export GLXC_GUEST=$TARGET/guest/$host/release/guest
    cargo build --quiet --release --package glxc-bin --bin keeper --no-default-features --features keeper
    export GLXC_KEEPER=$TARGET/release/keeper
    cargo build --quiet --release --package glxc-bin --bin glxc
    GLXC=$TARGET/release/glxc
}

# Builds the guest of examples/custom-backend, as anybody builds a guest of their own.
build_example_guest() {
    local host=$ARCH-unknown-linux-gnu
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release --package glxc-example-redis \
        --target "$host" --target-dir "$TARGET/guest"
    REDIS_GUEST=$TARGET/guest/$host/release/redis-guest
}

# Builds the programs once more with a guest that dies where a test tells it to, into a prefix of their own.
build_failpoints() {
    local host=$ARCH-unknown-linux-gnu prefix=$TARGET/failpoints
    FAILPOINTS_GUEST=$prefix/libexec/glxc/guest-$ARCH
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release --package glxc-bin --bin guest \
        --no-default-features --features failpoints --target "$host" --target-dir "$TARGET/guest"
    (unset GLXC_GUEST GLXC_KEEPER; cargo build --quiet --package glxc-bin --bin glxc)
    install -D "$TARGET/debug/glxc" "$prefix/bin/glxc"
    install -D "$TARGET/release/keeper" "$prefix/libexec/glxc/keeper"
    install -D "$TARGET/guest/$host/release/guest" "$FAILPOINTS_GUEST"
    FAILPOINTS=$prefix/bin/glxc
}

# Where an unpacked Debian SUITE with the server of PostgreSQL VERSION is. Its user reaches sockets there, so no folder above may
# be closed, as the one of a checkout may be.
postgresql_root() {
    echo "/var/cache/glxc-tests/postgresql-$1-$2"
}

# Makes an unpacked system where it is missing or older than a month: its NAME, its folder, its SUITE, and what else mmdebstrap is
# told. The newest suites move, and at times can not be installed: then an old one is good enough. Nothing in it makes anybody root.
need_unpacked() {
    local name=$1 root=$2 suite=$3 new=$2.new log
    shift 3
    [ -z "$(find "$root" -maxdepth 0 -mtime -30 2>/dev/null)" ] || return 0
    echo "unpacking $name of Debian $suite"
    rm -rf "$new"
    mkdir -p "$(dirname "$root")"
    log=$(mktemp)
    if mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
        --essential-hook='mkdir -p "$1/etc/postgresql-common"' \
        --essential-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' "$@" \
        --customize-hook='find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +' \
        "$suite" "$new" http://deb.debian.org/debian >"$log" 2>&1; then
        rm -rf "$root"
        mv "$new" "$root"
        touch "$root"
    else
        rm -rf "$new"
        tail -n 20 "$log" >&2
        [ -d "$root" ] || fail "$name of Debian $suite could not be unpacked"
        echo "keeping the one of $(date -r "$root" +%F)"
    fi
    rm -f "$log"
}

# Its user `postgres` is the one of this system, whom the handler logs in as.
need_postgresql_root() {
    need_unpacked "PostgreSQL $1" "$(postgresql_root "$1" "$2")" "$2" --include="postgresql-$1" \
        --customize-hook="chroot \"\$1\" usermod --uid $(id -u postgres) postgres"
}

# Where an unpacked Debian SUITE with the server of MariaDB or MySQL VERSION is.
mariadb_root() {
    echo "/var/cache/glxc-tests/mariadb-$1-$2"
}

mysql_root() {
    echo "/var/cache/glxc-tests/mysql-$1-$2"
}

# Its user `mysql` is the one of this system, who owns the folder of a server.
need_mariadb_root() {
    need_unpacked "MariaDB $1" "$(mariadb_root "$1" "$2")" "$2" --include=mariadb-server \
        --customize-hook="chroot \"\$1\" usermod --non-unique --uid $(id -u mysql) mysql"
}

need_mysql_root() {
    need_unpacked "MySQL $1" "$(mysql_root "$1" "$2")" "$2" --include=mysql-server \
        --customize-hook="chroot \"\$1\" usermod --non-unique --uid $(id -u mysql) mysql"
    # The suite moves: what was unpacked says itself which version it is.
    echo "MySQL of Debian $2: $(dpkg-query --admindir="$(mysql_root "$1" "$2")/var/lib/dpkg" -W -f '${Version}' mysql-server)"
}

# Where the unpacked system with FerretDB is: it speaks the protocol of MongoDB, of which Debian has no package, and keeps the data in
# PostgreSQL with DocumentDB.
FERRETDB=2.7.0
ferretdb_root() {
    echo "/var/cache/glxc-tests/ferretdb-$FERRETDB-forky"
}

need_ferretdb_root() {
    # It is built there, and only the program stays. Go asks by TLS, which takes the certificates of this system.
    need_unpacked "FerretDB $FERRETDB" "$(ferretdb_root)" forky --include=postgresql-18-documentdb,golang-go \
        --customize-hook='install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"' \
        --customize-hook="chroot \"\$1\" env HOME=/tmp/go GOPATH=/tmp/go GOFLAGS=-modcacherw GOBIN=/usr/local/bin CGO_ENABLED=0 \
            go install github.com/FerretDB/FerretDB/v2/cmd/ferretdb@v$FERRETDB" \
        --customize-hook='rm -rf "$1/tmp/go"' \
        --customize-hook='chroot "$1" apt-get -q -y autoremove --purge golang-go'
}

# Runs tests of the whole chain beside each other: each has containers of its own and waits most of its time. Each argument is
# TEST=SCALE. What each said is shown once it ends, and goes to the file $LOG.
run_chain() {
    local logs test name failed=0
    local -A running
    logs=$(mktemp -d)
    cargo test --quiet -p glxc-tests --no-run
    for test in "$@"; do
        name=${test%=*}
        echo "cargo test -p glxc-tests --test $name"
        GLXC_TEST_SCALE=${test#*=} cargo test --quiet -p glxc-tests --test "$name" -- --nocapture >"$logs/$name" 2>&1 &
        running[$name]=$!
    done
    for test in "$@"; do
        name=${test%=*}
        wait "${running[$name]}" || { failed=1; printf 'failed: '; }
        printf '%s:\n' "$name"
        grep -vE '^$|^running |^\.+$|has been running for' "$logs/$name" || true
        cat "$logs/$name" >>"$LOG"
    done
    rm -rf "$logs"
    return $failed
}
