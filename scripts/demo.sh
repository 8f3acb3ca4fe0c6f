#!/usr/bin/env bash
# The main job, shown: a shop is pushed into a new container, an order is changed through its page, and the change is pulled.
source "$(dirname "$0")/common.sh"
STEPS=7
NAME=demo
SHOP=$ROOT/demo-shop
need_root demo
need_rust

if [ -x "$TARGET/release/glxc" ] && [ -d "$SHOP/.git" ]; then
    echo "A warm run: seconds."
else
    echo "A first run takes about 5 minutes on 2 cores, longer on a slow line: packages, building, a Debian root, the container."
fi
START=$SECONDS

step "packages"
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES $HOST_PACKAGES curl

step "build the programs"
build_programs

step "a repository with a shop: ./demo-shop"
if [ ! -d "$SHOP/.git" ]; then
    cp -r examples/shop "$SHOP"
    git -C "$SHOP" init -q -b main
    git -C "$SHOP" config user.name >/dev/null || git -C "$SHOP" config user.name "Demo"
    git -C "$SHOP" config user.email >/dev/null || git -C "$SHOP" config user.email "demo@example.invalid"
    git -C "$SHOP" add -A
    git -C "$SHOP" commit -q -m "The shop"
fi
cd "$SHOP"
git status --short --branch | head -n 3

step "glxc init $NAME; git push $NAME main"
"$GLXC" init "$NAME"
git push "$NAME" main

step "change an order through the shop's page, as a browser would"
URL=$("$GLXC" url "$NAME")
echo "the shop is at $URL"
COOKIES=$(mktemp)
trap 'rm -f "$COOKIES"' EXIT
page() {
    curl --silent --show-error --fail --max-time 30 --cookie "$COOKIES" --cookie-jar "$COOKIES" "$@"
}
PAGE=$(page "$URL")
TOKEN=$(grep -om1 'name="token" value="[0-9a-f]*"' <<<"$PAGE" | cut -d'"' -f4)
[ -n "$TOKEN" ] || fail "the page at $URL has no form"
# The order that the demo changes, and the status that it has not yet.
ORDER=3
FORM=$(sed -n "/id=\"order-$ORDER\"/,/<\/form>/p" <<<"$PAGE")
NOW=$(grep -o '<option selected>[a-z]*' <<<"$FORM" | cut -d'>' -f2)
NEXT=paid
[ "$NOW" != paid ] || NEXT=packed
page --data-urlencode "token=$TOKEN" --data-urlencode "id=$ORDER" --data-urlencode "status=$NEXT" --data-urlencode "note=" "$URL" >/dev/null
echo "order $ORDER: $NOW -> $NEXT"

step "git pull $NAME main"
git pull --no-edit --no-rebase "$NAME" main

step "what came back"
git --no-pager log -1 --format='%h %s'
git --no-pager diff --unified=0 HEAD~ | grep -E '^[-+]([^-+]|$)'

cat <<END

Done after $(((SECONDS - START) / 60)) min $(((SECONDS - START) % 60)) s. The shop runs at $URL, its database page at ${URL}adminer
(database shop, user adminer, password: sudo $GLXC exec $NAME -- cat /root/adminer.password).

Try next, in ./demo-shop:
  edit a line of data/shop/data/public.products/rows.tsv, then
    git commit -am "a new price" && git push $NAME main
  change something on the page, then
    git pull $NAME main && git show
  lose the container and get it back:
    $GLXC destroy $NAME && git push $NAME main

Remove it all:
    $GLXC destroy --discard $NAME; rm -rf $SHOP
END
