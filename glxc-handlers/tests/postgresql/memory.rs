//! How much memory it takes.

use glxc_handlers::postgresql;

use crate::common::memory::{self, MIB, Peaks};
use crate::common::postgres::{Cluster, shared};

#[test]
fn a_large_table_passes_through() {
    let Some(cluster) = shared() else { return };
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text); \
               INSERT INTO t SELECT n, repeat(md5(n::text), 64) FROM generate_series(1, 60000) n";
    let peaks = peaks(cluster, "memory_table", sql, |line| {
        let id: u32 = line.split('\t').next()?.parse().ok()?;
        id.is_multiple_of(1000).then(|| format!("{id}\tchanged"))
    });
    assert!(peaks.bytes > 110 * MIB && peaks.changed == 60, "{peaks:?}");
    assert!(peaks.largest < MIB, "{peaks:?}");
    peaks.hold(|_| 4);
}

#[test]
fn a_large_row_passes_through() {
    let Some(cluster) = shared() else { return };
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE TABLE bag (a text); \
               INSERT INTO t SELECT n, repeat(md5(n::text), CASE WHEN n = 5 THEN 655360 ELSE 1 END) \
               FROM generate_series(1, 10) n; INSERT INTO bag SELECT a FROM t";
    let peaks = peaks(cluster, "memory_row", sql, |line| {
        (line.len() as u64 > MIB).then(|| format!("{}x", &line[..line.len() - 1]))
    });
    assert!(peaks.bytes > 40 * MIB && peaks.changed == 2, "{peaks:?}");
    assert!(peaks.largest >= 20 * MIB, "{peaks:?}");
    peaks.hold(|_| 4);
}

fn peaks(cluster: &Cluster, name: &str, sql: &str, edit: impl Fn(&str) -> Option<String>) -> Peaks {
    cluster.create(name);
    cluster.psql(name, sql);
    Peaks::of(cluster.socket(), name, edit)
}

#[test]
fn child() {
    memory::child(postgresql::make);
}
