#!/usr/bin/env bash
# Measures the main costs on one container, each against the native way in the same run, and prints ratios.
#
#     bench/run.sh [ROWS]          (root; needs what `make demo` needs; 1,000,000 rows unless said otherwise)
source "$(dirname "$0")/../scripts/common.sh"
ROWS=${1:-1000000}
NAME=glxc-bench
SHOP=glxc-bench-shop
RUNS=5
need_root bench
need_rust
need_packages $BUILD_PACKAGES $HOST_PACKAGES bc curl
build_programs
WORK=$(mktemp -d)
remove() { "$GLXC" destroy --discard "$1" >/dev/null 2>&1 || true; }
trap 'remove $NAME; remove $SHOP; rm -rf "$WORK"' EXIT
mkdir "$WORK/bench"
cd "$WORK/bench"
remove $NAME
remove $SHOP

# The median of the seconds that a command takes in $RUNS runs. The first word prepares each run, and is not measured.
median() {
    local prepare=$1 run begin
    shift
    for run in $(seq "$RUNS"); do
        { "$prepare" "$run" && begin=$(date +%s.%N) && "$@"; } >/dev/null 2>"$WORK/errors" || { cat "$WORK/errors" >&2; exit 1; }
        echo "$(date +%s.%N) - $begin" | bc
    done | sort -n | sed -n "$(((RUNS + 1) / 2))p"
}
ratio() { echo "scale=2; $1 / $2" | bc; }
inside() { "$GLXC" exec $NAME -- sh -c "$1"; }
sql() { "$GLXC" exec $NAME -- runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d bench -c "$1"; }

git init -q -b main .
git config user.name Bench
git config user.email bench@example.invalid
"$GLXC" init $NAME 2>/dev/null
cat >glxc.toml <<'END'
[container]
release = "bookworm"
[state.bench]
handler = "postgresql"
path = "data"
database = "bench"
END
mkdir -p sysconf/actual
echo sysconf.base >sysconf/actual/deps
echo 'sysconf_require_packages postgresql' >sysconf/actual/setup.rc
git add -A
git commit -qm start
git push -q $NAME main 2>/dev/null
"$GLXC" exec $NAME -- runuser -u postgres -- psql -Xqc "CREATE DATABASE bench TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
sql "CREATE TABLE t (id bigint PRIMARY KEY, a text NOT NULL, b numeric, c timestamptz);
     INSERT INTO t SELECT n, md5(n::text) || md5((n * 7)::text), n / 3.0, timestamptz '2026-01-01' + n * interval '1 second'
         FROM generate_series(1, $ROWS) n; ANALYZE t"
echo "$ROWS rows, $(sql "SELECT pg_size_pretty(pg_table_size('t'))"); seconds are medians of $RUNS runs"

# The most memory that a process of the guest had while git pulls or pushes.
guest_memory() {
    GLXC_TRACE=1 "$@" 2>&1 | sed -nE 's/.*the most memory that was used kib=([0-9]+).*/\1/p' | sort -n | tail -n 1 |
        awk '{ printf "%.0f MiB", $1 / 1024 }'
}
pull() { git pull -q --no-edit --no-rebase $NAME main; }
push() { git push -q $NAME main; }

# 1. A full export, as the first pull is, against pg_dump into git, and a plain ordered COPY.
dump_add() {
    inside 'rm -rf /root/dump; mkdir /root/dump && cd /root/dump && git init -q . && runuser -u postgres -- pg_dump bench > dump.sql && git add dump.sql'
}
ordered_copy() { inside "runuser -u postgres -- psql -XAtq -d bench -c 'COPY (SELECT * FROM t ORDER BY id) TO STDOUT' > /dev/null"; }
dump=$(median : dump_add)
copy=$(median : ordered_copy)
a=$(RUNS=1 median : pull)
echo "first pull: $a s, pg_dump + git add: $dump s, ratio $(ratio "$a" "$dump"); ordered COPY: $copy s, ratio $(ratio "$a" "$copy")"

# 2. A pull with nothing changed, against a plain fetch through the same pipe.
pull_nothing() { git fetch -q $NAME main; }
plain_fetch() {
    git -c protocol.ext.allow=user fetch -q "ext::$GLXC exec $NAME -- git upload-pack /var/lib/glxc/repo.git" main
}
a=$(median : pull_nothing)
b=$(median : plain_fetch)
echo "pull with nothing changed: $a s, plain git fetch through attach: $b s, ratio $(ratio "$a" "$b")"

# 3. A pull after one changed row (every row is read).
change_live() { sql "UPDATE t SET b = b + 1 WHERE id = $ROWS / 2"; }
a=$(median change_live pull)
change_live
echo "memory of the guest in such a pull: $(guest_memory pull)"
echo "pull of one changed row: $a s, pg_dump + git add: $dump s, ratio $(ratio "$a" "$dump"); ordered COPY: $copy s, ratio $(ratio "$a" "$copy")"

# 4. A push of one changed row, against dropping and loading the table.
commit_row() {
    local part
    part=$(git ls-files 'data/data/public.t/*' | sed -n 5p)
    sed -i "20s/[^\t]*\t[^\t]*$/$RANDOM.$1\t2026-01-01 00:00:00+00/" "$part"
    git commit -qam "one row"
}
reload() {
    inside "cd / && runuser -u postgres -- sh -c 'pg_dump -Fc -t t bench > /tmp/t.dump; pg_restore --clean --if-exists -d bench /tmp/t.dump'"
}
inside 'chmod 1777 /tmp'
a=$(median commit_row push)
b=$(median : reload)
commit_row 8
echo "memory of the guest in such a push: $(guest_memory push)"
echo "push of one changed row: $a s, drop and reload: $b s, $(ratio "$b" "$a") times cheaper"

# 5. A push of 10,000 changed rows, in one place and all over the table, against as many UPDATE statements in one transaction.
MANY=$((ROWS < 10000 ? ROWS : 10000))
commit_many() {
    pull
    local part
    for part in $(git ls-files 'data/data/public.t/*'); do
        awk -F'\t' -v OFS='\t' -v from="$FROM" -v to=$((FROM + STEP * MANY)) -v step="$STEP" -v new="$1$RANDOM" \
            '!/^#/ && $1 >= from && $1 < to && ($1 - from) % step == 0 { $3 = $1 "." new } { print }' "$part" >"$WORK/part"
        cmp -s "$WORK/part" "$part" || cp "$WORK/part" "$part"
    done
    git commit -qam "many rows"
}
write_updates() {
    { echo 'BEGIN;'; seq "$FROM" "$STEP" $((FROM + STEP * MANY - 1)) |
        sed "s/.*/UPDATE t SET b = &.$1$RANDOM WHERE id = &;/"; echo 'COMMIT;'; } >"$WORK/updates.sql"
}
update_many() { "$GLXC" exec $NAME -- runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -d bench <"$WORK/updates.sql"; }
for STEP in 1 $((ROWS / MANY)); do
    FROM=$((STEP == 1 ? (ROWS - MANY) / 2 + 1 : 1))
    a=$(median commit_many push)
    b=$(median write_updates update_many)
    where=$([ $STEP = 1 ] && echo "in one place" || echo "all over the table")
    echo "push of $MANY changed rows $where: $a s, $MANY UPDATE statements: $b s, ratio $(ratio "$a" "$b")"
done

# 6. From a warm `git push` to a page that answers, with a new price that the page shows; and where the time goes.
cp -r "$ROOT/examples/shop" "$WORK/shop"
cd "$WORK/shop"
git init -q -b main .
git config user.name Bench
git config user.email bench@example.invalid
git add -A
git commit -qm start
"$GLXC" init $SHOP 2>/dev/null
git push -q $SHOP main 2>/dev/null
URL=$("$GLXC" url $SHOP)
PRICES=data/shop/data/public.products/rows.tsv
commit_price() {
    git pull -q --no-edit --no-rebase $SHOP main
    PRICE=$((1000 + RANDOM)).$((10 + $1))
    awk -F'\t' -v OFS='\t' -v price="$PRICE" 'NR == 1 { for (i = 3; i <= NF; i++) if ($i == "price") at = i - 2 }
        NR == 2 { $at = price } { print }' $PRICES >"$WORK/part"
    cp "$WORK/part" $PRICES
    git commit -qam "a price"
}
push_and_look() {
    git push -q $SHOP main
    until curl --silent --fail --max-time 30 "$URL" | tr -d ',' | grep -q "$PRICE"; do sleep 0.01; done
}
echo "git push to a page that answers: $(median commit_price push_and_look) s; the steps of one such push:"
commit_price 9
begin=$(date +%s%N)
GLXC_TRACE=1 git push -q $SHOP main 2>"$WORK/trace"
whole=$((($(date +%s%N) - begin) / 1000000))
begin=$(date +%s%N)
curl --silent --fail --max-time 30 "$URL" >/dev/null
page=$((($(date +%s%N) - begin) / 1000000))
sed -nE 's/.*DEBUG (receive:)?([a-z]+(\{state="[a-z]+"\})?): .*time\.busy=([0-9.]+[a-zµ]+).*/    \2 \4/p' "$WORK/trace" |
    sed 's/{state="\(.*\)"}/ \1/' | awk '{ printf "    %-20s %s\n", $1 (NF > 2 ? " " $2 : ""), $NF }'
printf '    %-20s %s\n' "git push, whole" "$whole ms" "the page" "$page ms"
