//! The import of a whole state: loaded into a database beside the live one, which then takes the name.
//!
//! So nothing is visible, and no lock of the application is taken, however long the load takes; and the change itself is a
//! rename of two databases in one transaction. What the application writes to the live one meanwhile is noticed, and declines
//! the push: see [`There`].

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use super::apply::insert_target;
use super::layout::{Part, part};
use super::recover::{
    done_schema, drop_database, drop_new, keep_roles, make_roles, new_database, old_database, require_prepared,
    session_name,
};
use super::schema::{self, Database, Model};
use super::schema_files::SchemaFiles;
use super::session::{LOCK_TIMEOUT, Session, Watch, code, failed_io, server_error};
use super::settings::Target;
use super::sql::{ident, list, literal};
use super::staging::input;
use super::table::{self, RowTable, row_tables};
use super::{copy, definition, sequences, snapshot};
use crate::engine::Rules;
use crate::failpoint::point;
use crate::rows::{Limits, Reader};
use crate::{Change, Committed, Cx, Error, Record, Result, Staged, StatePath, Tree};

/// What a load replaces.
#[derive(Debug, PartialEq, Eq)]
enum There {
    /// No database of that name.
    Absent,
    /// One that holds nothing.
    Empty,
    /// One that holds something, with a sign that moves with every write: the server's counts of rows written, its catalogs'
    /// included, and the values of sequences. It may move without one, by an ANALYZE.
    Held(Vec<String>),
}

/// How many sessions the live database has had, by its object id.
#[derive(Debug, Default, PartialEq, Eq)]
struct Visits {
    database: Option<String>,
    count: String,
}

impl There {
    fn of(live: &mut Session) -> Result<There> {
        if !live.holds("look for objects", super::NOT_EMPTY)? {
            return Ok(There::Empty);
        }
        if !live.holds("look at a setting", "SELECT current_setting('track_counts')::bool")? {
            let what = "to replace a database whose server does not count writes (track_counts = off)";
            return Err(Error::Unsupported { what: what.into() });
        }
        let sql = "SELECT concat_ws(' ', tup_inserted, tup_updated, tup_deleted, stats_reset) FROM pg_stat_database \
                   WHERE datname = current_database() \
                   UNION ALL (SELECT format('%I.%I %s', schemaname, sequencename, last_value) FROM pg_sequences ORDER BY 1)";
        live.column("look for writes", sql).map(There::Held)
    }
}

/// A loaded database that waits for its name.
#[derive(Debug)]
pub(super) struct Load<'a> {
    target: &'a Target,
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
    /// What its sessions are called.
    name: String,
    maintenance: Session,
    /// What is to be replaced, as it was when everything was loaded.
    there: There,
    /// In the new database, with the load's transaction open.
    session: Option<Session>,
    /// The name of the prepared transaction, once it is.
    prepared: Option<String>,
    /// The new database has its name, or nothing is left of it.
    settled: bool,
}

impl<'a> Load<'a> {
    /// Creates the database and loads everything.
    pub fn stage(target: &'a Target, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        let name = session_name(target, change.op);
        let maintenance = Session::maintenance(target, &name)?;
        let files = SchemaFiles::of(change.next.tree)?;
        let recorded = files.database()?;
        let (session, prepared, there, settled) = (None, None, There::Absent, false);
        let mut load = Load { target, change, cx, name, maintenance, there, session, prepared, settled };
        if change.prepare {
            require_prepared(&mut load.maintenance)?;
        }
        load.refuse_loss()?;
        let database = load.like(recorded)?;
        let model = files.load(target, change.op, &database, &files.paths())?;
        let new = new_database(target, change.op);
        load.maintenance.run(&format!("create database {new}"), &database.create(&new))?;
        point("postgresql created")?;
        let mut session = Session::connect(target, &new, &load.name)?;
        let there = definition::read(&mut session, target)?.cluster_roles;
        make_roles(&mut load.maintenance, change.op, model.roles.difference(&there))?;
        let watch = Watch::new(&session, cx);
        fill(&mut session, target, change, &model, cx).map_err(|error| Watch::explain(error, cx))?;
        drop(watch);
        let done = format!("CREATE SCHEMA {}", ident(&done_schema(change.op)));
        session.run("mark the transaction", &done)?;
        load.there = load.look()?;
        point("postgresql loaded")?;
        load.session = Some(session);
        Ok(load)
    }

    /// With what the database is created: as recorded, else as the empty one that is there, else as the server's own. An
    /// empty one that was made otherwise is not replaced without a question.
    fn like(&mut self, recorded: Option<Database>) -> Result<Database> {
        let there = self.empty_database()?;
        match (recorded, there) {
            (Some(recorded), Some(there)) if self.change.base.is_none() && !recorded.is_like(&there) => {
                let message = format!(
                    "is there, empty, with {there}, and recorded with {recorded}: drop it, or make it as recorded"
                );
                Err(Error::option("database", message))
            }
            (Some(database), _) | (None, Some(database)) => Ok(database),
            (None, None) => definition::read_database(&mut self.maintenance),
        }
    }

    /// With what the database was created, where it is there and holds nothing.
    fn empty_database(&mut self) -> Result<Option<Database>> {
        let Some(mut live) = self.enter()? else { return Ok(None) };
        match There::of(&mut live)? {
            There::Empty => definition::read_database(&mut live).map(Some),
            _ => Ok(None),
        }
    }

    /// A session in the live database, if that is there.
    fn enter(&mut self) -> Result<Option<Session>> {
        match self.maintenance.has_database(&self.target.database)? {
            true => Session::connect(self.target, &self.target.database, &self.name).map(Some),
            false => Ok(None),
        }
    }

    /// What is to be replaced, as it is now.
    fn look(&mut self) -> Result<There> {
        self.enter()?.map_or(Ok(There::Absent), |mut live| There::of(&mut live))
    }

    /// Refuses to replace live rows that the files never held.
    fn refuse_loss(&mut self) -> Result<()> {
        let Some(mut live) = self.enter()? else { return Ok(()) };
        for (schema, table) in snapshot::tables(&mut live)? {
            let Some(_) = self.target.rules.rule(&[&schema, &table]) else { continue };
            let qualified = super::sql::qualified(&schema, &table);
            let sql = format!("SELECT EXISTS (SELECT FROM ONLY {qualified})");
            if live.holds(&format!("look into {qualified}"), &sql)? {
                let message = format!(
                    "the files do not hold all of the rows of {schema}.{table}, and replacing the database would lose them; \
                     take the rule out or empty the table"
                );
                return Err(Error::option("tables", message));
            }
        }
        Ok(())
    }

    /// Compares the live database as far as the server has counted by now, so that nobody's session is ended for a load that
    /// is declined anyway. What open sessions keep to themselves for some seconds is found by [`Load::unchanged`].
    fn decline_early(&mut self) -> Result<()> {
        if self.look()? == self.there { Ok(()) } else { Err(self.changed()) }
    }

    /// Compares the live database, once everybody's session in it is ended. `None` where somebody is connected still.
    fn unchanged(&mut self) -> Result<Option<Visits>> {
        let Some(mut live) = self.enter()? else {
            return if self.there == There::Absent { Ok(Some(Visits::default())) } else { Err(self.changed()) };
        };
        const OTHERS: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                              AND pid <> pg_backend_pid())";
        if live.holds("look for other sessions", OTHERS)? {
            return Ok(None);
        }
        // What a session has written is counted once it has ended, so it is now that nothing can be missed.
        if There::of(&mut live)? != self.there {
            return Err(self.changed());
        }
        if live.version < 150_000 {
            // Sessions are counted late there, if at all.
            return Ok(Some(Visits::default()));
        }
        live.run("count this session", "SELECT pg_stat_force_next_flush()")?;
        let id =
            live.value("ask for the database", "SELECT oid FROM pg_database WHERE datname = current_database()")?;
        self.visits(&id).map(Some)
    }

    fn visits(&mut self, database: &str) -> Result<Visits> {
        let sql = format!("SELECT pg_stat_get_db_sessions({})", literal(database));
        let count = self.maintenance.value("count sessions", &sql)?;
        Ok(Visits { database: Some(database.to_owned()), count })
    }

    fn changed(&self) -> Error {
        Error::Changed { first: vec![format!("database {}", self.target.database.escape_debug())], total: 1 }
    }

    /// One try to give the databases their names; `false` where somebody is, or was, connected to one of them.
    fn rename(&mut self) -> Result<bool> {
        let (name, new, old) = (
            self.target.database.as_str(),
            new_database(self.target, self.change.op),
            old_database(self.target, self.change.op),
        );
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({}, {}) AND pid <> pg_backend_pid()",
            literal(name),
            literal(&new)
        );
        self.maintenance.column("end the sessions of the database", &end)?;
        let Some(visits) = self.unchanged()? else { return Ok(false) };
        self.maintenance.run("begin", "BEGIN")?;
        let mut renames = vec![(new, name.to_owned())];
        if self.maintenance.has_database(name)? {
            renames.insert(0, (name.to_owned(), old));
        }
        for (from, to) in renames {
            let rename = format!("ALTER DATABASE {} RENAME TO {}", ident(&from), ident(&to));
            match self.maintenance.run(&format!("rename database {from}"), &rename) {
                Err(error) if code(&error) == Some(&SqlState::OBJECT_IN_USE) => {
                    self.maintenance.run("roll back", "ROLLBACK")?;
                    return Ok(false);
                }
                other => other?,
            }
        }
        // Nobody can connect any more. Who did before, after the compare, has ended by now, and is counted.
        let now = visits.database.as_ref().map(|database| self.visits(database)).transpose()?;
        let alone = now.is_none_or(|now| now == visits);
        if !alone {
            self.maintenance.run("roll back", "ROLLBACK")?;
        }
        Ok(alone)
    }

    fn clean(&mut self) -> Result<()> {
        self.settled = true;
        self.session = None;
        match self.prepared.take() {
            Some(name) => self.maintenance.run("roll back what is prepared", &format!("ROLLBACK PREPARED {name}"))?,
            None => self.maintenance.run("roll back", "ROLLBACK")?,
        }
        drop_new(&mut self.maintenance, self.target, self.change.op)
    }
}

impl Staged for Load<'_> {
    fn lock(&mut self) -> Result<Record> {
        let start = Instant::now();
        self.decline_early()?;
        if let Some(mut session) = self.session.take() {
            session.run("commit the loaded database", "COMMIT")?;
        }
        while !self.rename()? {
            self.cx.check()?;
            if start.elapsed() > LOCK_TIMEOUT {
                return Err(Error::Timeout {
                    what: "the end of the database's sessions".into(),
                    after: start.elapsed(),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
        point("postgresql renamed")?;
        Ok(Record::default())
    }

    fn prepare(&mut self) -> Result<()> {
        let name = literal(&session_name(self.target, self.change.op));
        self.maintenance.run("prepare the transaction", &format!("PREPARE TRANSACTION {name}"))?;
        self.prepared = Some(name);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        // Whatever happens from here on, `recover` has to say what came of it.
        self.settled = true;
        match self.prepared.take() {
            Some(name) => self.maintenance.run("commit what is prepared", &format!("COMMIT PREPARED {name}"))?,
            None => self.maintenance.run("commit", "COMMIT")?,
        }
        let mut notes = Vec::new();
        if let Err(error) = keep_roles(&mut self.maintenance, self.change.op) {
            notes.push(format!("the roles that were made still have their mark: {error}"));
        }
        if let Err(error) = drop_database(&mut self.maintenance, &old_database(self.target, self.change.op)) {
            notes.push(format!("the replaced database is still there: {error}"));
        }
        Ok(Committed { notes })
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        self.clean()
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        if !self.settled
            && let Err(error) = self.clean()
        {
            tracing::warn!(%error, "a database of an aborted import is left");
        }
    }
}

/// Creates and loads everything in an empty database, in a transaction that stays open.
fn fill(session: &mut Session, target: &Target, change: &Change<'_>, model: &Model, cx: &Cx<'_>) -> Result<()> {
    let tree = change.next.tree;
    let empty = definition::read(session, target)?;
    let plan = schema::plan_touching(&empty, model, &BTreeSet::new())?;
    session.run("begin", "BEGIN; SET LOCAL session_replication_role = replica")?;
    plan.before_rows.iter().try_for_each(|statement| definition::run(session, statement))?;
    load_rows(session, &target.rules, model, tree, cx)?;
    for statement in &plan.after_rows {
        definition::run(session, statement).map_err(|error| located(error, tree))?;
    }
    load_sequences(session, model, tree)?;
    definition::reached(session, target, &definition::files(model)?)
}

fn load_rows(session: &mut Session, rules: &Rules, model: &Model, tree: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
    let mut folders = BTreeSet::new();
    for entry in tree.entries() {
        if let Some(Part::Rows(folder)) = part(&entry.path) {
            folders.insert(folder);
        }
    }
    for table in row_tables(model, rules)? {
        let folder = table.folder()?;
        folders.remove(&folder);
        load_table(session, model, &table, &folder, tree, cx)?;
    }
    match folders.into_iter().next() {
        None => Ok(()),
        Some(folder) => {
            let first = tree.within(&folder).first().map_or(&folder, |entry| &entry.path);
            Err(Error::input(first, None, "the pushed schema has no such table, or `tables` leaves its rows out"))
        }
    }
}

fn load_table(
    session: &mut Session, model: &Model, table: &RowTable<'_>, folder: &StatePath, tree: &dyn Tree, cx: &Cx<'_>,
) -> Result<()> {
    let mut reader = Reader::new(tree, folder, Limits::default())?;
    let Some(header) = reader.header().cloned() else {
        return Err(Error::input(folder, None, table::missing_rows(table.table)));
    };
    let first = tree.within(folder).first().map_or(folder, |entry| &entry.path);
    table::check_header(table.table, &header).map_err(|message| Error::input(first, 1, message))?;
    let columns = list(&header.columns, |name| ident(name));
    let columns = if header.columns.is_empty() { String::new() } else { format!(" ({columns})") };
    let to = insert_target(model, table.table);
    // The rows of a table that this transaction created need not wait for a vacuum.
    let freeze = if to == table.table.qualified { " WITH (FREEZE)" } else { "" };
    let context = format!("load {}", table.table.qualified);
    cx.progress.begin(&table.table.qualified, None);
    let mut sent = 0;
    let copied = copy::into(session, &context, &format!("COPY {to}{columns} FROM STDIN{freeze}"), |out| {
        while let Some(line) = reader.next()? {
            copy::check_end(line.bytes).map_err(|message| Error::input(line.file, line.number, message))?;
            let written = out.write_all(line.bytes).and_then(|()| out.write_all(b"\n"));
            written.map_err(failed_io(context.clone()))?;
            sent += 1;
            if sent % 4096 == 0 {
                cx.check()?;
                cx.progress.advance(sent);
            }
        }
        Ok(())
    });
    cx.progress.end();
    copied.map_err(|error| {
        let words = server_error(&error).map(|db| db.message().to_owned());
        match (copy::failed_row(&error), words) {
            (Some(row), Some(words)) => at(tree, folder, row, words, error),
            _ => error,
        }
    })
}

/// An error at the place of the row that was sent as number `row`.
fn at(tree: &dyn Tree, folder: &StatePath, row: u64, message: String, cause: Error) -> Error {
    let find = || -> Result<Option<(StatePath, u64)>> {
        let mut reader = Reader::new(tree, folder, Limits::default())?;
        let mut number = 0;
        while let Some(line) = reader.next()? {
            number += 1;
            if number == row {
                return Ok(Some((line.file.clone(), line.number)));
            }
        }
        Ok(None)
    };
    match find() {
        Ok(Some((file, line))) => input(file, line, message, Some(cause)),
        Ok(None) => cause,
        Err(error) => error,
    }
}

/// A violation of a key, with the first line that has the key that the server names: `Key (a, b)=(1, x) is not present`.
fn located(error: Error, tree: &dyn Tree) -> Error {
    let Error::Violation { message, source } = error else { return error };
    let place = || -> Option<String> {
        let db = source.as_ref()?.downcast_ref::<Error>().and_then(server_error)?;
        let folder = table::folder(db.schema()?, db.table()?).ok()?;
        let (columns, values) = db.detail()?.strip_prefix("Key (")?.split_once(")=(")?;
        let columns: Vec<&str> = columns.split(", ").map(|name| name.trim_matches('"')).collect();
        let mut reader = Reader::new(tree, &folder, Limits::default()).ok()?;
        let header = reader.header()?.clone();
        let at = |name: &&str| header.columns.iter().position(|column| column == name);
        let at: Vec<usize> = columns.iter().map(at).collect::<Option<_>>()?;
        while let Some(line) = reader.next().ok()? {
            let fields: Vec<&[u8]> = line.bytes.split(|b| *b == b'\t').collect();
            let value = |at: &usize| copy::unescape(fields[*at]);
            let key = at.iter().map(value).collect::<Option<Vec<_>>>().map(|key| key.join(", ") + ")");
            if key.is_some_and(|key| values.starts_with(&key)) {
                return Some(format!("{}:{}: ", line.file, line.number));
            }
        }
        None
    };
    let message = place().unwrap_or_default() + &message;
    Error::Violation { message, source }
}

fn load_sequences(session: &mut Session, model: &Model, tree: &dyn Tree) -> Result<()> {
    let mut reader = Reader::new(tree, &sequences::folder()?, Limits::default())?;
    while let Some(line) = reader.next()? {
        let bad = |message: &str| Error::input(line.file, line.number, message);
        let entry = sequences::parse(line.bytes).ok_or_else(|| bad("not the value of a sequence"))?;
        let here = |sequence: &&schema::Sequence| sequence.schema == entry.schema && sequence.name == entry.name;
        let sequence = model.sequences.values().find(here);
        let sequence = sequence.ok_or_else(|| bad("the pushed schema has no such sequence"))?;
        sequences::set(session, sequence, entry.position)?;
    }
    Ok(())
}
