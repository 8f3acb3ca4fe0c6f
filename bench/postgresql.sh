# PostgreSQL: what bench/run.sh measures against.

HANDLER=postgresql
SETUP='sysconf_require_packages postgresql'
ROWS_FOLDER=data/data/public.t

as_postgres() { "$GLXC" exec $NAME -- runuser -u postgres -- "$@"; }
sql() { as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d bench -c "$1"; }

create() {
    as_postgres psql -Xqc "CREATE DATABASE bench TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
    sql "CREATE TABLE t (id bigint PRIMARY KEY, a text NOT NULL, b bigint, c timestamptz);
         INSERT INTO t SELECT n, md5(n::text) || md5((n * 7)::text), n * 3, timestamptz '2026-01-01' + n * interval '1 second'
             FROM generate_series(1, $1) n"
    sql 'VACUUM ANALYZE t'
}

DUMP='pg_dump'
dump_add() {
    inside 'rm -rf /root/dump; mkdir /root/dump && cd /root/dump && git init -q . && runuser -u postgres -- pg_dump bench > dump.sql && git add dump.sql'
}

SCAN='an ordered COPY'
scan() { inside "runuser -u postgres -- psql -XAtq -d bench -c 'COPY (SELECT * FROM t ORDER BY id) TO STDOUT' > /dev/null"; }

drop() { as_postgres psql -Xqc 'DROP DATABASE bench'; }

RESTORE='pg_restore -j2'
save() { inside 'rm -rf /tmp/saved; runuser -u postgres -- pg_dump -Fd -f /tmp/saved bench'; }
restore() { as_postgres pg_restore -j2 --create -d postgres /tmp/saved; }

reload() {
    inside 'cd / && runuser -u postgres -- sh -c "pg_dump -Fc -t t bench > /tmp/t.dump; pg_restore --clean --if-exists -d bench /tmp/t.dump"'
}

update_many() { as_postgres psql -Xq -v ON_ERROR_STOP=1 -d bench; }
