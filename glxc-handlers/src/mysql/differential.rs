//! The import of rows that differ into a live database: compare and swap, in one transaction.
//!
//! Rows are compared by the text that an export would write. A row that a push changes is locked, must be what base has or
//! already what next has, and after it was written must be what next has, to the letter.

use std::collections::HashMap;
use std::time::Instant;

use super::catalog::{self, Model};
use super::export::without_numbers;
use super::foreign_keys;
use super::layout::rows_folders;
use super::load::check_header;
use super::session::{Session, as_timeout};
use super::settings::Target;
use super::sql::{ident, literal};
use super::table::Table;
use super::write::{Inserter, literals, located, no_labels};
use super::{increments, recover, value};
use crate::rows::{self, Changes, Limits, Reader, RowChange};
use crate::{Change, Committed, Cx, Error, Record, Result, Staged, StatePath};

/// How many rows are asked for in one query, and about how many bytes of them.
const BATCH: (usize, usize) = (200, 512 << 10);

/// A staged difference.
#[derive(Debug)]
pub(super) struct Differential<'a> {
    target: &'a Target,
    change: &'a Change<'a>,
    cx: &'a Cx<'a>,
    session: Session,
    model: Model,
    /// The names of the tables whose rows differ.
    tables: Vec<String>,
    prepared: bool,
    begun: bool,
}

/// A row that differs.
#[derive(Debug)]
struct Row {
    old: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
    file: StatePath,
    line: u64,
}

impl Row {
    fn of(change: &RowChange<'_>) -> Row {
        let (old, new, place) = match change {
            RowChange::Added { line, place } => (None, Some(line.to_vec()), place),
            RowChange::Removed { line, place } => (Some(line.to_vec()), None, place),
            RowChange::Changed { old, new, place } => (Some(old.to_vec()), Some(new.to_vec()), place),
        };
        Row { old, new, file: place.file.clone(), line: place.line }
    }

    /// Either side of it.
    fn any(&self) -> &[u8] {
        self.old.as_deref().or(self.new.as_deref()).unwrap_or_default()
    }
}

/// Conflicts of a push with what the application did meanwhile.
#[derive(Debug, Default)]
struct Conflicts {
    first: Vec<String>,
    total: u64,
}

impl Conflicts {
    fn add(&mut self, table: &Table, line: &[u8]) {
        if self.first.len() < 10 {
            self.first.push(format!("{} {}", table.name, table.header().name_row(line)));
        }
        self.total += 1;
    }
}

impl<'a> Differential<'a> {
    /// Reads what differs and looks whether it can be applied.
    pub fn stage(target: &'a Target, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        let mut session = Session::live(target)?;
        recover::begin(&mut session, target, change.op)?;
        let model = catalog::read(&mut session, &target.database)?;
        let mut staged =
            Differential { target, change, cx, session, model, tables: Vec::new(), prepared: false, begun: false };
        staged.look_at_tables()?;
        Ok(staged)
    }

    fn look_at_tables(&mut self) -> Result<()> {
        let next = self.change.next.tree;
        for folder in rows_folders(self.change.differs) {
            let first = next.within(&folder).first().map_or(&folder, |entry| &entry.path);
            let Some(table) = self.model.table_of(&folder)? else {
                let is_pushed = !next.within(&folder).is_empty();
                match is_pushed {
                    true => return Err(Error::input(first, None, "the pushed schema has no such table")),
                    false => continue,
                }
            };
            self.check_definition(table)?;
            check_header(Reader::new(next, &folder, Limits::default())?.header(), table, first)?;
            if self.model.with_triggers.contains(&table.name) {
                let what = format!(
                    "to change rows of {}, on which there are triggers: they would act again on what is pushed",
                    table.name
                );
                return Err(Error::Unsupported { what });
            }
            foreign_keys::of(&self.model, table)?;
            self.cx.progress.begin(&table.name, None);
            let name = table.name.clone();
            // Finds what is no row before anything is locked.
            self.changes(&folder)?.count()?;
            self.cx.progress.end();
            self.cx.check()?;
            self.tables.push(name);
        }
        Ok(())
    }

    /// Where the definition of a table is not that of base, what base says of its rows means something else.
    fn check_definition(&self, table: &Table) -> Result<()> {
        let object = self
            .model
            .objects
            .iter()
            .find(|object| object.kind == super::schema::Kind::Table && object.name == table.name);
        let Some(object) = object else { return Ok(()) };
        let path = object.path()?;
        let recorded = match self.change.next.tree.entry(&path) {
            Some(_) => self.change.next.tree.read(&path, u64::MAX >> 1)?,
            None => return Err(Error::input(&path, None, "is missing, and its rows are there")),
        };
        match recorded == object.text().into_bytes() {
            true => Ok(()),
            false => Err(Error::Changed { first: vec![format!("table {}", table.name)], total: 1 }),
        }
    }

    fn changes(&self, folder: &StatePath) -> Result<Changes> {
        let base = self.change.base.as_ref().map(|base| base.tree);
        Changes::new(base, Some(self.change.next.tree), folder, Limits::default(), self.cx)
    }

    fn table(&self, name: &str) -> Result<&Table> {
        let gone = || Error::Gone { what: format!("table {name}") };
        self.model.tables.get(name).ok_or_else(gone)
    }

    fn begin(&mut self) -> Result<()> {
        // What others commit is seen at once, so that parents and children are compared as they are.
        self.session.run("begin", "SET SESSION foreign_key_checks = 0, SESSION autocommit = 0")?;
        self.session.run("begin", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
        let begin = match self.change.prepare {
            true => format!("XA START {}", literal(&recover::name(self.target, self.change.op))),
            false => "START TRANSACTION".into(),
        };
        self.session.run("begin", &begin)?;
        self.begun = true;
        for name in &self.tables {
            // Until the transaction ends its definition stays.
            self.session.run(&format!("look at {name}"), &format!("SELECT 1 FROM {} LIMIT 0", ident(name)))?;
        }
        let now = catalog::read(&mut self.session, &self.target.database)?;
        match without_numbers(now) == without_numbers(self.model.clone()) {
            true => Ok(()),
            false => Err(Error::Changed { first: vec!["the schema".into()], total: 1 }),
        }
    }

    fn lock_and_write(&mut self) -> Result<()> {
        self.begin()?;
        let (mut conflicts, mut there) = (Conflicts::default(), HashMap::new());
        for name in self.tables.clone() {
            let done = self.compare(&name, &mut conflicts)?;
            there.insert(name, done);
        }
        if conflicts.total > 0 {
            return Err(Error::Changed { first: conflicts.first, total: conflicts.total });
        }
        for name in self.tables.clone() {
            self.each(&name, &there[&name], delete)?;
        }
        for name in self.tables.clone() {
            self.write(&name, &there[&name])?;
        }
        for name in self.tables.clone() {
            self.verify(&name, &there[&name])?;
            self.check_foreign_keys(&name)?;
        }
        self.session.run("mark the operation", &recover::mark(self.target, self.change.op))
    }

    /// Calls with every row of a table that is not there yet.
    fn each(
        &mut self, name: &str, there: &[bool], mut act: impl FnMut(&mut Session, &Table, &Row) -> Result<()>,
    ) -> Result<()> {
        let table = self.table(name)?.clone();
        let (mut changes, mut number) = (self.changes(&table.folder()?)?, 0);
        while let Some(change) = changes.next()? {
            if number % 1000 == 0 {
                self.cx.check()?;
            }
            if !there.get(number).copied().unwrap_or_default() {
                act(&mut self.session, &table, &Row::of(&change))?;
            }
            number += 1;
        }
        Ok(())
    }

    /// Locks the rows that differ and compares them. Which of them are already what next has.
    fn compare(&mut self, name: &str, conflicts: &mut Conflicts) -> Result<Vec<bool>> {
        let (mut there, mut adds_live) = (Vec::new(), false);
        if self.table(name)?.key.is_empty() {
            self.compare_bag(name, conflicts)?;
            return Ok(there);
        }
        self.in_batches(name, |table, rows, live| {
            for row in rows {
                let live = live.get(&key(table, row.any())?).map(Vec::as_slice);
                let done = live == row.new.as_deref();
                adds_live |= row.old.is_none() && live.is_some();
                if !done && live != row.old.as_deref() {
                    conflicts.add(table, row.any());
                }
                there.push(done);
            }
            Ok(())
        })?;
        if adds_live {
            // Either the application added it too, or the push has it in another part as well.
            rows::check(self.change.next.tree, &self.table(name)?.folder()?, Limits::default(), self.cx)?;
        }
        Ok(there)
    }

    /// In a bag, as many equal rows must be there as the push removes.
    fn compare_bag(&mut self, name: &str, conflicts: &mut Conflicts) -> Result<()> {
        let mut last: Option<(Vec<u8>, u64)> = None;
        let mut count = |session: &mut Session, table: &Table, line: &[u8]| -> Result<bool> {
            let times = match &mut last {
                Some((same, times)) if same == line => {
                    *times += 1;
                    *times
                }
                _ => last.insert((line.to_vec(), 1)).1,
            };
            Ok(count_equal(session, table, line)? >= times)
        };
        self.each(name, &[], |session, table, row| {
            if let Some(old) = &row.old
                && !count(session, table, old)?
            {
                conflicts.add(table, old);
            }
            Ok(())
        })
    }

    /// Reads the live rows of the keys of those that differ, and locks them.
    fn in_batches(
        &mut self, name: &str, mut act: impl FnMut(&Table, &[Row], &HashMap<Vec<u8>, Vec<u8>>) -> Result<()>,
    ) -> Result<()> {
        let (mut batch, mut size) = (Vec::new(), 0);
        let table = self.table(name)?.clone();
        let mut finish = |session: &mut Session, batch: &mut Vec<Row>| -> Result<()> {
            let rows = std::mem::take(batch);
            let live = fetch(session, &table, &rows)?;
            act(&table, &rows, &live)
        };
        self.each(name, &[], |session, _, row| {
            size += row.any().len();
            batch.push(Row { old: row.old.clone(), new: row.new.clone(), file: row.file.clone(), line: row.line });
            if batch.len() >= BATCH.0 || size >= BATCH.1 {
                size = 0;
                finish(session, &mut batch)?;
            }
            Ok(())
        })?;
        if batch.is_empty() { Ok(()) } else { finish(&mut self.session, &mut batch) }
    }

    /// Updates what was not deleted, and inserts the rest.
    fn write(&mut self, name: &str, there: &[bool]) -> Result<()> {
        let table = self.table(name)?.clone();
        let mut rows = Inserter::new(&table, &ident(&table.name));
        self.each(name, there, |session, table, row| match (&row.old, &row.new) {
            (_, None) => Ok(()),
            (Some(old), Some(new)) if stays(table, old, new) => update(session, table, new, row),
            (_, Some(new)) => rows.add(session, new, &row.file, row.line),
        })?;
        rows.finish(&mut self.session)
    }

    /// What was written must be what next has, to the letter.
    fn verify(&mut self, name: &str, there: &[bool]) -> Result<()> {
        let wrong = |row: &Row, live: Option<&[u8]>| {
            let live = live.map_or("not so".into(), |line| format!("as `{}`", String::from_utf8_lossy(line)));
            let message = format!("the server keeps this row {live}; write it as the server prints it");
            Error::input(&row.file, row.line, message)
        };
        if self.table(name)?.key.is_empty() {
            return self.each(name, there, |session, table, row| match &row.new {
                Some(new) if count_equal(session, table, new)? == 0 => Err(wrong(row, None)),
                _ => Ok(()),
            });
        }
        self.in_batches(name, |table, rows, live| {
            for row in rows {
                let live = live.get(&key(table, row.any())?).map(Vec::as_slice);
                if live != row.new.as_deref() {
                    return Err(wrong(row, live));
                }
            }
            Ok(())
        })
    }

    fn check_foreign_keys(&mut self, name: &str) -> Result<()> {
        let (model, table) = (self.model.clone(), self.table(name)?.clone());
        let mut watched = foreign_keys::of(&model, &table)?;
        if watched.is_empty() {
            return Ok(());
        }
        let database = self.target.database.clone();
        self.each(name, &[], |session, _, row| {
            for key in &mut watched {
                key.look(session, &database, row.old.as_deref(), row.new.as_deref(), (&row.file, row.line))?;
            }
            Ok(())
        })?;
        watched.iter_mut().try_for_each(|key| key.finish(&mut self.session, &database))
    }

    fn undo(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.begun) {
            return Ok(());
        }
        let name = literal(&recover::name(self.target, self.change.op));
        if self.change.prepare && !self.prepared {
            // The server may have rolled it back already, which this ends as well.
            let _ = self.session.run("end the transaction", &format!("XA END {name}"));
        }
        match self.change.prepare {
            true => self.session.run("roll back", &format!("XA ROLLBACK {name}")),
            false => self.session.run("roll back", "ROLLBACK"),
        }
    }
}

impl Staged for Differential<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.cx.check()?;
        let start = Instant::now();
        self.lock_and_write().map_err(|error| as_timeout(error, start))?;
        Ok(Record::default())
    }

    fn prepare(&mut self) -> Result<()> {
        let name = literal(&recover::name(self.target, self.change.op));
        self.session.run("prepare the transaction", &format!("XA END {name}"))?;
        self.session.run("prepare the transaction", &format!("XA PREPARE {name}"))?;
        self.prepared = true;
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Committed> {
        // Whatever happens from here on, `recover` has to say what came of it.
        self.begun = false;
        let name = literal(&recover::name(self.target, self.change.op));
        match (self.change.prepare, self.prepared) {
            (false, _) => self.session.run("commit", "COMMIT")?,
            (true, true) => self.session.run("commit what is prepared", &format!("XA COMMIT {name}"))?,
            (true, false) => {
                self.session.run("commit", &format!("XA END {name}"))?;
                self.session.run("commit", &format!("XA COMMIT {name} ONE PHASE"))?;
            }
        }
        finish(&mut self.session, self.target, self.change, self.cx)?;
        Ok(Committed::default())
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        self.undo()
    }
}

impl Drop for Differential<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            tracing::debug!(%error, "the session ended before the roll back");
        }
    }
}

/// Moves the next numbers, which is no part of a transaction. Idempotent.
pub(super) fn finish(session: &mut Session, target: &Target, change: &Change<'_>, cx: &Cx<'_>) -> Result<()> {
    let base = change.base.as_ref().map(|base| increments::read(base.tree, cx)).transpose()?.unwrap_or_default();
    for (table, (next, ..)) in increments::read(change.next.tree, cx)? {
        let base = base.get(&table).map(|(next, ..)| *next);
        if base == Some(next) {
            continue;
        }
        let Some(live) = increments::live(session, &target.database, &table)? else { continue };
        let wanted = increments::merged(base, live, next);
        if wanted != live {
            increments::set(session, &target.database, &table, wanted)?;
        }
    }
    Ok(())
}

/// The key of a line, as bytes.
fn key(table: &Table, line: &[u8]) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    table.header().push_key(line, &mut key).map_err(Error::engine(format!("read a key of {}", table.name)))?;
    Ok(key)
}

/// The condition that a row has the key of a line.
fn has_key(table: &Table, line: &[u8], file: &StatePath, number: u64) -> Result<String> {
    let values = literals(table, line, file, number)?;
    let stored = table.stored();
    let one = |column: &&super::value::Column| {
        let at = stored.iter().position(|other| other.name == column.name)?;
        Some(format!("{} = {}", ident(&column.name), values.get(at)?))
    };
    let all = table.key_columns().iter().filter_map(one).collect::<Vec<_>>();
    Ok(format!("({})", all.join(" AND ")))
}

/// The live rows of some keys, by their key, locked.
fn fetch(session: &mut Session, table: &Table, rows: &[Row]) -> Result<HashMap<Vec<u8>, Vec<u8>>> {
    let conditions =
        rows.iter().map(|row| has_key(table, row.any(), &row.file, row.line)).collect::<Result<Vec<_>>>()?;
    let name = ident(&table.name);
    let sql = format!("SELECT {} FROM {name} WHERE {} FOR UPDATE", table.select(&name), conditions.join(" OR "));
    let (columns, mut live) = (table.stored(), HashMap::new());
    for row in session.rows(&format!("compare the rows of {}", table.name), &sql)? {
        let line = value::line(&columns, row);
        live.insert(key(table, &line)?, line);
    }
    Ok(live)
}

/// The condition that a row of a bag is a line.
fn is_line(table: &Table, line: &[u8]) -> Option<String> {
    let stored = table.stored();
    let all = stored.iter().zip(line.split(|b| *b == b'\t')).map(|(column, field)| column.is(field));
    let all = all.collect::<Option<Vec<_>>>()?;
    Some(if all.is_empty() { "TRUE".into() } else { all.join(" AND ") })
}

/// How many rows of a bag are a line; they are locked.
fn count_equal(session: &mut Session, table: &Table, line: &[u8]) -> Result<u64> {
    let Some(condition) = is_line(table, line) else { return Ok(0) };
    let sql = format!("SELECT 1 FROM {} WHERE {condition} FOR UPDATE", ident(&table.name));
    Ok(session.rows(&format!("compare the rows of {}", table.name), &sql)?.len() as u64)
}

/// Whether a changed row can be updated in place: a swap of unique values with another row would be a duplicate in between.
fn stays(table: &Table, old: &[u8], new: &[u8]) -> bool {
    let stored = table.stored();
    let (old, new): (Vec<&[u8]>, Vec<&[u8]>) =
        (old.split(|b| *b == b'\t').collect(), new.split(|b| *b == b'\t').collect());
    let alike = |name: &String| match stored.iter().position(|column| column.name == *name) {
        Some(at) => old.get(at) == new.get(at),
        None => false,
    };
    table.uniques.iter().flatten().all(alike)
}

/// Deletes a removed row, and a changed one that can not be updated in place.
fn delete(session: &mut Session, table: &Table, row: &Row) -> Result<()> {
    let Some(old) = &row.old else { return Ok(()) };
    if row.new.as_ref().is_some_and(|new| stays(table, old, new)) && !table.key.is_empty() {
        return Ok(());
    }
    let condition = match table.key.is_empty() {
        true => {
            is_line(table, old).ok_or_else(|| Error::input(&row.file, row.line, "not a row as the server prints it"))?
        }
        false => has_key(table, old, &row.file, row.line)?,
    };
    let sql = format!("DELETE FROM {} WHERE {condition} LIMIT 1", ident(&table.name));
    session.write(&format!("delete rows of {}", table.name), &sql)
}

/// Updates a changed row. Every column is set, also to the value that it has: one that is set by the server with every
/// update must not be.
fn update(session: &mut Session, table: &Table, new: &[u8], row: &Row) -> Result<()> {
    let values = literals(table, new, &row.file, row.line)?;
    let set =
        table.stored().into_iter().zip(values).map(|(column, value)| format!("{} = {value}", ident(&column.name)));
    let set = set.collect::<Vec<_>>().join(", ");
    let condition = has_key(table, new, &row.file, row.line)?;
    let (context, loose) = (format!("write rows of {}", table.name), no_labels(table, new));
    let sql = format!("UPDATE {} SET {set} WHERE {condition}", ident(&table.name));
    let written = match loose.is_empty() {
        true => session.write(&context, &sql),
        false => session.write_loosely(&context, &sql, &loose),
    };
    written.map_err(|error| located(error, &row.file, row.line))
}
