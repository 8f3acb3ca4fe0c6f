//! Rules of tables that a push of rows must keep: foreign keys of every kind, keys, partitions, rewrite rules; and what it
//! leaves to others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use glxc_handlers::{Change, Error, MemoryTree, Recorded, StatePath, Tree, Value, differences};

use crate::harness::{End, Subject, added, assert_same, chain, edited, path, text, with_cx};

/// The files of a tree with their lines sorted: where a row stands in a file is nothing the server keeps.
fn content(tree: &MemoryTree) -> BTreeMap<StatePath, Vec<String>> {
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(String::from).collect();
        lines.sort_unstable();
        lines
    };
    tree.files().iter().map(|(path, (_, bytes))| (path.clone(), sorted(bytes))).collect()
}

/// A push that must succeed, and after which the server has what the files say.
#[track_caller]
fn applied(shop: &Subject, base: &MemoryTree, next: &MemoryTree) {
    shop.must_push(Some(base), next);
    assert_eq!(content(&shop.export()), content(next));
}

/// A push that must be declined, and after which the server has what it had.
#[track_caller]
fn declined(shop: &Subject, base: &MemoryTree, next: &MemoryTree) -> Error {
    let live = shop.export();
    let error = shop.declined(Some(base), next);
    assert_same(&shop.export(), &live);
    error
}

/// The same for a rule that its rows violate.
#[track_caller]
fn violated(shop: &Subject, base: &MemoryTree, next: &MemoryTree) -> String {
    match declined(shop, base, next) {
        Error::Violation { message, .. } => message,
        other => panic!("{}", chain(&other)),
    }
}

/// The same for rows that changed meanwhile.
#[track_caller]
fn changed(shop: &Subject, base: &MemoryTree, next: &MemoryTree) -> (Vec<String>, u64) {
    match declined(shop, base, next) {
        Error::Changed { first, total } => (first, total),
        other => panic!("{}", chain(&other)),
    }
}

#[test]
fn circular_foreign_keys_come_and_go_together() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); \
               INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b";
    let Some(shop) = Subject::of("circular", sql) else { return };
    let (a, b) = ("data/public.a/rows.tsv", "data/public.b/rows.tsv");
    let base = shop.export();
    let next = added(&added(&base, a, "2\t2\n"), b, "2\t2\n");
    applied(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT count(*) FROM a JOIN b ON a.b = b.id AND b.a = a.id"), "2");
    let dangling = added(&added(&next, a, "3\t9\n"), b, "3\t3\n");
    let wanted = "data/public.a/rows.tsv:4: public.a: b=9 has no row in public.b (foreign key a_b_fkey)";
    assert_eq!(violated(&shop, &next, &dangling), wanted);
    let half = edited(&next, a, "\n1\t1\n", "\n");
    let wanted = "public.a id=1: 1 row of public.b still refers to it (foreign key b_a_fkey)";
    assert_eq!(violated(&shop, &next, &half), wanted);
    applied(&shop, &next, &edited(&half, b, "\n1\t1\n", "\n"));
    assert_eq!(shop.ask("SELECT id FROM a UNION ALL SELECT id FROM b"), "2,2");
}

#[test]
fn deferred_foreign_keys_hold_at_the_end() {
    let sql = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, \
               parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)";
    let Some(shop) = Subject::of("deferred_keys", sql) else { return };
    let (child, parent) = ("data/public.child/rows.tsv", "data/public.parent/rows.tsv");
    let base = shop.export();
    // The child's table, and its file, come first.
    let next = added(&added(&base, child, "1\t1\n"), parent, "1\n");
    applied(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT p.id FROM child JOIN parent p ON p.id = child.parent"), "1");
    let wanted = "data/public.child/rows.tsv:3: public.child: parent=9 has no row in public.parent (foreign key child_parent_fkey)";
    assert_eq!(violated(&shop, &next, &added(&next, child, "2\t9\n")), wanted);
    let wanted = "public.parent id=1: 1 row of public.child still refers to it (foreign key child_parent_fkey)";
    assert_eq!(violated(&shop, &next, &edited(&next, parent, "\n1\n", "\n")), wanted);
}

#[test]
fn a_table_that_refers_to_itself_loses_whole_branches() {
    let sql = "CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree ON DELETE CASCADE); \
               INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 1)";
    let Some(shop) = Subject::of("self_reference", sql) else { return };
    let tree = "data/public.tree/rows.tsv";
    let base = shop.export();
    let alone = edited(&base, tree, "\n2\t1\n", "\n");
    let wanted = "public.tree id=2: 1 row of public.tree still refers to it (foreign key tree_above_fkey)";
    assert_eq!(violated(&shop, &base, &alone), wanted);
    applied(&shop, &base, &edited(&alone, tree, "\n3\t2\n", "\n"));
    assert_eq!(shop.ask("SELECT id FROM tree ORDER BY id"), "1,4");
}

#[test]
fn match_full_takes_all_columns_or_none() {
    let sql = "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); INSERT INTO p VALUES (1, 1); CREATE TABLE c \
               (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p MATCH FULL); INSERT INTO c VALUES (1, 1, 1)";
    let Some(shop) = Subject::of("match_full", sql) else { return };
    let c = "data/public.c/rows.tsv";
    let base = shop.export();
    let next = added(&base, c, "2\t\\N\t\\N\n");
    applied(&shop, &base, &next);
    let wanted = "data/public.c/rows.tsv:4: public.c: some of the columns of the key are null, and not all \
                  (foreign key c_a_b_fkey)";
    for row in ["3\t1\t\\N\n", "3\t\\N\t1\n"] {
        assert_eq!(violated(&shop, &next, &added(&next, c, row)), wanted);
    }
    let wanted = wanted.replace(":4:", ":2:");
    assert_eq!(violated(&shop, &next, &edited(&next, c, "\n1\t1\t1\n", "\n1\t\\N\t1\n")), wanted);
}

#[test]
fn a_key_that_is_not_valid_yet_judges_what_changes() {
    let sql = "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1); CREATE TABLE c (id int PRIMARY KEY, p int, \
               note text); INSERT INTO c VALUES (1, 9, 'bad'), (2, 1, 'good'); ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (p) \
               REFERENCES p NOT VALID";
    let Some(shop) = Subject::of("not_valid", sql) else { return };
    let c = "data/public.c/rows.tsv";
    let base = shop.export();
    let next = edited(&base, c, "\tbad\n", "\tstill bad\n");
    applied(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT p || note FROM c WHERE id = 1"), "9still bad");
    let place = |line: u64, p: u64| format!("{c}:{line}: public.c: p={p} has no row in public.p (foreign key c_p)");
    assert_eq!(violated(&shop, &next, &edited(&next, c, "\n1\t9\t", "\n1\t8\t")), place(2, 8));
    assert_eq!(violated(&shop, &next, &edited(&next, c, "\n2\t1\t", "\n2\t8\t")), place(3, 8));
    assert_eq!(violated(&shop, &next, &added(&next, c, "3\t9\tnew\n")), place(4, 9));
    assert_eq!(shop.ask("SELECT convalidated FROM pg_constraint WHERE conname = 'c_p'"), "f");
}

/// With MATCH FULL the server looks at such a row whatever of it changes, and so does a push.
#[test]
fn a_full_key_that_is_not_valid_yet_judges_every_change() {
    let sql = "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE c (id int PRIMARY KEY, a int, b int, note text); \
               INSERT INTO c VALUES (1, 1, NULL, 'bad'); ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (a, b) REFERENCES p \
               MATCH FULL NOT VALID";
    let Some(shop) = Subject::of("not_valid_full", sql) else { return };
    let base = shop.export();
    let server = shop.connect().batch_execute("UPDATE c SET note = 'still bad'").unwrap_err();
    assert!(format!("{server:?}").contains("MATCH FULL does not allow"), "{server:?}");
    let message = violated(&shop, &base, &edited(&base, "data/public.c/rows.tsv", "\tbad\n", "\tstill bad\n"));
    assert!(message.ends_with("some of the columns of the key are null, and not all (foreign key c_p)"), "{message}");
}

#[test]
fn a_parent_changes_its_key_with_its_children() {
    let sql = "CREATE TABLE parent (id int PRIMARY KEY, note text); CREATE TABLE child (id int PRIMARY KEY, \
               parent int REFERENCES parent ON UPDATE CASCADE ON DELETE CASCADE); \
               INSERT INTO parent VALUES (1, 'x'), (2, 'y'); INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)";
    let Some(shop) = Subject::of("changed_key", sql) else { return };
    let (child, parent) = ("data/public.child/rows.tsv", "data/public.parent/rows.tsv");
    let base = shop.export();
    let alone = edited(&base, parent, "\n1\tx\n", "\n7\tx\n");
    let wanted = "public.parent id=1: 2 rows of public.child still refer to it (foreign key child_parent_fkey)";
    assert_eq!(violated(&shop, &base, &alone), wanted);
    applied(&shop, &base, &edited(&alone, child, "\n1\t1\n2\t1\n", "\n1\t7\n2\t7\n"));
    let rows = "SELECT c.id || p.note FROM child c JOIN parent p ON p.id = c.parent ORDER BY c.id";
    assert_eq!(shop.ask(rows), "1x,2x,3y");
}

#[test]
fn rows_move_between_partitions() {
    // The key is that of each partition, so that it is the same row after the move.
    let sql = "CREATE TABLE e (id int NOT NULL, half int NOT NULL, note text) PARTITION BY LIST (half); \
               CREATE TABLE e_one PARTITION OF e (PRIMARY KEY (id)) FOR VALUES IN (1); \
               CREATE TABLE e_two PARTITION OF e (PRIMARY KEY (id)) FOR VALUES IN (2); \
               INSERT INTO e VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 1, 'c'), (4, 2, 'd')";
    let Some(shop) = Subject::of("partition_move", sql) else { return };
    let (one, two) = ("data/public.e_one/rows.tsv", "data/public.e_two/rows.tsv");
    let moved = |tree: &MemoryTree, id: u64, note: &str| {
        let gone = edited(tree, one, &format!("\n{id}\t1\t{note}\n"), "\n");
        added(&gone, two, &format!("{id}\t2\t{note}\n"))
    };
    let start = shop.export();
    let base = moved(&start, 1, "a");
    applied(&shop, &start, &base);
    let rows = "SELECT tableoid::regclass || ' ' || id || note FROM e ORDER BY id";
    assert_eq!(shop.ask(rows), "e_two 1a,e_one 2b,e_one 3c,e_two 4d");
    shop.run("UPDATE e SET half = 2 WHERE id = 2; UPDATE e SET half = 2, note = 'live' WHERE id = 3");
    let edit = edited(&base, one, "\n2\t1\tb\n", "\n2\t1\tpushed\n");
    assert_eq!(changed(&shop, &base, &edit), (vec!["public.e_one id=2".into()], 1));
    assert_eq!(changed(&shop, &base, &moved(&base, 3, "c")), (vec!["public.e_two id=3".into()], 1));
    // Both moved it alike.
    shop.must_push(Some(&base), &moved(&base, 2, "b"));
    assert_eq!(shop.ask(rows), "e_two 1a,e_two 2b,e_two 3live,e_two 4d");
}

#[test]
fn nulls_in_unique_keys_are_rows_as_others() {
    let sql =
        "CREATE TABLE t (a int UNIQUE, b text); INSERT INTO t VALUES (NULL, 'x'), (NULL, 'x'), (NULL, 'y'), (1, NULL)";
    let Some(shop) = Subject::of("null_keys", sql) else { return };
    let t = "data/public.t/rows.tsv";
    let base = shop.export();
    let next = edited(&base, t, "\\N\ty\n", "\\N\tz\n");
    let next = added(&next.with(&path(t), text(&next, t).replacen("\\N\tx\n", "", 1)), t, "\\N\t\\N\n");
    let next = edited(&next, t, "1\t\\N\n", "\\N\tone\n");
    applied(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT b FROM t ORDER BY b COLLATE \"C\""), "one,x,z,NULL");
    assert_eq!(shop.ask("SELECT count(*) FROM t WHERE a IS NULL"), "4");
    let twice = added(&next, t, "5\tx\n5\ty\n");
    let error = declined(&shop, &next, &twice);
    assert!(matches!(&error, Error::Input { message, .. } if message.contains("(a)=(5)")), "{}", chain(&error));
}

#[test]
fn nulls_that_are_not_distinct_stand_once() {
    let Some(shop) = Subject::absent("null_once") else { return };
    if shop.beside("postgres").ask("SHOW server_version_num").parse::<u32>().unwrap() < 150_000 {
        eprintln!("skipped: before PostgreSQL 15 NULLs are always distinct");
        return;
    }
    let sql =
        "CREATE TABLE t (id int PRIMARY KEY, a int UNIQUE NULLS NOT DISTINCT); INSERT INTO t VALUES (1, NULL), (2, 2)";
    let Some(shop) = Subject::of("null_once", sql) else { return };
    let t = "data/public.t/rows.tsv";
    let base = shop.export();
    for (next, line) in [(added(&base, t, "3\t\\N\n"), 4), (edited(&base, t, "\n2\t2\n", "\n2\t\\N\n"), 3)] {
        let error = declined(&shop, &base, &next);
        let message = error.to_string();
        assert!(message.starts_with(&format!("{t}:{line}: duplicate key")), "{}", chain(&error));
    }
    applied(&shop, &base, &edited(&base, t, "\n1\t\\N\n2\t2\n", "\n1\t2\n2\t\\N\n"));
    assert_eq!(shop.ask("SELECT a FROM t ORDER BY id"), "2,NULL");
}

#[test]
fn rewrite_rules_do_not_act() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE heard (what text); CREATE TABLE calm (id int PRIMARY KEY); \
               INSERT INTO t VALUES (1, 'a'), (2, 'b'); \
               CREATE RULE added AS ON INSERT TO t DO ALSO INSERT INTO heard VALUES ('added'); \
               CREATE RULE changed AS ON UPDATE TO t DO INSTEAD INSERT INTO heard VALUES ('changed'); \
               CREATE RULE removed AS ON DELETE TO t DO INSTEAD NOTHING";
    let Some(shop) = Subject::of("rewrite_rules", sql) else { return };
    let t = "data/public.t/rows.tsv";
    let base = shop.export();
    let next = edited(&added(&base, t, "3\tc\n"), t, "\n1\ta\n2\tb\n", "\n2\tB\n");
    applied(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT id || v FROM t ORDER BY id"), "2B,3c");
    assert_eq!(shop.ask("SELECT count(*) FROM heard"), "0");
    for rule in ["added", "changed", "removed"] {
        for how in ["ALWAYS", "REPLICA"] {
            shop.run(&format!("ALTER TABLE t ENABLE {how} RULE {rule}"));
            let base = shop.export();
            let error = declined(&shop, &base, &edited(&base, t, "\n2\tB\n", "\n2\tC\n"));
            let wanted = format!("public.t: rule {rule} is enabled as ALWAYS or REPLICA");
            assert!(matches!(&error, Error::Unsupported { what } if *what == wanted), "{}", chain(&error));
        }
        if rule == "added" {
            // Another table's rules are none of a push's business.
            let base = shop.export();
            applied(&shop, &base, &added(&base, "data/public.calm/rows.tsv", "1\n"));
        }
        shop.run(&format!("ALTER TABLE t DISABLE RULE {rule}"));
    }
    let base = shop.export();
    applied(&shop, &base, &edited(&base, t, "\n2\tB\n", "\n2\tC\n"));
    assert_eq!(
        shop.ask("SELECT string_agg(ev_enabled::text, '') FROM pg_rewrite WHERE ev_class = 't'::regclass"),
        "DDD"
    );
}

#[test]
fn tables_under_a_rule_keep_their_rows() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE keep (id int PRIMARY KEY); CREATE TABLE away (id int PRIMARY KEY); \
               INSERT INTO t VALUES (1); INSERT INTO keep VALUES (1); INSERT INTO away VALUES (1)";
    let Some(plain) = Subject::of("ruled", sql) else { return };
    let rule = |name: &str| Value::Text(name.into());
    let shop = plain.with_tables(&[("public.keep", rule("schema")), ("public.away", rule("ignore"))]);
    let rows = "SELECT id FROM keep UNION ALL SELECT id * 10 FROM away ORDER BY 1";
    let base = shop.export();
    let next = added(&base, "data/public.t/rows.tsv", "2\n");
    let writes = "INSERT INTO keep VALUES (2); INSERT INTO away VALUES (2)";
    shop.push_to(Some(&base), &next, End::Commit, |_| shop.run(writes)).unwrap();
    assert_eq!(content(&shop.export()), content(&next));
    assert_eq!((shop.ask(rows), shop.ask("SELECT count(*) FROM t")), ("1,2,10,20".into(), "2".into()));
    // The rule came, or went, with this very push.
    let kept = plain.with_tables(&[("public.keep", rule("schema"))]);
    for (before, after) in [(&plain, &kept), (&kept, &plain)] {
        let (base, next) = (before.export(), after.export());
        let op = after.new_op();
        let differs = differences(Some(&base as &dyn Tree), Some(&next));
        let (old, new) =
            (Recorded { tree: &base, options: &before.options }, Recorded { tree: &next, options: &after.options });
        let change = Change { op: &op, base: Some(old), next: new, differs: &differs, replace: false, prepare: false };
        let notes = with_cx(|cx| {
            let mut staged = after.handler.stage(&change, cx).unwrap();
            staged.lock().unwrap();
            staged.commit().unwrap().notes
        });
        assert_eq!(notes, ["public.keep: its rows are not managed on both sides; left alone"]);
        assert_eq!(shop.ask(rows), "1,2,10,20");
    }
}

/// Waits until the sessions of others have ended, and have told what they did.
fn quiet(shop: &Subject) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                  AND backend_type = 'client backend'";
    let start = Instant::now();
    while shop.ask(others) != "0" {
        assert!(start.elapsed() < Duration::from_secs(20), "sessions of the handler remain");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Before PostgreSQL 15 a process of its own collects what they told.
    std::thread::sleep(Duration::from_millis(700));
}

#[test]
fn tables_that_are_not_touched_are_left_to_others() {
    let sql = "CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE other (id int PRIMARY KEY, note text); \
               INSERT INTO orders SELECT n, 'order' FROM generate_series(1, 9) n; INSERT INTO other SELECT * FROM orders";
    let Some(shop) = Subject::of("untouched", sql) else { return };
    let stats = |table: &str| {
        shop.ask(&format!(
            "SELECT concat_ws(' ', seq_scan, seq_tup_read, idx_scan, idx_tup_fetch, n_tup_ins, n_tup_upd, n_tup_del, \
             pg_relation_filenode(relid)) FROM pg_stat_all_tables WHERE relname = '{table}'"
        ))
    };
    let base = shop.export();
    let next = edited(&base, "data/public.orders/rows.tsv", "\n7\torder\n", "\n7\tpushed\n");
    quiet(&shop);
    let before = (stats("orders"), stats("other"));
    let op = shop.new_op();
    let differs = differences(Some(&base as &dyn Tree), Some(&next));
    let recorded = |tree| Recorded { tree, options: &shop.options };
    let old = Some(recorded(&base as &dyn Tree));
    let change =
        Change { op: &op, base: old, next: recorded(&next), differs: &differs, replace: false, prepare: false };
    let locks = "SELECT DISTINCT c.relname || ' ' || l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN \
                 pg_stat_activity a USING (pid) WHERE a.application_name ~ '^glxc:' AND a.datname = current_database() \
                 AND l.database = a.datid AND c.relname ~ '^(orders|other)' ORDER BY 1";
    with_cx(|cx| {
        let mut staged = shop.handler.stage(&change, cx).unwrap();
        staged.lock().unwrap();
        let held = shop.ask(locks);
        assert!(held.contains("orders ShareRowExclusiveLock") && !held.contains("other"), "{held}");
        shop.run("SET lock_timeout = 300; ALTER TABLE other ALTER note SET STORAGE EXTERNAL; ALTER TABLE other SET (fillfactor = 90)");
        staged.commit().unwrap();
    });
    quiet(&shop);
    assert_eq!(stats("other"), before.1);
    assert_ne!(stats("orders"), before.0, "the server counts");
    shop.run("ALTER TABLE other ALTER note SET STORAGE EXTENDED; ALTER TABLE other RESET (fillfactor)");
    assert_eq!(content(&shop.export()), content(&next));
}

#[test]
fn a_lock_that_is_not_given_does_no_harm() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a'), (2, 'b')";
    let Some(shop) = Subject::of("no_harm", sql) else { return };
    let t = "data/public.t/rows.tsv";
    let base = shop.export();
    let next = edited(&base, t, "\n2\tb\n", "\n2\tpushed\n");
    let ours = || (shop.traces(), shop.ask("SELECT nspname FROM pg_namespace WHERE nspname ~ '^glxc_'"));
    let traces = ours();
    let mut other = shop.connect();
    let start = Instant::now();
    let error = shop
        .push_to(Some(&base), &next, End::Commit, |_| {
            other.batch_execute("BEGIN; UPDATE t SET note = 'other' WHERE id = 1").unwrap();
        })
        .unwrap_err();
    let waited = start.elapsed();
    assert!(
        matches!(&error, Error::Timeout { what, after } if what.contains("public.t") && *after <= waited),
        "{error:?}"
    );
    assert!((9..30).contains(&waited.as_secs()), "{waited:?}");
    assert_same(&shop.export(), &base);
    assert_eq!(ours(), traces);
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(shop.ask("SELECT note FROM t ORDER BY id"), "other,b");
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT note FROM t ORDER BY id"), "other,pushed");
}

/// Four rows of one table and 21 of the next, changed on both sides.
fn many(name: &str, key: &str) -> Option<(Vec<String>, u64)> {
    let table = |table: &str, rows: u64| {
        format!(
            "CREATE TABLE {table} (id int {key}, note text); INSERT INTO {table} SELECT n, 'old' FROM generate_series(11, {}) n;",
            10 + rows
        )
    };
    let shop = Subject::of(name, &(table("a", 4) + &table("b", 21) + "CREATE TABLE c (id int PRIMARY KEY)"))?;
    let base = shop.export();
    let next = ["data/public.a/rows.tsv", "data/public.b/rows.tsv"]
        .iter()
        .fold(base.clone(), |tree, file| tree.with(&path(file), text(&tree, file).replace("\told\n", "\tnew\n")));
    let next = added(&next, "data/public.c/rows.tsv", "1\n");
    shop.run("UPDATE a SET note = 'live'; UPDATE b SET note = 'live'");
    let found = changed(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT count(*) FROM c"), "0", "all or nothing");
    Some(found)
}

#[test]
fn the_first_ten_conflicts_are_named_and_all_counted() {
    let names = |how: &dyn Fn(&str, u64) -> String| -> Vec<String> {
        (11..=14).map(|id| how("a", id)).chain((11..=16).map(|id| how("b", id))).collect()
    };
    let Some(found) = many("many_keyed", "PRIMARY KEY") else { return };
    assert_eq!(found, (names(&|table, id| format!("public.{table} id={id}")), 25));
    let Some(found) = many("many_bags", "") else { return };
    assert_eq!(found, (names(&|table, id| format!("public.{table} row ({id},old)")), 25));
}
