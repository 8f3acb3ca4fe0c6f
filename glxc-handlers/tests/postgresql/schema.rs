//! Pushes that change the schema, alone and with rows.

use glxc_handlers::{Change, Error, MemoryTree, Recorded, Tree, Value, differences};

use crate::harness::{End, Subject, added, assert_same, chain, edited, path, text, with_cx};

const ORDERS: &str = "data/public.orders/rows.tsv";
const ORDERS_SQL: &str = "schema/tables/public.orders.sql";

/// What the files are once somebody has changed the live database: the easiest way to write them.
fn files_after(shop: &Subject, sql: &str) -> (MemoryTree, MemoryTree) {
    let base = shop.export();
    let mut copy = shop.beside(&format!("{}_edit", shop.database));
    copy.must_push(None, &base);
    copy.run(sql);
    let next = copy.export();
    copy.cluster.connect("postgres").batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", copy.database)).unwrap();
    copy.database.clear();
    (base, next)
}

#[test]
fn schema_and_rows_change_together() {
    let Some(shop) = Subject::shop("schema_rows") else { return };
    let (base, next) = files_after(
        &shop,
        "ALTER TABLE orders ADD COLUMN paid boolean NOT NULL DEFAULT false; UPDATE orders SET paid = true WHERE id < 5; \
         ALTER TABLE items DROP COLUMN sku; DROP TABLE products; DROP TABLE event_notes; \
         ALTER TYPE mood ADD VALUE 'great'; CREATE TABLE tags (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders); \
         INSERT INTO tags SELECT n, n FROM generate_series(1, 10) n; CREATE INDEX ON tags (order_id); \
         ALTER TABLE every_type ALTER i2 TYPE int; CREATE VIEW paid AS SELECT id FROM orders WHERE paid; DELETE FROM audit",
    );
    let next = added(&next, "data/public.customers/rows.tsv", "9\tnine@example.org\tNine\t\\N\tgreat\n");
    shop.must_push(Some(&base), &next);
    assert_same(&shop.export(), &next);
    assert_eq!(shop.ask("SELECT count(*) FROM audit"), "0");
    let back = shop.beside("schema_rows");
    back.must_push(Some(&next), &base);
    assert_same(&shop.export(), &base);
}

/// Rows of a table that live altered are declined, also where the push changes another object's schema.
#[test]
fn a_touched_table_that_live_altered_is_declined() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, price numeric(10, 2)); INSERT INTO t VALUES (1, 1.25); \
               CREATE TABLE other (id int PRIMARY KEY)";
    let Some(shop) = Subject::of("altered_touched", sql) else { return };
    let (base, next) = files_after(&shop, "ALTER TABLE other ADD COLUMN more int; UPDATE t SET price = 2.37");
    shop.run("ALTER TABLE t ALTER price TYPE numeric(10, 1)");
    let error = shop.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("public.t")), "{}", chain(&error));
    assert_eq!(shop.ask("SELECT price FROM t"), "1.3");
}

#[test]
fn live_rows_stay_when_only_the_schema_changes() {
    let Some(shop) = Subject::shop("schema_only") else { return };
    let base = shop.export();
    let next = edited(
        &base,
        ORDERS_SQL,
        "    note character varying(20),\n",
        "    note character varying(20),\n    flag int DEFAULT 7,\n",
    );
    shop.push_to(Some(&base), &next, End::Commit, |_| shop.run("UPDATE orders SET note = 'live' WHERE id = 8"))
        .unwrap();
    assert_eq!(shop.ask("SELECT note || flag FROM orders WHERE id = 8"), "live7");
    assert_eq!(shop.ask("SELECT count(*) FROM audit"), "1", "of the application's own write");
    shop.run("UPDATE orders SET flag = 9 WHERE id = 7");
    // The pushed file is not as we write it, and the next push relies on it.
    let further = edited(&next, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    shop.must_push(Some(&next), &further);
    assert_eq!(
        shop.ask("SELECT note || flag FROM orders WHERE id = 7"),
        "pushed9",
        "a column that the files do not have stays"
    );
}

#[test]
fn a_plan_says_how_the_schema_changes_and_leaves_it() {
    let Some(shop) = Subject::shop("schema_plan") else { return };
    let (base, next) = files_after(
        &shop,
        "ALTER TABLE orders ALTER note TYPE varchar(40); DROP INDEX IF EXISTS none; ALTER TABLE log ALTER message TYPE jsonb; \
         DROP VIEW IF EXISTS none; CREATE TABLE fresh (x int)",
    );
    let (op, differs) = (shop.new_op(), differences(Some(&base as &dyn Tree), Some(&next)));
    let recorded = |tree| Recorded { tree, options: &shop.options };
    let change = Change {
        op: &op,
        base: Some(recorded(&base)),
        next: recorded(&next),
        differs: &differs,
        replace: false,
        prepare: false,
    };
    let before = shop.traces();
    with_cx(|cx| {
        let mut staged = shop.handler.stage(&change, cx).unwrap();
        staged.lock().unwrap();
        let notes = staged.notes();
        assert!(notes.contains(&"column public.orders.note: altered".into()), "{notes:?}");
        assert!(notes.contains(&"table public.fresh: created".into()), "{notes:?}");
        staged.abort().unwrap();
    });
    assert_eq!(shop.traces(), before);
    assert_same(&shop.export(), &base);
}

#[test]
fn what_the_server_makes_otherwise_is_declined_by_line() {
    let Some(shop) = Subject::of("schema_otherwise", "CREATE TABLE t (id int PRIMARY KEY, k varchar)") else { return };
    let base = shop.export();
    // The server writes a list with NULL in one way, and in another once it has read that.
    let file = "schema/tables/public.t.sql";
    let check = "ALTER TABLE public.t ADD CONSTRAINT k CHECK (k IN ('a', NULL));\n";
    let error = shop.declined(Some(&base), &base.with(&path(file), text(&base, file) + check));
    let message = chain(&error);
    assert!(message.contains(&format!("{file}:")) && message.contains("live can not be brought to this"), "{message}");
    assert_same(&shop.export(), &base);
}

#[test]
fn a_live_row_with_a_label_that_goes_declines_the_push() {
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, m mood); INSERT INTO t VALUES (1, 'ok')";
    let Some(shop) = Subject::of("schema_label", sql) else { return };
    let base = shop.export();
    let next = edited(&base, "schema/types/public.mood.sql", "    'sad',\n", "");
    shop.run("INSERT INTO t VALUES (2, 'sad')");
    let error = shop.declined(Some(&base), &next);
    assert!(
        matches!(&error, Error::Violation { message, .. } if message.contains("mood: \"sad\"")),
        "{}",
        chain(&error)
    );
    shop.run("UPDATE t SET m = 'ok'");
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT count(*) FROM t WHERE m = 'ok'"), "2");
}

#[test]
fn other_objects_that_live_changed_stay() {
    let Some(shop) = Subject::shop("schema_drift") else { return };
    let base = shop.export();
    shop.run("CREATE TABLE drift (x int); CREATE VIEW v AS SELECT 1 AS one");
    let next = edited(&base, ORDERS_SQL, "    note character varying(20),\n", "    note character varying(30),\n");
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT one FROM v"), "1");
    assert!(text(&shop.export(), ORDERS_SQL).contains("character varying(30)"));
}

#[test]
fn the_same_object_on_both_sides_is_declined() {
    let Some(shop) = Subject::shop("schema_conflict") else { return };
    let base = shop.export();
    let next = edited(&base, ORDERS_SQL, "    note character varying(20),\n", "    note character varying(30),\n");
    shop.run("ALTER TABLE orders ALTER note TYPE varchar(40)");
    let error = shop.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, total: 1 } if first[0] == ORDERS_SQL), "{}", chain(&error));
    shop.run("ALTER TABLE orders ALTER note TYPE varchar(20)");
    let error = shop
        .push_to(Some(&base), &next, End::Commit, |_| shop.run("ALTER TABLE orders ALTER note TYPE varchar(50)"))
        .unwrap_err();
    assert!(matches!(&error, Error::Changed { first, .. } if first[0] == ORDERS_SQL), "{}", chain(&error));
    assert_eq!(
        shop.ask("SELECT atttypmod FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'"),
        "54"
    );
}

#[test]
fn a_table_with_unseen_rows_is_not_dropped() {
    let Some(shop) = Subject::shop("schema_unseen") else { return };
    let base = shop.export();
    let next = base.without(&path("schema/tables/public.log.sql")).without(&path("data/public.log/rows.tsv"));
    shop.run("INSERT INTO log VALUES (now(), '{}')");
    let error = shop.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("public.log")), "{}", chain(&error));
    shop.run("DELETE FROM log WHERE message::text = '{}'");
    shop.must_push(Some(&base), &next);
    assert_same(&shop.export(), &next);
}

#[test]
fn tables_and_their_rows_come_and_go_together() {
    let Some(shop) = Subject::shop("schema_pairs") else { return };
    let base = shop.export();
    let log = path("schema/tables/public.log.sql");
    let error = shop.declined(Some(&base), &base.without(&log));
    assert!(
        error.to_string().contains("public.log/rows.tsv: the pushed schema has no such table"),
        "{}",
        chain(&error)
    );
    let new = base.with(&path("schema/tables/public.new.sql"), "CREATE TABLE public.new (x int);\n");
    let error = shop.declined(Some(&base), &new);
    assert!(error.to_string().contains("rows of public.new are missing"), "{}", chain(&error));
    let ruled = shop.with_tables(&[("public.session", Value::Text("schema".into()))]);
    let base = ruled.export();
    let next = base.without(&path("schema/tables/public.session.sql"));
    let error = ruled.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("public.session")), "{}", chain(&error));
    ruled.run("DELETE FROM session");
    ruled.must_push(Some(&base), &next);
    assert_same(&ruled.export(), &next);
}

#[test]
fn a_schema_that_the_rows_do_not_fit_is_declined() {
    let Some(shop) = Subject::shop("schema_misfit") else { return };
    let base = shop.export();
    let live = |next: &MemoryTree| {
        let error = shop.declined(Some(&base), next);
        assert_same(&shop.export(), &base);
        chain(&error)
    };
    let not_null = edited(
        &base,
        "schema/tables/public.customers.sql",
        "last_seen timestamp with time zone",
        "last_seen timestamp with time zone NOT NULL",
    );
    assert!(live(&not_null).contains("contains null values"), "{}", live(&not_null));
    let broken = edited(&base, ORDERS_SQL, "    note character varying(20),\n", "    note character varyin(20),\n");
    assert!(live(&broken).contains("schema/tables/public.orders.sql:"), "{}", live(&broken));
    let hostile = base.with(&path("schema/functions/public.x.sql"), "COMMIT;\n");
    assert!(live(&hostile).contains("schema/functions/public.x.sql:1"), "{}", live(&hostile));
}

/// Rows of a table are hidden from its owner, too; the files are loaded by a role without rights.
#[test]
fn a_materialized_view_may_read_what_has_row_security() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW m AS SELECT id FROM t; \
               ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";
    let Some(shop) = Subject::of("schema_hidden", sql) else { return };
    let tree = shop.export();
    let copy = shop.beside("schema_hidden_copy");
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    assert_eq!(copy.ask("SELECT id FROM m"), "1");
    shop.run("CREATE ROLE glxc_test_hidden; ALTER TABLE t OWNER TO glxc_test_hidden; ALTER MATERIALIZED VIEW m OWNER TO glxc_test_hidden");
    let owned = shop.export();
    copy.must_push(Some(&tree), &owned);
    let again = shop.beside("schema_hidden_again");
    again.must_push(None, &owned);
    assert_same(&again.export(), &owned);
    assert_eq!(again.ask("SELECT count(*) FROM m"), "0", "what its owner sees");
}
