//! What is left of an operation that was killed, and what recovery makes of it.

use glxc_handlers::{Change, Decision, MemoryTree, OpId, Recorded, Recovered, Tree, differences};

use crate::harness::{End, Subject, assert_same, edited, text, with_cx};

const ORDERS: &str = "data/public.orders/rows.tsv";

/// How far an operation comes before it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Staged,
    Locked,
    /// The server loses the backend as the client sends COMMIT.
    KilledAtCommit,
    Committed,
}

fn killed(shop: &Subject, base: Option<&MemoryTree>, next: &MemoryTree, reach: Reach) -> Recovered {
    let op = shop.new_op();
    let differs = differences(base.map(|base| base as &dyn Tree), Some(next));
    let recorded = |tree| Recorded { tree, options: &shop.options };
    let base = base.map(|base| recorded(base as &dyn Tree));
    let change =
        Change { op: &op, replace: base.is_none(), base, next: recorded(next), differs: &differs, prepare: false };
    with_cx(|cx| {
        let mut staged = shop.handler.stage(&change, cx).unwrap();
        if reach != Reach::Staged {
            staged.lock().unwrap();
        }
        match reach {
            Reach::KilledAtCommit => {
                kill(shop, &op);
                assert!(staged.commit().is_err());
            }
            Reach::Committed => drop(staged.commit().unwrap()),
            // A killed process does not clean up; its connections stay open until the server notices.
            _ => std::mem::forget(staged),
        }
        let first = shop.handler.recover(&change, None, Decision::Ask, cx).unwrap();
        let second = shop.handler.recover(&change, None, Decision::Ask, cx).unwrap();
        assert_eq!(first, second, "recovery can be repeated");
        first
    })
}

fn kill(shop: &Subject, op: &OpId) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'glxc:{op}:%'"
    );
    let killed = shop.cluster.connect("postgres").query(&sql, &[]).unwrap();
    assert!(!killed.is_empty(), "the operation has a session of its name");
}

#[test]
fn a_killed_difference_is_all_or_nothing() {
    let Some(shop) = Subject::shop("killed") else { return };
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    let traces = shop.traces();
    for reach in [Reach::Staged, Reach::Locked, Reach::KilledAtCommit] {
        assert_eq!(killed(&shop, Some(&base), &next, reach), Recovered::Aborted, "{reach:?}");
        assert_eq!(shop.traces(), traces, "{reach:?}");
        assert_eq!(text(&shop.export(), ORDERS), text(&base, ORDERS), "{reach:?}");
        shop.run("SET lock_timeout = 1000; BEGIN; LOCK TABLE orders; COMMIT");
    }
    let done = killed(&shop, Some(&base), &next, Reach::Committed);
    assert!(matches!(done, Recovered::Committed(_)));
    assert_eq!(text(&shop.export(), ORDERS), text(&next, ORDERS));
    let marks = || shop.ask("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^glxc'");
    assert_eq!(marks(), "1");
    assert_eq!(killed(&shop, Some(&next), &base, Reach::Staged), Recovered::Aborted);
    assert_eq!(marks(), "0", "the next operation sweeps the mark of the one before");
}

#[test]
fn a_killed_load_is_all_or_nothing() {
    let Some(shop) = Subject::shop("killed_load_from") else { return };
    let tree = shop.export();
    let copy = shop.beside("killed_load");
    let traces = copy.traces();
    for reach in [Reach::Staged, Reach::Locked, Reach::KilledAtCommit] {
        assert_eq!(killed(&copy, None, &tree, reach), Recovered::Aborted, "{reach:?}");
        assert_eq!(copy.traces(), traces, "{reach:?}");
    }
    assert!(matches!(killed(&copy, None, &tree, Reach::Committed), Recovered::Committed(_)));
    assert_same(&copy.export(), &tree);
    assert_eq!(copy.traces().split(';').next(), Some(""));
}

#[test]
fn a_server_without_prepared_transactions_is_told_so() {
    let Some(_) = Subject::absent("unprepared") else { return };
    let shop = Subject::alone("unprepared", "-c max_prepared_transactions=0");
    shop.cluster.create(&shop.database);
    shop.cluster.psql(&shop.database, include_str!("shop.sql"));
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    for base in [Some(&base), None] {
        let error = shop.push_to(base, &next, End::PrepareAndAbort, |_| {}).unwrap_err();
        assert!(error.to_string().contains("set max_prepared_transactions to 16"), "{error}");
    }
    shop.push_to(Some(&base), &next, End::Commit, |_| {}).unwrap();
}

#[test]
fn a_decided_operation_is_done_again() {
    let Some(shop) = Subject::shop("decided") else { return };
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    let op = shop.new_op();
    let differs = differences(Some(&base), Some(&next));
    let recorded = |tree| Recorded { tree, options: &shop.options };
    let change = Change {
        op: &op,
        base: Some(recorded(&base as &dyn Tree)),
        next: recorded(&next),
        differs: &differs,
        replace: false,
        prepare: false,
    };
    with_cx(|cx| {
        for _ in 0..2 {
            let recovered = shop.handler.recover(&change, None, Decision::Commit, cx).unwrap();
            assert!(matches!(recovered, Recovered::Committed(_)));
        }
    });
    assert_eq!(text(&shop.export(), ORDERS), text(&next, ORDERS));
}
