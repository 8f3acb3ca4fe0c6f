//! Rules for tables: what of them is no part of the state.

use glxc_handlers::{Error, MemoryTree, Tree, Value};
use mysql::prelude::Queryable;

use crate::harness::{Subject, added, assert_same, chain, edited, path, text};

const SQL: &str = "CREATE TABLE people (id int PRIMARY KEY, name varchar(20) NOT NULL UNIQUE, \
        seen timestamp NOT NULL DEFAULT '2001-01-01' ON UPDATE current_timestamp(), hits int NOT NULL DEFAULT 0);\n\
    CREATE TABLE session (id int AUTO_INCREMENT PRIMARY KEY, data text);\n\
    CREATE TABLE cache_pages (a int) ENGINE=MyISAM;\n\
    CREATE TRIGGER kept BEFORE INSERT ON cache_pages FOR EACH ROW SET NEW.a = NEW.a + 1;\n\
    CREATE FUNCTION first_one() RETURNS int DETERMINISTIC RETURN 1;\n\
    INSERT INTO people VALUES (1, 'ada', '2002-02-02', 5), (2, 'grace', '2002-02-02', 7);\n\
    INSERT INTO session VALUES (5, 'x');\n\
    INSERT INTO cache_pages VALUES (1)";

fn text_value(text: &str) -> Value {
    Value::Text(text.into())
}

fn without(columns: &[&str]) -> Value {
    let columns = columns.iter().map(|column| text_value(column)).collect();
    Value::Table(glxc_handlers::Options::new().with("ignore", Value::List(columns)))
}

fn ruled(name: &str) -> Option<(Subject, MemoryTree)> {
    let rules =
        [("people", without(&["seen", "hits"])), ("session", text_value("schema")), ("cache_*", text_value("ignore"))];
    let subject = Subject::of(name, SQL)?.with_tables(&rules);
    let tree = subject.export();
    Some((subject, tree))
}

const OTHERS: &str = "SELECT CONCAT(id, data) FROM session UNION ALL SELECT a FROM cache_pages \
                      UNION ALL SELECT CONCAT(name, ' ', seen, ' ', hits) FROM people ORDER BY 1";

#[test]
fn what_is_left_out_stands_in_no_file() {
    let Some((subject, tree)) = ruled("left_out") else { return };
    assert_eq!(text(&tree, "data/people/rows.tsv"), "#glxc-rows 1\tkey=1n\tid\tname\n1\tada\n2\tgrace\n");
    assert_eq!(text(&tree, "auto_increment/rows.tsv"), "#glxc-rows 1\tkey=1b\ttable\tnext\n");
    let files: Vec<String> = tree.entries().iter().map(|entry| entry.path.to_string()).collect();
    assert!(files.contains(&"schema/tables/session.sql".to_owned()), "{files:?}");
    assert!(files.iter().all(|file| !file.contains("cache") && !file.contains("kept")), "{files:?}");
    assert!(!files.contains(&"data/session/rows.tsv".to_owned()), "{files:?}");
    let notes = ["cache_pages: ignored", "people: without seen, hits", "session: its definition only"];
    assert_eq!(subject.notes(), notes);
}

#[test]
fn what_is_left_out_keeps_its_values() {
    let Some((subject, base)) = ruled("keeps") else { return };
    let next = edited(&base, "data/people/rows.tsv", "1\tada\n2\tgrace\n", "1\tAda\n2\tGrace\n3\tedsger\n");
    subject.run("INSERT INTO session VALUES (9, 'live')");
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
    let wanted = "2,5x,9live,Ada 2002-02-02 00:00:00 5,edsger 2001-01-01 00:00:00 0,Grace 2002-02-02 00:00:00 7";
    assert_eq!(subject.ask(OTHERS), wanted);
    // A definition changes, and the tables that are not replaced stay.
    let error = subject.declined(Some(&next), &edited(&next, "schema/functions/first_one.sql", "RETURN 1", "RETURN 2"));
    let words = "the files do not hold all of the rows of people, and replacing the table would lose them";
    assert!(error.to_string().contains(words), "{}", chain(&error));
    subject.run("ALTER TABLE people DROP COLUMN seen, DROP COLUMN hits");
    let base = subject.export();
    let next = edited(&base, "schema/functions/first_one.sql", "RETURN 1", "RETURN 2");
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
    assert_eq!(subject.ask("SELECT first_one()"), "2");
    subject.run("INSERT INTO cache_pages VALUES (6)");
    let kept = "SELECT CONCAT(id, data) FROM session UNION ALL SELECT a FROM cache_pages ORDER BY 1";
    assert_eq!(subject.ask(kept), "2,5x,7,9live");
    // But not where the one whose rows are in no file changes.
    let altered = edited(&next, "schema/tables/session.sql", "`data` text", "`data` longtext");
    let error = subject.declined(Some(&next), &altered);
    assert!(error.to_string().contains("the rows of session"), "{}", chain(&error));
    subject.run("DELETE FROM session");
    subject.must_push(Some(&next), &altered);
    assert_same(&subject.export(), &altered);
    assert!(subject.leftovers().is_empty());
}

#[test]
fn rows_that_come_while_their_table_is_replaced_decline() {
    let Some((subject, base)) = ruled("replaced_late") else { return };
    subject.run("DELETE FROM session;\nALTER TABLE people DROP COLUMN seen, DROP COLUMN hits");
    let base = {
        drop(base);
        subject.export()
    };
    let next = edited(&base, "schema/tables/session.sql", "`data` text", "`data` longtext");
    let late = subject.push_to(Some(&base), &next, false, || subject.run("INSERT INTO session VALUES (1, 'late')"));
    assert!(late.unwrap_err().to_string().contains("the rows of session"));
    assert_eq!(subject.ask("SELECT data FROM session"), "late");
    assert!(subject.leftovers().is_empty());
}

#[test]
fn a_rule_that_comes_with_a_push_leaves_the_rows_alone() {
    let Some(plain) = Subject::of("comes", "CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1)") else {
        return;
    };
    let ruled = plain.with_tables(&[("t", text_value("schema"))]);
    let (base, next) = (plain.export(), ruled.export());
    assert!(next.entry(&path("data/t/rows.tsv")).is_none());
    let notes = ruled.must_push(Some(&base), &next).notes;
    assert_eq!(notes, ["t: its rows are not managed on both sides; left alone"]);
    assert_eq!(plain.ask("SELECT id FROM t"), "1");
    ruled.must_push(Some(&next), &added(&base, "data/t/rows.tsv", "2\n"));
    assert_eq!(plain.ask("SELECT id FROM t"), "1");
}

#[test]
fn what_can_not_be_left_out_is_named() {
    let sql = "CREATE TABLE parent (id int PRIMARY KEY, n int);\n\
               CREATE TABLE child (id int PRIMARY KEY, parent int, CONSTRAINT up FOREIGN KEY (parent) REFERENCES parent (id));\n\
               CREATE TABLE bag (a int, b int);\nCREATE VIEW v AS SELECT n FROM parent";
    let Some(subject) = Subject::of("dangling", sql) else { return };
    for (table, rule, words) in [
        ("parent", text_value("schema"), "child refers to parent by the foreign key up"),
        ("parent", text_value("ignore"), "view v names parent, which is ignored"),
        ("child", without(&["id"]), "column `id` is part of the key"),
        ("bag", without(&["b"]), "has no key"),
    ] {
        let error = subject.with_tables(&[(table, rule)]).try_export().unwrap_err();
        assert!(matches!(error, Error::Options { .. }) && error.to_string().contains(words), "{words}: {error}");
    }
    let all = subject.with_tables(&[("*", text_value("ignore"))]);
    all.server.connect().query_drop("DROP VIEW dangling.v").unwrap();
    assert_eq!(all.export().entries().len(), 3);
}
