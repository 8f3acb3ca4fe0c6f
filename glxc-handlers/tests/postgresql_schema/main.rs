//! The schema of PostgreSQL databases, against a real server.
#![cfg(feature = "postgresql")]
#![allow(missing_docs, clippy::print_stderr, clippy::print_stdout, dead_code)]

#[path = "../data/changes.rs"]
mod cases;
mod changes;
#[path = "../common/mod.rs"]
mod common;
mod names;
mod not_null;
mod scratch;
mod unsupported;

use std::collections::BTreeMap;
use std::sync::Once;

use common::postgres::Cluster;
use glxc_handlers::postgresql::schema::scratch::Source;
use glxc_handlers::postgresql::schema::{self, Database, Model, Plan};
use glxc_handlers::{Error, OpId, StatePath};
use postgres::Client;

const APPLICATION: &str = include_str!("../data/application.sql");

fn read(client: &mut Client) -> Model {
    client.batch_execute(schema::PINNED).unwrap();
    schema::read(client).unwrap()
}

/// Creates the roles of the application, which all databases share.
fn roles(cluster: &Cluster) {
    static ONCE: Once = Once::new();
    let statements = r#"CREATE ROLE app_owner; CREATE ROLE app_reader; CREATE ROLE "App Writer""#;
    ONCE.call_once(|| cluster.connect("postgres").batch_execute(statements).unwrap());
}

/// The files of a database.
fn files(client: &mut Client) -> Files {
    both(client).1
}

/// The model of a database and its files.
fn both(client: &mut Client) -> (Model, Files) {
    let model = read(client);
    let files = schema::files(&model).unwrap().into_iter().collect();
    (model, files)
}

type Files = BTreeMap<StatePath, Vec<u8>>;

/// Loads files by way of a scratch database.
fn load(cluster: &Cluster, files: &Files, op: &str) -> Result<Model, Error> {
    load_as(cluster, files, op, true)
}

/// Loads files that the push changes, or does not.
fn load_as(cluster: &Cluster, files: &Files, op: &str, changed: bool) -> Result<Model, Error> {
    let mut admin = cluster.connect("postgres");
    let sources: Vec<Source<'_>> = files.iter().map(|(path, bytes)| Source { path, bytes, changed }).collect();
    let like = Database {
        encoding: "UTF8".into(),
        collate: "C.UTF-8".into(),
        ctype: "C.UTF-8".into(),
        provider: "c".into(),
        ..Database::default()
    };
    let mut connect = |name: &str| Ok(cluster.connect(name));
    let loaded = schema::scratch::load(&mut admin, &mut connect, &OpId::new(op).unwrap(), &like, &sources);
    let left = "SELECT count(*) FROM pg_database WHERE datname = $1";
    assert_eq!(admin.query_one(left, &[&format!("glxc_{op}")]).unwrap().get::<_, i64>(0), 0);
    loaded
}

#[track_caller]
fn assert_same(left: &Files, right: &Files) {
    for path in left.keys().chain(right.keys()) {
        let text = |files: &Files| files.get(path).map_or("(none)".into(), |b| String::from_utf8_lossy(b).into_owned());
        assert_eq!(text(left), text(right), "{path}");
    }
}

#[test]
fn files_are_read_back_as_they_were_written() {
    let Some(cluster) = common::postgres::shared() else { return };
    roles(cluster);
    let mut client = cluster.create("app");
    cluster.psql("app", APPLICATION);
    let (model, written) = both(&mut client);
    assert_eq!(model.notes, ["materialized view shop.summary: its rows are computed again by an import, not kept"]);
    assert!(written.len() > 40);
    assert_same(&written, &files(&mut client));
    let loaded = load(cluster, &written, "00000000000000a1").unwrap_or_else(|e| panic!("{e}"));
    let once: Files = schema::files(&loaded).unwrap().into_iter().collect();
    let again = load(cluster, &once, "00000000000000a2").unwrap();
    assert_same(&once, &schema::files(&again).unwrap().into_iter().collect());
    assert_same(&written, &once);
}

/// Applies a plan in one transaction.
fn apply(client: &mut Client, plan: &Plan) {
    client.batch_execute("BEGIN").unwrap();
    run(client, plan);
    client.batch_execute("COMMIT").unwrap();
}

/// Runs a plan in the transaction that is open.
fn run(client: &mut Client, plan: &Plan) {
    client.batch_execute("SET LOCAL check_function_bodies = off").unwrap();
    for statement in plan.before_rows.iter().chain(&plan.after_rows) {
        if let Err(error) = client.batch_execute(statement) {
            panic!("{statement}\n{:?}\nof {plan:#?}", error.as_db_error());
        }
    }
}

#[test]
fn an_empty_database_becomes_the_application() {
    let Some(cluster) = common::postgres::shared() else { return };
    roles(cluster);
    let mut client = cluster.create("original");
    cluster.psql("original", APPLICATION);
    let model = read(&mut client);
    let mut copy = cluster.create("copy");
    let plan = schema::plan(&read(&mut copy), &model).unwrap();
    apply(&mut copy, &plan);
    assert_same(&files(&mut client), &files(&mut copy));
    assert!(schema::plan(&read(&mut copy), &model).unwrap().is_empty());
    let (original, copy) = (dumped(cluster, "original"), dumped(cluster, "copy"));
    let lacks =
        |lines: &[String], other: &[String]| lines.iter().filter(|l| !other.contains(l)).cloned().collect::<Vec<_>>();
    assert_eq!((lacks(&original, &copy), lacks(&copy, &original)), (Vec::new(), Vec::new()));
    assert_eq!(original.len(), copy.len());
}

/// The lines of a schema's `pg_dump`, sorted: grants are in the order of their history. The one check that the server
/// writes in another way when it reads it again is left out.
fn dumped(cluster: &Cluster, database: &str) -> Vec<String> {
    let dump = cluster.dump(database, &["--schema-only"]);
    let mut lines: Vec<String> = dump
        .lines()
        .filter(|line| !line.contains("product_kind_check"))
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect();
    assert!(lines.len() > 1000, "{}", lines.len());
    lines.sort();
    lines
}

#[test]
fn a_partitioned_table_keeps_its_access_method() {
    let Some(cluster) = common::postgres::shared().filter(|cluster| cluster.major() >= 17) else { return };
    let (mut original, mut copy) = (cluster.create("method"), cluster.create("method_copy"));
    let tables = "CREATE TABLE public.a (a integer) PARTITION BY LIST (a) USING heap; CREATE TABLE public.b (a integer) PARTITION BY LIST (a)";
    original.batch_execute(tables).unwrap();
    let loaded = load(cluster, &files(&mut original), "00000000000000a3").unwrap_or_else(|error| panic!("{error}"));
    let plan = schema::plan(&read(&mut copy), &loaded).unwrap();
    apply(&mut copy, &plan);
    let methods = "SELECT string_agg(relam::text, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'p'";
    assert_eq!(copy.query_one(methods, &[]).unwrap().get::<_, String>(0), "2 0");
}
