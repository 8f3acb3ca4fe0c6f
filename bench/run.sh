#!/usr/bin/env bash
# Measures the main costs in a container, each against the native way in the same run, and prints ratios.
#
#     bench/run.sh [ENGINE... [ROWS...]]     (root; needs what `make demo` needs)
#
# An ENGINE is one of the files beside this one, or `page`; without one all are measured, with 100,000, 1,000,000 and 5,000,000 rows.
source "$(dirname "$0")/../scripts/common.sh"
NAME=glxc-bench
SHOP=glxc-bench-shop
ENGINES=() SIZES=()
for word in "$@"; do
    if [[ $word =~ ^[0-9]+$ ]]; then SIZES+=("$word"); else ENGINES+=("$word"); fi
done
[ ${#ENGINES[@]} -gt 0 ] || ENGINES=(postgresql mysql page)
[ ${#SIZES[@]} -gt 0 ] || SIZES=(100000 1000000 5000000)
need_root bench
need_rust
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES $HOST_PACKAGES bc curl
build_programs
WORK=$(mktemp -d)
remove() { "$GLXC" destroy --discard "$1" >/dev/null 2>&1 || true; }
trap 'remove $NAME; remove $SHOP; rm -rf "$WORK"' EXIT

# The median of the seconds that a command takes in $RUNS runs. The first word prepares each run, and is not measured.
median() {
    local prepare=$1 run begin
    shift
    for run in $(seq "$RUNS"); do
        { "$prepare" "$run" && begin=$(date +%s.%N) && "$@"; } >/dev/null 2>"$WORK/errors" || { cat "$WORK/errors" >&2; exit 1; }
        echo "$(date +%s.%N) - $begin" | bc
    done | sort -n | sed -n "$(((RUNS + 1) / 2))p"
}
# A line of the report: what was measured, its seconds, and pairs of a native way and its seconds.
report() {
    local what=$1 seconds=$2 line
    shift 2
    line=$(printf '%s: %.2f s' "$what" "$seconds")
    while [ $# -gt 0 ]; do
        line+=$(printf '; %s: %.2f s, ratio %.2f' "$1" "$2" "$(echo "scale=4; $seconds / $2" | bc)")
        shift 2
    done
    echo "  $line"
}
inside() { "$GLXC" exec $NAME -- sh -c "$1"; }
pull() { git pull -q --no-edit --no-rebase $NAME main; }
push() { git push -q "$@" $NAME main; }
repository() {
    git init -q -b main .
    git config user.name Bench
    git config user.email bench@example.invalid
}
# The most memory that a process of the guest had while git pulls or pushes.
guest_memory() {
    GLXC_TRACE=1 "$@" 2>&1 | sed -nE 's/.*the most memory that was used kib=([0-9]+).*/\1/p' | sort -n | tail -n 1 |
        awk '{ printf "%.0f MiB", $1 / 1024 }'
}

# What a change live, and a commit, changes: its argument makes the new values.
change_live() { sql "UPDATE t SET b = b + 1 WHERE id = $ROWS / 2"; }
commit_row() {
    local part
    part=$(git ls-files "$ROWS_FOLDER/*" | sed -n 1p)
    awk -F'\t' -v OFS='\t' -v new="$1$RANDOM" 'NR == 20 { $3 = new } { print }' "$part" >"$WORK/part"
    cp "$WORK/part" "$part"
    git commit -qam "one row"
}
MANY=10000
commit_many() {
    pull
    local part
    for part in $(git ls-files "$ROWS_FOLDER/*"); do
        awk -F'\t' -v OFS='\t' -v from="$FROM" -v to=$((FROM + STEP * MANY)) -v step="$STEP" -v new="$1$RANDOM" \
            '!/^#/ && $1 >= from && $1 < to && ($1 - from) % step == 0 { $3 = $1 new } { print }' "$part" >"$WORK/part"
        cmp -s "$WORK/part" "$part" || cp "$WORK/part" "$part"
    done
    git commit -qam "many rows"
}
write_updates() {
    { echo 'BEGIN;'; seq "$FROM" "$STEP" $((FROM + STEP * MANY - 1)) |
        sed "s/.*/UPDATE t SET b = &$1$RANDOM WHERE id = &;/"; echo 'COMMIT;'; } >"$WORK/updates.sql"
}
update_from_file() { update_many <"$WORK/updates.sql"; }
commit_and_drop() {
    commit_row "$1"
    drop
}

# One engine with one number of rows, in a container of its own.
measure() {
    local a b c
    # shellcheck source=/dev/null
    source "$ROOT/bench/$1.sh"
    ROWS=$2
    RUNS=$((ROWS > 1000000 ? 3 : 5))
    remove $NAME
    rm -rf "$WORK/bench"
    mkdir -p "$WORK/bench/sysconf/actual"
    cd "$WORK/bench"
    repository
    "$GLXC" init $NAME 2>/dev/null
    cat >glxc.toml <<END
[container]
release = "bookworm"
memory = "4G"
[state.bench]
handler = "$HANDLER"
path = "data"
database = "bench"
END
    echo sysconf.base >sysconf/actual/deps
    echo "$SETUP" >sysconf/actual/setup.rc
    git add -A
    git commit -qm start
    push 2>/dev/null
    inside 'chmod 1777 /tmp'
    create "$ROWS"
    echo "$1, $ROWS rows; seconds are medians of $RUNS runs"

    b=$(median : dump_add)
    c=$(median : scan)
    a=$(RUNS=1 median : pull)
    report "first pull, a full export" "$a" "$DUMP + git add" "$b" "$SCAN" "$c"

    # An uninteresting fetch through the same pipe costs what git and attaching cost.
    a=$(median : git fetch -q $NAME main)
    b=$(median : git -c protocol.ext.allow=user fetch -q "ext::$GLXC exec $NAME -- git upload-pack /var/lib/glxc/repo.git" main)
    report "pull with nothing changed" "$a" "a plain git fetch" "$b"

    a=$(median change_live pull)
    change_live
    report "pull of one changed row, $(guest_memory pull)" "$a" "$SCAN" "$c"

    a=$(median commit_row push)
    b=$(median : reload)
    commit_row 8
    report "push of one changed row, $(guest_memory push)" "$a" "drop and reload" "$b"

    # In one place, and all over the table.
    for STEP in 1 $((ROWS / MANY)); do
        FROM=$((STEP == 1 ? (ROWS - MANY) / 2 + 1 : 1))
        a=$(median commit_many push)
        b=$(median write_updates update_from_file)
        pull
        report "push of $MANY changed rows $([ "$STEP" = 1 ] && echo in one place || echo all over)" "$a" "as many UPDATE statements" "$b"
    done

    save >/dev/null 2>&1
    a=$(RUNS=1 median commit_and_drop push -o replace=bench)
    b=$(RUNS=1 median drop restore)
    report "push of everything, a full import" "$a" "$RESTORE" "$b"
}

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

# From a warm `git push` to a page that answers, with a new price that the page shows; and where the time goes.
measure_page() {
    local begin whole page
    RUNS=5
    cp -r "$ROOT/examples/shop" "$WORK/shop"
    cd "$WORK/shop"
    repository
    git add -A
    git commit -qm start
    "$GLXC" init $SHOP 2>/dev/null
    git push -q $SHOP main 2>/dev/null
    URL=$("$GLXC" url $SHOP)
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
}

for engine in "${ENGINES[@]}"; do
    if [ "$engine" = page ]; then
        measure_page
        continue
    fi
    for size in "${SIZES[@]}"; do
        measure "$engine" "$size"
    done
done
