//! The schema of PostgreSQL databases, against a real server.
#![cfg(feature = "postgresql")]
#![allow(missing_docs, clippy::print_stderr, dead_code)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

use common::postgres::Cluster;
use glxc_handlers::postgresql::schema::scratch::{self, Source};
use glxc_handlers::postgresql::schema::{self, Database, Model, Plan};
use glxc_handlers::{Error, OpId, StatePath};
use postgres::Client;

const APPLICATION: &str = include_str!("data/application.sql");

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
    schema::files(&read(client)).unwrap().into_iter().collect()
}

type Files = BTreeMap<StatePath, Vec<u8>>;

/// Loads files by way of a scratch database.
fn load(cluster: &Cluster, files: &Files, op: &str) -> Result<Model, Error> {
    let mut admin = cluster.connect("postgres");
    let sources: Vec<Source<'_>> = files.iter().map(|(path, bytes)| Source { path, bytes, changed: true }).collect();
    let like = Database {
        encoding: "UTF8".into(),
        collate: "C.UTF-8".into(),
        ctype: "C.UTF-8".into(),
        provider: "c".into(),
        ..Database::default()
    };
    let mut connect = |name: &str| Ok(cluster.connect(name));
    let loaded = scratch::load(&mut admin, &mut connect, &OpId::new(op).unwrap(), &like, &sources);
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
    let written = files(&mut client);
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
    let statements = plan.before_rows.iter().chain(&plan.after_rows);
    client.batch_execute("BEGIN; SET LOCAL check_function_bodies = off").unwrap();
    for statement in statements {
        if let Err(error) = client.batch_execute(statement) {
            panic!("{statement}\n{:?}\nof {plan:#?}", error.as_db_error());
        }
    }
    client.batch_execute("COMMIT").unwrap();
}

#[test]
fn an_empty_database_becomes_the_application() {
    let Some(cluster) = common::postgres::shared() else { return };
    roles(cluster);
    let mut client = cluster.create("original");
    cluster.psql("original", APPLICATION);
    let model = read(&mut client);
    let mut copy = cluster.create("copy");
    let plan = schema::plan(&read(&mut copy), &model, &BTreeSet::new());
    apply(&mut copy, &plan);
    assert_same(&files(&mut client), &files(&mut copy));
    assert!(schema::plan(&read(&mut copy), &model, &BTreeSet::new()).is_empty());
}
