//! Imports of a difference: what they write, what they leave alone, and what they decline.

use std::time::{Duration, Instant};

use glxc_handlers::{Change, Error, MemoryTree, Options, Recorded, Tree, Value, differences};

use crate::harness::{End, Subject, added, assert_same, chain, edited, path, text, with_cx};

const CUSTOMERS: &str = "data/public.customers/rows.tsv";
const ORDERS: &str = "data/public.orders/rows.tsv";
const ITEMS: &str = "data/public.items/rows.tsv";

#[test]
fn rows_of_every_kind_are_applied() {
    let Some(shop) = Subject::shop("apply_rows") else { return };
    let base = shop.export();
    let oids = shop.ask(
        "SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    );
    let next = edited(&base, CUSTOMERS, "1\tada@example.org\tAda\t", "1\tada@example.org\tAda Lovelace\t");
    let next = added(&next, CUSTOMERS, "4\tnew@example.org\tNew\t\\N\tsad\n");
    let next = edited(&next, ORDERS, "40\t2\t2024-02-10\torder 40\n", "");
    let next = edited(&next, ITEMS, "40\t1\tB       \t40\n", "");
    let next = edited(&next, ITEMS, "40\t2\tA1      \t80\n", "");
    let next = edited(&next, "data/public.products/rows.tsv", "A1      \tNut\t1.50", "A1      \tNut\t3.00");
    let next = added(
        &next,
        "data/public.by_all/rows.tsv",
        "sad\t00000000-0000-0000-0000-000000000000\t2020-01-01\tt\t\\\\x00\t1.00\n",
    );
    let next = edited(&next, "data/public.every_type/rows.tsv", "\t12:00:00+05:30\t", "\t12:00:00+05:31\t");
    let next = added(&next, "data/public.events_rest/rows.tsv", "99\t2025-01-01\tnew\n");
    let next = added(&next, "data/public.empty/rows.tsv", "1\t\\N\n");
    let next = added(&next, "data/public.nothing/rows.tsv", "\n");
    let next = edited(&next, "data/public.cities/rows.tsv", "1\tRome\tR\n", "1\tRoma\tR\n");
    let next = added(&next, "data/public.tree/rows.tsv", "4\t5\n5\t1\n");
    let next = edited(&next, "sequences/rows.tsv", "orders_id_seq\t40\tt", "orders_id_seq\t50\tt");
    shop.must_push(Some(&base), &next);
    assert_eq!(
        shop.export(),
        next.with(&path("data/public.by_all/rows.tsv"), text(&shop.export(), "data/public.by_all/rows.tsv"))
    );
    assert!(
        text(&shop.export(), "data/public.by_all/rows.tsv").contains("sad\t00000000-0000-0000-0000-000000000000\t")
    );
    assert_eq!(shop.ask("SELECT price_with_tax FROM products WHERE sku = 'A1'"), "3.5700");
    assert_eq!(shop.ask("SELECT count(*) FROM audit"), "0", "no trigger fires");
    assert_eq!(shop.ask("SELECT nextval('orders_id_seq')"), "51");
    let after = shop.ask(
        "SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    );
    assert_eq!(after, oids, "no object is made anew");
    let triggers =
        "SELECT string_agg(tgname || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(shop.ask(triggers), "t_alwaysA t_originO t_replicaR");
    assert_eq!(shop.ask("SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgisinternal"), "O");
}

#[test]
fn hand_written_values_become_the_servers() {
    let Some(shop) = Subject::shop("hand_written") else { return };
    let base = shop.export();
    let next = edited(&base, "data/public.by_numeric/rows.tsv", "\n10\tten", "\n1.0e1\tTEN");
    shop.must_push(Some(&base), &next);
    // `next` was never exported, and is the base of the next push.
    let further = edited(&next, "data/public.by_numeric/rows.tsv", "\n1.0e1\tTEN", "\n1.0e1\tzehn");
    shop.must_push(Some(&next), &further);
    assert_eq!(shop.ask("SELECT k || v FROM by_numeric WHERE v = 'zehn'"), "10zehn");
}

#[test]
fn other_writers_lose_nothing() {
    let Some(shop) = Subject::shop("other_writers") else { return };
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    shop.push_to(Some(&base), &next, End::Commit, |_| {
        shop.run(
            "UPDATE orders SET note = 'live' WHERE id = 8; INSERT INTO orders (customer_id, note) VALUES (1, 'new'); \
                  DELETE FROM items WHERE order_id = 3",
        );
    })
    .unwrap();
    assert_eq!(shop.ask("SELECT note FROM orders WHERE id IN (7, 8, 41) ORDER BY id"), "pushed,live,new");
    assert_eq!(shop.ask("SELECT count(*) FROM items"), "78");
}

#[test]
fn the_same_row_on_both_sides_is_declined() {
    let Some(shop) = Subject::shop("conflicts") else { return };
    let base = shop.export();
    let changed = |next: &MemoryTree, sql: &str| {
        shop.run(sql);
        let live = shop.export();
        let error = shop.declined(Some(&base), next);
        assert_same(&shop.export(), &live);
        match error {
            Error::Changed { first, total } => (first.join(", "), total),
            other => panic!("{}", chain(&other)),
        }
    };
    let edit = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    assert_eq!(changed(&edit, "UPDATE orders SET note = 'live' WHERE id = 7"), ("public.orders id=7".into(), 1));
    let remove = edited(&base, ITEMS, "9\t1\tA10     \t9\n", "");
    assert_eq!(
        changed(&remove, "UPDATE items SET amount = 1000 WHERE order_id = 9 AND line = 1"),
        ("public.items order_id=9 line=1".into(), 1)
    );
    let add = added(&base, CUSTOMERS, "9\tnine@example.org\tNine\t\\N\tok\n");
    let live = "INSERT INTO customers OVERRIDING SYSTEM VALUE VALUES (9, 'other@example.org', 'Other')";
    assert_eq!(changed(&add, live), ("public.customers id=9".into(), 1));
    let price = edited(&base, "data/public.every_type/rows.tsv", "\t1.0\t1.000\t", "\t2\t2.000\t");
    assert_eq!(
        changed(&price, "UPDATE every_type SET num = 1.00 WHERE id = 3"),
        ("public.every_type id=3".into(), 1),
        "1.0 is not 1.00"
    );
    let bag = edited(&base, "data/public.nullable/rows.tsv", "1\t\n", "");
    assert_eq!(changed(&bag, "UPDATE nullable SET b = 'y' WHERE a = 1"), ("public.nullable row (1,\"\")".into(), 1));
    let many = (1..=40).fold(base.clone(), |tree, n| {
        tree.with(&path(ORDERS), text(&tree, ORDERS).replace(&format!("\torder {n}\n"), &format!("\tpushed {n}\n")))
    });
    let (first, total) = changed(&many, "UPDATE orders SET note = 'x'");
    assert_eq!((first.matches("public.orders id=").count(), total), (10, 40));
    assert!(first.starts_with("public.orders id=1, public.orders id=2, "), "{first}");
}

#[test]
fn the_same_change_on_both_sides_is_none() {
    let Some(shop) = Subject::shop("same_change") else { return };
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tboth\n");
    let next = edited(&next, ITEMS, "9\t1\tA10     \t9\n", "");
    let next = added(&next, "data/public.empty/rows.tsv", "5\tboth\n");
    shop.run("UPDATE orders SET note = 'both' WHERE id = 7; DELETE FROM items WHERE order_id = 9 AND line = 1; INSERT INTO empty VALUES (5, 'both')");
    shop.must_push(Some(&base), &next);
    assert_eq!(text(&shop.export(), ORDERS), text(&next, ORDERS));
    assert_eq!(text(&shop.export(), ITEMS), text(&next, ITEMS));
}

#[test]
fn a_key_of_another_part_is_named_with_both_places() {
    let Some(shop) = Subject::shop("key_twice") else { return };
    // A person may put rows into any part: the first two orders go into one of their own.
    let exported = shop.export();
    let orders = text(&exported, ORDERS);
    let lines: Vec<&str> = orders.lines().collect();
    let (header, rows) = (lines[0], &lines[1..]);
    let part = |rows: &[&str]| [&[header], rows].concat().join("\n") + "\n";
    let other = "data/public.orders/other.tsv";
    let base = exported.with(&path(ORDERS), part(&rows[2..])).with(&path(other), part(&rows[..2]));
    shop.must_push(Some(&exported), &base);
    let changed = rows[5].replace("order 6", "order six");
    for row in [rows[5], &changed] {
        assert!(row.starts_with("6\t"), "{row}");
        let next = base.with(&path(other), part(&[&rows[..2], &[row]].concat()));
        let error = chain(&shop.declined(Some(&base), &next));
        assert!(error.contains("the same key as in"), "{error}");
        assert!(error.contains(&format!("{ORDERS}:5")) && error.contains(&format!("{other}:4")), "{error}");
    }
    // The application added the very same row: nobody loses anything.
    shop.run("INSERT INTO orders VALUES (1000, 1, '2024-01-01', 'both')");
    let line = shop.export();
    let line = text(&line, ORDERS).lines().find(|line| line.starts_with("1000\t")).unwrap().to_owned();
    let next = base.with(&path(other), part(&[&rows[..2], &[&line]].concat()));
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT count(*) FROM orders WHERE note = 'both'"), "1");
}

#[test]
fn columns_that_change_places_change_the_rows() {
    let Some(shop) = Subject::of(
        "change_places",
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'x', 'y')",
    ) else {
        return;
    };
    let base = shop.export();
    let next = edited(&base, "data/public.t/rows.tsv", "a\tb", "b\ta");
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT a || b FROM t"), "yx");
}

#[test]
fn bags_count_their_rows() {
    let Some(shop) = Subject::shop("bags") else { return };
    let base = shop.export();
    let log = "data/public.log/rows.tsv";
    let one_less = text(&base, log).replacen("2024-01-01 00:00:00\t{\"a\":1}\n", "", 1) + "\\N\t{\"new\":1}\n";
    let next = base.with(&path(log), one_less);
    shop.push_to(Some(&base), &next, End::Commit, |_| shop.run("INSERT INTO log VALUES ('2024-01-01', '{\"a\":1}')"))
        .unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log WHERE message::text = '{\"a\":1}'"), "3", "3 - 1 + 1");
    assert_eq!(shop.ask("SELECT count(*) FROM log"), "6");
}

#[test]
fn foreign_keys_hold_in_both_directions() {
    let Some(shop) = Subject::shop("foreign_keys") else { return };
    let base = shop.export();
    let violated = |next: &MemoryTree| match shop.declined(Some(&base), next) {
        Error::Violation { message, .. } => message,
        other => panic!("{}", chain(&other)),
    };
    let message = violated(&added(&base, ITEMS, "99\t1\tB       \t1\n"));
    assert_eq!(
        message,
        "data/public.items/rows.tsv:82: public.items: order_id=99 has no row in public.orders (foreign key items_order_id_fkey)"
    );
    let message = violated(&edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", ""));
    assert_eq!(
        message,
        "public.orders id=7: 2 rows of public.items still refer to it (foreign key items_order_id_fkey)"
    );
    let message = violated(&edited(&base, "data/public.events_2023/rows.tsv", "1\t2023-12-21\tevent 1\n", ""));
    assert!(message.contains("public.event_notes still refers to it"), "{message}");
    let message = violated(&added(&base, "data/public.event_notes/rows.tsv", "4\t4\t2029-01-01\n"));
    assert!(message.contains("event_id=4 day=2029-01-01 has no row in public.events"), "{message}");
    // A row that the application adds to what the push deletes.
    let alone = edited(&base, ORDERS, "40\t2\t2024-02-10\torder 40\n", "");
    let alone = edited(&alone, ITEMS, "40\t1\tB       \t40\n", "");
    let alone = edited(&alone, ITEMS, "40\t2\tA1      \t80\n", "");
    let error =
        shop.push_to(Some(&base), &alone, End::Commit, |_| shop.run("INSERT INTO items VALUES (40, 3, 'B', 1)"));
    assert!(
        matches!(&error, Err(Error::Violation { message, .. }) if message.contains("public.orders id=40")),
        "{error:?}"
    );
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), "40");
    // Both ends in one push, children first by name.
    let both = added(&base, ITEMS, "41\t1\tB       \t1\n");
    let both = added(&both, ORDERS, "41\t1\t2024-01-01\t\\N\n");
    shop.must_push(Some(&base), &both);
}

#[test]
fn a_parent_that_goes_away_meanwhile_is_noticed() {
    let Some(shop) = Subject::shop("parent_race") else { return };
    let base = shop.export();
    let next = added(&base, "data/public.event_notes/rows.tsv", "4\t19\t2024-01-08\n");
    // The parent is deleted, but not yet for others to see: a plain look for orphans would still find it.
    let mut deleter = shop.connect();
    let started = Instant::now();
    let result = std::thread::scope(|scope| {
        let mut deleting = None;
        let result = shop.push_to(Some(&base), &next, End::Commit, |_| {
            deleter.batch_execute("BEGIN; DELETE FROM events WHERE id = 19").unwrap();
            deleting = Some(scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(700));
                deleter.batch_execute("COMMIT").unwrap();
            }));
        });
        deleting.unwrap().join().unwrap();
        result
    });
    assert!(started.elapsed() > Duration::from_millis(700), "the push waits for the deleter");
    assert!(
        matches!(&result, Err(Error::Violation { message, .. }) if message.contains("event_id=19 day=2024-01-08 has no row")),
        "{result:?}"
    );
    assert_eq!(shop.ask("SELECT count(*) FROM event_notes WHERE id = 4"), "0");
}

#[test]
fn rules_of_the_server_name_the_line() {
    let Some(shop) = Subject::shop("line_errors") else { return };
    let base = shop.export();
    let message = |next: &MemoryTree| {
        let error = shop.declined(Some(&base), next);
        assert!(matches!(error, Error::Input { .. }), "{}", chain(&error));
        error.to_string()
    };
    let bad = edited(&base, ITEMS, "9\t1\tA10     \t9\n", "9\t1\tA10     \tnine\n");
    assert_eq!(message(&bad), "data/public.items/rows.tsv:18: invalid input syntax for type integer: \"nine\"");
    let check = edited(&base, ITEMS, "9\t1\tA10     \t9\n", "9\t1\tA10     \t-9\n");
    let text = message(&check);
    assert!(
        text.starts_with("data/public.items/rows.tsv:18: ") && text.contains("violates check constraint"),
        "{text}"
    );
    let null = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t\\N\t2024-01-08\torder 7\n");
    assert!(
        message(&null).starts_with("data/public.orders/rows.tsv:8: null value in column \"customer_id\""),
        "{}",
        message(&null)
    );
    let unique = added(&base, CUSTOMERS, "5\tgrace@example.org\tX\t\\N\tok\n");
    let text = message(&unique);
    assert!(
        text.starts_with("data/public.customers/rows.tsv:5: duplicate key")
            && text.contains("(email)=(grace@example.org)"),
        "{text}"
    );
    let twice = added(&base, CUSTOMERS, "1\tx@example.org\tX\t\\N\tok\n");
    let text = message(&twice);
    assert!(text.contains("customers/rows.tsv:5") && text.contains('2'), "both lines: {text}");
    let domain = added(&base, CUSTOMERS, "5\tnowhere\tX\t\\N\tok\n");
    assert!(message(&domain).starts_with("data/public.customers/rows.tsv:5: value for domain"), "{}", message(&domain));
    let part = added(&base, "data/public.events_2023/rows.tsv", "77\t2025-01-01\tx\n");
    assert!(message(&part).contains("violates partition constraint"), "{}", message(&part));
    let end = added(&base, "data/public.audit/rows.tsv", "\\.\nlost\n");
    assert!(message(&end).contains("audit/rows.tsv:2: `\\.` is no value"), "{}", message(&end));
    let other = base.with(&path("data/public.nowhere/rows.tsv"), "#glxc-rows 1\tbag\tx\n");
    assert!(message(&other).contains("no such table"), "{}", message(&other));
    let column = edited(&base, "data/public.empty/rows.tsv", "\tv\n", "\tw\n");
    assert!(message(&column).contains("no column `w`"), "{}", message(&column));
    let generated = edited(&base, "data/public.empty/rows.tsv", "key=1n", "key=2b");
    assert!(message(&generated).contains("another key"), "{}", message(&generated));
    let gone = base.without(&path("data/public.empty/rows.tsv"));
    assert!(message(&gone).contains("are missing"), "{}", message(&gone));
}

#[test]
fn deferrable_rules_hold_and_swaps_pass() {
    let Some(shop) = Subject::shop("deferrable") else { return };
    let base = shop.export();
    let slots = "data/public.slots/rows.tsv";
    let swapped = text(&base, slots)
        .replace("1\t10\t[10,15)", "1\t20\t[20,25)")
        .replace("2\t20\t[20,25)\n3", "2\t10\t[10,15)\n3");
    let next = base.with(&path(slots), swapped);
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT place FROM slots ORDER BY id"), "20,10,30,40,50,60");
    for (from, to, rule) in [("3\t30\t", "3\t40\t", "slots_place"), ("[30,35)", "[30,41)", "slots_during")] {
        let error = shop.declined(Some(&next), &edited(&next, slots, from, to));
        assert!(
            error.to_string().starts_with("data/public.slots/rows.tsv:4: ") && error.to_string().contains(rule),
            "{}",
            chain(&error)
        );
    }
    assert_eq!(shop.ask("SELECT count(*) FROM pg_trigger WHERE tgenabled <> 'O' AND tgisinternal"), "0");
    // Without a deferrable rule too: unique emails change hands.
    let (ada, grace) = ("1\tada@example.org", "2\tgrace@example.org");
    let exchanged = text(&next, CUSTOMERS).replace(ada, "1\tgrace@example.org").replace(grace, "2\tada@example.org");
    shop.must_push(Some(&next), &next.with(&path(CUSTOMERS), exchanged));
    assert_eq!(shop.ask("SELECT email FROM customers WHERE id <= 2 ORDER BY id"), "grace@example.org,ada@example.org");
}

#[test]
fn columns_that_are_left_out_stay() {
    let Some(shop) = Subject::shop("left_out") else { return };
    let columns = Value::Table(Options::new().with("ignore", Value::List(vec![Value::Text("last_seen".into())])));
    let shop = shop.with_tables(&[("public.customers", columns)]);
    let base = shop.export();
    let next = edited(&base, CUSTOMERS, "1\tada@example.org\tAda\thappy\n", "1\tada@example.org\tAda L.\thappy\n");
    let next = added(&next, CUSTOMERS, "7\tnew@example.org\tNew\tok\n");
    shop.push_to(Some(&base), &next, End::Commit, |_| {
        shop.run("UPDATE customers SET last_seen = '2030-01-01' WHERE id = 1")
    })
    .unwrap();
    assert_eq!(
        shop.ask("SELECT name || ' ' || last_seen FROM customers WHERE id = 1"),
        "Ada L. 2030-01-01 00:00:00+00"
    );
    assert_eq!(shop.ask("SELECT last_seen FROM customers WHERE id = 7"), "NULL");
}

/// Where a value that the files leave out could not follow its row, the push is declined.
#[test]
fn columns_that_are_left_out_are_not_lost() {
    let left_out = |columns: &str| {
        let columns = columns.split(' ').map(|name| Value::Text(name.into())).collect();
        Value::Table(Options::new().with("ignore", Value::List(columns)))
    };
    let Some(shop) = Subject::shop("left_out_lost") else { return };
    shop.run("ALTER TABLE events ADD seen int DEFAULT 1; UPDATE events SET seen = 2");
    let shop = shop.with_tables(&["public.events_2023", "public.events_rest"].map(|name| (name, left_out("seen"))));
    let base = shop.export();
    let key = "3\t2023-12-23\tevent 3\n";
    let moved = edited(&base, "data/public.events_2023/rows.tsv", key, "");
    let error = shop.declined(Some(&base), &added(&moved, "data/public.events_rest/rows.tsv", key));
    assert!(matches!(&error, Error::Unsupported { what } if what.contains("another partition")), "{}", chain(&error));
    let sql = "CREATE TABLE t (a int NOT NULL, b int NOT NULL, c int DEFAULT 1); INSERT INTO t VALUES (1, 2, 7)";
    let (Some(shop), Some(goal)) = (Subject::of("rekeyed", sql), Subject::of("rekeyed_goal", sql)) else { return };
    shop.run("ALTER TABLE t ADD PRIMARY KEY (a)");
    goal.run("ALTER TABLE t ADD PRIMARY KEY (b)");
    let [shop, goal] = [shop, goal].map(|subject| subject.with_tables(&[("public.t", left_out("c"))]));
    let error = shop.declined(Some(&shop.export()), &goal.export());
    assert!(matches!(&error, Error::Unsupported { what } if what.contains("with another key")), "{}", chain(&error));
}

#[test]
fn sequences_never_go_back_behind_what_was_given_out() {
    let Some(shop) = Subject::shop("sequences") else { return };
    let base = shop.export();
    let file = "sequences/rows.tsv";
    let next = edited(&base, file, "orders_id_seq\t40\tt", "orders_id_seq\t100\tt");
    let next = edited(&next, file, "countdown\t98\tt", "countdown\t90\tt");
    shop.push_to(Some(&base), &next, End::Commit, |_| {
        shop.run("SELECT setval('orders_id_seq', 200), setval('countdown', 95)")
    })
    .unwrap();
    assert_eq!(shop.ask("SELECT last_value FROM orders_id_seq"), "200");
    assert_eq!(shop.ask("SELECT last_value FROM countdown"), "90");
    let back = edited(&base, file, "orders_id_seq\t40\tt", "orders_id_seq\t10\tf");
    let base = shop.export();
    let back = base.with(&path(file), text(&back, file).replace("countdown\t98", "countdown\t90"));
    let back = back.with(&path(file), text(&back, file));
    shop.must_push(Some(&base), &back);
    assert_eq!(shop.ask("SELECT nextval('orders_id_seq')"), "10", "what did not move is set exactly");
    let aborted = edited(&shop.export(), file, "orders_id_seq\t10\tt", "orders_id_seq\t500\tt");
    shop.push_to(Some(&shop.export()), &aborted, End::Abort, |_| {}).unwrap();
    assert_eq!(shop.ask("SELECT nextval('orders_id_seq')"), "11", "an abort takes it back");
}

#[test]
fn readers_are_not_kept_waiting() {
    let Some(shop) = Subject::shop("readers") else { return };
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
        let mut staged = shop.handler.stage(&change, cx).unwrap();
        shop.run("SET lock_timeout = 500; ALTER TABLE orders SET (fillfactor = 90)");
        shop.run("ALTER TABLE orders RESET (fillfactor)");
        assert!(staged.lock().is_err() || shop.ask("SELECT 1") == "1");
        drop(staged);
        let mut staged = shop.handler.stage(&change, cx).unwrap();
        staged.lock().unwrap();
        shop.run("SET lock_timeout = 500; SELECT count(*) FROM orders; SELECT id FROM orders WHERE id = 8 FOR KEY SHARE NOWAIT");
        // Nor those who refer to the very row that changes: it stays the same row.
        shop.run("SET lock_timeout = 500; INSERT INTO items VALUES (7, 9, 'B', 1); SELECT FROM orders WHERE id = 7 FOR KEY SHARE NOWAIT");
        staged.commit().unwrap();
    });
    assert_eq!(
        shop.ask("SELECT o.note || i.line FROM orders o JOIN items i ON i.order_id = o.id WHERE line = 9"),
        "pushed9"
    );
}

#[test]
fn a_lock_that_is_not_given_is_a_time_out() {
    let Some(shop) = Subject::shop("lock_timeout") else { return };
    shop.run("ALTER DATABASE lock_timeout SET lock_timeout = '1s'");
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    let mut other = shop.connect();
    other.batch_execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 1").unwrap();
    let error = shop.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("public.orders")), "{}", chain(&error));
}

/// What a push waits for locks is bounded in all, not for each of them: behind those that it has, the application waits.
#[test]
fn all_locks_together_are_waited_for_once() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY, note text); INSERT INTO a SELECT n, 'old' FROM generate_series(1, 3) n; \
               CREATE TABLE b (id int PRIMARY KEY); ALTER DATABASE lock_budget SET lock_timeout = '2s'";
    let Some(shop) = Subject::of("lock_budget", sql) else { return };
    let base = shop.export();
    let a = "data/public.a/rows.tsv";
    let next = added(&base.with(&path(a), text(&base, a).replace("old", "new")), "data/public.b/rows.tsv", "1\n");
    let row = |id| format!("SELECT FROM a WHERE id = {id} FOR UPDATE");
    let table = |name| format!("LOCK TABLE {name} IN ROW EXCLUSIVE MODE");
    for (locks, named) in [
        (vec![(table("a"), 1500), (table("b"), 3000)], "lock public.b,"),
        (vec![(row(1), 1500), (row(2), 3000), (row(3), 4500)], "write rows of public.a,"),
    ] {
        std::thread::scope(|scope| {
            let hold = |(sql, until): (String, u64)| {
                let mut other = shop.connect();
                other.batch_execute(&format!("BEGIN; {sql}")).unwrap();
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(until));
                    other.batch_execute("COMMIT").unwrap();
                });
            };
            let pushed = shop.push_to(Some(&base), &next, End::Commit, |_| locks.into_iter().for_each(hold));
            let error = pushed.expect_err("no lock was held for two seconds, but all together were");
            assert!(matches!(&error, Error::Timeout { what, .. } if what.ends_with(named)), "{}", chain(&error));
        });
        assert_same(&shop.export(), &base);
    }
    shop.must_push(Some(&base), &next);
}

#[test]
fn a_table_that_was_altered_meanwhile_is_noticed() {
    let Some(shop) = Subject::shop("altered") else { return };
    let base = shop.export();
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    let error = shop
        .push_to(Some(&base), &next, End::Commit, |_| shop.run("ALTER TABLE orders ADD COLUMN later int DEFAULT 5"))
        .unwrap_err();
    assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("orders")), "{}", chain(&error));
    let error = shop.declined(Some(&base), &next);
    assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("orders")), "{}", chain(&error));
    // Another table is none of this push's business.
    let other = edited(&base, CUSTOMERS, "\tAda\t", "\tAda L.\t");
    shop.must_push(Some(&base), &other);
}

#[test]
fn one_row_of_a_million_needs_no_scan() {
    // With few rows a scan would be the better plan.
    let rows = (1_000_000.0_f64 * std::env::var("GLXC_TEST_SCALE").map_or(1.0, |s| s.parse::<f64>().unwrap()))
        .max(100_000.0) as u64;
    let sql = format!(
        "CREATE TABLE big (id int PRIMARY KEY, a text, b text UNIQUE); \
         INSERT INTO big SELECT n, md5(n::text), md5((n + 1)::text) FROM generate_series(1, {rows}) n; \
         CREATE TABLE small (id int PRIMARY KEY, big_id int REFERENCES big); CREATE INDEX ON small (big_id); \
         INSERT INTO small VALUES (1, 1)"
    );
    let Some(shop) = Subject::of("million", &sql) else { return };
    shop.run("ANALYZE");
    let start = Instant::now();
    let base = shop.export();
    eprintln!("export of {rows} rows: {:?}", start.elapsed());
    let target = rows / 2;
    let (file, content) = base
        .files()
        .iter()
        .find(|(_, (_, bytes))| bytes.windows(12).any(|w| w.starts_with(format!("\n{target}\t").as_bytes())))
        .unwrap();
    let content = String::from_utf8(content.1.clone()).unwrap();
    let at = content.find(&format!("\n{target}\t")).unwrap();
    let end = at + 1 + content[at + 1..].find('\n').unwrap();
    let mut line: Vec<&str> = content[at + 1..end].split('\t').collect();
    line[1] = "pushed";
    let next = base.with(file, format!("{}\n{}{}", &content[..at], line.join("\t"), &content[end..]));
    let next = added(&next, "data/public.small/rows.tsv", &format!("2\t{target}\n"));
    let scans = || {
        shop.ask("SELECT pg_stat_clear_snapshot(); SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'big'")
    };
    std::thread::sleep(Duration::from_millis(1500));
    let before = scans();
    let start = Instant::now();
    shop.must_push(Some(&base), &next);
    eprintln!("push of one row: {:?}", start.elapsed());
    assert_eq!(shop.ask(&format!("SELECT a FROM big WHERE id = {target}")), "pushed");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(scans(), before, "a push of one row must not scan the table");
}

#[test]
fn a_change_is_told_in_words() {
    let Some(shop) = Subject::shop("in_words") else { return };
    let base = shop.export();
    let words = |next: &MemoryTree| {
        let op = shop.new_op();
        let differs = differences(Some(&base), Some(next));
        let recorded = |tree| Recorded { tree, options: &shop.options };
        let base = Some(recorded(&base as &dyn Tree));
        let change = Change { op: &op, base, next: recorded(next), differs: &differs, replace: false, prepare: false };
        with_cx(|cx| shop.handler.describe(&change, cx)).unwrap()
    };
    let next = edited(&base, ORDERS, "7\t2\t2024-01-08\torder 7\n", "7\t2\t2024-01-08\tpushed\n");
    let next = edited(&next, "sequences/rows.tsv", "orders_id_seq\t40\tt", "orders_id_seq\t41\tt");
    assert_eq!(words(&next).summary, "1 row changed in public.orders");
    let next = edited(&next, ITEMS, "9\t1\tA10     \t9\n", "");
    let next = added(&next, ITEMS, "9\t3\tA10     \t9\n");
    let words = words(&next);
    assert_eq!(words.summary, "1 row changed, 1 added, 1 removed in 2 tables");
    assert_eq!(words.details, ["1 row added, 1 removed in public.items", "1 row changed in public.orders"]);
}

#[test]
fn a_request_to_stop_ends_a_long_statement() {
    let sql = "CREATE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM pg_sleep(60); RETURN true; END$$; \
               CREATE TABLE t (id int PRIMARY KEY CHECK (public.slow(id)))";
    let Some(shop) = Subject::of("cancelled", sql) else { return };
    let base = shop.export();
    let next = added(&base, "data/public.t/rows.tsv", "1\n");
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
        let mut staged = shop.handler.stage(&change, cx).unwrap();
        let start = Instant::now();
        let cancel = cx.cancel.clone();
        let error = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                cancel.cancel();
            });
            staged.lock().unwrap_err()
        });
        assert!(matches!(error, Error::Cancelled), "{}", chain(&error));
        assert!(start.elapsed() < Duration::from_secs(20));
        staged.abort().unwrap();
    });
    assert_eq!(shop.ask("SELECT count(*) FROM t"), "0");
}
