//! The schema of PostgreSQL databases, against a real server.
#![cfg(feature = "postgresql")]
#![allow(missing_docs, clippy::print_stderr, dead_code)]

mod common;

#[test]
fn the_server_answers() {
    let Some(cluster) = common::postgres::shared() else { return };
    let mut client = cluster.create("answers");
    assert_eq!(client.query_one("SELECT 1", &[]).unwrap().get::<_, i32>(0), 1);
    assert!(cluster.dump("answers", &["--schema-only"]).contains("PostgreSQL database dump"));
}
