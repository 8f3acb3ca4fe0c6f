//! Pushed files that are wrong or hostile.

use std::collections::BTreeMap;

use glxc_handlers::{Error, StatePath};

use crate::common::postgres::{self, Cluster};
use crate::{Files, load};

/// Statements that a schema file may not hold.
const REFUSED: &[&str] = &[
    "COMMIT",
    "BEGIN",
    "ROLLBACK",
    "SAVEPOINT x",
    "DO $$ BEGIN END $$",
    "CALL s.p()",
    "COPY s.t FROM STDIN",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "SELECT 1",
    "INSERT INTO s.t VALUES (1)",
    "UPDATE s.t SET a = 1",
    "DELETE FROM s.t",
    "TRUNCATE s.t",
    "CREATE TABLE s.u AS SELECT 1",
    "CREATE TABLE s.u (a) AS VALUES (1)",
    "SELECT 1 INTO s.u",
    "CREATE TEMP TABLE u (a integer)",
    "CREATE TEMPORARY VIEW v AS SELECT 1",
    "CREATE MATERIALIZED VIEW s.m AS SELECT 1",
    "SET search_path = public",
    "RESET ALL",
    "\\! id",
    "ALTER ROLE postgres SUPERUSER",
    "CREATE ROLE x SUPERUSER",
    "CREATE ROLE x",
    "CREATE USER x",
    "DROP ROLE x",
    "GRANT postgres TO app_reader",
    "ALTER SYSTEM SET fsync = off",
    "ALTER DATABASE postgres SET work_mem = '1MB'",
    "ALTER DATABASE current_database SET work_mem = '1MB'",
    "CREATE DATABASE x",
    "DROP DATABASE x",
    "CREATE TABLESPACE x LOCATION '/tmp'",
    "SECURITY LABEL ON TABLE s.t IS 'x'",
    "LOAD 'x'",
    "LISTEN x",
    "VACUUM",
    "ANALYZE",
    "LOCK TABLE s.t",
    "PREPARE TRANSACTION 'x'",
    "EXPLAIN SELECT 1",
    "CREATE INDEX CONCURRENTLY i ON s.t (a)",
    "CREATE LANGUAGE x",
    "CREATE CAST (a AS b) WITH INOUT",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION s.f()",
    "CREATE PUBLICATION p",
    "DROP TABLE s.t",
    "CREATE SUBSCRIPTION x CONNECTION 'x' PUBLICATION y",
    "CREATE SERVER x FOREIGN DATA WRAPPER y",
    "IMPORT FOREIGN SCHEMA x",
    "REASSIGN OWNED BY x TO y",
    "SET SESSION AUTHORIZATION postgres",
    "COMMENT ON ROLE postgres IS 'x'",
    "GRANT SET ON PARAMETER work_mem TO app_reader",
    "COMMENT ON DATABASE postgres IS 'x'",
    "VALUES (1)",
    "1",
    "'x'",
    "SELECT 'without an end",
    "$$ without an end",
    "/* without an end",
    "NOTIFY x",
    "REINDEX TABLE s.t",
    "CLUSTER",
];

fn one(path: &str, text: &str) -> Files {
    BTreeMap::from([
        (StatePath::new("schema/schemas/s.sql").unwrap(), b"CREATE SCHEMA s;".to_vec()),
        (StatePath::new(path).unwrap(), text.as_bytes().to_vec()),
    ])
}

fn refused(cluster: &Cluster, text: &str) -> Error {
    load(cluster, &one("schema/x.sql", text), "00000000000000b1").expect_err(text)
}

#[test]
fn refused_statements_are_named_with_their_line() {
    let Some(cluster) = postgres::shared() else { return };
    let mut count = 0;
    for statement in REFUSED {
        let text = format!("CREATE TABLE s.t (a integer);\n\n  {statement};\n");
        let error = refused(cluster, &text);
        assert!(error.to_string().starts_with("schema/x.sql:3: "), "{statement}: {error}");
        count += 1;
    }
    assert_eq!(count, REFUSED.len());
    assert!(count > 50);
}

/// Wrong definitions, the line that the error names, and some of its words.
const WRONG: &[(&str, u64, &str)] = &[
    ("CREATE TABLE s.t (\n  a integer,\n  b nothing\n);", 3, "type \"nothing\" does not exist"),
    ("CREATE TABLE s.t (\n  a integer\n  b text\n);", 3, "syntax error"),
    (
        "\nCREATE FUNCTION s.f() RETURNS integer LANGUAGE plpgsql AS $$\nBEGIN\n  RETRN 1;\nEND $$;",
        4,
        "syntax error at or near \"RETRN\"",
    ),
    (
        "CREATE FUNCTION s.f() RETURNS integer LANGUAGE sql AS 'SELECT a FROM s.nowhere';",
        1,
        "relation \"s.nowhere\" does not exist",
    ),
    ("CREATE VIEW s.v AS SELECT 1 AS a;\nCREATE VIEW s.w AS\n  SELECT b FROM s.v;", 3, "column \"b\" does not exist"),
    ("CREATE TABLE s.t (a integer);\nCREATE TABLE s.t (b integer);", 2, "already exists"),
    (
        "CREATE TABLE s.t (a integer);\nALTER TABLE s.t OWNER TO nobody_at_all;",
        2,
        "role \"nobody_at_all\" does not exist",
    ),
    (
        "CREATE TABLE s.t (a integer);\nGRANT ALL ON TABLE s.t TO nobody_at_all;",
        2,
        "role \"nobody_at_all\" does not exist",
    ),
    ("CREATE EXTENSION nothing_like_it;", 1, "not installed on this server"),
    ("CREATE FUNCTION s.c() RETURNS integer LANGUAGE c AS '/tmp/x.so';", 1, "permission denied for language c"),
    ("CREATE TABLE s.t (a integer);\nALTER TABLE s.t ALTER COLUMN a TYPE text, OWNER TO postgres;", 2, "postgres"),
    ("CREATE VIEW s.v AS SELECT 1 AS a;\nCREATE OR REPLACE VIEW s.v AS SELECT 2 AS a;", 2, "already exists"),
    ("CREATE TABLE elsewhere (a integer);", 1, "no schema has been selected"),
];

#[test]
fn wrong_definitions_are_named_with_their_line() {
    let Some(cluster) = postgres::shared() else { return };
    for (text, line, words) in WRONG {
        let error = refused(cluster, text);
        let place = format!("schema/x.sql:{line}: ");
        let error = error.to_string();
        assert!(error.starts_with(&place) && error.contains(words), "{text}\n{error}");
    }
}

#[test]
fn bodies_that_did_not_change_are_not_checked() {
    let Some(cluster) = postgres::shared() else { return };
    let text = "CREATE FUNCTION s.f() RETURNS integer LANGUAGE sql AS 'SELECT a FROM s.nowhere';";
    assert!(crate::load_as(cluster, &one("schema/x.sql", text), "00000000000000b2", false).is_ok());
    assert!(crate::load_as(cluster, &one("schema/x.sql", text), "00000000000000b2", true).is_err());
}

/// What a function that a definition evaluates may try.
const ATTACKS: &[(&str, &str)] = &[
    ("RESET SESSION AUTHORIZATION", "security-definer"),
    ("SET SESSION AUTHORIZATION postgres", "security-definer"),
    ("SET ROLE postgres", "security-definer"),
    ("RESET ROLE", "security-definer"),
    ("COMMIT", "transaction"),
    ("ALTER ROLE app_reader SUPERUSER", "superuser attribute"),
    ("CREATE ROLE evil", "permission denied"),
    ("COPY (SELECT 1) TO PROGRAM ''touch /tmp/glxc-evil''", "to COPY to or from an external program"),
    ("CREATE DATABASE evil", "CREATE DATABASE"),
    ("ALTER SYSTEM SET work_mem = ''1MB''", "ALTER SYSTEM"),
    // takes away what protects us: nothing is run after that
    ("ALTER FUNCTION glxc_00000000000000b3.run(text) SECURITY INVOKER", "protects the cluster"),
    ("DROP FUNCTION glxc_00000000000000b3.run(text)", "protects the cluster"),
    ("ALTER FUNCTION glxc_00000000000000b3.run(text) RENAME TO walk", "permission denied"),
    (
        "CREATE FUNCTION glxc_00000000000000b3.run(integer) RETURNS integer LANGUAGE sql AS ''SELECT 1''",
        "permission denied",
    ),
    ("SELECT set_config(''standard_conforming_strings'', ''off'', false)", ""),
    ("SELECT set_config(''search_path'', ''s'', false)", ""),
];

#[test]
fn what_is_evaluated_has_no_rights() {
    let Some(cluster) = postgres::shared() else { return };
    crate::roles(cluster);
    for (attack, words) in ATTACKS {
        let evil = |name: &str, attack: &str, next: &str| {
            format!(
                "CREATE FUNCTION s.{name}() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN EXECUTE '{attack}'; RETURN 1; END $$;
                CREATE TABLE s.{name} (a integer) PARTITION BY LIST (a);
                CREATE TABLE s.{name}_1 PARTITION OF s.{name} FOR VALUES IN (s.{name}());
                {next}"
            )
        };
        let second = evil("z", "ALTER ROLE app_reader SUPERUSER", "");
        let text = evil("a", attack, if words.is_empty() || words.starts_with("protects") { &second } else { "" });
        let error = load(cluster, &one("schema/x.sql", &text), "00000000000000b3").expect_err(attack).to_string();
        let error = error.replace("the SUPERUSER attribute", "superuser attribute");
        let expected = if words.is_empty() { "superuser attribute" } else { words };
        assert!(error.contains(expected), "{attack}: {error}");
    }
    let mut admin = cluster.connect("postgres");
    let left = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^(evil|glxc_00000000000000b3)' OR rolname LIKE 'app%' AND rolsuper";
    assert_eq!(admin.query_one(left, &[]).unwrap().get::<_, i64>(0), 0);
    assert!(!cluster.outside("/tmp/glxc-evil").exists());
}

#[test]
fn roles_of_the_files_are_there_for_the_load_only() {
    let Some(cluster) = postgres::shared() else { return };
    let mut files = one("schema/x.sql", "CREATE TABLE s.t (a integer); ALTER TABLE s.t OWNER TO \"New Role\";");
    files.insert(StatePath::new("schema/roles.sql").unwrap(), b"CREATE ROLE \"New Role\";\n".to_vec());
    let model = load(cluster, &files, "00000000000000b4").unwrap();
    assert!(model.roles.contains("New Role"));
    let mut live = cluster.create("without_role");
    let plan = glxc_handlers::postgresql::schema::plan(&crate::read(&mut live), &model).unwrap();
    assert_eq!(plan.before_rows[0], "CREATE ROLE \"New Role\" NOLOGIN");
    let there = "SELECT count(*) FROM pg_roles WHERE rolname = 'New Role'";
    assert_eq!(live.query_one(there, &[]).unwrap().get::<_, i64>(0), 0);
}
