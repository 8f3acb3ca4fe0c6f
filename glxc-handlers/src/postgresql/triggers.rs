//! Triggers while rows are written in the replica role.
//!
//! In that role the server skips ordinary triggers, the application's and its own. It still fires those that are enabled as
//! ALWAYS or REPLICA, which would act on rows that are not theirs to judge; and it skips the check of deferrable unique and
//! exclusion constraints, so that a duplicate could be committed. So the former are disabled, the latter are enabled, and
//! afterwards every one is put back as it was.

use super::session::Session;
use super::sql::{ident, list, literal};
use crate::{Error, Result};

/// What puts the triggers back.
#[derive(Debug)]
#[must_use]
pub(super) struct Quiet {
    restore: Vec<String>,
}

impl Quiet {
    /// Sets the triggers of tables, which are locked and named as in SQL.
    pub fn new(session: &mut Session, tables: &[String]) -> Result<Quiet> {
        let mut quiet = Quiet { restore: Vec::new() };
        if tables.is_empty() {
            return Ok(quiet);
        }
        let oids = list(tables, |name| format!("{}::regclass", literal(name)));
        refuse_rules(session, &oids)?;
        let sql = format!(
            "SELECT t.tgrelid::regclass, t.tgname, t.tgenabled, c.contype IN ('u', 'p', 'x') FROM pg_trigger t \
             LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint AND t.tgisinternal WHERE t.tgrelid IN ({oids}) \
             AND CASE WHEN c.contype IN ('u', 'p', 'x') THEN t.tgenabled IN ('O', 'R') ELSE t.tgenabled IN ('A', 'R') END"
        );
        for row in session.rows("list the triggers", &sql)? {
            let text = |at: usize| row[at].as_deref().unwrap_or_default();
            let alter = |how: &str| format!("ALTER TABLE ONLY {} {how} TRIGGER {}", text(0), ident(text(1)));
            let set = if text(3) == "t" { "ENABLE ALWAYS" } else { "DISABLE" };
            let back = match text(2) {
                "A" => "ENABLE ALWAYS",
                "R" => "ENABLE REPLICA",
                _ => "ENABLE",
            };
            session.run("set a trigger", &alter(set))?;
            quiet.restore.push(alter(back));
        }
        Ok(quiet)
    }

    /// Puts the triggers back.
    pub fn restore(self, session: &mut Session) -> Result<()> {
        self.restore.iter().try_for_each(|statement| session.run("put a trigger back", statement))
    }
}

/// Refuses rewrite rules that act in the replica role too: only an exclusive lock could disable them.
fn refuse_rules(session: &mut Session, oids: &str) -> Result<()> {
    let sql = format!(
        "SELECT ev_class::regclass || ': rule ' || quote_ident(rulename) FROM pg_rewrite \
         WHERE ev_class IN ({oids}) AND ev_type <> '1' AND ev_enabled IN ('A', 'R')"
    );
    match session.column("list the rules", &sql)?.into_iter().next() {
        Some(rule) => Err(Error::Unsupported { what: format!("{rule} is enabled as ALWAYS or REPLICA") }),
        None => Ok(()),
    }
}
