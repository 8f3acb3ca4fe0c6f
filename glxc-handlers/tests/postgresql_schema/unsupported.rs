//! What can not be kept is an error with its name.

use crate::common::postgres;
use crate::{read, roles};
use glxc_handlers::Error;
use glxc_handlers::postgresql::schema;

/// What a user may make, and how the error names it.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "CREATE TEXT SEARCH CONFIGURATION public.words (COPY = pg_catalog.english)",
        "text search configuration public.words",
    ),
    ("CREATE TEXT SEARCH DICTIONARY public.d (TEMPLATE = pg_catalog.simple)", "text search dictionary public.d"),
    ("CREATE COLLATION public.german (LOCALE = 'C')", "collation public.german"),
    ("CREATE CONVERSION public.conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", "conversion public.conv"),
    (
        "CREATE OPERATOR public.=== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq)",
        "operator public.===(integer,integer)",
    ),
    ("CREATE OPERATOR FAMILY public.fam USING btree", "operator family public.fam USING btree"),
    (
        "CREATE OPERATOR CLASS public.cls FOR TYPE integer USING hash AS OPERATOR 1 =",
        "operator class public.cls USING hash",
    ),
    ("CREATE CAST (boolean AS json) WITH INOUT", "cast (boolean AS "),
    ("CREATE TYPE public.shell", "type public.shell"),
    ("CREATE FOREIGN DATA WRAPPER w", "foreign-data wrapper w"),
    ("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w", "server far"),
    (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR app_owner SERVER far",
        "user mapping app_owner on server far",
    ),
    (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE public.away (a integer) SERVER far",
        "foreign table public.away",
    ),
    ("CREATE PUBLICATION news", "publication news"),
    ("CREATE SUBSCRIPTION sub CONNECTION 'dbname=x' PUBLICATION news WITH (connect = false)", "subscription sub"),
    (
        "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION public.e()",
        "event trigger ev",
    ),
    ("SELECT lo_create(4711000)", "large object 4711000"),
    ("CREATE FUNCTION public.i(integer) RETURNS integer LANGUAGE internal AS 'int4abs'", "function public.i(integer)"),
    ("CREATE FUNCTION public.l() RETURNS integer LANGUAGE sql LEAKPROOF AS 'SELECT 1'", "function public.l()"),
    ("CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler", "access method heap2"),
    ("CREATE TYPE public.r AS (a integer); CREATE TABLE public.typed OF public.r", "typed table public.typed"),
    (
        "CREATE TABLE public.p (a integer) PARTITION BY LIST (a); CREATE TABLE public.q PARTITION OF public.p DEFAULT; CREATE INDEX lame ON ONLY public.p (a)",
        "invalid index public.lame",
    ),
    (
        "CREATE TABLE public.a (a integer PRIMARY KEY); CREATE TABLE public.b (a integer REFERENCES public.a); ALTER TABLE public.b DISABLE TRIGGER ALL",
        "disabled trigger of constraint b_a_fkey on public.b",
    ),
    (
        "CREATE TABLE public.p (a integer) PARTITION BY LIST (a); CREATE TABLE public.q PARTITION OF public.p DEFAULT; CREATE FUNCTION public.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON public.p FOR EACH ROW EXECUTE FUNCTION public.t(); ALTER TABLE public.q DISABLE TRIGGER t",
        "other state of inherited trigger t on public.q",
    ),
    (
        "CREATE TABLE public.g (); GRANT SELECT ON public.g TO app_owner WITH GRANT OPTION; SET ROLE app_owner; GRANT SELECT ON public.g TO app_reader; RESET ROLE",
        "grant option used by app_owner on table public.g",
    ),
    ("CREATE FUNCTION pg_catalog.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function pg_catalog.mine()"),
    (
        "CREATE EXTENSION hstore SCHEMA public; CREATE FUNCTION public.d() RETURNS integer LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION public.d() DEPENDS ON EXTENSION hstore",
        "function public.d()",
    ),
];

/// What a user may make from a version on, and how the error names it.
const NEWER: &[(u32, &str, &str)] = &[
    (16, "CREATE COLLATION public.i (PROVIDER = icu, LOCALE = 'und', RULES = '&a < g')", "collation public.i"),
    (17, "CREATE COLLATION public.b (PROVIDER = builtin, LOCALE = 'C.UTF-8')", "collation public.b"),
    (
        17,
        "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER ev ON login EXECUTE FUNCTION public.e()",
        "event trigger ev",
    ),
    (18, "CREATE PUBLICATION news WITH (publish_generated_columns = stored)", "publication news"),
    (
        18,
        "CREATE TABLE public.t (a integer CONSTRAINT positive CHECK (a > 0) NOT ENFORCED)",
        "not enforced constraint positive on public.t",
    ),
    (
        18,
        "CREATE TABLE public.t (a integer PRIMARY KEY, b integer REFERENCES public.t NOT ENFORCED)",
        "not enforced constraint t_b_fkey on public.t",
    ),
    (
        18,
        "CREATE TABLE public.t (a int4range, b int4range, PRIMARY KEY (a, b WITHOUT OVERLAPS))",
        "temporal constraint t_pkey on public.t",
    ),
    (
        18,
        "CREATE TABLE public.t (a int4range, b int4range, PRIMARY KEY (a, b WITHOUT OVERLAPS)); CREATE TABLE public.u (a int4range, b int4range, FOREIGN KEY (a, PERIOD b) REFERENCES public.t)",
        "temporal constraint u_a_b_fkey on public.u",
    ),
    (
        18,
        "CREATE TABLE public.t (a integer PRIMARY KEY); CREATE TABLE public.p (a integer) PARTITION BY LIST (a); CREATE TABLE public.q PARTITION OF public.p DEFAULT; ALTER TABLE public.p ADD FOREIGN KEY (a) REFERENCES public.t NOT VALID; ALTER TABLE public.q VALIDATE CONSTRAINT p_a_fkey",
        "foreign key p_a_fkey of partition public.q, validated otherwise than that of its parent",
    ),
    (
        18,
        "CREATE TABLE public.p (a integer CONSTRAINT one NOT NULL); CREATE TABLE public.q (a integer CONSTRAINT two NOT NULL); CREATE TABLE public.c () INHERITS (public.p, public.q); ALTER TABLE public.c NO INHERIT public.p",
        "NOT NULL constraint one on public.c, otherwise than that of its parent",
    ),
    (
        18,
        "CREATE TABLE public.p (a integer CONSTRAINT one NOT NULL); CREATE TABLE public.q (a integer CONSTRAINT two NOT NULL); CREATE TABLE public.c () INHERITS (public.p, public.q); ALTER TABLE public.c NO INHERIT public.p; ALTER TABLE public.c INHERIT public.p",
        "NOT NULL constraint one on public.c, otherwise than that of its parent",
    ),
    (
        18,
        "CREATE TABLE public.p (a integer); CREATE TABLE public.c () INHERITS (public.p); ALTER TABLE public.p ADD CONSTRAINT n NOT NULL a NOT VALID; ALTER TABLE public.c VALIDATE CONSTRAINT n",
        "NOT NULL constraint n on public.c, otherwise than that of its parent",
    ),
];

#[test]
fn each_kind_is_named() {
    let Some(cluster) = postgres::shared() else { return };
    roles(cluster);
    let mut client = cluster.create("unsupported");
    let newer = NEWER.iter().filter(|(since, ..)| *since <= cluster.major()).map(|(_, sql, name)| (*sql, *name));
    let (mut named, mut unnamed) = (0, Vec::new());
    for (sql, name) in UNSUPPORTED.iter().copied().chain(newer) {
        client.batch_execute("BEGIN").unwrap();
        client.batch_execute("GRANT USAGE ON SCHEMA public TO app_owner; SET LOCAL search_path = ''; SET check_function_bodies = off").unwrap();
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
        client.batch_execute(schema::PINNED).unwrap();
        match schema::read(&mut client) {
            Err(Error::Unsupported { what }) if what.contains(name) => named += 1,
            Err(error) => unnamed.push(format!("{sql}: {error}")),
            Ok(_) => unnamed.push(format!("{sql}: no error")),
        }
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
    assert!(named >= 27 && (cluster.major() < 18 || named == 27 + NEWER.len()), "{named}");
    read(&mut client);
}

#[test]
fn many_are_counted() {
    let Some(cluster) = postgres::shared() else { return };
    let mut client = cluster.create("many");
    for n in 10..22 {
        client.batch_execute(&format!("CREATE COLLATION public.c{n} (LOCALE = 'C')")).unwrap();
    }
    let error = schema::read(&mut client).unwrap_err().to_string();
    assert!(error.contains("collation public.c10") && error.ends_with("and 2 more"), "{error}");
}
