//! Pushed schema files, as the server understands them.

use std::collections::BTreeSet;

use super::layout::{Part, part};
use super::recover::session_name;
use super::schema::scratch::{self, Source};
use super::schema::{Database, Model};
use super::session::Session;
use super::settings::Target;
use crate::{Error, OpId, Result, StatePath, Tree};

/// The most that the file of one object may have, in bytes.
pub(super) const LONGEST_FILE: u64 = 16 << 20;

/// The most that all of them may have together, in bytes: they are held in memory.
const LARGEST: u64 = 32 << 20;

/// The schema files of a tree.
#[derive(Debug)]
pub(super) struct SchemaFiles(Vec<(StatePath, Vec<u8>)>);

impl SchemaFiles {
    /// Reads them.
    pub fn of(tree: &dyn Tree) -> Result<Self> {
        let (mut files, mut total) = (Vec::new(), 0);
        for entry in tree.entries().iter().filter(|entry| part(&entry.path) == Some(Part::Schema)) {
            let bytes = tree.read(&entry.path, LONGEST_FILE)?;
            total += bytes.len() as u64;
            if total > LARGEST {
                let message = format!("the files of the schema have more than {} MiB together", LARGEST >> 20);
                return Err(Error::input(&entry.path, None, message));
            }
            files.push((entry.path.clone(), bytes));
        }
        Ok(SchemaFiles(files))
    }

    fn sources<'a>(&'a self, changed: &'a BTreeSet<StatePath>) -> impl Iterator<Item = Source<'a>> {
        self.0.iter().map(|(path, bytes)| Source { path, bytes, changed: changed.contains(path) })
    }

    /// Checks them without a server.
    pub fn check(&self) -> Result<()> {
        scratch::check(self.sources(&BTreeSet::new()))
    }

    /// With what the database was created, where they say it.
    pub fn database(&self) -> Result<Option<Database>> {
        scratch::database(self.sources(&BTreeSet::new()))
    }

    /// Loads them into a scratch database of the operation and reads them back. The functions of the changed ones are
    /// checked.
    pub fn load(&self, target: &Target, op: &OpId, like: &Database, changed: &BTreeSet<StatePath>) -> Result<Model> {
        let name = session_name(target, op);
        let mut maintenance = Session::maintenance(target, &name)?;
        let mut connect = |database: &str| Session::connect(target, database, &name).map(Session::into_client);
        let sources: Vec<Source<'_>> = self.sources(changed).collect();
        scratch::load(maintenance.client(), &mut connect, op, like, &sources)
    }

    /// The paths of all.
    pub fn paths(&self) -> BTreeSet<StatePath> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }
}
