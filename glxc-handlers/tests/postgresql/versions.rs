//! From the version of PostgreSQL that is installed here to the one that the tests run.

use glxc_handlers::{MemoryTree, Mode, StatePath};

use crate::cases::SMALL;
use crate::common::postgres::Cluster;
use crate::harness::{Subject, assert_same, edited};

const APPLICATION: &str = include_str!("../data/application.sql");
const SHOP: &str = include_str!("shop.sql");

/// What differs between the versions: from 16 on the server writes columns without their table in a query that reads one
/// table only. This takes their tables from all, in the files of views alone.
fn without_tables(tree: &MemoryTree) -> MemoryTree {
    let tables = ["person", "adults", "customer", "summary", "order_totals", "orders"];
    let view = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let starts =
            [" ", "("].into_iter().flat_map(|before| tables.map(|table| (before, format!("{before}{table}."))));
        starts.fold(text, |text, (before, start)| text.replace(&start, before)).into_bytes()
    };
    let file = |(path, (mode, bytes)): (&StatePath, &(Mode, Vec<u8>))| {
        let is_view = path.as_str().is_some_and(|path| path.starts_with("schema/views/"));
        (path.clone(), (*mode, if is_view { view(bytes) } else { bytes.clone() }))
    };
    MemoryTree::new(tree.files().iter().map(file).collect())
}

/// A database of the other server, as files.
fn recorded(old: &'static Cluster, name: &str, sql: &str) -> MemoryTree {
    old.create(name);
    old.psql(name, &sql.replace("App Writer", "glxc_test_v_writer").replace("app_", "glxc_test_v_"));
    Subject::on(old, name).export()
}

#[test]
fn files_of_another_version_are_loaded() {
    let Some(cluster) = Cluster::of_this_system() else { return };
    let old: &'static Cluster = Box::leak(Box::new(cluster));
    let roles = "CREATE ROLE glxc_test_v_owner; CREATE ROLE glxc_test_v_reader; CREATE ROLE glxc_test_v_writer";
    old.connect("postgres").batch_execute(roles).unwrap();
    for (name, sql) in [("versions_shop", SHOP), ("versions_small", SMALL), ("versions_app", APPLICATION)] {
        let files = recorded(old, name, sql);
        let Some(to) = Subject::absent(name) else { return };
        to.must_push(None, &files);
        assert_same(&without_tables(&to.export()), &without_tables(&files));
        // They go on from there: the other version's words are no change of live
        if sql == SMALL {
            let next = edited(&files, "schema/views/s.adults.sql", " > 17)", " > 18)");
            to.must_push(Some(&files), &next);
            assert_same(&without_tables(&to.export()), &without_tables(&next));
        }
    }
}
