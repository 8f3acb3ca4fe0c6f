//! The contract of every handler.

use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::conformance::{Edit, PROMISES, Subject, Variant, run_all};
use glxc_handlers::{Handler, Options};

use crate::harness;

struct Items {
    subject: harness::Subject,
    times: AtomicU64,
}

impl Items {
    fn rows(&self, rows: &[(&str, &str)]) {
        let mut values: Vec<String> = rows.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
        // Another order each time.
        if self.times.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            values.reverse();
        }
        self.subject.run(&format!(
            "CREATE TABLE items (name varchar(20) PRIMARY KEY, value text NOT NULL);\nCREATE TABLE log (line text);\n\
             INSERT INTO items VALUES {};\nINSERT INTO log VALUES ('x'), ('x')",
            values.join(", ")
        ));
    }
}

impl Subject for Items {
    fn handler(&self) -> Box<dyn Handler> {
        self.subject.beside(&self.subject.database).handler
    }

    fn options(&self) -> Options {
        self.subject.options.clone()
    }

    fn set(&self, variant: Variant) {
        self.subject.drop();
        if variant == Variant::Absent {
            return;
        }
        self.subject.create();
        match variant {
            Variant::Base => self.rows(&[("contested", "1"), ("other", "1"), ("removed", "1")]),
            Variant::Next => self.rows(&[("added", "2"), ("contested", "2"), ("other", "1")]),
            _ => {}
        }
    }

    fn edit(&self, edit: Edit) {
        let name = if edit == Edit::Contested { "contested" } else { "other" };
        self.subject.run(&format!("UPDATE items SET value = 'edited' WHERE name = '{name}'"));
    }

    fn live(&self) -> Vec<u8> {
        self.subject.dump().into_bytes()
    }

    fn leftovers(&self) -> Vec<String> {
        self.subject.leftovers()
    }
}

#[test]
fn every_promise_is_kept() {
    // Alone on its server: the leftovers of other tests are none of its own.
    let Some(subject) = harness::Subject::alone("conformance") else { return };
    let report = run_all(&Items { subject, times: AtomicU64::new(0) });
    assert!(report.failed.is_empty(), "{report}");
    // Of a replacement, only half is in a transaction.
    assert_eq!(report.not_made, ["prepared", "late writes stay"]);
    assert_eq!(report.kept.len() + 2, PROMISES.len());
}
