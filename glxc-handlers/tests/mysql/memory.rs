//! How much memory it takes.

use ::mysql::prelude::Queryable;
use glxc_handlers::mysql as handlers;

use crate::common::memory::{self, MIB, Peaks};
use crate::common::mysql::{Server, shared};

#[test]
fn a_large_table_passes_through() {
    let Some(server) = shared() else { return };
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text);\n\
               INSERT INTO t SELECT seq, REPEAT(SHA2(seq, 256), 32) FROM {60000}";
    let peaks = peaks(server, "memory_table", sql, |line| {
        let id: u32 = line.split('\t').next()?.parse().ok()?;
        id.is_multiple_of(1000).then(|| format!("{id}\tchanged"))
    });
    assert!(peaks.bytes > 110 * MIB && peaks.changed == 60, "{peaks:?}");
    assert!(peaks.largest < MIB, "{peaks:?}");
    peaks.hold(TIMES);
}

#[test]
fn a_large_row_passes_through() {
    let Some(server) = shared() else { return };
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a longtext);\nCREATE TABLE bag (a longtext);\n\
               INSERT INTO t SELECT seq, REPEAT(SHA2(seq, 256), IF(seq = 5, 327680, 1)) FROM {10};\n\
               INSERT INTO bag SELECT a FROM t";
    let peaks = peaks(server, "memory_row", sql, |line| {
        (line.len() as u64 > MIB).then(|| format!("{}x", &line[..line.len() - 1]))
    });
    assert!(peaks.bytes > 40 * MIB && peaks.changed == 2, "{peaks:?}");
    assert!(peaks.largest >= 20 * MIB, "{peaks:?}");
    peaks.hold(TIMES);
}

/// A push holds both sides of a row, and what the allocator keeps of reading them before.
const TIMES: fn(&str) -> u64 = |step| if step == "push" { 5 } else { 4 };

fn peaks(server: &Server, name: &str, sql: &str, edit: impl Fn(&str) -> Option<String>) -> Peaks {
    let mut conn = server.connect();
    let create =
        format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;\nUSE {name};\n{sql}");
    let numbers = |text: &str| match text.split_once('{') {
        Some((before, rest)) => {
            let (count, rest) = rest.split_once('}').unwrap();
            let zeros = "0,".repeat(count.parse::<usize>().unwrap() - 1);
            format!("{before}JSON_TABLE('[{zeros}0]', '$[*]' COLUMNS (seq FOR ORDINALITY)) numbers{rest}")
        }
        None => text.to_owned(),
    };
    for statement in create.split(";\n") {
        conn.query_drop(numbers(statement)).unwrap();
    }
    Peaks::of(&server.socket(), name, edit)
}

#[test]
fn child() {
    memory::child(handlers::make);
}
