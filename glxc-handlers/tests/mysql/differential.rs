//! The import of rows that differ.

use glxc_handlers::{Change, Decision, Error, MemoryTree, Recorded, Recovered, differences};

use crate::harness::{Product, Subject, added, assert_same, chain, edited, path, text, with_cx};

const TABLES: &str = include_str!("tables.sql");

fn tables(name: &str) -> Option<(Subject, MemoryTree)> {
    let subject = Subject::of(name, TABLES)?;
    let tree = subject.export();
    Some((subject, tree))
}

const PEOPLE: &str = "data/people/rows.tsv";

#[test]
fn a_change_is_told_in_words() {
    let Some((subject, base)) = tables("described") else { return };
    let next = edited(&base, PEOPLE, "2\tgrace\t1\t", "2\tGrace\t1\t");
    assert_eq!(subject.describe(&base, &next).summary, "1 row changed in people");
    let next = edited(&next, "data/letters/rows.tsv", "3\t3\tc\n", "");
    let next = edited(&next, "schema/tables/letters.sql", "`body` text", "`body` longtext");
    let described = subject.describe(&base, &next);
    assert_eq!(described.summary, "schema/tables/letters.sql changed; 1 row changed, 1 removed in 2 tables");
    let lines = ["schema/tables/letters.sql changed", "1 row removed in letters", "1 row changed in people"];
    assert_eq!(described.details, lines);
    let numbers = edited(&base, "auto_increment/rows.tsv", "\tnext\n", "\tnext\nx\t7\n");
    assert_eq!(subject.describe(&base, &numbers).summary, "next numbers moved");
}

#[test]
fn only_what_differs_is_touched() {
    let Some((subject, base)) = tables("touched") else { return };
    let next = edited(&base, PEOPLE, "2\tgrace\t1\t", "2\tGrace\t1\t");
    let next = added(&next, PEOPLE, "4\tbarbara\t2\t2001-01-01 00:00:00\n");
    let next = edited(&next, "data/letters/rows.tsv", "3\t3\tc\n", "");
    let next = edited(&next, PEOPLE, "3\tedsger\t\\N\t2001-01-01 00:00:00\n", "");
    subject.run("UPDATE people SET name = 'Ada' WHERE id = 1");
    subject.run("INSERT INTO letters VALUES (9, 1, 'new')");
    subject.must_push(Some(&base), &next);
    let rows = subject.ask("SELECT id, name, boss, seen FROM people ORDER BY id");
    // The update sets no time of its own, and deletes no children by the way.
    assert_eq!(
        rows,
        "1 Ada NULL 2001-01-01 00:00:00,2 Grace 1 2001-01-01 00:00:00,4 barbara 2 2001-01-01 00:00:00".replace(
            "1 Ada NULL 2001-01-01 00:00:00",
            &format!("1 Ada NULL {}", subject.ask("SELECT seen FROM people WHERE id = 1"))
        )
    );
    assert_eq!(subject.ask("SELECT id FROM letters ORDER BY id"), "1,2,9");
    assert!(subject.leftovers().is_empty());
}

#[test]
fn unique_values_may_be_swapped() {
    let Some((subject, base)) = tables("swapped") else { return };
    let next = edited(&base, PEOPLE, "1\tada\t", "1\tedsger\t");
    let next = edited(&next, PEOPLE, "3\tedsger\t", "3\tada\t");
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
    assert_eq!(subject.ask("SELECT COUNT(*) FROM letters"), "3", "children stay");
    // Case alone, in the key too.
    let base = subject.export();
    let next = edited(&base, "data/codes/rows.tsv", "a\t1\n", "A\t1\n");
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
}

#[test]
fn conflicts_are_named() {
    let Some((subject, base)) = tables("conflicts") else { return };
    let next = edited(&base, PEOPLE, "2\tgrace\t", "2\tGrace\t");
    let next = added(&next, PEOPLE, "5\tx\t\\N\t2001-01-01 00:00:00\n");
    subject
        .run("UPDATE people SET name = 'GRACE' WHERE id = 2;\nINSERT INTO people VALUES (5, 'y', NULL, '2001-01-01')");
    match subject.declined(Some(&base), &next) {
        Error::Changed { first, total: 2 } => assert_eq!(first, ["people id=2", "people id=5"]),
        other => panic!("{}", chain(&other)),
    }
    // What is there already is no conflict.
    subject.run("UPDATE people SET name = 'Grace', seen = '2001-01-01' WHERE id = 2;\nUPDATE people SET name = 'x', seen = '2001-01-01' WHERE id = 5");
    subject.must_push(Some(&base), &next);
    // A removed row that somebody changed, and one of a bag.
    let base = subject.export();
    let next = edited(&base, "data/log/rows.tsv", "x\nx\n", "x\n");
    let next = edited(&next, "data/codes/rows.tsv", "b\t2\n", "");
    subject.run("UPDATE codes SET n = 3 WHERE c = 'b';\nDELETE FROM log");
    match subject.declined(Some(&base), &next) {
        Error::Changed { first, total: 2 } => assert_eq!(first, ["codes c=b", "log row `x`"]),
        other => panic!("{}", chain(&other)),
    }
}

#[test]
fn a_bag_keeps_equal_rows() {
    let Some((subject, base)) = tables("bags") else { return };
    let log = "data/log/rows.tsv";
    assert_eq!(text(&base, log), "#glxc-rows 1\tbag\tline\nx\nx\n");
    let next = added(&edited(&base, log, "x\nx\n", "x\n"), log, "X\nX\nx \n\\N\n");
    subject.run("INSERT INTO log VALUES ('mine')");
    subject.must_push(Some(&base), &next);
    assert_eq!(text(&subject.export(), log), "#glxc-rows 1\tbag\tline\nX\nX\n\\N\nmine\nx\nx \n");
}

#[test]
fn rules_are_kept() {
    let Some((subject, base)) = tables("rules") else { return };
    let letters = "data/letters/rows.tsv";
    for (next, words) in [
        (added(&base, letters, "7\t77\tx\n"), "letters person=77: no such row in people (foreign key of_person)"),
        (edited(&base, PEOPLE, "3\tedsger\t\\N\t2001-01-01 00:00:00\n", ""), "letters person=3: no such row in people"),
        (edited(&base, PEOPLE, "1\tada\t\\N\t2001-01-01 00:00:00\n", ""), "no such row in people"),
    ] {
        let error = subject.declined(Some(&base), &next);
        assert!(matches!(error, Error::Violation { .. }) && chain(&error).contains(words), "{}", chain(&error));
    }
    for (next, words) in [
        (
            added(&base, "data/codes/rows.tsv", "c\t-1\n"),
            subject.pick("data/codes/rows.tsv:4: CONSTRAINT", "data/codes/rows.tsv:4: Check constraint"),
        ),
        (added(&base, "data/codes/rows.tsv", "B\t1\n"), "data/codes/rows.tsv:4: Duplicate entry 'B'"),
        (added(&base, "data/codes/rows.tsv", "c\t01\n"), "data/codes/rows.tsv:4: the server keeps this row as `c 1`"),
        (added(&base, "data/codes/rows.tsv", "toolong\t1\n"), "data/codes/rows.tsv:4: Data too long"),
        (added(&base, "data/codes/rows.tsv", "b\t2\n"), "data/codes/rows.tsv:4: the same key as in"),
        (edited(&base, "data/codes/rows.tsv", "\tc\tn\n", "\tc\tm\n"), "data/codes/rows.tsv:1: must be: "),
    ] {
        let error = subject.declined(Some(&base), &next);
        let text = chain(&error).replace('\t', " ");
        assert!(matches!(error, Error::Input { .. }) && text.contains(words), "{words}: {text}");
    }
}

#[test]
fn triggers_do_not_act_again() {
    let Some((subject, before)) = tables("triggered") else { return };
    subject.run("CREATE TRIGGER t AFTER INSERT ON codes FOR EACH ROW INSERT INTO log VALUES ('t')");
    let base = subject.export();
    let codes = "data/codes/rows.tsv";
    let next = added(&base, codes, "c\t1\n");
    // Of a trigger that is not in the files nobody knows.
    let error = subject.declined(Some(&before), &added(&before, codes, "c\t1\n"));
    let words = "not supported: to change rows of codes, on which there are triggers in live alone";
    assert!(error.to_string().starts_with(words), "{error}");
    // Of a table without them only what differs is touched.
    subject.run("INSERT INTO log VALUES ('live')");
    assert!(subject.must_push(Some(&base), &added(&base, "data/log/rows.tsv", "y\n")).notes.is_empty());
    // What was written meanwhile is not lost, in whatever table.
    let error = subject.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, .. } if first == &["data/log"]), "{}", chain(&error));
    let late = subject.push_to(Some(&base), &next, false, || subject.run("UPDATE codes SET n = 7 WHERE c = 'b'"));
    assert!(matches!(late, Err(Error::Changed { .. })));
    subject.run("UPDATE codes SET n = 2 WHERE c = 'b';\nDELETE FROM log WHERE line IN ('live', 'y')");
    let notes = subject.must_push(Some(&base), &next).notes;
    assert_eq!(notes, ["codes has triggers, which would act again: the whole database is loaded anew"]);
    assert_same(&subject.export(), &next);
    // For others they act.
    subject.run("INSERT INTO codes VALUES ('d', 1)");
    assert_eq!(subject.ask("SELECT line FROM log ORDER BY line"), "t,x,x");
    assert!(subject.leftovers().is_empty());
}

#[test]
fn a_definition_that_was_altered_live_declines() {
    let Some((subject, base)) = tables("drifted") else { return };
    subject.run("ALTER TABLE codes ADD COLUMN m int");
    let error = subject.declined(Some(&base), &added(&base, "data/codes/rows.tsv", "c\t1\n"));
    assert!(
        matches!(&error, Error::Changed { first, .. } if first == &["table codes"])
            || matches!(&error, Error::Input { .. }),
        "{}",
        chain(&error)
    );
    let late = subject.push_to(Some(&base), &added(&base, "data/log/rows.tsv", "y\n"), false, || {
        subject.run("ALTER TABLE log ADD COLUMN m int");
    });
    assert!(matches!(late, Err(Error::Changed { .. })));
}

#[test]
fn the_next_number_follows() {
    let Some((subject, base)) = tables("follows") else { return };
    let next = edited(&base, "auto_increment/rows.tsv", "numbered\t1\n", "numbered\t20\n");
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
}

#[test]
fn rows_go_together_with_other_databases() {
    let Some((subject, base)) = tables("prepared") else { return };
    let next = edited(&base, "data/codes/rows.tsv", "b\t2\n", "b\t3\n");
    let prepared = |decision: Option<Decision>| {
        let (op, differs) = (subject.new_op(), differences(Some(&base), Some(&next)));
        let recorded = |tree| Recorded { tree, options: &subject.options };
        let base = Some(recorded(&base));
        let change = Change { op: &op, base, next: recorded(&next), differs: &differs, replace: false, prepare: true };
        with_cx(|cx| {
            let mut staged = subject.handler.stage(&change, cx).unwrap();
            staged.lock().unwrap();
            staged.prepare().unwrap();
            match decision {
                None => drop(staged.commit().unwrap()),
                Some(decision) => {
                    std::mem::forget(staged);
                    for _ in 0..2 {
                        let recovered = subject.handler.recover(&change, None, decision, cx).unwrap();
                        assert_eq!(matches!(recovered, Recovered::Committed(_)), decision == Decision::Commit);
                    }
                }
            }
            subject.handler.clear(&op, cx).unwrap();
        });
        assert!(subject.leftovers().is_empty());
    };
    prepared(Some(Decision::Abort));
    assert_same(&subject.export(), &base);
    for decision in [None, Some(Decision::Commit)] {
        prepared(decision);
        assert_same(&subject.export(), &next);
        subject.must_push(Some(&next), &base);
    }
}

#[test]
fn json_is_what_the_server_parsed() {
    let Some(subject) = Subject::absent("json").filter(|subject| subject.server.product() == Product::MySql) else {
        return;
    };
    subject.create();
    subject.run(
        "CREATE TABLE t (id int PRIMARY KEY, j json);\nCREATE TABLE bag (j json);\n\
         INSERT INTO t VALUES (1, '{\"b\": 1, \"a\": \"\\\\n\"}'), (2, '[1.0]'), (3, '1.5'), (5, '{\"n\": 1.0}');\nINSERT INTO bag VALUES ('[1]'), ('[1]'), ('1.5')",
    );
    let base = subject.export();
    let (rows, bag) = ("data/t/rows.tsv", "data/bag/rows.tsv");
    assert!(text(&base, rows).contains("\n1\t{\"a\": \"\\\\n\", \"b\": 1}\n2\t[1.0]\n"), "{}", text(&base, rows));
    let next = edited(&base, rows, "2\t[1.0]\n", "2\t[1.0, {\"é😀\": null}]\n");
    // They compare as equal.
    let next = edited(&next, rows, "5\t{\"n\": 1.0}\n", "5\t{\"n\": 1}\n");
    let next = edited(&next, bag, "[1]\n[1]\n", "[1]\n");
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
    for (json, words) in
        [("{\"b\": 1, \"a\": 2}", "the server keeps this row as `4\t{\"a\": 2, \"b\": 1}`"), ("{", "Invalid JSON text")]
    {
        let error = subject.declined(Some(&next), &added(&next, rows, &format!("4\t{json}\n")));
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }
    // It is compared under the locks of a load, too.
    let column = "  `id` int NOT NULL,\n";
    let altered = edited(&next, "schema/tables/t.sql", column, &format!("{column}  `z` int DEFAULT NULL,\n"));
    let lines = text(&next, rows).replace("\tid\tj\n", "\tid\tz\tj\n");
    let lines: Vec<String> = lines
        .lines()
        .map(|line| if line.starts_with('#') { line.into() } else { line.replacen('\t', "\t\\N\t", 1) })
        .collect();
    let altered = altered.with(&path(rows), lines.join("\n") + "\n");
    subject.must_push(Some(&next), &altered);
    assert_same(&subject.export(), &altered);
    subject.must_push(Some(&altered), &next);
    // A DECIMAL has the text of a number, but is none.
    subject.run("DELETE FROM t WHERE id = 3;\nINSERT INTO t VALUES (3, CAST(1.5 AS JSON));\nDELETE FROM bag WHERE j = 1.5;\nINSERT INTO bag VALUES (CAST(1.5 AS JSON))");
    let error = subject.declined(Some(&next), &edited(&next, rows, "3\t1.5\n", "3\t2\n"));
    assert!(error.to_string().contains("the JSON value of the column j in the row `3"), "{}", chain(&error));
    let error = subject.declined(Some(&next), &edited(&next, bag, "1.5\n", ""));
    assert!(matches!(error, Error::Changed { total: 1, .. }), "{}", chain(&error));
    let error = subject.try_export().unwrap_err().to_string();
    assert!(error.contains("the JSON value of the column j in the row"), "{error}");
}

#[test]
fn a_lock_that_is_not_given_is_a_time_out() {
    let Some((subject, base)) = tables("waits") else { return };
    use mysql::prelude::Queryable;
    let mut other = subject.connect();
    other.query_drop("START TRANSACTION").unwrap();
    other.query_drop("UPDATE codes SET n = 9 WHERE c = 'b'").unwrap();
    let error = subject.push(Some(&base), &edited(&base, "data/codes/rows.tsv", "b\t2\n", "b\t3\n")).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{}", chain(&error));
    other.query_drop("ROLLBACK").unwrap();
    assert_same(&subject.export(), &base);
}
