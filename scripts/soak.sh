#!/usr/bin/env bash
# The long tests with their full numbers: 10,000 random kills of a push (hours), every failpoint ten times with other faults.
#
#     scripts/soak.sh [PART]      (root; needs what `make test` needs; PART, 1 unless given, scales the numbers: 0.1 is a tenth)
source "$(dirname "$0")/common.sh"
STEPS=5
PART=${1:-1}
need_root soak
need_rust
START=$SECONDS
scaled() { awk -v full="$1" -v part="$PART" 'BEGIN { print full * part }'; }

step "packages"
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES $HOST_PACKAGES postgresql postgresql-contrib

step "build the programs"
build_programs
build_failpoints
export GLXC_TEST_REQUIRE=1 GLXC_TEST_PROGRAM=$GLXC GLXC_TEST_FAILPOINTS=$FAILPOINTS

step "properties of merged row files: $(scaled 100000) cases"
GLXC_TEST_SCALE=$(scaled 50) cargo test --quiet --release -p glxc-handlers --test merge

step "every failpoint $(scaled 10) times, then $(scaled 10000) random kills"
GLXC_TEST_SCALE=$(scaled 10) cargo test --quiet --release -p glxc-tests --test faults -- --nocapture
GLXC_TEST_SCALE=$(scaled 250) cargo test --quiet --release -p glxc-tests --test chain everything_is_back -- --nocapture

step "$(scaled 2000) pushes and pulls while an application writes"
GLXC_TEST_SCALE=$(scaled 40) cargo test --quiet --release -p glxc-tests --test writers -- --nocapture

printf '\nall passed after %d min\n' $(((SECONDS - START) / 60))
