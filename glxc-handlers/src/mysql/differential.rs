//! The import of rows that differ into a live database: compare and swap, in one transaction.
//!
//! Rows are compared by the text that an export would write. A row that a push changes is locked, must be what base has or
//! already what next has, and after it was written must be what next has, to the letter.

use std::collections::HashMap;
use std::time::Instant;

use siphasher::sip128::SipHasher24;

use super::catalog::{self, Model};
use super::export::without_numbers;
use super::foreign_keys;
use super::layout::FILES;
use super::load::check_header;
use super::schema::Database;
use super::session::{Session, as_timeout};
use super::settings::Target;
use super::sql::{ident, literal};
use super::table::Table;
use super::write::{Inserter, located, no_labels, push_literal, push_value};
use super::{increments, recover, value};
use crate::engine::Rules;
use crate::failpoint::point;
use crate::rows::{self, Changes, Limits, Place, Reader, RowChange};
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
    notes: Vec<String>,
    prepared: bool,
    begun: bool,
}

/// From how many bytes on a row is read and written in pieces only.
const LARGE: usize = 1 << 20;

/// A row that differs, without its values: they may be large.
#[derive(Debug)]
struct Row {
    key: Vec<u8>,
    /// The condition that a row has its key.
    condition: String,
    /// For a message.
    name: String,
    old: Option<Print>,
    new: Option<Print>,
    file: StatePath,
    line: u64,
}

/// What tells a line from every other: its length and a hash.
type Print = (usize, u128);

fn print(line: &[u8]) -> Print {
    (line.len(), SipHasher24::new().hash(line).as_u128())
}

/// Both sides of a change, and the place.
fn sides<'c>(change: &RowChange<'c>) -> (Option<&'c [u8]>, Option<&'c [u8]>, Place<'c>) {
    match change {
        RowChange::Added { line, place } => (None, Some(line), *place),
        RowChange::Removed { line, place } => (Some(line), None, *place),
        RowChange::Changed { old, new, place } => (Some(old), Some(new), *place),
    }
}

impl Row {
    fn of(table: &Table, change: &RowChange<'_>) -> Result<Row> {
        let (old, new, place) = sides(change);
        let any = old.or(new).unwrap_or_default();
        Ok(Row {
            key: key(table, any)?,
            condition: has_key(table, any, place)?,
            name: table.header().name_row(any),
            old: old.map(print),
            new: new.map(print),
            file: place.file.clone(),
            line: place.line,
        })
    }
}

impl Row {
    fn is_large(&self) -> bool {
        [self.old, self.new].into_iter().flatten().any(|(length, _)| length > LARGE)
    }
}

/// Conflicts of a push with what the application did meanwhile.
#[derive(Debug, Default)]
struct Conflicts {
    first: Vec<String>,
    total: u64,
}

impl Conflicts {
    fn add(&mut self, table: &Table, row: &str) {
        if self.first.len() < 10 {
            self.first.push(format!("{} {row}", table.name));
        }
        self.total += 1;
    }
}

impl<'a> Differential<'a> {
    /// Reads what differs and looks whether it can be applied.
    pub fn stage(target: &'a Target, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Self> {
        let mut session = Session::live(target)?;
        Database::require(change.next.tree, session.product)?;
        recover::begin(&mut session, target, change.op)?;
        let model = catalog::read(&mut session, &target.database, &target.rules)?;
        let (tables, notes) = Default::default();
        let mut staged =
            Differential { target, change, cx, session, model, tables, notes, prepared: false, begun: false };
        staged.look_at_tables()?;
        point("mysql staged")?;
        Ok(staged)
    }

    fn look_at_tables(&mut self) -> Result<()> {
        let next = self.change.next.tree;
        let base_rules = self.change.base.map(|base| Rules::of(base.options)).transpose()?.unwrap_or_default();
        for folder in FILES.rows_folders(self.change.differs) {
            let first = next.within(&folder).first().map_or(&folder, |entry| &entry.path);
            let Some(table) = self.model.table_of(&folder)? else {
                let is_pushed = !next.within(&folder).is_empty();
                match is_pushed {
                    true => return Err(Error::input(first, None, "the pushed schema has no such table")),
                    false => continue,
                }
            };
            if !table.has_rows || !base_rules.has_rows(&[&table.name]) {
                let note = format!("{}: its rows are not managed on both sides; left alone", table.name);
                self.notes.push(note);
                continue;
            }
            self.check_definition(table)?;
            check_header(Reader::new(next, &folder, Limits::default())?.header(), table, first)?;
            if self.model.with_triggers.contains(&table.name) {
                let what = format!(
                    "to change rows of {}, on which there are triggers in live alone: they would act again on what is pushed",
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
        let now = catalog::read(&mut self.session, &self.target.database, &self.target.rules)?;
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
        point("mysql locked")?;
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
        self.session.run("mark the operation", &recover::mark(self.target, self.change.op))?;
        point("mysql written")
    }

    /// Calls with every row of a table that is not there yet.
    fn each(
        &mut self, name: &str, there: &[bool], mut act: impl FnMut(&mut Session, &Table, &RowChange<'_>) -> Result<()>,
    ) -> Result<()> {
        let table = self.table(name)?.clone();
        let (mut changes, mut number) = (self.changes(&table.folder()?)?, 0);
        while let Some(change) = changes.next()? {
            if number % 1000 == 0 {
                self.cx.check()?;
            }
            if !there.get(number).copied().unwrap_or_default() {
                act(&mut self.session, &table, &change)?;
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
                let live = live.get(&row.key).copied();
                let done = live == row.new;
                adds_live |= row.old.is_none() && live.is_some();
                if !done && live != row.old {
                    conflicts.add(table, &row.name);
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
        let mut last: Option<(Print, u64)> = None;
        self.each(name, &[], |session, table, change| {
            let (Some(old), _, place) = sides(change) else { return Ok(()) };
            let same = last.filter(|(same, _)| *same == print(old));
            let times = same.map_or(1, |(_, times)| times + 1);
            last = Some((print(old), times));
            if count_equal(session, table, "TRUE", old, place)? < times {
                conflicts.add(table, &table.header().name_row(old));
            }
            Ok(())
        })
    }

    /// Looks for the live rows of the keys of those that differ, and locks them.
    fn in_batches(
        &mut self, name: &str, mut act: impl FnMut(&Table, &[Row], &HashMap<Vec<u8>, Print>) -> Result<()>,
    ) -> Result<()> {
        let (mut batch, mut size) = (Vec::new(), 0);
        let table = self.table(name)?.clone();
        self.each(name, &[], |session, table, change| {
            let row = Row::of(table, change)?;
            if row.is_large() {
                // After those before it, which are told in order.
                finish_batch(session, table, std::mem::take(&mut batch), &mut act)?;
                let live = look_for(session, table, change, &row)?;
                return act(table, &[row], &live);
            }
            size += row.condition.len();
            batch.push(row);
            if batch.len() >= BATCH.0 || size >= BATCH.1 {
                size = 0;
                finish_batch(session, table, std::mem::take(&mut batch), &mut act)?;
            }
            Ok(())
        })?;
        finish_batch(&mut self.session, &table, batch, &mut act)
    }

    /// Updates what was not deleted, and inserts the rest.
    fn write(&mut self, name: &str, there: &[bool]) -> Result<()> {
        let table = self.table(name)?.clone();
        let mut rows = Inserter::new(&table, &ident(&table.name));
        self.each(name, there, |session, table, change| match sides(change) {
            (_, None, _) => Ok(()),
            (Some(old), Some(new), place) if stays(table, old, new) => update(session, table, new, place),
            (_, Some(new), place) => rows.add(session, new, place.file, place.line),
        })?;
        rows.finish(&mut self.session)
    }

    /// What was written must be what next has, to the letter.
    fn verify(&mut self, name: &str, there: &[bool]) -> Result<()> {
        if self.table(name)?.key.is_empty() {
            return self.each(name, there, |session, table, change| match sides(change) {
                (_, Some(new), place) if count_equal(session, table, "TRUE", new, place)? == 0 => {
                    Err(Error::input(place.file, place.line, "not a row as the server prints it"))
                }
                _ => Ok(()),
            });
        }
        let mut wrong = None;
        self.in_batches(name, |_, rows, live| {
            let differs = |row: &&Row| live.get(&row.key).copied() != row.new;
            let place = |row: &Row| (row.condition.clone(), row.file.clone(), row.line);
            wrong = wrong.take().or_else(|| rows.iter().find(differs).map(place));
            Ok(())
        })?;
        match wrong {
            Some((condition, file, line)) => Err(self.kept_otherwise(name, &condition, &file, line)?),
            None => Ok(()),
        }
    }

    /// What to say where the server keeps a row otherwise than the file has it.
    fn kept_otherwise(&mut self, name: &str, condition: &str, file: &StatePath, line: u64) -> Result<Error> {
        let table = self.table(name)?.clone();
        let sql = format!("SELECT {} FROM {} WHERE {condition}", table.select(&ident(name)), ident(name));
        let rows = self.session.rows(&format!("read a row of {name}"), &sql)?;
        let columns = table.stored();
        let lines = rows.into_iter().map(|row| value::line(&columns, row)).collect::<Result<Vec<_>>>()?;
        let kept = lines.iter().map(|line| String::from_utf8_lossy(line).chars().take(200).collect::<String>());
        let kept = kept.collect::<Vec<_>>().join(", ");
        let message = format!("the server keeps this row as `{kept}`; write it as the server prints it");
        Ok(Error::input(file, line, message))
    }

    fn check_foreign_keys(&mut self, name: &str) -> Result<()> {
        let (model, table) = (self.model.clone(), self.table(name)?.clone());
        let mut watched = foreign_keys::of(&model, &table)?;
        if watched.is_empty() {
            return Ok(());
        }
        let database = self.target.database.clone();
        self.each(name, &[], |session, _, change| {
            let (old, new, place) = sides(change);
            watched.iter_mut().try_for_each(|key| key.look(session, &database, old, new, (place.file, place.line)))
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

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
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
        point("mysql committed")?;
        finish(&mut self.session, self.target, self.change, self.cx)?;
        Ok(Committed { notes: self.notes.clone() })
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
        if base == Some(next) || !target.rules.has_rows(&[&table]) {
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
fn has_key(table: &Table, line: &[u8], place: Place<'_>) -> Result<String> {
    let (stored, mut sql) = (table.stored(), String::from("("));
    for (number, key) in table.key_columns().into_iter().enumerate() {
        let at = stored.iter().position(|column| column.name == key.name).unwrap_or_default();
        let field = line.split(|b| *b == b'\t').nth(at).unwrap_or_default();
        sql.push_str(if number > 0 { " AND " } else { "" });
        sql.push_str(&format!("{} = ", ident(&key.name)));
        push_literal(key, field, &mut sql, place.file, place.line)?;
    }
    sql.push(')');
    Ok(sql)
}

/// Hands out a batch with what is live of it.
fn finish_batch(
    session: &mut Session, table: &Table, batch: Vec<Row>,
    act: &mut impl FnMut(&Table, &[Row], &HashMap<Vec<u8>, Print>) -> Result<()>,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let live = fetch(session, table, &batch)?;
    act(table, &batch, &live)
}

/// The live rows of some keys, by their key, locked.
fn fetch(session: &mut Session, table: &Table, rows: &[Row]) -> Result<HashMap<Vec<u8>, Print>> {
    let conditions = rows.iter().map(|row| row.condition.as_str()).collect::<Vec<_>>().join(" OR ");
    let name = ident(&table.name);
    let sql = format!("SELECT {} FROM {name} WHERE {conditions} FOR UPDATE", table.select(&name));
    let (columns, mut live, mut failed) = (table.stored(), HashMap::new(), Ok(()));
    session.each(&format!("compare the rows of {}", table.name), &sql, |row| {
        let line = value::line(&columns, row).and_then(|line| Ok((key(table, &line)?, print(&line))));
        // The rest is read in any case: the session has to roll back.
        match line {
            Ok((key, print)) => drop(live.insert(key, print)),
            Err(error) => failed = Err(error),
        }
        Ok(())
    })?;
    failed.map(|()| live)
}

/// The condition that a row of a bag is a line, behind what is there.
fn push_is_line(session: &mut Session, table: &Table, line: &[u8], place: Place<'_>, sql: &mut String) -> Result<()> {
    let stored = table.stored();
    if stored.is_empty() {
        sql.push_str("TRUE");
    }
    for (at, (column, field)) in stored.iter().zip(line.split(|b| *b == b'\t')).enumerate() {
        sql.push_str(if at > 0 { " AND " } else { "" });
        let (before, behind) = column.is(field);
        sql.push_str(&before);
        push_value(session, column, field, sql, place.file, place.line)?;
        sql.push_str(&behind);
    }
    Ok(())
}

/// What of a large row is live, by its key: one of its sides, something else, or nothing. The server compares, since reading
/// such a row takes several times its memory.
fn look_for(
    session: &mut Session, table: &Table, change: &RowChange<'_>, row: &Row,
) -> Result<HashMap<Vec<u8>, Print>> {
    let (old, new, place) = sides(change);
    for line in [old, new].into_iter().flatten() {
        if count_equal(session, table, &row.condition, line, place)? > 0 {
            return Ok(HashMap::from([(row.key.clone(), print(line))]));
        }
    }
    let sql = format!("SELECT 1 FROM {} WHERE {} FOR UPDATE", ident(&table.name), row.condition);
    let is_there = session.finds(&format!("compare the rows of {}", table.name), &sql)?;
    Ok(is_there.then(|| (row.key.clone(), Print::default())).into_iter().collect())
}

/// How many rows are a line, of those that meet a condition; they are locked.
fn count_equal(session: &mut Session, table: &Table, condition: &str, line: &[u8], place: Place<'_>) -> Result<u64> {
    let mut sql = format!("SELECT 1 FROM {} WHERE {condition} AND ", ident(&table.name));
    push_is_line(session, table, line, place, &mut sql)?;
    sql.push_str(" FOR UPDATE");
    let context = format!("compare the rows of {}", table.name);
    let count = session.rows(&context, &sql)?.len() as u64;
    session.let_go(&context)?;
    Ok(count)
}

/// Whether a changed row can be updated in place: a swap of unique values with another row would be a duplicate in between, and
/// where MySQL compares JSON before it writes, 1 and 1.0 are the same.
fn stays(table: &Table, old: &[u8], new: &[u8]) -> bool {
    if table.left_out().next().is_some() {
        // Deleted and inserted again, it would lose what is in no file.
        return true;
    }
    let stored = table.stored();
    let (old, new): (Vec<&[u8]>, Vec<&[u8]>) =
        (old.split(|b| *b == b'\t').collect(), new.split(|b| *b == b'\t').collect());
    let alike = |name: &String| match stored.iter().position(|column| column.name == *name) {
        Some(at) => old.get(at) == new.get(at),
        None => false,
    };
    let json = stored.iter().filter(|column| column.kind == value::Kind::Json).map(|column| &column.name);
    table.uniques.iter().flatten().chain(json).all(alike)
}

/// Deletes a removed row, and a changed one that can not be updated in place.
fn delete(session: &mut Session, table: &Table, change: &RowChange<'_>) -> Result<()> {
    let (Some(old), new, place) = sides(change) else { return Ok(()) };
    if new.is_some_and(|new| stays(table, old, new)) && !table.key.is_empty() {
        return Ok(());
    }
    let mut sql = format!("DELETE FROM {} WHERE ", ident(&table.name));
    match table.key.is_empty() {
        true => push_is_line(session, table, old, place, &mut sql)?,
        false => sql.push_str(&has_key(table, old, place)?),
    }
    sql.push_str(" LIMIT 1");
    let context = format!("delete rows of {}", table.name);
    session.write(&context, &sql)?;
    session.let_go(&context)
}

/// Updates a changed row. Every column is set, also to the value that it has: one that is set by the server with every
/// update must not be.
fn update(session: &mut Session, table: &Table, new: &[u8], place: Place<'_>) -> Result<()> {
    let mut sql = format!("UPDATE {} SET ", ident(&table.name));
    for (at, (column, field)) in table.stored().iter().zip(new.split(|b| *b == b'\t')).enumerate() {
        sql.push_str(if at > 0 { ", " } else { "" });
        sql.push_str(&format!("{} = ", ident(&column.name)));
        push_value(session, column, field, &mut sql, place.file, place.line)?;
    }
    for column in table.left_out() {
        sql.push_str(&format!(", {0} = {0}", ident(&column.name)));
    }
    sql.push_str(" WHERE ");
    sql.push_str(&has_key(table, new, place)?);
    let (context, loose) = (format!("write rows of {}", table.name), no_labels(table, new));
    let written = match loose.is_empty() {
        true => session.write(&context, &sql),
        false => session.write_loosely(&context, &sql, &loose),
    };
    written.map_err(|error| located(error, place.file, place.line))?;
    session.let_go(&context)
}
