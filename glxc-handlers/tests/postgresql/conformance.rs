//! The contract of every handler.

use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::conformance::{Edit, PROMISES, Subject, Variant, run_all};
use glxc_handlers::{Handler, Options};

use crate::harness::{self, normalized};

struct Items {
    subject: harness::Subject,
    times: AtomicU64,
}

impl Items {
    fn rows(&self, rows: &[(&str, &str)]) {
        self.subject
            .run("CREATE TABLE items (name text PRIMARY KEY, value text NOT NULL); CREATE TABLE log (line text)");
        let mut values: Vec<String> = rows.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
        // Another order on disk each time.
        if self.times.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            values.reverse();
        }
        self.subject
            .run(&format!("INSERT INTO items VALUES {}; INSERT INTO log VALUES ('x'), ('x')", values.join(", ")));
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
        let name = &self.subject.database;
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        self.subject.cluster.connect("postgres").batch_execute(&drop).unwrap();
        if variant == Variant::Absent {
            return;
        }
        self.subject.cluster.create(name);
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
        match self.subject.exists() {
            true => {
                let arguments = ["--exclude-schema", "glxc_done_*"];
                normalized(&self.subject.cluster.dump(&self.subject.database, &arguments)).into_bytes()
            }
            false => b"absent".to_vec(),
        }
    }

    fn leftovers(&self) -> Vec<String> {
        let mut client = self.subject.cluster.connect("postgres");
        // The suite's operations end in the number of this process; other tests use the server too.
        let ours = format!("^glxc_.*{:08x}(_|:|$)", std::process::id());
        let sql = "SELECT 'database ' || datname FROM pg_database WHERE datname ~ $2 \
                   UNION ALL SELECT 'session in ' || state FROM pg_stat_activity WHERE datname = $1 \
                   AND application_name ~ '^glxc:' AND state ~ 'transaction' \
                   UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts \
                   WHERE gid ~ replace($2, '^glxc_', '^glxc:')";
        client.query(sql, &[&self.subject.database, &ours]).unwrap().iter().map(|row| row.get(0)).collect()
    }
}

#[test]
fn every_promise_is_kept() {
    let Some(subject) = harness::Subject::absent("conformance") else { return };
    let report = run_all(&Items { subject, times: AtomicU64::new(0) });
    assert!(report.failed.is_empty(), "{report}");
    assert_eq!(report.not_made, ["late writes stay"]);
    assert_eq!(report.kept.len() + 1, PROMISES.len());
}
