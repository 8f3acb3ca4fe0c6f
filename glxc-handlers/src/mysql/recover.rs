//! What an operation may leave behind, and how to learn what came of it.
//!
//! An import inserts its id into a table of ours, `glxc.done`, in the transaction that writes the rows; an import of a whole
//! state does so before it replaces anything. So the id is there if and only if the operation happened, or has to be finished. It
//! stays until the outcome is recorded elsewhere and `clear` is called.

use std::thread;
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher24;

use super::session::Session;
use super::settings::Target;
use super::sql::{ident, literal};
use crate::{Cx, Decision, Error, OpId, Result};

/// The database of our own table.
pub(super) const MARKS: &str = "glxc";

/// The table of the ids of operations that happened.
pub(super) const DONE: &str = "`glxc`.`done`";

/// How long to wait for the end of a session whose client is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What tells two states of one operation apart that are on the same server.
fn tag(target: &Target) -> String {
    format!("{:08x}", SipHasher24::new().hash(target.database.as_bytes()) >> 32)
}

/// What an operation is called on the server: its lock, its mark and what it prepares.
pub(super) fn name(target: &Target, op: &OpId) -> String {
    format!("glxc:{op}:{}", tag(target))
}

/// What the session is called that holds the locks of a load.
pub(super) fn guard_name(target: &Target, op: &OpId) -> String {
    format!("{}:guard", name(target, op))
}

/// The database into which a whole state is loaded before its tables move to their place.
pub(super) fn new_database(target: &Target, op: &OpId) -> String {
    format!("glxc_new_{op}_{}", tag(target))
}

/// Makes the table of the marks, and takes the name of the operation, by which its session is found.
pub(super) fn begin(session: &mut Session, target: &Target, op: &OpId) -> Result<()> {
    session.run("make room for marks", &format!("CREATE DATABASE IF NOT EXISTS {}", ident(MARKS)))?;
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {DONE} (id varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY) \
         ENGINE=InnoDB"
    );
    session.run("make room for marks", &sql)?;
    hold(session, &name(target, op))
}

/// Gives a session a name by which it is found.
pub(super) fn hold(session: &mut Session, name: &str) -> Result<()> {
    match session.value("name the session", &format!("SELECT GET_LOCK({}, 10)", literal(name)))?.as_str() {
        "1" => Ok(()),
        _ => Err(Error::Engine { context: format!("begin {name}"), source: "another session does it already".into() }),
    }
}

/// The statement that marks the operation as one that happened.
pub(super) fn mark(target: &Target, op: &OpId) -> String {
    format!("INSERT INTO {DONE} VALUES ({})", literal(&name(target, op)))
}

/// Ends what the operation left, a prepared transaction as it was decided, and tells whether it happened.
pub(super) fn settle(target: &Target, op: &OpId, decision: Decision, cx: &Cx<'_>) -> Result<(Session, bool)> {
    let mut session = Session::connect(target)?;
    for name in [name(target, op), guard_name(target, op)] {
        end_session(&mut session, &name, cx)?;
    }
    let name = name(target, op);
    let prepared = session.texts("look for what is prepared", "XA RECOVER")?;
    if prepared.iter().any(|row| row[3] == name) {
        let end = if decision == Decision::Commit { "COMMIT" } else { "ROLLBACK" };
        session.run("end what is prepared", &format!("XA {end} {}", literal(&name)))?;
    }
    begin(&mut session, target, op)?;
    let sql = format!("SELECT 1 FROM {DONE} WHERE id = {}", literal(&name));
    let happened = session.finds("look for the mark of the operation", &sql)?;
    Ok((session, happened))
}

/// Removes the database of a load.
pub(super) fn drop_new(session: &mut Session, target: &Target, op: &OpId) -> Result<()> {
    let new = new_database(target, op);
    session.run("set up the session", "SET SESSION foreign_key_checks = 0")?;
    session.run(&format!("remove database {new}"), &format!("DROP DATABASE IF EXISTS {}", ident(&new)))
}

/// Removes the mark.
pub(super) fn clear(session: &mut Session, target: &Target, op: &OpId) -> Result<()> {
    match session.has_database(MARKS)? {
        true => {
            session.run("remove the mark", &format!("DELETE FROM {DONE} WHERE id = {}", literal(&name(target, op))))
        }
        false => Ok(()),
    }
}

/// Ends a session of the operation, and waits until it is gone: one that lost its client may still be committing.
fn end_session(session: &mut Session, name: &str, cx: &Cx<'_>) -> Result<()> {
    let (start, used) = (Instant::now(), format!("SELECT IS_USED_LOCK({})", literal(name)));
    let id = session.value("look for the operation's session", &used)?;
    if id.is_empty() {
        return Ok(());
    }
    // It may have ended meanwhile.
    if let Err(error) = session.run("end the operation's session", &format!("KILL {id}")) {
        tracing::debug!(%error, "a session could not be ended");
    }
    let is_listed = |session: &mut Session| -> Result<bool> {
        let rows = session.rows("look for the operation's session", "SHOW PROCESSLIST")?;
        Ok(rows.iter().any(|row| row.first().is_some_and(|first| first.as_deref() == Some(id.as_bytes()))))
    };
    while is_listed(session)? {
        if start.elapsed() > PATIENCE {
            return Err(Error::Timeout { what: "the end of the operation's session".into(), after: start.elapsed() });
        }
        cx.check()?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
