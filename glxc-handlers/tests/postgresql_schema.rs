//! The schema of PostgreSQL databases, against a real server.
#![cfg(feature = "postgresql")]
#![allow(missing_docs, clippy::print_stderr, dead_code)]

mod common;

use std::sync::Once;

use common::postgres::Cluster;
use glxc_handlers::postgresql::schema::{self, Model};
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

#[test]
fn the_application_is_read() {
    let Some(cluster) = common::postgres::shared() else { return };
    roles(cluster);
    let mut client = cluster.create("app");
    cluster.psql("app", APPLICATION);
    let files = schema::files(&read(&mut client)).unwrap();
    let names: Vec<&str> = files.iter().filter_map(|(path, _)| path.as_str()).collect();
    assert!(names.contains(&"schema/tables/shop.log_2021_rest.sql"), "{names:?}");
    assert_eq!(files, schema::files(&read(&mut client)).unwrap());
}
