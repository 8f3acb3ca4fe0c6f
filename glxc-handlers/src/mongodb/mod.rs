//! MongoDB databases as a state.
//!
//! An export writes the collections and views of one database, a file each, and their documents as row files, a document a line, as
//! [`crate::bson`] has them: every document comes back to the byte. An import compares the documents that differ with what is live, and
//! writes each under the condition that nobody else did. MongoDB 4.4 and later.
//!
//! ```no_run
//! use glxc_handlers::{Options, Registry, Settings, StatePath, Value, mongodb};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new().with("mongodb", mongodb::make);
//! let options = Options::new().with("database", Value::Text("shop".into()));
//! let settings = Settings::new("shop", StatePath::new("data/shop")?, options);
//! let handler = registry.make("mongodb", &settings)?;
//! assert!(handler.caps().database);
//! # Ok(())
//! # }
//! ```
//!
//! It keeps the promises of the conformance suite against FerretDB 2.7.0 over DocumentDB, which speaks this protocol; against MongoDB
//! itself it is untested.
//!
//! # Options
//! - `database`: its name.
//! - `socket`: the server's unix socket (`/tmp/mongodb-27017.sock`).
//! - `port`: the port of the loopback (`127.0.0.1`) where the server has one, instead of the socket.
//! - `user` and `password_file`: an account of the database `admin`, which logs in by SCRAM-SHA-256, and a file with its password, beside the
//!   server and never in the repository. Without them nobody logs in.
//! - `collections`: for patterns of names, in which `*` stands for anything, `"schema"` (the definition only; the documents stay as they
//!   are) or `"ignore"` (neither read nor dropped).
//!
//! # How much it promises
//! - An export is of no one point in time: each document is whole, and collections that come, go or change meanwhile are an error. Replica
//!   sets get the same grade as a standalone server.
//! - An import is done document by document, and done again after a crash. What the application writes between the compare and the
//!   decision declines the push; what it writes later stays, and is told. A write that changes nothing but the type of a number (1 to
//!   1.0, where the size stays the same), or one of the same size to a document of more than 7 MiB, within the milliseconds of that
//!   document's own compare and write, is not noticed.
//! - What a server refuses, alters or silently forgets (FerretDB forgets the options of collections) is found before the decision, in
//!   collections `glxc_new_<op>_<n>` of our own, and is an error by file and line.
//! - A push that exchanges values of a unique index between documents is refused; one that moves them on is not. A value that a document
//!   has which only live has keeps the pushed one out, and a pushed index that documents which only live has do not allow is not made; both
//!   are told.
//!
//! # What is an error by its name
//! Capped, clustered and time series collections, collections with encrypted fields and every other option that is not known; `system.js`;
//! collections without an index of `_id`; documents whose first field is not `_id`; sharded clusters, servers before 4.4 and those that
//! are not the primary. An import refuses to change the collation of a collection that is there. What `collections` ignores may be any
//! of these.
//!
//! Memory stays at 64 MiB and four times the largest line, but in a push of documents that differ, which takes up to seven times a line
//! that it changes.
//!
//! No server gives a cheap sign that nothing changed, so each export reads everything.
//!
//! # What it does not keep
//! Users and roles; the database itself, which a server forgets with its last collection, so that one that is gone is an empty one.

mod catalog;
mod definition;
mod edits;
mod export;
mod import;
mod kept;
mod layout;
mod scram;
mod session;
mod settings;

use crate::{
    Caps, Change, Commit, Cx, Decision, Description, Exported, Handler, Live, Record, Recorded, Recovered, Result,
    Settings, Sink, Snapshot, Staged, Tree, Unit, Ways,
};
use import::Import;
use session::Session;
use settings::Target;

/// Makes the handler of a MongoDB state from its settings.
pub fn make(settings: &Settings) -> Result<Box<dyn Handler>> {
    Ok(Box::new(Mongodb { target: Target::new(settings)? }))
}

/// One database as a state.
#[derive(Debug)]
struct Mongodb {
    target: Target,
}

impl Handler for Mongodb {
    fn caps(&self) -> Caps {
        Caps { unit: Unit::Item, commit: Commit::Redo, snapshot: Snapshot::PerItem, database: true, ways: Ways::Both }
    }

    fn place(&self) -> String {
        format!("the database {}", self.target.database)
    }

    fn claim(&self) -> String {
        format!("mongodb {:?} {}", self.target.place.claim(), self.target.database)
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<()> {
        session::wait(&self.target, cx)
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        cx.check()?;
        let there = catalog::read(&mut Session::connect(&self.target)?, &self.target.rules)?;
        Ok(if there.definitions.is_empty() { Live::Empty } else { Live::Present })
    }

    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        layout::check(base, next, &self.target.rules, cx)
    }

    fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        layout::FILES.describe(change, cx)
    }

    fn export(&self, _: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        export::export(&self.target, sink, cx)
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        layout::check(change.base.map(|base| base.tree), change.next.tree, &self.target.rules, cx)?;
        Ok(Box::new(Import::stage(&self.target, change, cx)?))
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        if decision != Decision::Commit {
            import::sweep(&self.target, change.op)?;
            return Ok(Recovered::Aborted);
        }
        import::put_back(&self.target, change, cx)?;
        let import = Box::new(Import::of(&self.target, change, cx)?);
        import.commit().map(Recovered::Committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, StatePath, Value};

    #[test]
    fn a_database_is_claimed_with_its_server() {
        let text = |text: &str| Value::Text(text.into());
        let state = |database: &str, key: &str, place: Value| {
            let options = Options::new().with("database", text(database)).with(key, place);
            make(&Settings::new("any", StatePath::new("any").unwrap(), options)).unwrap()
        };
        let shop = state("shop", "socket", text("/tmp/mongodb-27017.sock"));
        for (database, key, place, same) in [
            ("shop", "socket", text("/tmp/mongodb-27017.sock"), true),
            ("shop", "port", Value::Integer(27017), true),
            ("shop", "port", Value::Integer(27018), false),
            ("shop", "socket", text("/run/b"), false),
            ("shop2", "port", Value::Integer(27017), false),
        ] {
            let other = state(database, key, place);
            assert_eq!((shop.covers(&other.claim()), other.covers(&shop.claim())), (same, same), "{database} {key}");
        }
    }
}
