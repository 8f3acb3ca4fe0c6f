//! Changed rows that are updated in place, and those that can not be.

use glxc_handlers::MemoryTree;

use crate::harness::{Subject, assert_same, chain, path, text};

/// The same tree with other rows of a table.
fn put(tree: &MemoryTree, table: &str, rows: &str) -> MemoryTree {
    let file = format!("data/public.{table}/rows.tsv");
    let header = text(tree, &file).lines().next().unwrap().to_owned();
    tree.with(&path(&file), format!("{header}\n{rows}"))
}

/// A push after which the server holds what was pushed.
#[track_caller]
fn lands(subject: &Subject, base: &MemoryTree, next: &MemoryTree) {
    subject.must_push(Some(base), next);
    assert_same(&subject.export(), next);
}

/// A push that is declined for a reason, after which the server holds what it held.
#[track_caller]
fn declines(subject: &Subject, base: &MemoryTree, next: &MemoryTree, reason: &str) {
    let live = subject.export();
    let error = chain(&subject.declined(Some(base), next));
    assert!(error.contains(reason), "{reason:?} in {error}");
    assert_same(&subject.export(), &live);
}

#[test]
fn unique_values_change_hands() {
    let sql = "CREATE TABLE partial (id int PRIMARY KEY, a int, live boolean); CREATE UNIQUE INDEX ON partial (a) WHERE live; \
               INSERT INTO partial VALUES (1, 5, true), (2, 6, true), (3, 7, true), (4, 7, false), (5, 8, false), (6, 8, true); \
               CREATE TABLE expr (id int PRIMARY KEY, e text); CREATE UNIQUE INDEX ON expr (lower(e)); \
               INSERT INTO expr VALUES (1, 'One'), (2, 'Two'), (3, 'Three'); \
               CREATE TABLE excl (id int PRIMARY KEY, s int4range, v text, EXCLUDE USING gist (s WITH &&)); \
               INSERT INTO excl VALUES (1, '[1,5)', 'a'), (2, '[5,9)', 'b'), (3, '[9,12)', 'c')";
    let Some(shop) = Subject::of("rules_hands", sql) else { return };
    let base = shop.export();
    let next = put(&base, "partial", "1\t6\tt\n2\t5\tt\n3\t7\tf\n4\t7\tt\n5\t8\tt\n6\t8\tf\n");
    let next = put(&next, "expr", "1\tTWO\n2\tone\n3\tTHREE\n");
    let next = put(&next, "excl", "1\t[5,8)\ta\n2\t[1,5)\tb\n3\t[9,12)\tpushed\n");
    lands(&shop, &base, &next);
    let reason = "partial/rows.tsv:4: duplicate key";
    declines(&shop, &next, &put(&next, "partial", "1\t6\tt\n2\t5\tt\n3\t5\tt\n4\t7\tt\n5\t8\tt\n6\t8\tf\n"), reason);
    declines(&shop, &next, &put(&next, "expr", "1\tTWO\n2\tone\n3\tTwo\n"), "expr/rows.tsv:4: duplicate key");
    let overlap = put(&next, "excl", "1\t[5,10)\ta\n2\t[1,5)\tb\n3\t[9,12)\tpushed\n");
    declines(&shop, &next, &overlap, "excl/rows.tsv:2: conflicting key value");
}

#[test]
fn a_row_that_stays_keeps_what_the_server_gives() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0), g int GENERATED ALWAYS AS (n * 2) STORED, \
               i int GENERATED ALWAYS AS IDENTITY UNIQUE, v text); INSERT INTO t (id, n, v) SELECT n, n, 'x' FROM generate_series(1, 3) n; \
               CREATE TABLE audit (what text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
               $$BEGIN INSERT INTO public.audit VALUES (TG_OP); NEW.v = 'fired'; RETURN NEW; END$$; \
               CREATE TRIGGER always BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note(); \
               ALTER TABLE t ENABLE ALWAYS TRIGGER always";
    let Some(shop) = Subject::of("rules_given", sql) else { return };
    let base = shop.export();
    // The second and the third exchange their identities.
    let next = put(&base, "t", "1\t10\t1\tpushed\n2\t2\t3\tx\n3\t30\t2\tx\n");
    lands(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT g || v FROM t ORDER BY id"), "20pushed,4x,60x");
    assert_eq!(shop.ask("SELECT count(*) FROM audit"), "0", "no trigger fires");
    assert_eq!(shop.ask("SELECT tgenabled FROM pg_trigger WHERE tgname = 'always'"), "A");
    let wrong = put(&next, "t", "1\t11\t1\tpushed\n2\t-1\t3\tx\n3\t30\t2\tx\n");
    declines(&shop, &next, &wrong, "t/rows.tsv:3: new row for relation \"t\" violates check constraint");
}

/// Foreign keys over computed columns, which the files do not hold, are held too; and their unique values change hands.
#[test]
fn computed_columns_are_keys_as_others() {
    let sql = "CREATE TABLE p (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED UNIQUE); \
               INSERT INTO p VALUES (1, 1), (2, 2), (3, 3); CREATE TABLE c (id int PRIMARY KEY, g int REFERENCES p (g)); \
               INSERT INTO c VALUES (1, 2); \
               CREATE TABLE d (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED REFERENCES p (g)); \
               INSERT INTO d VALUES (1, 1)";
    let Some(shop) = Subject::of("rules_computed", sql) else { return };
    let base = shop.export();
    declines(&shop, &base, &put(&base, "p", "2\t2\n3\t3\n"), "still refer");
    declines(&shop, &base, &put(&base, "p", "1\t7\n2\t2\n3\t3\n"), "still refer");
    declines(&shop, &base, &put(&base, "d", "1\t1\n2\t7\n"), "d/rows.tsv:3: public.d: g=14 has no row in public.p");
    declines(&shop, &base, &put(&base, "d", "1\t8\n"), "d/rows.tsv:2: public.d: g=16 has no row in public.p");
    let next = put(&put(&base, "p", "1\t2\n2\t1\n"), "d", "1\t2\n2\t1\n");
    lands(&shop, &base, &next);
    assert_eq!(shop.ask("SELECT g FROM p ORDER BY id"), "4,2");
}
