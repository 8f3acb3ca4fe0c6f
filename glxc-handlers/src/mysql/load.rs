//! The import of a whole state: loaded into a database beside the live one, whose tables then take their place.
//!
//! Definitions are no part of a transaction here, so a change of them is made so too: everything is loaded anew, and takes the
//! place of the live tables while these are locked and, row by row, what base has. What happens behind the mark of the operation
//! is finished by whoever comes next: the tables move by one RENAME, which a crash does not halve, and everything else is
//! made again from the files.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::Instant;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::catalog::{self, Model};
use super::layout::{Part, part};
use super::product::Product;
use super::schema::{Database, Kind, Object, Schema};
use super::session::{Session, as_timeout, code, words};
use super::settings::Target;
use super::sql::{ident, list, literal, qualified, without_implied_collations};
use super::table::Table;
use super::write::Inserter;
use super::{export, foreign_keys, increments, recover};
use crate::engine::Rules;
use crate::failpoint::point;
use crate::rows::{Limits, Reader};
use crate::{Change, Committed, Cx, Error, Mode, OpId, Record, Result, Sink, Staged, StatePath, Tree, names};

/// Says that the tables have not moved yet: it is renamed with them.
const PENDING: &str = "glxc_pending";
/// The live tables that go, by name.
const OLD: &str = "glxc_old";

/// Files by what they hold.
type Hashes = BTreeMap<StatePath, u128>;

/// A loaded database whose tables wait for their place.
#[derive(Debug)]
pub(super) struct Load<'a> {
    target: &'a Target,
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
    session: Session,
    schema: Schema,
    /// What live must be when it is replaced; `None` where it is missing.
    wanted: Option<Hashes>,
    /// Holds the locks of the live tables.
    guard: Option<(Session, Vec<String>)>,
    notes: Vec<String>,
    settled: bool,
}

impl<'a> Load<'a> {
    /// Creates the database and loads everything; where only rows differ, since a table of this name has triggers.
    pub fn stage(
        target: &'a Target, change: &'a Change<'a>, triggered: Option<String>, cx: &'a Cx<'a>,
    ) -> Result<Self> {
        let mut schema = Schema::of(change.next.tree, cx)?;
        schema.objects.retain(|object| object.kind != Kind::Table || !target.rules.ignores(&[&object.name]));
        let mut session = match change.base.filter(|_| !change.replace) {
            Some(_) => Session::live(target)?,
            None => Session::connect(target)?,
        };
        Database::require(change.next.tree, session.product)?;
        recover::begin(&mut session, target, change.op)?;
        let (wanted, guard, settled) = Default::default();
        let note = |name| format!("{name} has triggers, which would act again: the whole database is loaded anew");
        let notes = triggered.map(note).into_iter().collect();
        let mut load = Load { target, change, cx, session, schema, wanted, guard, notes, settled };
        load.check_empty()?;
        load.refuse_lost_grants()?;
        load.refuse_lost_rows()?;
        if let Some(base) = change.base.filter(|_| !change.replace) {
            load.wanted = Some(hashes(base.tree, &target.rules, cx)?);
            load.compare_early()?;
        }
        load.fill()?;
        if load.wanted.is_none() {
            load.wanted = look(target, cx)?;
        }
        Ok(load)
    }

    /// An empty database that was made otherwise than recorded is not replaced without a question.
    fn check_empty(&mut self) -> Result<()> {
        let name = &self.target.database;
        if self.change.base.is_some()
            || !self.session.has_database(name)?
            || !catalog::is_empty(&mut self.session, name)?
        {
            return Ok(());
        }
        let there = catalog::read(&mut self.session, name, &self.target.rules)?.database;
        match there == self.schema.database {
            true => Ok(()),
            false => {
                let (there, recorded) = (there.options(), self.schema.database.options());
                let message = format!(
                    "is there, empty, with {there}, and recorded with {recorded}: drop it, or make it as recorded"
                );
                Err(Error::option("database", message))
            }
        }
    }

    /// A routine that is made again has none of the grants on it.
    fn refuse_lost_grants(&mut self) -> Result<()> {
        let name = &self.target.database;
        let sql = format!("SELECT Routine_name FROM mysql.procs_priv WHERE Db = {} LIMIT 1", literal(name));
        match self.session.texts("look for grants on routines", &sql)?.first() {
            None => Ok(()),
            Some(row) => {
                let what = format!(
                    "to replace the database {name} or to change its definitions, since that would take the grants on its \
                     routine {}; revoke them, and grant them again behind the push",
                    row[0]
                );
                Err(Error::Unsupported { what })
            }
        }
    }

    /// Refuses to replace live rows that the files never held.
    fn refuse_lost_rows(&mut self) -> Result<()> {
        let live = &self.target.database;
        if !self.session.has_database(live)? {
            return Ok(());
        }
        let model = catalog::read(&mut self.session, live, &self.target.rules)?;
        let replaced = self.replaced(&model)?;
        lost_rows(&mut self.session, &model, &replaced)
    }

    /// The live tables that are replaced. What only has its definition in the files stays, where that is the same.
    fn replaced(&self, live: &Model) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for table in live.tables.values() {
            let of = |objects: &[Object]| {
                objects.iter().find(|object| object.kind == Kind::Table && object.name == table.name).map(Object::text)
            };
            if table.has_rows || of(&live.objects) != of(&self.schema.objects) {
                names.push(table.name.clone());
            }
        }
        Ok(names)
    }

    /// Declines what is not what base has before everything is loaded for nothing.
    fn compare_early(&mut self) -> Result<()> {
        let live = look(self.target, self.cx)?.unwrap_or_default();
        self.wanted.as_ref().map_or(Ok(()), |wanted| compare(wanted, &live))
    }

    fn fill(&mut self) -> Result<()> {
        let new = recover::new_database(self.target, self.change.op);
        let create = format!("CREATE DATABASE {} {}", ident(&new), self.schema.database.options());
        self.session.run(&format!("create database {new}"), &create)?;
        point("mysql created")?;
        self.session.enter(&new)?;
        let checks = self.session.product.checks();
        self.session
            .run("set up the session", &format!("SET {}", list(checks, |name| format!("SESSION {name} = 0"))))?;
        for table in self.schema.of_kind(Kind::Table) {
            create_object(&mut self.session, table)?;
        }
        let model = catalog::read(&mut self.session, &new, &self.target.rules)?;
        self.load_rows(&model)?;
        self.set_increments(&model)?;
        create_others(&mut self.session, &self.schema)?;
        // What they do may reach beyond this database.
        for event in self.schema.of_kind(Kind::Event) {
            create_object(&mut self.session, &event.at_rest())?;
        }
        let model = catalog::read(&mut self.session, &new, &self.target.rules)?;
        self.check_read_back(&model)?;
        self.notes.extend(foreign_keys::notes(&mut self.session, &new, &model)?);
        drop_others(&mut self.session, &new, &self.target.rules)?;
        self.session
            .run("set up the session", &format!("SET {}", list(checks, |name| format!("SESSION {name} = 1"))))?;
        let marks = format!("CREATE TABLE {PENDING} (x int) ENGINE=InnoDB");
        self.session.run("mark the new tables", &marks)?;
        let old =
            format!("CREATE TABLE {OLD} (name varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) ENGINE=InnoDB");
        self.session.run("make a list of the old tables", &old)?;
        point("mysql loaded")
    }

    /// What was created must be what the files say, to the letter.
    fn check_read_back(&mut self, model: &Model) -> Result<()> {
        let files = model.files()?;
        for object in &self.schema.objects {
            let path = object.path()?;
            match files.get(&path) {
                Some(text) if *text == object.at_rest().text() => {}
                None if object.kind == Kind::Event => {
                    let name = &object.name;
                    self.notes.push(format!("event {name}: its time is over, so the server does not keep it"));
                }
                Some(text) => {
                    let message = format!("the server prints it otherwise; write it so:\n{text}");
                    return Err(Error::input(&path, None, message));
                }
                None => return Err(Error::input(&path, None, "it created something else")),
            }
        }
        match files.keys().find(|path| self.change.next.tree.entry(path).is_none()) {
            Some(path) => Err(Error::input(path, None, "is missing, and was created by another file")),
            None if model.database == self.schema.database => Ok(()),
            None => {
                Err(Error::input(&Database::path()?, 1, format!("the server takes it as {}", model.database.options())))
            }
        }
    }

    fn load_rows(&mut self, model: &Model) -> Result<()> {
        let tree = self.change.next.tree;
        for entry in tree.entries() {
            if let Some(Part::Rows(folder)) = part(&entry.path)
                && model.table_of(&folder)?.is_none()
                && is_managed(&entry.path, &self.target.rules)
            {
                return Err(Error::input(&entry.path, None, "the pushed schema has no such table"));
            }
        }
        self.session.run("set up the session", "SET SESSION autocommit = 0")?;
        for table in model.tables.values().filter(|table| table.has_rows) {
            let folder = table.folder()?;
            let mut reader = Reader::new(tree, &folder, Limits::default())?;
            let first = tree.within(&folder).first().map_or(&folder, |entry| &entry.path);
            check_header(reader.header(), table, first)?;
            self.cx.progress.begin(&table.name, None);
            let mut rows = Inserter::new(table, &ident(&table.name));
            let mut done = 0;
            while let Some(line) = reader.next()? {
                rows.add(&mut self.session, line.bytes, line.file, line.number)?;
                done += 1;
                if done % 1000 == 0 {
                    self.cx.check()?;
                    self.cx.progress.advance(done);
                }
            }
            rows.finish(&mut self.session)?;
            self.session.run("commit the loaded rows", "COMMIT")?;
            self.cx.progress.end();
            self.cx.check()?;
        }
        self.session.run("set up the session", "SET SESSION autocommit = 1")
    }

    fn set_increments(&mut self, model: &Model) -> Result<()> {
        let new = recover::new_database(self.target, self.change.op);
        for (table, (next, file, line)) in increments::read(self.change.next.tree, self.cx)? {
            if !self.target.rules.has_rows(&[&table]) {
                continue;
            }
            if model.tables.get(&table).is_none_or(|table| table.auto_increment.is_none()) {
                return Err(Error::input(&file, line, "the pushed schema has no such table with such a column"));
            }
            increments::set(&mut self.session, &new, &table, next)?;
        }
        Ok(())
    }

    /// Locks every live table, and compares all of them.
    fn take(&mut self) -> Result<()> {
        let Some(wanted) = &self.wanted else {
            return match self.session.has_database(&self.target.database)? {
                false => Ok(()),
                true => Err(changed(["the database, which was missing".to_owned()])),
            };
        };
        let mut guard = Session::live(self.target)?;
        recover::hold(&mut guard, &recover::guard_name(self.target, self.change.op))?;
        let before = catalog::read(&mut self.session, &self.target.database, &self.target.rules)?;
        let names = self.replaced(&before)?;
        if !names.is_empty() {
            let tables = list(&names, |name| format!("{} WRITE", ident(name)));
            guard.run("lock the tables of the database", &format!("LOCK TABLES {tables}"))?;
        }
        let model = catalog::read(&mut self.session, &self.target.database, &self.target.rules)?;
        if model.tables.keys().ne(before.tables.keys()) || self.replaced(&model)? != names {
            return Err(changed(["the tables of the database".to_owned()]));
        }
        lost_rows(&mut guard, &model, &names)?;
        compare(wanted, &look_at(&mut guard, &model, self.cx)?)?;
        let new = recover::new_database(self.target, self.change.op);
        for name in &names {
            let sql = format!("INSERT INTO {} VALUES ({})", qualified(&new, OLD), literal(name));
            self.session.run("make a list of the old tables", &sql)?;
        }
        for name in model.tables.keys().filter(|name| !names.contains(name)) {
            let sql = format!("DROP TABLE IF EXISTS {}", qualified(&new, name));
            self.session.run(&format!("leave {name} as it is"), &sql)?;
        }
        self.guard = Some((guard, names));
        self.keep_increments(&model)
    }

    /// No number that the application was given may be given out again.
    fn keep_increments(&mut self, live: &Model) -> Result<()> {
        let Some(base) = self.change.base.filter(|_| !self.change.replace) else { return Ok(()) };
        let (base, pushed) = (increments::read(base.tree, self.cx)?, increments::read(self.change.next.tree, self.cx)?);
        let new = recover::new_database(self.target, self.change.op);
        for (table, (next, ..)) in pushed {
            let there = live.tables.get(&table).and_then(|table| table.auto_increment);
            let base = base.get(&table).map(|(next, ..)| *next);
            if !self.target.rules.has_rows(&[&table]) {
                continue;
            }
            if let Some(there) =
                there.map(|there| increments::merged(base, there, next)).filter(|wanted| *wanted != next)
            {
                increments::set(&mut self.session, &new, &table, there)?;
            }
        }
        Ok(())
    }

    fn clean(&mut self) -> Result<()> {
        self.settled = true;
        self.guard = None;
        recover::drop_new(&mut self.session, self.target, self.change.op)
    }
}

impl Staged for Load<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.cx.check()?;
        let start = Instant::now();
        self.take().map_err(|error| as_timeout(error, start))?;
        self.cx.check()?;
        Ok(Record::default())
    }

    /// What replaces nothing is done again by whoever finds it undone. Otherwise nothing would hold the locks when this process
    /// dies: they belong to its session, and not to a transaction that can be prepared.
    fn prepare(&mut self) -> Result<()> {
        let Some((_, names)) = self.guard.as_ref().filter(|(_, names)| !names.is_empty()) else { return Ok(()) };
        let what = format!(
            "to replace the tables of {}, to change its definitions, or rows of a table with triggers, together with another \
             database; push their changes one by one ({} has {})",
            self.target.database, self.target.database, names[0]
        );
        Err(Error::Unsupported { what })
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        // Whatever happens from here on, `recover` has to say what came of it.
        self.settled = true;
        self.session.run("mark the operation", &recover::mark(self.target, self.change.op))?;
        point("mysql marked")?;
        if let Some((mut guard, names)) = self.guard.take().filter(|(_, names)| !names.is_empty()) {
            guard.run("set up the session", "SET SESSION foreign_key_checks = 0")?;
            drop_locked(&mut guard, &self.target.database, &names)?;
        }
        point("mysql dropped")?;
        finish(&mut self.session, self.target, self.change, &self.schema)?;
        Ok(Committed { notes: self.notes.clone() })
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

/// Whether a load died behind its mark, but before it touched anything: the locks of the live tables went with it, so the
/// application may have written to them since.
pub(super) fn is_untouched(session: &mut Session, target: &Target, op: &OpId) -> Result<bool> {
    let new = recover::new_database(target, op);
    if !session.has_database(&new)? || !base_tables(session, &new)?.iter().any(|name| name == PENDING) {
        return Ok(false);
    }
    let old = session.texts("list the old tables", &format!("SELECT name FROM {}", qualified(&new, OLD)))?;
    let live = base_tables(session, &target.database)?;
    Ok(!old.is_empty() && old.iter().all(|row| live.contains(&row[0])))
}

/// Finishes what a load has decided, wherever it was interrupted.
pub(super) fn finish(session: &mut Session, target: &Target, change: &Change<'_>, schema: &Schema) -> Result<()> {
    let (new, live) = (recover::new_database(target, change.op), &target.database);
    if !session.has_database(&new)? {
        return Ok(());
    }
    session.run("set up the session", "SET SESSION foreign_key_checks = 0")?;
    let options = schema.database.options();
    session.run("create the database", &format!("CREATE DATABASE IF NOT EXISTS {} {options}", ident(live)))?;
    session.run("set up the database", &format!("ALTER DATABASE {} {options}", ident(live)))?;
    let tables = base_tables(session, &new)?;
    drop_others(session, live, &target.rules)?;
    if tables.iter().any(|name| name == PENDING) {
        let old = session.texts("list the old tables", &format!("SELECT name FROM {}", qualified(&new, OLD)))?;
        for row in old {
            let table = qualified(live, &row[0]);
            session.run("drop an old table", &format!("DROP TABLE IF EXISTS {table}"))?;
        }
        let moving = tables.iter().filter(|name| ![PENDING, OLD].contains(&name.as_str()));
        let mut moves: Vec<String> =
            moving.map(|name| format!("{} TO {}", qualified(&new, name), qualified(live, name))).collect();
        moves.push(format!("{} TO {}", qualified(&new, PENDING), qualified(&new, "glxc_moved")));
        session.run("move the tables", &format!("RENAME TABLE {}", moves.join(", ")))?;
    }
    point("mysql moved")?;
    session.enter(live)?;
    create_others(session, schema)?;
    point("mysql made")?;
    // Last, since they begin at once.
    for event in schema.of_kind(Kind::Event) {
        create_object(session, event)?;
    }
    recover::drop_new(session, target, change.op)?;
    session.run("set up the session", "SET SESSION foreign_key_checks = 1")
}

/// Drops the tables that a session has locked: nobody else can write to them between the compare and their end, since the death of
/// this process does not halve a statement.
fn drop_locked(guard: &mut Session, database: &str, names: &[String]) -> Result<()> {
    match guard.run("drop the old tables", &format!("DROP TABLE {}", list(names, |name| ident(name)))) {
        // MySQL has dropped a parent and its child, and misses the child then.
        Err(error) if guard.product == Product::MySql && code(&error) == Some(1146) => {
            let left = base_tables(guard, database)?;
            if names.iter().any(|name| left.contains(name)) { Err(error) } else { Ok(()) }
        }
        dropped => dropped,
    }
}

fn base_tables(session: &mut Session, database: &str) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE'",
        literal(database)
    );
    Ok(session.texts("list the tables", &sql)?.into_iter().map(|mut row| row.swap_remove(0)).collect())
}

/// Drops what is not a table, nor stands on one that is ignored: it is made again.
fn drop_others(session: &mut Session, database: &str, rules: &Rules) -> Result<()> {
    let name = literal(database);
    let sql = format!(
        "SELECT 'EVENT', EVENT_NAME, NULL FROM information_schema.EVENTS WHERE BINARY EVENT_SCHEMA = {name} UNION ALL \
         SELECT 'TRIGGER', TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS \
         WHERE EVENT_OBJECT_SCHEMA = {name} UNION ALL \
         SELECT 'VIEW', TABLE_NAME, NULL FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {name} UNION ALL \
         SELECT ROUTINE_TYPE, ROUTINE_NAME, NULL FROM information_schema.ROUTINES WHERE BINARY ROUTINE_SCHEMA = {name}"
    );
    for row in session.texts("list what is not a table", &sql)?.iter().filter(|row| !rules.ignores(&[&row[2]])) {
        let (kind, object) = (&row[0], qualified(database, &row[1]));
        session.run(&format!("drop {object}"), &format!("DROP {kind} IF EXISTS {object}"))?;
    }
    Ok(())
}

/// Creates what is neither a table nor an event, in the current database: views once what they look at is there, triggers in
/// their order.
fn create_others(session: &mut Session, schema: &Schema) -> Result<()> {
    for object in schema.of_kind(Kind::Function).chain(schema.of_kind(Kind::Procedure)) {
        create_object(session, object)?;
    }
    let mut views: Vec<&Object> = schema.of_kind(Kind::View).collect();
    while !views.is_empty() {
        let (before, mut later, mut error) = (views.len(), Vec::new(), None);
        for view in views {
            if let Err(failed) = create_object(session, view) {
                later.push(view);
                // That another view is missing yet tells less than anything else.
                let tells = |error: &Error| words(error).is_none_or(|words| !words.ends_with("doesn't exist"));
                error = error.filter(|error| tells(error) || !tells(&failed)).or(Some(failed));
            }
        }
        if let Some(error) = error.filter(|_| later.len() == before) {
            return Err(error);
        }
        views = later;
    }
    let mut triggers: Vec<&Object> = schema.of_kind(Kind::Trigger).collect();
    triggers.sort_by_key(|trigger| trigger.context("order").parse::<u32>().unwrap_or_default());
    triggers.into_iter().try_for_each(|trigger| create_object(session, trigger))
}

fn create_object(session: &mut Session, object: &Object) -> Result<()> {
    let context = format!("create {} {}", object.kind.word().to_lowercase(), object.name);
    let settings = object.context.iter().filter(|(name, _)| *name != "order");
    let settings: Vec<(&str, &str)> = settings.map(|(name, value)| (*name, value.as_str())).collect();
    let sql = match (session.product, object.kind) {
        (Product::MySql, Kind::Table) => without_implied_collations(&object.sql),
        _ => object.sql.clone(),
    };
    session.create(&context, &settings, &sql).map_err(|error| match (words(&error), object.path()) {
        (Some(message), Ok(file)) => Error::Input { file, line: None, message, source: Some(error.into()) },
        _ => error,
    })
}

/// The first line of pushed row files must be that of the table.
pub(super) fn check_header(header: Option<&crate::rows::Header>, table: &Table, first: &StatePath) -> Result<()> {
    match header {
        None => {
            let message =
                format!("the rows of {} are missing; a table without rows has a first line still", table.name);
            Err(Error::input(first, None, message))
        }
        Some(header) if *header == table.header() => Ok(()),
        Some(_) => Err(Error::input(first, 1, format!("must be: {}", table.header().to_line()))),
    }
}

/// What is live, with its own snapshot; `None` where it is missing.
fn look(target: &Target, cx: &Cx<'_>) -> Result<Option<Hashes>> {
    let mut sink = Hashing::default();
    match export::export(target, &mut sink, cx) {
        Err(Error::Gone { .. }) => return Ok(None),
        exported => exported?,
    };
    sink.hashes.retain(|path, _| is_compared(path));
    Ok(Some(sink.hashes))
}

/// The same through the session that holds the locks.
fn look_at(session: &mut Session, model: &Model, cx: &Cx<'_>) -> Result<Hashes> {
    let mut sink = Hashing::default();
    export::write_schema(model, &mut sink, cx)?;
    for table in model.tables.values().filter(|table| table.has_rows) {
        export::write_rows(session, table, &mut sink, cx)?;
    }
    sink.hashes.retain(|path, _| is_compared(path));
    Ok(sink.hashes)
}

/// The files of a tree, but for those of tables that are not managed.
fn hashes(tree: &dyn Tree, rules: &Rules, cx: &Cx<'_>) -> Result<Hashes> {
    let mut sink = Hashing::default();
    let mut buffer = vec![0; 64 << 10];
    for entry in tree.entries().iter().filter(|entry| is_compared(&entry.path) && is_managed(&entry.path, rules)) {
        cx.check()?;
        sink.begin(&entry.path, entry.mode)?;
        let mut input = tree.open(&entry.path)?;
        loop {
            match input.read(&mut buffer).map_err(Error::carrier(format!("read {}", entry.path)))? {
                0 => break,
                length => sink.write(&buffer[..length])?,
            }
        }
        sink.end()?;
    }
    Ok(sink.hashes)
}

/// Whether the rules leave a file of the schema or of rows in.
fn is_managed(path: &StatePath, rules: &Rules) -> bool {
    let parts: Vec<&[u8]> = path.components().collect();
    let named = |name: &[u8]| std::str::from_utf8(name).ok().and_then(names::decode);
    match parts.as_slice() {
        [b"data", table, ..] => named(table).is_none_or(|table| rules.has_rows(&[&table])),
        [b"schema", b"tables", file] => {
            let table = file.strip_suffix(b".sql").and_then(named);
            table.is_none_or(|table| !rules.ignores(&[&table]))
        }
        _ => true,
    }
}

/// Fails where a table of the current database that is replaced has rows that are in no file.
fn lost_rows(session: &mut Session, live: &Model, replaced: &[String]) -> Result<()> {
    let is_whole = |table: &Table| table.has_rows && table.left_out().next().is_none();
    for table in replaced.iter().filter(|name| !live.tables.get(*name).is_some_and(is_whole)) {
        if session.finds(&format!("look into {table}"), &format!("SELECT 1 FROM {} LIMIT 1", ident(table)))? {
            let message = format!(
                "the files do not hold all of the rows of {table}, and replacing the table would lose them; take the rule out \
                 or empty the table"
            );
            return Err(Error::option("tables", message));
        }
    }
    Ok(())
}

fn is_compared(path: &StatePath) -> bool {
    matches!(part(path), Some(Part::Schema | Part::Rows(_)))
}

fn changed(names: impl IntoIterator<Item = String>) -> Error {
    let mut first: Vec<String> = names.into_iter().collect();
    let total = first.len() as u64;
    first.truncate(10);
    Error::Changed { first, total }
}

/// Fails where live is not what it must be.
fn compare(wanted: &Hashes, live: &Hashes) -> Result<()> {
    let of = |path: &StatePath| match part(path) {
        Some(Part::Rows(folder)) => folder.to_string(),
        _ => path.to_string(),
    };
    let paths = wanted.keys().chain(live.keys()).filter(|path| wanted.get(path) != live.get(path));
    let mut names: Vec<String> = paths.map(of).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { Ok(()) } else { Err(changed(names)) }
}

/// Keeps what an export would write as hashes.
#[derive(Default)]
struct Hashing {
    hashes: Hashes,
    open: Option<(StatePath, SipHasher24)>,
}

impl Sink for Hashing {
    fn begin(&mut self, path: &StatePath, _: Mode) -> Result<()> {
        self.open = Some((path.clone(), SipHasher24::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some((_, hasher)) = &mut self.open {
            hasher.write(bytes);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some((path, hasher)) = self.open.take() {
            self.hashes.insert(path, hasher.finish128().as_u128());
        }
        Ok(())
    }

    fn keep(&mut self, _: &StatePath) -> Result<()> {
        Ok(())
    }
}
