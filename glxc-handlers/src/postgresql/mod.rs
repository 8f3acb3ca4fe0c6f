//! PostgreSQL databases as a state.
//!
//! An export writes the schema of one database, one object a file, and the rows of its tables as row files, all of one point in
//! time. An import applies the difference of two such trees in one transaction, row by row with compare and swap, or loads a
//! whole database beside the live one and lets it take the name. PostgreSQL 13 and later, as a superuser.
//!
//! ```no_run
//! use glxc_handlers::{Options, Registry, Settings, StatePath, Value, postgresql};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new().with("postgresql", postgresql::make);
//! let options = Options::new().with("database", Value::Text("shop".into()));
//! let settings = Settings::new("shop", StatePath::new("data/shop")?, options);
//! let handler = registry.make("postgresql", &settings)?;
//! assert!(handler.caps().database);
//! # Ok(())
//! # }
//! ```
//!
//! # Options
//! - `database`: its name.
//! - `socket`: the folder of the server's unix socket (`/var/run/postgresql`), or `host`: an IP address or `localhost`.
//! - `port` (5432), `user` (`postgres`). By socket root logs in as the user of the system that bears the name of `user`.
//! - `password_file`: a file with the password, beside the server and never in the repository.
//! - `tables`: patterns of `schema.table`, in which `*` stands for anything, each with `"schema"` (the definition only; an
//!   import keeps the live rows), `"ignore"` (neither read nor dropped) or `{ ignore = ["column"] }`.
//!
//! # What it does not keep
//! Rules that only triggers of the application, or its serializable transactions, enforce are not enforced on import: triggers do
//! not fire. Checks, domains, unique keys, exclusion constraints and foreign keys are. A check or a generated column that calls a
//! function of the table's owner runs that function as a superuser, as any COPY by a superuser does. Materialized views are
//! refreshed by the application only. Publications ship what is imported.

mod apply;
mod copy;
mod definition;
mod differential;
mod export;
mod foreign_keys;
mod layout;
mod load;
mod recover;
pub mod schema;
mod schema_files;
mod scope;
mod sequences;
mod session;
mod settings;
mod snapshot;
mod sql;
mod staging;
mod table;
mod triggers;

use crate::{
    Caps, Change, Commit, Committed, Cx, Decision, Description, Error, Exported, Fingerprint, Handler, Live, OpId,
    Record, Recorded, Recovered, Result, Settings, Sink, Snapshot, Staged, Tree, Unit, Ways,
};
use differential::Differential;
use load::Load;
use session::Session;
use settings::Target;

/// What the sessions are called that belong to no import.
const READER: &str = "glxc:read";

/// Makes the handler of a PostgreSQL state from its settings.
pub fn make(settings: &Settings) -> Result<Box<dyn Handler>> {
    Ok(Box::new(Postgresql { target: Target::new(settings)? }))
}

/// One database as a state.
#[derive(Debug)]
struct Postgresql {
    target: Target,
}

impl Handler for Postgresql {
    fn caps(&self) -> Caps {
        Caps {
            unit: Unit::Item,
            commit: Commit::Transactional,
            snapshot: Snapshot::PointInTime,
            database: true,
            ways: Ways::Both,
        }
    }

    fn place(&self) -> String {
        format!("the database {}", self.target.database)
    }

    fn claim(&self) -> String {
        let Target { server, port, database, .. } = &self.target;
        format!("postgresql {server:?} {port} {database}")
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<()> {
        session::wait(&self.target, cx)
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        cx.check()?;
        let mut session = match Session::live(&self.target, READER) {
            Err(Error::Gone { .. }) => return Ok(Live::Absent),
            session => session?,
        };
        Ok(if session.holds("look for objects", NOT_EMPTY)? { Live::Present } else { Live::Empty })
    }

    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        layout::check(base, next, cx)
    }

    fn fingerprint(&self, cx: &Cx<'_>) -> Result<Option<Fingerprint>> {
        cx.check()?;
        match export::fingerprint(&self.target, READER) {
            Err(Error::Gone { .. }) => Ok(None),
            fingerprint => fingerprint.map(Some),
        }
    }

    fn export(&self, _: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        export::export(&self.target, READER, sink, cx).map_err(|error| session::Watch::explain(error, cx))
    }

    fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        layout::FILES.describe(change, cx)
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        match change.replace || change.base.is_none() {
            true => Ok(Box::new(Load::stage(&self.target, change, cx)?)),
            false => Ok(Box::new(Differential::stage(&self.target, change, cx)?)),
        }
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        let committed = recover::settle(&self.target, change.op, decision, cx)?;
        match (committed, decision) {
            (true, _) => Ok(Recovered::Committed(Committed::default())),
            (false, Decision::Ask | Decision::Abort) => Ok(Recovered::Aborted),
            // Another state of the same push has committed, and this one lost its transaction: do it again.
            (false, Decision::Commit) => {
                let mut staged = self.stage(change, cx)?;
                staged.lock()?;
                staged.commit().map(Recovered::Committed)
            }
        }
    }

    fn clear(&self, _: &OpId, cx: &Cx<'_>) -> Result<()> {
        cx.check()?;
        match Session::live(&self.target, READER) {
            Err(Error::Gone { .. }) => Ok(()),
            session => recover::sweep_done(&mut session?),
        }
    }
}

/// Whether a database holds anything but what a new one has (object ids below 16384 are the server's own).
const NOT_EMPTY: &str = "SELECT \
    EXISTS (SELECT FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't' \
        AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_toast')) \
    OR EXISTS (SELECT FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^(pg_(toast_)?temp|glxc_done_)' \
        AND nspname <> 'public') \
    OR EXISTS (SELECT FROM pg_type WHERE oid >= 16384 AND typtype IN ('d', 'e', 'r', 'm')) \
    OR EXISTS (SELECT FROM pg_proc WHERE oid >= 16384) \
    OR EXISTS (SELECT FROM pg_extension WHERE oid >= 16384) \
    OR EXISTS (SELECT FROM pg_operator WHERE oid >= 16384) \
    OR EXISTS (SELECT FROM pg_collation WHERE oid >= 16384) \
    OR EXISTS (SELECT FROM pg_cast WHERE oid >= 16384) \
    OR EXISTS (SELECT FROM pg_language WHERE oid >= 16384) \
    OR EXISTS (SELECT FROM pg_event_trigger) \
    OR EXISTS (SELECT FROM pg_publication) \
    OR EXISTS (SELECT FROM pg_foreign_data_wrapper) \
    OR EXISTS (SELECT FROM pg_largeobject_metadata)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, StatePath, Value};

    #[test]
    fn a_database_is_claimed_with_its_server() {
        let text = |text: &str| Value::Text(text.into());
        let state = |key: &str, value: Value| {
            let options = Options::new().with("database", text("shop")).with(key, value);
            make(&Settings::new("any", StatePath::new("any").unwrap(), options)).unwrap()
        };
        let shop = state("port", Value::Integer(5432));
        for (key, value, same) in [
            ("user", text("other"), true),
            ("tables", Value::Table(Options::new()), true),
            ("port", Value::Integer(5433), false),
            ("host", text("localhost"), false),
            ("socket", text("/run/other"), false),
            ("database", text("shop2"), false),
        ] {
            let other = state(key, value);
            assert_eq!((shop.covers(&other.claim()), other.covers(&shop.claim())), (same, same), "{key}");
        }
    }
}
