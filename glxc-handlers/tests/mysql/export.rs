//! The live database as files.

use mysql::prelude::Queryable;

use crate::harness::{Product, Subject, assert_same, chain, text};

const TYPES: &str = include_str!("types.sql");

/// Every value of a table, as the server itself says what it holds.
fn values(subject: &Subject) -> String {
    let mut all = subject.dump();
    // What a dump loses.
    let of_one_product: &[&str] = subject.pick(
        &["SELECT HEX(k), HEX(b), HEX(bl), HEX(g), HEX(p), u, i, i4 FROM bytes ORDER BY k"],
        &[
            "SELECT HEX(k), HEX(b), HEX(bl), HEX(g), HEX(p), HEX(gc), HEX(v) FROM vectors ORDER BY k",
            "SELECT my_row_id, a FROM made_key",
            "SELECT a, j, r, n FROM own_key",
            "SELECT id, JSON_STORAGE_SIZE(j), JSON_TYPE(j), j FROM texts ORDER BY id",
        ],
    );
    let common = [
        "SELECT id, f + 0e0, ff + 0e0, g + 0e0, gg + 0e0, b + 0 FROM numbers ORDER BY id",
        "SELECT id, HEX(u), HEX(m), HEX(a), HEX(l), HEX(s), HEX(k), HEX(c), e + 0, st + 0, HEX(j) FROM texts ORDER BY id",
        "SELECT * FROM times ORDER BY id",
        "SELECT id, v, h, s FROM hidden ORDER BY id",
        "SELECT a, b, e + 0 FROM `Bag ``of``/things.` ORDER BY 1, 2, 3",
    ];
    for sql in common.iter().chain(of_one_product) {
        all += "\n";
        all += &subject.ask(sql);
    }
    all
}

#[test]
fn every_type_comes_back_to_the_bit() {
    let Some(subject) = Subject::of("types", TYPES) else { return };
    let tree = subject.export();
    let numbers = text(&tree, "data/numbers/rows.tsv");
    assert!(
        numbers.starts_with("#glxc-rows 1\tkey=1n\tid\tt\tu\tz\td\tf\tff\tg\tgg\tb\ty\n0\t0\t1\t99999\t"),
        "{numbers}"
    );
    assert!(numbers.contains("\t0.010516252368688583\t3.140000104904175\t5e-324\t1.5\t257\t2001\n"), "{numbers}");
    let texts = text(&tree, "data/texts/rows.tsv");
    let first = subject.pick(
        "\n1\t\\\\ \\t\\n\\r\\0\\Z😀'\"\té\t\\xE961\té€\tソ表\té\tpad\t\t\t{\"b\": 1,  \"a\": [2]}\n",
        "\n1\t\\\\ \\t\\n\\r\\0\\Z😀'\"\té\ta\té€\tソ表\té\tpad\t\t\t{\"a\": [2, ",
    );
    assert!(texts.contains(first), "{texts}");
    assert!(
        texts.contains("\n4\t\\\\x41\t\\\\\t\t\t\t😀\t\t\\x\ta\t1\n")
            || texts.contains("\n4\t\\\\x41\t\\\\\t\t\t\t\\xD800DC00\t\t\\x\ta\t1\n"),
        "{texts}"
    );
    let bag = text(&tree, "data/+bag%20%60of%60%2fthings%2e/rows.tsv");
    assert_eq!(bag, "#glxc-rows 1\tbag\ta\tb\te\n1\t\\N\t\n1\t\\N\t\\x\n2\tx\tx\n2\tx\tx\n");
    let numbers = format!("#glxc-rows 1\tkey=1b\ttable\tnext\nhidden\t40\n{}", subject.pick("", "made_key\t3\n"));
    assert_eq!(text(&tree, "auto_increment/rows.tsv"), numbers);
    assert!(text(&tree, "data/by_text/rows.tsv").starts_with("#glxc-rows 1\tkey=1b\tk\tn\nZ\ty1\na'\\\\\tw1\nb\tx1\n"));
    let copy = subject.beside("types_copy");
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    let (there, wanted) = (values(&copy).replace("types_copy", "types"), values(&subject));
    // The order of the rows of a bag is no state.
    let sorted = |text: &str| text.lines().map(String::from).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(&there), sorted(&wanted));
}

#[test]
fn the_session_of_the_server_changes_nothing() {
    let Some(subject) = Subject::of("pinned", "CREATE TABLE t (a timestamp NULL, f float, c char(5))") else { return };
    subject.run("SET time_zone = '+00:00';\nINSERT INTO t VALUES ('2024-01-01 00:00:00', 0.1, 'a')");
    let tree = subject.export();
    let mut conn = subject.server.connect();
    let globals = ["sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'", "time_zone = '+05:00'"];
    for set in globals {
        conn.query_drop(format!("SET GLOBAL {set}")).unwrap();
    }
    let other = subject.try_export();
    for set in ["sql_mode = DEFAULT", "time_zone = DEFAULT"] {
        conn.query_drop(format!("SET GLOBAL {set}")).unwrap();
    }
    assert_same(&other.unwrap(), &tree);
}

#[test]
fn an_export_is_of_one_point_in_time() {
    let Some(subject) =
        Subject::of("snapshot", "CREATE TABLE a (n int PRIMARY KEY);\nCREATE TABLE b (n int PRIMARY KEY)")
    else {
        return;
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut conn = subject.connect();
            for n in 1.. {
                if stop.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                for sql in [
                    "START TRANSACTION",
                    &format!("INSERT INTO b VALUES ({n})"),
                    &format!("INSERT INTO a VALUES ({n})"),
                    "COMMIT",
                ] {
                    conn.query_drop(sql).unwrap();
                }
            }
        });
        for _ in 0..5 {
            let tree = subject.try_export();
            let tree = tree.inspect_err(|_| stop.store(true, std::sync::atomic::Ordering::SeqCst)).unwrap();
            let rows = |table: &str| {
                text(&tree, &format!("data/{table}/rows.tsv")).lines().skip(1).map(String::from).collect::<Vec<_>>()
            };
            assert_eq!(rows("a"), rows("b"));
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

#[test]
fn what_is_not_covered_is_an_error_by_its_name() {
    let Some(any) = Subject::absent("unsupported") else { return };
    let common = [
        ("CREATE TABLE t (a int) ENGINE=MyISAM", "t (base table MyISAM)"),
        ("CREATE TABLE t (a int);\nCREATE VIEW v AS SELECT a FROM t;\nDROP TABLE t", "view v"),
        ("CREATE TABLE t (a enum('😀'))", "t.a: a `?`"),
        ("CREATE VIEW v AS SELECT '?'", "view v: a `?`"),
        (
            "CREATE TABLE other (a int PRIMARY KEY);\nCREATE DATABASE unsupported_far;\nCREATE TABLE unsupported_far.t (a int, FOREIGN KEY (a) REFERENCES {db}.other (a))",
            "to another database",
        ),
        (
            "CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1;\nALTER DATABASE {db} COLLATE utf8mb4_bin",
            "under another collation of the database",
        ),
    ];
    let of_one_product: &[(&str, &str)] = any.pick(
        &[
            ("CREATE SEQUENCE s", "s (sequence InnoDB)"),
            ("CREATE TABLE v (a int) WITH SYSTEM VERSIONING", "v (system versioned InnoDB)"),
            ("CREATE TABLE t (a varchar(9) DEFAULT '😀')", "t.a: a `?`"),
            ("CREATE TABLE t (a text COMPRESSED)", "table t: a comment in its definition"),
            ("CREATE AGGREGATE FUNCTION f(x int) RETURNS int BEGIN DECLARE EXIT HANDLER FOR NOT FOUND RETURN 1; LOOP FETCH GROUP NEXT ROW; END LOOP; END", "function f"),
            ("SET sql_mode = ORACLE;\nCREATE PACKAGE p AS PROCEDURE x(); END", "package p"),
            ("ALTER DATABASE {db} COMMENT 'x'", "the comment of the database"),
        ],
        &[
            ("CREATE TABLE t (a varchar(9)) PARTITION BY LIST COLUMNS (a) (PARTITION p VALUES IN ('?'))", "t, partition p: a `?`"),
            ("CREATE LIBRARY l LANGUAGE JAVASCRIPT AS 'export function f() {}'", "library l"),
            ("CREATE TABLESPACE unsupported_space ADD DATAFILE 'unsupported_space.ibd';\nCREATE TABLE t (a int) TABLESPACE unsupported_space", "table t in a tablespace"),
            ("CREATE TABLE t (j json);\nINSERT INTO t VALUES (JSON_ARRAY(1, JSON_OBJECT('d', CAST('2001-02-03' AS DATE))))", "the JSON value of the column j"),
            ("CREATE TABLE t (id int PRIMARY KEY, j json);\nINSERT INTO t VALUES (7, CAST(1.5 AS JSON))", "the JSON value of the column j in the row `7"),
            ("CREATE TABLE t (j json);\nINSERT INTO t VALUES (JSON_OBJECT('a', JSON_ARRAY(x'ff')))", "the JSON value of the column j"),
            ("ALTER DATABASE {db} READ ONLY = 1", "the option READ ONLY=1 of the database"),
        ],
    );
    for (at, (sql, what)) in common.iter().chain(of_one_product).enumerate() {
        let name = format!("unsupported_{at}");
        let Some(subject) = Subject::of(&name, &sql.replace("{db}", &name)) else { return };
        let error = subject.try_export().expect_err(sql);
        assert!(
            error.to_string().starts_with("not supported: ") && error.to_string().contains(what),
            "{}",
            chain(&error)
        );
    }
}

#[test]
fn who_does_not_see_everything_exports_nothing() {
    let Some(subject) = Subject::of("rights", "CREATE TABLE t (a int)") else { return };
    subject.run("CREATE USER reader@localhost IDENTIFIED BY 'secret';\nGRANT SELECT ON rights.* TO reader@localhost");
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "secret\n").unwrap();
    let options = subject.options.clone().with("user", glxc_handlers::Value::Text("reader".into()));
    let file = password.path().to_str().unwrap();
    let options = options.with("password_file", glxc_handlers::Value::Text(file.into()));
    let settings = glxc_handlers::Settings::new("x", crate::harness::path("x"), options);
    let handler = glxc_handlers::mysql::make(&settings).unwrap();
    let error = crate::harness::with_cx(|cx| handler.live(cx)).unwrap_err();
    assert!(error.to_string().contains("ALL PRIVILEGES") && !error.to_string().contains("secret"), "{error}");
    std::fs::write(password.path(), "wrong").unwrap();
    let error = chain(&crate::harness::with_cx(|cx| handler.live(cx)).unwrap_err());
    assert!(error.contains("Access denied") && !error.contains("wrong"), "{error}");
}

#[test]
fn who_is_root_needs_no_password() {
    // The root of MariaDB logs in so in all tests.
    let Some(subject) = Subject::absent("socket").filter(|subject| subject.server.product() == Product::MySql) else {
        return;
    };
    let mut conn = subject.server.connect();
    // How the package of the distribution makes its root.
    conn.query_drop("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'").unwrap();
    conn.query_drop("CREATE USER by_socket@localhost IDENTIFIED WITH auth_socket AS 'root'").unwrap();
    conn.query_drop("GRANT ALL PRIVILEGES ON *.* TO by_socket@localhost").unwrap();
    let options = subject.options.clone().with("user", glxc_handlers::Value::Text("by_socket".into()));
    let handler = glxc_handlers::mysql::make(&glxc_handlers::Settings::new("x", crate::harness::path("x"), options));
    let live = crate::harness::with_cx(|cx| handler.unwrap().live(cx));
    conn.query_drop("DROP USER by_socket@localhost").unwrap();
    assert_eq!(live.unwrap(), glxc_handlers::Live::Absent);
}

/// The fingerprint of a server on which nobody does anything any more.
fn settled(subject: &Subject) -> glxc_handlers::Fingerprint {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let before = subject.fingerprint().unwrap();
        // What a write leaves to do MySQL does some seconds later.
        std::thread::sleep(std::time::Duration::from_millis(subject.pick(1500, 4000)));
        if subject.fingerprint().unwrap() == before {
            return before;
        }
        assert!(std::time::Instant::now() < until, "the log of the server does not stop");
    }
}

#[test]
fn a_database_that_is_left_alone_is_not_read_again() {
    let Some(subject) = Subject::alone("left_alone") else { return };
    assert_eq!(subject.fingerprint(), None);
    subject.create();
    subject.run("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, v int);\nINSERT INTO t VALUES (1, 1)");
    let mut before = settled(&subject);
    let mut sink = glxc_handlers::MemorySink::new(None);
    let exported = crate::harness::with_cx(|cx| subject.handler.export(None, &mut sink, cx)).unwrap();
    assert_eq!(exported.fingerprint.as_ref(), Some(&before));
    assert_eq!(settled(&subject), before, "an export is no change");
    for sql in [
        "UPDATE t SET v = 2",
        "CREATE VIEW w AS SELECT v FROM t",
        "CREATE OR REPLACE VIEW w AS SELECT v + 1 FROM t",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.v = 1",
        "CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1",
        "ALTER TABLE t AUTO_INCREMENT = 50",
        "START TRANSACTION;\nINSERT INTO t VALUES (90, 1);\nROLLBACK",
    ] {
        subject.run(sql);
        let after = subject.fingerprint().unwrap();
        assert_ne!(after, before, "{sql}");
        before = settled(&subject);
    }
    let ruled = subject.with_tables(&[("t", glxc_handlers::Value::Text("schema".into()))]);
    assert_ne!(ruled.fingerprint(), Some(before));
}
