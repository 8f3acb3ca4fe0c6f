#!/usr/bin/env bash
# Installs what scripts/build.sh built. Programs are replaced by rename: a running one is never written to.
source "$(dirname "$0")/common.sh"
PREFIX=$1
put() {
    install -D -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
}
put 755 "$TARGET/release/glxc" "$PREFIX/bin/glxc"
ln -sfn glxc "$PREFIX/bin/git-remote-glxc"
put 755 "$TARGET/release/keeper" "$PREFIX/libexec/glxc/keeper"
put 755 "$TARGET/guest/$ARCH-unknown-linux-gnu/release/guest" "$PREFIX/libexec/glxc/guest-$ARCH"
for document in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs/ARCHITECTURE.md docs/EMBEDDING.md docs/FORMATS.md; do
    put 644 "$document" "$PREFIX/share/doc/glxc/$(basename "$document")"
done
echo "installed under $PREFIX"
