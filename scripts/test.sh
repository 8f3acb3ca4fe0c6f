#!/usr/bin/env bash
# Everything: the checks, the tests of each crate against real servers and containers, and the whole chain.
source "$(dirname "$0")/common.sh"
STEPS=4
need_root test
need_rust
START=$SECONDS

step "packages"
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES $HOST_PACKAGES postgresql postgresql-contrib mariadb-server redis-server chromium chromium-driver curl strace \
    util-linux
need_postgresql_root 17 trixie
need_postgresql_root 18 forky
need_mariadb_root 11.8 trixie
need_mysql_root 9.7 sid
need_ferretdb_root

step "checks (format, lints, documentation, dependencies)"
scripts/check.sh

LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT
FAILED=0
export GLXC_TEST_REQUIRE=1

# A command may fail without a line of a failed test: it does not compile, or it is killed.
run_tests() {
    echo "cargo test $*"
    local status
    set +e +o pipefail
    cargo test --quiet --no-fail-fast "$@" 2>&1 | tee -a "$LOG" | grep -vE '^$|^running |^\.+$|^\.+ [0-9]+/[0-9]+$'
    status=${PIPESTATUS[0]}
    set -e -o pipefail
    if [ "$status" != 0 ]; then
        echo "failed: cargo test $*"
        FAILED=1
    fi
}

run_tests -p glxc-handlers --features postgresql
# The other versions of PostgreSQL: what costs minutes, and is alike in all, is run on the newest or not at all.
on_postgresql() {
    local root
    root=$(postgresql_root "$1" "$2")
    echo "PostgreSQL $1 of Debian $2"
    shift 2
    GLXC_TEST_POSTGRESQL=$root run_tests -p glxc-handlers --features postgresql --test postgresql_schema
    GLXC_TEST_POSTGRESQL=$root run_tests -p glxc-handlers --features postgresql --test postgresql -- "$@"
}
on_postgresql 17 trixie --skip hostile:: --skip memory:: --skip pairs::
on_postgresql 18 forky --skip hostile:: --skip memory::
run_tests -p glxc-handlers --features mysql --test mysql
echo "MariaDB 11.8 of Debian trixie"
GLXC_TEST_MYSQL=$(mariadb_root 11.8 trixie) run_tests -p glxc-handlers --features mysql --test mysql -- --skip memory::
echo "MySQL 9.7 of Debian sid"
GLXC_TEST_MYSQL=$(mysql_root 9.7 sid) run_tests -p glxc-handlers --features mysql --test mysql
GLXC_TEST_FERRETDB=$(ferretdb_root)
export GLXC_TEST_FERRETDB
run_tests -p glxc-handlers --features mongodb --test mongodb
run_tests -p glxc-sysconf
run_tests -p glxc-transport
run_tests -p glxc-lxc
run_tests -p glxc-example-embed
run_tests -p glxc-example-redis
run_tests -p glxc-bin
run_tests -p glxc-bin --no-default-features --features keeper
run_tests -p glxc-bin --no-default-features --features guest

step "the whole chain, on real containers"
build_programs
export GLXC_TEST_PROGRAM=$GLXC
has_failpoints() { grep -qa 'is no failpoint' "$1"; }
if has_failpoints "$GLXC_GUEST"; then fail "the guest that users get has failpoints"; fi
build_failpoints
has_failpoints "$FAILPOINTS_GUEST" || fail "the guest for the tests has no failpoints"
export GLXC_TEST_FAILPOINTS=$FAILPOINTS
build_example_guest
export GLXC_TEST_REDIS_GUEST=$REDIS_GUEST
run_tests -p glxc-tests --lib
SCALE=${GLXC_TEST_SCALE:-1}
run_chain browser=1 chain=1 destroy=1 examples=1 "faults=$SCALE" "kills=$SCALE" load=1 mariadb=1 mongodb=1 redis=1 "writers=$SCALE" || FAILED=1

awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$LOG" >"$LOG.sum"
printf '\nafter %d min %d s' $(((SECONDS - START) / 60)) $(((SECONDS - START) % 60))
cat "$LOG.sum"
rm -f "$LOG.sum"
exit $FAILED
