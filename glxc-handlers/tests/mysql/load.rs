//! The import of a whole state, and changes of definitions.

use glxc_handlers::{Change, Cx, Decision, Error, MemoryTree, Recorded, Recovered, Tree, differences};
use mysql::prelude::Queryable;

use crate::harness::{Product, Subject, added, assert_same, chain, edited, path, text, with_cx};

const SHOP: &str = include_str!("shop.sql");

fn shop(name: &str) -> Option<(Subject, MemoryTree)> {
    let subject = Subject::of(name, SHOP)?;
    let tree = subject.export();
    Some((subject, tree))
}

#[test]
fn a_whole_database_comes_back() {
    let Some((subject, tree)) = shop("shop") else { return };
    assert!(text(&tree, "schema/triggers/second.sql").starts_with("-- order: 1\n-- sql_mode: "));
    let copy = subject.beside("shop_copy");
    let committed = copy.must_push(None, &tree);
    assert!(committed.notes.is_empty(), "{:?}", committed.notes);
    assert_same(&copy.export(), &tree);
    assert!(copy.dump().replace("shop_copy", "shop") == subject.dump(), "another dump");
    // Everything works, not only looks so.
    copy.run("INSERT INTO orders (customer, total) VALUES (1, 5)");
    assert_eq!(copy.ask("SELECT total, note FROM orders ORDER BY id DESC LIMIT 1"), "6.00 second first");
    assert_eq!(copy.ask("SELECT * FROM of_ada LIMIT 1"), "1 10.50");
    assert_eq!(copy.ask("SELECT id FROM orders ORDER BY id DESC LIMIT 1"), "40");
    assert!(mysql_error(&copy, "INSERT INTO orders (customer) VALUES (77)").contains("foreign key"));
    // Onto an empty one, and onto one that is there.
    copy.drop();
    copy.create();
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    copy.must_push(None, &edited(&tree, "data/customers/rows.tsv", "\tgrace\t", "\tGrace\t"));
    assert_eq!(copy.ask("SELECT name FROM customers WHERE id = 2"), "Grace");
}

#[test]
fn the_files_of_the_other_product_are_refused() {
    let Some((subject, tree)) = shop("others") else { return };
    let database = "schema/database.sql";
    let (marked, plain) = ("-- server: MySQL\nCREATE DATABASE ", "CREATE DATABASE ");
    let other = edited(&tree, database, subject.pick(plain, marked), subject.pick(marked, plain));
    let words = subject.pick(
        "schema/database.sql:1: the files are of MySQL, and the server is MariaDB",
        "schema/database.sql:1: the files are of MariaDB, and the server is MySQL",
    );
    let rows = added(&other, "data/customers/rows.tsv", "3\tedsger\t\\N\n");
    for error in [
        subject.beside("others_copy").declined(None, &other),
        subject.declined(Some(&tree), &other),
        subject.declined(Some(&other), &rows),
    ] {
        assert!(error.to_string().starts_with(words), "{error}");
    }
}

#[test]
fn a_body_has_what_comments_and_quotes_it_likes() {
    let body = "CREATE PROCEDURE p() BEGIN -- don't\n  /* it's; */ select 'a;', \"b\", `c``;` from (select 1 as `c``;`) x; # 'n\nEND";
    let Some(subject) = Subject::of("bodies", body) else { return };
    subject.run("CREATE TABLE t (a int);\nCREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW SET @glxc = '😀?''é'");
    let tree = subject.export();
    let copy = subject.beside("bodies_copy");
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    copy.run("INSERT INTO t VALUES (1)");
    assert!(text(&tree, "schema/triggers/b.sql").ends_with("FOR EACH ROW SET @glxc = '😀?''é';\n"));
}

#[test]
fn a_definer_may_be_gone() {
    let sql = "CREATE TABLE t (a int);\nCREATE DEFINER = gone@localhost VIEW v (x, y) AS SELECT a, 'é' FROM t;\n\
               CREATE TABLE definer (a int);\nCREATE VIEW own AS SELECT a FROM definer;\n\
               CREATE DEFINER = gone@localhost FUNCTION f() RETURNS int DETERMINISTIC RETURN 1;\n\
               CREATE DEFINER = gone@localhost TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1;\n\
               CREATE DEFINER = gone@localhost EVENT e ON SCHEDULE EVERY 1 DAY DO DO 1";
    let Some(subject) = Subject::of("definer", sql) else { return };
    if subject.server.product() == Product::MariaDb {
        let error = subject.try_export().unwrap_err().to_string();
        assert!(error.starts_with("not supported: view v: its text names its database"), "{error}");
        subject.run("DROP VIEW v");
    }
    let tree = subject.export();
    let copy = subject.beside("definer_copy");
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    let next = edited(&tree, "schema/functions/f.sql", "RETURN 1", "RETURN 2");
    copy.must_push(Some(&tree), &next);
    assert_same(&copy.export(), &next);
}

#[test]
fn an_event_keeps_its_hours_and_what_it_depends_on() {
    let Some((_, tree)) = shop("hours") else { return };
    let nightly = text(&tree, "schema/events/+nightly%20%2f.sql");
    assert!(
        nightly.starts_with("-- sql_mode: ANSI_QUOTES\n-- time_zone: +05:00\n-- character_set_client: "),
        "{nightly}"
    );
    assert!(nightly.contains(" STARTS '2001-02-03 04:05:06' ENDS '2037-01-01 00:00:00' "), "{nightly}");
    assert!(
        nightly.ends_with("DO DELETE FROM orders WHERE \"total\" < 0 AND note = ' ON COMPLETION 😀';\n"),
        "{nightly}"
    );
}

#[test]
fn an_event_does_nothing_before_its_database_is_live() {
    let Some(subject) = Subject::alone("events") else { return };
    subject.create();
    subject.run("SET GLOBAL event_scheduler = 1;\nCREATE TABLE ticks (place varchar(64));\nCREATE TABLE t (a int)");
    subject.run("CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND DISABLE DO INSERT INTO events.ticks VALUES (DATABASE())");
    let tree = edited(&subject.export(), "schema/events/tick.sql", " DISABLE DO ", " ENABLE DO ");
    let copy = subject.beside("events_copy");
    let ticks = || subject.ask("SELECT DISTINCT place FROM ticks");
    let pause = || std::thread::sleep(std::time::Duration::from_millis(2500));
    copy.push_to(None, &tree, true, || {
        pause();
        assert_eq!(ticks(), "", "it acted before the decision");
    })
    .unwrap();
    pause();
    assert_eq!(ticks(), "events_copy");
    assert_eq!(text(&copy.export(), "schema/events/tick.sql"), text(&tree, "schema/events/tick.sql"));
    // And none that was removed acts on.
    copy.must_push(Some(&copy.export()), &copy.export().without(&path("schema/events/tick.sql")));
    subject.run("DELETE FROM ticks");
    pause();
    assert_eq!(ticks(), "");
}

#[test]
fn an_event_whose_time_is_over_is_no_error() {
    let Some((subject, tree)) = shop("overdue") else { return };
    let once = "schema/events/once.sql";
    let next = edited(&tree, once, " AT '2037-12-31 23:00:00' ", " AT '2001-01-01 00:00:00' ");
    let copy = subject.beside("overdue_copy");
    let notes = copy.must_push(None, &next).notes;
    assert_eq!(notes, ["event once: its time is over, so the server does not keep it"]);
    assert_same(&copy.export(), &next.without(&path(once)));
    // One that is preserved is kept, and disabled.
    let next = edited(&next, once, " ON COMPLETION NOT PRESERVE ", " ON COMPLETION PRESERVE ");
    copy.must_push(None, &next);
    assert_same(&copy.export(), &edited(&next, once, " ENABLE DO ", " DISABLE DO "));
}

fn mysql_error(subject: &Subject, sql: &str) -> String {
    subject.connect().query_drop(sql).unwrap_err().to_string()
}

#[test]
fn a_changed_definition_goes_live_where_live_is_what_base_has() {
    let Some((subject, base)) = shop("altered") else { return };
    let table = "schema/tables/customers.sql";
    let next = edited(
        &base,
        table,
        "NOT NULL,\n  `boss`",
        subject.pick(
            "NOT NULL,\n  `town` varchar(9) DEFAULT NULL,\n  `boss`",
            "NOT NULL,\n  `town` varchar(9) COLLATE utf8mb4_general_ci DEFAULT NULL,\n  `boss`",
        ),
    );
    let rows = "data/customers/rows.tsv";
    let next = edited(&next, rows, "\tid\tname\t", "\tid\tname\ttown\t");
    let next = edited(&next, rows, "1\tada\t", "1\tada\tLondon\t");
    let next = edited(&next, rows, "2\tgrace\t", "2\tgrace\t\\N\t");
    let next = next.without(&path("schema/procedures/clean.sql"));
    let before = subject.dump();
    // A row that was written since is not lost.
    subject.run("INSERT INTO customers (id, name) VALUES (3, 'edsger')");
    let error = subject.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, .. } if first == &["data/customers"]), "{}", chain(&error));
    subject.run("DELETE FROM customers WHERE id = 3");
    let late =
        subject.push_to(Some(&base), &next, false, || subject.run("UPDATE customers SET name = 'Ada' WHERE id = 1"));
    assert!(matches!(late, Err(Error::Changed { .. })), "a write between stage and lock");
    subject.run("UPDATE customers SET name = 'ada' WHERE id = 1");
    assert!(subject.dump() == before);
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
    assert_eq!(subject.ask("SELECT town FROM customers ORDER BY id"), "London,NULL");
    assert!(subject.leftovers().is_empty());
}

#[test]
fn a_number_that_was_given_out_is_not_given_again() {
    let Some((subject, base)) = shop("numbers") else { return };
    let next = edited(&base, "schema/functions/taxed.sql", "x * 1.2", "x * 1.3");
    let next = edited(&next, "auto_increment/rows.tsv", "orders\t40", "orders\t45");
    subject.run("INSERT INTO orders (customer) VALUES (1);\nDELETE FROM orders WHERE id = 40");
    subject.run("ALTER TABLE orders AUTO_INCREMENT = 60");
    subject.must_push(Some(&base), &next);
    assert_eq!(text(&subject.export(), "auto_increment/rows.tsv"), "#glxc-rows 1\tkey=1b\ttable\tnext\norders\t60\n");
}

#[test]
fn what_can_not_be_loaded_changes_nothing_and_is_named() {
    let Some((subject, tree)) = shop("refused") else { return };
    let copy = subject.beside("refused_copy");
    let rows = "data/orders/rows.tsv";
    for (next, words) in [
        (edited(&tree, rows, "\t10.50\t", "\t10.505\t"), "data/orders/rows.tsv:2: "),
        (edited(&tree, rows, "\t10.50\t", "\tten\t"), "data/orders/rows.tsv:2: column `total`"),
        (
            edited(&tree, "data/customers/rows.tsv", "\tada\t", "\t\\N\t"),
            "data/customers/rows.tsv:2: Column 'name' cannot be null",
        ),
        (added(&tree, "data/customers/rows.tsv", "9\tada\t\\N\n"), "data/customers/rows.tsv"),
        (
            edited(&tree, "schema/tables/orders.sql", subject.pick("`id` int(11)", "`id` int "), "`id` integer "),
            "schema/tables/orders.sql",
        ),
        (
            edited(&tree, "schema/views/of_ada.sql", "`orders`.`id` AS `id`", "`orders`.`idd` AS `id`"),
            "schema/views/of_ada.sql",
        ),
        (
            edited(&tree, "schema/views/of_ada.sql", " AS select ", " AS  select "),
            "schema/views/of_ada.sql: the server prints it otherwise",
        ),
        (
            edited(&tree, "schema/procedures/clean.sql", "delete from", "delete; drop database refused; delete from"),
            "schema/procedures/clean.sql",
        ),
        // One whole statement, and another behind it.
        (
            edited(&tree, "schema/procedures/clean.sql", "END;\n", "END; drop database refused;\n"),
            "schema/procedures/clean.sql",
        ),
        (
            edited(&tree, "schema/functions/taxed.sql", "x * 1.2;\n", "x * 1.2; drop database refused;\n"),
            "schema/functions/taxed.sql",
        ),
        (tree.without(&path("schema/tables/orders.sql")), "data/orders/rows.tsv: the pushed schema has no such table"),
        (tree.without(&path(rows)), "data/orders: the rows of orders are missing"),
        (edited(&tree, "auto_increment/rows.tsv", "orders", "other"), "auto_increment/rows.tsv:2"),
    ] {
        let error = copy.declined(None, &next);
        assert!(matches!(error, Error::Input { .. }) && chain(&error).contains(words), "{words}: {}", chain(&error));
    }
    assert!(!copy.exists() && subject.exists());
    let other = subject.beside("refused_latin");
    other.server.connect().query_drop("CREATE DATABASE refused_latin CHARACTER SET latin1").unwrap();
    assert!(other.declined(None, &tree).to_string().contains("is there, empty, with CHARACTER SET latin1"));
}

#[test]
fn rows_without_a_parent_are_loaded_and_told() {
    let Some((subject, _)) = shop("orphans") else { return };
    subject.run("SET foreign_key_checks = 0;\nUPDATE orders SET customer = 99 WHERE id = 1");
    let tree = subject.export();
    let copy = subject.beside("orphans_copy");
    let committed = copy.must_push(None, &tree);
    assert_eq!(committed.notes, ["orders: 1 rows without a row in customers (foreign key of_customer)"]);
    assert_same(&copy.export(), &tree);
}

#[test]
fn what_is_written_while_it_is_replaced_declines() {
    let Some((subject, tree)) = shop("replaced") else { return };
    let late = subject.push_to(None, &tree, true, || subject.run("UPDATE customers SET name = 'Ada' WHERE id = 1"));
    assert!(matches!(late, Err(Error::Changed { .. })), "a write between stage and lock");
    assert_eq!(subject.ask("SELECT name FROM customers WHERE id = 1"), "Ada");
    assert!(subject.leftovers().is_empty());
}

/// What a push does up to `lock`, and then dies.
fn killed(subject: &Subject, base: Option<&MemoryTree>, next: &MemoryTree, then: impl FnOnce(&Change<'_>, &Cx<'_>)) {
    let op = subject.new_op();
    let differs = differences(base.map(|base| base as &dyn Tree), Some(next));
    let recorded = |tree| Recorded { tree, options: &subject.options };
    let base = base.map(|base| recorded(base));
    let replace = base.is_none();
    let change = Change { op: &op, base, next: recorded(next), differs: &differs, replace, prepare: false };
    with_cx(|cx| {
        let mut staged = subject.handler.stage(&change, cx).unwrap();
        staged.lock().unwrap();
        std::mem::forget(staged);
        then(&change, cx);
    });
}

/// Marks an operation as one that happened, and ends the session that holds the locks.
fn mark_and_release(subject: &Subject, change: &Change<'_>) {
    let mut conn = subject.server.connect();
    let tag = "(SELECT RIGHT(SCHEMA_NAME, 8) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'glxc_new_{op}%')";
    let name = format!("CONCAT('glxc:{{op}}:', {tag})").replace("{op}", change.op.as_str());
    conn.query_drop(format!("INSERT INTO glxc.done SELECT {name}")).unwrap();
    let guard: Option<u32> = conn.query_first(format!("SELECT IS_USED_LOCK(CONCAT({name}, ':guard'))")).unwrap();
    conn.query_drop(format!("KILL {}", guard.unwrap())).unwrap();
}

#[test]
fn a_load_that_was_killed_is_finished_or_swept() {
    let Some((subject, base)) = shop("killed") else { return };
    let next = edited(&base, "schema/functions/taxed.sql", "x * 1.2", "x * 1.3");
    let next = added(&next, "data/customers/rows.tsv", "3\tedsger\t\\N\n");
    for decision in [Decision::Abort, Decision::Ask] {
        killed(&subject, Some(&base), &next, |change, cx| {
            for _ in 0..2 {
                let recovered = subject.handler.recover(change, None, decision, cx).unwrap();
                assert_eq!(recovered, Recovered::Aborted);
            }
        });
        assert_same(&subject.export(), &base);
        assert!(subject.leftovers().is_empty());
    }
    // Rows of a table with triggers come the same way.
    let rows = edited(&base, "data/orders/rows.tsv", "\t10.50\tfirst\t", "\t11.50\tfirst\t");
    killed(&subject, Some(&base), &rows, |change, cx| {
        let recovered = subject.handler.recover(change, None, Decision::Ask, cx).unwrap();
        assert_eq!(recovered, Recovered::Aborted);
    });
    assert_same(&subject.export(), &base);
    killed(&subject, Some(&base), &rows, |change, cx| {
        mark_and_release(&subject, change);
        subject.run("SET foreign_key_checks = 0;\nDROP TABLE orders");
        let recovered = subject.handler.recover(change, None, Decision::Ask, cx).unwrap();
        assert!(matches!(recovered, Recovered::Committed(_)));
        subject.handler.clear(change.op, cx).unwrap();
    });
    assert_same(&subject.export(), &rows);
    subject.must_push(Some(&rows), &base);
    // Behind the mark too, as long as nothing was touched: the locks are gone, and what was written since stays.
    killed(&subject, Some(&base), &next, |change, cx| {
        mark_and_release(&subject, change);
        subject.run("INSERT INTO customers (id, name) VALUES (7, 'late')");
        for _ in 0..2 {
            let recovered = subject.handler.recover(change, None, Decision::Ask, cx).unwrap();
            assert_eq!(recovered, Recovered::Aborted);
        }
    });
    assert_eq!(subject.ask("SELECT name FROM customers WHERE id = 7"), "late");
    subject.run("DELETE FROM customers WHERE id = 7");
    assert_same(&subject.export(), &base);
    assert!(subject.leftovers().is_empty());
    // From there on it happens, wherever it died.
    let dead_ends = [
        "SET foreign_key_checks = 0;\nDROP TABLE orders",
        "SET foreign_key_checks = 0;\nDROP TABLE customers, orders;\nDROP VIEW of_ada, a_look",
    ];
    for damage in dead_ends {
        killed(&subject, Some(&base), &next, |change, cx| {
            mark_and_release(&subject, change);
            subject.run(damage);
            for _ in 0..2 {
                let recovered = subject.handler.recover(change, None, Decision::Ask, cx).unwrap();
                assert!(matches!(recovered, Recovered::Committed(_)));
            }
            subject.handler.clear(change.op, cx).unwrap();
        });
        assert_same(&subject.export(), &next);
        assert!(subject.leftovers().is_empty());
        subject.must_push(Some(&next), &base);
    }
}

#[test]
fn grants_on_routines_are_not_lost() {
    let Some((subject, base)) = shop("granted") else { return };
    subject.run("CREATE USER caller@localhost;\nGRANT EXECUTE ON PROCEDURE granted.clean TO caller@localhost");
    let next = edited(&base, "schema/functions/taxed.sql", "x * 1.2", "x * 1.3");
    let error = subject.declined(Some(&base), &next);
    assert!(error.to_string().contains("the grants on its routine clean"), "{error}");
    subject.run("REVOKE EXECUTE ON PROCEDURE granted.clean FROM caller@localhost");
    subject.must_push(Some(&base), &next);
}

#[test]
fn what_replaces_nothing_goes_together_with_other_databases() {
    let Some((subject, tree)) = shop("together") else { return };
    let copy = subject.beside("together_copy");
    let prepared = |subject: &Subject, decision: Option<Decision>| {
        let (op, differs) = (subject.new_op(), differences(None, Some(&tree)));
        let next = Recorded { tree: &tree, options: &subject.options };
        let change = Change { op: &op, base: None, next, differs: &differs, replace: true, prepare: true };
        with_cx(|cx| {
            let mut staged = subject.handler.stage(&change, cx).unwrap();
            staged.lock().unwrap();
            if let Err(error) = staged.prepare() {
                staged.abort().unwrap();
                return Err(error);
            }
            match decision {
                None => drop(staged.commit()?),
                Some(decision) => {
                    std::mem::forget(staged);
                    let recovered = subject.handler.recover(&change, None, decision, cx)?;
                    assert_eq!(matches!(recovered, Recovered::Committed(_)), decision == Decision::Commit);
                }
            }
            subject.handler.clear(&op, cx)
        })
    };
    prepared(&copy, Some(Decision::Abort)).unwrap();
    assert!(!copy.exists());
    for decision in [None, Some(Decision::Commit)] {
        prepared(&copy, decision).unwrap();
        assert_same(&copy.export(), &tree);
        assert!(copy.leftovers().is_empty());
        copy.drop();
        copy.create();
    }
    let error = prepared(&subject, None).unwrap_err();
    assert!(error.to_string().contains("push their changes one by one"), "{error}");
    assert_same(&subject.export(), &tree);
    assert!(subject.leftovers().is_empty());
}
