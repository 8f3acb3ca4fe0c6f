#!/usr/bin/env bash
# The quick part of the tests: format, lints for each set of features, documentation, and who depends on whom.
source "$(dirname "$0")/common.sh"
need_rust

echo "format"
cargo fmt --all --check

# Each set of features compiles alone, without a warning.
SETS=(
    "-p glxc-handlers --no-default-features"
    "-p glxc-handlers"
    "-p glxc-handlers --features postgresql"
    "-p glxc-handlers --features mysql"
    "-p glxc-handlers --features mongodb"
    "-p glxc-sysconf"
    "-p glxc-lxc"
    "-p glxc-transport"
    "-p glxc-bin"
    "-p glxc-bin --no-default-features --features keeper"
    "-p glxc-bin --no-default-features --features guest"
    "-p glxc-bin --no-default-features --features failpoints"
    "-p glxc-tests"
    "-p glxc-example-embed"
    "-p glxc-example-redis"
)
for set in "${SETS[@]}"; do
    echo "clippy $set"
    # shellcheck disable=SC2086
    cargo clippy --quiet $set --all-targets -- -D warnings
done

echo "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --features glxc-handlers/postgresql,glxc-handlers/mysql,glxc-handlers/mongodb,glxc-bin/keeper,glxc-bin/guest

# A light set of features brings no database client, and only the keeper brings liblxc.
brings_no() {
    local crates=$1 tree
    shift
    tree=$(cargo tree --quiet --edges normal --prefix none "$@")
    if grep -E "^($crates) " <<<"$tree"; then
        fail "cargo tree $* brings what it must not"
    fi
}
echo "dependencies"
clients="postgres|tokio-postgres|tokio|mysql|mysql_common|mongodb"
brings_no "$clients|lxc-sys|glxc-lxc" -p glxc-handlers
# The client of MongoDB is our own.
brings_no "$clients|lxc-sys|glxc-lxc" -p glxc-handlers --features mongodb
brings_no "$clients|lxc-sys|glxc-lxc|glxc-sysconf" -p glxc-transport
brings_no "$clients|lxc-sys|glxc-lxc|glxc-handlers|glxc-transport" -p glxc-sysconf
brings_no "$clients|glxc-handlers|glxc-transport" -p glxc-lxc
brings_no "$clients|lxc-sys|glxc-lxc" -p glxc-bin
brings_no "lxc-sys|glxc-lxc" -p glxc-bin --no-default-features --features guest
brings_no "$clients" -p glxc-bin --no-default-features --features keeper
# The proof proves something: what may be brought is found.
brings() {
    local crate=$1
    shift
    grep -q "^$crate " <<<"$(cargo tree --quiet --edges normal --prefix none "$@")" || fail "cargo tree $* lacks $crate"
}
brings tokio-postgres -p glxc-handlers --features postgresql
brings mysql -p glxc-handlers --features mysql
brings lxc-sys -p glxc-bin --no-default-features --features keeper
