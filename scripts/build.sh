#!/usr/bin/env bash
# Builds the programs into target/release.
source "$(dirname "$0")/common.sh"
need_rust
if [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2086
    need_packages $BUILD_PACKAGES
fi
echo "building (some minutes the first time)"
build_programs
echo "built $GLXC"
