#!/usr/bin/env bash
# The long tests with their full numbers: 10,000 random kills of a push, every failpoint ten times with other faults, 2,000
# pushes and pulls while an application writes. Hours on 2 cores.
#
#     scripts/soak.sh [PART]      (root; needs what `make test` needs; PART, 1 unless given, scales the numbers: 0.1 is a tenth)
source "$(dirname "$0")/common.sh"
STEPS=4
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

step "every failpoint $(scaled 10) times, $(scaled 10000) random kills, $(scaled 2000) pushes and pulls while an application writes"
LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT
run_chain "faults=$(scaled 10)" "kills=$(scaled 250)" "writers=$(scaled 40)" || fail "a part of it failed"

printf '\nall passed after %d min\n' $(((SECONDS - START) / 60))
