//! First loads: a whole database from files.

use glxc_handlers::{Error, MemoryTree, Value};

use crate::harness::{End, Subject, added, assert_same, chain, edited, normalized, path, text};

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
