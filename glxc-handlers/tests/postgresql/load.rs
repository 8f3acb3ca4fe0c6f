//! First loads: a whole database from files.

use glxc_handlers::{Change, Cx, Error, MemoryTree, Options, Recorded, Settings, Value, differences};

use crate::harness::{End, Subject, added, assert_same, chain, edited, normalized, path, text, with_cx};

#[test]
fn a_database_comes_back_as_it_was() {
    let Some(shop) = Subject::shop("round_trip") else { return };
    let tree = shop.export();
    let copy = shop.beside("round_trip_copy");
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    let [first, second] = [&shop, &copy]
        .map(|subject| normalized(&subject.cluster.dump(&subject.database, &["--exclude-schema", "glxc_done_*"])));
    assert!(first.contains("COPY public.every_type"), "the dump has rows");
    assert_eq!(first, second);
    assert_eq!(copy.traces().split(';').next(), Some(""), "no database of ours is left");
    assert_eq!(copy.ask("SELECT count(*) FROM audit"), "0");
    copy.run("INSERT INTO orders (customer_id) VALUES (1)");
    assert_eq!(copy.ask("SELECT max(id) FROM orders"), "41", "sequences go on");
}

#[test]
fn an_empty_database_is_filled_and_a_full_one_replaced() {
    let Some(shop) = Subject::shop("replaced_from") else { return };
    let tree = shop.export();
    let Some(empty) = Subject::of("replaced", "SELECT 1") else { return };
    empty.must_push(None, &tree);
    assert_same(&empty.export(), &tree);
    empty.run("DROP TABLE items; CREATE TABLE other (x int); INSERT INTO other VALUES (1)");
    let mut idle = empty.connect();
    empty.must_push(None, &tree);
    assert_same(&empty.export(), &tree);
    assert!(idle.batch_execute("SELECT 1").is_err(), "its session was ended");
    assert_eq!(empty.traces().split(';').next(), Some(""));
}

#[test]
fn what_the_files_never_held_is_not_replaced() {
    let Some(shop) = Subject::shop("protected") else { return };
    let shop = shop.with_tables(&[("public.session", Value::Text("schema".into()))]);
    let tree = shop.export();
    let error = shop.declined(None, &tree);
    assert!(error.to_string().contains("public.session"), "{}", chain(&error));
    shop.run("DELETE FROM session");
    shop.must_push(None, &tree);
    assert_same(&shop.export(), &tree);
}

/// Nothing that is written to a database while another one is loaded to replace it is lost.
#[test]
fn what_is_written_while_a_load_runs_declines_it() {
    let Some(shop) = Subject::shop("meanwhile_from") else { return };
    let tree = shop.export();
    let Some(empty) = Subject::of("meanwhile", "SELECT 1") else { return };
    let declined = |subject: &Subject, write: &str| {
        let mut idle = subject.connect();
        let error = subject.push_to(None, &tree, End::Commit, |_| idle.batch_execute(write).unwrap()).unwrap_err();
        assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("database")), "{}", chain(&error));
    };
    declined(&empty, "CREATE TABLE other (x int); INSERT INTO other VALUES (1)");
    assert_eq!(empty.ask("SELECT x FROM other"), "1");
    let absent = shop.beside("meanwhile_absent");
    let error =
        absent.push_to(None, &tree, End::Commit, |_| drop(absent.cluster.create(&absent.database))).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{}", chain(&error));
    assert_eq!(absent.ask("SELECT count(*) FROM pg_class WHERE relname = 'orders'"), "0");
    empty.must_push(None, &tree);
    for write in [
        "INSERT INTO log VALUES (now(), NULL)",
        "UPDATE customers SET name = 'changed' WHERE id = 1",
        "DELETE FROM event_notes WHERE id = 3",
        "TRUNCATE log",
        "CREATE VIEW seen AS SELECT 1",
        "SELECT nextval('orders_id_seq')",
    ] {
        declined(&empty, write);
    }
    assert_eq!(empty.ask("SELECT name FROM customers WHERE id = 1"), "changed");
    assert_eq!(empty.traces().split(';').next(), Some(""));
    let mut reader = empty.connect();
    empty.push_to(None, &tree, End::Commit, |_| reader.batch_execute("SELECT count(*) FROM orders").unwrap()).unwrap();
    assert_same(&empty.export(), &tree);
}

/// A replace that must be declined anyway does not cost the application its connections.
#[test]
fn a_declined_replace_ends_nobodys_session() {
    let Some(shop) = Subject::of("spared_from", "CREATE TABLE t (id int PRIMARY KEY)") else { return };
    let tree = shop.export();
    let Some(spared) = Subject::of("spared", "CREATE TABLE old (id serial)") else { return };
    let mut application = spared.connect();
    let write = "INSERT INTO old DEFAULT VALUES";
    let error = spared.push_to(None, &tree, End::Commit, |_| application.batch_execute(write).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Changed { first, .. } if first[0].contains("database")), "{}", chain(&error));
    application.batch_execute(write).expect("the session is still there");
    assert_eq!(spared.ask("SELECT count(*) FROM old"), "2");
}

/// Somebody who comes, writes and goes again and again never gets in between the compare and the new name.
#[test]
fn no_visitor_slips_in_before_the_new_name() {
    let Some(shop) = Subject::of("visited_from", "CREATE TABLE t (id int PRIMARY KEY)") else { return };
    let tree = shop.export();
    let Some(visited) = Subject::of("visited", "CREATE TABLE old (id serial)") else { return };
    let (mut written, mut loaded) = (0, 0);
    for _ in 0..4 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (outcome, rows) = std::thread::scope(|scope| {
            let visitor = scope.spawn(|| {
                let mut rows = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    let client = visited.cluster.config(&visited.database).connect(postgres::NoTls);
                    let wrote = client.and_then(|mut client| client.batch_execute("INSERT INTO old DEFAULT VALUES"));
                    rows += u32::from(wrote.is_ok());
                }
                rows
            });
            let outcome = visited.push_to(None, &tree, End::Commit, |_| {});
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            (outcome, visitor.join().unwrap())
        });
        match outcome {
            Ok(_) => {
                assert_eq!(rows, 0, "rows were written, and are gone");
                (loaded, written) = (loaded + 1, 0);
                visited.run("DROP TABLE t; CREATE TABLE old (id serial)");
            }
            Err(error) => {
                let waited = matches!(error, Error::Changed { .. } | Error::Timeout { .. });
                assert!(waited, "{}", chain(&error));
                // A write may have been committed to a session that was ended before it heard of it.
                let live: u32 = visited.ask("SELECT count(*) FROM old").parse().unwrap();
                assert!(live >= written + rows, "{live} rows of {written} + {rows}");
                written = live;
            }
        }
    }
    assert!(loaded < 4, "nobody wrote");
}

#[test]
fn schema_files_are_bounded_together() {
    let Some(shop) = Subject::of("bounded", "CREATE TABLE t (id int PRIMARY KEY)") else { return };
    let line = "-- nothing\n".repeat(1 << 20);
    let tree =
        (0..4).fold(shop.export(), |tree, n| tree.with(&path(&format!("schema/tables/public.a{n}.sql")), line.clone()));
    let error = shop.beside("bounded_copy").declined(None, &tree);
    assert!(error.to_string().contains("more than 32 MiB together"), "{}", chain(&error));
}

/// A commit is durable before it is reported, also where the database says otherwise.
#[test]
fn commits_are_durable_whatever_the_database_says() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, v text, CHECK (current_setting('synchronous_commit') = 'on')); \
               INSERT INTO t VALUES (1, 'old')";
    let Some(shop) = Subject::of("durable", sql) else { return };
    shop.run("ALTER DATABASE durable SET synchronous_commit = off");
    let base = shop.export();
    let next = edited(&base, "data/public.t/rows.tsv", "1\told\n", "1\tnew\n");
    shop.must_push(Some(&base), &next);
    assert_eq!(shop.ask("SELECT v FROM t"), "new");
    shop.must_push(None, &base);
}

#[test]
fn a_server_that_does_not_answer_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let text = |text: &str| Value::Text(text.into());
    let options = Options::new().with("database", text("x")).with("socket", text(folder.path().to_str().unwrap()));
    let settings = Settings::new("x", path("data/x"), options);
    let handler = glxc_handlers::postgresql::make(&settings).unwrap();
    let deadline = Some(std::time::Instant::now() + std::time::Duration::from_millis(300));
    let error = with_cx(|cx| handler.ready(&Cx { deadline, ..*cx })).unwrap_err().to_string();
    assert!(error.contains("No such file or directory") && error.contains("did not answer within"), "{error}");
}

#[test]
fn a_bad_first_load_names_the_place_and_leaves_nothing() {
    let Some(shop) = Subject::shop("bad_loads_from") else { return };
    let tree = shop.export();
    let copy = shop.beside("bad_loads");
    let message = |next: &MemoryTree| {
        let error = copy.declined(None, next);
        (error.to_string(), matches!(error, Error::Violation { .. }))
    };
    let items = "data/public.items/rows.tsv";
    let (text_, _) = message(&edited(&tree, items, "9\t1\tA10     \t9\n", "9\t1\tA10     \tnine\n"));
    assert_eq!(text_, "data/public.items/rows.tsv:18: invalid input syntax for type integer: \"nine\"");
    let (text_, violation) = message(&added(&tree, items, "99\t1\tB       \t1\n"));
    assert!(violation && text_.starts_with("data/public.items/rows.tsv:82: "), "{text_}");
    let (text_, _) = message(&added(&tree, items, "1\t1\tB       \t1\n"));
    assert!(text_.contains("rows.tsv:82") && text_.contains('2'), "{text_}");
    let (text_, violation) =
        message(&added(&tree, "data/public.customers/rows.tsv", "5\tada@example.org\tX\t\\N\tok\n"));
    assert!(violation && text_.contains("customers/rows.tsv:2: "), "{text_}");
    let (text_, _) = message(&added(&tree, "data/public.audit/rows.tsv", "\\.\nlost\n"));
    assert!(text_.contains("audit/rows.tsv:2: `\\.` is no value"), "{text_}");
    let (text_, _) = message(&tree.without(&path("data/public.empty/rows.tsv")));
    assert!(text_.contains("missing"), "{text_}");
    assert!(text(&tree, items).lines().count() == 81);
    assert!(copy.push_to(None, &tree, End::Abort, |_| {}).unwrap().is_none());
    assert_eq!(copy.traces().split(';').next(), Some(""));
}

#[test]
fn roles_are_made_without_login_and_go_with_an_abort() {
    let Some(shop) = Subject::of("roles_from", "CREATE TABLE t (id int PRIMARY KEY)") else { return };
    shop.run("CREATE ROLE glxc_test_owner LOGIN; ALTER TABLE t OWNER TO glxc_test_owner");
    let tree = shop.export();
    shop.run("REASSIGN OWNED BY glxc_test_owner TO postgres; DROP ROLE glxc_test_owner");
    let copy = shop.beside("roles_copy");
    let there = || shop.ask("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'glxc_test_owner'");
    copy.push_to(None, &tree, End::Abort, |_| {}).unwrap();
    assert_eq!(there(), "", "an abort takes the role back");
    copy.must_push(None, &tree);
    assert_eq!(there(), "f");
    assert_eq!(copy.ask("SELECT shobj_description('glxc_test_owner'::regrole, 'pg_authid')"), "NULL");
    assert_same(&copy.export(), &tree);
    copy.run("REASSIGN OWNED BY glxc_test_owner TO postgres; DROP ROLE glxc_test_owner");
}

#[test]
fn other_encodings_keep_their_rows_and_their_order() {
    let Some(latin) = Subject::absent("latin") else { return };
    let create = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'ISO_8859_5' LC_COLLATE 'C' LC_CTYPE 'C'";
    latin.cluster.connect("postgres").batch_execute(create).unwrap();
    // In this encoding the sign \u{2116} is behind the letters, in UTF-8 as well; \u{a7} is behind them, but not in UTF-8.
    latin.run("CREATE TABLE t (k text PRIMARY KEY); INSERT INTO t VALUES ('\u{44f}'), ('\u{a7}'), ('\u{2116}'), ('a')");
    let tree = latin.export();
    let rows = text(&tree, "data/public.t/rows.tsv");
    assert_eq!(rows.lines().skip(1).collect::<Vec<_>>(), ["a", "\u{a7}", "\u{44f}", "\u{2116}"]);
    let copy = latin.beside("latin_copy");
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    assert_eq!(copy.ask("SHOW server_encoding"), "ISO_8859_5");
}

#[test]
fn other_providers_of_locales_are_kept() {
    let Some(shop) = Subject::absent("providers") else { return };
    for (since, name, options) in [
        (15, "providers_icu", "LOCALE_PROVIDER icu ICU_LOCALE 'de'"),
        (16, "providers_rules", "LOCALE_PROVIDER icu ICU_LOCALE 'und' ICU_RULES '&a < g'"),
        (17, "providers_builtin", "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
        (18, "providers_builtin_full", "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST'"),
    ] {
        if since > shop.cluster.major() {
            continue;
        }
        let from = shop.beside(name);
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C.UTF-8' {options}");
        shop.cluster.connect("postgres").batch_execute(&create).unwrap();
        from.run("CREATE TABLE t (k text PRIMARY KEY); INSERT INTO t VALUES ('g'), ('a'), ('b')");
        let tree = from.export();
        let copy = shop.beside(&format!("{name}_copy"));
        copy.must_push(None, &tree);
        assert_same(&copy.export(), &tree);
        let provider = "SELECT d - 'oid' - 'datname' - 'datfrozenxid' - 'datminmxid' - 'datacl' FROM \
                        (SELECT to_jsonb(d) FROM pg_database d WHERE datname = current_database()) x(d)";
        assert_eq!(copy.ask(provider), from.ask(provider));
    }
}

#[test]
fn partitions_by_the_hash_of_an_enum_are_loaded_through_their_root() {
    let sql = "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'); \
               CREATE TABLE hashed (m mood PRIMARY KEY) PARTITION BY HASH (m); \
               CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
               CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
               INSERT INTO hashed SELECT unnest(enum_range(NULL::mood))";
    let Some(shop) = Subject::of("hashed_from", sql) else { return };
    let tree = shop.export();
    for copy in ["hashed_1", "hashed_2", "hashed_3"] {
        let copy = shop.beside(copy);
        copy.must_push(None, &tree);
        assert_eq!(copy.ask("SELECT string_agg(m::text, '' ORDER BY m) FROM hashed"), "abcdefgh");
    }
}

#[test]
fn the_servers_own_database_can_be_a_state() {
    let Some(shop) = Subject::of("own_from", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)") else {
        return;
    };
    let tree = shop.export();
    let own = Subject::alone("postgres", "");
    own.must_push(None, &tree);
    assert_same(&own.export(), &tree);
}

#[test]
fn root_logs_in_as_the_user_of_the_database() {
    if Subject::absent("peer").is_none() {
        return;
    }
    let own = Subject::alone("postgres", "");
    own.run("COPY (SELECT 'local all all peer') TO PROGRAM 'cat > pg_hba.conf'; SELECT pg_reload_conf()");
    let refused = || own.cluster.config("postgres").connect(postgres::NoTls).is_err();
    assert!(
        (0..50).any(|_| refused() || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            false
        }),
        "peer login is on"
    );
    own.try_export().unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(rustix::process::geteuid().is_root(), "this thread is who it was");
}

#[test]
fn two_states_of_one_push_do_not_meet() {
    let Some(shop) = Subject::of("both_from", "CREATE TABLE t (id int PRIMARY KEY)") else { return };
    shop.run("CREATE ROLE glxc_test_both; ALTER TABLE t OWNER TO glxc_test_both");
    let tree = shop.export();
    shop.run("REASSIGN OWNED BY glxc_test_both TO postgres; DROP ROLE glxc_test_both");
    let states = [shop.beside("both_one"), shop.beside("both_two")];
    for commits in [false, true] {
        let op = shop.new_op();
        let differs = differences(None, Some(&tree));
        let change = |at: usize| Change {
            op: &op,
            base: None,
            next: Recorded { tree: &tree, options: &states[at].options },
            differs: &differs,
            replace: true,
            prepare: false,
        };
        let changes = [change(0), change(1)];
        with_cx(|cx| {
            let mut staged: Vec<_> =
                [0, 1].into_iter().map(|at| states[at].handler.stage(&changes[at], cx).unwrap()).collect();
            staged.iter_mut().for_each(|staged| drop(staged.lock().unwrap()));
            for staged in staged {
                if commits { drop(staged.commit().unwrap()) } else { staged.abort().unwrap() }
            }
        });
        assert_eq!(states.each_ref().map(|state| state.exists()), [commits, commits]);
        assert_eq!(
            shop.ask("SELECT count(*) FROM pg_roles WHERE rolname = 'glxc_test_both'"),
            if commits { "1" } else { "0" }
        );
    }
}

#[test]
fn an_empty_database_of_another_kind_is_not_replaced_unasked() {
    let Some(shop) = Subject::of("kind_source", "CREATE TABLE t (x int); INSERT INTO t VALUES (1)") else { return };
    let files = shop.export();
    let other = shop.beside("kind_other");
    let create = "CREATE DATABASE kind_other TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    shop.cluster.connect("postgres").batch_execute(create).unwrap();
    let oid = || shop.ask("SELECT oid FROM pg_database WHERE datname = 'kind_other'");
    let before = oid();
    let error = other.declined(None, &files);
    let message = chain(&error);
    assert!(
        message.contains("is there, empty, with encoding SQL_ASCII, locale C and C, and recorded with encoding UTF8"),
        "{message}"
    );
    assert_eq!(oid(), before);
    let same = shop.beside("kind_same");
    shop.cluster.create("kind_same");
    same.must_push(None, &files);
    assert_same(&same.export(), &files);
}
