//! What an operation may leave behind, and how to learn what came of it.
//!
//! An import writes in one transaction, and that transaction itself creates an empty schema `glxc_done_<op>`. So the schema
//! is there if and only if the transaction committed, whoever died when. It stays until the next operation: until then somebody
//! may have to ask.

use std::thread;
use std::time::{Duration, Instant};

use super::schema::scratch;
use super::session::Session;
use super::settings::Target;
use super::sql::{ident, literal};
use crate::{Cx, Error, OpId, Result};

/// How long to wait for the end of a backend whose client is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name that the sessions of an operation bear.
pub(super) fn session_name(op: &OpId) -> String {
    format!("glxc:{op}")
}

/// The schema that says that the operation's transaction committed.
pub(super) fn done_schema(op: &OpId) -> String {
    format!("glxc_done_{op}")
}

/// The database into which a whole state is loaded before it takes its name.
pub(super) fn new_database(op: &OpId) -> String {
    format!("glxc_new_{op}")
}

/// The database that a loaded one replaced.
pub(super) fn old_database(op: &OpId) -> String {
    format!("glxc_old_{op}")
}

/// Ends what the operation left, and tells whether its transaction committed.
pub(super) fn settle(target: &Target, op: &OpId, cx: &Cx<'_>) -> Result<bool> {
    let mut maintenance = Session::maintenance(target, "glxc:recover")?;
    end_sessions(&mut maintenance, op, cx)?;
    let committed = maintenance.has_database(&target.database)? && is_done(target, op)?;
    drop_new(&mut maintenance, op)?;
    drop_database(&mut maintenance, &old_database(op))?;
    scratch::sweep(maintenance.client(), op)?;
    Ok(committed)
}

/// Whether the operation's transaction committed.
fn is_done(target: &Target, op: &OpId) -> Result<bool> {
    let mut session = Session::connect(target, &target.database, "glxc:recover")?;
    let sql = format!("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = {})", literal(&done_schema(op)));
    session.holds("look for the mark of the operation", &sql)
}

/// The comment on the roles that a load made, until they are for good.
pub(super) fn mark_role(session: &mut Session, op: &OpId, role: &str) -> Result<()> {
    let sql = format!("COMMENT ON ROLE {} IS {}", ident(role), literal(&new_database(op)));
    session.run(&format!("mark role {role}"), &sql)
}

/// The roles that a load made.
pub(super) fn marked_roles(session: &mut Session, op: &OpId) -> Result<Vec<String>> {
    let comment = literal(&new_database(op));
    let sql = format!("SELECT rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = {comment}");
    session.column("list the roles of the operation", &sql)
}

/// Drops the database of a load that did not take its name, and the roles that were made for it.
pub(super) fn drop_new(maintenance: &mut Session, op: &OpId) -> Result<()> {
    drop_database(maintenance, &new_database(op))?;
    for role in marked_roles(maintenance, op)? {
        maintenance.run(&format!("drop role {role}"), &format!("DROP ROLE {}", ident(&role)))?;
    }
    Ok(())
}

/// Drops a database of ours, with whoever is connected to it.
pub(super) fn drop_database(maintenance: &mut Session, name: &str) -> Result<()> {
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name));
    maintenance.run(&format!("drop database {name}"), &sql)
}

/// Ends the operation's backends, and waits until they are gone: one that lost its client may still be committing.
fn end_sessions(maintenance: &mut Session, op: &OpId, cx: &Cx<'_>) -> Result<()> {
    let start = Instant::now();
    let name = literal(&session_name(op));
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

/// Removes the marks of operations before this one, whose outcome everybody knows by now.
pub(super) fn sweep_done(target: &Target, name: &str) -> Result<()> {
    let mut session = Session::connect(target, &target.database, name)?;
    let sql = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^glxc_done_[0-9a-f]{16}$'";
    for done in session.column("look for marks of operations", sql)? {
        session.run("remove the mark of an operation", &format!("DROP SCHEMA {}", ident(&done)))?;
    }
    Ok(())
}
