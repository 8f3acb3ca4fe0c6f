//! NOT NULL that is a constraint with a name: of domains from 17, of columns from 18 on.

use ::postgres::Client;
use glxc_handlers::postgresql::schema;

use crate::common::postgres;
use crate::{apply, assert_same, both, files, load, read};

const DOMAINS: &str = "
    CREATE SCHEMA s;
    CREATE DOMAIN s.plain AS integer NOT NULL;
    CREATE DOMAIN s.named AS integer CONSTRAINT given NOT NULL CHECK (VALUE > 0);
    COMMENT ON CONSTRAINT given ON DOMAIN s.named IS 'always';
    CREATE DOMAIN s.other AS integer CONSTRAINT late_not_null CHECK (VALUE > 0);
    CREATE DOMAIN s.late AS integer CONSTRAINT late_not_null NOT NULL;
";

const TABLES: &str = r#"
    CREATE TABLE s.t (id integer PRIMARY KEY, a integer NOT NULL, b integer CONSTRAINT "It's" NOT NULL,
        c integer CONSTRAINT alone NOT NULL NO INHERIT, d integer, named s.named);
    ALTER TABLE s.t ADD CONSTRAINT later NOT NULL d NOT VALID;
    COMMENT ON CONSTRAINT later ON s.t IS 'later';
    COMMENT ON CONSTRAINT "It's" ON s.t IS 'it''s';
    CREATE TABLE s.a_table_with_a_name_so_long_that_the_server (has_to_cut_the_names_it_makes integer NOT NULL);
    CREATE TABLE s.was (a integer NOT NULL);
    ALTER TABLE s.was RENAME TO was_once;
    CREATE TABLE s.was (a integer NOT NULL);
    CREATE TABLE s.second (a integer CONSTRAINT third_a_not_null NOT NULL);
    CREATE TABLE s.third (a integer CONSTRAINT third_a_not_null NOT NULL);

    CREATE TABLE s.base (a integer NOT NULL, b integer, c integer);
    CREATE TABLE s.d1 () INHERITS (s.base);
    CREATE TABLE s.d2 (a integer) INHERITS (s.base);
    CREATE TABLE s.d3 (a integer NOT NULL) INHERITS (s.base);
    CREATE TABLE s.d4 (a integer CONSTRAINT mine NOT NULL) INHERITS (s.base);
    CREATE TABLE s.d5 (LIKE s.base);
    ALTER TABLE s.d5 INHERIT s.base;
    ALTER TABLE s.d1 ALTER COLUMN a SET NOT NULL;
    ALTER TABLE s.d1 ALTER COLUMN b SET NOT NULL;
    ALTER TABLE s.d2 ADD CONSTRAINT own NOT NULL b;
    ALTER TABLE s.base ALTER COLUMN b SET NOT NULL;
    COMMENT ON CONSTRAINT own ON s.d2 IS 'its own';
    ALTER TABLE s.d3 ALTER COLUMN c SET NOT NULL;

    CREATE TABLE s.d6 (PRIMARY KEY (a)) INHERITS (s.base);
    CREATE TABLE s.d7 () INHERITS (s.base);
    ALTER TABLE s.d7 ADD PRIMARY KEY (a);
    CREATE TABLE s.d9 () INHERITS (s.base);
    ALTER TABLE s.d9 ADD CONSTRAINT d9_c_not_null NOT NULL c;
    ALTER TABLE s.d9 ADD PRIMARY KEY (a, c);
    CREATE TABLE s.d8 (a integer) INHERITS (s.base);
    ALTER TABLE s.d8 ADD PRIMARY KEY (a);

    CREATE TABLE s.p (a integer NOT NULL, b integer, c integer CONSTRAINT given NOT NULL) PARTITION BY LIST (a);
    CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES IN (1);
    CREATE TABLE s.p2 PARTITION OF s.p FOR VALUES IN (2);
    ALTER TABLE s.p2 ALTER COLUMN a SET NOT NULL;
    ALTER TABLE s.p2 ALTER COLUMN b SET NOT NULL;
    CREATE TABLE s.p3 (a integer NOT NULL, b integer NOT NULL, c integer CONSTRAINT mine NOT NULL);
    ALTER TABLE s.p ATTACH PARTITION s.p3 FOR VALUES IN (3);
    ALTER TABLE s.p3 ALTER COLUMN c SET NOT NULL;
    CREATE TABLE s.p4 (c integer CONSTRAINT given NOT NULL, b integer, a integer CONSTRAINT p_a_not_null NOT NULL);
    ALTER TABLE s.p ATTACH PARTITION s.p4 FOR VALUES IN (4);
    CREATE TABLE s.detached PARTITION OF s.p FOR VALUES IN (5);
    ALTER TABLE s.p DETACH PARTITION s.detached;
"#;

/// Every such constraint, as the catalogs have it.
fn constraints(client: &mut Client) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', k.conrelid::regclass, k.contypid::regtype, k.conname, a.attname, k.conislocal, k.coninhcount, \
               k.connoinherit, k.convalidated, obj_description(k.oid, 'pg_constraint')) FROM pg_constraint k \
               LEFT JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] \
               WHERE k.contype = 'n' AND k.connamespace = 's'::regnamespace ORDER BY 1";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn each_comes_back_as_it_was() {
    let Some(cluster) = postgres::shared().filter(|cluster| cluster.major() >= 17) else { return };
    let mut original = cluster.create("not_null");
    cluster.psql("not_null", DOMAINS);
    if cluster.major() >= 18 {
        cluster.psql("not_null", TABLES);
    }
    let (model, written) = both(&mut original);
    let loaded = load(cluster, &written, "00000000000000d1").unwrap_or_else(|error| panic!("{error}"));
    assert_same(&written, &schema::files(&loaded).unwrap().into_iter().collect());
    let mut copy = cluster.create("not_null_copy");
    let plan = schema::plan(&read(&mut copy), &loaded).unwrap();
    apply(&mut copy, &plan);
    assert_same(&written, &files(&mut copy));
    let wanted = constraints(&mut original);
    assert!(wanted.len() >= if cluster.major() >= 18 { 40 } else { 3 }, "{wanted:#?}");
    assert_eq!(constraints(&mut copy), wanted);
    assert!(schema::plan(&model, &read(&mut copy)).unwrap().is_empty());
}

#[test]
fn words_say_only_what_the_server_would_not_do() {
    let Some(cluster) = postgres::shared().filter(|cluster| cluster.major() >= 18) else { return };
    let mut client = cluster.create("not_null_words");
    cluster.psql("not_null_words", DOMAINS);
    cluster.psql("not_null_words", TABLES);
    let files = files(&mut client);
    let all: String = files.values().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    for line in [
        "    a integer NOT NULL,\n    b integer CONSTRAINT \"It's\" NOT NULL,\n    c integer,\n    d integer,\n",
        "ALTER TABLE s.t ADD CONSTRAINT alone NOT NULL c NO INHERIT;\n",
        "ALTER TABLE s.t ADD CONSTRAINT later NOT NULL d NOT VALID;\n",
        "COMMENT ON CONSTRAINT \"It's\" ON s.t IS 'it''s';\n",
        "CREATE TABLE s.was (\n    a integer CONSTRAINT was_a_not_null1 NOT NULL\n)",
        "CREATE TABLE s.third (\n    a integer CONSTRAINT third_a_not_null NOT NULL\n)",
        "CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES IN (1);\n",
        "CREATE TABLE s.d2 (\n    a integer,\n    CONSTRAINT own NOT NULL b\n)\nINHERITS (s.base);\n",
        "CREATE TABLE s.d6 (\n    CONSTRAINT d6_pkey PRIMARY KEY (a)\n)\nINHERITS (s.base);\n",
        "ALTER DOMAIN s.plain SET NOT NULL;\n",
        "ALTER DOMAIN s.named ADD CONSTRAINT given NOT NULL;\n",
    ] {
        assert!(all.contains(line), "{line} in {all}");
    }
}
