#!/usr/bin/env bash
# Measures the main costs on one container, each against the native way in the same run, and prints ratios.
#
#     bench/run.sh [ROWS]          (root; needs what `make demo` needs; 1,000,000 rows unless said otherwise)
source "$(dirname "$0")/../scripts/common.sh"
ROWS=${1:-1000000}
NAME=glxc-bench
RUNS=5
need_root bench
need_rust
need_packages $BUILD_PACKAGES $HOST_PACKAGES bc
build_programs
WORK=$(mktemp -d)
trap '"$GLXC" destroy --discard $NAME >/dev/null 2>&1; rm -rf "$WORK"' EXIT
cd "$WORK"
"$GLXC" destroy --discard $NAME >/dev/null 2>&1 || true

# The median of the seconds that a command takes in $RUNS runs.
median() {
    local run begin
    for run in $(seq "$RUNS"); do
        begin=$(date +%s.%N)
        "$@" >/dev/null 2>"$WORK/errors" || { cat "$WORK/errors" >&2; exit 1; }
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

begin=$(date +%s.%N)
git pull -q --no-edit --no-rebase $NAME main 2>/dev/null
echo "first pull: $(echo "$(date +%s.%N) - $begin" | bc) s"

# 1. A pull with nothing changed, against a plain fetch through the same pipe.
pull_nothing() { git fetch -q $NAME main; }
plain_fetch() {
    git -c protocol.ext.allow=user fetch -q "ext::$GLXC exec $NAME -- git upload-pack /var/lib/glxc/repo.git" main
}
a=$(median pull_nothing)
b=$(median plain_fetch)
echo "pull with nothing changed: $a s, plain git fetch through attach: $b s, ratio $(ratio "$a" "$b")"

# 2. A pull after one changed row (every row is read), against pg_dump into git, and a plain ordered COPY.
pull_row() {
    sql "UPDATE t SET b = b + 1 WHERE id = $ROWS / 2"
    git pull -q --no-edit --no-rebase $NAME main
}
dump_add() {
    inside 'rm -rf /root/dump; mkdir /root/dump && cd /root/dump && git init -q . && runuser -u postgres -- pg_dump bench > dump.sql && git add dump.sql'
}
ordered_copy() { inside "runuser -u postgres -- psql -XAtq -d bench -c 'COPY (SELECT * FROM t ORDER BY id) TO STDOUT' > /dev/null"; }
a=$(median pull_row)
b=$(median dump_add)
c=$(median ordered_copy)
echo "pull of one changed row: $a s, pg_dump + git add: $b s, ratio $(ratio "$a" "$b"); ordered COPY: $c s, ratio $(ratio "$a" "$c")"

# 3. A push of one changed row, against dropping and loading the table.
number=0
push_row() {
    number=$((number + 1))
    local part
    part=$(git ls-files 'data/data/public.t/*' | sed -n 5p)
    sed -i "20s/[^\t]*\t[^\t]*$/$RANDOM.$number\t2026-01-01 00:00:00+00/" "$part"
    git commit -qam "one row"
    git push -q $NAME main
}
reload() {
    inside "cd / && runuser -u postgres -- sh -c 'pg_dump -Fc -t t bench > /tmp/t.dump; pg_restore --clean --if-exists -d bench /tmp/t.dump'"
}
inside 'chmod 1777 /tmp'
a=$(median push_row)
b=$(median reload)
echo "push of one changed row: $a s, drop and reload: $b s, $(ratio "$b" "$a") times cheaper"
