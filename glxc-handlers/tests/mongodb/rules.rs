//! Rules for collections: what of them is no part of the state.

use glxc_handlers::{Error, MemoryTree, Tree};

use crate::harness::{GRADE, Subject, added, assert_same, chain, edited, path, text};

const ITEMS: &str = "data/items/rows.tsv";
const SESSION: &str = "schema/collections/session.jsonl";
const INDEX: &str = r#"{"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n"}"#;
const RULES: [(&str, &str); 2] = [("session", "schema"), ("cache_*", "ignore")];

fn ruled(name: &str) -> Option<(Subject, MemoryTree)> {
    let plain = Subject::of(
        name,
        &[
            r#"{"insert":"items","documents":[{"_id":"a","n":1}]}"#,
            r#"{"insert":"session","documents":[{"_id":"s","n":1}]}"#,
            r#"{"insert":"cache_pages","documents":[{"_id":"p"}]}"#,
        ],
    )?;
    let subject = plain.with_collections(&RULES);
    let tree = subject.export();
    Some((subject, tree))
}

#[test]
fn what_is_left_out_stands_in_no_file() {
    let Some((subject, tree)) = ruled("left_out") else { return };
    let files: Vec<String> = tree.entries().iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(files, [".gitattributes", ITEMS, "schema/collections/items.jsonl", SESSION]);
    assert_eq!(subject.notes()[1..], ["cache_pages: ignored", "session: its definition only"]);
}

#[test]
fn what_is_left_out_keeps_its_documents() {
    let Some((subject, base)) = ruled("keeps") else { return };
    let next = edited(&base, ITEMS, r#""n":{"$numberInt":"1"}"#, r#""n":{"$numberInt":"2"}"#);
    let next = edited(&next, SESSION, "{}}\n", &format!("{{}}}}\n{INDEX}\n"));
    subject.run(r#"{"insert":"session","documents":[{"_id":"t"}]}"#);
    assert_eq!(subject.must_push(Some(&base), &next).notes, [GRADE]);
    assert_same(&subject.export(), &next);
    // Also where everything else is replaced.
    subject.must_push(None, &base);
    assert_same(&subject.export(), &base);
    assert_eq!(subject.lines("session").len(), 2);
    assert_eq!(subject.lines("cache_pages").len(), 1);
    // A collection that goes would take them along.
    let next = base.without(&path(SESSION));
    for from in [Some(&base), None] {
        let error = subject.declined(from, &next);
        assert!(chain(&error).contains("session, which has further documents"), "{}", chain(&error));
    }
    subject.run(r#"{"delete":"session","deletes":[{"q":{},"limit":0}]}"#);
    subject.must_push(Some(&base), &next);
    assert_same(&subject.export(), &next);
}

#[test]
fn a_rule_that_comes_or_goes_with_a_push_leaves_the_documents_alone() {
    let Some((ruled, with_rules)) = ruled("comes") else { return };
    let plain = ruled.with_collections(&[]);
    let without_rules = plain.export();
    let alone = "session: its documents are not managed on both sides; left alone";
    for (mut subject, options, base, next) in [
        (ruled, &plain.options, &without_rules, &with_rules),
        (plain.with_collections(&[]), &plain.with_collections(&RULES).options, &with_rules, &without_rules),
    ] {
        subject.base_options = Some(options.clone());
        let next = edited(next, ITEMS, r#""n":{"$numberInt":"1"}"#, r#""n":{"$numberInt":"2"}"#);
        assert_eq!(subject.must_push(Some(base), &next).notes, [GRADE, alone]);
        assert_same(
            &subject.with_collections(&[]).export(),
            &edited(&without_rules, ITEMS, r#""n":{"$numberInt":"1"}"#, r#""n":{"$numberInt":"2"}"#),
        );
        subject.run(r#"{"update":"items","updates":[{"q":{"_id":"a"},"u":{"$set":{"n":1}}}]}"#);
    }
    // Files that are left of it are no statement.
    let subject = plain.with_collections(&RULES);
    let stale = added(&without_rules, "data/cache_pages/rows.tsv", "{\"_id\":\"q\"}\n");
    assert_eq!(subject.must_push(Some(&with_rules), &stale).notes, [alone]);
    assert_eq!(subject.lines("cache_pages").len(), 1);
    // Elsewhere they are.
    let error = subject
        .declined(Some(&with_rules), &with_rules.with(&path("data/other/rows.tsv"), text(&without_rules, ITEMS)));
    assert!(
        matches!(error, Error::Input { .. }) && chain(&error).contains("no collection of this name"),
        "{}",
        chain(&error)
    );
}
