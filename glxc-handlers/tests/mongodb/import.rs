//! The import of what differs.

use glxc_handlers::{Error, MemoryTree};

use crate::harness::{GRADE, Subject, added, assert_same, chain, edited, path, text};

const ITEMS: &str = "data/items/rows.tsv";
const DEFINED: &str = "schema/collections/items.jsonl";

fn shop(name: &str) -> Option<(Subject, MemoryTree)> {
    let subject = Subject::of(
        name,
        &[
            r#"{"insert":"items","documents":[{"_id":1,"a":1,"u":"x"},{"_id":2,"a":1,"u":"y"},{"_id":"k","a":1,"u":"z"}]}"#,
            r#"{"createIndexes":"items","indexes":[{"key":{"u":1},"name":"u","unique":true}]}"#,
            r#"{"insert":"log","documents":[{"_id":1,"n":1},{"_id":2,"n":2}]}"#,
        ],
    )?;
    let tree = subject.export();
    Some((subject, tree))
}

fn line(id: &str, a: i32, u: &str) -> String {
    format!("{{\"_id\":{id},\"a\":{{\"$numberInt\":\"{a}\"}},\"u\":\"{u}\"}}\n")
}

fn one() -> String {
    line(r#"{"$numberInt":"1"}"#, 1, "x")
}

#[test]
fn only_what_differs_is_touched() {
    let Some((subject, base)) = shop("touched") else { return };
    let next = edited(&base, ITEMS, &one(), "");
    let next = edited(&next, ITEMS, &line(r#""k""#, 1, "z"), &line(r#""k""#, 7, "x"));
    let next = added(&next, ITEMS, "{\"_id\":3,\"t\":{\"$timestamp\":{\"t\":0,\"i\":0}}}\n");
    subject.run(r#"{"update":"items","updates":[{"q":{"_id":2},"u":{"$set":{"a":5}}}]}"#);
    subject.run(r#"{"insert":"items","documents":[{"_id":9,"u":"mine"}]}"#);
    let committed = subject.must_push(Some(&base), &next);
    assert_eq!(committed.notes, [GRADE]);
    assert_eq!(
        subject.lines("items"),
        [
            r#"{"_id":"k","a":{"$numberInt":"7"},"u":"x"}"#,
            r#"{"_id":{"$numberInt":"2"},"a":{"$numberInt":"5"},"u":"y"}"#,
            r#"{"_id":{"$numberInt":"3"},"t":{"$timestamp":{"t":0,"i":0}}}"#,
            r#"{"_id":{"$numberInt":"9"},"u":"mine"}"#,
        ]
    );
}

#[test]
fn conflicts_are_named() {
    let Some((subject, base)) = shop("conflicts") else { return };
    let next = edited(&base, ITEMS, &one(), &line(r#"{"$numberInt":"1"}"#, 2, "x"));
    let next = added(&next, ITEMS, "{\"_id\":5,\"u\":\"five\"}\n");
    subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$set":{"a":{"$numberDouble":"1.0"}}}}]}"#);
    subject.run(r#"{"insert":"items","documents":[{"_id":5,"u":"other"}]}"#);
    match subject.declined(Some(&base), &next) {
        Error::Changed { first, total: 2 } => {
            assert_eq!(first, [r#"items _id={"$numberInt":"1"}"#, r#"items _id={"$numberInt":"5"}"#]);
        }
        other => panic!("{}", chain(&other)),
    }
    // What is there already is no conflict.
    subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$set":{"a":2}}},{"q":{"_id":5},"u":{"$set":{"u":"five"}}}]}"#);
    subject.must_push(Some(&base), &next);
}

#[test]
fn a_document_that_is_there_twice_is_refused() {
    let Some((subject, base)) = shop("twice") else { return };
    let log = "data/log/rows.tsv";
    let first = "{\"_id\":{\"$numberInt\":\"1\"},\"n\":{\"$numberInt\":\"1\"}}\n";
    let refused = chain(&subject.declined(Some(&base), &edited(&base, log, first, &first.repeat(2))));
    assert!(refused.contains("data/log/rows.tsv:3: the same key as in data/log/rows.tsv:2"), "{refused}");
    assert_same(&subject.export(), &base);
}

#[test]
fn what_is_written_later_stays() {
    let Some((subject, base)) = shop("later") else { return };
    let next = edited(&base, ITEMS, &one(), &line(r#"{"$numberInt":"1"}"#, 2, "x"));
    // Equal to the server, but for the type.
    let write =
        || subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$set":{"a":{"$numberDouble":"1.0"}}}}]}"#);
    let late = subject.push_to(Some(&base), &next, write, || {});
    assert!(matches!(late, Err(Error::Changed { .. })));
    subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$set":{"a":1}}}]}"#);
    let committed = subject.push_to(Some(&base), &next, || {}, write).unwrap();
    assert_eq!(committed.notes, [GRADE, r#"items _id={"$numberInt":"1"} was changed meanwhile and stays"#]);
    assert!(
        subject
            .lines("items")
            .contains(&r#"{"_id":{"$numberInt":"1"},"a":{"$numberDouble":"1.0"},"u":"x"}"#.to_owned())
    );
    // A collection that is removed takes nothing along.
    let base = subject.export();
    let next = base.without(&path("data/log/rows.tsv")).without(&path("schema/collections/log.jsonl"));
    let insert = || subject.run(r#"{"insert":"log","documents":[{"_id":3}]}"#);
    let late = subject.push_to(Some(&base), &next, insert, || {});
    assert!(matches!(late, Err(Error::Changed { .. })));
    subject.run(r#"{"delete":"log","deletes":[{"q":{"_id":3},"limit":1}]}"#);
    let committed = subject.push_to(Some(&base), &next, || {}, insert).unwrap();
    assert_eq!(committed.notes, [GRADE, "log was written to meanwhile and stays"]);
    assert_eq!(subject.lines("log"), [r#"{"_id":{"$numberInt":"3"}}"#]);
}

#[test]
fn unique_values_may_move_on() {
    let Some((subject, base)) = shop("moving") else { return };
    // 1 takes what 2 had, 2 what k had.
    let next = edited(&base, ITEMS, &one(), &line(r#"{"$numberInt":"1"}"#, 1, "y"));
    let next = edited(&next, ITEMS, &line(r#"{"$numberInt":"2"}"#, 1, "y"), &line(r#"{"$numberInt":"2"}"#, 1, "z"));
    let next = edited(&next, ITEMS, &line(r#""k""#, 1, "z"), &line(r#""k""#, 1, "w"));
    assert_eq!(subject.must_push(Some(&base), &next).notes, [GRADE]);
    assert_same(&subject.export(), &next);
    let base = next;
    let next = edited(&base, ITEMS, r#""u":"y""#, r#""u":"?""#);
    let next = edited(&edited(&next, ITEMS, r#""u":"z""#, r#""u":"y""#), ITEMS, r#""u":"?""#, r#""u":"z""#);
    let error = subject.declined(Some(&base), &next);
    let words = "to exchange values of a unique index in one push (items _id=";
    assert!(matches!(error, Error::Unsupported { .. }) && chain(&error).contains(words), "{}", chain(&error));
}

#[test]
fn what_the_server_refuses_is_found_before() {
    let Some((subject, base)) = shop("refused") else { return };
    for (next, words) in [
        (added(&base, ITEMS, "{\"_id\":7,\"u\":\"x\"}\n"), "data/items/rows.tsv:5: Duplicate key violation"),
        (added(&base, ITEMS, "{\"_id\":1.0}\n"), "the same key as in data/items/rows.tsv:"),
        (added(&base, ITEMS, "{\"u\":1,\"_id\":7}\n"), "its first field must be `_id`"),
        (added(&base, ITEMS, "{\"_id\":7,\n"), "data/items/rows.tsv:5: column `document`: no `\"`"),
        (
            edited(&base, ITEMS, "\"_id\":{\"$numberInt\":\"1\"}", "\"_id\":{\"$numberLong\":\"1\"}"),
            "only the type of its `_id`",
        ),
        (
            edited(&base, DEFINED, r#""options":{}"#, r#""options":{"validator":{"a":1}}"#),
            "items.jsonl:1: the server forgets validator",
        ),
        (
            edited(&base, DEFINED, r#""options":{}"#, r#""options":{"capped":true}"#),
            "items.jsonl:1: the option capped of items",
        ),
        (
            edited(&base, DEFINED, r#""options":{}"#, r#""options":{"collation":{"locale":"de"}}"#),
            "collation of a collection that is there",
        ),
        (
            edited(&base, DEFINED, r#""unique":true"#, r#""unqiue":true"#),
            "items.jsonl:2: the option unqiue of the index u of items",
        ),
        (edited(&base, DEFINED, r#""unique":true"#, r#""unique":true,"hidden":true"#), "items.jsonl:2: "),
        (base.without(&path(ITEMS)), "its documents are missing"),
        (base.without(&path(DEFINED)), "there is no collection of this name"),
    ] {
        let error = subject.declined(Some(&base), &next);
        assert!(matches!(error, Error::Input { .. }) && chain(&error).contains(words), "{words}: {}", chain(&error));
    }
    let capped = r#"{"collection":"col","options":{"collation":{"locale":"de"}}}"#;
    let next = base.with(&path("schema/collections/col.jsonl"), capped);
    let next = next.with(&path("data/col/rows.tsv"), "#glxc-rows 1\tkey=1bson\tdocument\n");
    let error = subject.declined(Some(&base), &next);
    assert!(chain(&error).contains("col.jsonl:1: the server forgets collation"), "{}", chain(&error));
    let view = "{\"view\":\"v\",\"options\":{\"viewOn\":\"items\"}}\n{\"$match\":{}}\n";
    let error = subject.declined(Some(&base), &base.with(&path("schema/views/v.jsonl"), view));
    assert!(chain(&error).contains("v.jsonl:1: the server forgets viewOn"), "{}", chain(&error));
}

#[test]
fn definitions_follow() {
    let Some((subject, base)) = shop("follow") else { return };
    let index = r#"{"v":{"$numberInt":"2"},"key":{"a":{"$numberInt":"1"}},"name":"a"}"#;
    let next = base.with(&path(DEFINED), text(&base, DEFINED).lines().next().unwrap().to_owned() + "\n" + index + "\n");
    let next = next.without(&path("data/log/rows.tsv")).without(&path("schema/collections/log.jsonl"));
    let next = next
        .with(&path("schema/collections/new.jsonl"), format!("{{\"collection\":\"new\",\"options\":{{}}}}\n{index}\n"));
    let next =
        next.with(&path("data/new/rows.tsv"), "#glxc-rows 1\tkey=1bson\tdocument\n{\"_id\":{\"$numberInt\":\"1\"}}\n");
    subject.run(r#"{"insert":"items","documents":[{"_id":9,"u":"mine"}]}"#);
    assert_eq!(subject.must_push(Some(&base), &next).notes, [GRADE]);
    subject.run(r#"{"delete":"items","deletes":[{"q":{"_id":9},"limit":1}]}"#);
    assert_same(&subject.export(), &next);
    // A definition that somebody altered.
    subject.run(r#"{"createIndexes":"new","indexes":[{"key":{"b":1},"name":"b"}]}"#);
    let error = subject.declined(Some(&next), &added(&next, "data/new/rows.tsv", "{\"_id\":2}\n"));
    assert!(matches!(&error, Error::Changed { first, .. } if first == &["the definition of new"]), "{}", chain(&error));
}

#[test]
fn a_unique_index_that_live_documents_do_not_keep_is_told() {
    let Some((subject, base)) = shop("unkept") else { return };
    let index = r#"{"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n","unique":true}"#;
    let next = base
        .with(&path("schema/collections/log.jsonl"), format!("{{\"collection\":\"log\",\"options\":{{}}}}\n{index}\n"));
    let insert = || subject.run(r#"{"insert":"log","documents":[{"_id":3,"n":2}]}"#);
    let committed = subject.push_to(Some(&base), &next, insert, || {}).unwrap();
    let [grade, index] = committed.notes.as_slice() else { panic!("{:?}", committed.notes) };
    assert!(grade == GRADE && index.starts_with("log: the index n is not made: could not"), "{index}");
    let with_live =
        added(&base, "data/log/rows.tsv", "{\"_id\":{\"$numberInt\":\"3\"},\"n\":{\"$numberInt\":\"2\"}}\n");
    assert_same(&subject.export(), &with_live);
}

#[test]
fn no_write_that_was_acknowledged_is_lost() {
    let Some(subject) = Subject::of("race", &[r#"{"insert":"items","documents":[{"_id":1,"p":0,"w":0}]}"#]) else {
        return;
    };
    let mut written = 0;
    for push in 1..=30 {
        let base = subject.export();
        let next = edited(
            &base,
            ITEMS,
            &format!("\"p\":{{\"$numberInt\":\"{}\"}}", push - 1),
            &format!("\"p\":{{\"$numberInt\":\"{push}\"}}"),
        );
        // It writes while the push does: between the push's own look and its write, some of the times.
        std::thread::scope(|scope| {
            let writer = || {
                scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_micros(400 * push));
                    (0..5).for_each(|_| {
                        subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$inc":{"w":1}}}]}"#)
                    });
                });
            };
            subject.push_to(Some(&base), &next, || {}, writer).unwrap_or_else(|error| panic!("{}", chain(&error)));
        });
        written += 5;
        let line = subject.lines("items").concat();
        assert!(
            line.contains(&format!("\"w\":{{\"$numberInt\":\"{written}\"}}")),
            "{written} writes, push {push}: {line}"
        );
        subject.run(&format!(r#"{{"update":"items","updates":[{{"q":{{"_id":1}},"u":{{"$set":{{"p":{push}}}}}}}]}}"#));
    }
}

#[test]
fn a_collection_that_goes_takes_no_write_along() {
    let Some(subject) = Subject::of("leaving", &[r#"{"insert":"items","documents":[{"_id":1}]}"#]) else { return };
    for push in 1..=15 {
        subject.run(r#"{"create":"log"}"#);
        let base = subject.export();
        let next = base.without(&path("data/log/rows.tsv")).without(&path("schema/collections/log.jsonl"));
        std::thread::scope(|scope| {
            let writer = || {
                scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_micros(500 * push));
                    (0..20).for_each(|n| subject.run(&format!(r#"{{"insert":"log","documents":[{{"_id":{n}}}]}}"#)));
                });
            };
            subject.push_to(Some(&base), &next, || {}, writer).unwrap_or_else(|error| panic!("{}", chain(&error)));
        });
        assert_eq!(subject.lines("log").len(), 20, "push {push}");
        subject.run(r#"{"drop":"log"}"#);
    }
}
