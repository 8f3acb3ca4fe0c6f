//! What an operation may leave behind, and how to learn what came of it.
//!
//! An import writes in one transaction, and that transaction itself creates an empty schema `glxc_done_<op>`. So the schema
//! is there if and only if the transaction committed, whoever died when. It stays until the outcome is
//! recorded elsewhere and `clear` is called: until then somebody may have to ask.
//!
//! Of several databases that change together each transaction is prepared under the name that its session has, and whoever
//! recovers is told whether to commit it.

use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use siphasher::sip::SipHasher24;

use super::schema::scratch;
use super::session::{Session, code};
use super::settings::Target;
use super::sql::{ident, literal};
use super::staging::Room;
use crate::{Cx, Decision, Error, OpId, Result};

/// How long to wait for the end of a backend whose client is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What tells two states of one operation apart that are on the same server: a hash of the database's name, since the name
/// itself may be too long for a part of another.
fn tag(target: &Target) -> String {
    format!("{:08x}", SipHasher24::new().hash(target.database.as_bytes()) >> 32)
}

/// The name that the sessions of an operation bear.
pub(super) fn session_name(target: &Target, op: &OpId) -> String {
    format!("glxc:{op}:{}", tag(target))
}

/// The schema that says that the operation's transaction committed.
pub(super) fn done_schema(op: &OpId) -> String {
    format!("glxc_done_{op}")
}

/// The database into which a whole state is loaded before it takes its name.
pub(super) fn new_database(target: &Target, op: &OpId) -> String {
    format!("glxc_new_{op}_{}", tag(target))
}

/// The database that a loaded one replaced.
pub(super) fn old_database(target: &Target, op: &OpId) -> String {
    format!("glxc_old_{op}_{}", tag(target))
}

/// Ends what the operation left, a prepared transaction as it was decided, and tells whether its transaction committed.
pub(super) fn settle(target: &Target, op: &OpId, decision: Decision, cx: &Cx<'_>) -> Result<bool> {
    let mut maintenance = Session::maintenance(target, "glxc:recover")?;
    end_sessions(&mut maintenance, &session_name(target, op), cx)?;
    end_prepared(&mut maintenance, target, op, decision)?;
    let committed = maintenance.has_database(&target.database)? && leave_database(target, op)?;
    match committed {
        true => keep_roles(&mut maintenance, op)?,
        false => drop_new(&mut maintenance, target, op)?,
    }
    drop_database(&mut maintenance, &old_database(target, op))?;
    scratch::sweep(maintenance.client(), op)?;
    Ok(committed)
}

/// Commits what the operation prepared, or rolls it back. It may be in the database itself or, where that takes a new name,
/// in another.
fn end_prepared(maintenance: &mut Session, target: &Target, op: &OpId, decision: Decision) -> Result<()> {
    let name = literal(&session_name(target, op));
    let sql = format!("SELECT database FROM pg_prepared_xacts WHERE gid = {name}");
    let end = if decision == Decision::Commit { "COMMIT" } else { "ROLLBACK" };
    for database in maintenance.column("look for what is prepared", &sql)? {
        let mut session = Session::connect(target, &database, "glxc:recover")?;
        session.run("end what is prepared", &format!("{end} PREPARED {name}"))?;
    }
    Ok(())
}

/// Refuses a server that keeps no prepared transactions.
pub(super) fn require_prepared(session: &mut Session) -> Result<()> {
    if session.value("ask for prepared transactions", "SHOW max_prepared_transactions")? != "0" {
        return Ok(());
    }
    let what = "several databases in one push, with a server that keeps no prepared transactions (set \
                max_prepared_transactions to 16, say, and restart it; or push their changes one by one)";
    Err(Error::Unsupported { what: what.into() })
}

/// Drops a schema of ours.
pub(super) fn drop_schema(session: &mut Session, schema: &str) -> Result<()> {
    session.run(&format!("remove schema {schema}"), &format!("DROP SCHEMA IF EXISTS {} CASCADE", ident(schema)))
}

/// Removes staging tables, and tells whether the operation's transaction committed.
fn leave_database(target: &Target, op: &OpId) -> Result<bool> {
    let mut session = Session::connect(target, &target.database, "glxc:recover")?;
    drop_schema(&mut session, &Room::schema(op))?;
    let sql = format!("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = {})", literal(&done_schema(op)));
    session.holds("look for the mark of the operation", &sql)
}

/// The comment on the roles that an operation made, until they are for good.
fn mark(op: &OpId) -> String {
    literal(&format!("glxc_new_{op}"))
}

/// Makes roles without login, at once: two states of one operation may need the same.
pub(super) fn make_roles<'r>(
    maintenance: &mut Session, op: &OpId, roles: impl IntoIterator<Item = &'r String>,
) -> Result<()> {
    for role in roles {
        let (name, mark) = (ident(role), mark(op));
        let sql = format!("BEGIN; CREATE ROLE {name} NOLOGIN; COMMENT ON ROLE {name} IS {mark}; COMMIT");
        maintenance.run(&format!("create role {role}"), &sql)?;
    }
    Ok(())
}

fn made_roles(maintenance: &mut Session, op: &OpId) -> Result<Vec<String>> {
    let sql = format!("SELECT rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = {}", mark(op));
    maintenance.column("list the roles of the operation", &sql)
}

/// Takes the mark off the roles that an operation made.
pub(super) fn keep_roles(maintenance: &mut Session, op: &OpId) -> Result<()> {
    for role in made_roles(maintenance, op)? {
        maintenance.run(&format!("keep role {role}"), &format!("COMMENT ON ROLE {} IS NULL", ident(&role)))?;
    }
    Ok(())
}

/// Drops the database of a load that did not take its name, and the roles that were made for it. A role that another state of
/// the operation needs goes with that one.
pub(super) fn drop_new(maintenance: &mut Session, target: &Target, op: &OpId) -> Result<()> {
    drop_database(maintenance, &new_database(target, op))?;
    for role in made_roles(maintenance, op)? {
        match maintenance.run(&format!("drop role {role}"), &format!("DROP ROLE {}", ident(&role))) {
            Err(error) if code(&error) == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Drops a database of ours, with whoever is connected to it.
pub(super) fn drop_database(maintenance: &mut Session, name: &str) -> Result<()> {
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name));
    maintenance.run(&format!("drop database {name}"), &sql)
}

/// Ends the operation's backends, and waits until they are gone: one that lost its client may still be committing.
fn end_sessions(maintenance: &mut Session, name: &str, cx: &Cx<'_>) -> Result<()> {
    let start = Instant::now();
    let name = literal(name);
    let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = {name}");
    while !maintenance.column("end the operation's sessions", &sql)?.is_empty() {
        if start.elapsed() > PATIENCE {
            return Err(Error::Timeout { what: "the end of the operation's sessions".into(), after: start.elapsed() });
        }
        cx.check()?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Removes the marks and the staging tables of operations before this one, whose outcome everybody knows by now.
pub(super) fn sweep_done(session: &mut Session) -> Result<()> {
    let sql = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^glxc_(done_)?[0-9a-f]{16}$'";
    session.column("look for marks of operations", sql)?.iter().try_for_each(|left| drop_schema(session, left))
}
