# MariaDB: what bench/run.sh measures against.

HANDLER=mysql
SETUP='sysconf_require_packages mariadb-server mydumper'
ROWS_FOLDER=data/data/t

sql() { "$GLXC" exec $NAME -- mariadb --batch --skip-column-names -e "$1" bench; }

create() {
    inside "mariadb -e 'CREATE DATABASE bench CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci'"
    sql "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(100) NOT NULL, b bigint, c datetime);
         INSERT INTO t SELECT seq, CONCAT(MD5(seq), MD5(seq * 7)), seq * 3, '2026-01-01' + INTERVAL seq SECOND FROM seq_1_to_$1"
    sql 'ANALYZE TABLE t' >/dev/null
}

DUMP='mariadb-dump'
dump_add() {
    inside 'rm -rf /root/dump; mkdir /root/dump && cd /root/dump && git init -q . &&
        mariadb-dump --single-transaction --order-by-primary --skip-dump-date bench > dump.sql && git add dump.sql'
}

SCAN='an ordered SELECT'
scan() { inside "mariadb --quick --batch --skip-column-names -e 'SELECT * FROM t ORDER BY id' bench > /dev/null"; }

drop() { sql 'DROP DATABASE bench'; }

RESTORE='myloader -t 2'
save() { inside 'rm -rf /root/saved; mydumper -B bench -t 2 -o /root/saved'; }
restore() { inside 'myloader -t 2 -d /root/saved'; }

reload() { inside 'mariadb-dump bench t > /tmp/t.sql; mariadb bench < /tmp/t.sql'; }

update_many() { "$GLXC" exec $NAME -- mariadb bench; }
