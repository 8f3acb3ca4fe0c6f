//! Names that nobody should give, and extensions that everybody uses.

use std::collections::BTreeSet;

use glxc_handlers::postgresql::schema;

use crate::common::postgres;
use crate::{apply, assert_same, both, files, load, read, roles};

/// Names that look like SQL, like our own marks, or like nothing.
const NAMES: &[&str] = &[
    "select",
    "Order",
    "a b",
    "a.b",
    "a;b",
    "a'b",
    "a\"b",
    "a\\b",
    "a--b",
    "a/*b",
    "$$",
    "$a$",
    "{}",
    "a{}b{}",
    "new\nline",
    "tab\tx",
    " ON ONLY ",
    " DROP COLUMN ",
    "x ADD y",
    " OF ",
    "CURRENT_DATABASE",
    "current_database",
    "DATABASE current_database",
    "(ARRAY['a'::character varying])::text[]",
    "\u{e9}\u{1f9c0}",
    "%I",
    "CON",
    ".git",
    "..",
    " ",
    "CHECK (",
    " NOT VALID",
    "SET DEFAULT ",
    "glxc_old_0",
    "E'",
    "OWNER TO postgres",
    "GENERATED ALWAYS AS IDENTITY",
    "a, b",
    "0",
    "_",
    "-",
];

fn sql(name: &str) -> String {
    let q = format!("\"{}\"", name.replace('"', "\"\""));
    let l = name.replace('\'', "''");
    format!(
        r#"CREATE SCHEMA {q};
        DO $do$ BEGIN CREATE ROLE {q}; EXCEPTION WHEN duplicate_object THEN NULL; END $do$;
        CREATE TYPE {q}.{q} AS ENUM ('{l}', 'x');
        CREATE DOMAIN {q}."d {l}" AS text DEFAULT '{l}' CONSTRAINT {q} CHECK (VALUE <> '{l}x');
        COMMENT ON CONSTRAINT {q} ON DOMAIN {q}."d {l}" IS '{l}';
        CREATE FUNCTION {q}.{q}({q} integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';
        CREATE FUNCTION {q}."t {l}"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TABLE {q}."t {l}" (
            {q} integer GENERATED ALWAYS AS IDENTITY CONSTRAINT {q} PRIMARY KEY,
            "c {l}" text DEFAULT '{l}' NOT NULL CONSTRAINT "k {l}" CHECK ("c {l}" <> '{l}' || 'x'),
            "e {l}" {q}.{q} DEFAULT '{l}',
            "f {l}" integer DEFAULT {q}.{q}(),
            "g {l}" integer GENERATED ALWAYS AS ({q}.{q}({q})) STORED,
            "s {l}" serial,
            "p {l}" integer CONSTRAINT "r {l}" REFERENCES {q}."t {l}"
        );
        CREATE INDEX "i {l}" ON {q}."t {l}" ("c {l}") WHERE "c {l}" <> '{l}';
        CREATE TRIGGER {q} BEFORE INSERT ON {q}."t {l}" FOR EACH ROW EXECUTE FUNCTION {q}."t {l}"('{l}');
        ALTER TABLE {q}."t {l}" DISABLE TRIGGER {q};
        CREATE POLICY {q} ON {q}."t {l}" TO {q} USING ("c {l}" = '{l}');
        CREATE RULE {q} AS ON DELETE TO {q}."t {l}" DO NOTHING;
        CREATE VIEW {q}."v {l}" AS SELECT {q}, "c {l}" FROM {q}."t {l}" WHERE "c {l}" <> '{l}';
        CREATE MATERIALIZED VIEW {q}."m {l}" AS SELECT {q} FROM {q}."v {l}";
        CREATE TABLE {q}."q {l}" ({q} text, "n {l}" integer) PARTITION BY LIST ({q});
        CREATE INDEX "j {l}" ON {q}."q {l}" ("n {l}");
        CREATE TABLE {q}."q1 {l}" PARTITION OF {q}."q {l}" FOR VALUES IN ('{l}');
        CREATE TABLE {q}."q2 {l}" ("n {l}" integer, {q} text);
        ALTER TABLE {q}."q {l}" ATTACH PARTITION {q}."q2 {l}" DEFAULT;
        COMMENT ON TABLE {q}."t {l}" IS '{l}';
        COMMENT ON COLUMN {q}."t {l}"."c {l}" IS '{l}';
        GRANT SELECT ON {q}."t {l}" TO {q};
        GRANT UPDATE ("c {l}") ON {q}."t {l}" TO {q};
        ALTER TABLE {q}."t {l}" OWNER TO {q};
        ALTER DEFAULT PRIVILEGES FOR ROLE {q} IN SCHEMA {q} GRANT SELECT ON TABLES TO PUBLIC;
        "#,
        l = l.replace('"', "\"\""),
    )
}

#[test]
fn odd_names_come_back() {
    let Some(cluster) = postgres::shared() else { return };
    let mut original = cluster.create("odd");
    for name in NAMES {
        original.batch_execute(&sql(name)).unwrap_or_else(|error| panic!("{name}: {:?}", error.as_db_error()));
    }
    let (model, written) = both(&mut original);
    assert_eq!(model.tables.len(), 4 * NAMES.len());
    let loaded = load(cluster, &written, "00000000000000c1").unwrap_or_else(|error| panic!("{error}"));
    assert_same(&written, &schema::files(&loaded).unwrap().into_iter().collect());
    let mut copy = cluster.create("odd_copy");
    let plan = schema::plan(&read(&mut copy), &model).unwrap();
    apply(&mut copy, &plan);
    assert_same(&written, &files(&mut copy));
    let plan = schema::plan(&model, &read(&mut cluster.create("odd_empty"))).unwrap();
    apply(&mut copy, &plan);
    assert!(read(&mut copy).tables.is_empty());
}

#[test]
fn every_extension_of_the_server_comes_back() {
    let Some(cluster) = postgres::shared() else { return };
    roles(cluster);
    let mut client = cluster.create("extended");
    let mut names = BTreeSet::new();
    for row in client.query("SELECT name FROM pg_available_extensions ORDER BY 1", &[]).unwrap() {
        let name: String = row.get(0);
        if client.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS \"{name}\" CASCADE")).is_ok() {
            names.insert(name);
        }
    }
    assert!(names.len() > 20, "{names:?}");
    let (model, written) = both(&mut client);
    assert!(model.tables.is_empty());
    let loaded = load(cluster, &written, "00000000000000c2").unwrap_or_else(|error| panic!("{error}"));
    assert_same(&written, &schema::files(&loaded).unwrap().into_iter().collect());
    let mut copy = cluster.create("extended_copy");
    let plan = schema::plan(&read(&mut copy), &model).unwrap();
    apply(&mut copy, &plan);
    assert_same(&written, &files(&mut copy));
}
