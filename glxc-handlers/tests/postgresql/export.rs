//! Exports: order, rules, snapshots, fingerprints.

use glxc_handlers::{Error, Live, Options, Value, rows};

use crate::harness::{Subject, assert_same, chain, path, text, with_cx};

/// The first values of the lines of a row file.
fn keys(file: &str) -> Vec<&str> {
    file.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect()
}

#[test]
fn same_state_same_bytes() {
    let Some(shop) = Subject::shop("same_bytes") else { return };
    let first = shop.export();
    // Another order on disk, other settings of the database, and other statistics: the same state.
    shop.run(
        "CREATE TABLE gone (x int); DROP TABLE gone; UPDATE orders SET note = note WHERE id % 3 = 0; ANALYZE; \
         UPDATE log SET at = at WHERE at IS NULL",
    );
    shop.run("DELETE FROM audit");
    shop.run("VACUUM FULL orders");
    let database = &shop.database;
    let before = shop.export();
    assert_eq!(text(&before, "data/public.orders/rows.tsv"), text(&first, "data/public.orders/rows.tsv"));
    assert_same(&first, &before);
    shop.run(&format!("ALTER ROLE postgres IN DATABASE {database} SET search_path = pg_temp, public"));
    shop.run(&format!("ALTER ROLE postgres IN DATABASE {database} SET timezone = 'Asia/Kolkata'"));
    shop.run(&format!("ALTER ROLE postgres IN DATABASE {database} SET bytea_output = 'escape'"));
    shop.run(&format!("ALTER ROLE postgres IN DATABASE {database} SET datestyle = 'German'"));
    let after = shop.export();
    shop.run(&format!("ALTER ROLE postgres IN DATABASE {database} RESET ALL"));
    for (file, content) in first.files().iter().filter(|(file, _)| file.as_bytes().starts_with(b"data/")) {
        assert_eq!(after.files().get(file), Some(content), "{file}");
    }
}

#[test]
fn rows_stand_in_the_order_of_the_format() {
    let Some(shop) = Subject::shop("row_order") else { return };
    let tree = shop.export();
    let of = |table: &str| text(&tree, &format!("data/public.{table}/rows.tsv"));
    assert_eq!(
        keys(&of("by_numeric")),
        ["-Infinity", "-100000000000000000000", "0.00000000005", "1.00", "9", "10", "Infinity", "NaN"]
    );
    assert_eq!(keys(&of("by_float")), ["-Infinity", "-0", "1e-300", "12345678.5", "1e+22", "Infinity", "NaN"]);
    assert_eq!(keys(&of("by_text")), ["", "A", "B", "a", "a\\tb", "a\\nb", "a b", "ab", "ä", "日本"]);
    assert_eq!(keys(&of("orders"))[..11], ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    assert_eq!(of("empty").lines().count(), 1);
    assert!(of("nullable").starts_with("#glxc-rows 1\tbag\t"));
    assert_eq!(of("log").lines().count(), 6, "equal rows of a bag stay");
    for folder in ["by_all", "by_time", "every_type", "items", "log", "products"] {
        let folder = path(&format!("data/public.{folder}"));
        let (_, count) = with_cx(|cx| rows::check(&tree, &folder, rows::Limits::default(), cx)).unwrap();
        assert!(count > 2, "{folder}");
    }
    assert!(
        tree.files().keys().all(|file| !file.to_string().starts_with("data/public.events/")),
        "its partitions hold the rows"
    );
    let odd = tree.files().keys().find(|file| file.to_string().contains("+odd")).expect("the table with the odd name");
    assert!(odd.to_string().is_ascii() || odd.to_string().contains('ä'));
    assert!(
        of("products").contains("A1      \tNut\t1.50\n"),
        "padded, and without the generated column: {}",
        of("products")
    );
    assert!(text(&tree, ".gitattributes").contains("-text"));
    assert!(text(&tree, "sequences/rows.tsv").contains("public\tcountdown\t98\tt\n"));
    with_cx(|cx| shop.handler.check(None, &tree, cx)).unwrap();
}

#[test]
fn rules_leave_out_and_say_so() {
    let Some(shop) = Subject::shop("rules") else { return };
    let columns = |names: &[&str]| {
        let list = names.iter().map(|name| Value::Text((*name).into())).collect();
        Value::Table(Options::new().with("ignore", Value::List(list)))
    };
    let word = |word: &str| Value::Text(word.into());
    let rules = [
        ("public.session", word("schema")),
        ("public.by_*", word("ignore")),
        ("public.customers", columns(&["last_seen"])),
    ];
    let (tree, exported) = shop.with_tables(&rules).try_export().unwrap();
    let files: Vec<String> = tree.files().keys().map(|file| file.to_string()).collect();
    assert!(!files.iter().any(|file| file.contains("by_") || file.starts_with("data/public.session")));
    assert!(files.iter().any(|file| file.starts_with("schema/") && file.contains("session")));
    assert!(text(&tree, "data/public.customers/rows.tsv").starts_with("#glxc-rows 1\tkey=1n\tid\temail\tname\tmood\n"));
    for note in
        ["public.session: its definition only", "public.by_text: ignored", "public.customers: without last_seen"]
    {
        assert!(exported.notes.iter().any(|line| line == note), "{note} in {:?}", exported.notes);
    }

    let refused = |name: &str, rule: Value| chain(&shop.with_tables(&[(name, rule)]).try_export().unwrap_err());
    let message = refused("public.orders", word("schema"));
    assert!(message.contains("items refers to public.orders by the foreign key items_order_id_fkey"), "{message}");
    assert!(refused("public.orders", columns(&["id"])).contains("part of the key"));
    assert!(refused("public.log", columns(&["at"])).contains("has no key"));
}

#[test]
fn live_says_what_there_is() {
    let Some(absent) = Subject::absent("live_states") else { return };
    let live = || with_cx(|cx| absent.handler.live(cx)).unwrap();
    assert_eq!(live(), Live::Absent);
    assert!(matches!(absent.try_export().unwrap_err(), Error::Gone { .. }));
    absent.cluster.create("live_states");
    assert_eq!(live(), Live::Empty);
    absent.run("CREATE SCHEMA glxc_done_0123456789abcdef");
    assert_eq!(live(), Live::Empty, "a mark of ours is nothing");
    absent.run("CREATE TYPE t AS ENUM ()");
    assert_eq!(live(), Live::Present);
}

#[test]
fn fingerprints_move_with_the_state_only() {
    let Some(shop) =
        Subject::of("prints", "CREATE TABLE t (id int PRIMARY KEY); CREATE SEQUENCE s; SELECT nextval('s')")
    else {
        return;
    };
    let print = || with_cx(|cx| shop.handler.fingerprint(cx)).unwrap().unwrap();
    // Autovacuum may move it at any time, but not each time.
    let stays = (0..20).any(|_| {
        let first = print();
        let exported = shop.try_export().unwrap().1;
        exported.fingerprint == Some(first.clone()) && print() == first
    });
    assert!(stays, "an export itself moves the fingerprint");
    let first = print();
    shop.run("SELECT nextval('s')");
    let second = print();
    assert_ne!(first, second, "a sequence within the values that the log already has");
    shop.run("INSERT INTO t VALUES (1)");
    assert_ne!(print(), second);
    let ruled = shop.with_tables(&[("public.t", Value::Text("ignore".into()))]);
    assert_ne!(with_cx(|cx| ruled.handler.fingerprint(cx)).unwrap().unwrap(), print());
}

#[test]
fn a_rewrite_at_any_time_loses_no_row() {
    let Some(shop) = Subject::of(
        "rewrites",
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n FROM generate_series(1, 500) n",
    ) else {
        return;
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (rewrites, trees) = std::thread::scope(|scope| {
        let rewriting = scope.spawn(|| {
            let (mut client, mut count) = (shop.connect(), 0);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let to = if count % 2 == 0 { "bigint" } else { "int" };
                client.batch_execute(&format!("ALTER TABLE t ALTER v TYPE {to}")).unwrap();
                count += 1;
                std::thread::sleep(std::time::Duration::from_millis(60));
            }
            count
        });
        let trees: Vec<_> = (0..15).map(|_| shop.try_export()).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        (rewriting.join().unwrap(), trees)
    });
    for tree in trees {
        let (tree, _) = tree.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(text(&tree, "data/public.t/rows.tsv").lines().count(), 501);
    }
    assert!(rewrites > 5, "only {rewrites} rewrites happened");
}

#[test]
fn what_would_be_lost_is_refused() {
    let Some(shop) = Subject::of("refused", "SELECT lo_create(4711)") else { return };
    let error = shop.try_export().unwrap_err();
    assert!(matches!(&error, Error::Unsupported { what } if what.contains("large object")), "{}", chain(&error));
}

/// What is changed on an extension's own objects can not be kept, and is told.
#[test]
fn changed_members_of_extensions_are_told() {
    let Some(shop) = Subject::of("members", "CREATE EXTENSION hstore; CREATE EXTENSION citext") else { return };
    let told = || shop.try_export().unwrap().1.notes;
    assert_eq!(told(), Vec::<String>::new(), "nothing is changed yet");
    shop.run(
        "CREATE OR REPLACE FUNCTION akeys(hstore) RETURNS text[] LANGUAGE sql AS 'SELECT NULL::text[]'; \
         COMMENT ON FUNCTION avals(hstore) IS 'mine'; CREATE TABLE part (a int); ALTER EXTENSION citext ADD TABLE part",
    );
    shop.run("CREATE INDEX mine ON part (a); ALTER TABLE part ADD COLUMN b int, ADD CONSTRAINT positive CHECK (a > 0)");
    let notes = told();
    let wanted = [
        "function public.akeys(public.hstore)",
        "comment on function public.avals(public.hstore)",
        "index public.mine",
        "table column public.part.b",
        "table constraint positive on public.part",
    ];
    assert_eq!(notes.len(), 1, "{notes:?}");
    wanted.iter().for_each(|name| assert!(notes[0].contains(name), "{name} in {notes:?}"));
}
