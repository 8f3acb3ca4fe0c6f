//! MariaDB and MySQL databases as a state.
//!
//! An export writes the definitions of one database, one object a file, and the rows of its tables as row files, all of one
//! point in time. An import applies the rows that differ in one transaction, row by row with compare and swap. Definitions are
//! no part of a transaction there: where they differ, where rows of a table with triggers do, and for a first import,
//! everything is loaded beside the live tables, and takes their place once these are locked and are what base has, whole.
//! MariaDB 10.6 and later, or MySQL 9.7 and later, as a user with all privileges. The two are different databases: what one
//! wrote, the other refuses.
//!
//! ```no_run
//! use glxc_handlers::{Options, Registry, Settings, StatePath, Value, mysql};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new().with("mysql", mysql::make);
//! let options = Options::new().with("database", Value::Text("shop".into()));
//! let settings = Settings::new("shop", StatePath::new("data/shop")?, options);
//! let handler = registry.make("mysql", &settings)?;
//! assert!(handler.caps().database);
//! # Ok(())
//! # }
//! ```
//!
//! It keeps the promises of the conformance suite against MariaDB 10.11 and 11.8 and MySQL 9.7, but that several transactions
//! can be prepared to commit together: rows that differ can, and a load that replaces no table; another load can not.
//!
//! # Options
//! - `database`: its name.
//! - `socket`: the server's unix socket (`/run/mysqld/mysqld.sock`), `user` (`root`, who logs in by being root).
//! - `password_file`: a file with the password, beside the server and never in the repository.
//! - `tables`: patterns of names, in which `*` stands for anything, each with `"schema"` (the definition only; an import keeps
//!   the live rows), `"ignore"` (neither read nor dropped) or `{ ignore = ["column"] }`.
//!
//! # What is an error by its name
//! An export refuses what it would lose: tables of another engine than InnoDB, sequences, system versioning, packages,
//! libraries, aggregate functions, tables in a tablespace of the server's own, views that are not valid or, in MariaDB, whose
//! definer is gone, compressed columns, types of columns that it does not know, foreign keys to or from another database, a
//! comment, the encryption or READ ONLY of the database, JSON values of MySQL with a part (a date, a DECIMAL) whose type their
//! text does not tell, definitions written under another collation of the database or, unless they are ASCII, in another
//! character set than Unicode, and definitions of tables and views with a `?`, for which the server may have a character that
//! it does not print. An import refuses to change rows of tables with triggers that are in no file, since they would act again,
//! and to do what takes more than one transaction (a load that replaces tables: a change of definitions, or of rows of a table
//! with triggers) together with other databases.
//!
//! Memory stays at 64 MiB and four times the largest row, but in a push of rows that differ, which takes up to five times a row
//! that it changes.
//!
//! # What it does not keep
//! Accounts, grants and everything else of the server that is in no database, and what it counted of values (histograms). The
//! sign of a zero in FLOAT and DOUBLE, in MariaDB. When an event last acted. A load that replaces live tables needs live to be
//! what base has, rows included, reads all of them while they are locked, and between the old tables and the new ones there are
//! none for a moment; it is declined where an application writes all the time. A load takes rows that violate a foreign key or,
//! in MariaDB, a check, as older servers have them, and says how many have no parent. An event whose time is over when it is
//! loaded is gone, which is told, or disabled where it is to be preserved; and events are not held while the tables are
//! replaced.

mod catalog;
mod differential;
mod export;
mod foreign_keys;
mod increments;
mod layout;
mod load;
mod product;
mod recover;
mod schema;
mod session;
mod settings;
mod sql;
mod table;
mod value;
mod write;

use crate::engine::Rules;
use crate::{
    Caps, Change, Commit, Committed, Cx, Decision, Description, Error, Exported, Fingerprint, Handler, Live, OpId,
    Record, Recorded, Recovered, Result, Settings, Sink, Snapshot, Staged, Tree, Unit, Ways,
};
use differential::Differential;
use layout::{FILES, Part, part};
use load::Load;
use schema::Schema;
use session::Session;
use settings::Target;

/// Makes the handler of a MariaDB or MySQL state from its settings.
pub fn make(settings: &Settings) -> Result<Box<dyn Handler>> {
    Ok(Box::new(Mysql { target: Target::new(settings)? }))
}

/// One database as a state.
#[derive(Debug)]
struct Mysql {
    target: Target,
}

impl Mysql {
    /// A table with triggers whose rows differ: written row by row they would act again.
    fn triggered(&self, change: &Change<'_>) -> Result<Option<String>> {
        let folders = FILES.rows_folders(change.differs);
        let base_rules = change.base.map(|base| Rules::of(base.options)).transpose()?.unwrap_or_default();
        for name in Schema::with_triggers(change.next.tree)? {
            let is_managed = [&self.target.rules, &base_rules].iter().all(|rules| rules.has_rows(&[&name]));
            if is_managed && folders.contains(&table::folder(&name)?) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl Handler for Mysql {
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
        format!("mysql {:?} {}", self.target.socket, self.target.database)
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<()> {
        session::wait(&self.target, cx)
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        cx.check()?;
        let mut session = match Session::live(&self.target) {
            Err(Error::Gone { .. }) => return Ok(Live::Absent),
            session => session?,
        };
        Ok(if catalog::is_empty(&mut session, &self.target.database)? { Live::Empty } else { Live::Present })
    }

    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        layout::check(base, next, cx)
    }

    fn fingerprint(&self, cx: &Cx<'_>) -> Result<Option<Fingerprint>> {
        cx.check()?;
        match export::fingerprint(&self.target) {
            Err(Error::Gone { .. }) => Ok(None),
            fingerprint => fingerprint.map(Some),
        }
    }

    fn export(&self, _: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        export::export(&self.target, sink, cx)
    }

    fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        FILES.describe(change, cx)
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        let is_schema = |path| part(path) == Some(Part::Schema);
        let whole = change.replace || change.base.is_none() || change.differs.iter().any(|d| is_schema(&d.path));
        let triggered = if whole { None } else { self.triggered(change)? };
        match whole || triggered.is_some() {
            true => Ok(Box::new(Load::stage(&self.target, change, triggered, cx)?)),
            false => Ok(Box::new(Differential::stage(&self.target, change, cx)?)),
        }
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        let (mut session, marked) = recover::settle(&self.target, change.op, decision, cx)?;
        let happened = marked && !load::is_untouched(&mut session, &self.target, change.op)?;
        match (happened, decision) {
            (true, _) => {
                load::finish(&mut session, &self.target, change, &Schema::of(change.next.tree, cx)?)?;
                differential::finish(&mut session, &self.target, change, cx)?;
                Ok(Recovered::Committed(Committed::default()))
            }
            (false, _) => {
                recover::clear(&mut session, &self.target, change.op)?;
                recover::drop_new(&mut session, &self.target, change.op)?;
                drop(session);
                if decision != Decision::Commit {
                    return Ok(Recovered::Aborted);
                }
                // Another state of the same push has committed, and this one lost its transaction: do it again.
                let mut staged = self.stage(change, cx)?;
                staged.lock()?;
                staged.commit().map(Recovered::Committed)
            }
        }
    }

    fn clear(&self, op: &OpId, cx: &Cx<'_>) -> Result<()> {
        cx.check()?;
        recover::clear(&mut Session::connect(&self.target)?, &self.target, op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, StatePath, Value};

    #[test]
    fn a_database_is_claimed_with_its_server() {
        let text = |text: &str| Value::Text(text.into());
        let state = |key: &str, value: &str| {
            let options = Options::new().with("database", text("shop")).with(key, text(value));
            make(&Settings::new("any", StatePath::new("any").unwrap(), options)).unwrap()
        };
        let shop = state("user", "root");
        for (key, value, same) in
            [("user", "other", true), ("socket", "/run/other", false), ("database", "shop2", false)]
        {
            let other = state(key, value);
            assert_eq!((shop.covers(&other.claim()), other.covers(&shop.claim())), (same, same), "{key}");
        }
    }
}
