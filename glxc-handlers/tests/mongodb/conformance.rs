//! The contract of every handler.

use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::conformance::{Edit, PROMISES, Subject, Variant, run_all};
use glxc_handlers::{Handler, Options, Settings, mongodb};

use crate::harness;

struct Items {
    subject: harness::Subject,
    times: AtomicU64,
}

impl Items {
    fn fill(&self, items: &[(&str, i32)], indexed: bool) {
        let mut documents: Vec<String> =
            items.iter().map(|(name, value)| format!(r#"{{"_id":"{name}","value":{value}}}"#)).collect();
        // Another order each time.
        if self.times.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            documents.reverse();
        }
        let run = |command: &str| self.subject.run(command);
        run(&format!(r#"{{"insert":"items","documents":[{}]}}"#, documents.join(",")));
        run(r#"{"insert":"log","documents":[{"_id":1},{"_id":2,"value":1.5}]}"#);
        run(r#"{"create":"empty"}"#);
        if indexed {
            run(r#"{"createIndexes":"items","indexes":[{"key":{"value":1},"name":"by_value"}]}"#);
        }
    }
}

impl Subject for Items {
    fn handler(&self) -> Box<dyn Handler> {
        let path = glxc_handlers::StatePath::new("shop").unwrap();
        mongodb::make(&Settings::new("shop", path, self.subject.options.clone())).unwrap()
    }

    fn options(&self) -> Options {
        self.subject.options.clone()
    }

    fn set(&self, variant: Variant) {
        self.subject.run(r#"{"dropDatabase":1}"#);
        match variant {
            Variant::Base => self.fill(&[("contested", 1), ("other", 1), ("removed", 1)], false),
            Variant::Next => self.fill(&[("added", 2), ("contested", 2), ("other", 1)], true),
            _ => {}
        }
    }

    fn can_be_absent(&self) -> bool {
        false
    }

    fn edit(&self, edit: Edit) {
        let name = if edit == Edit::Contested { "contested" } else { "other" };
        self.subject.run(&format!(
            r#"{{"update":"items","updates":[{{"q":{{"_id":"{name}"}},"u":{{"$set":{{"value":9}}}}}}]}}"#
        ));
    }

    fn live(&self) -> Vec<u8> {
        self.subject.dump()
    }

    fn leftovers(&self) -> Vec<String> {
        self.subject.leftovers()
    }
}

#[test]
fn every_promise_is_kept() {
    let Some(subject) = harness::Subject::empty("conformance") else { return };
    let report = run_all(&Items { subject, times: AtomicU64::new(0) });
    assert!(report.failed.is_empty(), "{report}");
    assert_eq!(report.not_made, ["prepared"]);
    assert_eq!(report.kept.len() + 1, PROMISES.len());
}
