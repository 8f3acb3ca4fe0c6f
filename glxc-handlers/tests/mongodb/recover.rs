//! What a kill leaves, and what the next contact makes of it.

use glxc_handlers::{Change, Cx, Decision, MemoryTree, OpId, Recorded, Recovered, Tree, differences};

use crate::harness::{GRADE, Subject, added, assert_same, edited, text, with_cx};

const ITEMS: &str = "data/items/rows.tsv";

/// A push that is killed behind `lock`, what happens then, and how it ends.
fn killed(
    subject: &Subject, base: Option<&MemoryTree>, next: &MemoryTree, op: &str, then: impl FnOnce(), decision: Decision,
    look: impl Fn(&Recovered),
) {
    let op = OpId::new(op).unwrap();
    let differs = differences(base.map(|base| base as &dyn Tree), Some(next));
    let recorded = |tree| Recorded { tree, options: &subject.options };
    let (replace, base) = (base.is_none(), base.map(|base| recorded(base)));
    let change = Change { op: &op, base, next: recorded(next), differs: &differs, replace, prepare: false };
    with_cx(|cx: &Cx<'_>| {
        let mut staged = subject.handler.stage(&change, cx).unwrap();
        staged.lock().unwrap();
        std::mem::forget(staged);
        then();
        for _ in 0..2 {
            look(&subject.handler.recover(&change, None, decision, cx).unwrap());
            assert!(subject.leftovers().is_empty(), "{:?}", subject.leftovers());
        }
    });
}

fn is_done(recovered: &Recovered) {
    assert!(matches!(recovered, Recovered::Committed(committed) if committed.notes == [GRADE]), "{recovered:?}");
}

fn shop(name: &str) -> Option<(Subject, MemoryTree, MemoryTree)> {
    let subject = Subject::of(
        name,
        &[r#"{"insert":"items","documents":[{"_id":1,"a":1},{"_id":2,"a":1}]}"#, r#"{"create":"old"}"#],
    )?;
    let base = subject.export();
    let next = added(&base, ITEMS, "{\"_id\":{\"$numberInt\":\"3\"}}\n");
    let next = edited(
        &next,
        ITEMS,
        "{\"_id\":{\"$numberInt\":\"1\"},\"a\":{\"$numberInt\":\"1\"}}",
        "{\"_id\":{\"$numberInt\":\"1\"},\"a\":{\"$numberInt\":\"7\"}}",
    );
    let next = edited(&next, ITEMS, "{\"_id\":{\"$numberInt\":\"2\"},\"a\":{\"$numberInt\":\"1\"}}\n", "");
    let without = |tree: MemoryTree, file: &str| tree.without(&crate::harness::path(file));
    let next = without(without(next, "data/old/rows.tsv"), "schema/collections/old.jsonl");
    let put = |tree: &MemoryTree, file: &str, text: String| tree.with(&crate::harness::path(file), text);
    let next = put(&next, "data/new/rows.tsv", text(&base, ITEMS));
    let next = put(&next, "schema/collections/new.jsonl", "{\"collection\":\"new\",\"options\":{}}\n".into());
    Some((subject, base, next))
}

#[test]
fn what_was_decided_is_finished_wherever_it_died() {
    let Some((subject, base, next)) = shop("halfway") else { return };
    // What `commit` does, step by step: each of these has happened, and no more.
    let op = "00000000000000b1";
    let rename = |from: &str, to: &str| {
        use crate::common::battery::Builder;
        let full = |name: &str| format!("halfway.{name}");
        subject.connect().call("admin", Builder::new().text("renameCollection", &full(from)).text("to", &full(to)));
    };
    let steps: [(&str, &dyn Fn()); 6] = [
        ("nothing", &|| {}),
        ("a new collection is there", &|| rename(&format!("glxc_new_{op}_1"), "new")),
        ("one is removed", &|| subject.run(r#"{"delete":"items","deletes":[{"q":{"_id":2},"limit":1}]}"#)),
        ("one is changed", &|| subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$set":{"a":7}}}]}"#)),
        ("one is added", &|| subject.run(r#"{"insert":"items","documents":[{"_id":3}]}"#)),
        ("the old collection is away", &|| rename("old", &format!("glxc_old_{op}_2"))),
    ];
    for count in 0..=steps.len() {
        subject.run(r#"{"dropDatabase":1}"#);
        subject.must_push(None, &base);
        killed(
            &subject,
            Some(&base),
            &next,
            op,
            || steps[..count].iter().for_each(|(_, step)| step()),
            Decision::Commit,
            is_done,
        );
        assert_same(&subject.export(), &next);
    }
}

#[test]
fn a_replacement_is_finished_and_leaves_what_came_later() {
    let Some((subject, base, next)) = shop("replaced") else { return };
    let write = || subject.run(r#"{"update":"items","updates":[{"q":{"_id":1},"u":{"$set":{"a":5}}}]}"#);
    killed(&subject, None, &next, "00000000000000b2", write, Decision::Commit, |recovered| {
        let Recovered::Committed(committed) = recovered else { panic!("{recovered:?}") };
        assert_eq!(committed.notes, [GRADE, r#"items _id={"$numberInt":"1"} was changed meanwhile and stays"#]);
    });
    assert_same(
        &subject.export(),
        &edited(&next, ITEMS, "\"a\":{\"$numberInt\":\"7\"}", "\"a\":{\"$numberInt\":\"5\"}"),
    );
    subject.run(r#"{"dropDatabase":1}"#);
    subject.must_push(None, &base);
    killed(
        &subject,
        None,
        &next,
        "00000000000000b3",
        || {},
        Decision::Abort,
        |recovered| {
            assert_eq!(*recovered, Recovered::Aborted);
        },
    );
    assert_same(&subject.export(), &base);
}

#[test]
fn what_was_written_to_a_collection_that_was_away_comes_back() {
    let Some((subject, base, next)) = shop("away") else { return };
    let op = "00000000000000b4";
    let away = || {
        use crate::common::battery::Builder;
        let to = format!("away.glxc_old_{op}_2");
        subject.run(r#"{"insert":"old","documents":[{"_id":1}]}"#);
        subject.connect().call("admin", Builder::new().text("renameCollection", "away.old").text("to", &to));
        subject.run(r#"{"insert":"old","documents":[{"_id":2}]}"#);
    };
    killed(&subject, Some(&base), &next, op, away, Decision::Commit, |recovered| {
        let Recovered::Committed(committed) = recovered else { panic!("{recovered:?}") };
        assert_eq!(committed.notes, [GRADE, "old was written to meanwhile and stays"]);
    });
    assert_eq!(subject.lines("old").len(), 2);
}
