//! Every kind of change, forth and back.

use std::collections::BTreeSet;

use glxc_handlers::postgresql::schema;

use crate::cases::{SMALL, changes};
use crate::common::postgres::{self, Cluster};
use crate::{apply, assert_same, both, files, read, roles, run};

#[test]
fn each_change_leads_to_what_is_pushed() {
    let Some(cluster) = postgres::shared() else { return };
    roles(cluster);
    cluster.create("small");
    cluster.psql("small", SMALL);
    let mut failed = Vec::new();
    let all = changes(cluster.major());
    for (what, change) in &all {
        for forth in [true, false] {
            if let Err(panic) = std::panic::catch_unwind(|| make(cluster, change, forth)) {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                failed.push(format!("{what} {}: {text}", if forth { "forth" } else { "back" }));
            }
        }
    }
    assert!(all.len() >= 25);
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
}

/// Makes a change by SQL of a user and by a plan, or takes it back by a plan, and compares. Rolls everything back.
fn make(cluster: &Cluster, change: &str, forth: bool) {
    let mut client = cluster.connect("small");
    let before = both(&mut client);
    client.batch_execute("BEGIN").unwrap();
    client.batch_execute(change).unwrap_or_else(|error| panic!("{:?}", error.as_db_error()));
    let after = both(&mut client);
    let (live, next) = if forth { (&before, &after) } else { (&after, &before) };
    if forth {
        client.batch_execute("ROLLBACK").unwrap();
        client.batch_execute("BEGIN").unwrap();
    }
    let plan = schema::plan_touching(&live.0, &next.0, &BTreeSet::new()).unwrap();
    assert!(!plan.is_empty(), "nothing changes");
    run(&mut client, &plan);
    let reached = both(&mut client);
    assert_same(&next.1, &reached.1);
    let again = schema::plan_touching(&reached.0, &next.0, &BTreeSet::new()).unwrap();
    assert!(again.is_empty(), "{again:#?}");
}

#[test]
fn a_label_that_is_used_at_once_needs_the_enum_anew() {
    let Some(cluster) = postgres::shared() else { return };
    roles(cluster);
    let (mut live, mut pushed) = (cluster.create("label"), cluster.create("label_pushed"));
    cluster.psql("label", SMALL);
    cluster.psql("label_pushed", SMALL);
    pushed.batch_execute("ALTER TYPE s.mood ADD VALUE 'great'").unwrap();
    let (next, same) = (read(&mut pushed), BTreeSet::new());
    let plan = schema::plan_touching(&read(&mut live), &next, &same).unwrap();
    assert_eq!(plan.before_rows, ["ALTER TYPE s.mood ADD VALUE 'great' AFTER 'happy'"]);
    let touched = BTreeSet::from(["s.pet".to_owned()]);
    let plan = schema::plan_touching(&read(&mut live), &next, &touched).unwrap();
    assert!(plan.replaced.contains(&"type s.mood".to_owned()), "{plan:#?}");
    pushed.batch_execute("ALTER TABLE s.pet ALTER COLUMN mood SET DEFAULT 'great'").unwrap();
    let plan = schema::plan_touching(&read(&mut live), &read(&mut pushed), &same).unwrap();
    apply(&mut live, &plan);
    assert_same(&files(&mut pushed), &files(&mut live));
}

#[test]
fn one_changed_state_becomes_another() {
    let Some(cluster) = postgres::shared() else { return };
    roles(cluster);
    cluster.create("pairs");
    cluster.psql("pairs", SMALL);
    let mut failed = Vec::new();
    let all = changes(cluster.major());
    let count = all.len();
    for step in (7..).step_by(16).take(scale()) {
        for (at, (what, change)) in all.iter().enumerate() {
            let (other, pushed) = all[(at * 2 + step) % count];
            if at == (at * 2 + step) % count {
                continue;
            }
            let attempt = std::panic::catch_unwind(|| {
                let mut client = cluster.connect("pairs");
                client.batch_execute("BEGIN").unwrap();
                client.batch_execute(pushed).unwrap();
                let next = both(&mut client);
                client.batch_execute("ROLLBACK; BEGIN").unwrap();
                client.batch_execute(change).unwrap();
                let plan = schema::plan_touching(&read(&mut client), &next.0, &BTreeSet::new()).unwrap();
                run(&mut client, &plan);
                assert_same(&next.1, &files(&mut client));
            });
            if let Err(panic) = attempt {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                failed.push(format!("{what} -> {other}: {text}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
}

/// How many times the usual a test is to try.
fn scale() -> usize {
    let scale = std::env::var("GLXC_TEST_SCALE").ok().and_then(|text| text.parse::<f64>().ok());
    scale.unwrap_or(1.0).ceil() as usize
}

#[test]
fn a_virtual_column_becomes_a_plain_one() {
    let Some(cluster) = postgres::shared().filter(|cluster| cluster.major() >= 18) else { return };
    let (mut live, mut pushed) = (cluster.create("virtual"), cluster.create("virtual_pushed"));
    let table = |kind: &str| {
        format!("CREATE TABLE public.t (a integer, b integer{kind}, c integer); INSERT INTO public.t VALUES (3)")
    };
    live.batch_execute(&table(" GENERATED ALWAYS AS (a * 2) VIRTUAL")).unwrap();
    pushed.batch_execute(&table("")).unwrap();
    let plan = schema::plan(&read(&mut live), &read(&mut pushed)).unwrap();
    apply(&mut live, &plan);
    assert_same(&files(&mut pushed), &files(&mut live));
    assert_eq!(live.query_one("SELECT b FROM public.t", &[]).unwrap().get::<_, i32>(0), 6, "its values stay");
}
